//! Refusals: what an edge answers itself and never forwards. In each row two parsers could see
//! different requests, or the request would cost more than its limit.

use byway_testkit::{Origin, Program, Visitor};

use super::{BYWAY, edge, edge_with};

/// Sends each request on its own connection. None may reach the origin, and each connection must
/// end.
#[track_caller]
fn refused(settings: &str, cases: &[(&str, u16)]) {
    let origin = Origin::useful();
    let program = edge_with(settings, &origin);
    for (request, status) in cases {
        let shown = &request[..request.len().min(200)];
        let mut visitor = Visitor::connect(program.address());
        // The edge may close the connection while the rest is being sent.
        visitor.try_send(request);
        visitor.try_send("GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
        let method = shown.split(' ').next().unwrap_or_default();
        assert_eq!(visitor.response_to(method).status(), *status, "{shown:?}");
        let (rest, _) = visitor.to_end();
        assert!(
            rest.is_empty(),
            "behind {shown:?} came {}",
            rest.escape_ascii()
        );
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_head_without_exactly_one_valid_framing_never_reaches_the_origin() {
    let post = |fields: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n0\r\n\r\n");
    let cases: Vec<_> = [
        // CVE-2026-2835 and the classic request smuggling: two framings at once, in either order.
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5, 5",
        "Content-Length: +5",
        "Content-Length: -5",
        "Content-Length: 0x5",
        "Content-Length: 5 5",
        "Content-Length:",
        "Content-Length: 99999999999999999999",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: ",
        "Transfer-Encoding: \x0bchunked",
        "Transfer-Encoding\x0b: chunked",
        "Transfer-Encoding : chunked",
        " Transfer-Encoding: chunked",
        "X: 1\r\n Transfer-Encoding: chunked",
        "X: 1\r\n\tfolded",
        "X: 1\nTransfer-Encoding: chunked",
        "X: 1\rTransfer-Encoding: chunked",
        "X: 1\0",
        "X: \x01",
        ": no name",
        "no colon",
        "X y: 1",
        "X\u{e9}: 1",
        "Host: b",
    ]
    .iter()
    .map(|fields| post(fields))
    .collect();
    let cases: Vec<_> = cases
        .iter()
        .map(|request| (request.as_str(), 400))
        .collect();
    refused("", &cases);
}

#[test]
fn unsupported_transfer_codings_are_501() {
    let post = |coding: &str| {
        format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {coding}\r\n\r\n0\r\n\r\n")
    };
    let cases = [
        "gzip, chunked",
        "gzip",
        "identity",
        "xchunked",
        "chunked;q=1",
    ]
    .map(post);
    refused("", &cases.each_ref().map(|request| (request.as_str(), 501)));
}

#[test]
fn a_request_line_that_two_readers_could_read_differently_is_refused() {
    refused(
        "",
        &[
            ("GET / HTTP/1.1\nHost: a\n\n", 400),
            ("GET /\r\n\r\n", 400),
            ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
            ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET a/b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("G@T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: \r\n\r\n", 400),
            ("GET / http/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET / HTTP/11\r\nHost: a\r\n\r\n", 400),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
            ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
            ("PRI * HTTP/2.1\r\n\r\nSM\r\n\r\n", 505),
            ("\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03", 400),
        ],
    );
}

#[test]
fn transfer_encoding_on_http_1_0_is_refused() {
    refused(
        "",
        &[(
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        )],
    );
}

// CVE-2019-9901, GHSA-6jwx-7vp4-9847: the path that was matched was not the path that was served.
#[test]
fn a_path_that_an_origin_could_read_in_another_way_is_refused() {
    let origin = Origin::useful();
    let program = edge(&origin);
    let mut visitor = Visitor::connect(program.address());
    for path in [
        "/a/../admin",
        "/%2e%2e/admin",
        "/a/.%2E/admin",
        "/./a",
        "/a%00b",
        "/a\\..\\admin",
        "/..;/admin",
    ] {
        let answer = visitor.get(path);
        assert_eq!(answer.status(), 400, "{path}");
        assert!(
            answer.text().contains("ambiguous-path"),
            "{path}: {answer:?}"
        );
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_path_with_a_malformed_escape_is_refused_and_a_query_with_one_is_not() {
    let origin = Origin::useful();
    let program = edge(&origin);
    let mut visitor = Visitor::connect(program.address());
    for path in ["/%u002e%u002e/admin", "/%zz", "/100%", "/a%2", "/%?q"] {
        let answer = visitor.get(path);
        assert_eq!(answer.status(), 400, "{path}");
        assert!(
            answer.text().contains("escape-invalid"),
            "{path}: {answer:?}"
        );
    }
    assert_eq!(origin.connections(), 0);
    assert_eq!(visitor.get("/?off=100%&%u0041=%zz").status(), 200);
}

#[test]
fn an_edge_refuses_connect() {
    refused(
        "",
        &[(
            "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\nConnection: close\r\n\r\n",
            405,
        )],
    );
    refused(
        "",
        &[(
            "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\nContent-Length: 4\r\n\r\nbody",
            400,
        )],
    );
}

#[test]
fn heads_that_cost_too_much_are_431_and_targets_414() {
    let long = |n: usize| "x".repeat(n);
    let field = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", long(70_000));
    let endless = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", long(70_000));
    let many = format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "X: 1\r\n".repeat(200)
    );
    let target = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", long(20_000));
    refused(
        "",
        &[(&field, 431), (&endless, 431), (&many, 431), (&target, 414)],
    );
    let small = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", long(2000));
    refused("[limits]\nhead_bytes = \"1KiB\"", &[(&small, 431)]);
    refused(
        "[limits]\nhead_fields = 2",
        &[("GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nY: 1\r\n\r\n", 431)],
    );
}

#[test]
fn each_limit_of_a_head_has_its_own_reason() {
    let origin = Origin::useful();
    let program = edge_with("[limits]\nhead_bytes = \"1KiB\"\nhead_fields = 3", &origin);
    let long = "x".repeat(2000);
    for (request, class) in [
        (
            format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"),
            "head-too-large",
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: 1\r\n".repeat(9)),
            "too-many-fields",
        ),
        (
            format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"),
            "head-too-large",
        ),
        ("GET / HTTP/1.1\r\nHost: a\r\nX".to_owned(), "request-head"),
    ] {
        let program = if class == "request-head" {
            &edge_with("[limits]\nhead_timeout = \"200ms\"", &origin)
        } else {
            &program
        };
        let answer = Visitor::connect(program.address()).ask(&request);
        assert!(
            answer.text().contains(&format!("reason: {class}\n")),
            "{class}: {answer:?}"
        );
    }
}

#[test]
fn a_head_with_too_many_connection_options_is_refused_on_both_sides() {
    let listed = |n: usize| {
        (0..n)
            .map(|n| format!("o{n}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let many = listed(65);
    let answer = format!("HTTP/1.1 200 OK\r\nConnection: {many}\r\nContent-Length: 2\r\n\r\nok");
    let origin = Origin::scripted(move |served| {
        while let Some(request) = served.request() {
            match request.target() {
                "/many" => served.send(&answer),
                _ => served.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
            };
        }
    });
    let program = edge(&origin);
    let ask = |request: &str| Visitor::connect(program.address()).ask(request);
    let few = listed(64);
    assert_eq!(
        ask(&format!(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: {few}\r\nO3: x\r\n\r\n"
        ))
        .text(),
        "ok"
    );
    assert!(
        !origin.requests()[0].head.contains("O3"),
        "{:?}",
        origin.requests()
    );
    let refused = ask(&format!(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: {many}\r\n\r\n"
    ));
    assert_eq!(refused.status(), 400);
    assert!(
        refused
            .text()
            .contains("reason: too-many-connection-options\n"),
        "{refused:?}"
    );
    let distrusted = ask("GET /many HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(distrusted.status(), 502);
    assert!(
        distrusted
            .text()
            .contains("reason: too-many-connection-options\n"),
        "{distrusted:?}"
    );
}

#[test]
fn trailers_that_cost_too_much_do_not_reach_the_origin_as_a_complete_request() {
    let origin = Origin::scripted(|visitor| {
        visitor.request_head();
        visitor.remember_to_end();
    });
    let program = edge(&origin);
    let mut visitor = Visitor::connect(program.address());
    visitor.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n");
    visitor.try_send(format!("X: {}\r\n\r\n", "x".repeat(70_000)));
    assert_eq!(visitor.response().status(), 431);
    assert!(!origin.wait_for_requests(2)[1].text().contains("\r\n0\r\n"));
}

#[test]
fn an_incomplete_head_is_a_408() {
    let origin = Origin::useful();
    let program = edge_with("[limits]\nhead_timeout = \"200ms\"", &origin);
    let mut visitor = Visitor::connect(program.address());
    visitor.send("GET / HTTP/1.1\r\nHost: a\r\nX-Slow");
    assert_eq!(visitor.response().status(), 408);
    visitor.ended();
    assert_eq!(
        Visitor::connect(program.address()).get("/").status(),
        200,
        "the edge still serves"
    );
}

#[test]
fn an_upload_that_stalls_is_ended() {
    let origin = Origin::scripted(|visitor| {
        visitor.request_head();
        visitor.hold();
    });
    let program = edge_with("[limits]\nbody_progress = \"200ms\"", &origin);
    let mut visitor = Visitor::connect(program.address());
    visitor.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
    assert_eq!(visitor.response().status(), 408);
    origin.wait_for_ended(1);
}

#[test]
fn an_idle_client_is_closed_without_an_answer() {
    let origin = Origin::useful();
    let program = edge_with(
        "[limits]\nkeep_alive = \"200ms\"\nhead_timeout = \"200ms\"",
        &origin,
    );
    let mut never_asked = Visitor::connect(program.address());
    let mut asked_once = Visitor::connect(program.address());
    asked_once.get("/");
    asked_once.ended();
    never_asked.ended();
}

#[test]
fn malformed_requests_are_logged_as_their_own_class_and_counted() {
    let origin = Origin::useful();
    let program = edge_with("metrics.listen = \"127.0.0.1:0\"", &origin);
    for _ in 0..2 {
        let request =
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(
            Visitor::connect(program.address_of("edge"))
                .ask(request)
                .status(),
            400
        );
    }
    let line = program.wait_for_log("malformed request: ");
    assert!(line.contains("class=\"length-and-coding\""), "{line}");
    let metrics = Visitor::connect(program.address_of("metrics"))
        .get("/metrics")
        .text();
    assert!(
        metrics.contains("byway_malformed_requests_total 2\n"),
        "{metrics}"
    );
}

#[test]
fn an_answer_of_our_own_carries_an_id_that_is_logged_with_the_full_reason() {
    let (refusing, _socket) = Origin::refusing();
    let program = Program::start(
        BYWAY,
        &[
            "edge",
            "--from",
            "127.0.0.1:0",
            "--to",
            &refusing.to_string(),
        ],
    );
    let answer = Visitor::connect(program.address()).get("/path");
    let id = answer.field("X-Request-Id").expect("an id").to_owned();
    let line = program.wait_for_log(&id);
    assert!(
        line.contains(&refusing.to_string()) && line.contains("/path"),
        "{line}"
    );
}
