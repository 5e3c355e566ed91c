//! What a user of the connection sees, in both roles: heads, bodies, windows, turns and the end.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Duration;

use byway_h2::{Connection, ErrorCode, Event, Limits, Priority, ResetCause};
use byway_head::{Field, Framed, HeadOut, Malformed, Scheme};
use common::*;

fn sent(peer: &Peer) -> Vec<(u8, u8, u32, usize)> {
    let frames = peer.frames.iter();
    frames
        .map(|frame| (frame.kind, frame.flags, frame.stream, frame.payload.len()))
        .collect()
}

/// The streams of the DATA that was sent, in order.
fn data_order(peer: &Peer) -> Vec<u32> {
    peer.sent(DATA).iter().map(|frame| frame.stream).collect()
}

fn respond_bare(connection: &mut Connection, id: byway_h2::StreamId, status: u16) {
    let written = connection.head(id, status < 200, |head| {
        head.response(status, b"")?;
        head.end();
        Ok::<_, Malformed>(())
    });
    written.unwrap();
}

#[test]
fn a_response_without_a_body_is_one_frame() {
    let mut peer = Peer::of_server(Limits::default());
    peer.send(&get(1));
    let id = peer.last_request();
    respond_bare(&mut peer.connection, id, 204);
    peer.connection.send(id, &[], true);
    peer.flush();
    assert!(
        matches!(sent(&peer)[..], [(HEADERS, 5, 1, _)]),
        "{:?}",
        sent(&peer)
    );
}

#[test]
fn the_end_of_a_response_gets_a_frame_of_its_own_if_its_head_was_written() {
    let mut peer = Peer::of_server(Limits::default());
    peer.send(&get(1));
    let id = peer.last_request();
    respond_bare(&mut peer.connection, id, 200);
    peer.flush();
    peer.connection.send(id, &[], true);
    peer.flush();
    assert!(matches!(
        sent(&peer)[..],
        [(HEADERS, END_HEADERS, 1, _), (DATA, END_STREAM, 1, 0)]
    ));
}

#[test]
fn data_in_small_pieces_joins_one_frame_until_it_is_written() {
    let mut peer = Peer::of_server(Limits::default());
    peer.send(&get(1)).send(&get(3));
    let [
        Event::Head { id: first, .. },
        Event::Head { id: second, .. },
    ] = peer.events[..]
    else {
        panic!("{:?}", peer.events);
    };
    peer.respond(first, 30);
    peer.respond(second, 10);
    for _ in 0..2 {
        assert_eq!(peer.connection.send(first, b"0123456789", false), 10);
    }
    assert_eq!(peer.connection.send(second, b"0123456789", true), 10);
    assert_eq!(peer.connection.send(first, b"0123456789", true), 10);
    peer.flush();
    let frames: Vec<_> = sent(&peer)
        .into_iter()
        .filter(|frame| frame.0 == DATA)
        .collect();
    let expected = [
        (DATA, 0, 1, 20),
        (DATA, END_STREAM, 3, 10),
        (DATA, END_STREAM, 1, 10),
    ];
    assert_eq!(frames, expected);
}

#[test]
fn interim_responses_precede_the_final_one() {
    let mut peer = Peer::of_server(Limits::default());
    peer.send(&post(1));
    let id = peer.last_request();
    respond_bare(&mut peer.connection, id, 100);
    respond_bare(&mut peer.connection, id, 103);
    // An interim head is no head to send data after.
    assert_eq!(peer.connection.send(id, b"x", true), 0);
    respond_bare(&mut peer.connection, id, 200);
    assert_eq!(peer.connection.send(id, b"x", true), 1);
    peer.flush();
    let kinds: Vec<_> = peer.frames.iter().map(|frame| frame.kind).collect();
    assert_eq!(kinds, [HEADERS, HEADERS, HEADERS, DATA]);
}

#[test]
fn trailers_end_a_response() {
    let mut peer = Peer::of_server(Limits::default());
    peer.send(&get(1));
    let id = peer.last_request();
    respond_bare(&mut peer.connection, id, 200);
    peer.connection.send(id, b"x", false);
    let bad = Field {
        name: b"a b",
        value: b"",
    };
    assert!(peer.connection.trailers(id, [bad]).is_err());
    let status = Field {
        name: b"grpc-status",
        value: b"0",
    };
    peer.connection.trailers(id, [status]).unwrap();
    peer.flush();
    let frames = sent(&peer);
    assert!(
        matches!(frames[2], (HEADERS, 5, 1, _)) && frames.len() == 3,
        "{frames:?}"
    );
    // Nothing follows the end.
    assert_eq!(peer.connection.send(id, b"x", true), 0);
    peer.connection.trailers(id, [status]).unwrap();
    assert!(peer.connection.out().is_empty());
}

#[test]
fn no_trailers_are_a_plain_end() {
    let mut peer = Peer::of_server(Limits::default());
    peer.send(&get(1));
    let id = peer.last_request();
    respond_bare(&mut peer.connection, id, 200);
    peer.connection.send(id, b"x", false);
    peer.connection.trailers(id, []).unwrap();
    peer.flush();
    assert_eq!(sent(&peer)[1], (DATA, END_STREAM, 1, 1));
}

#[test]
fn a_head_that_cannot_be_written_leaves_nothing_and_the_next_one_is_right() {
    let now = std::time::Instant::now();
    let mut server = Peer::of_server(Limits::default());
    server.send(&get(1));
    let id = server.last_request();
    let refused = server.connection.head(id, false, |head| {
        head.response(200, b"")?;
        head.field(b"x-first", b"of many")?;
        head.field(b"x-bad", b"a\r\nb")
    });
    assert!(refused.is_err() && server.connection.out().is_empty());
    server
        .connection
        .head(id, false, |head| {
            head.response(200, b"")?;
            head.field(b"x-first", b"of many")?;
            head.end();
            Ok::<_, Malformed>(())
        })
        .unwrap();
    server.connection.send(id, &[], true);
    // A client understands it.
    let mut client = Connection::client(Limits::default(), now);
    let request = client.open(Scheme::Http, None, true, |head| {
        head.request(b"GET", b"/", b"localhost")
    });
    assert!(request.unwrap().is_some());
    let begin = settings(&[]);
    client.read(&begin, now).unwrap();
    let response = server.connection.out().to_vec();
    let step = client.read(&response, now).unwrap();
    assert!(matches!(step.event, Some(Event::Head { end: true, .. })));
    assert_eq!(client.response().field("x-first"), Some(&b"of many"[..]));
}

#[test]
fn a_stale_id_does_nothing() {
    let mut peer = Peer::of_server(Limits::default());
    peer.send(&get(1));
    let old = peer.last_request();
    peer.connection.reset(old, ErrorCode::CANCEL);
    peer.connection.release(old);
    peer.flush().send(&get(3));
    let new = peer.last_request();
    assert_eq!(old.slot(), new.slot());
    peer.flush().frames.clear();
    let connection = &mut peer.connection;
    respond_bare(connection, old, 200);
    assert_eq!(connection.send(old, b"x", true), 0);
    connection.credit(old, 1000);
    connection.reset(old, ErrorCode::CANCEL);
    connection.release(old);
    connection.set_priority(old, Priority::default());
    assert!(connection.out().is_empty() && connection.open_streams() == 1);
}

#[test]
fn a_slot_is_free_when_the_work_has_ended_and_not_when_the_stream_has() {
    let limits = Limits {
        streams: 1,
        ..Limits::default()
    };
    let mut peer = Peer::of_server(limits);
    peer.send(&get(1)).send(&reset(1, ErrorCode::CANCEL));
    let id = peer.last_request();
    let cause = ResetCause::Peer;
    let code = ErrorCode::CANCEL;
    assert_eq!(peer.events.last(), Some(&Event::Reset { id, code, cause }));
    peer.send(&get(3));
    assert_eq!(peer.reset_code(3), Some(ErrorCode::REFUSED_STREAM));
    peer.connection.release(id);
    peer.send(&get(5));
    assert_eq!(peer.last_request().number(), 5);
}

#[test]
fn a_server_that_needs_no_more_of_an_upload_resets_it_without_an_error() {
    let mut peer = Peer::of_server(Limits::default());
    peer.send(&post(1));
    let id = peer.last_request();
    peer.respond(id, 2);
    peer.connection.send(id, b"no", true);
    peer.connection.release(id);
    peer.flush();
    assert_eq!(peer.reset_code(1), Some(ErrorCode::NO_ERROR));
    // What was on its way is ignored.
    peer.send(&data(1, 0, b"more"))
        .send(&headers(1, END_STREAM, &[("x", "y")]));
    peer.expect_alive();
}

#[test]
fn a_stream_that_is_dropped_is_reset() {
    let mut peer = Peer::of_server(Limits::default());
    peer.send(&get(1));
    let id = peer.last_request();
    peer.connection.release(id);
    peer.flush();
    assert_eq!(peer.reset_code(1), Some(ErrorCode::INTERNAL_ERROR));
}

#[test]
fn the_window_of_a_stream_that_is_read_fast_grows_and_is_announced_by_halves() {
    let mut peer = Peer::of_server(Limits::default());
    peer.send(&post(1));
    for _ in 0..2 {
        peer.send(&data(1, 0, &[0; 16_384]));
    }
    let updates = peer.sent(WINDOW_UPDATE);
    let increments: Vec<_> = updates
        .iter()
        .filter(|update| update.stream == 1)
        .map(|update| u32::from_be_bytes(update.payload[..].try_into().unwrap()))
        .collect();
    // 32 KiB were returned, and the window has doubled.
    assert_eq!(increments, [32_768 + 65_536]);
    for _ in 0..400 {
        peer.send(&data(1, 0, &[0; 16_384]));
    }
    assert_eq!(peer.error, None);
    let granted: u64 = peer
        .sent(WINDOW_UPDATE)
        .iter()
        .filter(|update| update.stream == 1)
        .map(|update| u64::from(u32::from_be_bytes(update.payload[..].try_into().unwrap())))
        .sum();
    let unused = 65_536 + granted - 402 * 16_384;
    assert!(unused <= 1024 * 1024, "a window of {unused} bytes");
    assert!(peer.sent(WINDOW_UPDATE).len() < 50);
}

#[test]
fn a_body_of_known_length_that_fits_needs_no_window() {
    let mut peer = Peer::of_server(Limits::default());
    let head = with(&POST, &[("content-length", "65536")]);
    peer.send(&headers(1, 0, &head));
    for flags in [0, 0, 0, END_STREAM] {
        peer.send(&data(1, flags, &[0; 16_384]));
    }
    assert!(peer.sent(WINDOW_UPDATE).is_empty());
    assert!(matches!(
        peer.events.last(),
        Some(Event::Data { end: true, .. })
    ));
}

#[test]
fn credit_that_a_node_withholds_is_granted_later() {
    let mut peer = Peer::of_server(Limits::default());
    peer.connection.withhold_credit(true);
    peer.send(&post(1));
    for _ in 0..4 {
        peer.send(&data(1, 0, &[0; 16_384]));
    }
    assert!(peer.sent(WINDOW_UPDATE).is_empty());
    peer.connection.withhold_credit(false);
    peer.flush();
    let streams: Vec<_> = peer
        .sent(WINDOW_UPDATE)
        .iter()
        .map(|update| update.stream)
        .collect();
    assert_eq!(streams, [1]);
}

/// Requests with these priorities, each answered with 40,000 bytes, on a connection whose peer has
/// opened no window of the connection.
fn waiting(priorities: &[&str]) -> Peer {
    let mut peer = Peer::of_answering_server(40_000);
    peer.send(&settings(&[(4, 1_000_000)]));
    // Uses up the window of the connection.
    peer.answers = Some(65_535);
    peer.send(&get(1));
    peer.answers = Some(40_000);
    for (priority, stream) in priorities.iter().zip((3..).step_by(2)) {
        let fields = match priority {
            &"" => GET.to_vec(),
            value => with(&GET, &[("priority", value)]),
        };
        peer.send(&headers(stream, END_STREAM, &fields));
    }
    peer.frames.clear();
    peer
}

#[test]
fn the_most_urgent_response_is_sent_first() {
    let mut peer = waiting(&["u=5", "u=1", "u=3"]);
    peer.send(&window_update(0, 1_000_000));
    let mut order = data_order(&peer);
    order.dedup();
    assert_eq!(order, [5, 7, 3]);
}

#[test]
fn responses_without_a_priority_take_turns_of_16_kib() {
    let mut peer = waiting(&["", "", ""]);
    peer.send(&window_update(0, 1_000_000));
    assert_eq!(data_order(&peer), [3, 5, 7, 3, 5, 7, 3, 5, 7]);
}

#[test]
fn a_response_that_is_not_incremental_is_sent_whole() {
    let mut peer = waiting(&["u=3", "u=3"]);
    for _ in 0..5 {
        peer.send(&window_update(0, 16_384));
    }
    assert_eq!(data_order(&peer), [3, 3, 3, 5, 5, 5]);
}

#[test]
fn a_priority_update_moves_a_response_that_waits() {
    let mut peer = waiting(&["u=3", "u=3"]);
    let mut payload = 5u32.to_be_bytes().to_vec();
    payload.extend(b"u=0");
    peer.send(&frame(PRIORITY_UPDATE, 0, 0, &payload));
    peer.send(&window_update(0, 1_000_000));
    assert_eq!(data_order(&peer)[0], 5);
}

#[test]
fn a_priority_update_may_precede_its_request() {
    let mut peer = waiting(&["u=3"]);
    let mut payload = 5u32.to_be_bytes().to_vec();
    payload.extend(b"u=0");
    peer.send(&frame(PRIORITY_UPDATE, 0, 0, &payload))
        .send(&get(5));
    peer.send(&window_update(0, 1_000_000));
    assert_eq!(data_order(&peer)[0], 5);
}

#[test]
fn a_turn_that_is_not_used_goes_to_the_next_stream() {
    let mut peer = Peer::of_server(Limits::default());
    peer.send(&settings(&[(4, 1_000_000)]));
    for stream in [1, 3, 5] {
        peer.send(&get(stream));
    }
    let ids: Vec<_> = peer
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Head { id, .. } => Some(*id),
            _ => None,
        })
        .collect();
    for id in &ids {
        respond_bare(&mut peer.connection, *id, 200);
    }
    peer.flush();
    let body = vec![0; 100_000];
    let connection = &mut peer.connection;
    // The first takes the backlog, and then the window, of the connection.
    let first = connection.send(ids[0], &body, false);
    connection.written(usize::MAX);
    assert_eq!(connection.next_turn(), None);
    assert_eq!(connection.send(ids[0], &body[first..], false), 0);
    assert_eq!(connection.send(ids[1], &body, false), 0);
    assert_eq!(connection.send(ids[2], &body, false), 0);
    let now = peer.now;
    connection.read(&window_update(0, 16_384), now).unwrap();
    let turns: Vec<_> = std::iter::from_fn(|| connection.next_turn()).collect();
    assert_eq!(turns, [ids[0]]);
    // It does not send: in the next round it is the second one's turn.
    assert_eq!(connection.next_turn(), Some(ids[1]));
    assert_eq!(connection.next_turn(), None);
    assert_eq!(connection.send(ids[1], &body, false), 16_384);
    assert_eq!(connection.send(ids[0], &body, false), 0);
    connection.check_invariants();
    // Both wait behind the third.
    connection.written(usize::MAX);
    connection.read(&window_update(0, 16_384), now).unwrap();
    assert_eq!(connection.next_turn(), Some(ids[2]));
}

#[test]
fn a_turn_that_is_not_used_lapses_after_a_while() {
    let mut peer = waiting(&["", ""]);
    peer.takes = false;
    let (connection, now) = (&mut peer.connection, peer.now);
    connection.read(&window_update(0, 16_384), now).unwrap();
    assert_eq!(connection.deadline(), None);
    let turns: Vec<_> = std::iter::from_fn(|| connection.next_turn()).collect();
    assert_eq!(turns.len(), 1);
    // The loop of the connection sleeps: nothing else happens.
    let due = connection.deadline().expect("a deadline");
    assert_eq!(due, now + Duration::from_millis(100));
    connection.expire(due).unwrap();
    connection.check_invariants();
    let next = connection.next_turn().expect("the turn of the other");
    assert_eq!(next.number(), 5);
    assert_eq!(connection.next_turn(), None);
    // It is used, and nobody waits.
    assert_eq!(connection.send(next, &[0; 16_384], false), 16_384);
    assert_eq!(connection.deadline(), None);
}

#[test]
fn a_stream_that_ends_gives_its_turn_back() {
    let mut peer = waiting(&["", ""]);
    peer.takes = false;
    let now = peer.now;
    peer.connection
        .read(&window_update(0, 16_384), now)
        .unwrap();
    let turn = peer.connection.next_turn().expect("a turn");
    assert_eq!(turn.number(), 3);
    assert_eq!(peer.connection.next_turn(), None);
    peer.connection.release(turn);
    peer.connection.check_invariants();
    assert_eq!(peer.connection.next_turn().map(|id| id.number()), Some(5));
}

#[test]
fn a_server_drains_in_two_steps() {
    let mut peer = Peer::of_server(Limits::default());
    peer.answers = Some(10);
    let now = peer.now;
    peer.connection.drain(now);
    peer.flush();
    assert_eq!(
        (peer.frames[0].kind, &peer.frames[0].payload[..4]),
        (GOAWAY, &b"\x7f\xff\xff\xff"[..])
    );
    let drain_ping = peer.frames[1].payload.clone();
    // A request that was on its way.
    peer.send(&get(1)).expect_response(1);
    peer.send(&post(3)).frames.clear();
    peer.send(&frame(PING, ACK, 0, &drain_ping));
    assert_eq!(
        (peer.frames[0].kind, &peer.frames[0].payload[..]),
        (GOAWAY, &[0, 0, 0, 3, 0, 0, 0, 0][..])
    );
    // One after the second GOAWAY is ignored, with all of its frames.
    peer.send(&post(5))
        .send(&data(5, 0, b"x"))
        .send(&window_update(5, 1));
    peer.send(&reset(5, ErrorCode::CANCEL));
    assert_eq!((peer.error, peer.frames.len()), (None, 1));
    assert!(!peer.connection.is_drained());
    peer.send(&data(3, END_STREAM, b"x")).expect_response(3);
    assert!(peer.connection.is_drained() && peer.connection.out().is_empty());
}

#[test]
fn the_second_step_follows_after_a_second_without_an_answer() {
    let mut peer = Peer::of_server(Limits::default());
    let now = peer.now;
    peer.connection.drain(now);
    assert_eq!(
        peer.connection.deadline(),
        Some(now + Duration::from_secs(1))
    );
    peer.wait(Duration::from_millis(999));
    assert_eq!(peer.sent(GOAWAY).len(), 1);
    peer.wait(Duration::from_millis(1));
    assert_eq!(peer.sent(GOAWAY).len(), 2);
    assert!(peer.connection.is_drained());
}

#[test]
fn settings_that_are_not_acknowledged_end_the_connection() {
    let mut peer = Peer::of_fresh_server(Limits::default());
    peer.send(byway_h2::PREFACE).send(&settings(&[]));
    let due = peer.connection.deadline().expect("a deadline");
    assert_eq!(due - peer.now, Duration::from_secs(10));
    peer.wait(Duration::from_secs(10));
    peer.expect_connection_error(ErrorCode::SETTINGS_TIMEOUT);
}

#[test]
fn a_ping_reports_how_long_its_answer_took() {
    let mut peer = Peer::of_server(Limits::default());
    let now = peer.now;
    peer.connection.ping(now);
    peer.connection.ping(now);
    peer.flush();
    let [ping] = peer.sent(PING)[..] else {
        panic!("{:?}", peer.frames);
    };
    let ack = frame(PING, ACK, 0, &ping.payload);
    peer.now += Duration::from_millis(30);
    peer.send(&ack);
    let elapsed = Duration::from_millis(30);
    assert_eq!(peer.events, [Event::Pong { elapsed }]);
    assert_eq!(peer.connection.pinged(), None);
}

#[test]
fn an_extended_connect_is_an_upgrade() {
    let fields = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "https"),
        (":path", "/chat"),
        (":authority", "localhost"),
    ];
    let mut peer = Peer::of_server(Limits::default());
    peer.send(&headers(1, 0, &fields));
    let id = peer.last_request();
    let (mut head, mut text) = Default::default();
    peer.connection.take_request(&mut head, &mut text);
    let request = head.view(&text);
    assert_eq!(
        (request.upgrade(), request.path()),
        (Some(&b"websocket"[..]), &b"/chat"[..])
    );
    // Data flows both ways, without a length.
    respond_bare(&mut peer.connection, id, 200);
    peer.send(&data(1, 0, b"ping"));
    assert_eq!(peer.connection.send(id, b"pong", false), 4);
    let limits = Limits {
        extended_connect: false,
        ..Limits::default()
    };
    let mut peer = Peer::of_server(limits);
    peer.send(&headers(1, 0, &fields));
    assert_eq!(peer.reset_code(1), Some(ErrorCode::PROTOCOL_ERROR));
}

#[test]
fn memory_is_freed_when_a_connection_is_idle_and_it_goes_on_afterwards() {
    let mut peer = Peer::of_answering_server(100_000);
    peer.send(&settings(&[(4, 1_000_000)]))
        .send(&window_update(0, 10_000_000));
    for n in 0..50 {
        peer.send(&get(2 * n + 1));
        peer.connection.trim();
        peer.expect_response(2 * n + 1);
    }
}

#[test]
fn a_client_gets_interim_and_final_heads_data_and_trailers() {
    let mut peer = Peer::of_client(Limits::default());
    let id = peer.open("GET", true);
    peer.send(&headers(1, 0, &[(":status", "103"), ("link", "</a>")]));
    peer.send(&headers(
        1,
        0,
        &[(":status", "200"), ("content-length", "4")],
    ));
    peer.send(&data(1, 0, b"test"));
    peer.send(&headers(1, END_STREAM, &[("x-sum", "1")]));
    let head = Event::Head { id, end: false };
    let range = 9..13;
    let data = Event::Data {
        id,
        range,
        end: false,
    };
    assert_eq!(
        peer.events,
        [head.clone(), head, data, Event::Trailers { id }]
    );
    let (mut section, mut text) = Default::default();
    peer.connection.take_trailers(&mut section, &mut text);
    let mut trailers = byway_head::Trailers::new(&section, &text);
    assert_eq!(trailers.next().map(|field| field.value), Some(&b"1"[..]));
    assert_eq!(peer.error, None);
}

#[test]
fn responses_that_have_no_body_may_describe_one() {
    for (method, status) in [("HEAD", "200"), ("GET", "304")] {
        let mut peer = Peer::of_client(Limits::default());
        let id = peer.open(method, true);
        let fields = [(":status", status), ("content-length", "1234")];
        peer.send(&headers(1, END_STREAM, &fields));
        assert_eq!(
            peer.events,
            [Event::Head { id, end: true }],
            "{method} {status}"
        );
        assert_eq!(peer.reset_code(1), None);
    }
}

#[test]
fn responses_that_have_no_body_may_not_send_one() {
    for (method, status) in [("HEAD", "200"), ("GET", "204"), ("GET", "304")] {
        let mut peer = Peer::of_client(Limits::default());
        peer.open(method, true);
        peer.send(&headers(1, 0, &[(":status", status)]));
        peer.send(&data(1, END_STREAM, b"x"));
        assert_eq!(
            peer.reset_code(1),
            Some(ErrorCode::PROTOCOL_ERROR),
            "{method} {status}"
        );
        assert!(matches!(peer.events.last(), Some(Event::Reset { .. })));
    }
    // An end without data is none.
    let mut peer = Peer::of_client(Limits::default());
    let id = peer.open("HEAD", true);
    peer.send(&headers(1, 0, &[(":status", "200")]))
        .send(&data(1, END_STREAM, b""));
    assert!(matches!(
        peer.events.last(),
        Some(Event::Data { end: true, .. })
    ));
    peer.connection.release(id);
    assert_eq!(peer.reset_code(1), None);
}

#[test]
fn malformed_responses_are_reset_and_reported() {
    let length_differs = [(":status", "200"), ("content-length", "5")];
    let two_lengths = with(&length_differs, &[("content-length", "5")]);
    for fields in [
        &[("x", "y")][..],
        &[(":status", "101")],
        &[(":status", "2000")],
        &[(":status", "200"), ("connection", "close")],
        &[(":path", "/")],
        &length_differs,
        &two_lengths,
    ] {
        let mut peer = Peer::of_client(Limits::default());
        let id = peer.open("GET", true);
        peer.send(&headers(1, END_STREAM, fields));
        assert_eq!(
            peer.reset_code(1),
            Some(ErrorCode::PROTOCOL_ERROR),
            "{fields:?}"
        );
        assert!(
            matches!(peer.events[..], [Event::Malformed { id: Some(other), .. }] if other == id)
        );
        assert_eq!(peer.error, None);
    }
}

#[test]
fn a_refused_stream_is_unsent_and_another_reset_is_not() {
    for (code, unsent) in [
        (ErrorCode::REFUSED_STREAM, true),
        (ErrorCode::CANCEL, false),
    ] {
        let mut peer = Peer::of_client(Limits::default());
        let id = peer.open("GET", true);
        peer.send(&reset(1, code));
        let [event] = &peer.events[..] else {
            panic!("{:?}", peer.events);
        };
        assert_eq!(event.is_unsent(), unsent, "{code}");
        peer.connection.release(id);
        assert_eq!(peer.connection.open_streams(), 0);
    }
}

#[test]
fn streams_above_the_last_one_of_a_goaway_are_unsent_and_those_below_go_on() {
    let mut peer = Peer::of_client(Limits::default());
    let (one, three, five) = (
        peer.open("GET", true),
        peer.open("POST", false),
        peer.open("GET", true),
    );
    peer.send(&frame(GOAWAY, 0, 0, b"\0\0\0\x01\0\0\0\x0b"));
    let code = ErrorCode::ENHANCE_YOUR_CALM;
    let cause = ResetCause::GoAway;
    let expected = [
        Event::GoAway { last: 1, code },
        Event::Reset {
            id: three,
            code,
            cause,
        },
        Event::Reset {
            id: five,
            code,
            cause,
        },
    ];
    assert_eq!(peer.events, expected);
    assert!(peer.events[1].is_unsent());
    assert!(!peer.connection.can_open());
    assert_eq!(peer.connection.send(three, b"x", true), 0);
    for id in [three, five] {
        peer.connection.release(id);
    }
    // Nothing is sent on streams that the peer does not know.
    assert!(peer.flush().sent(RST_STREAM).is_empty());
    peer.send(&headers(1, END_STREAM, &[(":status", "200")]));
    assert_eq!(
        peer.events.last(),
        Some(&Event::Head { id: one, end: true })
    );
}

#[test]
fn a_client_opens_as_many_streams_as_the_peer_allows() {
    let mut peer = Peer::of_client(Limits::default());
    assert_eq!(peer.connection.free_streams(), 128);
    peer.send(&settings(&[(3, 2)]));
    let one = peer.open("GET", true);
    peer.open("GET", true);
    assert!(!peer.connection.can_open());
    let refused = peer.connection.open(Scheme::Http, None, true, |_| Err(()));
    assert_eq!(refused, Ok(None), "the function is not called");
    peer.send(&headers(1, END_STREAM, &[(":status", "200")]));
    peer.connection.release(one);
    assert_eq!(peer.connection.free_streams(), 1);
}

#[test]
fn a_client_that_drops_a_stream_cancels_it() {
    let mut peer = Peer::of_client(Limits::default());
    let id = peer.open("GET", true);
    peer.connection.release(id);
    peer.flush();
    assert_eq!(peer.reset_code(1), Some(ErrorCode::CANCEL));
    // The response that was on its way is ignored.
    peer.send(&headers(1, 0, &[(":status", "200")]))
        .send(&data(1, END_STREAM, b"x"));
    assert_eq!((peer.error, peer.events.len()), (None, 0));
}

#[test]
fn a_tunnel_has_no_length() {
    let mut peer = Peer::of_client(Limits::default());
    let opened = peer
        .connection
        .open(Scheme::Https, Some(b"websocket"), false, |head| {
            head.request(b"GET", b"/chat", b"localhost")
        });
    let id = opened.unwrap().expect("room");
    peer.flush();
    peer.send(&headers(1, 0, &[(":status", "200")]));
    peer.send(&data(1, 0, b"hello"))
        .send(&data(1, END_STREAM, b"bye"));
    assert_eq!(peer.bodies, [(1, b"hellobye".to_vec())]);
    assert_eq!(peer.connection.send(id, b"later", true), 5);
}

#[test]
fn a_server_that_pushes_or_begins_streams_is_refused() {
    let mut promise = 2u32.to_be_bytes().to_vec();
    promise.extend(block(&GET));
    for attack in [
        frame(PUSH_PROMISE, END_HEADERS, 1, &promise),
        headers(2, END_STREAM, &[(":status", "200")]),
        headers(3, END_STREAM, &[(":status", "200")]),
        data(3, 0, b"x"),
        frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0\x01u=1"),
        settings(&[(2, 1)]),
    ] {
        let mut peer = Peer::of_client(Limits::default());
        peer.open("GET", true);
        peer.send(&attack);
        peer.expect_connection_error(ErrorCode::PROTOCOL_ERROR);
    }
}

#[test]
fn a_body_before_its_head_is_refused() {
    let mut peer = Peer::of_client(Limits::default());
    peer.open("GET", true);
    peer.send(&headers(1, 0, &[(":status", "100")]))
        .send(&data(1, 0, b"x"));
    assert_eq!(peer.reset_code(1), Some(ErrorCode::PROTOCOL_ERROR));
}

#[test]
fn a_client_that_drains_opens_nothing_and_ends_with_its_last_stream() {
    let mut peer = Peer::of_client(Limits::default());
    let id = peer.open("GET", true);
    let now = peer.now;
    peer.connection.drain(now);
    assert!(!peer.connection.can_open() && !peer.connection.is_drained());
    peer.send(&headers(1, 0, &[(":status", "200")]))
        .send(&data(1, END_STREAM, b"x"));
    assert!(matches!(
        peer.events.last(),
        Some(Event::Data { end: true, .. })
    ));
    peer.connection.release(id);
    assert!(peer.connection.is_drained());
}

#[test]
fn the_length_of_a_response_is_written() {
    let mut peer = Peer::of_server(Limits::default());
    peer.send(&get(1));
    let id = peer.last_request();
    peer.connection
        .head(id, false, |head| {
            head.response(200, b"OK")?;
            head.framing(Framed::Length(1234));
            head.connection("close");
            Ok::<_, Malformed>(())
        })
        .unwrap();
    peer.flush();
    // `content-length` is entry 28 of the static table.
    assert!(peer.frames[0].payload.starts_with(&[0x88]));
}

#[test]
fn nothing_follows_the_goaway_of_an_error() {
    let mut peer = Peer::of_server(Limits::default());
    peer.send(&post(1));
    let id = peer.last_request();
    respond_bare(&mut peer.connection, id, 200);
    peer.flush().send(&data(3, 0, b"x"));
    peer.expect_connection_error(ErrorCode::PROTOCOL_ERROR);
    let (connection, now) = (&mut peer.connection, peer.now);
    assert_eq!(connection.send(id, b"x", true), 0);
    connection.trailers(id, []).unwrap();
    connection.ping(now);
    connection.drain(now);
    connection.close(ErrorCode::NO_ERROR);
    connection.credit(id, 1000);
    connection.release(id);
    assert!(connection.out().is_empty());
    // What the peer still sends is taken.
    let step = connection.read(&get(5), now).unwrap();
    assert_eq!((step.taken, step.event), (get(5).len(), None));
}

#[test]
fn a_single_response_fills_the_backlog_at_each_turn() {
    let mut peer = waiting(&[]);
    peer.answers = Some(1_000_000);
    peer.send(&window_update(0, 10_000_000));
    peer.takes = false;
    peer.send(&get(3));
    let connection = &mut peer.connection;
    for _ in 0..5 {
        let waiting = connection.out().len();
        assert!((65_000..=65_536).contains(&waiting), "{waiting} bytes");
        assert!(
            connection.wants_bytes(),
            "data alone does not stop the reading"
        );
        connection.written(usize::MAX);
        let id = connection.next_turn().expect("a turn");
        assert_eq!(connection.next_turn(), None);
        connection.send(id, &[0; 100_000], false);
    }
}

#[test]
fn a_frame_that_exceeds_the_length_of_its_message_is_not_passed_on() {
    for flags in [0, PADDED] {
        let mut peer = Peer::of_server(Limits::default());
        peer.send(&headers(1, 0, &with(&POST, &[("content-length", "5")])));
        let payload: &[u8] = if flags == 0 {
            b"123456"
        } else {
            b"\x01123456\0"
        };
        // The first bytes of the frame alone.
        peer.send(&data(1, flags, payload)[..12]);
        assert_eq!(peer.reset_code(1), Some(ErrorCode::PROTOCOL_ERROR));
        assert_eq!(peer.bodies, [(1, Vec::new())]);
        peer.send(&data(1, flags, payload)[12..]).expect_alive();
    }
}

#[test]
fn a_connection_window_that_begins_small_grows_as_it_is_granted() {
    let mut peer = Peer::of_server(Limits {
        first_window_bytes: 65_535,
        ..Limits::default()
    });
    assert_eq!(peer.connection.wanted_window_bytes(), 0);
    let (mut size, mut granted) = (65_535, 0);
    for n in 0..100 {
        let stream = 2 * n + 1;
        peer.send(&post(stream))
            .send(&data(stream, 0, &[0; 16_384]))
            .send(&data(stream, END_STREAM, &[0; 16_384]));
        let wanted = peer.connection.wanted_window_bytes();
        peer.connection.grow_connection_window(n > 10);
        assert_eq!(peer.connection.wanted_window_bytes(), 0);
        if n > 10 {
            granted += u32::from(wanted > 0);
            size += wanted;
        }
        peer.connection.release(peer.last_request());
        peer.flush();
    }
    assert_eq!((size, granted), (1024 * 1024, 5), "doubled, and once more");
    let updates = peer.sent(WINDOW_UPDATE);
    let announced: u32 = (updates.iter().filter(|frame| frame.stream == 0))
        .map(|frame| u32::from_be_bytes(*frame.payload.first_chunk().unwrap()))
        .sum();
    assert!(announced >= size - 65_535, "{announced} bytes");
    assert!(announced <= size - 65_535 + 100 * 32_768);
}
