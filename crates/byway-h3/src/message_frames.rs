//! Message frames: the frames of a request stream, in their strict order (RFC 9114 section 4.1).
//!
//! In:    bytes of one direction of a request stream, split anywhere.
//! Out:   header blocks and ranges of data.
//! Never: holds more than one header block within its limit; a longer one is skipped, which is safe
//!        because blocks have no effect on others.

use std::ops::Range;

use crate::error::{ConnectionError, ErrorCode};
use crate::frame::{FrameHeader, HeaderReader, is_of_http2, kind};

/// The frames of one message.
#[derive(Debug)]
pub(crate) struct MessageFrames {
    header: HeaderReader,
    /// What is left of the current frame.
    current: Option<FrameHeader>,
    block: Vec<u8>,
    /// The longest block.
    block_bytes: usize,
    order: Order,
    is_server: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Before the final head.
    Head,
    /// Data, then trailers.
    Body,
    /// Data only, behind CONNECT.
    Tunnel,
    /// Behind the trailers.
    Ended,
}

/// What comes next in a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'b> {
    /// A whole header block.
    Block(&'b [u8]),
    /// A header block that is too long, and is skipped.
    LongBlock,
    /// Data, in these bytes.
    Data(Range<usize>),
    /// All bytes are used.
    Nothing,
}

/// A piece, how many bytes are used, and how many frames before it had no use.
pub(crate) type Read<'b> = (Piece<'b>, usize, usize);

impl MessageFrames {
    pub(crate) fn new(block_bytes: usize, is_server: bool) -> Self {
        Self {
            header: HeaderReader::default(),
            current: None,
            block: Vec::new(),
            block_bytes,
            order: Order::Head,
            is_server,
        }
    }

    pub(crate) fn order(&self) -> Order {
        self.order
    }

    pub(crate) fn set_order(&mut self, order: Order) {
        self.order = order;
    }

    /// Whether the bytes so far end at the end of a frame.
    pub(crate) fn is_between_frames(&self) -> bool {
        self.current.is_none() && self.header.is_empty()
    }

    pub(crate) fn read<'b>(&'b mut self, bytes: &'b [u8]) -> Result<Read<'b>, ConnectionError> {
        let (mut taken, mut waste) = (0, 0);
        loop {
            let rest = bytes.get(taken..).unwrap_or_default();
            let Some(frame) = self.current else {
                let (used, header) = self.header.read(rest);
                taken += used;
                let Some(header) = header else {
                    return Ok((Piece::Nothing, taken, waste));
                };
                self.check(header.kind)?;
                let is_known = matches!(header.kind, kind::DATA | kind::HEADERS);
                if !is_known || header.kind == kind::DATA && header.len == 0 {
                    waste += 1;
                }
                // Blocks are split rarely; a stream that lives long keeps no memory of them.
                self.block = Vec::new();
                self.current = Some(header);
                continue;
            };
            let here = usize::try_from(frame.len)
                .unwrap_or(usize::MAX)
                .min(rest.len());
            let is_complete = here as u64 == frame.len;
            self.current = (!is_complete).then_some(FrameHeader {
                len: frame.len - here as u64,
                ..frame
            });
            let start = taken;
            taken += here;
            match frame.kind {
                kind::DATA if here > 0 => return Ok((Piece::Data(start..taken), taken, waste)),
                kind::HEADERS if self.block.len() as u64 + frame.len > self.block_bytes as u64 => {
                    // The rest is skipped as a frame without use.
                    self.block.clear();
                    if let Some(current) = &mut self.current {
                        current.kind = u64::MAX;
                    }
                    return Ok((Piece::LongBlock, taken, waste));
                }
                kind::HEADERS if is_complete && self.block.is_empty() => {
                    let block = bytes.get(start..taken).unwrap_or_default();
                    return Ok((Piece::Block(block), taken, waste));
                }
                kind::HEADERS => {
                    let part = bytes.get(start..taken).unwrap_or_default();
                    self.block.extend_from_slice(part);
                    if is_complete {
                        return Ok((Piece::Block(&self.block), taken, waste));
                    }
                }
                _ => {}
            }
            if !is_complete {
                return Ok((Piece::Nothing, taken, waste));
            }
        }
    }

    /// Whether a frame may come now.
    fn check(&self, kind: u64) -> Result<(), ConnectionError> {
        let unexpected = |reason| Err(ConnectionError::new(ErrorCode::FRAME_UNEXPECTED, reason));
        match (kind, self.order) {
            (kind::DATA, Order::Head) => unexpected("DATA before a head"),
            (kind::DATA | kind::HEADERS, Order::Ended) => unexpected("a frame behind trailers"),
            (kind::HEADERS, Order::Tunnel) => unexpected("HEADERS within a tunnel"),
            (kind::DATA | kind::HEADERS, _) => Ok(()),
            (kind::PUSH_PROMISE, _) if !self.is_server => Err(ConnectionError::new(
                ErrorCode::ID_ERROR,
                "a push that was not allowed",
            )),
            (
                kind::CANCEL_PUSH
                | kind::SETTINGS
                | kind::PUSH_PROMISE
                | kind::GOAWAY
                | kind::MAX_PUSH_ID
                | kind::PRIORITY_UPDATE
                | kind::PRIORITY_UPDATE_PUSH,
                _,
            ) => unexpected("a control frame on a request stream"),
            _ if is_of_http2(kind) => unexpected("a frame of HTTP/2"),
            _ => Ok(()),
        }
    }
}
