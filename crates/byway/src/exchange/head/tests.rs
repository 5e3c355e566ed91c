//! Tables of the head rules: the head received and the head sent.

use byway_h1::{HeadWriter, Parsed, RequestParser, ResponseParser};
use byway_head::Limits;

use super::*;

fn request_through(text: &str, forwarded: Option<Forwarded<'_>>, upgrade: Option<&[u8]>) -> String {
    let mut index = RequestParser::default();
    assert!(matches!(
        index.parse(text.as_bytes(), &Limits::default()).unwrap(),
        Parsed::Complete(_)
    ));
    let request = index.view(text.as_bytes());
    let host = request.host().unwrap_or_default();
    let mut out = Vec::new();
    let rules = RequestRules {
        te_trailers: false,
        websocket_key: None,
        target: request.path_and_query(),
        host,
        forwarded,
        upgrade,
    };
    forward_request(&mut HeadWriter(&mut out), &request, &rules).unwrap();
    String::from_utf8(out).unwrap()
}

fn at_edge(trusted: bool) -> Option<Forwarded<'static>> {
    Some(Forwarded {
        peer: Some(b"192.0.2.7"),
        client_cert: None,
        request_id: "ours",
        trusted,
        is_tls: false,
        hsts_seconds: 0,
        alt_svc: None,
    })
}

fn response_through(text: &str, rules: &ResponseRules<'_>) -> String {
    let mut index = ResponseParser::default();
    assert!(matches!(
        index.parse(text.as_bytes(), &Limits::default()).unwrap(),
        Parsed::Complete(_)
    ));
    let mut out = Vec::new();
    forward_response(
        &mut HeadWriter(&mut out),
        &index.view(text.as_bytes()),
        rules,
    )
    .unwrap();
    String::from_utf8(out).unwrap()
}

const PLAIN: ResponseRules<'_> = ResponseRules {
    framed: Framed::Length(2),
    close: false,
    downstream: Version::Http11,
    length_describes: false,
    hsts_seconds: 0,
    alt_svc: None,
};

#[test]
fn an_edge_sends_its_upstream_the_address_of_the_client() {
    let sent = request_through(
        "GET /a?b HTTP/1.1\r\nHost: app.example.com\r\nAccept: */*\r\n\r\n",
        at_edge(false),
        None,
    );
    assert_eq!(
        sent,
        "GET /a?b HTTP/1.1\r\nHost: app.example.com\r\nAccept: */*\r\nX-Forwarded-For: 192.0.2.7\r\n\
         X-Forwarded-Proto: http\r\nX-Forwarded-Host: app.example.com\r\nX-Real-IP: 192.0.2.7\r\nX-Request-Id: ours\r\n\
         Via: 1.1 byway\r\n\r\n"
    );
}

#[test]
fn an_egress_does_not_reveal_its_client() {
    let text = "GET http://example.com/a HTTP/1.1\r\nHost: example.com\r\nProxy-Authorization: Basic eA==\r\n\
                Proxy-Connection: keep-alive\r\nX-Forwarded-For: mine\r\n\r\n";
    let sent = request_through(text, None, None);
    assert_eq!(
        sent,
        "GET /a HTTP/1.1\r\nHost: example.com\r\nX-Forwarded-For: mine\r\nVia: 1.1 byway\r\n\r\n"
    );
}

#[test]
fn forwarding_fields_of_an_untrusted_peer_are_dropped_and_of_a_trusted_one_extended() {
    let text = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 10.1.1.1\r\nX-Forwarded-Proto: https\r\n\
                X-Real-IP: 10.1.1.1\r\nForwarded: for=10.1.1.1\r\nX-Request-Id: theirs\r\n\r\n";
    let untrusted = request_through(text, at_edge(false), None);
    assert!(
        !untrusted.contains("10.1.1.1")
            && !untrusted.contains("https")
            && !untrusted.contains("theirs"),
        "{untrusted}"
    );
    let trusted = request_through(text, at_edge(true), None);
    assert!(
        trusted.contains("X-Forwarded-For: 10.1.1.1, 192.0.2.7\r\n"),
        "{trusted}"
    );
    assert!(
        trusted.contains("X-Forwarded-Proto: https\r\n")
            && trusted.contains("X-Request-Id: theirs\r\n"),
        "{trusted}"
    );
    assert_eq!(trusted.matches("X-Forwarded-Proto").count(), 1);
}

#[test]
fn fields_listed_in_connection_are_dropped_except_end_to_end_and_added_ones() {
    let text = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, X-Hop, X-Forwarded-For, Authorization, Host\r\nX-Hop: 1\r\n\
                Authorization: Basic eA==\r\nKeep-Alive: 5\r\nTE: trailers\r\nTrailer: X\r\n\r\n";
    let sent = request_through(text, at_edge(false), None);
    for dropped in ["X-Hop", "Keep-Alive", "TE:", "Trailer", "Connection"] {
        assert!(!sent.contains(dropped), "{dropped} in {sent}");
    }
    for kept in [
        "Authorization: Basic eA==",
        "X-Forwarded-For: 192.0.2.7",
        "Host: a",
    ] {
        assert!(sent.contains(kept), "{kept} not in {sent}");
    }
}

#[test]
fn names_with_an_underscore_do_not_pass_an_edge() {
    let text = "GET / HTTP/1.1\r\nHost: a\r\nX_Forwarded_For: 1.1.1.1\r\nX-Fine: 1\r\n\r\n";
    let sent = request_through(text, at_edge(false), None);
    assert!(
        !sent.contains("1.1.1.1") && sent.contains("X-Fine"),
        "{sent}"
    );
}

#[test]
fn names_with_a_dot_do_not_pass_an_edge_either() {
    let sent = request_through(
        "GET / HTTP/1.1\r\nHost: a\r\nX.Real.IP: 1.1.1.1\r\n\r\n",
        at_edge(false),
        None,
    );
    assert!(!sent.contains("1.1.1.1"), "{sent}");
}

#[test]
fn max_forwards_counts_down_for_trace_and_options_only() {
    for (method, came, sent) in [
        ("OPTIONS", "5", "4"),
        ("TRACE", "1", "0"),
        ("GET", "5", "5"),
        ("OPTIONS", "99999999999", "4294967294"),
    ] {
        let text = format!("{method} / HTTP/1.1\r\nHost: a\r\nmax-forwards: {came}\r\n\r\n");
        let head = request_through(&text, None, None);
        assert!(
            head.contains(&format!("max-forwards: {sent}\r\n")),
            "{head}"
        );
    }
}

#[test]
fn a_response_without_a_date_is_given_one() {
    let sent = response_through("HTTP/1.1 200 OK\r\n\r\n", &PLAIN);
    assert!(
        sent.contains("\r\nDate: ") && sent.contains(" GMT\r\n"),
        "{sent}"
    );
}

#[test]
fn the_framing_is_written_from_the_decision() {
    let length = request_through(
        "POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 3\r\n\r\n",
        None,
        None,
    );
    assert!(
        length.ends_with("Via: 1.1 byway\r\nContent-Length: 3\r\n\r\n"),
        "{length}"
    );
    let chunked = request_through(
        "POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: CHUNKED\r\n\r\n",
        None,
        None,
    );
    assert!(
        chunked.ends_with("Via: 1.1 byway\r\nTransfer-Encoding: chunked\r\n\r\n"),
        "{chunked}"
    );
}

#[test]
fn the_upgrade_fields_are_written_again_and_not_copied() {
    let text = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let sent = request_through(text, None, Some(b"websocket"));
    assert!(
        sent.ends_with("Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"),
        "{sent}"
    );
    assert!(!request_through(text, None, None).contains("pgrade"));
}

#[test]
fn a_response_loses_its_hop_fields_and_gains_via() {
    let text = "HTTP/1.1 200 OK\r\nDate: x\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    assert_eq!(
        response_through(text, &PLAIN),
        "HTTP/1.1 200 OK\r\nDate: x\r\nVia: 1.1 byway\r\nContent-Length: 2\r\n\r\n"
    );
}

#[test]
fn an_http_1_0_client_gets_connection_keep_alive() {
    let rules = ResponseRules {
        downstream: Version::Http10,
        ..PLAIN
    };
    assert!(
        response_through("HTTP/1.1 200 OK\r\n\r\n", &rules).contains("Connection: keep-alive\r\n")
    );
    let rules = ResponseRules {
        close: true,
        ..PLAIN
    };
    assert!(response_through("HTTP/1.1 200 OK\r\n\r\n", &rules).contains("Connection: close\r\n"));
}

#[test]
fn the_length_in_a_response_to_head_is_passed_on_if_it_describes_a_body() {
    let rules = ResponseRules {
        framed: Framed::None,
        length_describes: true,
        ..PLAIN
    };
    let sent = response_through("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n", &rules);
    assert!(sent.contains("Content-Length: 1234\r\n"), "{sent}");
    let rules = ResponseRules {
        framed: Framed::None,
        length_describes: false,
        ..PLAIN
    };
    let sent = response_through(
        "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
        &rules,
    );
    assert!(!sent.contains("Content-Length"), "{sent}");
}
