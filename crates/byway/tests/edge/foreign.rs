//! Foreign: TLS and HTTP/2 where plain HTTP/1 is expected, on either side of an edge. The answer
//! contains the remedy.

use byway_testkit::{Origin, Visitor};

use super::edge;

/// The start of a TLS 1.3 ClientHello: the record header and the handshake header.
const CLIENT_HELLO: &[u8] = b"\x16\x03\x01\x00\xf4\x01\x00\x00\xf0\x03\x03\x0a\x0d\x20\x00";

/// The answer of a TLS server to plain HTTP: a fatal alert, protocol_version.
const TLS_ALERT: &[u8] = b"\x15\x03\x01\x00\x02\x02\x46";

/// The first frame of an HTTP/2 server: SETTINGS.
const HTTP2_SETTINGS: &[u8] = b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64";

#[test]
fn tls_at_a_plain_edge_is_answered_in_plain_text_and_logged_once_with_the_remedy() {
    let origin = Origin::useful();
    let program = edge(&origin);
    for bytewise in [false, true] {
        let mut visitor = Visitor::connect(program.address());
        match bytewise {
            false => visitor.send(CLIENT_HELLO),
            // The answer comes after the first byte.
            true => visitor.send(&CLIENT_HELLO[..1]),
        };
        let answer = visitor.response_to("GET");
        assert_eq!(answer.status(), 400);
        assert!(
            answer
                .field("Content-Type")
                .unwrap()
                .starts_with("text/plain"),
            "{answer:?}"
        );
        assert!(
            answer.text().contains("reason: tls-at-plain-port"),
            "{}",
            answer.text()
        );
        assert!(
            answer.text().contains("this port speaks plain HTTP")
                && answer.text().contains("http://")
        );
    }
    let line = program.wait_for_log("the client began a TLS handshake");
    assert!(
        line.contains("class=\"tls-at-plain-port\"") && line.contains("peer=127.0.0.1:"),
        "{line}"
    );
    assert_eq!(origin.connections(), 0);
}

#[test]
fn an_upstream_that_only_speaks_tls_or_http2_is_logged_with_the_remedy() {
    for (bytes, class, expected) in [
        (
            TLS_ALERT,
            "upstream-speaks-tls",
            "write https:// in front of it",
        ),
        (
            HTTP2_SETTINGS,
            "upstream-speaks-http2",
            "name a port of it that speaks HTTP/1.1",
        ),
    ] {
        let origin = Origin::answering(bytes);
        let program = edge(&origin);
        let answer = Visitor::connect(program.address()).get("/");
        assert_eq!(answer.status(), 502, "{class}");
        assert!(
            answer.text().contains(&format!("reason: {class}")),
            "{}",
            answer.text()
        );
        assert!(
            !answer.text().contains("127.0.0.1"),
            "a visitor does not learn addresses: {}",
            answer.text()
        );
        let line = program.wait_for_log(expected);
        assert!(
            line.contains(&format!("upstream=\"http://{}\"", origin.address())),
            "{line}"
        );
    }
}

#[test]
fn an_upstream_that_closes_on_plain_http_is_logged_as_possibly_tls() {
    let origin = Origin::scripted(|visitor| {
        visitor.request_head();
    });
    let program = edge(&origin);
    assert_eq!(Visitor::connect(program.address()).get("/").status(), 502);
    program.wait_for_log("if it speaks TLS, write https:// in front of it");
}

#[test]
fn no_message_contains_the_debug_text_of_a_rust_value() {
    let origin = Origin::answering("nonsense\r\n\r\n");
    let program = edge(&origin);
    assert_eq!(Visitor::connect(program.address()).get("/").status(), 502);
    Visitor::connect(program.address())
        .send("GET\r\n\r\n")
        .to_end();
    let finished = program.stop();
    assert!(
        finished.stderr.contains("peer=127.0.0.1:"),
        "{}",
        finished.stderr
    );
    for text in ["Some(", "None", "Ok(", "Other(", "Upstream"] {
        assert!(
            !finished.stderr.contains(text),
            "{text}: {}",
            finished.stderr
        );
    }
}
