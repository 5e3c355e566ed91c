//! Framing: where a message's body ends, decided once from the whole head.
//!
//! In:    version, Content-Length, Transfer-Encoding; for a response also its status and the
//!        request's method.
//! Out:   one [`Framed`], or a refusal.
//! Never: chooses between two framings (RFC 9112 section 6.3 would allow it).

use crate::error::Malformed;
use crate::message::Version;
use crate::octets::{is_token, trim_ows};

/// How a message's body is delimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framed {
    /// There is no body, and fields about a body do not count.
    #[default]
    None,
    /// Exactly this number of bytes, from Content-Length; it may be 0.
    Length(u64),
    /// The chunked transfer coding only.
    Chunked,
    /// All bytes until the connection ends. Responses only.
    UntilClose,
}

impl Framed {
    /// Whether a body follows the head, or may follow.
    pub const fn has_body(self) -> bool {
        !matches!(self, Self::None | Self::Length(0))
    }
}

/// How often a field occurred, with its value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Seen<V> {
    #[default]
    Never,
    Once(V),
    Often,
}

impl<V> Seen<V> {
    pub(crate) fn note(&mut self, value: V) {
        *self = match self {
            Self::Never => Self::Once(value),
            Self::Once(_) | Self::Often => Self::Often,
        };
    }

    pub(crate) fn map<W>(self, change: impl FnOnce(V) -> W) -> Seen<W> {
        match self {
            Self::Never => Seen::Never,
            Self::Once(value) => Seen::Once(change(value)),
            Self::Often => Seen::Often,
        }
    }
}

/// The body according to the fields of a head; [`Framed::None`] if there are none. For a request
/// this is the complete framing.
pub(crate) fn declared(
    version: Version,
    length: Seen<&[u8]>,
    coding: Seen<&[u8]>,
) -> Result<Framed, Malformed> {
    match (length, coding) {
        (Seen::Never, Seen::Never) => Ok(Framed::None),
        (Seen::Once(value), Seen::Never) => decimal(value).map(Framed::Length),
        (Seen::Often, Seen::Never) => Err(Malformed::LengthRepeated),
        (Seen::Never, _) if version == Version::Http10 => Err(Malformed::CodingOnHttp10),
        (Seen::Never, Seen::Once(value)) => only_chunked(value),
        (Seen::Never, Seen::Often) => Err(Malformed::CodingRepeated),
        _ => Err(Malformed::LengthAndCoding),
    }
}

/// A response's framing, from its fields, its status, and the method of the request (RFC 9112
/// section 6.3).
pub(crate) fn of_response(
    declared: &Result<Framed, Malformed>,
    status: u16,
    request_method: &[u8],
) -> Result<Framed, Malformed> {
    let declared = match declared {
        Ok(framed) => *framed,
        // No request leaves with a TE that asks for a coding.
        Err(Malformed::CodingUnknown) => return Err(Malformed::CodingUnasked),
        Err(error) => return Err(error.clone()),
    };
    let bodiless = request_method == b"HEAD"
        || matches!(status, 100..=199 | 204 | 304)
        || (request_method == b"CONNECT" && matches!(status, 200..=299));
    Ok(match declared {
        _ if bodiless => Framed::None,
        Framed::None => Framed::UntilClose,
        framed => framed,
    })
}

/// One plain decimal number up to 2^63-1, which every implementation can represent, signed or not.
fn decimal(digits: &[u8]) -> Result<u64, Malformed> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Malformed::LengthInvalid);
    }
    let value = digits.iter().try_fold(0u64, |sum, digit| {
        sum.checked_mul(10)?
            .checked_add(u64::from(digit - b'0'))
            .filter(|&sum| sum <= i64::MAX as u64)
    });
    value.ok_or(Malformed::LengthTooLarge)
}

fn only_chunked(value: &[u8]) -> Result<Framed, Malformed> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(Framed::Chunked);
    }
    Err(bad_coding(value))
}

/// The error for a Transfer-Encoding that is not exactly `chunked`.
#[cold]
fn bad_coding(value: &[u8]) -> Malformed {
    let names = || value.split(|&byte| byte == b',').map(coding_name);
    if !names().all(is_token) {
        return Malformed::CodingInvalid;
    }
    let is_chunked = |name: &&[u8]| name.eq_ignore_ascii_case(b"chunked");
    match names().filter(is_chunked).count() {
        // `gzip`, or `gzip, chunked`: nothing is wrong with the list, but we decode chunked alone.
        0 => Malformed::CodingUnknown,
        1 if names().next_back().as_ref().is_some_and(is_chunked) => Malformed::CodingUnknown,
        // `chunked, gzip`: the end of the message cannot be found.
        1 => Malformed::ChunkedNotLast,
        _ => Malformed::ChunkedRepeated,
    }
}

/// A coding without its parameters.
fn coding_name(coding: &[u8]) -> &[u8] {
    let end = memchr::memchr(b';', coding).unwrap_or(coding.len());
    trim_ows(&coding[..end])
}
