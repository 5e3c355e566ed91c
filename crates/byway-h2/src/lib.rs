//! HTTP/2 without I/O: frames, HPACK, flow control, stream states, and what a peer may cost
//! (RFC 9113, RFC 7541, RFC 9218).

#![forbid(unsafe_code)]

pub mod hpack;
