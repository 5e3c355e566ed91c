//! HTTP/3: connections over QUIC whose streams are sources and sinks of bodies, and streams of
//! bytes.

mod incoming;
mod outgoing;
mod peer_streams;
mod pipe;
mod server;
mod shared;
mod stream;

pub use byway_h3::{ConnectionError, ErrorCode, Limits};
pub use peer_streams::MOST_PEER_STREAMS;
pub use server::{Server, ServerEnd, ServerTimeouts};
pub use stream::{H3Stream, NoHead};
