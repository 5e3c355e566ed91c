//! Messages, control streams and the state of a connection, as bytes of streams.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod connection;
mod control;
mod properties;
mod requests;
mod responses;

use byway_h3::qpack::HeadWriter;
use byway_h3::{
    Event, Limits, MessageError, RequestReader, ResponseReader, write_data_header, write_head,
};
use byway_head::{HeadOut, Malformed, RequestHead, ResponseHead};

/// A number of QUIC below 2^30.
fn varint(value: u32) -> Vec<u8> {
    match value {
        0..=63 => vec![value as u8],
        64..=0x3fff => (value as u16 | 0x4000).to_be_bytes().to_vec(),
        _ => (value | 0x8000_0000).to_be_bytes().to_vec(),
    }
}

/// A frame of any type.
fn frame(kind: u32, payload: &[u8]) -> Vec<u8> {
    [&varint(kind), &varint(payload.len() as u32), payload].concat()
}

const DATA: u32 = 0;
const HEADERS: u32 = 1;
/// A type that is reserved so that nothing is made of it.
const GREASE: u32 = 0x1f * 5 + 0x21;

/// A head or trailers as a frame.
fn head(write: impl FnOnce(&mut HeadWriter<'_>) -> Result<(), Malformed>) -> Vec<u8> {
    let mut out = Vec::new();
    write_head(&mut out, |mut block| {
        write(&mut block)?;
        block.end();
        Ok::<(), Malformed>(())
    })
    .unwrap();
    out
}

fn get() -> Vec<u8> {
    head(|out| out.request(b"GET", b"/a", b"example.com"))
}

fn post(length: Option<u64>) -> Vec<u8> {
    head(|out| {
        out.request(b"POST", b"/a", b"example.com")?;
        if let Some(length) = length {
            out.framing(byway_head::Framed::Length(length));
        }
        Ok(())
    })
}

fn data(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_data_header(&mut out, bytes.len());
    out.extend_from_slice(bytes);
    out
}

fn trailers() -> Vec<u8> {
    head(|out| out.field(b"grpc-status", b"0"))
}

/// What was read of a stream, without how it was split.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    /// Method or status of each head, and whether it ended the stream.
    heads: Vec<(String, bool)>,
    unacceptable: Option<Malformed>,
    data: Vec<u8>,
    trailers: Option<Vec<String>>,
    waste: usize,
}

impl Seen {
    fn note(&mut self, event: Event, bytes: &[u8], head: impl FnOnce() -> String) {
        match event {
            Event::Head { end } => self.heads.push((head(), end)),
            Event::Unacceptable { error } => self.unacceptable = Some(error),
            Event::Data(range) => self.data.extend_from_slice(&bytes[range]),
            Event::Trailers => self.trailers = Some(Vec::new()),
        }
    }
}

/// Reads a whole stream in pieces of this size.
fn read_request(stream: &[u8], piece: usize, limits: &Limits) -> (Seen, Result<(), MessageError>) {
    let (mut reader, mut seen) = (RequestReader::new(limits), Seen::default());
    let (mut head, mut text) = (RequestHead::default(), Vec::new());
    let mut read = 0;
    for mut bytes in stream.chunks(piece) {
        read += bytes.len();
        let fin = read == stream.len();
        while !bytes.is_empty() {
            let step = match reader.step(bytes, fin, &mut head, &mut text, limits) {
                Ok(step) => step,
                // How much came before an error depends on the split.
                Err(error) => return (Seen::default(), Err(error)),
            };
            assert!(step.event.is_some() || step.taken == bytes.len());
            seen.waste += step.waste;
            if let Some(event) = step.event {
                seen.note(event, bytes, || {
                    let request = head.view(&text);
                    String::from_utf8(request.method().to_vec()).unwrap()
                });
            }
            bytes = &bytes[step.taken..];
        }
    }
    let ended = reader.finish();
    if let Some(trailers) = &mut seen.trailers {
        trailers.extend(reader.trailers().map(|field| format!("{field:?}")));
    }
    (seen, ended)
}

/// Reads a whole stream in pieces of this size.
fn read_response(
    method: &str,
    stream: &[u8],
    piece: usize,
    limits: &Limits,
) -> (Seen, Result<(), MessageError>) {
    let mut reader = ResponseReader::new(method.as_bytes(), limits);
    let (mut seen, mut head, mut text) = (Seen::default(), ResponseHead::default(), Vec::new());
    let mut read = 0;
    for mut bytes in stream.chunks(piece) {
        read += bytes.len();
        let fin = read == stream.len();
        while !bytes.is_empty() {
            let step = match reader.step(bytes, fin, &mut head, &mut text, limits) {
                Ok(step) => step,
                // How much came before an error depends on the split.
                Err(error) => return (Seen::default(), Err(error)),
            };
            seen.waste += step.waste;
            if let Some(event) = step.event {
                seen.note(event, bytes, || head.view(&text).status().to_string());
            }
            bytes = &bytes[step.taken..];
        }
    }
    let ended = reader.finish();
    if let Some(trailers) = &mut seen.trailers {
        trailers.extend(reader.trailers().map(|field| format!("{field:?}")));
    }
    (seen, ended)
}
