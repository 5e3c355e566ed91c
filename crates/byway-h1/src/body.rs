//! Body: finds the bytes of a body after a head, without touching them.
//!
//! In:    the unread bytes of a connection, split anywhere.
//! Out:   which bytes are data, which are framing, and where the message ends.
//! Never: reads past the message, copies data, or ends a truncated message.

use byway_head::{Framed, Limits, Malformed, Trailers};
use thiserror::Error;

use crate::chunked::Chunked;

/// What to do with the unread bytes of a body. Each step makes progress, or requests more bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The given number of unread bytes (at least one) is data. Move any part of them, pass their
    /// number to [`BodyDecoder::taken`], and drop them from the buffer.
    Data(usize),
    /// The given number of unread bytes (at least one) is framing: drop them and step again.
    Skip(usize),
    /// More bytes are needed. Keep the unread ones: a trailer section must be in the buffer as a
    /// whole, which takes at most [`Limits::head_bytes`].
    More,
    /// The message has ended. The given number of unread bytes is its trailer section (0 if it has
    /// none): read [`BodyDecoder::trailers`], then drop them. The rest belongs to the next message.
    End(usize),
}

/// Decodes one body. It holds no bytes and no buffer.
#[derive(Clone, Debug)]
pub struct BodyDecoder {
    kind: DecoderKind,
}

#[derive(Clone, Debug)]
enum DecoderKind {
    /// This number of bytes is missing.
    Length(u64),
    UntilClose,
    Chunked(Chunked),
    Closed,
}

/// The peer closed before the message ended. The received part must not be presented as complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the connection ended before the message did")]
pub struct Truncated {
    /// The number of missing bytes, if the message declared its length.
    pub missing: Option<u64>,
}

impl BodyDecoder {
    /// A decoder at the body's first byte. With [`Framed::None`] or a length of 0 it is done
    /// already.
    pub fn new(framed: Framed, limits: &Limits) -> Self {
        let kind = match framed {
            Framed::None => DecoderKind::Length(0),
            Framed::Length(bytes) => DecoderKind::Length(bytes),
            Framed::Chunked => DecoderKind::Chunked(Chunked::new(limits)),
            Framed::UntilClose => DecoderKind::UntilClose,
        };
        Self { kind }
    }

    /// Classifies the unread bytes. A decoder that is done returns `End(0)`. The data and the end
    /// do not depend on how the bytes were split.
    ///
    /// # Errors
    /// Violations of the chunked coding (RFC 9112 section 7.1). Every later call returns the same
    /// error: the bytes after it cannot be trusted, and the connection must be closed.
    pub fn step(&mut self, unread: &[u8]) -> Result<Step, Malformed> {
        match &mut self.kind {
            DecoderKind::Length(0) | DecoderKind::Closed => Ok(Step::End(0)),
            DecoderKind::Length(left) => Ok(data(unread, *left)),
            DecoderKind::UntilClose => Ok(data(unread, u64::MAX)),
            DecoderKind::Chunked(chunked) => chunked.step(unread),
        }
    }

    /// Records that the first `bytes` of the last [`Step::Data`] were moved and removed from the
    /// unread bytes. A number beyond the data counts as all of it.
    pub fn taken(&mut self, bytes: usize) {
        match &mut self.kind {
            DecoderKind::Length(left) => *left = left.saturating_sub(bytes as u64),
            DecoderKind::Chunked(chunked) => chunked.taken(bytes),
            DecoderKind::UntilClose | DecoderKind::Closed => {}
        }
    }

    /// The trailer fields, after [`Step::End`] and while its bytes are still in `unread`; without
    /// those that must not be trailers (RFC 9110 section 6.5.1).
    pub fn trailers<'a>(&'a self, unread: &'a [u8]) -> Trailers<'a> {
        match &self.kind {
            DecoderKind::Chunked(chunked) => chunked.trailers(unread),
            _ => Trailers::none(),
        }
    }

    /// Records an orderly end of the connection's incoming side (a reset truncates every framing).
    ///
    /// # Errors
    /// [`Truncated`] if the message has not ended.
    pub fn eof(&mut self) -> Result<(), Truncated> {
        match &self.kind {
            DecoderKind::UntilClose => {
                self.kind = DecoderKind::Closed;
                Ok(())
            }
            DecoderKind::Length(left @ 1..) => Err(Truncated {
                missing: Some(*left),
            }),
            DecoderKind::Chunked(chunked) if !chunked.is_done() => Err(Truncated { missing: None }),
            _ => Ok(()),
        }
    }

    /// How many bytes of data are missing, if known: always with a length, and at the end.
    pub fn remaining(&self) -> Option<u64> {
        match &self.kind {
            DecoderKind::Length(left) => Some(*left),
            _ => self.is_done().then_some(0),
        }
    }

    /// Whether the body ends with the connection, and has not ended yet.
    pub fn is_until_close(&self) -> bool {
        matches!(self.kind, DecoderKind::UntilClose)
    }

    /// Whether the message has ended.
    pub fn is_done(&self) -> bool {
        match &self.kind {
            DecoderKind::Length(left) => *left == 0,
            DecoderKind::Chunked(chunked) => chunked.is_done(),
            DecoderKind::UntilClose => false,
            DecoderKind::Closed => true,
        }
    }
}

/// The unread bytes, at most `left`.
pub(crate) fn data(unread: &[u8], left: u64) -> Step {
    match unread.len() {
        0 => Step::More,
        len => Step::Data(usize::try_from(left).unwrap_or(usize::MAX).min(len)),
    }
}
