//! Reader: one message of a request stream, as it arrives (RFC 9114 section 4.1).
//!
//! In:    bytes of one direction of a stream, split anywhere, and its end.
//! Out:   heads in the memory of the caller, ranges of data, trailers.
//! Never: accepts a message that its head does not describe, or frames out of order.

use std::ops::Range;

use byway_head::{
    Framed, Malformed, RequestBuilder, RequestHead, ResponseBuilder, ResponseHead, Section,
    Trailers, TrailersBuilder, Version,
};

use crate::error::{ConnectionError, ErrorCode, MessageError};
use crate::limits::Limits;
use crate::message_frames::{MessageFrames, Order, Piece};
use crate::qpack;

/// How much larger than its limit the text of a head may be until the connection ends.
const DECODED: usize = 4;

/// What a step has read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Bytes that are used up. If it is less than what was given, there is an event, and the rest is
    /// for the next step.
    pub taken: usize,
    /// What they were; `None` if more bytes are needed.
    pub event: Option<Event>,
    /// Frames without use, to charge as [`Cost::Waste`](crate::Cost::Waste).
    pub waste: usize,
}

/// What was read of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A head is in the memory that was given: of a request, or of a response, interim or final.
    Head {
        /// Whether the stream ends with it.
        end: bool,
    },
    /// A request whose head is over a limit. Answer it with [`Malformed::status`] (431, 414, 501), or
    /// reset the stream.
    Unacceptable {
        /// What is wrong.
        error: Malformed,
    },
    /// Data: this range of the bytes that were given.
    Data(Range<usize>),
    /// Trailers; `trailers` of the reader has them.
    Trailers,
}

/// What both kinds of messages have in common.
#[derive(Debug)]
struct Reader {
    frames: MessageFrames,
    /// Bytes of the body that are to come, if its length is known.
    expected: Option<u64>,
    trailers: (Section, Vec<u8>),
}

impl Reader {
    fn new(limits: &Limits, is_server: bool) -> Self {
        Self {
            frames: MessageFrames::new(limits.head.head_bytes, is_server),
            expected: None,
            trailers: Default::default(),
        }
    }

    fn data(&mut self, range: Range<usize>) -> Result<Event, MessageError> {
        if let Some(expected) = &mut self.expected {
            *expected = expected
                .checked_sub(range.len() as u64)
                .ok_or(MessageError::Length)?;
        }
        Ok(Event::Data(range))
    }

    fn finish(&self) -> Result<(), MessageError> {
        if !self.frames.is_between_frames() {
            let reason = "a stream that ends within a frame";
            return Err(ConnectionError::new(ErrorCode::FRAME_ERROR, reason).into());
        }
        match self.frames.order() {
            Order::Head => Err(MessageError::Incomplete),
            _ if self.expected.is_some_and(|left| left > 0) => Err(MessageError::Length),
            _ => Ok(()),
        }
    }
}

/// Decodes trailers into their place.
fn decode_trailers(
    block: &[u8],
    trailers: &mut (Section, Vec<u8>),
    limits: &Limits,
) -> Result<(), MessageError> {
    let (section, text) = trailers;
    text.clear();
    let mut builder = TrailersBuilder::new(section, text, &limits.head);
    let most = limits.head.head_bytes.saturating_mul(DECODED);
    qpack::decode(block, most, &mut builder).map_err(ConnectionError::from)?;
    builder.finish().map_err(MessageError::Malformed)
}

/// Reads a request, in the role of a server.
#[derive(Debug)]
pub struct RequestReader(Reader);

impl RequestReader {
    /// A reader for one stream. Give the same limits to each step.
    pub fn new(limits: &Limits) -> Self {
        Self(Reader::new(limits, true))
    }

    /// Reads what has arrived. `fin` says whether the stream ends with `bytes`; a request whose end
    /// is known with its head has no body ([`Framed::None`]). `head` and `text` get the head at
    /// [`Event::Head`]; `text` is cleared then.
    ///
    /// # Errors
    /// If the message is malformed, or frames are. The stream or the connection must then end.
    pub fn step(
        &mut self,
        bytes: &[u8],
        fin: bool,
        head: &mut RequestHead,
        text: &mut Vec<u8>,
        limits: &Limits,
    ) -> Result<Step, MessageError> {
        let reader = &mut self.0;
        let order = reader.frames.order();
        let (piece, taken, waste) = reader.frames.read(bytes)?;
        let end = fin && taken == bytes.len();
        let too_large = || Malformed::HeadTooLarge {
            limit: limits.head.head_bytes,
        };
        let (event, order) = match (piece, order) {
            (Piece::Nothing, order) => (None, order),
            (Piece::Data(range), order) => (Some(reader.data(range)?), order),
            (Piece::LongBlock, Order::Head) => (
                Some(Event::Unacceptable { error: too_large() }),
                Order::Body,
            ),
            (Piece::Block(block), Order::Head) => {
                match decode_request(block, end, head, text, limits)? {
                    Ok((order, expected)) => {
                        reader.expected = expected;
                        (Some(Event::Head { end }), order)
                    }
                    Err(error) => (Some(Event::Unacceptable { error }), Order::Body),
                }
            }
            (Piece::LongBlock, _) => {
                return Err(MessageError::Malformed(trailers_too_large(limits)));
            }
            (Piece::Block(block), _) => {
                decode_trailers(block, &mut reader.trailers, limits)?;
                (Some(Event::Trailers), Order::Ended)
            }
        };
        reader.frames.set_order(order);
        Ok(Step {
            taken,
            event,
            waste,
        })
    }

    /// Ends the message, when the stream has ended and all bytes are used.
    ///
    /// # Errors
    /// If the message is not complete.
    pub fn finish(&self) -> Result<(), MessageError> {
        self.0.finish()
    }

    /// The trailers, after [`Event::Trailers`].
    pub fn trailers(&self) -> Trailers<'_> {
        Trailers::new(&self.0.trailers.0, &self.0.trailers.1)
    }
}

/// What follows a head, and the length of its body.
type Follows = (Order, Option<u64>);

/// Decodes a head. The inner error is one to answer.
fn decode_request(
    block: &[u8],
    end: bool,
    head: &mut RequestHead,
    text: &mut Vec<u8>,
    limits: &Limits,
) -> Result<Result<Follows, Malformed>, MessageError> {
    text.clear();
    let mut builder = RequestBuilder::new(Version::Http3, head, text, &limits.head)
        .allow_protocol(limits.extended_connect);
    let most = limits.head.head_bytes.saturating_mul(DECODED);
    qpack::decode(block, most, &mut builder).map_err(ConnectionError::from)?;
    match builder.finish(end) {
        Ok(()) => {}
        Err(error) if error.status() != 400 => return Ok(Err(error)),
        Err(error) => return Err(MessageError::Malformed(error)),
    }
    let request = head.view(text);
    let is_tunnel = request.method() == b"CONNECT" || request.upgrade().is_some();
    Ok(Ok(match request.framing() {
        _ if is_tunnel => (Order::Tunnel, None),
        Framed::Length(length) => (Order::Body, Some(length)),
        _ => (Order::Body, None),
    }))
}

fn trailers_too_large(limits: &Limits) -> Malformed {
    Malformed::TrailersTooLarge {
        limit: limits.head.head_bytes,
    }
}

/// Reads a response, in the role of a client.
#[derive(Debug)]
pub struct ResponseReader {
    reader: Reader,
    method: &'static [u8],
}

impl ResponseReader {
    /// A reader for one stream, whose request had this method; CONNECT also for an extended one. Give
    /// the same limits to each step.
    pub fn new(method: &[u8], limits: &Limits) -> Self {
        Self {
            reader: Reader::new(limits, false),
            method: match method {
                b"HEAD" => b"HEAD",
                b"CONNECT" => b"CONNECT",
                _ => b"GET",
            },
        }
    }

    /// Reads what has arrived, as [`RequestReader::step`]. Heads of interim responses (1xx) come
    /// before the final one.
    ///
    /// # Errors
    /// If the message is malformed, or frames are. The stream or the connection must then end.
    pub fn step(
        &mut self,
        bytes: &[u8],
        fin: bool,
        head: &mut ResponseHead,
        text: &mut Vec<u8>,
        limits: &Limits,
    ) -> Result<Step, MessageError> {
        let reader = &mut self.reader;
        let order = reader.frames.order();
        let (piece, taken, mut waste) = reader.frames.read(bytes)?;
        let end = fin && taken == bytes.len();
        let (event, order) = match (piece, order) {
            (Piece::Nothing, order) => (None, order),
            (Piece::Data(range), order) => (Some(reader.data(range)?), order),
            (Piece::LongBlock, Order::Head) => {
                return Err(MessageError::Malformed(Malformed::HeadTooLarge {
                    limit: limits.head.head_bytes,
                }));
            }
            (Piece::Block(block), Order::Head) => {
                let (order, expected) =
                    decode_response(block, end, self.method, head, text, limits)?;
                reader.expected = expected;
                waste += usize::from(order == Order::Head);
                (Some(Event::Head { end }), order)
            }
            (Piece::LongBlock, _) => {
                return Err(MessageError::Malformed(trailers_too_large(limits)));
            }
            (Piece::Block(block), _) => {
                decode_trailers(block, &mut reader.trailers, limits)?;
                (Some(Event::Trailers), Order::Ended)
            }
        };
        reader.frames.set_order(order);
        Ok(Step {
            taken,
            event,
            waste,
        })
    }

    /// Ends the message, when the stream has ended and all bytes are used.
    ///
    /// # Errors
    /// If the message is not complete.
    pub fn finish(&self) -> Result<(), MessageError> {
        self.reader.finish()
    }

    /// The trailers, after [`Event::Trailers`].
    pub fn trailers(&self) -> Trailers<'_> {
        Trailers::new(&self.reader.trailers.0, &self.reader.trailers.1)
    }
}

fn decode_response(
    block: &[u8],
    end: bool,
    method: &[u8],
    head: &mut ResponseHead,
    text: &mut Vec<u8>,
    limits: &Limits,
) -> Result<Follows, MessageError> {
    text.clear();
    let mut builder = ResponseBuilder::new(Version::Http3, head, text, &limits.head);
    let most = limits.head.head_bytes.saturating_mul(DECODED);
    qpack::decode(block, most, &mut builder).map_err(ConnectionError::from)?;
    builder.finish(end).map_err(MessageError::Malformed)?;
    let response = head.view(text);
    if response.status() < 200 {
        return Ok((Order::Head, None));
    }
    let framed = response.framing(method).map_err(MessageError::Malformed)?;
    Ok(match framed {
        _ if method == b"CONNECT" && response.status() < 300 => (Order::Tunnel, None),
        Framed::None => (Order::Body, Some(0)),
        Framed::Length(length) => (Order::Body, Some(length)),
        Framed::Chunked | Framed::UntilClose => (Order::Body, None),
    })
}
