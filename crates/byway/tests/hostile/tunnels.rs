//! Tunnels: Upgrade, CONNECT and Expect: which side may send what, and when.

use byway_testkit::{Origin, Visitor};

use super::{SMUGGLED, edge, refused};

const UPGRADE: &str =
    "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

#[test]
fn cve_2026_2833_bytes_behind_an_upgrade_are_a_request_until_there_is_a_101() {
    let origin = Origin::useful();
    let program = edge("", &origin);
    let mut visitor = Visitor::connect(program.address());
    visitor.send(format!(
        "{UPGRADE}GET /a/../admin HTTP/1.1\r\nHost: a\r\n\r\n"
    ));
    assert_eq!(
        visitor.response().status(),
        200,
        "refused by the origin, so no tunnel"
    );
    assert_eq!(
        visitor.response().status(),
        400,
        "checked like any other request"
    );
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn an_upgrade_with_a_body_opens_no_tunnel() {
    let origin = Origin::answering(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    );
    let program = edge("", &origin);
    for framing in [
        "Content-Length: 4\r\n\r\nbody",
        "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
    ] {
        let mut visitor = Visitor::connect(program.address());
        visitor.send(format!(
            "{}{framing}",
            UPGRADE.trim_end_matches("\r\n").to_owned() + "\r\n"
        ));
        assert_eq!(visitor.response().status(), 502, "{framing:?}");
    }
    assert!(
        origin
            .requests()
            .iter()
            .all(|request| request.field("Upgrade").is_none())
    );
}

#[test]
fn h2c_upgrades_are_never_passed_on() {
    for upgrade in ["h2c", "H2C", "h2c, websocket", "websocket, h2c"] {
        let request = super::forwarded(&format!(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {upgrade}\r\n\
             HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
        ));
        assert_eq!(
            (request.field("Upgrade"), request.field("HTTP2-Settings")),
            (None, None),
            "{upgrade}"
        );
    }
}

#[test]
fn connect_at_an_edge_with_and_without_a_body() {
    refused([
        "CONNECT b.example:443 HTTP/1.1\r\nHost: b.example:443\r\n\r\n",
        "CONNECT b.example:443 HTTP/1.1\r\nHost: b.example:443\r\nContent-Length: 4\r\n\r\nbody",
        "CONNECT b.example:443 HTTP/1.1\r\nHost: b.example:443\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "CONNECT b.example HTTP/1.1\r\nHost: b.example\r\n\r\n",
        "CONNECT /x HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT b:0 HTTP/1.1\r\nHost: b\r\n\r\n",
    ]);
}

#[test]
fn cve_2025_4366_an_early_answer_leaves_no_body_to_be_read_as_a_request() {
    let origin = Origin::scripted(|visitor| {
        visitor.request_head();
        visitor.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly");
        visitor.remember_to_end();
    });
    let program = edge("", &origin);
    for expect in [
        "",
        "Expect: 100-continue\r\n",
        "Expect: 100-CONTINUE\r\n",
        "Expect: 100-continue, x\r\n",
    ] {
        let mut visitor = Visitor::connect(program.address());
        // The announced length is more than is sent. What is sent looks like a request, but is
        // body.
        visitor.send(format!(
            "POST / HTTP/1.1\r\nHost: a\r\n{expect}Content-Length: 1000\r\n\r\n{SMUGGLED}"
        ));
        assert_eq!(visitor.response().text(), "early", "{expect:?}");
        let (rest, _) = visitor.to_end();
        assert!(rest.is_empty(), "{expect:?}: {}", rest.escape_ascii());
    }
    origin.wait_for_ended(4);
    assert!(
        origin
            .requests()
            .iter()
            .all(|request| !request.line().contains("/smuggled"))
    );
    assert_eq!(
        origin.connections(),
        4,
        "no connection with half a request on it was used again"
    );
}
