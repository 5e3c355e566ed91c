//! Trailers: a trailer section from decoded fields (RFC 9113 section 8.1).

use super::Lines;
use crate::error::Malformed;
use crate::field_sink::FieldSink;
use crate::limits::Limits;
use crate::section::{Section, Span};

/// Builds a trailer section. Give it to a decoder, then call [`finish`](Self::finish); view the
/// result by [`Trailers::new`](crate::Trailers::new). Rules and limits are those of
/// [`RequestBuilder`](super::RequestBuilder), without any pseudo-header.
pub struct TrailersBuilder<'a> {
    section: &'a mut Section,
    lines: Lines<'a>,
}

impl<'a> TrailersBuilder<'a> {
    /// A section whose text is appended to `text`. Clears `section`; `text` may have other content,
    /// which is kept.
    pub fn new(section: &'a mut Section, text: &'a mut Vec<u8>, limits: &'a Limits) -> Self {
        section.clear();
        Self {
            section,
            lines: Lines::new(text, limits),
        }
    }

    /// Ends the section.
    ///
    /// # Errors
    /// The first violation; the section is then empty.
    pub fn finish(self) -> Result<(), Malformed> {
        match self.lines.refused {
            None => Ok(()),
            Some(error) => {
                self.section.clear();
                Err(match error {
                    Malformed::HeadTooLarge { limit } => Malformed::TrailersTooLarge { limit },
                    error => error,
                })
            }
        }
    }
}

impl TrailersBuilder<'_> {
    fn take(&mut self, name: Span, value: Span, is_valid: bool) {
        if !self.lines.accepts(name) {
            return;
        }
        let taken = match name.of(self.lines.text).first() {
            Some(b':') => Err(Malformed::PseudoUnknown),
            _ => self.lines.push(self.section, name, value, is_valid),
        };
        self.lines.note(taken);
    }
}

impl FieldSink for TrailersBuilder<'_> {
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
