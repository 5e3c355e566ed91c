//! Response: the head of a response, as an index over the received bytes.
//!
//! In:    a buffer that only grows at its end.
//! Out:   an index for a view of status, fields and framing.
//! Never: copies or repairs; never guesses where the body ends.

use std::fmt;

use crate::error::Malformed;
use crate::field::{Fields, FieldsNamed, Lines, Options};
use crate::framing::{Framed, declared, of_response};
use crate::hint::KeepAliveHint;
use crate::limits::Limits;
use crate::message::{Listed, Parsed, Survey, Version, unfinished, window};
use crate::octets::first_non_value;
use crate::section::{Cursor, Section, Span, without_cr};

/// `HTTP/1.1`.
const VERSION_BYTES: usize = 8;
/// `HTTP/1.1 200`.
const STATUS_END: usize = 12;

/// The index of a response's head. Create one per connection and reuse it: [`clear`](Self::clear)
/// keeps its memory, so that further responses need no allocation.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    cursor: Cursor,
    stage: Stage,
    version: Version,
    status: u16,
    reason: Span,
    section: Section,
    survey: Survey,
    declared: Result<Framed, Malformed>,
}

/// A response: its bytes and their index.
#[derive(Clone, Copy)]
pub struct Response<'a> {
    head: &'a ResponseHead,
    buf: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    StartLine,
    Fields,
    Complete,
}

impl Default for ResponseHead {
    fn default() -> Self {
        Self {
            cursor: Cursor::default(),
            stage: Stage::StartLine,
            version: Version::default(),
            status: 0,
            reason: Span::default(),
            section: Section::default(),
            survey: Survey::default(),
            declared: Ok(Framed::None),
        }
    }
}

impl ResponseHead {
    /// Parses the head at the start of `buf` and continues where the previous call stopped: between
    /// calls `buf` may only grow at its end, until [`clear`](Self::clear). The result does not
    /// depend on how the bytes were split.
    ///
    /// Interim responses (1xx) have their own heads: clear, and parse the next one.
    ///
    /// # Errors
    /// The variants of [`Malformed`] for the lines of a response. [`Response::framing`] returns
    /// violations of the framing.
    pub fn parse(&mut self, buf: &[u8], limits: &Limits) -> Result<Parsed, Malformed> {
        let window = window(buf, limits);
        if self.stage == Stage::StartLine {
            let Some(lf) = self.cursor.find_end(window) else {
                refuse_other_protocol(window)?;
                return unfinished(buf, limits);
            };
            self.start_line(&window[..lf])?;
            self.cursor.pass(lf);
            self.stage = Stage::Fields;
        }
        if self.stage == Stage::Fields {
            let Some(lf) = self.section.read(&mut self.cursor, window, limits)? else {
                return unfinished(buf, limits);
            };
            self.complete(window, limits)?;
            self.cursor.pass(lf);
            self.stage = Stage::Complete;
        }
        Ok(Parsed::Complete(self.cursor.line()))
    }

    /// Discards the message and keeps the memory.
    pub fn clear(&mut self) {
        let mut section = std::mem::take(&mut self.section);
        section.clear();
        *self = Self {
            section,
            ..Self::default()
        };
    }

    /// The response in `buf`, which must be the buffer for which [`parse`](Self::parse) returned
    /// complete.
    pub fn view<'a>(&'a self, buf: &'a [u8]) -> Response<'a> {
        Response { head: self, buf }
    }

    /// The space after the status may be missing together with the reason, as with many origins.
    fn start_line(&mut self, line: &[u8]) -> Result<(), Malformed> {
        refuse_other_protocol(line)?;
        let line = without_cr(line, 0)?;
        let (version, rest) = line.split_at(line.len().min(VERSION_BYTES));
        self.version = Version::parse(version, 0)?;
        let (status, reason_at) = match rest {
            [b' ', a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] => ([a, b, c], STATUS_END),
            [
                b' ',
                a @ b'1'..=b'9',
                b @ b'0'..=b'9',
                c @ b'0'..=b'9',
                b' ',
                ..,
            ] => ([a, b, c], STATUS_END + 1),
            _ => return Err(Malformed::StatusCode { at: VERSION_BYTES }),
        };
        self.status = status
            .iter()
            .fold(0, |sum, digit| sum * 10 + u16::from(*digit - b'0'));
        self.reason = Span::new(reason_at, line.len());
        let reason = &line[reason_at..];
        match first_non_value(reason) {
            Some(n) if reason[n] == b'\r' => Err(Malformed::BareCr { at: reason_at + n }),
            Some(n) => Err(Malformed::ReasonByte {
                at: reason_at + n,
                byte: reason[n],
            }),
            None => Ok(()),
        }
    }

    fn complete(&mut self, buf: &[u8], limits: &Limits) -> Result<(), Malformed> {
        self.survey = Survey::of(&self.section, buf, limits)?;
        let (length, coding) = (
            self.survey.length.map(|span| span.of(buf)),
            self.survey.coding.map(|span| span.of(buf)),
        );
        self.declared = declared(self.version, length, coding);
        Ok(())
    }
}

impl<'a> Response<'a> {
    /// The version on the status line.
    pub fn version(self) -> Version {
        self.head.version
    }

    /// The status, 100 to 999.
    pub fn status(self) -> u16 {
        self.head.status
    }

    /// The reason phrase; often empty.
    pub fn reason(self) -> &'a [u8] {
        self.head.reason.of(self.buf)
    }

    /// All fields, in their original case and order.
    pub fn fields(self) -> Fields<'a> {
        Fields::new(&self.head.section, self.buf)
    }

    /// As [`fields`](Self::fields), with the original bytes of each, to pass it on by one copy.
    pub fn lines(self) -> Lines<'a> {
        self.fields().lines()
    }

    /// The value of the first field of this name, in any case.
    pub fn field(self, name: &str) -> Option<&'a [u8]> {
        self.fields().first(name)
    }

    /// The values of all fields of this name, in any case.
    pub fn fields_named(self, name: &str) -> FieldsNamed<'a, '_> {
        self.fields().named(name)
    }

    /// The elements of all Connection fields: names of fields that apply to this connection only
    /// (RFC 9110 section 7.6.1).
    pub fn connection_options(self) -> Options<'a> {
        self.fields().options("connection")
    }

    /// Whether Connection lists a possible field: any element except `close`, `keep-alive` and
    /// `upgrade`.
    pub fn connection_lists_fields(self) -> bool {
        self.head.survey.lists_fields
    }

    /// Whether the connection may be used for another exchange, according to version and Connection
    /// (RFC 9112 section 9.3); a body that is [`Framed::UntilClose`] ends it nevertheless.
    pub fn keep_alive(self) -> bool {
        self.head.survey.keep_alive(self.head.version)
    }

    /// Whether the fields announce a body, or have an invalid framing, although the status does not
    /// allow one (1xx, 204). Some senders then send a body: the end of the message is uncertain,
    /// and the connection must not be reused.
    pub fn announces_impossible_body(self) -> bool {
        let announces = !matches!(self.head.declared, Ok(Framed::None | Framed::Length(0)));
        announces && matches!(self.head.status, 100..=199 | 204)
    }

    /// How long the connection is kept, according to the fields.
    pub fn keep_alive_hint(self) -> KeepAliveHint {
        KeepAliveHint::of(self.fields_named("Keep-Alive"))
    }

    /// The value of Upgrade, if Connection lists it too: the protocol of a 101.
    pub fn upgrade(self) -> Option<&'a [u8]> {
        let asked = self.head.version == Version::Http11 && self.head.survey.lists_upgrade;
        self.head
            .survey
            .upgrade
            .filter(|_| asked)
            .map(|span| span.of(self.buf))
    }

    /// How the body is delimited, given the method of the request: a response to HEAD, a 1xx, 204
    /// or 304, or a 2xx to CONNECT has no body, regardless of the fields (RFC 9112 section 6.3).
    ///
    /// # Errors
    /// If the fields do not define one length: the response and its connection must be dropped.
    pub fn framing(self, request_method: &[u8]) -> Result<Framed, Malformed> {
        of_response(&self.head.declared, self.head.status, request_method)
    }
}

impl fmt::Debug for Response<'_> {
    /// Names of fields only: values may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("version", &self.version())
            .field("status", &self.status())
            .field("fields", &Listed(self.fields()))
            .finish_non_exhaustive()
    }
}

/// A line that does not start with `HTTP/` is another protocol and is refused before its end.
fn refuse_other_protocol(line: &[u8]) -> Result<(), Malformed> {
    let known = b"HTTP/";
    let len = line.len().min(known.len());
    if line[..len] != known[..len] {
        return Err(Malformed::VersionInvalid { at: 0 });
    }
    Ok(())
}
