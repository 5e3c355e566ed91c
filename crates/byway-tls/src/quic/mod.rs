//! Quic: one UDP port for HTTP/3, links and whatever else speaks QUIC.

mod choosing;
mod filter;
pub mod steering;

pub use choosing::{CLIENT_HELLO_BYTES, Choose, ChoosingConfig, QuicConfig};
