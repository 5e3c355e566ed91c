//! Http2: a client of HTTP/2 that sends any frames, and a response as a test sees it.
//!
//! In:    an address; requests, or frames as they are.
//! Out:   responses, resets and the end of the connection.
//! Never: uses the program's frames or its encoder. Heads of responses are decoded by its HPACK,
//!        which is compared with other implementations elsewhere.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use byway_h2::hpack::Decoder;
use byway_head::{FieldSink, Span};

use crate::visitor::Visitor;

/// Types of frames (RFC 9113 section 6).
#[allow(missing_docs, reason = "the names are those of the RFC")]
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// The flag END_STREAM, and ACK of SETTINGS and PING.
pub const END_STREAM: u8 = 1;
/// The flag END_HEADERS.
pub const END_HEADERS: u8 = 4;

/// What a client of HTTP/2 sends first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A client of HTTP/2.
pub struct Http2Visitor {
    /// The connection, to send any bytes.
    pub wire: Visitor,
    decoder: Decoder,
    next: u32,
    streams: BTreeMap<u32, Http2Response>,
    /// The code and the last stream of the last GOAWAY.
    pub go_away: Option<(u32, u32)>,
    /// Whether windows are renewed for what is read.
    pub grants: bool,
    /// Settings of the server, by their identifiers.
    pub settings: BTreeMap<u16, u32>,
    /// Acknowledgements of pings.
    pub pongs: usize,
    /// What may be sent on the connection, and on each stream beyond or below the initial window.
    window: i64,
    windows: BTreeMap<u32, i64>,
}

/// What has come on a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Http2Response {
    /// The statuses of interim responses.
    pub interim: Vec<String>,
    /// The fields of the final head.
    pub fields: Vec<(String, String)>,
    /// The data.
    pub body: Vec<u8>,
    /// The trailers.
    pub trailers: Vec<(String, String)>,
    /// Whether the message has ended.
    pub has_ended: bool,
    /// The code of a reset.
    pub reset: Option<u32>,
}

impl Http2Response {
    /// The status; 0 without a head.
    pub fn status(&self) -> u16 {
        self.field(":status")
            .map_or(0, |status| status.parse().unwrap())
    }

    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        let field = self.fields.iter().find(|field| field.0 == name);
        field.map(|field| &*field.1)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn is_over(&self) -> bool {
        self.has_ended || self.reset.is_some()
    }
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0 for none.
    pub stream: u32,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A field block without Huffman coding that adds nothing to a table.
pub fn field_block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            length(&mut block, text.len());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// An integer with a prefix of seven bits (RFC 7541 section 5.1).
fn length(block: &mut Vec<u8>, length: usize) {
    let Some(mut rest) = length.checked_sub(127) else {
        return block.push(length as u8);
    };
    block.push(127);
    while rest >= 128 {
        block.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    block.push(rest as u8);
}

/// The Sec-WebSocket-Accept that belongs to a key.
pub fn accept(key: &str) -> String {
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let digest = aws_lc_rs::digest::digest(
        &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY,
        text.as_bytes(),
    );
    base64(digest.as_ref())
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let word = group
            .iter()
            .fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
        let word = word << (8 * (3 - group.len()));
        for place in 0..4 {
            let digit = ALPHABET[(word >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= group.len() {
                digit.into()
            } else {
                '='
            });
        }
    }
    text
}

/// The pseudo-headers of a request.
pub fn request<'a>(method: &'a str, path: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", "test.example"),
    ]
}

impl Http2Visitor {
    /// Connects, and sends the preface with empty settings.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        Self::with_settings(Visitor::connect(address), &[])
    }

    /// Sends the preface with these settings.
    #[track_caller]
    pub fn with_settings(mut wire: Visitor, settings: &[(u16, u32)]) -> Self {
        let mut payload = Vec::new();
        for (id, value) in settings {
            payload.extend(id.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        let settings = frame(kind::SETTINGS, 0, 0, &payload);
        wire.send([PREFACE, &settings].concat());
        Self {
            wire,
            decoder: Decoder::new(4096),
            next: 1,
            streams: BTreeMap::new(),
            go_away: None,
            grants: true,
            settings: BTreeMap::new(),
            pongs: 0,
            window: 65_535,
            windows: BTreeMap::new(),
        }
    }

    /// Sends a frame.
    #[track_caller]
    pub fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> &mut Self {
        self.wire.send(frame(kind, flags, stream, payload));
        self
    }

    /// The number of a new stream.
    pub fn new_stream(&mut self) -> u32 {
        let stream = self.next;
        self.next += 2;
        stream
    }

    /// Sends a head on a new stream. Returns its number.
    #[track_caller]
    pub fn head(&mut self, fields: &[(&str, &str)], ends: bool) -> u32 {
        let stream = self.new_stream();
        let end = if ends { END_STREAM } else { 0 };
        self.frame(
            kind::HEADERS,
            END_HEADERS | end,
            stream,
            &field_block(fields),
        );
        stream
    }

    /// How many bytes of data may be sent on a stream now.
    pub fn window(&self, stream: u32) -> usize {
        let initial = self.settings.get(&4).copied().unwrap_or(65_535);
        let changed = self.windows.get(&stream).copied().unwrap_or_default();
        let window = (i64::from(initial) + changed).min(self.window);
        usize::try_from(window).unwrap_or_default()
    }

    /// Reads until something may be sent on a stream.
    #[track_caller]
    pub fn until_window(&mut self, stream: u32) {
        while self.settings.is_empty() || self.window(stream) == 0 {
            assert!(self.turn(), "the connection ended");
        }
    }

    /// Sends data.
    #[track_caller]
    pub fn data(&mut self, stream: u32, data: &[u8], ends: bool) -> &mut Self {
        self.window -= data.len() as i64;
        *self.windows.entry(stream).or_default() -= data.len() as i64;
        self.frame(kind::DATA, if ends { END_STREAM } else { 0 }, stream, data)
    }

    /// Sends trailers.
    #[track_caller]
    pub fn trailers(&mut self, stream: u32, fields: &[(&str, &str)]) -> &mut Self {
        let block = field_block(fields);
        self.frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &block)
    }

    /// Resets a stream.
    #[track_caller]
    pub fn reset_stream(&mut self, stream: u32, code: u32) -> &mut Self {
        self.frame(kind::RST_STREAM, 0, stream, &code.to_be_bytes())
    }

    /// Sends a GET, and reads its response.
    #[track_caller]
    pub fn get(&mut self, path: &str) -> Http2Response {
        let stream = self.head(&request("GET", path), true);
        self.response(stream)
    }

    /// Reads until the stream has ended or was reset.
    #[track_caller]
    pub fn response(&mut self, stream: u32) -> Http2Response {
        self.until(stream, "its end", Http2Response::is_over)
    }

    /// Reads until what has come on the stream is as required.
    #[track_caller]
    pub fn until(
        &mut self,
        stream: u32,
        what: &str,
        mut holds: impl FnMut(&Http2Response) -> bool,
    ) -> Http2Response {
        loop {
            let so_far = self.streams.entry(stream).or_default();
            if holds(so_far) {
                return so_far.clone();
            }
            assert!(
                self.turn(),
                "the connection ended before stream {stream} had {what}: {:?}, GOAWAY {:?}",
                self.streams.get(&stream),
                self.go_away
            );
        }
    }

    /// What has come on a stream so far.
    pub fn so_far(&self, stream: u32) -> Http2Response {
        self.streams.get(&stream).cloned().unwrap_or_default()
    }

    /// Reads to the end of the connection. Returns the code of the GOAWAY.
    #[track_caller]
    pub fn to_end(&mut self) -> Option<u32> {
        while self.turn() {}
        self.go_away.map(|(code, _)| code)
    }

    /// Reads and handles one frame; false at the end of the connection.
    #[track_caller]
    pub fn turn(&mut self) -> bool {
        if !self.wire.fill() {
            return false;
        }
        let Some(frame) = self.next_frame() else {
            return false;
        };
        self.handle(&frame);
        true
    }

    /// Reads one frame; `None` if the connection ends within it.
    #[track_caller]
    pub fn next_frame(&mut self) -> Option<Frame> {
        let header = self.wire.try_exactly(9)?;
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        let stream = [header[5], header[6], header[7], header[8]];
        Some(Frame {
            kind: header[3],
            flags: header[4],
            stream: u32::from_be_bytes(stream),
            payload: self.wire.try_exactly(length as usize)?,
        })
    }

    fn handle(&mut self, frame: &Frame) {
        let number = |at: usize| {
            let bytes = frame.payload[at..at + 4].try_into().unwrap();
            u32::from_be_bytes(bytes)
        };
        let ends = frame.flags & END_STREAM != 0;
        match frame.kind {
            kind::SETTINGS if frame.flags & 1 == 0 => {
                for setting in frame.payload.chunks(6) {
                    let id = u16::from_be_bytes([setting[0], setting[1]]);
                    let value = u32::from_be_bytes(setting[2..].try_into().unwrap());
                    self.settings.insert(id, value);
                }
                self.wire.try_send(self::frame(kind::SETTINGS, 1, 0, &[]));
            }
            kind::PING if ends => self.pongs += 1,
            kind::PING => {
                self.wire
                    .try_send(self::frame(kind::PING, 1, 0, &frame.payload));
            }
            kind::WINDOW_UPDATE if frame.stream == 0 => self.window += i64::from(number(0)),
            kind::WINDOW_UPDATE => {
                *self.windows.entry(frame.stream).or_default() += i64::from(number(0));
            }
            kind::GOAWAY => self.go_away = Some((number(4), number(0))),
            kind::RST_STREAM => {
                self.streams.entry(frame.stream).or_default().reset = Some(number(0));
            }
            kind::HEADERS => {
                assert!(frame.flags & END_HEADERS != 0, "a head of one frame");
                let mut sink = Collected::default();
                self.decoder
                    .decode(&frame.payload, 1 << 20, &mut sink)
                    .unwrap();
                let stream = self.streams.entry(frame.stream).or_default();
                stream.has_ended |= ends;
                let status = sink.fields.first().filter(|field| field.0 == ":status");
                match status.map(|status| status.1.clone()) {
                    Some(status) if status.starts_with('1') => stream.interim.push(status),
                    Some(_) => stream.fields = sink.fields,
                    None => stream.trailers = sink.fields,
                }
            }
            kind::DATA => {
                let stream = self.streams.entry(frame.stream).or_default();
                stream.body.extend(&frame.payload);
                stream.has_ended |= ends;
                let bytes = frame.payload.len() as u32;
                if self.grants && bytes > 0 {
                    for number in [0, frame.stream] {
                        let update =
                            self::frame(kind::WINDOW_UPDATE, 0, number, &bytes.to_be_bytes());
                        self.wire.try_send(update);
                    }
                }
            }
            _ => {}
        }
    }
}

#[derive(Default)]
struct Collected {
    text: Vec<u8>,
    fields: Vec<(String, String)>,
}

impl FieldSink for Collected {
    fn text(&mut self) -> &mut Vec<u8> {
        &mut self.text
    }

    fn field(&mut self, name: Span, value: Span) {
        let text = |span: Span| String::from_utf8_lossy(span.of(&self.text)).into_owned();
        self.fields.push((text(name), text(value)));
    }
}
