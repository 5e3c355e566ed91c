//! Response: the head of a response, as an index over its text.
//!
//! In:    text with the spans of its parts, from the parser of any version.
//! Out:   a view of status, fields and framing.
//! Never: copies, repairs or normalises.

use std::fmt;

use crate::error::Malformed;
use crate::field::{Fields, FieldsNamed, Lines, Options};
use crate::framing::{Framed, declared, of_response};
use crate::hint::KeepAliveHint;
use crate::limits::Limits;
use crate::message::{Listed, Survey, Version};
use crate::section::{Section, Span};

/// The index of a response's head. A parser fills it: [`start`](Self::start), the fields, then
/// [`complete`](Self::complete).
#[derive(Clone, Debug)]
pub struct ResponseHead {
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

impl Default for ResponseHead {
    fn default() -> Self {
        Self {
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
    /// Begins a head. The caller has checked that `status` has three digits, and the bytes of the
    /// reason.
    pub fn start(&mut self, version: Version, status: u16, reason: Span) {
        (self.version, self.status, self.reason) = (version, status, reason);
    }

    /// The fields, to add to.
    pub fn section(&mut self) -> &mut Section {
        &mut self.section
    }

    /// Ends a head. [`Response::framing`] returns violations of the framing.
    ///
    /// # Errors
    /// If Connection has too many options.
    pub fn complete(&mut self, text: &[u8], limits: &Limits) -> Result<(), Malformed> {
        self.survey = Survey::of(&self.section, text, limits)?;
        let (length, coding) = (
            self.survey.length.map(|span| span.of(text)),
            self.survey.coding.map(|span| span.of(text)),
        );
        self.declared = declared(self.version, length, coding);
        Ok(())
    }

    /// Completes the framing for a version whose streams frame bodies: whether the stream `ended`
    /// with the head. A body of unknown length becomes [`Framed::Chunked`]. Call it after
    /// [`complete`](Self::complete).
    pub fn frame_by_stream(&mut self, ended: bool) {
        if let Ok(framed @ Framed::None) = &mut self.declared {
            *framed = match ended {
                true => Framed::Length(0),
                false => Framed::Chunked,
            };
        }
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

    /// The response in `buf`, which must be the buffer for which it was filled.
    pub fn view<'a>(&'a self, buf: &'a [u8]) -> Response<'a> {
        Response { head: self, buf }
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
