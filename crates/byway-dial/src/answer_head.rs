//! Answer head: a strict parser for the head of an HTTP proxy's response to CONNECT (RFC 9112
//! sections 4 and 5).
//!
//! In:    the bytes of the head so far.
//! Out:   the least number of missing bytes, whether it can still become a head, and finally its
//!        status.
//! Never: reads a body; bytes after a 2xx belong to the target, regardless of the fields (RFC 9110
//!        section 9.3.6).

/// The longest head that is read, including all interim responses.
pub(crate) const MAX_BYTES: usize = 16 * 1024;

const END: &[u8] = b"\r\n\r\n";
const START: &[u8] = b"HTTP/1.";

/// Why a response has no valid HTTP head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHead {
    /// It does not begin with `HTTP/1.`.
    #[error("its answer does not start like an HTTP response")]
    NotHttp,
    /// The status line is malformed.
    #[error("the status line of its answer is malformed")]
    StatusLine,
    /// A field line is malformed: no name, blanks before the colon, a folded line, a bare CR, LF or
    /// NUL.
    #[error("a field line of its answer is malformed")]
    Field,
    /// The head is longer than 16 KiB.
    #[error("the head of its answer is longer than 16 KiB")]
    TooLarge,
}

/// The least number of bytes that `head` lacks; 0 if it is complete.
pub(crate) fn missing(head: &[u8]) -> usize {
    let matched = (0..=END.len())
        .rev()
        .find(|len| END.get(..*len).is_some_and(|part| head.ends_with(part)));
    END.len() - matched.unwrap_or(0)
}

/// Whether `head` starts like a response, as far as it goes: another protocol is detected at once.
pub(crate) fn plausible(head: &[u8]) -> Result<(), BadHead> {
    let len = head.len().min(START.len());
    if head.get(..len) == START.get(..len) {
        Ok(())
    } else {
        Err(BadHead::NotHttp)
    }
}

/// The status of a complete head, every line of which must be well formed.
pub(crate) fn status(head: &[u8]) -> Result<u16, BadHead> {
    plausible(head)?;
    let lines = head.strip_suffix(END).ok_or(BadHead::Field)?;
    let mut lines = Lines(Some(lines));
    let status = lines
        .next()
        .and_then(status_line)
        .ok_or(BadHead::StatusLine)?;
    if lines.all(is_field) {
        Ok(status)
    } else {
        Err(BadHead::Field)
    }
}

/// `HTTP/1.0 200 reason` or `HTTP/1.1 200 reason`; the reason may be empty, with or without its
/// space.
fn status_line(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(START)?;
    let (b'0' | b'1', [b' ', rest @ ..]) = rest.split_first()? else {
        return None;
    };
    let (code, reason) = rest.split_at_checked(3)?;
    let reason = reason.is_empty() || reason.starts_with(b" ") && is_text(reason);
    let code = code.iter().all(u8::is_ascii_digit).then_some(code)?;
    let code: u16 = std::str::from_utf8(code).ok()?.parse().ok()?;
    (reason && (100..=599).contains(&code)).then_some(code)
}

fn is_field(line: &[u8]) -> bool {
    let Some(colon) = line.iter().position(|byte| *byte == b':') else {
        return false;
    };
    let (name, value) = line.split_at(colon);
    !name.is_empty() && name.iter().all(is_token) && is_text(value)
}

fn is_token(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}

/// Visible bytes, blanks, tabs and bytes above ASCII; no other control characters.
fn is_text(text: &[u8]) -> bool {
    text.iter()
        .all(|byte| *byte == b'\t' || !byte.is_ascii_control())
}

/// The lines between CRLFs. A bare CR or LF stays in its line, which is then refused for a control
/// character.
struct Lines<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.0.take()?;
        let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") else {
            return Some(rest);
        };
        self.0 = rest.get(end + 2..);
        rest.get(..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_number_of_missing_bytes_is_computed() {
        let table: [(&[u8], usize); 8] = [
            (b"", 4),
            (b"HTTP/1.1 200", 4),
            (b"a\r", 3),
            (b"a\r\n", 2),
            (b"a\r\n\r", 1),
            (b"a\r\n\r\n", 0),
            (b"a\r\nb\r", 3),
            (b"a\r\r", 3),
        ];
        for (head, lacks) in table {
            assert_eq!(missing(head), lacks, "{head:?}");
        }
    }

    #[test]
    fn the_end_of_a_head_is_never_read_past() {
        let head = b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n";
        for len in 0..head.len() {
            assert!(
                (1..=head.len() - len).contains(&missing(&head[..len])),
                "at {len}"
            );
        }
    }

    #[test]
    fn well_formed_heads_have_their_status() {
        let table: [(&[u8], u16); 6] = [
            (b"HTTP/1.1 200 Connection established\r\n\r\n", 200),
            (b"HTTP/1.0 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n", 407),
            (b"HTTP/1.1 204 \r\nVia:\r\n\r\n", 204),
            (b"HTTP/1.1 502\r\n\r\n", 502),
            (b"HTTP/1.1 200 Gr\xfc\xdfe\r\nA:\tb c\r\n\r\n", 200),
            (b"HTTP/1.1 599 x\r\n\r\n", 599),
        ];
        for (head, code) in table {
            assert_eq!(status(head), Ok(code), "{}", head.escape_ascii());
        }
    }

    #[test]
    fn malformed_status_lines_are_refused() {
        for line in [
            "HTTP/1.2 200 OK",
            "HTTP/1.1  200 OK",
            "HTTP/1.1 20 OK",
            "HTTP/1.1 +20 OK",
            "HTTP/1.1 2000",
            "HTTP/1.1 099 x",
            "HTTP/1.1 600 x",
            "HTTP/1.1 200 a\0b",
            "HTTP/1.1 200 a\nB: c",
            "HTTP/1.1 200 a\rb",
            "HTTP/1.",
        ] {
            assert_eq!(
                status(format!("{line}\r\n\r\n").as_bytes()),
                Err(BadHead::StatusLine),
                "{line:?}"
            );
        }
    }

    #[test]
    fn malformed_field_lines_are_refused() {
        for line in [
            "no colon",
            ": no name",
            "a : b",
            " folded: x",
            "\tfolded",
            "a: b\nc: d",
            "a: b\rc",
            "a\0: b",
            "a: \0",
        ] {
            let head = format!("HTTP/1.1 200 OK\r\nok: yes\r\n{line}\r\n\r\n");
            assert_eq!(status(head.as_bytes()), Err(BadHead::Field), "{line:?}");
        }
    }

    #[test]
    fn another_protocol_is_detected_at_its_first_byte() {
        assert_eq!(plausible(b"SSH-2.0-x"), Err(BadHead::NotHttp));
        assert_eq!(plausible(b"\x05"), Err(BadHead::NotHttp));
        assert_eq!(plausible(b"HTTP/2"), Err(BadHead::NotHttp));
        for len in 0..=START.len() {
            assert_eq!(plausible(&START[..len]), Ok(()));
        }
    }
}
