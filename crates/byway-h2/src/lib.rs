//! HTTP/2 without I/O: frames, HPACK, flow control, stream states, and what a peer may cost
//! (RFC 9113, RFC 7541, RFC 9218, RFC 8441).
//!
//! In:    bytes that a peer has sent; heads, data and credit of a user; time.
//! Out:   events; bytes to write, gathered; deadlines.
//! Never: does I/O or reads a clock; holds more than its [`Limits`], whatever the peer does; opens
//!        or accepts pushed streams, or priorities of RFC 7540.
//!
//! [`Connection`] is the whole of it, in both roles. [`hpack`] can be used alone.

#![forbid(unsafe_code)]

pub mod abuse;
mod connection;
mod error;
mod event;
mod flow;
mod frame;
mod head_writer;
pub mod hpack;
mod limits;
mod out;
mod priority;
mod role;
mod settings;
mod stream;
mod streams;

pub use connection::Connection;
pub use error::{ConnectionError, ErrorCode};
pub use event::{Event, ResetCause, Step, StreamId};
pub use frame::PREFACE;
pub use head_writer::HeadWriter;
pub use limits::Limits;
pub use priority::Priority;
pub use role::Role;
pub use settings::PeerSettings;
