//! No handshake: connections that do not start with a handshake, or never complete one.

use byway_testkit::{Ending, Origin, Visitor};

use super::*;

#[test]
fn a_garbage_greeting_is_closed_with_one_line_in_the_log() {
    let program = egress(&OPEN);
    for (garbage, hint) in [
        (&b"\x00\x01garbage"[..], "neither SOCKS nor HTTP"),
        (b"\x16\x03\x01\x02\0\x01", "TLS?"),
    ] {
        let mut visitor = Visitor::connect(program.address());
        visitor.send(garbage);
        assert!(visitor.to_end().0.is_empty(), "no answer to {garbage:?}");
        program.wait_for_log(hint);
    }
    let log = program.stderr();
    assert_eq!(
        log.lines().count(),
        3,
        "one line each behind the readiness line:\n{log}"
    );
}

#[test]
fn an_invalid_socks_greeting_is_closed() {
    let program = egress(&OPEN);
    for garbage in [
        &[5, 0][..],
        &[5, 1, 0, 4, 1, 0],
        &[5, 1, 0, 5, 1, 7, 1],
        &[4, 1, 0, 80, 0, 0, 0, 1, 0, 0],
    ] {
        let mut visitor = Visitor::connect(program.address());
        visitor.send(garbage).finish();
        visitor.to_end();
    }
    let endless = [&[4, 1, 0, 80, 127, 0, 0, 1][..], &[b'x'; 100_000]].concat();
    let mut visitor = Visitor::connect(program.address());
    visitor.try_send(endless);
    visitor.to_end();
    assert_eq!(
        socks5_reply(program.address(), &socks5(Origin::echo().address())),
        0,
        "the egress still serves"
    );
}

#[test]
fn an_incomplete_handshake_hits_its_deadline() {
    let program = egress_with("[limits]\nhandshake_timeout = \"200ms\"\nhead_timeout = \"200ms\"");
    for beginning in [&b""[..], &[5], &[5, 1], &[5, 1, 0, 5, 1], &[4, 1, 0, 80]] {
        let mut visitor = Visitor::connect(program.address());
        visitor.send(beginning);
        // The egress has to end the connection; the client itself waits indefinitely.
        visitor.to_end();
    }
    let mut http = Visitor::connect(program.address());
    http.send("CONNECT 127.0.0.1:80 HT");
    assert_eq!(http.response().status(), 408);
}

#[test]
fn the_handshake_deadline_does_not_apply_to_an_open_tunnel() {
    let origin = Origin::echo();
    let program = egress_with("[limits]\nhandshake_timeout = \"200ms\"");
    let mut tunnel = through_socks5(program.address(), origin.address());
    let mut slow = Visitor::connect(program.address());
    // The deadline ends this connection, so the tunnel has been open for longer than the deadline.
    assert_eq!(slow.ended(), Ending::Fin);
    tunnel.send("still open").expect("still open");
}
