//! Request: the head of a request, as an index over the received bytes.
//!
//! In:    a buffer that only grows at its end.
//! Out:   an index for a view of method, target, fields and framing.
//! Never: copies, repairs or normalises; never accepts a head that two parsers could read
//!        differently.

use std::fmt;

use crate::error::Malformed;
use crate::field::{Fields, FieldsNamed, Lines, Options};
use crate::framing::{Framed, Seen, declared};
use crate::limits::Limits;
use crate::message::{Listed, Parsed, Survey, Version, unfinished, window};
use crate::octets::{first_non_target, is_token_byte};
use crate::section::{Cursor, Section, Span, without_cr};
use crate::target::{Authority, Form, TargetForm, form};

/// No registered method is longer than 17 bytes; this leaves room for private ones.
const METHOD_BYTES: usize = 64;
/// RFC 9112 section 2.2 recommends one; some clients send two after a body.
const EMPTY_LINES: u8 = 2;

/// The index of a request's head. Create one per connection and reuse it: [`clear`](Self::clear)
/// keeps its memory, so that further requests need no allocation.
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    cursor: Cursor,
    empty_lines: u8,
    stage: Stage,
    method: Span,
    target: Span,
    form: Form,
    version: Version,
    section: Section,
    survey: Survey,
    framed: Framed,
}

/// A request: its bytes and their index.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    head: &'a RequestHead,
    buf: &'a [u8],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    StartLine,
    Fields,
    Complete,
}

impl RequestHead {
    /// Parses the head at the start of `buf` and continues where the previous call stopped: between
    /// calls `buf` may only grow at its end, until [`clear`](Self::clear). The result does not
    /// depend on how the bytes were split.
    ///
    /// After an error the message and the connection are unusable; a complete head stays complete.
    ///
    /// # Errors
    /// The variants of [`Malformed`] for requests, at the latest when the line that contains the
    /// violation has ended.
    pub fn parse(&mut self, buf: &[u8], limits: &Limits) -> Result<Parsed, Malformed> {
        let window = window(buf, limits);
        while self.stage == Stage::StartLine {
            let Some(lf) = self.cursor.find_end(window) else {
                scan_start(
                    window.get(self.cursor.line()..).unwrap_or_default(),
                    self.cursor.line(),
                    limits,
                )?;
                return unfinished(buf, limits);
            };
            self.start_line(window, lf, limits)?;
            self.cursor.pass(lf);
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

    /// The request in `buf`, which must be the buffer for which [`parse`](Self::parse) returned
    /// complete.
    pub fn view<'a>(&'a self, buf: &'a [u8]) -> Request<'a> {
        Request { head: self, buf }
    }

    /// Parses the line that ends at `lf`; an empty one does not change the stage.
    fn start_line(&mut self, window: &[u8], lf: usize, limits: &Limits) -> Result<(), Malformed> {
        let at = self.cursor.line();
        let line = &window[at..lf];
        if line == b"\r" {
            self.empty_lines += 1;
            return if self.empty_lines > EMPTY_LINES {
                Err(Malformed::EmptyLines { at })
            } else {
                Ok(())
            };
        }
        let start = scan_start(line, at, limits)?;
        let line = without_cr(line, at)?;
        let (method_len, target_len) = start.ok_or(Malformed::VersionMissing)?;
        let target_at = method_len + 1;
        let version_at = target_at + target_len + 1;
        self.method = Span::new(at, at + method_len);
        self.target = Span::new(at + target_at, at + target_at + target_len);
        refuse_bad_target(&line[target_at..target_at + target_len], at + target_at)?;
        self.version = version(&line[version_at..], at + version_at)?;
        self.form = form(&line[..method_len], self.target.of(window), at + target_at)?;
        self.stage = Stage::Fields;
        Ok(())
    }

    /// Checks the head as a whole, once all its lines are there.
    fn complete(&mut self, buf: &[u8], limits: &Limits) -> Result<(), Malformed> {
        self.survey = Survey::of(&self.section, buf, limits)?;
        match self.survey.host {
            Seen::Never if self.version == Version::Http11 => return Err(Malformed::HostMissing),
            Seen::Often => return Err(Malformed::HostRepeated),
            Seen::Once(host) if Authority::parse(host.of(buf)).is_none() => {
                return Err(Malformed::HostInvalid);
            }
            _ => {}
        }
        let (length, coding) = (
            self.survey.length.map(|span| span.of(buf)),
            self.survey.coding.map(|span| span.of(buf)),
        );
        self.framed = declared(self.version, length, coding)?;
        if matches!(self.form, Form::Authority) && self.framed.has_body() {
            return Err(Malformed::ConnectBody);
        }
        Ok(())
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
        self.head.version == Version::Http11 && self.head.survey.expects_continue
    }

    /// The value of Upgrade, if Connection lists it too. Never in 1.0 (RFC 9110 section 7.8).
    pub fn upgrade(self) -> Option<&'a [u8]> {
        let asked = self.head.version == Version::Http11 && self.head.survey.lists_upgrade;
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

/// Searches a request line, complete or not, for the ends of method and target: `None` while they
/// are missing, an error as soon as they can no longer follow. A line and every continuation of it
/// get the same error.
fn scan_start(
    line: &[u8],
    at: usize,
    limits: &Limits,
) -> Result<Option<(usize, usize)>, Malformed> {
    match line {
        [] | b"\r" => return Ok(None),
        [b'\r', ..] => return Err(Malformed::BareCr { at }),
        _ => {}
    }
    let Some(method_len) = method_len(line, at)? else {
        return Ok(None);
    };
    let rest = &line[method_len + 1..];
    let most = rest.len().min(limits.target_bytes.saturating_add(1));
    match memchr::memchr(b' ', &rest[..most]) {
        Some(target_len) => Ok(Some((method_len, target_len))),
        None if rest.len() > limits.target_bytes => Err(Malformed::TargetTooLong {
            limit: limits.target_bytes,
        }),
        None => Ok(None),
    }
}

fn method_len(line: &[u8], at: usize) -> Result<Option<usize>, Malformed> {
    let method = &line[..line.len().min(METHOD_BYTES + 1)];
    match method.iter().position(|&byte| !is_token_byte(byte)) {
        Some(len) if len > 0 && method[len] == b' ' => Ok(Some(len)),
        Some(len) => Err(Malformed::MethodByte {
            at: at + len,
            byte: method[len],
        }),
        None if method.len() > METHOD_BYTES => Err(Malformed::MethodTooLong {
            limit: METHOD_BYTES,
        }),
        None => Ok(None),
    }
}

fn refuse_bad_target(target: &[u8], at: usize) -> Result<(), Malformed> {
    if target.is_empty() {
        return Err(Malformed::TargetEmpty { at });
    }
    match first_non_target(target) {
        Some(n) => Err(Malformed::TargetByte {
            at: at + n,
            byte: target[n],
        }),
        None => Ok(()),
    }
}

fn version(bytes: &[u8], at: usize) -> Result<Version, Malformed> {
    match memchr::memchr(b' ', bytes) {
        Some(n) => Err(Malformed::ExtraSpace { at: at + n }),
        None => Version::parse(bytes, at),
    }
}
