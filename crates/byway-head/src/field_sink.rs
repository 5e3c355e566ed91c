//! Field sink: what a decoder of header blocks writes fields to.

use crate::error::Malformed;
use crate::octets::{first_non_lower_token, first_non_value, is_ows};
use crate::section::Span;

/// Receives the fields of a header block from a decoder of HPACK or QPACK. The decoder appends each
/// field to the text as a line, `name: value CRLF`, and then reports it.
///
/// A sink never stops the decoder, which must process the whole block to keep its table right. A
/// sink that has refused a field reports that at its end, and removes further lines from the text.
///
/// Implemented by [`RequestBuilder`](crate::RequestBuilder),
/// [`ResponseBuilder`](crate::ResponseBuilder) and [`TrailersBuilder`](crate::TrailersBuilder).
pub trait FieldSink {
    /// The text to append a line to.
    fn text(&mut self) -> &mut Vec<u8>;

    /// A line has been appended, from the start of `name` to the end of the text. Its bytes are as
    /// the peer sent them: not checked, and possibly empty. The sink may remove the line, but not
    /// what was before it.
    fn field(&mut self, name: Span, value: Span);

    /// As [`field`](Self::field), for a field whose bytes the decoder has checked with
    /// [`is_valid_field`], once for all messages that refer to it.
    fn valid_field(&mut self, name: Span, value: Span) {
        self.field(name, value);
    }
}

/// Whether the bytes of a field are valid in HTTP/2 and HTTP/3: a name in lower case, which may
/// begin with the colon of a pseudo-header, and a value without control bytes except HTAB, and
/// without white space around it (RFC 9113 section 8.2.1).
pub fn is_valid_field(name: &[u8], value: &[u8]) -> bool {
    let name = name.strip_prefix(b":").unwrap_or(name);
    check_name(name, 0).is_ok() && check_value(value, 0).is_ok()
}

/// Lower-case token characters only, and at least one.
pub(crate) fn check_name(name: &[u8], at: usize) -> Result<(), Malformed> {
    match first_non_lower_token(name) {
        Some(n) => Err(Malformed::NameByte {
            at: at + n,
            byte: name[n],
        }),
        None if name.is_empty() => Err(Malformed::NameEmpty { at }),
        None => Ok(()),
    }
}

/// No control bytes except HTAB, and no white space around it.
pub(crate) fn check_value(value: &[u8], at: usize) -> Result<(), Malformed> {
    if let Some(n) = first_non_value(value) {
        return Err(Malformed::ValueByte {
            at: at + n,
            byte: value[n],
        });
    }
    match value {
        [first, ..] if is_ows(*first) => Err(Malformed::ValueSpace { at }),
        [.., last] if is_ows(*last) => Err(Malformed::ValueSpace {
            at: at + value.len() - 1,
        }),
        _ => Ok(()),
    }
}
