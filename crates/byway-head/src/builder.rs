//! Builder: heads and trailers from the fields that a decoder of HTTP/2 or HTTP/3 writes.
//!
//! In:    lines of fields, not checked.
//! Out:   the index of a head, as the parser of HTTP/1 fills it, or the first violation.
//! Never: lets a byte pass that could end a line of HTTP/1, or holds more than the limits and one
//!        field; stops the decoder.

mod pseudo;
mod request;
mod response;
mod trailers;

pub use request::RequestBuilder;
pub use response::ResponseBuilder;
pub use trailers::TrailersBuilder;

use crate::error::Malformed;
use crate::field_sink::{check_name, check_value};
use crate::limits::Limits;
use crate::section::{Section, Span};

/// The text of a head in progress, and the rules that all fields follow.
struct Lines<'a> {
    text: &'a mut Vec<u8>,
    limits: &'a Limits,
    /// Where the text of this head starts.
    start: usize,
    /// The first violation.
    refused: Option<Malformed>,
}

impl<'a> Lines<'a> {
    fn new(text: &'a mut Vec<u8>, limits: &'a Limits) -> Self {
        Self {
            start: text.len(),
            text,
            limits,
            refused: None,
        }
    }

    /// Whether a line is to be looked at. Removes it after a violation, and if there is no room.
    fn accepts(&mut self, name: Span) -> bool {
        let most = self.limits.head_window();
        if self.refused.is_none() && self.text.len() - self.start > most {
            self.refused = Some(Malformed::HeadTooLarge {
                limit: self.limits.head_bytes,
            });
        }
        if self.refused.is_some() {
            self.text.truncate(name.start());
        }
        self.refused.is_none()
    }

    /// Keeps the first violation, and removes the text.
    fn note(&mut self, checked: Result<(), Malformed>) {
        if let Err(error) = checked {
            self.refused = Some(error);
            self.text.truncate(self.start);
        }
    }

    /// Checks a field that is no pseudo-header, unless its bytes are valid, and indexes it. Crumbs of a cookie that follow each
    /// other become one line, so that they count as one field.
    fn push(
        &mut self,
        section: &mut Section,
        name: Span,
        value: Span,
        is_valid: bool,
    ) -> Result<(), Malformed> {
        let (name_bytes, value_bytes) = (name.of(self.text), value.of(self.text));
        if !is_valid {
            check_name(name_bytes, name.start())?;
            check_value(value_bytes, value.start())?;
        }
        refuse_connection_field(name_bytes, value_bytes)?;
        if name_bytes == COOKIE && self.joined_to_last(section, name, value) {
            return Ok(());
        }
        section.check_room(self.limits)?;
        section.push(name, value);
        Ok(())
    }

    /// Appends the last line, a crumb of a cookie, to the line before it, if that is one too.
    fn joined_to_last(&mut self, section: &mut Section, name: Span, value: Span) -> bool {
        let Some(last) = section.last_mut() else {
            return false;
        };
        let follows = last.line().end() == name.start();
        if !follows || last.name.of(self.text) != COOKIE {
            return false;
        }
        let at = last.value.end();
        let separator = separator(last.value.len(), value.len());
        let (value_at, value_end) = (at + separator.len(), at + separator.len() + value.len());
        self.text.copy_within(value.start()..value.end(), value_at);
        self.text[at..value_at].copy_from_slice(separator);
        self.text.truncate(value_end);
        self.text.extend_from_slice(b"\r\n");
        last.value = Span::new(last.value.start(), value_end);
        true
    }

    /// Joins what is left of a cookie's crumbs, which had other fields between them (RFC 9113 section
    /// 8.2.3): the last line has them all.
    fn join_cookies(&mut self, section: &mut Section) {
        let is_cookie = |name: Span, text: &[u8]| name.of(text) == COOKIE;
        let cookies = section.entries().iter();
        if cookies
            .filter(|entry| is_cookie(entry.name, self.text))
            .count()
            < 2
        {
            return;
        }
        let at = self.text.len();
        let name = Span::new(at, at + COOKIE.len());
        self.text.extend_from_slice(b"cookie: ");
        let value_at = self.text.len();
        section.retain(|entry| {
            let crumb = is_cookie(entry.name, self.text);
            if crumb {
                let separator = separator(self.text.len() - value_at, entry.value.len());
                self.text.extend_from_slice(separator);
                self.text
                    .extend_from_within(entry.value.start()..entry.value.end());
            }
            !crumb
        });
        section.push(name, Span::new(value_at, self.text.len()));
        self.text.extend_from_slice(b"\r\n");
    }
}

const COOKIE: &[u8] = b"cookie";

/// What is between two parts of a cookie of these lengths. An empty crumb adds nothing: a value must
/// not end with white space.
const fn separator(before: usize, crumb: usize) -> &'static [u8] {
    match (before, crumb) {
        (0, _) | (_, 0) => b"",
        _ => b"; ",
    }
}

/// RFC 9113 section 8.2.2; the name is in lower case.
fn refuse_connection_field(name: &[u8], value: &[u8]) -> Result<(), Malformed> {
    match name {
        b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade" => {
            Err(Malformed::ConnectionField)
        }
        b"te" if !value.eq_ignore_ascii_case(b"trailers") => Err(Malformed::TeUnsupported),
        _ => Ok(()),
    }
}
