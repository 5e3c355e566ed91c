//! Quic: one UDP port for HTTP/3, links and whatever else speaks QUIC.

mod choosing;

pub use choosing::{CLIENT_HELLO_BYTES, Choose, ChoosingConfig, QuicConfig};
