//! Connection: both directions of one WebSocket, with the answers that RFC 6455 requires.
//!
//! In:    bytes of the peer; messages to send.
//! Out:   messages of the peer; bytes to send.
//! Never: sends anything after its close frame, or waits.

use crate::Step;
use crate::close::CloseCode;
use crate::encoder::{Encoder, NotSent};
use crate::error::Malformed;
use crate::limits::Limits;
use crate::message::{Decoder, Event};
use crate::role::Role;

/// A [`Decoder`] and an [`Encoder`] that answer pings, the closing handshake and violations.
///
/// Each step returns one event and writes at most one frame, so a caller that sends `out` before
/// the next step has a bounded buffer, even if the peer sends pings and reads nothing.
#[derive(Debug)]
pub struct Connection {
    decoder: Decoder,
    encoder: Encoder,
    has_failed: bool,
}

impl Connection {
    /// The side that accepted.
    pub fn server(limits: Limits) -> Self {
        Self::new(Encoder::server(), limits)
    }

    /// The side that connected. See [`Encoder::client`] for `keys`.
    pub fn client(limits: Limits, keys: impl FnMut() -> [u8; 4] + Send + 'static) -> Self {
        Self::new(Encoder::client(keys), limits)
    }

    fn new(encoder: Encoder, limits: Limits) -> Self {
        Self {
            decoder: Decoder::new(encoder.role(), limits),
            encoder,
            has_failed: false,
        }
    }

    /// Which side of the connection this is.
    pub fn role(&self) -> Role {
        self.encoder.role()
    }

    /// Reads up to the next event from the front of `unread`, and appends the answer to `out`: a
    /// pong to a ping, a close frame with the same code to a close frame, and a close frame with
    /// the code of the error to a violation. After a close frame of this side, there are no
    /// answers.
    ///
    /// # Errors
    /// The first violation of the protocol or of the limits. Send `out` and close the connection.
    pub fn receive<'a>(
        &'a mut self,
        unread: &'a mut [u8],
        out: &mut Vec<u8>,
    ) -> Result<Step<Event<'a>>, Malformed> {
        let step = self.decoder.step(unread).inspect_err(|error| {
            self.has_failed = true;
            // The only possible error is that a close frame was sent before.
            let _ = self.encoder.close(Some(error.close_code()), "", out);
        })?;
        // Likewise: a payload that was received is not too long to be sent.
        let _ = match &step.event {
            Some(Event::Ping(payload)) => self.encoder.pong(payload, out),
            Some(Event::Close(close)) => {
                let code = close.map(|close| close.code);
                self.encoder.close(code, "", out)
            }
            _ => Ok(()),
        };
        Ok(step)
    }

    /// Writes a text message.
    ///
    /// # Errors
    /// As [`Encoder::text`].
    pub fn text(&mut self, text: &str, out: &mut Vec<u8>) -> Result<(), NotSent> {
        self.encoder.text(text, out)
    }

    /// Writes a binary message.
    ///
    /// # Errors
    /// As [`Encoder::binary`].
    pub fn binary(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), NotSent> {
        self.encoder.binary(bytes, out)
    }

    /// Writes a ping, of at most 125 bytes.
    ///
    /// # Errors
    /// As [`Encoder::ping`].
    pub fn ping(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), NotSent> {
        self.encoder.ping(payload, out)
    }

    /// Starts the closing handshake, or does nothing if it has started. The peer's messages still
    /// arrive until its close frame.
    ///
    /// # Errors
    /// As [`Encoder::close`].
    pub fn close(
        &mut self,
        code: Option<CloseCode>,
        reason: &str,
        out: &mut Vec<u8>,
    ) -> Result<(), NotSent> {
        match self.encoder.close(code, reason, out) {
            Err(NotSent::Closed) => Ok(()),
            other => other,
        }
    }

    /// The encoder, for messages in fragments.
    pub fn encoder(&mut self) -> &mut Encoder {
        &mut self.encoder
    }

    /// Whether there is nothing more to receive or to send: close frames went both ways, or the
    /// connection failed. The server then closes the TCP connection, and the client waits for that
    /// (RFC 6455 section 7.1.1).
    pub fn is_finished(&self) -> bool {
        self.has_failed || self.decoder.is_closed() && self.encoder.is_closed()
    }

    /// Whether the bytes so far end between two messages. If not, a FIN cuts a message off.
    pub fn is_between_messages(&self) -> bool {
        self.decoder.is_between_messages()
    }
}
