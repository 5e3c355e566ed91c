//! HTTP/3 without I/O: frames, QPACK, control streams, and what a peer may cost (RFC 9114, RFC 9204,
//! RFC 9220).
//!
//! In:    bytes of streams as they arrive, split anywhere; parts of messages; time.
//! Out:   heads, ranges of data and trailers; bytes to write.
//! Never: does I/O or reads a clock; holds more than a header block within its limit for a stream;
//!        uses dynamic tables; pushes, or accepts pushes.
//!
//! QUIC has streams and flow control, so each message is read and written by itself:
//! [`RequestReader`] and [`ResponseReader`], [`write_head`], [`write_data_header`]. A [`Connection`]
//! has what they share: control streams, settings, GOAWAY, the limit of streams, and the account of
//! what the peer costs.

#![forbid(unsafe_code)]

mod abuse;
mod connection;
mod control;
mod error;
mod frame;
mod limits;
mod message_frames;
pub mod qpack;
mod reader;
mod settings;
mod varint;
mod writer;

pub use abuse::Cost;
pub use connection::{Admission, Connection, Role};
pub use control::{ControlEvent, StreamKind};
pub use error::{ConnectionError, ErrorCode, MessageError};
pub use limits::Limits;
pub use reader::{Event, RequestReader, ResponseReader, Step};
pub use settings::PeerSettings;
pub use writer::{write_data_header, write_head};
