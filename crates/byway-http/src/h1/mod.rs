//! HTTP/1: connections, their bodies, and the client's side of a request.

mod body;
mod client;
mod conn;
mod keep_alive;

pub use body::{H1Reading, H1Sink, H1Source, H1Writing};
pub(crate) use client::ClientMessage;
pub use client::{ClientExchange, EndlessInterim, HeadError, MOST_INTERIM, Outcome};
pub use conn::{Conn, Mark};
pub use keep_alive::{HintLimits, NotKept, keep_alive};
