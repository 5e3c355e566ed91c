//! Heads: which fields are forwarded, and which ones the edge sets.

use byway_testkit::{Message, Origin, Visitor};

use super::{config, edge, edge_with, to};

/// The request at the origin when a client sends these field lines.
#[track_caller]
fn forwarded(settings: &str, fields: &str) -> Message {
    let origin = Origin::useful();
    let program = edge_with(settings, &origin);
    let answer = Visitor::connect(program.address()).ask(&format!(
        "GET / HTTP/1.1\r\nHost: app.example\r\n{fields}\r\n"
    ));
    assert_eq!(answer.status(), 200, "{answer:?}");
    origin.requests().remove(0)
}

const FORGED: &str = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: forged.example\r\n\
                      X-Forwarded-Port: 1\r\nX-Real-IP: 6.6.6.6\r\nX-Request-Id: forged\r\nForwarded: for=6.6.6.6\r\n";

#[track_caller]
fn carries_only_ours(request: &Message) {
    assert_eq!(request.field("X-Forwarded-For"), Some("127.0.0.1"));
    assert_eq!(request.field("X-Forwarded-Proto"), Some("http"));
    assert_eq!(request.field("X-Forwarded-Host"), Some("app.example"));
    assert_eq!(request.field("X-Real-IP"), Some("127.0.0.1"));
    assert!(
        request
            .field("X-Request-Id")
            .is_some_and(|id| !id.is_empty() && id != "forged"),
        "{request:?}"
    );
    assert_eq!(
        request.field("Via").map(|via| via.contains("1.1 byway")),
        Some(true)
    );
}

#[test]
fn the_origin_receives_our_forwarding_fields() {
    let request = forwarded("", "Accept: */*\r\n");
    carries_only_ours(&request);
    assert_eq!(request.field("Accept"), Some("*/*"));
}

#[test]
fn forwarding_fields_of_an_untrusted_peer_are_dropped() {
    let request = forwarded("", FORGED);
    carries_only_ours(&request);
    for name in ["Forwarded", "X-Forwarded-Port"] {
        assert_eq!(request.field(name), None, "{name}");
    }
}

#[test]
fn names_with_an_underscore_cannot_pass_for_ours() {
    let request = forwarded("", "X_Forwarded_For: 6.6.6.6\r\nx_real_ip: 6.6.6.6\r\n");
    carries_only_ours(&request);
    assert!(!request.head.contains("6.6.6.6"), "{request:?}");
}

#[test]
fn forwarding_fields_of_a_trusted_peer_are_kept_and_extended() {
    let origin = Origin::useful();
    let trusting = config("", &[&to(&origin)]).replace(
        "[[edge]]\n",
        "[[edge]]\ntrusted_proxies = [\"127.0.0.0/8\"]\n",
    );
    let program = byway_testkit::Program::configured(super::BYWAY, &trusting);
    Visitor::connect(program.address()).ask(&format!(
        "GET / HTTP/1.1\r\nHost: app.example\r\n{FORGED}\r\n"
    ));
    let request = &origin.requests()[0];
    for (name, value) in [
        ("X-Forwarded-For", "6.6.6.6, 127.0.0.1"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "forged.example"),
        ("X-Real-IP", "6.6.6.6"),
        ("X-Request-Id", "forged"),
    ] {
        assert_eq!(request.field(name), Some(value), "{name}");
    }
}

// CVE-2024-45410: a client listed X-Forwarded-Host in Connection, and the proxy removed its own.
#[test]
fn a_client_cannot_remove_our_fields_by_listing_them_in_connection() {
    let listed = "Connection: X-Forwarded-Host, X-Forwarded-For, X-Forwarded-Proto, X-Real-IP, X-Request-Id, Via, Host\r\n";
    let request = forwarded("", listed);
    carries_only_ours(&request);
    assert_eq!(request.field("Host"), Some("app.example"));
    assert_eq!(request.field("Connection"), None);
}

#[test]
fn a_client_cannot_remove_fields_that_applications_trust_by_listing_them_in_connection() {
    // RFC 9110 section 7.6.1 requires its removal, but applications rely on it: the request is
    // refused.
    let origin = Origin::useful();
    let program = edge(&origin);
    for field in [
        "Authorization: Basic eA==",
        "Cookie: a=1",
        "Content-Type: text/plain",
        "Cache-Control: no-store",
    ] {
        let name = field.split(':').next().unwrap();
        let request =
            format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close, {name}\r\n{field}\r\n\r\n");
        let answer = Visitor::connect(program.address()).ask(&request);
        assert_eq!(answer.status(), 400, "{name}: {answer:?}");
        assert!(
            answer.text().contains("reason: connection-option\n"),
            "{name}: {answer:?}"
        );
    }
    assert_eq!(origin.connections(), 0, "nothing was dialled for them");
}

#[test]
fn hop_by_hop_fields_of_a_request_are_not_forwarded() {
    let fields = "Connection: keep-alive, X-Mine\r\nConnection: X-Mine-Too\r\nX-Mine: 1\r\nX-Mine-Too: 1\r\n\
                  Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic eA==\r\n\
                  TE: trailers\r\nUpgrade: foo\r\nX-Other: stays\r\n";
    let request = forwarded("", fields);
    for name in [
        "Connection",
        "X-Mine",
        "X-Mine-Too",
        "Keep-Alive",
        "Proxy-Connection",
        "Proxy-Authorization",
        "Upgrade",
    ] {
        assert_eq!(request.field(name), None, "{name}: {request:?}");
    }
    assert_eq!(request.field("X-Other"), Some("stays"));
}

#[test]
fn hop_by_hop_fields_of_a_response_are_not_forwarded() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nConnection: X-Internal\r\nX-Internal: 1\r\nKeep-Alive: timeout=5\r\n\
         Proxy-Authenticate: Basic\r\nUpgrade: h2c\r\nX-Other: stays\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\
         Content-Length: 2\r\n\r\nok",
    );
    let program = edge(&origin);
    let answer = Visitor::connect(program.address()).get("/");
    for name in [
        "Connection",
        "X-Internal",
        "Keep-Alive",
        "Proxy-Authenticate",
        "Upgrade",
    ] {
        assert_eq!(answer.field(name), None, "{name}: {answer:?}");
    }
    assert_eq!(answer.field("X-Other"), Some("stays"));
    assert_eq!(answer.fields("Set-Cookie").collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(
        answer.field("Via").map(|via| via.contains("byway")),
        Some(true)
    );
}

#[test]
fn path_and_query_arrive_byte_by_byte_as_they_were_sent() {
    let origin = Origin::useful();
    let program = edge(&origin);
    let mut visitor = Visitor::connect(program.address());
    let targets = [
        "/a%2Fb//c;d=1?e=%20&f=[g]",
        "/?",
        "/%E2%82%AC",
        "/a..b/...",
        "*",
    ];
    for target in targets {
        let method = if target == "*" { "OPTIONS" } else { "GET" };
        visitor.ask(&format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
    }
    let seen: Vec<_> = origin
        .requests()
        .iter()
        .map(|request| request.target().to_owned())
        .collect();
    assert_eq!(seen, targets);
}

#[test]
fn an_encoded_letter_arrives_as_the_letter_that_was_matched_and_the_query_as_it_was_sent() {
    let origin = Origin::useful();
    let program = edge(&origin);
    let mut visitor = Visitor::connect(program.address());
    for (sent, arrives) in [
        ("/%61dmin%2f%7e?x=%61", "/admin%2f~?x=%61"),
        ("http://b/%41?%2e%2e", "/A?%2e%2e"),
        ("/%2561", "/%2561"),
        ("/%2e%2e%2e", "/..."),
    ] {
        assert_eq!(visitor.get(sent).status(), 200, "{sent}");
        assert_eq!(
            origin.requests().last().unwrap().target(),
            arrives,
            "{sent}"
        );
    }
}

#[test]
fn a_head_that_arrives_byte_by_byte_is_parsed_like_any_other() {
    let origin = Origin::useful();
    let program = edge(&origin);
    let mut visitor = Visitor::connect(program.address());
    visitor.send_bytewise(
        "POST /sum HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\nbody\r\n0\r\nT: 1\r\n\r\n",
    );
    assert!(visitor.response().text().starts_with("4 "));
}
