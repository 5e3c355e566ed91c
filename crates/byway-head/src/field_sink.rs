//! Field sink: what a decoder of header blocks writes fields to.

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
}
