//! Common: frames as bytes, written without the crate's encoder, and an echo that is fed in pieces.
#![allow(dead_code)] // each test file uses its own part

use byway_ws::{Connection, Decoder, Event, Limits, Malformed, Role};

/// The key of every masked frame; that of RFC 6455 section 5.7.
pub(crate) const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// A frame, which may be invalid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) fin: bool,
    /// The reserved bits, as a number from 0 to 7.
    pub(crate) rsv: u8,
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
}

pub(crate) fn frame(opcode: u8, payload: impl AsRef<[u8]>) -> Frame {
    Frame {
        fin: true,
        rsv: 0,
        opcode,
        payload: payload.as_ref().to_vec(),
    }
}

/// A frame without FIN.
pub(crate) fn fragment(opcode: u8, payload: impl AsRef<[u8]>) -> Frame {
    Frame {
        fin: false,
        ..frame(opcode, payload)
    }
}

/// A close frame with a code, which may be forbidden.
pub(crate) fn close(code: u16, reason: impl AsRef<[u8]>) -> Frame {
    frame(CLOSE, [&code.to_be_bytes()[..], reason.as_ref()].concat())
}

impl Frame {
    pub(crate) fn with_rsv(self, rsv: u8) -> Self {
        Self { rsv, ..self }
    }

    /// As sent by this side.
    pub(crate) fn bytes(&self, from: Role) -> Vec<u8> {
        let masked = from == Role::Client;
        let bit = if masked { 0x80 } else { 0 };
        let mut bytes = vec![u8::from(self.fin) << 7 | self.rsv << 4 | self.opcode];
        match self.payload.len() {
            len @ 0..=125 => bytes.push(bit | len as u8),
            len @ 126..=0xffff => {
                bytes.push(bit | 126);
                bytes.extend((len as u16).to_be_bytes());
            }
            len => {
                bytes.push(bit | 127);
                bytes.extend((len as u64).to_be_bytes());
            }
        }
        if masked {
            bytes.extend(KEY);
        }
        let masks = KEY.iter().cycle().map(|key| if masked { *key } else { 0 });
        bytes.extend(self.payload.iter().zip(masks).map(|(byte, key)| byte ^ key));
        bytes
    }
}

pub(crate) fn bytes_of(frames: &[Frame], from: Role) -> Vec<u8> {
    frames.iter().flat_map(|frame| frame.bytes(from)).collect()
}

/// Parses valid frames of this side, without the crate's decoder.
pub(crate) fn frames_of(mut bytes: &[u8], from: Role) -> Vec<Frame> {
    fn take<'a>(bytes: &mut &'a [u8], len: usize) -> &'a [u8] {
        let (taken, rest) = bytes.split_at(len);
        *bytes = rest;
        taken
    }
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let head = take(&mut bytes, 2);
        assert_eq!(head[1] & 0x80 != 0, from == Role::Client, "the mask bit");
        let len = match head[1] & 0x7f {
            126 => take(&mut bytes, 2)
                .iter()
                .fold(0, |len, byte| len << 8 | usize::from(*byte)),
            127 => take(&mut bytes, 8)
                .iter()
                .fold(0, |len, byte| len << 8 | usize::from(*byte)),
            len => usize::from(len),
        };
        let key = match from {
            Role::Client => take(&mut bytes, 4).to_vec(),
            Role::Server => vec![0; 4],
        };
        let payload = take(&mut bytes, len);
        frames.push(Frame {
            fin: head[0] & 0x80 != 0,
            rsv: head[0] >> 4 & 7,
            opcode: head[0] & 0x0f,
            payload: payload
                .iter()
                .zip(key.iter().cycle())
                .map(|(byte, key)| byte ^ key)
                .collect(),
        });
    }
    frames
}

/// What a connection that echoes every message did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Echoed {
    pub(crate) answers: Vec<Frame>,
    pub(crate) error: Option<Malformed>,
    pub(crate) is_finished: bool,
    /// Bytes that were passed up to the error, if the pieces are single bytes.
    pub(crate) passed: usize,
}

/// Passes the bytes of a peer to an echo, in pieces of at most `piece` bytes.
pub(crate) fn echo(role: Role, limits: Limits, bytes: &[u8], piece: usize) -> Echoed {
    let mut connection = match role {
        Role::Server => Connection::server(limits),
        Role::Client => Connection::client(limits, || KEY),
    };
    let (mut out, mut error, mut passed) = (Vec::new(), None, 0);
    'pieces: for piece in bytes.chunks(piece) {
        let mut unread = piece.to_vec();
        passed += piece.len();
        let mut taken = 0;
        loop {
            let (n, message) = match connection.receive(&mut unread[taken..], &mut out) {
                Ok(step) => {
                    let message = match step.event {
                        None => {
                            assert_eq!(taken + step.taken, unread.len(), "bytes are left");
                            break;
                        }
                        Some(Event::Text(text)) => Some((TEXT, text.as_bytes().to_vec())),
                        Some(Event::Binary(data)) => Some((BINARY, data.to_vec())),
                        Some(_) => None,
                    };
                    (step.taken, message)
                }
                Err(malformed) => {
                    error = Some(malformed);
                    break 'pieces;
                }
            };
            taken += n;
            match message {
                Some((TEXT, text)) => {
                    connection
                        .text(str::from_utf8(&text).unwrap(), &mut out)
                        .unwrap();
                }
                Some((_, data)) => connection.binary(&data, &mut out).unwrap(),
                None => {}
            }
        }
    }
    Echoed {
        answers: frames_of(&out, role),
        error,
        is_finished: connection.is_finished(),
        passed,
    }
}

/// An event with owned payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

impl From<Event<'_>> for Seen {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Text(text) => Self::Text(text.to_owned()),
            Event::Binary(bytes) => Self::Binary(bytes.to_vec()),
            Event::Ping(payload) => Self::Ping(payload.to_vec()),
            Event::Pong(payload) => Self::Pong(payload.to_vec()),
            Event::Close(close) => {
                Self::Close(close.map(|close| (close.code.get(), close.reason.to_owned())))
            }
        }
    }
}

/// Decodes pieces that end at `cuts` and at the end: all events, and the error.
pub(crate) fn decode(
    role: Role,
    limits: Limits,
    bytes: &[u8],
    cuts: &[usize],
) -> (Vec<Seen>, Option<Malformed>) {
    let mut decoder = Decoder::new(role, limits);
    let (mut seen, mut from) = (Vec::new(), 0);
    for &to in cuts.iter().chain([&bytes.len()]) {
        let mut unread = bytes[from..to].to_vec();
        from = to;
        let mut taken = 0;
        loop {
            match decoder.step(&mut unread[taken..]) {
                Ok(step) => {
                    taken += step.taken;
                    let Some(event) = step.event else { break };
                    seen.push(event.into());
                }
                Err(error) => {
                    assert_eq!(decoder.step(&mut []), Err(error), "the error does not last");
                    return (seen, Some(error));
                }
            }
        }
        assert_eq!(taken, unread.len(), "no event, but bytes are left");
        let most = usize::try_from(limits.message_bytes).unwrap();
        assert!(decoder.allocated_bytes() <= most);
    }
    (seen, None)
}
