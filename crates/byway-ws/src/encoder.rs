//! Encoder: writes the frames of one side.
//!
//! In:    messages, fragments and control frames.
//! Out:   their bytes, appended to a buffer.
//! Never: writes what its peer would have to refuse, or anything after a close frame.

use std::fmt;

use thiserror::Error;

use crate::close::CloseCode;
use crate::frame::{CONTROL_BYTES, FrameHead, Kind, Opcode};
use crate::mask::Mask;
use crate::role::Role;

/// Gives an unpredictable key for each frame of a client.
type Keys = Box<dyn FnMut() -> [u8; 4] + Send>;

/// Writes the frames of one side of a connection.
///
/// ```
/// use byway_ws::{CloseCode, Encoder};
///
/// let (mut server, mut out) = (Encoder::server(), Vec::new());
/// server.text("Hello", &mut out)?;
/// server.close(Some(CloseCode::NORMAL), "", &mut out)?;
/// assert_eq!(out, b"\x81\x05Hello\x88\x02\x03\xe8");
/// # Ok::<(), byway_ws::NotSent>(())
/// ```
pub struct Encoder {
    /// The source of masks, for a client.
    keys: Option<Keys>,
    /// The kind of the message of which fragments were written, and not the last one.
    open: Option<Kind>,
    is_closed: bool,
}

/// Why a frame was not written. Nothing was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NotSent {
    /// A close frame was written before.
    #[error("nothing may be sent after a close frame")]
    Closed,
    /// The fragments of another message have not ended.
    #[error("the last fragment of another message was not sent")]
    MessageUnfinished,
    /// The payload of a control frame has more than 125 bytes.
    #[error("the payload of a control frame is longer than 125 bytes")]
    ControlTooLong,
    /// A reason without a close code.
    #[error("a reason needs a close code")]
    ReasonWithoutCode,
}

impl Encoder {
    /// For a server, whose frames are not masked.
    pub fn server() -> Self {
        Self {
            keys: None,
            open: None,
            is_closed: false,
        }
    }

    /// For a client. `keys` gives a new key for each frame. They must not be predictable, so they
    /// come from a random generator that is seeded well (RFC 6455 section 10.3).
    pub fn client(keys: impl FnMut() -> [u8; 4] + Send + 'static) -> Self {
        Self {
            keys: Some(Box::new(keys)),
            ..Self::server()
        }
    }

    /// The side whose frames are written.
    pub fn role(&self) -> Role {
        match self.keys {
            Some(_) => Role::Client,
            None => Role::Server,
        }
    }

    /// Whether a close frame was written, the last one that may be.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Writes a text message in one frame.
    ///
    /// # Errors
    /// After a close frame, or before the last fragment of another message.
    pub fn text(&mut self, text: &str, out: &mut Vec<u8>) -> Result<(), NotSent> {
        self.message(Kind::Text, text.as_bytes(), true, out)
    }

    /// Writes a binary message in one frame.
    ///
    /// # Errors
    /// As [`text`](Self::text).
    pub fn binary(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), NotSent> {
        self.message(Kind::Binary, bytes, true, out)
    }

    /// Writes the next fragment of a text message. The first one starts the message, and the one
    /// with `is_last` ends it.
    ///
    /// # Errors
    /// After a close frame, or before the last fragment of a binary message.
    pub fn text_fragment(
        &mut self,
        text: &str,
        is_last: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), NotSent> {
        self.fragment(Kind::Text, text.as_bytes(), is_last, out)
    }

    /// Writes the next fragment of a binary message, as [`text_fragment`](Self::text_fragment).
    ///
    /// # Errors
    /// After a close frame, or before the last fragment of a text message.
    pub fn binary_fragment(
        &mut self,
        bytes: &[u8],
        is_last: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), NotSent> {
        self.fragment(Kind::Binary, bytes, is_last, out)
    }

    /// Writes a ping, also between fragments.
    ///
    /// # Errors
    /// After a close frame, or if the payload is longer than 125 bytes.
    pub fn ping(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), NotSent> {
        self.control(Opcode::Ping, payload, out)
    }

    /// Writes a pong, also between fragments.
    ///
    /// # Errors
    /// As [`ping`](Self::ping).
    pub fn pong(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), NotSent> {
        self.control(Opcode::Pong, payload, out)
    }

    /// Writes a close frame. It may end a message in fragments early.
    ///
    /// # Errors
    /// After another close frame, for a reason without a code, or for one over 123 bytes.
    pub fn close(
        &mut self,
        code: Option<CloseCode>,
        reason: &str,
        out: &mut Vec<u8>,
    ) -> Result<(), NotSent> {
        match code {
            Some(code) => {
                let payload = [&code.get().to_be_bytes(), reason.as_bytes()].concat();
                self.control(Opcode::Close, &payload, out)?;
            }
            None if reason.is_empty() => self.control(Opcode::Close, b"", out)?,
            None => return Err(NotSent::ReasonWithoutCode),
        }
        self.is_closed = true;
        Ok(())
    }

    fn message(
        &mut self,
        kind: Kind,
        payload: &[u8],
        is_last: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), NotSent> {
        match self.open {
            Some(_) => Err(NotSent::MessageUnfinished),
            None => self.fragment(kind, payload, is_last, out),
        }
    }

    fn fragment(
        &mut self,
        kind: Kind,
        payload: &[u8],
        is_last: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), NotSent> {
        let opcode = match self.open {
            None => kind.into(),
            Some(open) if open == kind => Opcode::Continuation,
            Some(_) => return Err(NotSent::MessageUnfinished),
        };
        self.write(opcode, is_last, payload, out)?;
        self.open = (!is_last).then_some(kind);
        Ok(())
    }

    fn control(
        &mut self,
        opcode: Opcode,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), NotSent> {
        if payload.len() > CONTROL_BYTES {
            return Err(NotSent::ControlTooLong);
        }
        self.write(opcode, true, payload, out)
    }

    fn write(
        &mut self,
        opcode: Opcode,
        fin: bool,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), NotSent> {
        if self.is_closed {
            return Err(NotSent::Closed);
        }
        let mask = self.keys.as_mut().map(|keys| keys());
        let head = FrameHead {
            fin,
            opcode,
            mask,
            payload_bytes: payload.len() as u64,
        };
        head.write(out);
        let start = out.len();
        out.extend_from_slice(payload);
        if let Some(mask) = mask {
            Mask::new(mask).apply(out.get_mut(start..).unwrap_or_default());
        }
        Ok(())
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder")
            .field("role", &self.role())
            .field("open", &self.open)
            .field("is_closed", &self.is_closed)
            .finish()
    }
}
