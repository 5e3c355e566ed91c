//! Sending: what an encoder and a connection refuse to send, and the closing handshake.

#![allow(clippy::unwrap_used)]

mod common;

use byway_ws::{CloseCode, Connection, Encoder, Event, Limits, NotSent, Role};
use common::*;

#[test]
fn nothing_is_sent_after_a_close_frame() {
    let (mut encoder, mut out) = (Encoder::server(), Vec::new());
    encoder
        .close(Some(CloseCode::GOING_AWAY), "restart", &mut out)
        .unwrap();
    let sent = out.clone();
    assert_eq!(encoder.text("a", &mut out), Err(NotSent::Closed));
    assert_eq!(
        encoder.binary_fragment(b"a", false, &mut out),
        Err(NotSent::Closed)
    );
    assert_eq!(encoder.ping(b"", &mut out), Err(NotSent::Closed));
    assert_eq!(encoder.pong(b"", &mut out), Err(NotSent::Closed));
    assert_eq!(encoder.close(None, "", &mut out), Err(NotSent::Closed));
    assert_eq!(out, sent);
    assert_eq!(frames_of(&out, Role::Server), [close(1001, "restart")]);
}

#[test]
fn a_message_within_the_fragments_of_another_is_not_sent() {
    let (mut encoder, mut out) = (Encoder::server(), Vec::new());
    encoder.text_fragment("a", false, &mut out).unwrap();
    let sent = out.clone();
    assert_eq!(encoder.text("b", &mut out), Err(NotSent::MessageUnfinished));
    assert_eq!(
        encoder.binary(b"b", &mut out),
        Err(NotSent::MessageUnfinished)
    );
    assert_eq!(
        encoder.binary_fragment(b"b", true, &mut out),
        Err(NotSent::MessageUnfinished)
    );
    assert_eq!(out, sent);
    encoder.ping(b"", &mut out).unwrap();
    encoder.text_fragment("", true, &mut out).unwrap();
    encoder.binary(b"b", &mut out).unwrap();
    let frames = [
        fragment(TEXT, "a"),
        frame(PING, ""),
        frame(CONTINUATION, ""),
        frame(BINARY, "b"),
    ];
    assert_eq!(frames_of(&out, Role::Server), frames);
}

#[test]
fn a_control_frame_that_is_too_long_is_not_sent() {
    let (mut encoder, mut out) = (Encoder::server(), Vec::new());
    assert_eq!(
        encoder.ping(&[0; 126], &mut out),
        Err(NotSent::ControlTooLong)
    );
    assert_eq!(
        encoder.pong(&[0; 126], &mut out),
        Err(NotSent::ControlTooLong)
    );
    let (code, reason) = (Some(CloseCode::NORMAL), "a".repeat(124));
    assert_eq!(
        encoder.close(code, &reason, &mut out),
        Err(NotSent::ControlTooLong)
    );
    assert_eq!(
        encoder.close(None, "why", &mut out),
        Err(NotSent::ReasonWithoutCode)
    );
    assert!(out.is_empty());
    encoder.close(code, &reason[1..], &mut out).unwrap();
    assert_eq!(frames_of(&out, Role::Server), [close(1000, &reason[1..])]);
}

#[test]
fn every_frame_of_a_client_has_a_key_of_its_own() {
    let mut last = 0_u8;
    let keys = move || {
        last += 1;
        [last; 4]
    };
    let (mut encoder, mut out) = (Encoder::client(keys), Vec::new());
    encoder.text("a", &mut out).unwrap();
    encoder.ping(b"", &mut out).unwrap();
    assert_eq!(out, b"\x81\x81\x01\x01\x01\x01\x60\x89\x80\x02\x02\x02\x02");
    assert_eq!(
        frames_of(&out, Role::Client),
        [frame(TEXT, "a"), frame(PING, "")]
    );
}

/// Passes all bytes; the number of events.
fn receive_all(connection: &mut Connection, bytes: &[u8], out: &mut Vec<u8>) -> usize {
    let (mut unread, mut taken, mut events) = (bytes.to_vec(), 0, 0);
    loop {
        let step = connection.receive(&mut unread[taken..], out).unwrap();
        taken += step.taken;
        match step.event {
            Some(_) => events += 1,
            None => return events,
        }
    }
}

#[test]
fn either_side_may_start_the_closing_handshake() {
    for server_starts in [true, false] {
        let server = Connection::server(Limits::default());
        let client = Connection::client(Limits::default(), || KEY);
        assert_eq!((server.role(), client.role()), (Role::Server, Role::Client));
        let (mut first, mut second) = if server_starts {
            (server, client)
        } else {
            (client, server)
        };
        let (mut there, mut back) = (Vec::new(), Vec::new());
        first
            .close(Some(CloseCode::NORMAL), "done", &mut there)
            .unwrap();
        first
            .close(Some(CloseCode::GOING_AWAY), "", &mut there)
            .unwrap();
        assert!(!first.is_finished(), "the peer has not answered");
        let step = second.receive(&mut there, &mut back).unwrap();
        let Some(Event::Close(Some(close))) = step.event else {
            panic!("no close frame");
        };
        assert_eq!((close.code, close.reason), (CloseCode::NORMAL, "done"));
        assert!(second.is_finished());
        let mut nothing = Vec::new();
        assert_eq!(receive_all(&mut first, &back, &mut nothing), 1);
        assert!(first.is_finished());
        assert!(nothing.is_empty(), "an answer to the answer");
    }
}

#[test]
fn messages_arrive_after_the_own_close_frame_until_that_of_the_peer() {
    let mut connection = Connection::server(Limits::default());
    let (mut closed, mut out) = (Vec::new(), Vec::new());
    connection.close(None, "", &mut closed).unwrap();
    let sent = [
        frame(TEXT, "late"),
        frame(PING, "?"),
        close(1000, ""),
        frame(TEXT, "too late"),
    ];
    let bytes = bytes_of(&sent, Role::Client);
    assert_eq!(receive_all(&mut connection, &bytes, &mut out), 3);
    assert!(connection.is_finished() && out.is_empty(), "{out:x?}");
}

#[test]
fn a_step_writes_one_pong_so_that_the_caller_can_send_it_first() {
    let mut connection = Connection::server(Limits::default());
    let mut bytes = bytes_of(&vec![frame(PING, [0; 125]); 100], Role::Client);
    let mut out = Vec::new();
    let step = connection.receive(&mut bytes, &mut out).unwrap();
    assert_eq!((step.taken, out.len()), (131, 127));
}
