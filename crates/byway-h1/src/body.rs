//! Body: tells which bytes behind a head are the body, without touching them.
//!
//! In:    the unread bytes of a connection, in whatever pieces they come.
//! Out:   how many are data, how many framing, and where the message ends.
//! Never: reads past the message, copies data, or ends a message that was cut short.

use crate::chunked::Chunked;
use crate::error::{Malformed, Truncated};
use crate::framing::Framed;
use crate::limits::Limits;
use crate::trailer::Trailers;

/// What to do with the unread bytes of a message's body. Each answer makes progress, or asks for
/// more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The first so many unread bytes (at least one) are data. Move as many on as you like, tell
    /// [`BodyDecoder::taken`] how many, and drop them from the buffer.
    Data(usize),
    /// The first so many unread bytes (at least one) are framing: drop them and step again.
    Skip(usize),
    /// Nothing can be said before more bytes are there. Keep the unread ones: a trailer section
    /// must be in the buffer as a whole, which takes at most [`Limits::head_bytes`].
    More,
    /// The message has ended. The first so many unread bytes are its trailer section (0 if it has
    /// none): read [`BodyDecoder::trailers`], then drop them. What follows belongs to the next
    /// message.
    End(usize),
}

/// Decodes one body. It holds no bytes and no buffer.
#[derive(Clone, Debug)]
pub struct BodyDecoder {
    kind: DecoderKind,
}

#[derive(Clone, Debug)]
enum DecoderKind {
    /// So many bytes are missing.
    Length(u64),
    UntilClose,
    Chunked(Chunked),
    Closed,
}

impl BodyDecoder {
    /// A decoder at the body's first byte. With [`Framed::None`] and a length of 0 it is done
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

    /// Looks at the unread bytes and says what they are. Done decoders say `End(0)`. The data and
    /// the end do not depend on how the bytes were split.
    ///
    /// # Errors
    /// Sins against the chunked coding (RFC 9112 section 7.1). The same error comes back from then
    /// on: nothing behind it can be trusted, and the connection must be closed.
    pub fn step(&mut self, unread: &[u8]) -> Result<Step, Malformed> {
        match &mut self.kind {
            DecoderKind::Length(0) | DecoderKind::Closed => Ok(Step::End(0)),
            DecoderKind::Length(left) => Ok(data(unread, *left)),
            DecoderKind::UntilClose => Ok(data(unread, u64::MAX)),
            DecoderKind::Chunked(chunked) => chunked.step(unread),
        }
    }

    /// Notes that the first `bytes` of the last [`Step::Data`] were moved on, and are no longer
    /// part of the unread bytes. More than there are count as all.
    pub fn taken(&mut self, bytes: usize) {
        match &mut self.kind {
            DecoderKind::Length(left) => *left = left.saturating_sub(bytes as u64),
            DecoderKind::Chunked(chunked) => chunked.taken(bytes),
            DecoderKind::UntilClose | DecoderKind::Closed => {}
        }
    }

    /// The trailer fields, once [`Step::End`] was said and while its bytes are still in `unread`;
    /// without those that must not be trailers (RFC 9110 section 6.5.1).
    pub fn trailers<'a>(&'a self, unread: &'a [u8]) -> Trailers<'a> {
        match &self.kind {
            DecoderKind::Chunked(chunked) => chunked.trailers(unread),
            _ => Trailers::none(),
        }
    }

    /// Notes that the connection's incoming side has ended in good order (a reset is a truncation
    /// for every framing).
    ///
    /// # Errors
    /// [`Truncated`] if the message had not ended.
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

    /// How many bytes of data are still to come, where that is known: always with a length, and at
    /// the end.
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

/// As many of the unread bytes as are `left`.
pub(crate) fn data(unread: &[u8], left: u64) -> Step {
    match unread.len() {
        0 => Step::More,
        len => Step::Data(usize::try_from(left).unwrap_or(usize::MAX).min(len)),
    }
}
