//! What every server accepts.

use byway_h2::{ErrorCode, Limits, PREFACE};

use crate::Case;
use crate::common::*;

fn server() -> Peer {
    Peer::of_answering_server(100)
}

/// A request with this field block is answered.
fn answered(block: &[u8]) {
    let mut peer = server();
    peer.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, block));
    peer.expect_response(1);
}

/// A request whose last field is this representation is answered.
fn field(representation: &[u8]) {
    answered(&[&block(&GET)[..], representation].concat());
}

fn priority(stream: u32, parent: u32, exclusive: bool, weight: u8) -> Vec<u8> {
    let parent = parent | u32::from(exclusive) << 31;
    let mut payload = parent.to_be_bytes().to_vec();
    payload.push(weight);
    frame(PRIORITY, 0, stream, &payload)
}

/// A request after a PRIORITY frame is answered.
fn after_priority(parent: u32, exclusive: bool, weight: u8) {
    let mut peer = server();
    peer.send(&priority(1, parent, exclusive, weight))
        .send(&get(1));
    peer.expect_response(1);
}

/// A request whose response waits for a window, then this frame, then a window.
fn while_half_closed(frame: &[u8]) -> Peer {
    let mut peer = server();
    peer.send(&settings(&[(4, 0)])).send(&get(1));
    assert!(peer.sent(DATA).is_empty());
    peer.send(frame);
    peer
}

pub(crate) const CASES: &[Case] = &[
    ("1", "the preface of a client is accepted", || {
        let mut peer = Peer::of_fresh_server(Limits::default());
        peer.send(PREFACE).send(&settings(&[]));
        let kinds: Vec<_> = peer.frames.iter().map(|frame| frame.kind).collect();
        assert_eq!(kinds, [SETTINGS, WINDOW_UPDATE, SETTINGS]);
        assert_eq!((peer.frames[2].flags, peer.error), (ACK, None));
    }),
    ("2", "PRIORITY on an idle stream is accepted", || {
        let mut peer = server();
        peer.send(&priority(1, 0, false, 255)).expect_alive();
    }),
    (
        "2",
        "WINDOW_UPDATE on a half-closed stream is accepted",
        || {
            let peer = while_half_closed(&window_update(1, 100));
            assert_eq!(peer.sent(DATA).len(), 1);
        },
    ),
    ("2", "PRIORITY on a half-closed stream is accepted", || {
        let mut peer = while_half_closed(&priority(1, 0, false, 255));
        peer.send(&settings(&[(4, 100)]));
        assert_eq!(peer.sent(DATA).len(), 1);
    }),
    (
        "2",
        "RST_STREAM on a half-closed stream is accepted",
        || {
            while_half_closed(&reset(1, ErrorCode::CANCEL)).expect_alive();
        },
    ),
    ("2", "PRIORITY on a closed stream is accepted", || {
        let mut peer = server();
        peer.send(&get(1))
            .send(&priority(1, 0, false, 255))
            .expect_alive();
    }),
    ("3.1", "DATA is accepted", || {
        let mut peer = server();
        peer.send(&post(1)).send(&data(1, END_STREAM, b"test"));
        peer.expect_response(1);
    }),
    ("3.1", "several DATA frames are accepted", || {
        let mut peer = server();
        peer.send(&post(1)).send(&data(1, 0, b"test"));
        peer.send(&data(1, END_STREAM, b"test")).expect_response(1);
        assert_eq!(peer.bodies[0].1, b"testtest");
    }),
    ("3.1", "padded DATA is accepted", || {
        let mut peer = server();
        let padded = b"\x06test\0\0\0\0\0\0";
        peer.send(&post(1))
            .send(&data(1, END_STREAM | PADDED, padded));
        peer.expect_response(1);
        assert_eq!(peer.bodies[0].1, b"test");
    }),
    ("3.2", "HEADERS is accepted", || answered(&block(&GET))),
    ("3.2", "padded HEADERS is accepted", || {
        let mut peer = server();
        let payload = [&[6], &block(&GET)[..], &[0; 6]].concat();
        peer.send(&frame(
            HEADERS,
            END_HEADERS | END_STREAM | PADDED,
            1,
            &payload,
        ));
        peer.expect_response(1);
    }),
    ("3.2", "HEADERS with a priority is accepted", || {
        let mut peer = server();
        let payload = [&[0, 0, 0, 0, 255], &block(&GET)[..]].concat();
        let flags = END_HEADERS | END_STREAM | WITH_PRIORITY;
        peer.send(&frame(HEADERS, flags, 1, &payload))
            .expect_response(1);
    }),
    ("3.3", "PRIORITY with weight 1 is accepted", || {
        after_priority(0, false, 0)
    }),
    ("3.3", "PRIORITY with weight 256 is accepted", || {
        after_priority(0, false, 255)
    }),
    ("3.3", "PRIORITY with a dependency is accepted", || {
        after_priority(3, false, 255)
    }),
    (
        "3.3",
        "PRIORITY with the exclusive flag is accepted",
        || after_priority(3, true, 255),
    ),
    (
        "3.3",
        "HEADERS on a lower stream than that of PRIORITY is accepted",
        || {
            let mut peer = server();
            peer.send(&priority(5, 0, false, 255))
                .send(&get(3))
                .expect_response(3);
        },
    ),
    ("3.4", "RST_STREAM is accepted", || {
        let mut peer = server();
        peer.send(&post(1))
            .send(&reset(1, ErrorCode::CANCEL))
            .expect_alive();
    }),
    ("3.5", "SETTINGS is acknowledged", || {
        let mut peer = server();
        peer.send(&settings(&[(3, 100)]));
        assert_eq!(peer.sent(SETTINGS)[0].flags, ACK);
    }),
    ("3.7", "PING is answered", || server().expect_alive()),
    ("3.8", "GOAWAY is accepted", || {
        let mut peer = server();
        peer.send(&frame(GOAWAY, 0, 0, &[0; 8])).expect_alive();
    }),
    ("3.9", "WINDOW_UPDATE of the connection is accepted", || {
        let mut peer = server();
        peer.send(&window_update(0, 1)).expect_alive();
    }),
    ("3.9", "WINDOW_UPDATE of a stream is accepted", || {
        let mut peer = server();
        peer.send(&post(1)).send(&window_update(1, 1));
        peer.send(&data(1, END_STREAM, b"")).expect_response(1);
    }),
    ("3.10", "CONTINUATION is accepted", || {
        let mut peer = server();
        peer.send(&frame(HEADERS, END_STREAM, 1, &block(&GET)));
        peer.send(&frame(CONTINUATION, END_HEADERS, 1, &block(&[("x", "y")])));
        peer.expect_response(1);
    }),
    ("3.10", "several CONTINUATION frames are accepted", || {
        let mut peer = server();
        peer.send(&frame(HEADERS, END_STREAM, 1, &block(&GET)));
        peer.send(&frame(CONTINUATION, 0, 1, &block(&[("x", "y")])));
        peer.send(&frame(CONTINUATION, END_HEADERS, 1, &block(&[("x", "z")])));
        peer.expect_response(1);
    }),
    ("4", "GET is answered", || answered(&block(&GET))),
    ("4", "HEAD is answered", || {
        let head = with(&[(":method", "HEAD")], &GET[1..]);
        answered(&block(&head));
    }),
    ("4", "POST is answered", || {
        let mut peer = server();
        peer.send(&post(1)).send(&data(1, END_STREAM, b"test"));
        peer.expect_response(1);
    }),
    ("4", "POST with trailers is answered", || {
        let mut peer = server();
        peer.send(&post(1)).send(&data(1, 0, b"test"));
        peer.send(&headers(1, END_STREAM, &[("x-test", "ok")]));
        peer.expect_response(1);
    }),
    ("5", "an indexed field is accepted", || field(b"\x90")),
    (
        "5",
        "a literal that is indexed, with an indexed name",
        || {
            field(b"\x7a\x04test");
        },
    ),
    (
        "5",
        "a literal that is indexed, with an indexed name, in Huffman code",
        || {
            field(b"\x7a\x83\x49\x50\x9f");
        },
    ),
    ("5", "a literal that is indexed, with a new name", || {
        field(b"\x40\x06x-test\x04test");
    }),
    (
        "5",
        "a literal that is indexed, with a new name, in Huffman code",
        || {
            field(b"\x40\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x9f");
        },
    ),
    (
        "5",
        "a literal without indexing, with an indexed name",
        || {
            field(b"\x0f\x2b\x04test");
        },
    ),
    (
        "5",
        "a literal without indexing, with an indexed name, in Huffman code",
        || {
            field(b"\x0f\x2b\x83\x49\x50\x9f");
        },
    ),
    ("5", "a literal without indexing, with a new name", || {
        field(b"\x00\x06x-test\x04test");
    }),
    (
        "5",
        "a literal without indexing, with a new name, in Huffman code",
        || {
            field(b"\x00\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x9f");
        },
    ),
    (
        "5",
        "a literal that is never indexed, with an indexed name",
        || {
            field(b"\x1f\x2b\x04test");
        },
    ),
    (
        "5",
        "a literal that is never indexed, with an indexed name, in Huffman code",
        || {
            field(b"\x1f\x2b\x83\x49\x50\x9f");
        },
    ),
    (
        "5",
        "a literal that is never indexed, with a new name",
        || {
            field(b"\x10\x06x-test\x04test");
        },
    ),
    (
        "5",
        "a literal that is never indexed, with a new name, in Huffman code",
        || {
            field(b"\x10\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x9f");
        },
    ),
    ("5", "a change of the table's size is accepted", || {
        answered(&[b"\x21", &block(&GET)[..]].concat());
    }),
    (
        "5",
        "several changes of the table's size are accepted",
        || {
            answered(&[b"\x20\x2a", &block(&GET)[..]].concat());
        },
    ),
];
