//! HTTP/3 without I/O: frames, QPACK, control streams (RFC 9114, RFC 9204).

#![forbid(unsafe_code)]

pub mod qpack;
