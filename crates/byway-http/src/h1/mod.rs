//! HTTP/1: connections, their bodies, and what the two sides of a request do with them.

mod body;
mod client;
mod conn;
mod keep_alive;
mod server;

pub use body::{H1Reading, H1Sink, H1Source, H1Writing};
pub(crate) use client::ClientMessage;
pub use client::{ClientExchange, EndlessInterim, HeadError, MOST_INTERIM, Outcome};
pub use conn::{Conn, Mark};
pub use keep_alive::{HintLimits, NotKept, keep_alive};
pub use server::{NoRequest, RequestText, await_request, read_request, take_request};
