//! Message: a decoder that assembles whole messages.
//!
//! In:    unread bytes, which are unmasked in place.
//! Out:   whole messages and control frames.
//! Never: stores more than has arrived, or copies a message that arrived at once in one frame.

use std::mem;
use std::ops::Range;

use crate::Step;
use crate::close::Close;
use crate::error::Malformed;
use crate::frame::Kind;
use crate::frames::{Control, Frames, Part};
use crate::limits::Limits;
use crate::role::Role;
use crate::utf8::Utf8;

/// The most memory that is kept from one message to the next.
const KEPT_BYTES: usize = 16 * 1024;

/// Decodes the frames of a peer into whole messages, of at most
/// [`Limits::message_bytes`](crate::Limits::message_bytes). Text is checked as it arrives: the
/// first byte that is not UTF-8 fails the connection, even if the message has not ended.
///
/// ```
/// use byway_ws::{Decoder, Event, Limits, Role};
///
/// let mut decoder = Decoder::new(Role::Client, Limits::default());
/// let (mut buf, mut taken) = (*b"\x01\x03Hel\x80\x02lo\x89\x00", 0);
/// let step = decoder.step(&mut buf)?;
/// assert_eq!(step.event, Some(Event::Text("Hello")));
/// taken += step.taken;
/// let step = decoder.step(&mut buf[taken..])?;
/// assert_eq!(step.event, Some(Event::Ping(b"")));
/// # Ok::<(), byway_ws::Malformed>(())
/// ```
#[derive(Clone, Debug)]
pub struct Decoder {
    frames: Frames,
    /// The start of a text, up to its last whole character, and the rest of that character.
    text: String,
    utf8: Utf8,
    /// The start of a binary message. Between messages it has the memory of both; one of them has
    /// none at any time.
    binary: Vec<u8>,
    /// Whether `text` or `binary` is a message that the last step returned.
    is_returned: bool,
    /// The longest message.
    most_bytes: usize,
}

/// What a peer sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
    /// A ping, to be answered with a pong of the same payload.
    Ping(&'a [u8]),
    /// A pong.
    Pong(&'a [u8]),
    /// A close frame, which is the last event.
    Close(Option<Close<'a>>),
}

/// Where the event of a step is.
enum Found {
    /// A message in these unread bytes.
    Unread(Kind, Range<usize>),
    /// A message that was assembled.
    Assembled(Kind),
    Control(Control),
}

impl Decoder {
    /// `role` is this side of the connection; the decoded bytes are those of its peer.
    pub fn new(role: Role, limits: Limits) -> Self {
        Self {
            frames: Frames::new(role, limits),
            text: String::new(),
            utf8: Utf8::default(),
            binary: Vec::new(),
            is_returned: false,
            most_bytes: usize::try_from(limits.message_bytes).unwrap_or(usize::MAX),
        }
    }

    /// Reads up to the next event from the front of `unread`.
    ///
    /// # Errors
    /// The first violation of the protocol or of the limits; every later step returns it again.
    pub fn step<'a>(&'a mut self, unread: &'a mut [u8]) -> Result<Step<Event<'a>>, Malformed> {
        if self.is_returned {
            self.forget_returned();
        }
        let mut taken = 0;
        let found = loop {
            let rest = unread.get_mut(taken..).unwrap_or_default();
            let (read, part) = self.frames.step(rest)?;
            let start = taken;
            taken += read;
            match part {
                None => return Ok(Step { taken, event: None }),
                Some(Part::Control(control)) => break Found::Control(control),
                Some(Part::Data {
                    kind,
                    range,
                    is_last,
                }) => {
                    let range = start + range.start..start + range.end;
                    if is_last && self.is_empty() {
                        break Found::Unread(kind, range);
                    }
                    let bytes = unread.get(range).unwrap_or_default();
                    self.add(kind, bytes, is_last)?;
                    if is_last {
                        self.is_returned = true;
                        break Found::Assembled(kind);
                    }
                }
            }
        };
        let event = match found {
            Found::Unread(Kind::Text, range) => {
                let bytes = unread.get(range).unwrap_or_default();
                let text =
                    str::from_utf8(bytes).map_err(|_| self.frames.fail(Malformed::TextNotUtf8))?;
                Event::Text(text)
            }
            Found::Unread(Kind::Binary, range) => {
                Event::Binary(unread.get(range).unwrap_or_default())
            }
            Found::Assembled(Kind::Text) => Event::Text(&self.text),
            Found::Assembled(Kind::Binary) => Event::Binary(&self.binary),
            Found::Control(Control::Ping) => Event::Ping(self.frames.control()),
            Found::Control(Control::Pong) => Event::Pong(self.frames.control()),
            Found::Control(Control::Close) => Event::Close(self.frames.close()?),
        };
        Ok(Step {
            taken,
            event: Some(event),
        })
    }

    /// Whether a close frame was read. What follows it is ignored.
    pub fn is_closed(&self) -> bool {
        self.frames.is_closed()
    }

    /// Whether the bytes so far end between two messages. If not, a FIN cuts a message off.
    pub fn is_between_messages(&self) -> bool {
        self.frames.is_between_messages()
    }

    /// Bytes of memory that this decoder has allocated.
    pub fn allocated_bytes(&self) -> usize {
        self.text.capacity() + self.binary.capacity()
    }

    fn is_empty(&self) -> bool {
        self.text.is_empty() && self.utf8.is_complete() && self.binary.is_empty()
    }

    /// Appends to the message.
    fn add(&mut self, kind: Kind, bytes: &[u8], is_last: bool) -> Result<(), Malformed> {
        if kind == Kind::Binary {
            let (len, capacity) = (self.binary.len(), self.binary.capacity());
            let growth = growth(len, capacity, bytes.len(), self.most_bytes);
            self.binary.reserve_exact(growth);
            self.binary.extend_from_slice(bytes);
            return Ok(());
        }
        match self.utf8.check(bytes) {
            Ok((completed, text)) if !is_last || self.utf8.is_complete() => {
                if self.text.capacity() == 0 {
                    self.text = String::from_utf8(mem::take(&mut self.binary)).unwrap_or_default();
                }
                let (len, capacity) = (self.text.len(), self.text.capacity());
                let added = text.len() + completed.map_or(0, char::len_utf8);
                let growth = growth(len, capacity, added, self.most_bytes);
                self.text.reserve_exact(growth);
                self.text.extend(completed);
                self.text.push_str(text);
                Ok(())
            }
            _ => Err(self.frames.fail(Malformed::TextNotUtf8)),
        }
    }

    /// Makes room for the next message, of either kind. Memory for a long one is given back.
    fn forget_returned(&mut self) {
        self.is_returned = false;
        if self.binary.capacity() == 0 {
            self.binary = mem::take(&mut self.text).into_bytes();
        }
        self.binary.clear();
        self.binary.shrink_to(KEPT_BYTES);
    }
}

/// Bytes to reserve for `added` more: the capacity doubles, so that each byte is moved a bounded
/// number of times, but never beyond the longest message.
fn growth(len: usize, capacity: usize, added: usize, most: usize) -> usize {
    let needed = len.saturating_add(added);
    if needed <= capacity {
        return 0;
    }
    let target = needed.max(capacity.saturating_mul(2).min(most));
    target - len
}
