//! The opening handshake (RFC 6455 section 4), over the fields of a parsed HTTP/1.1 message.
//!
//! In:    the parts of a request or response, in any representation.
//! Out:   the fields to send, and the subprotocol; or a reason for a refusal.
//! Never: parses HTTP, accepts an extension, or decides by Origin, which is the application's task.

mod client;
mod error;
mod key;
mod list;
mod server;

pub use client::{ClientHandshake, Response};
pub use error::HandshakeError;
pub use key::AcceptKey;
pub use server::{Accepted, Request};

/// The name and the value of a field.
pub type Field<'a> = (&'a [u8], &'a [u8]);

fn write_field(out: &mut Vec<u8>, name: &str, value: &str) {
    for part in [name, ": ", value, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}
