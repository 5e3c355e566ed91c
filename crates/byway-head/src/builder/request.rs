//! Request: the head of a request from decoded fields (RFC 9113 section 8.3.1).

use super::Lines;
use super::pseudo::Pseudo;
use crate::error::Malformed;
use crate::field_sink::FieldSink;
use crate::limits::Limits;
use crate::message::Version;
use crate::octets::{first_non_target, first_non_token, is_token};
use crate::request::{RequestHead, Scheme};
use crate::section::Span;
use crate::target::TargetForm;

/// No registered method is longer than 17 bytes; this leaves room for private ones.
const METHOD_BYTES: usize = 64;

/// Builds the head of a request. Give it to a decoder, then call [`finish`](Self::finish).
///
/// Pseudo-headers become parts of the head and no fields. An extended CONNECT becomes a GET whose
/// [`upgrade`](crate::Request::upgrade) is `:protocol`, so that it is handled as one of HTTP/1.
///
/// The rules are those of RFC 9113 sections 8.2 and 8.3, which RFC 9114 section 4 repeats:
/// lower-case names, values without control bytes and surrounding white space, no fields about the
/// connection, TE only `trailers`; pseudo-headers first, once, known, and all that are needed; a
/// Host equal to `:authority`; at most one Content-Length. Crumbs of a cookie are joined.
pub struct RequestBuilder<'a> {
    head: &'a mut RequestHead,
    lines: Lines<'a>,
    version: Version,
    allows_protocol: bool,
    method: Pseudo,
    scheme: Pseudo,
    authority: Pseudo,
    path: Pseudo,
    protocol: Pseudo,
}

impl<'a> RequestBuilder<'a> {
    /// A head whose text is appended to `text`. Clears `head`; `text` may have other content, which
    /// is kept.
    ///
    /// Text and fields are limited by [`Limits::head_bytes`] (a field counts as its line of HTTP/1)
    /// and [`Limits::fields`], the path by [`Limits::target_bytes`]. Beyond them the text holds
    /// nothing but the field that is decoded.
    pub fn new(
        version: Version,
        head: &'a mut RequestHead,
        text: &'a mut Vec<u8>,
        limits: &'a Limits,
    ) -> Self {
        head.clear();
        Self {
            head,
            lines: Lines::new(text, limits),
            version,
            allows_protocol: false,
            method: Pseudo::new(":method"),
            scheme: Pseudo::new(":scheme"),
            authority: Pseudo::new(":authority"),
            path: Pseudo::new(":path"),
            protocol: Pseudo::new(":protocol"),
        }
    }

    /// Whether `:protocol` is allowed: whether this side has sent SETTINGS_ENABLE_CONNECT_PROTOCOL.
    /// Default `false`.
    #[must_use]
    pub fn allow_protocol(mut self, allowed: bool) -> Self {
        self.allows_protocol = allowed;
        self
    }

    /// Ends the head; `ended` says whether the stream ends with it.
    ///
    /// The framing is [`None`](crate::Framed::None) if the stream has ended, a length of 0 for
    /// methods that usually have content, the Content-Length if there is one, and otherwise
    /// [`Chunked`](crate::Framed::Chunked). CONNECT has none.
    ///
    /// # Errors
    /// The first violation; [`Malformed::status`] is 431 for a head over the limits, and 414 for a
    /// path over its limit. `head` and what was appended to the text may then not be used.
    pub fn finish(mut self, ended: bool) -> Result<(), Malformed> {
        if let Some(error) = self.lines.refused {
            return Err(error);
        }
        let method = self.method.needed()?;
        let is_connect = method.of(self.lines.text) == b"CONNECT";
        let protocol = self.protocol.value();
        match (is_connect, protocol) {
            (true, None) => self.connect(method)?,
            (true, Some(_)) if self.allows_protocol => {
                let at = self.lines.text.len();
                self.lines.text.extend_from_slice(b"GET");
                self.request(Span::new(at, at + 3))?;
            }
            (_, Some(_)) => self.protocol.unexpected()?,
            (false, None) => self.request(method)?,
        }
        self.lines.join_cookies(self.head.section());
        let text = &*self.lines.text;
        self.head.complete(text, self.lines.limits)?;
        if protocol.is_some() && self.head.view(text).framing().has_body() {
            return Err(Malformed::ConnectBody);
        }
        self.head.frame_by_stream(ended)?;
        if let Some(protocol) = protocol {
            self.head.upgrade_to(protocol);
        } else if ended && matches!(method.of(text), b"POST" | b"PUT" | b"PATCH") {
            self.head.frame_empty();
        }
        Ok(())
    }

    /// A request to a tunnel: `:authority` is its target.
    fn connect(&mut self, method: Span) -> Result<(), Malformed> {
        self.scheme.unexpected()?;
        self.path.unexpected()?;
        let authority = self.authority.needed()?;
        self.head
            .start(method, authority, self.version, self.lines.text)?;
        self.head.authority(authority);
        Ok(())
    }

    fn request(&mut self, method: Span) -> Result<(), Malformed> {
        let text = &*self.lines.text;
        self.head.scheme(match self.scheme.needed()?.of(text) {
            scheme if scheme.eq_ignore_ascii_case(b"https") => Scheme::Https,
            scheme if scheme.eq_ignore_ascii_case(b"http") => Scheme::Http,
            _ => return Err(Malformed::SchemeUnknown),
        });
        let path = self.path.needed()?;
        self.head.start(method, path, self.version, text)?;
        if let TargetForm::Absolute { .. } = self.head.view(text).target_form() {
            return Err(Malformed::TargetForm);
        }
        if let Some(authority) = self.authority.value() {
            self.head.authority(authority);
        }
        Ok(())
    }

    fn take(&mut self, name: Span, value: Span, is_valid: bool) {
        if self.lines.accepts(name) {
            let taken = self.try_take(name, value, is_valid);
            self.lines.note(taken);
        }
    }

    fn try_take(&mut self, name: Span, value: Span, is_valid: bool) -> Result<(), Malformed> {
        let Some(b':') = name.of(self.lines.text).first() else {
            return self.lines.push(self.head.section(), name, value, is_valid);
        };
        let (name, value_bytes) = (name.of(self.lines.text), value.of(self.lines.text));
        let pseudo = match name {
            b":method" => {
                check_method(value_bytes, value.start())?;
                &mut self.method
            }
            b":path" => {
                check_path(value_bytes, value.start(), self.lines.limits)?;
                &mut self.path
            }
            b":authority" => &mut self.authority,
            b":scheme" => &mut self.scheme,
            b":protocol" => {
                if !is_token(value_bytes) {
                    return Err(Malformed::ProtocolInvalid);
                }
                &mut self.protocol
            }
            _ => return Err(Malformed::PseudoUnknown),
        };
        pseudo.set(value, self.head.section())
    }
}

impl FieldSink for RequestBuilder<'_> {
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

fn check_method(method: &[u8], at: usize) -> Result<(), Malformed> {
    if method.len() > METHOD_BYTES {
        return Err(Malformed::MethodTooLong {
            limit: METHOD_BYTES,
        });
    }
    match first_non_token(method) {
        Some(n) => Err(Malformed::MethodByte {
            at: at + n,
            byte: method[n],
        }),
        None => Ok(()),
    }
}

fn check_path(path: &[u8], at: usize, limits: &Limits) -> Result<(), Malformed> {
    if path.len() > limits.target_bytes {
        return Err(Malformed::TargetTooLong {
            limit: limits.target_bytes,
        });
    }
    match first_non_target(path) {
        Some(n) => Err(Malformed::TargetByte {
            at: at + n,
            byte: path[n],
        }),
        None => Ok(()),
    }
}
