//! Http: HTTP connections over streams, whichever side they are of.
//!
//! `body` is what bodies are read from and written to (`h1_body`: of HTTP/1), `head` what heads are
//! written to; `filter` changes a body on its way; `conn` is one end of an HTTP/1 connection, `scratch` the memory that a message borrows while it passes.

pub mod body;
pub mod conn;
#[cfg(test)]
pub mod double;
pub mod filter;
pub mod h1_body;
pub mod head;
pub mod scratch;
