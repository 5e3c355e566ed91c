//! Response: the head of a response from decoded fields (RFC 9113 section 8.3.2).

use super::Lines;
use super::pseudo::Pseudo;
use crate::error::Malformed;
use crate::field_sink::FieldSink;
use crate::limits::Limits;
use crate::message::Version;
use crate::response::ResponseHead;
use crate::section::Span;

/// Builds the head of a response, final or interim. Give it to a decoder, then call
/// [`finish`](Self::finish). Rules and limits are those of [`RequestBuilder`](super::RequestBuilder),
/// with `:status` as the only pseudo-header.
pub struct ResponseBuilder<'a> {
    version: Version,
    head: &'a mut ResponseHead,
    lines: Lines<'a>,
    status: Pseudo,
}

impl<'a> ResponseBuilder<'a> {
    /// A head whose text is appended to `text`. Clears `head`; `text` may have other content, which
    /// is kept.
    pub fn new(
        version: Version,
        head: &'a mut ResponseHead,
        text: &'a mut Vec<u8>,
        limits: &'a Limits,
    ) -> Self {
        head.clear();
        Self {
            version,
            head,
            lines: Lines::new(text, limits),
            status: Pseudo::new(":status"),
        }
    }

    /// Ends the head; `ended` says whether the stream ends with it. The framing is the Content-Length
    /// if there is one, otherwise a length of 0 if the stream has ended, and
    /// [`Chunked`](crate::Framed::Chunked) if not; method and status may overrule it
    /// ([`Response::framing`](crate::Response::framing)).
    ///
    /// # Errors
    /// The first violation. `head` and what was appended to the text may then not be used.
    pub fn finish(self, ended: bool) -> Result<(), Malformed> {
        if let Some(error) = self.lines.refused {
            return Err(error);
        }
        let status = self.status.needed()?;
        let text = &*self.lines.text;
        let status = match status.of(text) {
            [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] => [a, b, c]
                .iter()
                .fold(0, |sum, digit| sum * 10 + u16::from(**digit - b'0')),
            _ => return Err(Malformed::StatusCode { at: status.start() }),
        };
        if status == 101 || ended && status < 200 {
            return Err(Malformed::InterimInvalid);
        }
        self.head.start(self.version, status, Span::default());
        self.head.complete(text, self.lines.limits)?;
        self.head.frame_by_stream(ended);
        Ok(())
    }

    fn take(&mut self, name: Span, value: Span, is_valid: bool) {
        if self.lines.accepts(name) {
            let taken = self.try_take(name, value, is_valid);
            self.lines.note(taken);
        }
    }

    fn try_take(&mut self, name: Span, value: Span, is_valid: bool) -> Result<(), Malformed> {
        match name.of(self.lines.text) {
            b":status" => self.status.set(value, self.head.section()),
            [b':', ..] => Err(Malformed::PseudoUnknown),
            _ => self.lines.push(self.head.section(), name, value, is_valid),
        }
    }
}

impl FieldSink for ResponseBuilder<'_> {
    fn text(&mut self) -> &mut Vec<u8> {
        self.lines.text
    }

    fn field(&mut self, name: Span, value: Span) {
        self.take(name, value, false);
    }

    fn valid_field(&mut self, name: Span, value: Span) {
        self.take(name, value, true);
    }
}
