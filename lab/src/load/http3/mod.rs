//! Http3: the generator's own HTTP/3 (RFC 9114) on quinn, as little of it as the questions need.
//!
//! `response` parses the bytes of a request stream; `load` runs many connections.

pub(crate) mod load;
mod response;

pub(crate) use load::{Http3, Http3Connection};
