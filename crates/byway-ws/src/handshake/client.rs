//! Client: the fields of a handshake's request, and the check of its response (RFC 6455 section
//! 4.1).

use super::key::{AcceptKey, Key};
use super::list::{elements, lists, only, token, values};
use super::{Field, HandshakeError, write_field};

/// The handshake of one connection.
#[derive(Clone, Copy, Debug)]
pub struct ClientHandshake<'p> {
    key: Key,
    protocols: &'p [&'p str],
}

/// The parts of a response that a handshake consists of.
#[derive(Clone, Copy, Debug)]
pub struct Response<F> {
    /// The status.
    pub status: u16,
    /// The minor version of HTTP/1.
    pub http_minor: u8,
    /// The fields, in their order.
    pub fields: F,
}

impl<'p> ClientHandshake<'p> {
    /// `nonce` is 16 random bytes, new for each connection. `protocols` are the subprotocols to
    /// offer, in the order of preference.
    ///
    /// # Errors
    /// If the name of a subprotocol is not a token.
    pub fn new(nonce: [u8; 16], protocols: &'p [&'p str]) -> Result<Self, HandshakeError> {
        if protocols
            .iter()
            .any(|name| token(name.as_bytes()).is_none())
        {
            return Err(HandshakeError::Protocol);
        }
        let key = Key::new(nonce);
        Ok(Self { key, protocols })
    }

    /// Appends the field lines of the request, each with CRLF, for `GET` in HTTP/1.1. Host is the
    /// caller's.
    ///
    /// ```
    /// use byway_ws::handshake::ClientHandshake;
    ///
    /// let mut request = b"GET /chat HTTP/1.1\r\nHost: example.com\r\n".to_vec();
    /// ClientHandshake::new(*b"the sample nonce", &[])?.write_fields(&mut request);
    /// request.extend(b"\r\n");
    /// # Ok::<(), byway_ws::handshake::HandshakeError>(())
    /// ```
    pub fn write_fields(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: websocket\r\n");
        out.extend_from_slice(b"Sec-WebSocket-Version: 13\r\n");
        write_field(out, "Sec-WebSocket-Key", self.key());
        if !self.protocols.is_empty() {
            write_field(out, "Sec-WebSocket-Protocol", &self.protocols.join(", "));
        }
    }

    /// The value of Sec-WebSocket-Key.
    pub fn key(&self) -> &str {
        str::from_utf8(self.key.as_bytes()).unwrap_or_default()
    }

    /// Whether this is the value of Sec-WebSocket-Accept that belongs to it.
    pub fn accepts(&self, accept: &[u8]) -> bool {
        AcceptKey::new(&self.key).as_str().as_bytes() == accept
    }

    /// Checks the response; the subprotocol that the server chose, if any.
    ///
    /// # Errors
    /// The first part that is missing or wrong. The connection is not a WebSocket then.
    pub fn check<'a, F: Iterator<Item = Field<'a>> + Clone>(
        &self,
        response: Response<F>,
    ) -> Result<Option<&'p str>, HandshakeError> {
        let fields = || response.fields.clone();
        if response.status != 101 {
            return Err(HandshakeError::Status(response.status));
        }
        if response.http_minor == 0 {
            return Err(HandshakeError::Http10);
        }
        let upgrade = only(fields(), "Upgrade").unwrap_or_default();
        if !upgrade.eq_ignore_ascii_case(b"websocket") {
            return Err(HandshakeError::Upgrade);
        }
        if !lists(fields(), "Connection", "upgrade") {
            return Err(HandshakeError::Connection);
        }
        if !only(fields(), "Sec-WebSocket-Accept").is_some_and(|accept| self.accepts(accept)) {
            return Err(HandshakeError::Accept);
        }
        if elements(fields(), "Sec-WebSocket-Extensions")
            .next()
            .is_some()
        {
            return Err(HandshakeError::Extension);
        }
        if values(fields(), "Sec-WebSocket-Protocol").next().is_none() {
            return Ok(None);
        }
        let chosen = only(fields(), "Sec-WebSocket-Protocol").unwrap_or_default();
        let offered = self.protocols.iter().copied();
        let chosen = offered.into_iter().find(|name| name.as_bytes() == chosen);
        chosen.map(Some).ok_or(HandshakeError::ProtocolNotOffered)
    }
}
