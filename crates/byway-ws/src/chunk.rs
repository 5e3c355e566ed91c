//! Chunk: a decoder that passes messages on in pieces, as they arrive.
//!
//! In:    unread bytes, which are unmasked in place.
//! Out:   pieces of messages as slices of those bytes, and control frames.
//! Never: stores data of a message.

use crate::Step;
use crate::close::Close;
use crate::error::Malformed;
use crate::frame::Kind;
use crate::frames::{Control, Frames, Part};
use crate::limits::Limits;
use crate::role::Role;
use crate::utf8::Utf8;

/// Decodes the frames of a peer into pieces of messages, for messages that are too large to be
/// stored. [`Decoder`](crate::Decoder) gives whole messages.
///
/// ```
/// use byway_ws::{ChunkDecoder, ChunkEvent, Kind, Limits, Role};
///
/// let mut decoder = ChunkDecoder::new(Role::Client, Limits::default());
/// let (mut first, mut second) = (*b"\x82\x05Hel", *b"lo");
/// let step = decoder.step(&mut first)?;
/// let data = ChunkEvent::Data { kind: Kind::Binary, bytes: b"Hel", is_last: false };
/// assert_eq!((step.taken, step.event), (5, Some(data)));
/// let step = decoder.step(&mut second)?;
/// let data = ChunkEvent::Data { kind: Kind::Binary, bytes: b"lo", is_last: true };
/// assert_eq!((step.taken, step.event), (2, Some(data)));
/// # Ok::<(), byway_ws::Malformed>(())
/// ```
#[derive(Clone, Debug)]
pub struct ChunkDecoder {
    frames: Frames,
    utf8: Utf8,
}

/// What a peer sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkEvent<'a> {
    /// The next piece of the current message.
    Data {
        /// The type of the message.
        kind: Kind,
        /// The piece; empty only if it is the last. The pieces of a text are valid UTF-8 together,
        /// but a piece may end within a character.
        bytes: &'a [u8],
        /// Whether the message ends with this piece.
        is_last: bool,
    },
    /// A ping, to be answered with a pong of the same payload. It may come within a message.
    Ping(&'a [u8]),
    /// A pong.
    Pong(&'a [u8]),
    /// A close frame, which is the last event.
    Close(Option<Close<'a>>),
}

impl ChunkDecoder {
    /// `role` is this side of the connection; the decoded bytes are those of its peer.
    pub fn new(role: Role, limits: Limits) -> Self {
        Self {
            frames: Frames::new(role, limits),
            utf8: Utf8::default(),
        }
    }

    /// Reads up to the next event from the front of `unread`.
    ///
    /// # Errors
    /// The first violation of the protocol or of the limits; every later step returns it again.
    pub fn step<'a>(&'a mut self, unread: &'a mut [u8]) -> Result<Step<ChunkEvent<'a>>, Malformed> {
        let (taken, part) = self.frames.step(unread)?;
        let event = match part {
            None => None,
            Some(Part::Data {
                kind,
                range,
                is_last,
            }) => {
                let bytes = unread.get(range).unwrap_or_default();
                if kind == Kind::Text && !self.is_text(bytes, is_last) {
                    return Err(self.frames.fail(Malformed::TextNotUtf8));
                }
                Some(ChunkEvent::Data {
                    kind,
                    bytes,
                    is_last,
                })
            }
            Some(Part::Control(Control::Ping)) => Some(ChunkEvent::Ping(self.frames.control())),
            Some(Part::Control(Control::Pong)) => Some(ChunkEvent::Pong(self.frames.control())),
            Some(Part::Control(Control::Close)) => Some(ChunkEvent::Close(self.frames.close()?)),
        };
        Ok(Step { taken, event })
    }

    fn is_text(&mut self, bytes: &[u8], is_last: bool) -> bool {
        self.utf8.check(bytes).is_ok() && (!is_last || self.utf8.is_complete())
    }

    /// Whether a close frame was read. What follows it is ignored.
    pub fn is_closed(&self) -> bool {
        self.frames.is_closed()
    }

    /// Whether the bytes so far end between two messages. If not, a FIN cuts a message off.
    pub fn is_between_messages(&self) -> bool {
        self.frames.is_between_messages()
    }
}
