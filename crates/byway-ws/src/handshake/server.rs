//! Server: checks the request of a handshake (RFC 6455 section 4.2).

use super::key::{AcceptKey, Key};
use super::list::{elements, lists, only, token, values};
use super::{Field, HandshakeError};

/// The parts of a request that a handshake consists of.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a, F> {
    /// The method.
    pub method: &'a [u8],
    /// The minor version of HTTP/1.
    pub http_minor: u8,
    /// The fields, in their order.
    pub fields: F,
}

/// A good request. The server sends [`fields`](Self::write_fields) with status 101, or refuses it
/// for a reason of its own, such as Origin.
#[derive(Clone, Debug)]
pub struct Accepted<F> {
    accept: AcceptKey,
    fields: F,
}

impl<'a, F: Iterator<Item = Field<'a>> + Clone> Request<'a, F> {
    /// Checks the request. Host is not checked: that is a rule for every HTTP request.
    ///
    /// ```
    /// use byway_ws::handshake::{Field, Request};
    ///
    /// let fields: [Field<'_>; 5] = [
    ///     (b"Upgrade", b"websocket"),
    ///     (b"Connection", b"keep-alive, Upgrade"),
    ///     (b"Sec-WebSocket-Version", b"13"),
    ///     (b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
    ///     (b"Sec-WebSocket-Protocol", b"chat, superchat"),
    /// ];
    /// let request = Request { method: b"GET", http_minor: 1, fields: fields.into_iter() };
    /// let accepted = request.check()?;
    /// assert_eq!(accepted.accept_key().as_str(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    /// assert_eq!(accepted.choose(&["superchat", "chat"]), Some("superchat"));
    /// # Ok::<(), byway_ws::handshake::HandshakeError>(())
    /// ```
    ///
    /// # Errors
    /// The first part that is missing or wrong.
    pub fn check(self) -> Result<Accepted<F>, HandshakeError> {
        let fields = || self.fields.clone();
        let has_body = values(fields(), "Transfer-Encoding").next().is_some()
            || values(fields(), "Content-Length").any(|length| length != b"0");
        let protocols_are_tokens =
            elements(fields(), "Sec-WebSocket-Protocol").all(|name| token(name).is_some());
        if self.method != b"GET" {
            return Err(HandshakeError::Method);
        }
        if self.http_minor == 0 {
            return Err(HandshakeError::Http10);
        }
        if !lists(fields(), "Upgrade", "websocket") {
            return Err(HandshakeError::Upgrade);
        }
        if !lists(fields(), "Connection", "upgrade") {
            return Err(HandshakeError::Connection);
        }
        if only(fields(), "Sec-WebSocket-Version") != Some(b"13") {
            return Err(HandshakeError::Version);
        }
        if has_body {
            return Err(HandshakeError::Body);
        }
        if !protocols_are_tokens {
            return Err(HandshakeError::Protocol);
        }
        let key = only(fields(), "Sec-WebSocket-Key")
            .and_then(Key::parse)
            .ok_or(HandshakeError::Key)?;
        Ok(Accepted {
            accept: AcceptKey::new(&key),
            fields: self.fields,
        })
    }
}

impl<'a, F: Iterator<Item = Field<'a>> + Clone> Accepted<F> {
    /// The value of Sec-WebSocket-Accept.
    pub fn accept_key(&self) -> &AcceptKey {
        &self.accept
    }

    /// The subprotocols that the client offers, in its order of preference. They may repeat.
    pub fn protocols(&self) -> impl Iterator<Item = &'a str> {
        elements(self.fields.clone(), "Sec-WebSocket-Protocol").filter_map(token)
    }

    /// The first of `supported` that the client offers. Names are case-sensitive.
    pub fn choose<'s>(&self, supported: &[&'s str]) -> Option<&'s str> {
        let offers = |name: &str| self.protocols().any(|offered| offered == name);
        supported.iter().copied().find(|name| offers(name))
    }

    /// Appends the field lines of the response, each with CRLF, for status 101.
    ///
    /// # Errors
    /// If `protocol` was not offered.
    pub fn write_fields(
        &self,
        protocol: Option<&str>,
        out: &mut Vec<u8>,
    ) -> Result<(), HandshakeError> {
        if protocol.is_some_and(|protocol| self.choose(&[protocol]).is_none()) {
            return Err(HandshakeError::ProtocolNotOffered);
        }
        out.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: websocket\r\n");
        super::write_field(out, "Sec-WebSocket-Accept", self.accept.as_str());
        if let Some(protocol) = protocol {
            super::write_field(out, "Sec-WebSocket-Protocol", protocol);
        }
        Ok(())
    }
}
