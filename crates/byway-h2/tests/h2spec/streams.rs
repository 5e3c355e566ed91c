//! Sections 5 to 8 of RFC 7540, as far as frames concern streams.

use byway_h2::{ErrorCode, Event, Limits};

use crate::Case;
use crate::common::*;

const PROTOCOL: ErrorCode = ErrorCode::PROTOCOL_ERROR;
const CLOSED: ErrorCode = ErrorCode::STREAM_CLOSED;

fn server() -> Peer {
    Peer::of_answering_server(100)
}

/// These bytes end the connection with this code.
fn ends(bytes: &[u8], code: ErrorCode) {
    let mut peer = server();
    peer.send(bytes);
    peer.expect_connection_error(code);
}

/// These bytes reset stream 1, or end the connection, with this code. The server does not answer.
fn resets(bytes: &[u8], code: ErrorCode) {
    let mut peer = Peer::of_server(Limits::default());
    peer.send(bytes);
    peer.expect_stream_error(1, code);
}

/// A request with these fields is malformed: it is reset alone, and reported.
fn malformed(fields: &[(&str, &str)]) {
    let mut peer = server();
    peer.send(&headers(1, END_STREAM, fields));
    assert_eq!(peer.reset_code(1), Some(PROTOCOL));
    assert!(matches!(
        peer.events[..],
        [Event::Malformed { id: None, .. }]
    ));
    peer.send(&get(3)).expect_response(3);
}

/// The same with these fields behind a good head.
fn malformed_with(more: &[(&str, &str)]) {
    malformed(&with(&GET, more));
}

fn without(name: &str) -> Vec<(&'static str, &'static str)> {
    GET.into_iter().filter(|field| field.0 != name).collect()
}

fn continuation() -> Vec<u8> {
    frame(CONTINUATION, END_HEADERS, 1, &block(&[("x", "y")]))
}

fn depending_on(stream: u32) -> Vec<u8> {
    let mut payload = stream.to_be_bytes().to_vec();
    payload.push(255);
    payload
}

pub(crate) const CASES: &[Case] = &[
    ("5.1", "idle: DATA", || {
        ends(&data(1, END_STREAM, b"test"), PROTOCOL)
    }),
    ("5.1", "idle: RST_STREAM", || {
        ends(&reset(1, ErrorCode::CANCEL), PROTOCOL)
    }),
    ("5.1", "idle: WINDOW_UPDATE", || {
        ends(&window_update(1, 100), PROTOCOL)
    }),
    ("5.1", "idle: CONTINUATION", || {
        ends(&continuation(), PROTOCOL)
    }),
    ("5.1", "half-closed: DATA", || {
        resets(&[get(1), data(1, END_STREAM, b"test")].concat(), CLOSED);
    }),
    ("5.1", "half-closed: HEADERS", || {
        resets(&[get(1), get(1)].concat(), CLOSED)
    }),
    ("5.1", "half-closed: CONTINUATION", || {
        resets(&[get(1), continuation()].concat(), PROTOCOL);
    }),
    ("5.1", "closed by the peer's reset: DATA", || {
        let reset = reset(1, ErrorCode::CANCEL);
        resets(
            &[post(1), reset, data(1, END_STREAM, b"test")].concat(),
            CLOSED,
        );
    }),
    ("5.1", "closed by the peer's reset: HEADERS", || {
        resets(
            &[post(1), reset(1, ErrorCode::CANCEL), get(1)].concat(),
            CLOSED,
        );
    }),
    ("5.1", "closed by the peer's reset: CONTINUATION", || {
        let reset = reset(1, ErrorCode::CANCEL);
        resets(&[post(1), reset, continuation()].concat(), PROTOCOL);
    }),
    ("5.1", "closed: DATA", || {
        ends(&[get(1), data(1, END_STREAM, b"test")].concat(), CLOSED);
    }),
    ("5.1", "closed: HEADERS", || {
        ends(&[get(1), get(1)].concat(), CLOSED)
    }),
    ("5.1", "closed: CONTINUATION", || {
        ends(&[get(1), continuation()].concat(), PROTOCOL)
    }),
    ("5.1.1", "a stream with an even number", || {
        ends(&get(2), PROTOCOL)
    }),
    (
        "5.1.1",
        "a stream with a smaller number than the last",
        || {
            ends(&[get(5), get(3)].concat(), CLOSED);
        },
    ),
    ("5.1.2", "more streams than the settings allow", || {
        let mut peer = Peer::of_server(Limits::default());
        for stream in 0..129 {
            peer.send(&get(2 * stream + 1));
        }
        assert_eq!(peer.reset_code(257), Some(ErrorCode::REFUSED_STREAM));
        assert_eq!(peer.sent(RST_STREAM).len(), 1);
        peer.expect_alive();
    }),
    ("5.3.1", "HEADERS that depend on themselves", || {
        let payload = [depending_on(1), block(&GET)].concat();
        let flags = END_HEADERS | END_STREAM | WITH_PRIORITY;
        resets(&frame(HEADERS, flags, 1, &payload), PROTOCOL);
    }),
    ("5.3.1", "PRIORITY that depends on itself", || {
        resets(&frame(PRIORITY, 0, 1, &depending_on(1)), PROTOCOL);
    }),
    ("6.1", "DATA without a stream", || {
        ends(&data(0, END_STREAM, b"test"), PROTOCOL)
    }),
    ("6.1", "DATA on a stream that is not open", || {
        resets(&[get(1), data(1, END_STREAM, b"test")].concat(), CLOSED);
    }),
    ("6.1", "DATA with more padding than payload", || {
        ends(
            &[post(1), data(1, END_STREAM | PADDED, b"\x06test")].concat(),
            PROTOCOL,
        );
    }),
    ("6.2", "HEADERS without END_HEADERS, and PRIORITY", || {
        let begin = frame(HEADERS, END_STREAM, 1, &block(&GET));
        ends(
            &[begin, frame(PRIORITY, 0, 1, &depending_on(0))].concat(),
            PROTOCOL,
        );
    }),
    ("6.2", "HEADERS of another stream within HEADERS", || {
        let begin = frame(HEADERS, END_STREAM, 1, &block(&GET));
        ends(&[begin, get(3)].concat(), PROTOCOL);
    }),
    ("6.2", "HEADERS without a stream", || {
        ends(&headers(0, END_STREAM, &GET), PROTOCOL)
    }),
    ("6.2", "HEADERS with more padding than payload", || {
        let payload = [&[255], &block(&GET)[..]].concat();
        ends(
            &frame(HEADERS, END_HEADERS | END_STREAM | PADDED, 1, &payload),
            PROTOCOL,
        );
    }),
    ("6.3", "PRIORITY without a stream", || {
        ends(&frame(PRIORITY, 0, 0, &depending_on(0)), PROTOCOL);
    }),
    ("6.3", "PRIORITY of another length than 5", || {
        resets(
            &frame(PRIORITY, 0, 1, b"\x80\0\0\x01"),
            ErrorCode::FRAME_SIZE_ERROR,
        );
    }),
    ("6.4", "RST_STREAM without a stream", || {
        ends(&reset(0, ErrorCode::CANCEL), PROTOCOL)
    }),
    ("6.4", "RST_STREAM on an idle stream", || {
        ends(&reset(1, ErrorCode::CANCEL), PROTOCOL)
    }),
    ("6.4", "RST_STREAM of another length than 4", || {
        let short = frame(RST_STREAM, 0, 1, &[0; 3]);
        ends(&[post(1), short].concat(), ErrorCode::FRAME_SIZE_ERROR);
    }),
    ("8.1", "a second head without END_STREAM", || {
        resets(
            &[post(1), headers(1, 0, &[("x-test", "ok")])].concat(),
            PROTOCOL,
        );
    }),
    ("8.1.2", "a name with an upper-case letter", || {
        malformed_with(&[("X-TEST", "ok")])
    }),
    ("8.1.2.1", "an unknown pseudo-header", || {
        malformed(&with(&GET, &[(":test", "ok")]));
    }),
    ("8.1.2.1", "a pseudo-header of a response", || {
        malformed(&with(&GET, &[(":status", "200")]))
    }),
    ("8.1.2.1", "a pseudo-header in trailers", || {
        let trailers = headers(1, END_STREAM, &[(":method", "200")]);
        resets(&[post(1), data(1, 0, b"test"), trailers].concat(), PROTOCOL);
    }),
    ("8.1.2.1", "a pseudo-header behind a field", || {
        malformed(&with(
            &without(":path"),
            &[("x-test", "ok"), (":path", "/")],
        ));
    }),
    ("8.1.2.2", "a field about the connection", || {
        malformed_with(&[("connection", "keep-alive")])
    }),
    ("8.1.2.2", "TE that is not trailers", || {
        malformed_with(&[("te", "trailers, deflate")])
    }),
    ("8.1.2.3", "an empty :path", || {
        malformed(&with(&[(":path", "")], &without(":path")));
    }),
    ("8.1.2.3", "no :method", || malformed(&without(":method"))),
    ("8.1.2.3", "no :scheme", || malformed(&without(":scheme"))),
    ("8.1.2.3", "no :path", || malformed(&without(":path"))),
    ("8.1.2.3", "two :method", || {
        malformed(&with(&GET, &[(":method", "GET")]))
    }),
    ("8.1.2.3", "two :scheme", || {
        malformed(&with(&GET, &[(":scheme", "http")]))
    }),
    ("8.1.2.3", "two :path", || {
        malformed(&with(&GET, &[(":path", "/")]))
    }),
    (
        "8.1.2.6",
        "a body of another length than content-length",
        || {
            let head = headers(1, 0, &with(&POST, &[("content-length", "1")]));
            resets(&[head, data(1, END_STREAM, b"test")].concat(), PROTOCOL);
        },
    ),
    (
        "8.1.2.6",
        "a body in several frames of another length than content-length",
        || {
            let head = headers(1, 0, &with(&POST, &[("content-length", "1")]));
            let body = [data(1, 0, b"test"), data(1, END_STREAM, b"test")].concat();
            resets(&[head, body].concat(), PROTOCOL);
        },
    ),
];
