//! Byway's WebSocket codec (RFC 6455): strict, incremental, without sockets and without a clock.
//!
//! In:    bytes as they arrive, split anywhere; messages to send.
//! Out:   messages and control frames; bytes to send; an error with the close code to send.
//! Never: allocates by a length that the peer announced, accepts a frame that RFC 6455 forbids, or
//!        negotiates an extension.
//!
//! - [`Connection`] is a whole WebSocket: it answers pings and the closing handshake.
//! - [`Decoder`] turns bytes into whole messages, [`ChunkDecoder`] into pieces as they arrive, and
//!   [`Encoder`] writes frames into a `Vec<u8>`.
//! - [`handshake`] checks the fields of the opening handshake, on both sides.
//! - [`FrameHead`] and [`Mask`] are the parts that all of them are made of.
//!
//! Bytes are unmasked in place, so the buffer is mutable and each byte is passed only once. A step
//! without an event has taken all bytes.
//!
//! ```
//! use byway_ws::{Connection, Event, Limits};
//!
//! let mut server = Connection::server(Limits::default());
//! // "Hello" as a client sends it (RFC 6455 section 5.7), then a ping.
//! let mut unread = *b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58\x89\x80\0\0\0\0";
//! let (mut taken, mut out) = (0, Vec::new());
//! let step = server.receive(&mut unread, &mut out)?;
//! assert_eq!(step.event, Some(Event::Text("Hello")));
//! taken += step.taken;
//!
//! let step = server.receive(&mut unread[taken..], &mut out)?;
//! assert_eq!(step.event, Some(Event::Ping(b"")));
//! assert_eq!(out, b"\x8a\x00", "the pong is ready to be sent");
//! taken += step.taken;
//!
//! let step = server.receive(&mut unread[taken..], &mut out)?;
//! assert_eq!(step.event, None, "read more bytes");
//! # Ok::<(), byway_ws::Malformed>(())
//! ```

#![forbid(unsafe_code)]

mod chunk;
mod close;
mod connection;
mod encoder;
mod error;
mod frame;
mod frames;
pub mod handshake;
mod limits;
mod mask;
mod message;
mod role;
mod utf8;

pub use chunk::{ChunkDecoder, ChunkEvent};
pub use close::{Close, CloseCode};
pub use connection::Connection;
pub use encoder::{Encoder, NotSent};
pub use error::Malformed;
pub use frame::{CONTROL_BYTES, FrameHead, HEAD_BYTES, Kind, Opcode};
pub use limits::Limits;
pub use mask::Mask;
pub use message::{Decoder, Event};
pub use role::Role;

/// The result of reading once from the front of the unread bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step<E> {
    /// The number of bytes that were read. The caller removes them from its buffer and never passes
    /// them again, even if there is no event.
    pub taken: usize,
    /// What the bytes were; `None` if more bytes are needed. All bytes have been taken then.
    pub event: Option<E>,
}
