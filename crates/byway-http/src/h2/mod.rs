//! HTTP/2: connections whose streams are sources and sinks of bodies, and streams of bytes.

mod buffer_budget;
mod client;
mod driver;
mod inbox;
mod kept_head;
mod outlet;
mod pipe;
mod server;
mod shared;
mod stream;
mod stream_futures;
mod text;

pub use buffer_budget::BufferBudget;
pub use byway_h2::{ConnectionError, ErrorCode, Limits};
pub use client::{Client, ClientEnd, ClientEvent, ClientSession, ClientTimeouts};
pub use kept_head::KeptHead;
pub use server::{Arrived, Server, ServerEnd, ServerTimeouts};
pub use stream::H2Stream;
pub use stream_futures::StreamFutures;
pub use text::RequestText;
