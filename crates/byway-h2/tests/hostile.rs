//! What attackers send: each class of attack costs a bounded amount, and ends the connection if it
//! goes on.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Duration;

use byway_h2::{ConnectionError, ErrorCode, Event, Limits};
use common::*;

/// Sends `attack` up to `most` times. Returns how often it was sent until the connection ended for
/// costing too much.
#[track_caller]
fn endured(peer: &mut Peer, most: u32, mut attack: impl FnMut(u32) -> Vec<u8>) -> u32 {
    for n in 0..most {
        if peer.error.is_some() {
            peer.expect_connection_error(ErrorCode::ENHANCE_YOUR_CALM);
            return n;
        }
        peer.send(&attack(n));
        peer.frames.retain(|frame| frame.kind == GOAWAY);
    }
    panic!("the connection goes on after {most} times");
}

fn reason(peer: &Peer) -> &'static str {
    peer.error.map_or("", |error: ConnectionError| error.reason)
}

/// CVE-2023-44487.
#[test]
fn rapid_resets_hold_their_slots_and_end_the_connection() {
    let mut peer = Peer::of_server(Limits::default());
    let times = endured(&mut peer, 1000, |n| {
        let stream = 2 * n + 1;
        [get(stream), reset(stream, ErrorCode::CANCEL)].concat()
    });
    // The work of the first 128 has not ended, so the others were refused.
    let begun = |event: &&Event| matches!(event, Event::Head { .. });
    assert_eq!(peer.events.iter().filter(begun).count(), 128);
    assert_eq!(peer.connection.open_streams(), 128);
    assert!(times < 260, "{times} resets");
}

#[test]
fn rapid_resets_whose_work_ends_at_once_end_the_connection() {
    let mut peer = Peer::of_answering_server(10);
    let times = endured(&mut peer, 1000, |n| {
        let stream = 2 * n + 1;
        [post(stream), reset(stream, ErrorCode::CANCEL)].concat()
    });
    assert_eq!((times, reason(&peer)), (251, "a flood of resets"));
}

#[test]
fn a_client_that_cancels_every_other_request_is_served() {
    let mut peer = Peer::of_answering_server(10);
    for n in 0..2000 {
        let stream = 4 * n + 1;
        let cancelled = [post(stream), reset(stream, ErrorCode::CANCEL)].concat();
        peer.send(&cancelled).send(&get(stream + 2));
        peer.expect_response(stream + 2);
        peer.frames.clear();
    }
}

/// CVE-2025-8671.
#[test]
fn resets_that_the_peer_provokes_hold_their_slots_and_end_the_connection() {
    for violation in [
        |stream: u32| window_update(stream, 0),
        |stream| window_update(stream, 0x7fff_ffff),
        |stream| get(stream),
        |stream| data(stream, END_STREAM, b"x"),
    ] {
        let mut peer = Peer::of_server(Limits::default());
        let times = endured(&mut peer, 1000, |n| {
            let stream = 2 * n + 1;
            [get(stream), violation(stream)].concat()
        });
        let begun = |event: &&Event| matches!(event, Event::Head { .. });
        let begun = peer.events.iter().filter(begun).count();
        assert!(
            times <= 101 && begun <= 101,
            "{times} resets, {begun} requests"
        );
        assert_eq!(peer.connection.open_streams(), begun);
    }
}

/// CVE-2024-27316 and its like.
#[test]
fn a_flood_of_continuation_frames_ends_the_connection() {
    let begin = frame(HEADERS, END_STREAM, 1, &block(&GET));
    let more = frame(CONTINUATION, 0, 1, &block(&[("x", "y")]));
    let mut peer = Peer::of_server(Limits::default());
    peer.send(&begin);
    let times = endured(&mut peer, 20, |_| more.clone());
    assert_eq!((times, reason(&peer)), (9, "too many CONTINUATION frames"));

    let mut peer = Peer::of_server(Limits::default());
    peer.send(&begin).send(&frame(CONTINUATION, 0, 1, &[]));
    assert_eq!(reason(&peer), "an empty CONTINUATION");

    let mut peer = Peer::of_server(Limits::default());
    peer.send(&begin);
    let large = frame(CONTINUATION, 0, 1, &block(&[("x", &"y".repeat(16_000))]));
    let times = endured(&mut peer, 20, |_| large.clone());
    assert_eq!(
        (times, reason(&peer)),
        (5, "a field block that is too long")
    );
}

/// CVE-2019-9518.
#[test]
fn a_flood_of_empty_data_ends_the_connection() {
    let mut peer = Peer::of_server(Limits::default());
    peer.send(&post(1));
    let times = endured(&mut peer, 10_000, |_| data(1, 0, b""));
    assert_eq!((times, reason(&peer)), (1001, "a flood of empty DATA"));

    let mut peer = Peer::of_server(Limits::default());
    peer.send(&post(1));
    let times = endured(&mut peer, 10_000, |_| data(1, PADDED, b"\x02\0\0"));
    assert_eq!((times, reason(&peer)), (1001, "a flood of empty DATA"));
}

/// CVE-2019-9512 and CVE-2019-9515.
#[test]
fn a_flood_of_pings_or_settings_ends_the_connection() {
    for (attack, most, said) in [
        (ping(), 2501, "a flood of PING"),
        (frame(PING, ACK, 0, b"unasked."), 2501, "a flood of PING"),
        (settings(&[(4, 70_000)]), 251, "a flood of SETTINGS"),
        (frame(SETTINGS, ACK, 0, &[]), 251, "a flood of SETTINGS"),
        (frame(GOAWAY, 0, 0, &[0; 8]), 252, "a flood of SETTINGS"),
    ] {
        let mut peer = Peer::of_server(Limits::default());
        let times = endured(&mut peer, 10_000, |_| attack.clone());
        assert_eq!((times, reason(&peer)), (most, said));
    }
}

#[test]
fn answers_that_the_peer_does_not_take_stop_the_reading() {
    let limits = Limits {
        abuse_budget: u32::MAX,
        ..Limits::default()
    };
    let backlog = limits.backlog_bytes;
    let mut peer = Peer::of_server(limits);
    peer.takes = false;
    let flood: Vec<u8> = std::iter::repeat_n(ping(), 10_000).flatten().collect();
    let (mut rest, now) = (&flood[..], peer.now);
    loop {
        let step = peer.connection.read(rest, now).unwrap();
        rest = &rest[step.taken..];
        if step.taken == 0 {
            break;
        }
    }
    let waiting = peer.connection.out().len();
    assert!(
        waiting > backlog && waiting <= backlog + 17,
        "{waiting} bytes wait"
    );
    assert!(!rest.is_empty() && !peer.connection.wants_bytes());
    // It goes on once the peer takes them.
    peer.takes = true;
    peer.flush().send(rest);
    assert_eq!(peer.sent(PING).len(), 10_000);
}

/// CVE-2019-9513.
#[test]
fn a_flood_of_priorities_ends_the_connection() {
    let priority = frame(PRIORITY, 0, 1, b"\0\0\0\x03\xff");
    let update = |n: u32| {
        let mut payload = (2 * n + 1).to_be_bytes().to_vec();
        payload.extend(b"u=1");
        frame(PRIORITY_UPDATE, 0, 0, &payload)
    };
    let mut peer = Peer::of_server(Limits::default());
    assert_eq!(endured(&mut peer, 10_000, |_| priority.clone()), 5001);
    let mut peer = Peer::of_server(Limits::default());
    assert_eq!(endured(&mut peer, 10_000, update), 5001);
    assert_eq!(reason(&peer), "a flood of priorities");
}

#[test]
fn a_flood_of_frames_that_do_nothing_ends_the_connection() {
    let answered = || {
        let mut peer = Peer::of_answering_server(10);
        peer.send(&get(1));
        peer
    };
    let late = reset(1, ErrorCode::CANCEL);
    for (attack, most, said) in [
        (
            frame(0xbb, 0xff, 7, &[0; 100]),
            2520,
            "a flood of unknown frames",
        ),
        (late, 2520, "a flood of frames on streams that are over"),
        (window_update(0, 1), 10_060, "a flood of WINDOW_UPDATE"),
        (window_update(1, 1), 10_060, "a flood of WINDOW_UPDATE"),
    ] {
        let mut peer = answered();
        let times = endured(&mut peer, 20_000, |_| attack.clone());
        assert!(times <= most, "{times}");
        assert_eq!(reason(&peer), said);
    }
}

#[test]
fn a_flood_of_requests_beyond_the_limit_ends_the_connection() {
    let mut peer = Peer::of_server(Limits::default());
    let times = endured(&mut peer, 1000, |n| get(2 * n + 1));
    assert_eq!((times, reason(&peer)), (128 + 251, "a flood of streams"));
    assert_eq!(peer.connection.open_streams(), 128);
}

#[test]
fn some_requests_beyond_the_limit_cost_nothing_before_the_settings_are_acknowledged() {
    let mut peer = Peer::of_fresh_server(Limits::default());
    peer.send(byway_h2::PREFACE).send(&settings(&[]));
    for n in 0..128 + 256 {
        peer.send(&get(2 * n + 1));
    }
    assert_eq!((peer.error, peer.connection.open_streams()), (None, 128));
    assert_eq!(peer.reset_code(767), Some(ErrorCode::REFUSED_STREAM));
    let times = endured(&mut peer, 1000, |n| get(2 * (128 + 256 + n) + 1));
    assert_eq!((times, reason(&peer)), (251, "a flood of streams"));
}

#[test]
fn a_flood_of_malformed_requests_ends_the_connection() {
    let mut peer = Peer::of_server(Limits::default());
    let times = endured(&mut peer, 1000, |n| {
        headers(
            2 * n + 1,
            END_STREAM,
            &with(&GET, &[("connection", "close")]),
        )
    });
    assert_eq!(
        (times, reason(&peer)),
        (251, "a flood of malformed requests")
    );
    assert_eq!(peer.connection.open_streams(), 0);
}

/// A block that refers to one large entry of the table again and again.
fn bomb(stream: u32, references: usize) -> Vec<u8> {
    let mut fields = block(&GET);
    fields.extend(b"\x40\x01x\x7f\xd1\x0e"); // a literal with a value of 2,000 bytes
    fields.extend([b'y'; 2000]);
    fields.extend(std::iter::repeat_n(0x80 | 62, references));
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &fields)
}

#[test]
fn a_head_over_the_limit_is_answered_and_the_table_stays_right() {
    let mut peer = Peer::of_server(Limits::default());
    peer.send(&bomb(1, 60));
    let Some(Event::Unacceptable {
        id,
        error,
        end: true,
    }) = peer.events.last().cloned()
    else {
        panic!("{:?}", peer.events);
    };
    assert_eq!(error.status(), 431);
    peer.respond(id, 0);
    peer.connection.send(id, &[], true);
    peer.connection.release(id);
    peer.flush().expect_response(1);
    // The entry of the table is there.
    let mut fields = block(&GET);
    fields.push(0x80 | 62);
    peer.send(&frame(HEADERS, END_HEADERS | END_STREAM, 3, &fields));
    let (mut head, mut text) = Default::default();
    peer.connection.take_request(&mut head, &mut text);
    let value = head.view(&text).field("x").map(<[u8]>::len);
    assert_eq!(value, Some(2000));
}

/// CVE-2016-1544, CVE-2016-6581.
#[test]
fn a_block_that_grows_beyond_all_limits_ends_the_connection() {
    let mut peer = Peer::of_server(Limits::default());
    peer.send(&bomb(1, 14_000));
    peer.expect_connection_error(ErrorCode::ENHANCE_YOUR_CALM);
}

#[test]
fn answers_to_heads_over_the_limit_earn_nothing() {
    let mut peer = Peer::of_answering_server(0);
    let times = endured(&mut peer, 1000, |n| bomb(2 * n + 1, 60));
    assert_eq!(
        (times, reason(&peer)),
        (251, "a flood of malformed requests")
    );
}

/// A head, or trailers, of about 60 KB of text, most of it by references to one entry of the table.
fn large(stream: u32, flags: u8, opening: &[u8]) -> Vec<u8> {
    let mut fields = opening.to_vec();
    fields.extend(b"\x40\x01x\x7f\xd1\x0e");
    fields.extend([b'y'; 2000]);
    fields.extend(std::iter::repeat_n(0x80 | 62, 29));
    frame(HEADERS, END_HEADERS | flags, stream, &fields)
}

#[test]
fn heads_of_requests_that_are_not_done_are_bounded_for_each_connection() {
    let limits = Limits::default();
    let most = limits.text_bytes + limits.head.head_bytes;
    let mut peer = Peer::of_server(limits);
    for n in 0..100 {
        peer.send(&large(2 * n + 1, END_STREAM, &block(&GET)));
    }
    let held = peer.connection.held_text_bytes();
    assert!(held > most / 2 && held <= most, "{held} bytes");
    assert_eq!(peer.reset_code(199), Some(ErrorCode::REFUSED_STREAM));
    assert_eq!(peer.error, None);
    // Room is free again when work has ended.
    for event in peer.events.clone() {
        if let Event::Head { id, .. } = event {
            peer.connection.release(id);
        }
    }
    assert_eq!(peer.connection.held_text_bytes(), 0);
    peer.flush().send(&get(201));
    assert!(matches!(peer.events.last(), Some(Event::Head { id, .. }) if id.number() == 201));
}

#[test]
fn trailers_of_requests_that_are_not_done_are_bounded_for_each_connection() {
    let limits = Limits::default();
    let most = limits.text_bytes + limits.head.head_bytes;
    let mut peer = Peer::of_server(limits);
    for n in 0..100 {
        peer.send(&post(2 * n + 1));
    }
    for n in 0..100 {
        peer.send(&large(2 * n + 1, END_STREAM, &[]));
    }
    let held = peer.connection.held_text_bytes();
    assert!(held > most / 2 && held <= most, "{held} bytes");
    assert_eq!(peer.reset_code(199), Some(ErrorCode::ENHANCE_YOUR_CALM));
}

#[test]
fn a_connection_that_holds_more_than_a_short_node_allows_gets_no_further_requests() {
    let mut peer = Peer::of_server(Limits::default());
    peer.connection.refuse_above(Some(64 * 1024));
    for n in 0..4 {
        peer.send(&large(2 * n + 1, END_STREAM, &block(&GET)));
    }
    assert_eq!(peer.connection.open_streams(), 2);
    assert_eq!(peer.reset_code(5), Some(ErrorCode::REFUSED_STREAM));
    peer.connection.refuse_above(None);
    peer.send(&get(9));
    assert_eq!(peer.connection.open_streams(), 3);
}

#[test]
fn too_many_fields_are_answered_with_431() {
    let mut peer = Peer::of_server(Limits::default());
    let many = [("x", "y"); 129];
    peer.send(&headers(1, END_STREAM, &with(&GET, &many)));
    let Some(Event::Unacceptable { error, .. }) = peer.events.last() else {
        panic!("{:?}", peer.events);
    };
    assert_eq!(error.status(), 431);
}

/// CVE-2019-9517 and CVE-2019-9511.
#[test]
fn a_peer_that_opens_no_window_gets_heads_and_holds_no_data() {
    let mut peer = Peer::of_answering_server(1_000_000);
    peer.send(&settings(&[(4, 0)]));
    for n in 0..128 {
        peer.send(&get(2 * n + 1));
    }
    assert_eq!((peer.sent(HEADERS).len(), peer.sent(DATA).len()), (128, 0));
    assert_eq!(peer.connection.open_streams(), 128);
    assert!(peer.connection.out().is_empty() && peer.connection.deadline().is_none());
}

#[test]
fn a_peer_that_takes_nothing_makes_the_backlog_grow_to_its_limit_only() {
    let mut peer = Peer::of_answering_server(1_000_000);
    peer.send(&settings(&[(4, 1_000_000)]));
    peer.send(&window_update(0, 100_000_000));
    peer.takes = false;
    for n in 0..128 {
        peer.send(&get(2 * n + 1));
    }
    let waiting = peer.connection.out().len();
    // The heads of the responses come on top.
    let most = Limits::default().backlog_bytes + 128 * 20;
    assert!(waiting <= most, "{waiting} bytes wait");
}

#[test]
fn a_window_that_opens_byte_by_byte_gets_one_small_frame_a_second() {
    let mut peer = Peer::of_answering_server(10_000);
    peer.send(&settings(&[(4, 0)])).send(&get(1));
    for _ in 0..5 {
        for _ in 0..100 {
            peer.send(&window_update(1, 1));
        }
        assert!(peer.sent(DATA).is_empty());
        peer.wait(Duration::from_secs(1));
        let sent: Vec<_> = peer
            .sent(DATA)
            .iter()
            .map(|frame| frame.payload.len())
            .collect();
        assert_eq!(sent, [100]);
        peer.frames.clear();
    }
    // A window of a sensible size is used at once.
    peer.send(&window_update(1, 1024));
    assert_eq!(peer.sent(DATA).len(), 1);
}

#[test]
fn the_window_of_a_connection_that_opens_byte_by_byte_gets_one_small_frame_a_second() {
    let mut peer = Peer::of_answering_server(65_535 + 10_000);
    peer.send(&settings(&[(4, 1_000_000)])).send(&get(1));
    // The rest of the window that the connection began with.
    peer.wait(Duration::from_secs(1)).frames.clear();
    for _ in 0..5 {
        for _ in 0..100 {
            peer.send(&window_update(0, 1));
        }
        assert!(peer.sent(DATA).is_empty());
        peer.wait(Duration::from_secs(1));
        let sent: Vec<_> = peer
            .sent(DATA)
            .iter()
            .map(|frame| frame.payload.len())
            .collect();
        assert_eq!(sent, [100]);
        peer.frames.clear();
    }
}

#[test]
fn an_upload_that_nobody_reads_stops_at_its_window_and_does_not_stop_others() {
    let mut peer = Peer::of_server(Limits::default());
    peer.credits = false;
    peer.send(&post(1));
    for _ in 0..4 {
        peer.send(&data(1, 0, &[0; 16_384]));
    }
    assert_eq!((peer.error, peer.reset_code(1)), (None, None));
    // Another one moves its megabytes.
    peer.credits = true;
    peer.send(&post(3));
    for _ in 0..200 {
        peer.send(&data(3, 0, &[0; 16_384]));
    }
    assert_eq!((peer.error, peer.reset_code(3)), (None, None));
    assert_eq!(peer.connection.held_bytes(), 65_536);
    // And the first one may not send more.
    peer.send(&data(1, 0, b"x"));
    assert_eq!(peer.reset_code(1), Some(ErrorCode::FLOW_CONTROL_ERROR));
}

#[test]
fn uploads_that_nobody_reads_hold_a_bounded_amount_together() {
    let limits = Limits {
        stream_window_bytes: 1024 * 1024,
        ..Limits::default()
    };
    let most = (limits.connection_window_bytes + limits.buffer_bytes) as usize;
    let mut peer = Peer::of_server(limits);
    peer.credits = false;
    let mut sent = 0;
    'all: for n in 0..100 {
        peer.send(&post(2 * n + 1));
        for _ in 0..64 {
            peer.send(&data(2 * n + 1, 0, &[0; 16_384]));
            if peer.error.is_some() {
                break 'all;
            }
            sent += 16_384;
        }
    }
    peer.expect_connection_error(ErrorCode::FLOW_CONTROL_ERROR);
    assert!(sent <= most, "{sent} bytes");
}

#[test]
fn data_that_was_reset_does_not_use_up_the_window_of_the_connection() {
    let mut peer = Peer::of_server(Limits::default());
    peer.credits = false;
    for n in 0..100 {
        let stream = 2 * n + 1;
        peer.send(&post(stream))
            .send(&data(stream, 0, &[0; 16_384]));
        let id = peer.last_request();
        peer.connection.reset(id, ErrorCode::CANCEL);
        peer.flush().send(&data(stream, 0, &[0; 16_384]));
        peer.connection.release(id);
        peer.flush().send(&data(stream, 0, &[0; 16_384]));
        assert_eq!(peer.error, None, "stream {stream}");
    }
    assert_eq!(peer.connection.held_bytes(), 0);
}

#[test]
fn priorities_of_streams_that_never_begin_are_forgotten() {
    let mut peer = Peer::of_server(Limits::default());
    for n in 0..1000u32 {
        let mut payload = (2 * n + 1001).to_be_bytes().to_vec();
        payload.extend(b"u=1");
        // The invariants of the connection limit them.
        peer.send(&frame(PRIORITY_UPDATE, 0, 0, &payload));
    }
    assert_eq!(peer.error, None);
}

#[test]
fn a_flood_of_requests_after_the_end_was_said_ends_the_connection() {
    let mut peer = Peer::of_server(Limits::default());
    peer.send(&post(1));
    let now = peer.now;
    peer.connection.drain(now);
    peer.wait(Duration::from_secs(1));
    let times = endured(&mut peer, 10_000, |n| get(2 * n + 3));
    assert!(times < 2700, "{times}");
}
