//! Lines: start lines, fields, Host and paths that two parsers could read differently, or that cost
//! too much.

use byway_testkit::{Origin, Program, Visitor};

use super::{BYWAY, edge, forwarded, refused};

#[test]
fn request_lines_with_other_white_space_or_line_ends() {
    refused([
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /\tHTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        " GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /\x0b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
        "\n\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
        "\0GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ]);
}

#[test]
fn http_0_9_http_2_and_other_protocols() {
    refused([
        "GET /\r\n",
        "GET / HTTP/0.9\r\n\r\n",
        "PRI * HTTP/2.1\r\n\r\nSM\r\n\r\n",
        "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        "GET / HTTP/3\r\nHost: a\r\n\r\n",
        "\x16\x03\x01\x02\0\x01\0\x01\x7c\x03",
        "SSH-2.0-x\r\n",
        "*1\r\n$4\r\nPING\r\n",
    ]);
}

#[test]
fn fields_that_are_folded_split_or_hold_controls() {
    let with = |field: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n");
    refused(
        [
            "X: 1\r\n 2",
            "X: 1\r\n\t2",
            "X: 1\n Y: 2",
            "X: 1\rY: 2",
            "X: \0",
            "X: a\0b",
            "X: \x01",
            "X: \x7f",
            "X : 1",
            "X\t: 1",
            "X\0: 1",
            "X y: 1",
            "X",
            "(X): 1",
            "X\r: 1",
            "X: 1\r",
            "X:\n",
        ]
        .map(with),
    );
}

#[test]
fn cve_2019_9901_paths_that_an_origin_could_resolve_elsewhere() {
    let origin = Origin::useful();
    let program = edge("", &origin);
    let paths = [
        "/a/../b",
        "/..",
        "/./b",
        "/%2e%2e/b",
        "/%2E./b",
        "/a/%2e",
        "/a%00b",
        "/a\\..\\b",
        "/a%5c..%5cb",
        "/a%2f..%2fb",
        "/..;/b",
        "/a/..%2f",
        "//..",
        "http://a/../b",
    ];
    for path in paths {
        let mut visitor = Visitor::connect(program.address());
        assert_eq!(visitor.get(path).status(), 400, "{path}");
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn ghsa_6jwx_7vp4_9847_an_encoded_slash_travels_as_it_was_matched() {
    assert_eq!(
        forwarded("GET /a%2Fb%20c HTTP/1.1\r\nHost: a\r\n\r\n").target(),
        "/a%2Fb%20c"
    );
}

#[test]
fn hosts_that_are_missing_many_or_malformed() {
    let with = |host: &str| format!("GET / HTTP/1.1\r\n{host}\r\n");
    refused(
        [
            "",
            "Host:\r\n",
            "Host: a\r\nHost: a\r\n",
            "Host: a\r\nhost: b\r\n",
            "Host: a b\r\n",
            "Host: a@b\r\n",
            "Host: a/b\r\n",
            "Host: a:x\r\n",
            "Host: a:99999\r\n",
            "Host: [::g]\r\n",
            "Host: [::1\r\n",
            "Host: a\tb\r\n",
            "Host: a\\b\r\n",
            "Host: a?b\r\n",
            "Host: a#b\r\n",
            "Host: a%\r\n",
            "Host: \u{e9}\r\n",
            "Host: a:80:80\r\n",
        ]
        .map(with),
    );
}

#[test]
fn an_absolute_target_counts_and_host_is_written_from_it() {
    let request = forwarded("GET http://b.example/x HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    assert_eq!(
        (request.target(), request.field("Host")),
        ("/x", Some("b.example"))
    );
    assert!(!request.head.contains("evil"), "{request:?}");
}

#[test]
fn a_target_of_another_scheme_is_misdirected_unless_a_trusted_proxy_passes_it_on() {
    let origin = Origin::useful();
    let program = edge("", &origin);
    for target in [
        "https://b.example/x",
        "HTTPS://b.example/x",
        "ftp://b.example/x",
    ] {
        let mut visitor = Visitor::connect(program.address());
        let answer = visitor.get(target);
        assert_eq!(
            (answer.status(), answer.text().contains("misdirected")),
            (421, true),
            "{target}"
        );
        assert_eq!(
            visitor.get("http://b.example/x").status(),
            200,
            "a request behind it is served"
        );
    }
    let config = format!(
        "[[edge]]\nlisten = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.1/32\"]\n[[edge.route]]\nto = \"{}\"\n",
        origin.address()
    );
    let program = Program::configured(BYWAY, &config);
    assert_eq!(
        Visitor::connect(program.address())
            .get("https://b.example/x")
            .status(),
        200
    );
}

#[test]
fn absolute_targets_with_two_readings() {
    refused([
        "GET http://u@b/x HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://b\\c/x HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET //b\\@c HTTP/1.1\r\nHost: a@b\r\n\r\n",
        "GET http:b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET b/x HTTP/1.1\r\nHost: a\r\n\r\n",
    ]);
}

#[test]
fn heads_without_end_and_fields_without_number() {
    let long = "x".repeat(70_000);
    refused([
        format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: a\r\n{long}"),
        format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X:\r\n".repeat(200)),
        format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"),
        format!("{long} / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ]);
}
