//! HTTP/1: connections and their bodies.

mod body;
mod conn;

pub use body::{H1Reading, H1Response, H1Sink, H1Source, H1Writing};
pub use conn::{Conn, Mark};
