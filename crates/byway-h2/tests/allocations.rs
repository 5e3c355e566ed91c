//! No allocation for a request in the steady state: head, body, response and release, in both
//! roles.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Instant;

use byway_h2::{Connection, Event, Limits, StreamId};
use byway_head::{Framed, HeadOut, Malformed, RequestHead, ResponseHead, Scheme};
use common::*;

/// Bytes from one connection to another, with their events.
fn pass(
    from: &mut Connection,
    to: &mut Connection,
    now: Instant,
    mut handle: impl FnMut(&mut Connection, Event, &[u8]),
) {
    let bytes = from.out();
    let len = bytes.len();
    let mut rest = bytes;
    loop {
        let step = to.read(rest, now).unwrap();
        let is_over = step.event.is_none() && step.taken == 0;
        if let Some(event) = step.event {
            handle(to, event, rest);
        }
        rest = &rest[step.taken..];
        if is_over {
            break;
        }
    }
    from.written(len);
}

#[test]
fn an_exchange_allocates_nothing_in_the_steady_state() {
    let now = Instant::now();
    let mut client = Connection::client(Limits::default(), now);
    let mut server = Connection::server(Limits::default(), now);
    let (mut request, mut request_text) = (RequestHead::default(), Vec::new());
    let (mut response, mut response_text) = (ResponseHead::default(), Vec::new());
    let body = [7; 1024];
    let mut exchange = || {
        let mut ids: [Option<StreamId>; 8] = [None; 8];
        for id in &mut ids {
            let opened = client.open(Scheme::Https, None, false, |head| {
                head.request(b"POST", b"/path?query", b"example.com")?;
                head.field(b"user-agent", b"test")?;
                head.field(b"accept", b"*/*")?;
                head.framing(Framed::Length(1024));
                Ok::<_, Malformed>(())
            });
            *id = opened.unwrap();
            assert_eq!(client.send(id.unwrap(), &body, true), 1024);
        }
        let mut answered = 0;
        pass(
            &mut client,
            &mut server,
            now,
            |server, event, bytes| match event {
                Event::Head { .. } => server.take_request(&mut request, &mut request_text),
                Event::Data { id, range, end } => {
                    assert_eq!(bytes[range.clone()].len(), range.len());
                    server.credit(id, range.len());
                    if end {
                        let written = server.head(id, false, |head| {
                            head.response(200, b"")?;
                            head.field(b"content-type", b"text/plain")?;
                            head.framing(Framed::Length(1024));
                            Ok::<_, Malformed>(())
                        });
                        written.unwrap();
                        assert_eq!(server.send(id, &body, true), 1024);
                        server.release(id);
                        answered += 1;
                    }
                }
                _ => {}
            },
        );
        assert_eq!(answered, 8);
        let mut done = 0;
        pass(
            &mut server,
            &mut client,
            now,
            |client, event, _| match event {
                Event::Head { .. } => client.take_response(&mut response, &mut response_text),
                Event::Data { id, range, end } => {
                    client.credit(id, range.len());
                    if end {
                        client.release(id);
                        done += 1;
                    }
                }
                _ => {}
            },
        );
        assert_eq!(done, 8);
    };
    for _ in 0..100 {
        exchange();
    }
    let info = allocation_counter::measure(|| {
        for _ in 0..100 {
            exchange();
        }
    });
    assert_eq!(info.count_total, 0, "{info:?}");
}

#[test]
fn waiting_and_taking_turns_allocates_nothing_in_the_steady_state() {
    let mut peer = Peer::of_server(Limits::default());
    peer.send(&settings(&[(4, 0x7fff_0000)]))
        .send(&window_update(0, 0x7fff_0000 - 65_535));
    let mut ids = Vec::new();
    for n in 0..16 {
        peer.send(&get(2 * n + 1));
        let id = peer.last_request();
        peer.respond(id, 1 << 40);
        ids.push(id);
    }
    let body = vec![0; 100_000];
    let connection = &mut peer.connection;
    let mut round = || {
        for id in &ids {
            connection.send(*id, &body, false);
        }
        connection.written(usize::MAX);
        while let Some(id) = connection.next_turn() {
            connection.send(id, &body, false);
        }
        connection.written(usize::MAX);
    };
    for _ in 0..100 {
        round();
    }
    let info = allocation_counter::measure(|| {
        for _ in 0..100 {
            round();
        }
    });
    assert_eq!(info.count_total, 0, "{info:?}");
}

#[test]
fn an_idle_connection_that_was_trimmed_is_small() {
    let info = allocation_counter::measure(|| {
        let mut peer = Peer::of_answering_server(10_000);
        peer.send(&window_update(0, 10_000_000));
        for n in 0..100 {
            peer.send(&get(2 * n + 1));
        }
        assert_eq!(peer.connection.open_streams(), 0);
        let Peer { mut connection, .. } = peer;
        connection.trim();
        let bytes = size_of_val(&connection);
        assert!(bytes <= 2048, "{bytes} bytes in place");
        KEPT.with_borrow_mut(|kept| *kept = Some(connection));
    });
    // The tables of both directions are a part of it.
    assert!(info.bytes_current <= 2 * 1024, "{info:?}");
}

thread_local! {
    static KEPT: std::cell::RefCell<Option<Connection>> = const { std::cell::RefCell::new(None) };
}
