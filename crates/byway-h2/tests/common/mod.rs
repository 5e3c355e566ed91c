//! A peer that writes frames by hand, on the other side of a connection.

#![allow(dead_code, unreachable_pub)] // each suite uses a part of it

use std::time::{Duration, Instant};

use byway_h2::{Connection, ConnectionError, ErrorCode, Event, Limits, PREFACE, StreamId};
use byway_head::{Framed, HeadOut, Malformed};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
pub const PRIORITY_UPDATE: u8 = 16;

pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;
pub const WITH_PRIORITY: u8 = 0x20;

#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let start = &self.payload[..self.payload.len().min(16)];
        let (kind, flags, stream, len) = (self.kind, self.flags, self.stream, self.payload.len());
        write!(f, "{kind}/{flags:#x} on {stream}, {len} bytes {start:?}")
    }
}

impl Frame {
    pub fn code(&self) -> Option<ErrorCode> {
        let code = match self.kind {
            RST_STREAM => self.payload.get(..4)?,
            GOAWAY => self.payload.get(4..8)?,
            _ => return None,
        };
        Some(ErrorCode(u32::from_be_bytes(code.try_into().unwrap())))
    }

    pub fn ends_stream(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }
}

/// A frame as bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Whole frames; what is left of the bytes stays.
pub fn parse(bytes: &mut Vec<u8>) -> Vec<Frame> {
    let mut frames = Vec::new();
    if bytes.starts_with(PREFACE) {
        bytes.drain(..PREFACE.len());
    }
    while bytes.len() >= 9 {
        let len = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize;
        if bytes.len() < 9 + len {
            break;
        }
        let stream = u32::from_be_bytes(bytes[5..9].try_into().unwrap());
        frames.push(Frame {
            kind: bytes[3],
            flags: bytes[4],
            stream,
            payload: bytes[9..9 + len].to_vec(),
        });
        bytes.drain(..9 + len);
    }
    frames
}

/// A field block of literals, whatever the names are.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for string in [name, value] {
            byway_head::prefix_int::write(&mut out, 0, 7, string.len() as u64);
            out.extend(string.as_bytes());
        }
    }
    out
}

pub const GET: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "localhost"),
];

pub const POST: [(&str, &str); 4] = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "localhost"),
];

/// Fields and others behind them.
pub fn with<'a>(
    fields: &[(&'a str, &'a str)],
    more: &[(&'a str, &'a str)],
) -> Vec<(&'a str, &'a str)> {
    [fields, more].concat()
}

pub fn headers(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, flags | END_HEADERS, stream, &block(fields))
}

pub fn get(stream: u32) -> Vec<u8> {
    headers(stream, END_STREAM, &GET)
}

pub fn post(stream: u32) -> Vec<u8> {
    headers(stream, 0, &POST)
}

pub fn data(stream: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    frame(DATA, flags, stream, payload)
}

pub fn reset(stream: u32, code: ErrorCode) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.0.to_be_bytes())
}

pub fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

pub fn settings(settings: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (id, value) in settings {
        payload.extend(id.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    frame(SETTINGS, 0, 0, &payload)
}

pub fn ping() -> Vec<u8> {
    frame(PING, 0, 0, b"12345678")
}

/// A connection, what it has sent, and what it has reported.
pub struct Peer {
    pub connection: Connection,
    pub now: Instant,
    /// Frames that the connection has sent.
    pub frames: Vec<Frame>,
    pub events: Vec<Event>,
    pub error: Option<ConnectionError>,
    /// Bytes that have arrived as data, by the number of their stream.
    pub bodies: Vec<(u32, Vec<u8>)>,
    /// Whether received data is returned at once.
    pub credits: bool,
    /// Whether requests are answered, with a body of this length.
    pub answers: Option<usize>,
    /// Whether the peer takes what the connection sends.
    pub takes: bool,
    unanswered: Vec<(StreamId, usize)>,
    unparsed: Vec<u8>,
}

impl Peer {
    fn new(connection: Connection, now: Instant) -> Self {
        Self {
            connection,
            now,
            frames: Vec::new(),
            events: Vec::new(),
            error: None,
            bodies: Vec::new(),
            credits: true,
            answers: None,
            takes: true,
            unanswered: Vec::new(),
            unparsed: Vec::new(),
        }
    }

    /// The client of a server, before anything was sent.
    pub fn of_fresh_server(limits: Limits) -> Self {
        let now = Instant::now();
        Self::new(Connection::server(limits, now), now)
    }

    /// The client of a server, after the exchange of settings.
    pub fn of_server(limits: Limits) -> Self {
        let mut peer = Self::of_fresh_server(limits);
        let mut begin = PREFACE.to_vec();
        begin.extend(settings(&[]));
        begin.extend(frame(SETTINGS, ACK, 0, &[]));
        peer.send(&begin);
        peer.frames.clear();
        peer.events.clear();
        peer
    }

    /// As before; the server answers each request with a body of this length.
    pub fn of_answering_server(body: usize) -> Self {
        let mut peer = Self::of_server(Limits::default());
        peer.answers = Some(body);
        peer
    }

    /// The server of a client, after the exchange of settings.
    pub fn of_client(limits: Limits) -> Self {
        let now = Instant::now();
        let mut peer = Self::new(Connection::client(limits, now), now);
        let mut begin = settings(&[]);
        begin.extend(frame(SETTINGS, ACK, 0, &[]));
        peer.send(&begin);
        peer.frames.clear();
        peer.events.clear();
        peer
    }

    /// Opens a stream with a request without a body.
    pub fn open(&mut self, method: &str, end: bool) -> StreamId {
        let opened = self
            .connection
            .open(byway_head::Scheme::Http, None, end, |head| {
                head.request(method.as_bytes(), b"/", b"localhost")?;
                head.end();
                Ok::<_, Malformed>(())
            });
        let id = opened.unwrap().expect("room for a stream");
        self.flush();
        id
    }

    /// Sends bytes to the connection, and takes what it answers.
    pub fn send(&mut self, bytes: &[u8]) -> &mut Self {
        let mut rest = bytes;
        loop {
            let step = match self.connection.read(rest, self.now) {
                Ok(step) => step,
                Err(error) => {
                    self.error = Some(error);
                    break;
                }
            };
            if let Some(event) = step.event.clone() {
                self.note(event, rest);
            }
            rest = &rest[step.taken..];
            if step.event.is_none() && (rest.is_empty() || step.taken == 0) {
                if rest.is_empty() || !self.takes {
                    break;
                }
                self.flush();
            }
            self.connection.check_invariants();
        }
        self.flush();
        self
    }

    fn note(&mut self, event: Event, bytes: &[u8]) {
        match &event {
            Event::Head { id, end } | Event::Unacceptable { id, end, .. } => {
                self.bodies.push((id.number(), Vec::new()));
                self.ready(*id, *end);
            }
            Event::Data { id, range, end } => {
                let body = self
                    .bodies
                    .iter_mut()
                    .find(|body| body.0 == id.number())
                    .unwrap();
                body.1.extend_from_slice(&bytes[range.clone()]);
                if self.credits {
                    self.connection.credit(*id, range.len());
                }
                self.ready(*id, *end);
            }
            Event::Trailers { id } => self.ready(*id, true),
            Event::Reset { id, .. } if self.answers.is_some() => {
                self.unanswered.retain(|other| other.0 != *id);
                self.connection.release(*id);
            }
            _ => {}
        }
        self.events.push(event);
    }

    fn ready(&mut self, id: StreamId, end: bool) {
        if let (Some(body), true) = (self.answers, end) {
            self.respond(id, body as u64);
            self.unanswered.push((id, body));
            self.go_on(id);
        }
    }

    /// Queues the head of a response.
    pub fn respond(&mut self, id: StreamId, body: u64) {
        let responded = self.connection.head(id, false, |head| {
            head.response(200, b"")?;
            head.framing(Framed::Length(body));
            head.end();
            Ok::<_, Malformed>(())
        });
        responded.unwrap();
    }

    /// Sends more of an answer.
    fn go_on(&mut self, id: StreamId) {
        let Some(at) = self.unanswered.iter().position(|answer| answer.0 == id) else {
            return;
        };
        let left = &mut self.unanswered[at].1;
        *left -= self.connection.send(id, &vec![b'x'; *left], true);
        if *left == 0 {
            self.unanswered.remove(at);
            self.connection.release(id);
        }
    }

    /// Gives streams their turns, and takes what the connection has to write.
    pub fn flush(&mut self) -> &mut Self {
        loop {
            let mut has_given = false;
            while let Some(id) = self.connection.next_turn() {
                has_given = true;
                self.go_on(id);
            }
            if !self.takes {
                return self;
            }
            let bytes = self.connection.out().to_vec();
            if bytes.is_empty() && !has_given {
                return self;
            }
            self.unparsed.extend(&bytes);
            self.connection.written(bytes.len());
            self.frames.extend(parse(&mut self.unparsed));
            self.connection.check_invariants();
        }
    }

    /// Lets time pass.
    pub fn wait(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        if let Err(error) = self.connection.expire(self.now) {
            self.error = Some(error);
        }
        self.flush()
    }

    /// Frames of a type that were sent.
    pub fn sent(&self, kind: u8) -> Vec<&Frame> {
        self.frames
            .iter()
            .filter(|frame| frame.kind == kind)
            .collect()
    }

    pub fn goaway(&self) -> Option<ErrorCode> {
        self.sent(GOAWAY).last().and_then(|frame| frame.code())
    }

    pub fn reset_code(&self, stream: u32) -> Option<ErrorCode> {
        let resets = self.sent(RST_STREAM);
        let reset = resets.iter().find(|frame| frame.stream == stream)?;
        reset.code()
    }

    /// The id of the last request.
    pub fn last_request(&self) -> StreamId {
        let last = self.events.iter().rev().find_map(|event| match event {
            Event::Head { id, .. } | Event::Unacceptable { id, .. } => Some(*id),
            _ => None,
        });
        last.expect("a request")
    }

    #[track_caller]
    pub fn expect_connection_error(&self, code: ErrorCode) {
        let error = self.error.map(|error| error.code);
        assert_eq!(error, Some(code), "{:?}", self.error);
        assert_eq!(self.goaway(), Some(code), "the last frame is GOAWAY");
    }

    /// RST_STREAM, or GOAWAY, as RFC 9113 section 5.4.2 allows.
    #[track_caller]
    pub fn expect_stream_error(&self, stream: u32, code: ErrorCode) {
        let actual = self.reset_code(stream).or_else(|| self.goaway());
        assert_eq!(actual, Some(code), "{:?}", self.frames);
    }

    #[track_caller]
    pub fn expect_response(&self, stream: u32) {
        assert_eq!(self.error, None);
        let head = self.sent(HEADERS).iter().any(|head| head.stream == stream);
        let ended = self
            .frames
            .iter()
            .any(|frame| frame.stream == stream && frame.ends_stream());
        assert!(head && ended, "no response: {:?}", self.frames);
    }

    /// The connection still answers.
    #[track_caller]
    pub fn expect_alive(&mut self) {
        self.frames.clear();
        self.send(&ping());
        assert_eq!(self.error, None);
        let acks = self.sent(PING);
        assert!(
            acks.iter()
                .any(|ack| ack.flags == ACK && ack.payload == b"12345678"),
            "no answer to PING: {:?}",
            self.frames
        );
    }
}
