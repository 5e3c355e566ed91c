//! Write: encodes messages, always as HTTP/1.1.
//!
//! In:    the parts of a message, from any source: HTTP/1, HTTP/2, configuration.
//! Out:   bytes appended to a buffer.
//! Never: writes a byte that would end a line early or an invalid name. Each function checks its
//!        input, even if it was checked before, and does not change the buffer on an error.

use byway_head::octets::{first_non_target, first_non_token, first_non_value};
use byway_head::{Field, Framed, HeadOut, Line, Malformed};

/// The bytes after a chunk's data.
pub const CHUNK_SUFFIX: &[u8] = b"\r\n";

const CRLF: &[u8] = b"\r\n";

/// A head written as HTTP/1.1 to a buffer.
#[derive(Debug)]
pub struct HeadWriter<'a>(pub &'a mut Vec<u8>);

impl HeadOut for HeadWriter<'_> {
    fn request(&mut self, method: &[u8], target: &[u8], authority: &[u8]) -> Result<(), Malformed> {
        request_line(self.0, method, target)?;
        field(self.0, b"Host", authority)
    }

    fn response(&mut self, status: u16, reason: &[u8]) -> Result<(), Malformed> {
        status_line(self.0, status, reason)
    }

    fn field(&mut self, name: &[u8], value: &[u8]) -> Result<(), Malformed> {
        field(self.0, name, value)
    }

    fn line(&mut self, received: Line<'_>) -> Result<(), Malformed> {
        line(self.0, received)
    }

    fn list<'a>(
        &mut self,
        name: &[u8],
        elements: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(), Malformed> {
        list(self.0, name, elements)
    }

    fn framing(&mut self, framed: Framed) {
        match framed {
            Framed::Length(length) => content_length(self.0, length),
            Framed::Chunked => append(self.0, &[b"Transfer-Encoding: chunked\r\n"]),
            Framed::None | Framed::UntilClose => {}
        }
    }

    fn connection(&mut self, option: &'static str) {
        append(self.0, &[b"Connection: ", option.as_bytes(), CRLF]);
    }

    fn upgrade(&mut self, protocol: &[u8]) -> Result<(), Malformed> {
        let before = self.0.len();
        self.connection("upgrade");
        field(self.0, b"Upgrade", protocol).inspect_err(|_| self.0.truncate(before))
    }

    fn end(&mut self) {
        end_of_head(self.0);
    }
}

/// `method SP target SP HTTP/1.1 CRLF`.
///
/// # Errors
/// If the method is no token, or the target is empty or has a byte that is not allowed in a target.
pub fn request_line(out: &mut Vec<u8>, method: &[u8], target: &[u8]) -> Result<(), Malformed> {
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
    append(out, &[method, b" ", target, b" HTTP/1.1\r\n"]);
    Ok(())
}

/// `HTTP/1.1 SP status SP reason CRLF`. The reason may be empty; see
/// [`reason_phrase`](byway_head::reason_phrase).
///
/// # Errors
/// If the status does not have three digits, or the reason has a control byte.
pub fn status_line(out: &mut Vec<u8>, status: u16, reason: &[u8]) -> Result<(), Malformed> {
    if !(100..=999).contains(&status) {
        return Err(Malformed::StatusCode { at: 0 });
    }
    if let Some(at) = first_non_value(reason) {
        return Err(Malformed::ReasonByte {
            at,
            byte: reason[at],
        });
    }
    let digit = |unit: u16| b'0' + (status / unit % 10) as u8;
    append(
        out,
        &[
            b"HTTP/1.1 ",
            &[digit(100), digit(10), digit(1)],
            b" ",
            reason,
            CRLF,
        ],
    );
    Ok(())
}

/// `name ": " value CRLF`.
///
/// # Errors
/// If the name is no token, or the value has CR, LF, NUL or another control byte except HTAB.
pub fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) -> Result<(), Malformed> {
    if let Some(at) = first_non_token(name) {
        return Err(Malformed::NameByte { at, byte: name[at] });
    }
    if name.is_empty() {
        return Err(Malformed::NameEmpty { at: 0 });
    }
    if let Some(at) = first_non_value(value) {
        return Err(Malformed::ValueByte {
            at,
            byte: value[at],
        });
    }
    append(out, &[name, b": ", value, CRLF]);
    Ok(())
}

/// A field as it was sent. The parser has checked the line; it is copied without another check.
///
/// # Errors
/// As [`field`], if the line must be rewritten.
pub fn line(out: &mut Vec<u8>, line: Line<'_>) -> Result<(), Malformed> {
    match line.sent() {
        Some(sent) => {
            out.extend_from_slice(sent);
            Ok(())
        }
        None => field(out, line.field().name, line.field().value),
    }
}

/// `name ": " element ", " element … CRLF`. Writes nothing if there is no element.
///
/// # Errors
/// As [`field`], for the first element that cannot be written.
pub fn list<'a>(
    out: &mut Vec<u8>,
    name: &[u8],
    elements: impl IntoIterator<Item = &'a [u8]>,
) -> Result<(), Malformed> {
    let start = out.len();
    for element in elements {
        if out.len() == start {
            field(out, name, element)?;
            continue;
        }
        if let Some(at) = first_non_value(element) {
            out.truncate(start);
            return Err(Malformed::ValueByte {
                at,
                byte: element[at],
            });
        }
        out.truncate(out.len() - CRLF.len());
        append(out, &[b", ", element, CRLF]);
    }
    Ok(())
}

/// `Content-Length: length CRLF`.
pub fn content_length(out: &mut Vec<u8>, length: u64) {
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
    append(out, &[b"Content-Length: ", &digits[first..], CRLF]);
}

/// The empty line.
pub fn end_of_head(out: &mut Vec<u8>) {
    out.extend_from_slice(CRLF);
}

/// `hex(len) CRLF`, before a chunk's data; [`CHUNK_SUFFIX`] follows the data. A length of 0 would
/// end the body ([`last_chunk`] does that), so for 0 nothing is written: write no suffix either.
pub fn chunk_prefix(out: &mut Vec<u8>, len: usize) {
    if len == 0 {
        return;
    }
    let digits = (usize::BITS - len.leading_zeros()).div_ceil(4);
    for place in (0..digits).rev() {
        let digit = (len >> (place * 4) & 0xf) as u8;
        out.push(if digit < 10 {
            b'0' + digit
        } else {
            b'a' + digit - 10
        });
    }
    out.extend_from_slice(CRLF);
}

/// The last chunk with its trailer section: the end of a chunked body.
///
/// # Errors
/// As [`field`], for the first trailer that cannot be written.
pub fn last_chunk<'a>(
    out: &mut Vec<u8>,
    trailers: impl IntoIterator<Item = Field<'a>>,
) -> Result<(), Malformed> {
    let start = out.len();
    out.extend_from_slice(b"0\r\n");
    for trailer in trailers {
        if let Err(error) = field(out, trailer.name, trailer.value) {
            out.truncate(start);
            return Err(error);
        }
    }
    out.extend_from_slice(CRLF);
    Ok(())
}

fn append(out: &mut Vec<u8>, parts: &[&[u8]]) {
    out.reserve(parts.iter().map(|part| part.len()).sum());
    for part in parts {
        out.extend_from_slice(part);
    }
}
