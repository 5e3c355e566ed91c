//! Upgrade: a tunnel opens after a real 101 and in no other case.

use byway_testkit::{Ending, Origin, Visitor, eventually};

use super::edge;

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Switches protocols, then echoes everything.
fn switching_echo() -> Origin {
    Origin::scripted(|visitor| {
        visitor.request();
        visitor.send(SWITCH);
        while visitor.fill() {
            let bytes = visitor.taken();
            visitor.send(bytes);
        }
    })
}

#[test]
fn a_websocket_is_relayed_behind_the_101_of_its_origin() {
    let origin = switching_echo();
    let program = edge(&origin);
    let mut visitor = Visitor::connect(program.address());
    visitor.send(UPGRADE);
    let switch = visitor.head().unwrap();
    assert_eq!(
        (switch.status(), switch.field("Upgrade")),
        (101, Some("websocket"))
    );
    assert!(
        switch
            .field("Connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("upgrade")),
        "{switch:?}"
    );
    assert_eq!(
        switch.field("Sec-WebSocket-Accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    for frame in [
        &b"\x81\x85\x01\x02\x03\x04hello"[..],
        b"\x88\x80\0\0\0\0",
        b"anything \0 at all\r\n\r\n",
    ] {
        visitor.send(frame).expect(frame);
    }
    let request = &origin.requests()[0];
    assert_eq!(
        (
            request.field("Upgrade"),
            request.field("Sec-WebSocket-Version")
        ),
        (Some("websocket"), Some("13"))
    );
    assert!(
        request
            .field("Connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("upgrade")),
        "{request:?}"
    );
    assert_eq!(request.field("X-Forwarded-For"), Some("127.0.0.1"));
}

#[test]
fn a_fin_in_a_tunnel_leaves_the_other_direction_open() {
    let origin = Origin::scripted(|visitor| {
        visitor.request();
        visitor.send(SWITCH);
        let (bytes, ending) = visitor.to_end();
        assert_eq!(ending, Ending::Fin);
        visitor.send(format!("{} bytes came", bytes.len()));
    });
    let program = edge(&origin);
    let mut visitor = Visitor::connect(program.address());
    visitor.send(UPGRADE);
    assert_eq!(visitor.head().unwrap().status(), 101);
    visitor.send("ten bytes.").finish();
    assert_eq!(visitor.to_end(), (b"10 bytes came".to_vec(), Ending::Fin));
}

#[test]
fn a_reset_in_a_tunnel_resets_the_other_side() {
    let origin = Origin::scripted(|visitor| {
        visitor.request();
        visitor.send(SWITCH);
        visitor.remember_to_end();
    });
    let program = edge(&origin);
    let mut visitor = Visitor::connect(program.address());
    visitor.send(UPGRADE);
    assert_eq!(visitor.head().unwrap().status(), 101);
    visitor.reset();
    assert_eq!(origin.wait_for_requests(2)[1].head, "Reset");
}

#[test]
fn bytes_behind_the_101_of_the_origin_are_not_lost() {
    let origin = Origin::scripted(|visitor| {
        visitor.request();
        visitor.send(format!("{SWITCH}first frame"));
        visitor.hold();
    });
    let program = edge(&origin);
    let mut visitor = Visitor::connect(program.address());
    visitor.send(UPGRADE);
    visitor.head();
    visitor.expect("first frame");
}

// CVE-2026-2833: a proxy switched to raw bytes at the request, before any 101.
#[test]
fn bytes_behind_an_upgrade_request_wait_for_its_answer() {
    let origin = Origin::scripted(|visitor| {
        visitor.request();
        let nothing_came = visitor.is_silent();
        visitor.send(SWITCH);
        let frame = visitor.exactly(5);
        visitor.send(format!("{nothing_came} ")).send(frame);
    });
    let program = edge(&origin);
    let mut visitor = Visitor::connect(program.address());
    visitor.send(format!("{UPGRADE}early"));
    assert_eq!(visitor.head().unwrap().status(), 101);
    visitor.expect("true early");
}

#[test]
fn an_answer_other_than_101_keeps_the_connection_http_and_the_bytes_behind_are_the_next_request() {
    let origin = Origin::useful();
    let program = edge(&origin);
    let mut visitor = Visitor::connect(program.address());
    visitor.send(format!("{UPGRADE}GET /bytes/3 HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_eq!(visitor.response().text(), "hello");
    assert_eq!(visitor.response().body.len(), 3);
    assert_eq!(
        origin.requests()[1].field("X-Forwarded-For"),
        Some("127.0.0.1"),
        "checked like any other"
    );
}

#[test]
fn an_upgrade_to_h2c_is_not_forwarded() {
    let origin = Origin::useful();
    let program = edge(&origin);
    let mut visitor = Visitor::connect(program.address());
    for protocol in ["h2c", "websocket, h2c", "H2C"] {
        let answer = visitor.ask(&format!(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {protocol}\r\n\
             HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
        ));
        assert_eq!(answer.text(), "hello");
        let request = origin.requests().pop().unwrap();
        for name in ["Upgrade", "Connection", "HTTP2-Settings"] {
            assert_eq!(request.field(name), None, "{protocol}: {name}");
        }
    }
}

#[test]
fn an_unrequested_101_is_a_502() {
    let origin = Origin::answering(SWITCH);
    let program = edge(&origin);
    let plain = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let unlisted = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n";
    let old = "GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    for request in [plain, unlisted, old] {
        assert_eq!(
            Visitor::connect(program.address()).ask(request).status(),
            502,
            "{request:?}"
        );
    }
}

#[test]
fn a_101_for_another_protocol_than_the_requested_one_is_a_502() {
    let origin = Origin::answering(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n",
    );
    let program = edge(&origin);
    let mut visitor = Visitor::connect(program.address());
    visitor.send(UPGRADE);
    assert_eq!(visitor.response().status(), 502);
}

#[test]
fn an_upgrade_with_a_body_is_an_ordinary_request() {
    let origin = Origin::useful();
    let program = edge(&origin);
    let answer = Visitor::connect(program.address()).ask(
        "POST /sum HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 4\r\n\r\nbody",
    );
    assert!(answer.text().starts_with("4 "), "{answer:?}");
    assert_eq!(origin.requests()[0].field("Upgrade"), None);
}

/// Answers an upgrade with a tunnel that stays open, and everything else with `ok`.
fn switching_or_ok() -> Origin {
    Origin::scripted(|visitor| {
        while let Some(request) = visitor.request() {
            if request.field("Upgrade").is_some() {
                visitor.send(SWITCH);
                return visitor.hold();
            }
            visitor.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    })
}

#[test]
fn idle_websockets_do_not_keep_requests_from_their_upstream() {
    for settings in ["", "[pool]\nmax_per_origin = 128"] {
        let origin = switching_or_ok();
        let program = super::edge_with(settings, &origin);
        let mut tunnels: Vec<_> = (0..130)
            .map(|_| Visitor::connect(program.address()))
            .collect();
        for tunnel in &mut tunnels {
            tunnel.send(UPGRADE);
            assert_eq!(tunnel.head().unwrap().status(), 101, "{settings}");
        }
        assert_eq!(
            Visitor::connect(program.address()).get("/").status(),
            200,
            "{settings}"
        );
    }
}

#[test]
fn an_upgrade_beyond_its_limit_is_answered_503_and_never_sent_to_the_upstream() {
    let origin = switching_or_ok();
    let settings = "[pool]\nmax_upgraded_per_origin = 2\nqueue_wait = \"100ms\"";
    let program = super::edge_with(settings, &origin);
    let mut tunnels: Vec<_> = (0..2)
        .map(|_| Visitor::connect(program.address()))
        .collect();
    for tunnel in &mut tunnels {
        tunnel.send(UPGRADE);
        assert_eq!(tunnel.head().unwrap().status(), 101);
    }
    let mut late = Visitor::connect(program.address());
    let refused = late.ask(UPGRADE);
    assert_eq!(
        (refused.status(), refused.field("Retry-After")),
        (503, Some("1")),
        "{refused:?}"
    );
    assert!(
        refused.text().contains("reason: max-upgraded-per-origin"),
        "{refused:?}"
    );
    assert_eq!(
        late.get("/").status(),
        200,
        "requests have limits of their own"
    );
    assert_eq!(
        origin
            .requests()
            .iter()
            .filter(|request| request.field("Upgrade").is_some())
            .count(),
        2
    );
    // Once a tunnel has ended a slot is free again.
    drop(tunnels.pop());
    program.wait_for_log("max-upgraded-per-origin");
    eventually("a slot is free", || {
        let mut next = Visitor::connect(program.address());
        next.send(UPGRADE);
        next.head().is_some_and(|head| head.status() == 101)
    });
}
