//! Head writer: heads and trailers as header blocks.

use byway_head::octets::{
    first_non_lower_token, first_non_target, first_non_token, first_non_value, trim_ows,
};
use byway_head::{Framed, HeadOut, Line, Malformed, Scheme};

use super::encoder::Encoder;
use super::static_table::{index, index_of};

/// The longest name that is written without memory.
const NAME_BYTES: usize = 64;

/// A header block in progress, appended to a buffer: a head, or trailers if neither
/// [`request`](HeadOut::request) nor [`response`](HeadOut::response) is called.
///
/// A block that has ended must be sent, before any other block of the connection. One that is
/// dropped before [`end`](HeadOut::end) must not be sent; the next block then empties the tables of
/// both sides.
///
/// Names are written in lower case. Fields that this version does not have are left out: Host and
/// fields about the connection, and TE with another value than `trailers`.
#[derive(Debug)]
pub struct HeadWriter<'a> {
    encoder: &'a mut Encoder,
    out: &'a mut Vec<u8>,
    scheme: Scheme,
    protocol: Option<&'a [u8]>,
}

impl<'a> HeadWriter<'a> {
    /// Begins a block at the end of `out`.
    pub fn new(encoder: &'a mut Encoder, out: &'a mut Vec<u8>) -> Self {
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

    /// Makes a request an extended CONNECT to this protocol (RFC 8441), whatever its method, if there
    /// is one. Fields that only an upgrade of HTTP/1 has are left out.
    #[must_use]
    pub fn protocol(mut self, protocol: Option<&'a [u8]>) -> Self {
        self.protocol = protocol;
        self
    }

    fn pseudo(&mut self, name: &[u8], name_index: u64, value: &[u8]) {
        self.encoder
            .indexed_field(self.out, Some(name_index), name, value);
    }

    /// A field whose value is valid.
    fn checked(&mut self, name: &[u8], value: &[u8]) -> Result<(), Malformed> {
        let mut short = [0; NAME_BYTES];
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
        let known = index_of(lower);
        if !is_left_out(known, lower, value) {
            self.encoder.field(self.out, known, lower, value);
        }
        Ok(())
    }
}

impl HeadOut for HeadWriter<'_> {
    fn request(&mut self, method: &[u8], target: &[u8], authority: &[u8]) -> Result<(), Malformed> {
        check_request(method, target, authority)?;
        let is_tunnel = self.protocol.is_none() && method == b"CONNECT";
        match (self.protocol, method) {
            (None, b"GET") => Encoder::indexed(self.out, index::METHOD_GET),
            (None, b"POST") => Encoder::indexed(self.out, index::METHOD_POST),
            (None, _) => self.pseudo(b":method", index::METHOD_GET, method),
            (Some(protocol), _) => {
                self.pseudo(b":method", index::METHOD_GET, b"CONNECT");
                self.encoder
                    .indexed_field(self.out, None, b":protocol", protocol);
            }
        }
        if !is_tunnel {
            Encoder::indexed(
                self.out,
                match self.scheme {
                    Scheme::Http => index::SCHEME_HTTP,
                    Scheme::Https => index::SCHEME_HTTPS,
                },
            );
        }
        if !authority.is_empty() {
            self.pseudo(b":authority", index::AUTHORITY, authority);
        }
        match target {
            _ if is_tunnel => {}
            b"/" => Encoder::indexed(self.out, index::PATH_ROOT),
            _ => Encoder::literal(self.out, index::PATH_ROOT, target),
        }
        Ok(())
    }

    /// 101 is written as 200, which accepts an extended CONNECT; this version has no 101 (RFC 8441
    /// section 5).
    fn response(&mut self, status: u16, _reason: &[u8]) -> Result<(), Malformed> {
        let status = match status {
            101 => 200,
            100..=999 => status,
            _ => return Err(Malformed::StatusCode { at: 0 }),
        };
        let known = [200, 204, 206, 304, 400, 404, 500];
        if let Some(place) = known.iter().position(|&known| known == status) {
            Encoder::indexed(self.out, index::STATUS_200 + place as u64);
            return Ok(());
        }
        let digit = |unit: u16| b'0' + (status / unit % 10) as u8;
        let digits = [digit(100), digit(10), digit(1)];
        self.pseudo(b":status", index::STATUS_200, &digits);
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
        let mut elements = elements.into_iter();
        let Some(first) = elements.next() else {
            return Ok(());
        };
        let mut list = self.encoder.take_list();
        list.extend_from_slice(first);
        for element in elements {
            list.extend_from_slice(b", ");
            list.extend_from_slice(element);
        }
        let written = self.field(name, &list);
        self.encoder.keep_list(list);
        written
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
        Encoder::literal(self.out, index::CONTENT_LENGTH, &digits[first..]);
    }

    fn connection(&mut self, _option: &'static str) {}

    /// Writes nothing: a request names its protocol by [`protocol`](HeadWriter::protocol), and a
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

/// Whether this version does not have such a field. The name is in lower case; `known` is its index
/// in the static table.
fn is_left_out(known: Option<u64>, name: &[u8], value: &[u8]) -> bool {
    match (known, name) {
        (Some(index::HOST | index::TRANSFER_ENCODING), _) => true,
        (Some(_), _) => false,
        (None, b"te") => !value.eq_ignore_ascii_case(b"trailers"),
        (None, _) => matches!(
            name,
            b"connection"
                | b"keep-alive"
                | b"proxy-connection"
                | b"upgrade"
                | b"http2-settings"
                | b"sec-websocket-key"
                | b"sec-websocket-accept"
        ),
    }
}
