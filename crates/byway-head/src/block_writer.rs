//! Block writer: heads and trailers as header blocks of HTTP/2 and HTTP/3.
//!
//! In:    the parts of a head.
//! Out:   valid fields with names in lower case, given to an encoder of HPACK or QPACK.
//! Never: writes a field that these versions do not have, or an invalid one. Each function checks its
//!        input, and writes nothing on an error.

use crate::error::Malformed;
use crate::field::Line;
use crate::framing::Framed;
use crate::octets::{
    first_non_lower_token, first_non_target, first_non_token, first_non_value, is_token, trim_ows,
};
use crate::out::HeadOut;
use crate::request::Scheme;

/// Names and lists up to this length are written without memory of their own.
const SHORT_BYTES: usize = 64;
const SHORT_LIST_BYTES: usize = 256;

/// What writes fields as a header block: HPACK or QPACK.
pub trait BlockEncoder {
    /// Begins a block.
    fn begin(&mut self, out: &mut Vec<u8>);

    /// Writes a pseudo-header.
    fn pseudo(&mut self, out: &mut Vec<u8>, name: &'static [u8], value: &[u8]);

    /// Writes a field. The name is in lower case, and both are valid.
    fn field(&mut self, out: &mut Vec<u8>, name: &[u8], value: &[u8]);

    /// Ends the block, which the peer will receive.
    fn end(&mut self);
}

/// A header block in progress, appended to a buffer: a head, or trailers if neither
/// [`request`](HeadOut::request) nor [`response`](HeadOut::response) is called.
///
/// A block that has ended must be sent. One that is dropped before [`end`](HeadOut::end) must not be
/// sent.
///
/// Names are written in lower case, and values without white space around them. Fields that these
/// versions do not have are left out: Host and fields about the connection, TE with another value
/// than `trailers`, and fields of an upgrade of HTTP/1.
#[derive(Debug)]
pub struct BlockWriter<'a, E> {
    encoder: E,
    out: &'a mut Vec<u8>,
    scheme: Scheme,
    protocol: Option<&'a [u8]>,
}

impl<'a, E: BlockEncoder> BlockWriter<'a, E> {
    /// Begins a block at the end of `out`.
    pub fn new(mut encoder: E, out: &'a mut Vec<u8>) -> Self {
        encoder.begin(out);
        Self {
            encoder,
            out,
            scheme: Scheme::Http,
            protocol: None,
        }
    }

    /// Sets the scheme of a request. Default [`Scheme::Http`].
    #[must_use]
    pub fn scheme(mut self, scheme: Scheme) -> Self {
        self.scheme = scheme;
        self
    }

    /// Makes a request an extended CONNECT to this protocol (RFC 8441, RFC 9220), whatever its
    /// method, if there is one.
    #[must_use]
    pub fn protocol(mut self, protocol: Option<&'a [u8]>) -> Self {
        self.protocol = protocol;
        self
    }

    fn pseudo(&mut self, name: &'static [u8], value: &[u8]) {
        self.encoder.pseudo(self.out, name, value);
    }

    /// A field whose value is valid.
    fn checked(&mut self, name: &[u8], value: &[u8]) -> Result<(), Malformed> {
        let mut short = [0; SHORT_BYTES];
        let mut long;
        let lower = match short.get_mut(..name.len()) {
            Some(room) => room,
            None => {
                long = vec![0; name.len()];
                &mut long[..]
            }
        };
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        if let Some(at) = first_non_lower_token(lower) {
            return Err(Malformed::NameByte { at, byte: name[at] });
        }
        if name.is_empty() {
            return Err(Malformed::NameEmpty { at: 0 });
        }
        if !is_left_out(lower, value) {
            self.encoder.field(self.out, lower, value);
        }
        Ok(())
    }
}

impl<E: BlockEncoder> HeadOut for BlockWriter<'_, E> {
    fn request(&mut self, method: &[u8], target: &[u8], authority: &[u8]) -> Result<(), Malformed> {
        check_request(method, target, authority)?;
        if self.protocol.is_some_and(|protocol| !is_token(protocol)) {
            return Err(Malformed::ProtocolInvalid);
        }
        let method = if self.protocol.is_some() {
            b"CONNECT"
        } else {
            method
        };
        self.pseudo(b":method", method);
        if let Some(protocol) = self.protocol {
            self.pseudo(b":protocol", protocol);
        }
        let is_tunnel = self.protocol.is_none() && method == b"CONNECT";
        if !is_tunnel {
            let scheme: &[u8] = match self.scheme {
                Scheme::Http => b"http",
                Scheme::Https => b"https",
            };
            self.pseudo(b":scheme", scheme);
        }
        if !authority.is_empty() {
            self.pseudo(b":authority", authority);
        }
        if !is_tunnel {
            self.pseudo(b":path", target);
        }
        Ok(())
    }

    /// 101 is written as 200, which accepts an extended CONNECT; these versions have no 101 (RFC 8441
    /// section 5).
    fn response(&mut self, status: u16, _reason: &[u8]) -> Result<(), Malformed> {
        let status = match status {
            101 => 200,
            100..=999 => status,
            _ => return Err(Malformed::StatusCode { at: 0 }),
        };
        let digit = |unit: u16| b'0' + (status / unit % 10) as u8;
        self.pseudo(b":status", &[digit(100), digit(10), digit(1)]);
        Ok(())
    }

    fn field(&mut self, name: &[u8], value: &[u8]) -> Result<(), Malformed> {
        let value = trim_ows(value);
        if let Some(at) = first_non_value(value) {
            return Err(Malformed::ValueByte {
                at,
                byte: value[at],
            });
        }
        self.checked(name, value)
    }

    fn line(&mut self, line: Line<'_>) -> Result<(), Malformed> {
        let field = line.field();
        self.checked(field.name, field.value)
    }

    fn list<'v>(
        &mut self,
        name: &[u8],
        elements: impl IntoIterator<Item = &'v [u8]>,
    ) -> Result<(), Malformed> {
        let mut list = List::default();
        let mut is_empty = true;
        for element in elements {
            if !is_empty {
                list.push(b", ");
            }
            list.push(element);
            is_empty = false;
        }
        match is_empty {
            true => Ok(()),
            false => self.field(name, list.as_bytes()),
        }
    }

    fn framing(&mut self, framed: Framed) {
        let Framed::Length(length) = framed else {
            return;
        };
        let mut digits = [0; 20];
        let (mut rest, mut first) = (length, digits.len());
        loop {
            first -= 1;
            digits[first] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.encoder
            .field(self.out, b"content-length", &digits[first..]);
    }

    fn connection(&mut self, _option: &'static str) {}

    /// Writes nothing: a request names its protocol by [`protocol`](BlockWriter::protocol), and a
    /// response does not name it.
    fn upgrade(&mut self, protocol: &[u8]) -> Result<(), Malformed> {
        match first_non_value(protocol) {
            Some(at) => Err(Malformed::ValueByte {
                at,
                byte: protocol[at],
            }),
            None => Ok(()),
        }
    }

    fn end(&mut self) {
        self.encoder.end();
    }
}

/// The value of a list in progress.
struct List {
    short: [u8; SHORT_LIST_BYTES],
    len: usize,
    /// All of it, if it is longer.
    long: Vec<u8>,
}

impl Default for List {
    fn default() -> Self {
        Self {
            short: [0; SHORT_LIST_BYTES],
            len: 0,
            long: Vec::new(),
        }
    }
}

impl List {
    fn push(&mut self, part: &[u8]) {
        let end = self.len + part.len();
        match self.short.get_mut(self.len..end) {
            Some(room) if self.long.is_empty() => room.copy_from_slice(part),
            _ => {
                if self.long.is_empty() {
                    self.long.extend_from_slice(&self.short[..self.len]);
                }
                self.long.extend_from_slice(part);
            }
        }
        self.len = end;
    }

    fn as_bytes(&self) -> &[u8] {
        match self.short.get(..self.len) {
            Some(short) => short,
            None => &self.long,
        }
    }
}

fn check_request(method: &[u8], target: &[u8], authority: &[u8]) -> Result<(), Malformed> {
    if let Some(at) = first_non_token(method) {
        return Err(Malformed::MethodByte {
            at,
            byte: method[at],
        });
    }
    if method.is_empty() {
        return Err(Malformed::MethodByte { at: 0, byte: b' ' });
    }
    if let Some(at) = first_non_target(target) {
        return Err(Malformed::TargetByte {
            at,
            byte: target[at],
        });
    }
    if target.is_empty() {
        return Err(Malformed::TargetEmpty { at: 0 });
    }
    match first_non_target(authority) {
        Some(_) => Err(Malformed::HostInvalid),
        None => Ok(()),
    }
}

/// Whether these versions do not have such a field. The name is in lower case.
fn is_left_out(name: &[u8], value: &[u8]) -> bool {
    let is = |known: &str| name == known.as_bytes();
    match name.len() {
        2 => is("te") && !value.eq_ignore_ascii_case(b"trailers"),
        4 => is("host"),
        7 => is("upgrade"),
        10 => is("connection") || is("keep-alive"),
        14 => is("http2-settings"),
        16 => is("proxy-connection"),
        17 => is("transfer-encoding") || is("sec-websocket-key"),
        20 => is("sec-websocket-accept"),
        _ => false,
    }
}
