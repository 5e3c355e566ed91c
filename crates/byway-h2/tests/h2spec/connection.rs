//! Sections 3 to 7 of RFC 7540, as far as frames concern the connection.

use std::time::Duration;

use byway_h2::{ErrorCode, Limits};

use crate::Case;
use crate::common::*;

fn server() -> Peer {
    Peer::of_answering_server(100)
}

/// These bytes end the connection with this code.
fn ends(bytes: &[u8], code: ErrorCode) {
    let mut peer = server();
    peer.send(bytes);
    peer.expect_connection_error(code);
}

fn block_interrupted_by(bytes: &[u8]) {
    let begin = frame(HEADERS, END_STREAM, 1, &block(&GET));
    ends(&[&begin, bytes].concat(), ErrorCode::PROTOCOL_ERROR);
}

const PROTOCOL: ErrorCode = ErrorCode::PROTOCOL_ERROR;
const SIZE: ErrorCode = ErrorCode::FRAME_SIZE_ERROR;
const FLOW: ErrorCode = ErrorCode::FLOW_CONTROL_ERROR;

/// A priority of weight 256 without a parent.
const NO_PARENT: &[u8] = b"\0\0\0\0\xff";

pub(crate) const CASES: &[Case] = &[
    ("3.5", "the first frame of a server is SETTINGS", || {
        let mut peer = Peer::of_fresh_server(Limits::default());
        peer.flush();
        assert_eq!((peer.frames[0].kind, peer.frames[0].flags), (SETTINGS, 0));
    }),
    ("3.5", "a wrong preface ends the connection", || {
        let mut peer = Peer::of_fresh_server(Limits::default());
        peer.send(b"INVALID CONNECTION PREFACE\r\n\r\n");
        peer.expect_connection_error(PROTOCOL);
    }),
    ("4.1", "a frame of an unknown type is ignored", || {
        let mut peer = server();
        peer.send(&frame(0x16, 0, 0, &[0; 8])).expect_alive();
    }),
    ("4.1", "an undefined flag is ignored", || {
        let mut peer = server();
        peer.send(&frame(PING, 0x16, 0, &[0; 8]));
        assert_eq!(peer.sent(PING).len(), 1);
    }),
    ("4.1", "the reserved bit is ignored", || {
        let mut peer = server();
        peer.send(&frame(PING, 0x16, 0x8000_0000, &[0; 8]));
        assert_eq!(peer.sent(PING).len(), 1);
    }),
    ("4.2", "DATA of 16 KiB is accepted", || {
        let mut peer = server();
        peer.send(&post(1)).send(&data(1, END_STREAM, &[0; 16_384]));
        peer.expect_response(1);
    }),
    ("4.2", "longer DATA is refused", || {
        let mut peer = server();
        peer.send(&post(1)).send(&data(1, END_STREAM, &[0; 16_385]));
        peer.expect_stream_error(1, SIZE);
    }),
    ("4.2", "longer HEADERS end the connection", || {
        ends(
            &frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0; 16_385]),
            SIZE,
        );
    }),
    (
        "4.3",
        "a block that is no HPACK ends the connection",
        || {
            let headers = frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x40");
            ends(&headers, ErrorCode::COMPRESSION_ERROR);
        },
    ),
    ("4.3", "PRIORITY within a block ends the connection", || {
        block_interrupted_by(&frame(PRIORITY, 0, 1, NO_PARENT));
    }),
    (
        "4.3",
        "HEADERS of another stream within a block end the connection",
        || {
            block_interrupted_by(&get(3));
        },
    ),
    (
        "5.4.1",
        "after an invalid PING the connection is closed",
        || {
            let mut peer = server();
            peer.send(&frame(PING, 0, 3, &[0; 8]));
            assert!(peer.connection.is_drained() && !peer.connection.wants_bytes());
        },
    ),
    ("5.4.1", "after an invalid PING there is a GOAWAY", || {
        ends(&frame(PING, 0, 3, &[0; 8]), PROTOCOL);
    }),
    ("5.5", "an unknown extension is ignored", || {
        let mut peer = server();
        peer.send(&frame(0x16, 0, 0, &[0; 8])).expect_alive();
    }),
    (
        "5.5",
        "an unknown extension within a block ends the connection",
        || {
            block_interrupted_by(&frame(0x16, 0, 0, &[0; 8]));
        },
    ),
    ("6.5", "SETTINGS with ACK and a payload", || {
        ends(&frame(SETTINGS, ACK, 0, &[0]), SIZE);
    }),
    ("6.5", "SETTINGS on a stream", || {
        ends(&frame(SETTINGS, 0, 1, b"\0\x03\0\0\0\x64"), PROTOCOL);
    }),
    ("6.5", "SETTINGS whose length is no multiple of 6", || {
        ends(&frame(SETTINGS, 0, 0, b"\0\x03\0"), SIZE);
    }),
    ("6.5.2", "ENABLE_PUSH above 1", || {
        ends(&settings(&[(2, 2)]), PROTOCOL)
    }),
    ("6.5.2", "INITIAL_WINDOW_SIZE above 2^31-1", || {
        ends(&settings(&[(4, 1 << 31)]), FLOW)
    }),
    ("6.5.2", "MAX_FRAME_SIZE below 16,384", || {
        ends(&settings(&[(5, 16_383)]), PROTOCOL)
    }),
    ("6.5.2", "MAX_FRAME_SIZE above 2^24-1", || {
        ends(&settings(&[(5, 1 << 24)]), PROTOCOL)
    }),
    ("6.5.2", "an unknown setting is ignored", || {
        let mut peer = server();
        peer.send(&settings(&[(0xff, 1)])).expect_alive();
    }),
    (
        "6.5.3",
        "of several INITIAL_WINDOW_SIZE the last counts",
        || {
            let mut peer = server();
            peer.send(&settings(&[(4, 100), (4, 1)])).send(&get(1));
            peer.wait(Duration::from_secs(1));
            assert_eq!(peer.sent(DATA)[0].payload.len(), 1);
        },
    ),
    ("6.5.3", "SETTINGS is acknowledged at once", || {
        let mut peer = server();
        peer.send(&settings(&[]));
        assert_eq!(peer.frames, parse(&mut frame(SETTINGS, ACK, 0, &[])));
    }),
    ("6.7", "PING is answered with its payload", || {
        server().expect_alive()
    }),
    ("6.7", "PING with ACK is not answered", || {
        let mut peer = server();
        peer.send(&frame(PING, ACK, 0, b"\0invalid"));
        assert!(peer.frames.is_empty());
        peer.expect_alive();
    }),
    ("6.7", "PING on a stream", || {
        ends(&frame(PING, 0, 1, &[0; 8]), PROTOCOL)
    }),
    ("6.7", "PING of another length than 8", || {
        ends(&frame(PING, 0, 0, &[0; 6]), SIZE)
    }),
    ("6.8", "GOAWAY on a stream", || {
        ends(&frame(GOAWAY, 0, 1, &[0; 8]), PROTOCOL)
    }),
    ("6.9", "WINDOW_UPDATE by nothing", || {
        ends(&window_update(0, 0), PROTOCOL)
    }),
    ("6.9", "WINDOW_UPDATE by nothing on a stream", || {
        let mut peer = server();
        peer.send(&post(1)).send(&window_update(1, 0));
        peer.expect_stream_error(1, PROTOCOL);
    }),
    ("6.9", "WINDOW_UPDATE of another length than 4", || {
        ends(&frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1]), SIZE);
    }),
    (
        "6.9.1",
        "no more DATA is sent than a window of 1 admits",
        || {
            let mut peer = server();
            peer.send(&settings(&[(4, 1)])).send(&get(1));
            peer.wait(Duration::from_secs(1));
            let frames = peer.sent(DATA);
            assert_eq!((frames.len(), frames[0].payload.len()), (1, 1));
        },
    ),
    ("6.9.1", "a window of the connection above 2^31-1", || {
        let updates = [window_update(0, 0x7fff_ffff), window_update(0, 0x7fff_ffff)];
        ends(&updates.concat(), FLOW);
    }),
    ("6.9.1", "a window of a stream above 2^31-1", || {
        let mut peer = server();
        peer.send(&post(1)).send(&window_update(1, 0x7fff_ffff));
        peer.send(&window_update(1, 0x7fff_ffff));
        assert_eq!(peer.reset_code(1), Some(FLOW));
    }),
    (
        "6.9.2",
        "a change of INITIAL_WINDOW_SIZE changes the windows of streams",
        || {
            let mut peer = server();
            peer.send(&settings(&[(4, 0)])).send(&get(1));
            peer.send(&settings(&[(4, 1)])).wait(Duration::from_secs(1));
            let frames = peer.sent(DATA);
            assert_eq!((frames.len(), frames[0].payload.len()), (1, 1));
        },
    ),
    ("6.9.2", "a window may become negative", || {
        let mut peer = server();
        peer.send(&settings(&[(4, 3)]))
            .send(&get(1))
            .wait(Duration::from_secs(1));
        assert_eq!(peer.sent(DATA)[0].payload.len(), 3);
        peer.frames.clear();
        peer.send(&settings(&[(4, 2)])).wait(Duration::from_secs(1));
        assert!(peer.sent(DATA).is_empty());
        peer.send(&window_update(1, 2)).wait(Duration::from_secs(1));
        assert_eq!(peer.sent(DATA)[0].payload.len(), 1);
    }),
    ("6.9.2", "INITIAL_WINDOW_SIZE above its limit", || {
        ends(&settings(&[(4, 1 << 31)]), FLOW)
    }),
    ("6.10", "several CONTINUATION frames are accepted", || {
        let mut peer = server();
        peer.send(&frame(HEADERS, END_STREAM, 1, &block(&GET)));
        peer.send(&frame(CONTINUATION, 0, 1, &block(&[("x", "y")])));
        peer.send(&frame(CONTINUATION, END_HEADERS, 1, &block(&[("x", "z")])));
        peer.expect_response(1);
    }),
    ("6.10", "a frame between CONTINUATION frames", || {
        let first = frame(CONTINUATION, 0, 1, &block(&[("x", "y")]));
        block_interrupted_by(&[first, data(1, END_STREAM, b"test")].concat());
    }),
    ("6.10", "CONTINUATION without a stream", || {
        block_interrupted_by(&frame(CONTINUATION, END_HEADERS, 0, &block(&[("x", "y")])));
    }),
    (
        "6.10",
        "CONTINUATION after HEADERS with END_HEADERS",
        || {
            let more = frame(CONTINUATION, END_HEADERS, 1, &block(&[("x", "y")]));
            ends(&[post(1), more].concat(), PROTOCOL);
        },
    ),
    (
        "6.10",
        "CONTINUATION after CONTINUATION with END_HEADERS",
        || {
            let more = frame(CONTINUATION, END_HEADERS, 1, &block(&[("x", "y")]));
            block_interrupted_by(&[more.clone(), more].concat());
        },
    ),
    ("6.10", "CONTINUATION after DATA", || {
        let more = frame(CONTINUATION, END_HEADERS, 1, &block(&[("x", "y")]));
        ends(&[post(1), data(1, 0, b"test"), more].concat(), PROTOCOL);
    }),
    ("7", "GOAWAY with an unknown code is accepted", || {
        let mut peer = server();
        peer.send(&frame(GOAWAY, 0, 0, b"\0\0\0\0\0\0\0\xff"))
            .expect_alive();
    }),
    ("7", "RST_STREAM with an unknown code is accepted", || {
        let mut peer = server();
        peer.send(&post(1))
            .send(&reset(1, ErrorCode(0xff)))
            .expect_alive();
    }),
    ("8.2", "PUSH_PROMISE ends the connection", || {
        let mut payload = 2u32.to_be_bytes().to_vec();
        payload.extend(block(&GET));
        ends(
            &[post(1), frame(PUSH_PROMISE, END_HEADERS, 1, &payload)].concat(),
            PROTOCOL,
        );
    }),
];
