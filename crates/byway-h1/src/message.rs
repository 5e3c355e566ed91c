//! Message: what the parsers of requests and responses have in common.
//!
//! In:    a buffer, and the limits of a head.
//! Out:   how far the parser got; the version.
//! Never: reads a field.

use byway_head::{Limits, Malformed, Version};

/// The progress of parsing a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The head has this number of bytes of the buffer; the rest belongs to the body or to the next
    /// message.
    Complete(usize),
    /// The head has not ended yet: append more bytes to the buffer and parse it again.
    Partial,
}

/// Parses a version; `at` is its position in the buffer.
pub(crate) fn parse_version(bytes: &[u8], at: usize) -> Result<Version, Malformed> {
    match bytes {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        [
            b'H',
            b'T',
            b'T',
            b'P',
            b'/',
            major @ b'0'..=b'9',
            b'.',
            minor @ b'0'..=b'9',
        ] => Err(Malformed::VersionUnsupported {
            major: major - b'0',
            minor: minor - b'0',
        }),
        _ => Err(Malformed::VersionInvalid { at }),
    }
}

/// The result for a head that has not ended in `buf`: partial, or an error.
pub(crate) fn unfinished(buf: &[u8], limits: &Limits) -> Result<Parsed, Malformed> {
    if buf.len() >= limits.head_window() {
        return Err(Malformed::HeadTooLarge {
            limit: limits.head_bytes,
        });
    }
    Ok(Parsed::Partial)
}

/// The part of `buf` in which a head must end.
pub(crate) fn window<'a>(buf: &'a [u8], limits: &Limits) -> &'a [u8] {
    &buf[..buf.len().min(limits.head_window())]
}
