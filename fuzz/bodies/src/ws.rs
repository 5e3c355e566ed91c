//! WebSocket: invariants for all bytes from a peer.
//!
//! In:    bytes from a fuzzer.
//! Out:   nothing, or a panic for each violation.
//! Never: needs more memory than a few copies of its input.

use byway_ws::handshake::{ClientHandshake, Field, Request, Response};
use byway_ws::{
    ChunkDecoder, ChunkEvent, Close, Connection, Decoder, Encoder, Event, Kind, Limits, Malformed,
    Role,
};

/// An event with owned payload.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

type Decoded = (Vec<Seen>, Option<Malformed>);

/// Frames: decoded whole and in pieces, as messages and as chunks, to the same; memory stays within
/// the limit; the events are encoded and decoded again to the same; the answers of a connection are
/// frames that its peer accepts. The first byte of the input selects the role, the limits and the
/// size of the pieces.
pub fn frames(data: &[u8]) {
    let Some((&options, bytes)) = data.split_first() else {
        return;
    };
    let role = match options & 1 {
        0 => Role::Server,
        _ => Role::Client,
    };
    let limits = match options & 2 {
        0 => Limits::default(),
        _ => small(),
    };
    let piece = usize::from(options >> 2) + 1;
    let whole = messages(role, limits, bytes, bytes.len().max(1));
    for piece in [1, piece] {
        let pieces = messages(role, limits, bytes, piece);
        assert_eq!(whole, pieces, "the events depend on the split");
        let chunks = chunks(role, limits, bytes, piece);
        assert_eq!(whole, chunks, "the decoders disagree");
    }
    comes_back(role, &whole.0);
    answers(role, limits, bytes, piece);
}

fn small() -> Limits {
    Limits {
        frame_bytes: 20,
        message_bytes: 30,
        fragments: 3,
    }
}

fn messages(role: Role, limits: Limits, bytes: &[u8], piece: usize) -> Decoded {
    let mut decoder = Decoder::new(role, limits);
    let mut seen = Vec::new();
    for piece in bytes.to_vec().chunks_mut(piece) {
        let mut rest = piece;
        loop {
            match decoder.step(rest) {
                Ok(step) => {
                    let taken = step.taken;
                    let Some(event) = step.event else {
                        assert_eq!(taken, rest.len(), "bytes are left without an event");
                        break;
                    };
                    seen.push(owned(event));
                    rest = rest.get_mut(taken..).unwrap_or_default();
                }
                Err(error) => {
                    assert_eq!(decoder.step(&mut []), Err(error), "the error does not last");
                    return (seen, Some(error));
                }
            }
            assert!(decoder.allocated_bytes() as u64 <= limits.message_bytes);
        }
    }
    (seen, None)
}

fn chunks(role: Role, limits: Limits, bytes: &[u8], piece: usize) -> Decoded {
    let mut decoder = ChunkDecoder::new(role, limits);
    let (mut seen, mut message) = (Vec::new(), Vec::new());
    for piece in bytes.to_vec().chunks_mut(piece) {
        let mut rest = piece;
        loop {
            let step = match decoder.step(rest) {
                Ok(step) => step,
                Err(error) => return (seen, Some(error)),
            };
            let taken = step.taken;
            match step.event {
                None => break,
                Some(ChunkEvent::Data {
                    kind,
                    bytes,
                    is_last,
                }) => {
                    message.extend_from_slice(bytes);
                    assert!(message.len() as u64 <= limits.message_bytes);
                    if is_last {
                        seen.push(whole(kind, std::mem::take(&mut message)));
                    }
                }
                Some(ChunkEvent::Ping(payload)) => seen.push(owned(Event::Ping(payload))),
                Some(ChunkEvent::Pong(payload)) => seen.push(owned(Event::Pong(payload))),
                Some(ChunkEvent::Close(close)) => seen.push(owned(Event::Close(close))),
            }
            rest = rest.get_mut(taken..).unwrap_or_default();
        }
    }
    (seen, None)
}

fn whole(kind: Kind, bytes: Vec<u8>) -> Seen {
    match kind {
        Kind::Text => match String::from_utf8(bytes) {
            Ok(text) => Seen::Text(text),
            Err(error) => panic!("a text that is not UTF-8: {error}"),
        },
        Kind::Binary => Seen::Binary(bytes),
    }
}

fn owned(event: Event<'_>) -> Seen {
    let close = |close: Close<'_>| (close.code.get(), close.reason.to_owned());
    match event {
        Event::Text(text) => Seen::Text(text.to_owned()),
        Event::Binary(bytes) => Seen::Binary(bytes.to_vec()),
        Event::Ping(payload) => Seen::Ping(payload.to_vec()),
        Event::Pong(payload) => Seen::Pong(payload.to_vec()),
        Event::Close(payload) => Seen::Close(payload.map(close)),
    }
}

/// Encodes events as the peer of `role`, and decodes them.
fn comes_back(role: Role, events: &[Seen]) {
    let mut encoder = match role.peer() {
        Role::Server => Encoder::server(),
        Role::Client => Encoder::client(|| [1, 2, 3, 4]),
    };
    let mut out = Vec::new();
    for event in events {
        let written = match event {
            Seen::Text(text) => encoder.text(text, &mut out),
            Seen::Binary(bytes) => encoder.binary(bytes, &mut out),
            Seen::Ping(payload) => encoder.ping(payload, &mut out),
            Seen::Pong(payload) => encoder.pong(payload, &mut out),
            Seen::Close(None) => encoder.close(None, "", &mut out),
            Seen::Close(Some((code, reason))) => {
                encoder.close(byway_ws::CloseCode::new(*code), reason, &mut out)
            }
        };
        assert_eq!(written, Ok(()), "{event:?}");
    }
    let (again, error) = messages(role, Limits::default(), &out, out.len().max(1));
    assert!(
        error.is_none() && again == events,
        "{events:?} became {again:?}, {error:?}"
    );
}

/// Passes the bytes to a connection, and its answers to a decoder of the peer.
fn answers(role: Role, limits: Limits, bytes: &[u8], piece: usize) {
    let mut connection = match role {
        Role::Server => Connection::server(limits),
        Role::Client => Connection::client(limits, || [1, 2, 3, 4]),
    };
    let mut out = Vec::new();
    let mut failed = None;
    'pieces: for piece in bytes.to_vec().chunks_mut(piece) {
        let mut rest = piece;
        loop {
            match connection.receive(rest, &mut out) {
                Ok(step) if step.event.is_none() => break,
                Ok(step) => {
                    let taken = step.taken;
                    rest = rest.get_mut(taken..).unwrap_or_default();
                }
                Err(error) => {
                    failed = Some(error.close_code().get());
                    break 'pieces;
                }
            }
        }
    }
    let (answers, error) = messages(role.peer(), Limits::default(), &out, out.len().max(1));
    assert_eq!(error, None, "an answer is not valid");
    let last = answers.last();
    if let Some(code) = failed {
        assert_eq!(last, Some(&Seen::Close(Some((code, String::new())))));
        assert!(connection.is_finished());
    }
    let closes = answers
        .iter()
        .filter(|answer| matches!(answer, Seen::Close(_)));
    assert!(closes.count() <= 1, "a second close frame");
}

/// A handshake: lines of `name: value` as the fields of a request and of a response. An accepted
/// request is answered with fields that have no line end in them.
pub fn handshake(data: &[u8]) {
    let fields = data.split(|byte| *byte == b'\n').filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = line.split_at(colon);
        let field: Field<'_> = (name, value.get(1..).unwrap_or_default());
        Some(field)
    });
    let request = Request {
        method: b"GET",
        http_minor: 1,
        fields: fields.clone(),
    };
    if let Ok(accepted) = request.check() {
        let first = accepted.protocols().next();
        let mut out = Vec::new();
        assert_eq!(accepted.write_fields(first, &mut out), Ok(()));
        let lines = out.split(|byte| *byte == b'\n').count() - 1;
        assert_eq!(
            lines,
            3 + usize::from(first.is_some()),
            "a line end in a value"
        );
        assert_eq!(accepted.choose(&["not offered\n"]), None);
    }
    let response = Response {
        status: 101,
        http_minor: 1,
        fields,
    };
    let Ok(client) = ClientHandshake::new(*b"the sample nonce", &["chat"]) else {
        panic!("a token was refused");
    };
    if let Ok(protocol) = client.check(response) {
        assert!(matches!(protocol, None | Some("chat")));
    }
}
