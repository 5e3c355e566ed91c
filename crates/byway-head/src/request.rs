//! Request: the head of a request, as an index over its text.
//!
//! In:    text with the spans of its parts, from the parser of any version.
//! Out:   a view of method, target, fields and framing.
//! Never: copies, repairs or normalises.

use std::fmt;

use crate::error::Malformed;
use crate::field::{Fields, FieldsNamed, Lines, Options};
use crate::framing::{Framed, Seen, declared};
use crate::limits::Limits;
use crate::message::{Listed, Survey, Version};
use crate::section::{Section, Span};
use crate::target::{Authority, Form, TargetForm, form};

/// The index of a request's head. A parser fills it: [`start`](Self::start), the fields, then
/// [`complete`](Self::complete).
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    method: Span,
    target: Span,
    authority: Option<Span>,
    form: Form,
    version: Version,
    scheme: Option<Scheme>,
    section: Section,
    survey: Survey,
    framed: Framed,
}

/// The value of `:scheme`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `http`.
    Http,
    /// `https`.
    Https,
}

/// A request: its bytes and their index.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    head: &'a RequestHead,
    buf: &'a [u8],
}

impl RequestHead {
    /// Begins a head: the spans of method and target in `text`. The caller has checked their bytes.
    ///
    /// # Errors
    /// If the target has none of the forms that the method allows.
    pub fn start(
        &mut self,
        method: Span,
        target: Span,
        version: Version,
        text: &[u8],
    ) -> Result<(), Malformed> {
        (self.method, self.target, self.version) = (method, target, version);
        self.form = form(method.of(text), target, text)?;
        Ok(())
    }

    /// Sets the authority of a version that has a pseudo-header for it. It takes the place of Host.
    pub fn authority(&mut self, authority: Span) {
        self.authority = Some(authority);
    }

    /// Sets `:scheme`.
    pub(crate) fn scheme(&mut self, scheme: Scheme) {
        self.scheme = Some(scheme);
    }

    /// Makes the request an upgrade to `protocol`, as extended CONNECT asks for one (RFC 8441). Call
    /// it last.
    pub(crate) fn upgrade_to(&mut self, protocol: Span) {
        (self.survey.upgrade, self.survey.lists_upgrade) = (Some(protocol), true);
        self.framed = Framed::None;
    }

    /// Gives a request without content the length 0.
    pub(crate) fn frame_empty(&mut self) {
        self.framed = Framed::Length(0);
    }

    /// The fields, to add to.
    pub fn section(&mut self) -> &mut Section {
        &mut self.section
    }

    /// Ends a head: decides about host and framing, from all fields.
    ///
    /// # Errors
    /// If the fields do not name one host, or define more than one framing.
    pub fn complete(&mut self, text: &[u8], limits: &Limits) -> Result<(), Malformed> {
        self.survey = Survey::of(&self.section, text, limits)?;
        if let Some(authority) = self.authority {
            self.survey.host = match self.survey.host {
                Seen::Never => Seen::Once(authority),
                Seen::Once(host) if host.of(text).eq_ignore_ascii_case(authority.of(text)) => {
                    Seen::Once(authority)
                }
                Seen::Once(_) => return Err(Malformed::HostDiffers),
                Seen::Often => Seen::Often,
            };
        }
        match self.survey.host {
            Seen::Never if self.version >= Version::Http11 => return Err(Malformed::HostMissing),
            Seen::Often => return Err(Malformed::HostRepeated),
            Seen::Once(host) if Authority::parse(host.of(text)).is_none() => {
                return Err(Malformed::HostInvalid);
            }
            _ => {}
        }
        let (length, coding) = (
            self.survey.length.map(|span| span.of(text)),
            self.survey.coding.map(|span| span.of(text)),
        );
        self.framed = declared(self.version, length, coding)?;
        if matches!(self.form, Form::Authority) && self.framed.has_body() {
            return Err(Malformed::ConnectBody);
        }
        Ok(())
    }

    /// Completes the framing for a version whose streams frame bodies: whether the stream `ended`
    /// with the head. A body of unknown length becomes [`Framed::Chunked`]. Call it after
    /// [`complete`](Self::complete).
    ///
    /// # Errors
    /// If the head announces a body and the stream has ended.
    pub fn frame_by_stream(&mut self, ended: bool) -> Result<(), Malformed> {
        self.framed = match (self.framed, ended) {
            // What follows CONNECT is no body.
            (framed, _) if matches!(self.form, Form::Authority) => framed,
            (Framed::None, false) => Framed::Chunked,
            (Framed::Length(1..), true) => return Err(Malformed::LengthInvalid),
            (framed, _) => framed,
        };
        Ok(())
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

    /// The request in `buf`, which must be the buffer for which it was filled.
    pub fn view<'a>(&'a self, buf: &'a [u8]) -> Request<'a> {
        Request { head: self, buf }
    }
}

impl<'a> Request<'a> {
    /// The method in its original case: methods are case-sensitive.
    pub fn method(self) -> &'a [u8] {
        self.head.method.of(self.buf)
    }

    /// The request target as it was sent.
    pub fn target(self) -> &'a [u8] {
        self.head.target.of(self.buf)
    }

    /// The target's form with its parts.
    pub fn target_form(self) -> TargetForm<'a> {
        match self.head.form {
            Form::Origin => TargetForm::Origin,
            Form::Authority => TargetForm::Authority,
            Form::Asterisk => TargetForm::Asterisk,
            Form::Absolute {
                scheme,
                authority,
                path_and_query,
            } => TargetForm::Absolute {
                scheme: scheme.of(self.buf),
                authority: authority.of(self.buf),
                path_and_query: path_and_query.map_or(b"/", |span| span.of(self.buf)),
            },
        }
    }

    /// Path and query as sent, not decoded: `*` for the asterisk, empty for CONNECT. For an
    /// absolute URI without a path it is `/`, or `*` if the method is OPTIONS, which then applies
    /// to the whole host (RFC 9112 section 3.2.4).
    pub fn path_and_query(self) -> &'a [u8] {
        if matches!(
            self.head.form,
            Form::Absolute {
                path_and_query: None,
                ..
            }
        ) && self.method() == b"OPTIONS"
        {
            return b"*";
        }
        match self.target_form() {
            TargetForm::Origin | TargetForm::Asterisk => self.target(),
            TargetForm::Absolute { path_and_query, .. } => path_and_query,
            TargetForm::Authority => b"",
        }
    }

    /// The part before the first `?` of [`path_and_query`](Self::path_and_query).
    pub fn path(self) -> &'a [u8] {
        let all = self.path_and_query();
        memchr::memchr(b'?', all).map_or(all, |n| &all[..n])
    }

    /// The part after the first `?`; may be empty.
    pub fn query(self) -> Option<&'a [u8]> {
        let all = self.path_and_query();
        memchr::memchr(b'?', all).map(|n| &all[n + 1..])
    }

    /// The value of `:scheme`. `None` in HTTP/1, whose requests have no pseudo-headers, and for
    /// CONNECT.
    pub fn scheme(self) -> Option<Scheme> {
        self.head.scheme
    }

    /// The version on the request line.
    pub fn version(self) -> Version {
        self.head.version
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

    /// The requested host, with its port: from the target if it has one (absolute form, CONNECT),
    /// since RFC 9112 section 3.2.2 then requires to ignore Host; otherwise from Host. `None` only
    /// in HTTP/1.0. A forwarded request must have this as Host, not the received field.
    /// [`Authority::parse`] splits it and never fails on it.
    pub fn host(self) -> Option<&'a [u8]> {
        match (self.target_form(), self.head.survey.host) {
            (TargetForm::Absolute { authority, .. }, _) => Some(authority),
            (TargetForm::Authority, _) => Some(self.target()),
            (_, Seen::Once(host)) => Some(host.of(self.buf)),
            _ => None,
        }
    }

    /// How the body is delimited; never [`Framed::UntilClose`].
    pub fn framing(self) -> Framed {
        self.head.framed
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

    /// Whether the connection may be used for another request: by default in 1.1, on request in
    /// 1.0, and never with `Connection: close` (RFC 9112 section 9.3).
    pub fn keep_alive(self) -> bool {
        self.head.survey.keep_alive(self.head.version)
    }

    /// Whether the downstream waits for 100 (Continue) before it sends the body. Never in 1.0 (RFC
    /// 9110 section 10.1.1).
    pub fn expects_continue(self) -> bool {
        self.head.version >= Version::Http11 && self.head.survey.expects_continue
    }

    /// The value of Upgrade, if Connection lists it too. Never in 1.0 (RFC 9110 section 7.8). In
    /// HTTP/2 and HTTP/3 the value of `:protocol`: an extended CONNECT is a GET with an upgrade here
    /// (RFC 8441, RFC 9220).
    pub fn upgrade(self) -> Option<&'a [u8]> {
        let asked = self.head.version >= Version::Http11 && self.head.survey.lists_upgrade;
        self.head
            .survey
            .upgrade
            .filter(|_| asked)
            .map(|span| span.of(self.buf))
    }
}

impl fmt::Debug for Request<'_> {
    /// Names of fields only: values may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method().escape_ascii().to_string())
            .field("target", &self.target().escape_ascii().to_string())
            .field("version", &self.version())
            .field("fields", &Listed(self.fields()))
            .field("framing", &self.framing())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A head with pseudo-headers and these fields, as a decoder writes them.
    fn head(fields: &[(&str, &str)], ended: bool) -> Result<(RequestHead, String), Malformed> {
        let (mut head, mut text) = (RequestHead::default(), "POST/pathexample.com".to_owned());
        head.start(
            Span::new(0, 4),
            Span::new(4, 9),
            Version::Http2,
            text.as_bytes(),
        )?;
        head.authority(Span::new(9, 20));
        for (name, value) in fields {
            let at = text.len();
            text += &format!("{name}: {value}\r\n");
            let (name_end, end) = (at + name.len(), text.len() - 2);
            head.section()
                .push(Span::new(at, name_end), Span::new(name_end + 2, end));
        }
        head.complete(text.as_bytes(), &Limits::default())?;
        head.frame_by_stream(ended)?;
        Ok((head, text))
    }

    #[test]
    fn pseudo_headers_are_spans_and_no_fields() {
        let (head, text) = head(&[("host", "Example.com"), ("a", "1")], true).unwrap();
        let request = head.view(text.as_bytes());
        assert_eq!(request.host(), Some(&b"example.com"[..]));
        assert_eq!(
            (request.method(), request.path()),
            (&b"POST"[..], &b"/path"[..])
        );
        assert_eq!(request.fields().len(), 2);
        assert!(request.keep_alive());
    }

    #[test]
    fn a_host_that_differs_from_the_authority_is_refused() {
        let refused = head(&[("host", "other")], true).err();
        assert_eq!(refused, Some(Malformed::HostDiffers));
    }

    #[test]
    fn a_body_is_framed_by_its_stream() {
        for (length, ended, framed) in [
            (None, true, Ok(Framed::None)),
            (None, false, Ok(Framed::Chunked)),
            (Some("5"), false, Ok(Framed::Length(5))),
            (Some("0"), true, Ok(Framed::Length(0))),
            (Some("5"), true, Err(Malformed::LengthInvalid)),
        ] {
            let fields: Vec<_> = length
                .into_iter()
                .map(|length| ("content-length", length))
                .collect();
            let framing =
                head(&fields, ended).map(|(head, text)| head.view(text.as_bytes()).framing());
            assert_eq!(framing, framed, "{length:?} {ended}");
        }
    }
}
