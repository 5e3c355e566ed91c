//! Path: the interpretation of a request path that matching, policy and forwarding share.
//!
//! In:    the path of the request line.
//! Out:   the same path with each encoded unreserved character decoded, once (RFC 3986 section
//!        6.2.2.2: `%61` is `a`), if every upstream must interpret it in the same way.
//! Never: rewrites anything else, not even the case of `%2F`. A path that an upstream could
//!        interpret differently (dot segments, an encoded NUL, a backslash) is refused, so that the
//!        path that was matched is the path that is served (CVE-2019-9901, GHSA-6jwx-7vp4-9847). So
//!        is a `%` without two hexadecimal digits, which no URI has (RFC 3986 section 2.1) and
//!        which servers interpret in different ways: IIS takes `%u002e` for a dot. The query is not
//!        inspected. Allocates nothing for a path without anything to decode.

use std::borrow::Cow;

use crate::fault::{Fault, Reason, Who};

/// The canonical path.
///
/// # Errors
/// `Malformed("ambiguous-path")` with what is wrong; `Malformed("escape-invalid")` for a `%`
/// without two hexadecimal digits; `Malformed("empty-segment")` if `reject_empty_segments` is set.
pub fn canonical(path: &[u8], reject_empty_segments: bool) -> Result<Cow<'_, str>, Fault> {
    let Ok(text) = std::str::from_utf8(path) else {
        return ambiguous("the path is not ASCII");
    };
    let path = match memchr::memchr3(b'%', b'\\', b'.', path) {
        Some(_) => unambiguous(text)?,
        // Everything that is searched for begins with one of these. Most paths have none of them.
        None => Cow::Borrowed(text),
    };
    if reject_empty_segments && has_empty_segment(&path) {
        let detail = "the path holds an empty segment (//), which this edge refuses";
        return Err(Fault::new(Who::Downstream, Reason::EmptySegment, detail));
    }
    Ok(path)
}

/// The path decoded, if every upstream interprets it in the same way.
fn unambiguous(text: &str) -> Result<Cow<'_, str>, Fault> {
    if text.contains('\\') {
        return ambiguous(
            "the path holds a backslash, which some servers read as a slash; write %5C",
        );
    }
    let path = decode_unreserved(text)?;
    if contains_encoded(&path, "00") {
        return ambiguous("the path holds an encoded NUL");
    }
    if segments(&path).any(is_dot_segment) {
        return ambiguous(
            "the path holds a dot segment (/./ or /../), which clients resolve before they send",
        );
    }
    Ok(path)
}

fn ambiguous<T>(what: &'static str) -> Result<T, Fault> {
    Err(Fault::new(Who::Downstream, Reason::AmbiguousPath, what))
}

/// Path and query to send on: those of the request, with its path replaced by `canonical`.
pub fn target<'a>(canonical: &str, path: &[u8], path_and_query: &'a [u8]) -> Cow<'a, [u8]> {
    // Decoding always shortens it.
    if canonical.len() == path.len() {
        return Cow::Borrowed(path_and_query);
    }
    let query = path_and_query.get(path.len()..).unwrap_or_default();
    Cow::Owned([canonical.as_bytes(), query].concat())
}

/// Decodes what need not be encoded. A decoded character is never part of another escape, since
/// each `%` has two digits of its own.
fn decode_unreserved(path: &str) -> Result<Cow<'_, str>, Fault> {
    let bytes = path.as_bytes();
    let mut decoded: Option<String> = None;
    // What is before `copied` is in `decoded`, and what is before `at` is valid.
    let (mut copied, mut at) = (0, 0);
    while let Some(distance) = memchr::memchr(b'%', bytes.get(at..).unwrap_or_default()) {
        at += distance;
        let Some(byte) = escaped(bytes.get(at + 1..at + 3).unwrap_or_default()) else {
            let detail = "the path holds a `%` without two hexadecimal digits behind it; write %25 for the character";
            return Err(Fault::new(Who::Downstream, Reason::EscapeInvalid, detail));
        };
        if is_unreserved(byte) {
            let decoded = decoded.get_or_insert_with(|| String::with_capacity(path.len()));
            decoded.push_str(path.get(copied..at).unwrap_or_default());
            decoded.push(char::from(byte));
            copied = at + 3;
        }
        at += 3;
    }
    let Some(mut decoded) = decoded else {
        return Ok(Cow::Borrowed(path));
    };
    decoded.push_str(path.get(copied..).unwrap_or_default());
    Ok(Cow::Owned(decoded))
}

/// The byte that two hexadecimal digits encode.
fn escaped(digits: &[u8]) -> Option<u8> {
    let [high, low] = digits else { return None };
    Some(hex(*high)? << 4 | hex(*low)?)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// RFC 3986 section 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Two slashes with nothing between them, one of which may be encoded: some servers decode before
/// they merge slashes. Two encoded ones are accepted: they occur in URLs that are part of a path.
fn has_empty_segment(path: &str) -> bool {
    let pairs = ["//", "/%2f", "/%2F", "%2f/", "%2F/"];
    pairs.iter().any(|pair| path.contains(pair))
}

/// The parts between slashes. An encoded slash or backslash separates too, since some servers
/// decode before they resolve dot segments.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(path);
    std::iter::from_fn(move || {
        let path = rest?;
        let separator = path.bytes().enumerate().find_map(|(at, byte)| match byte {
            b'/' => Some((at, 1)),
            b'%' if is_encoded_slash(path.get(at + 1..at + 3)?) => Some((at, 3)),
            _ => None,
        });
        let (at, len) = separator.unwrap_or((path.len(), 0));
        rest = separator.and_then(|_| path.get(at + len..));
        path.get(..at)
    })
}

fn is_encoded_slash(code: &str) -> bool {
    code.eq_ignore_ascii_case("2f") || code.eq_ignore_ascii_case("5c")
}

fn contains_encoded(text: &str, hex: &str) -> bool {
    text.split('%').skip(1).any(|rest| {
        rest.get(..2)
            .is_some_and(|code| code.eq_ignore_ascii_case(hex))
    })
}

/// `.` and `..`. Some servers cut off a matrix parameter after it (`..;x`). `%2e` was decoded
/// before.
fn is_dot_segment(segment: &str) -> bool {
    matches!(
        segment.split_once(';').map_or(segment, |(name, _)| name),
        "." | ".."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str) -> Result<String, u16> {
        canonical(path.as_bytes(), false)
            .map(Cow::into_owned)
            .map_err(|fault| fault.status())
    }

    #[test]
    fn plain_paths_pass_as_they_are_and_are_not_copied() {
        let plain = [
            "/",
            "/a/b",
            "/a..b",
            "/...",
            "/.well-known/x",
            "*",
            "/a;b=1",
            "//",
            "/a//b",
        ];
        let encoded = [
            "/a%2Fb",
            "/a%20b",
            "/a%2f..b%5C",
            "/é%2f",
            "/%2561",
            "/%e2%82%AC",
        ];
        for path in plain.into_iter().chain(encoded) {
            let canonical = canonical(path.as_bytes(), false).unwrap();
            assert!(
                matches!(canonical, Cow::Borrowed(same) if same == path),
                "{path} became {canonical}"
            );
        }
    }

    #[test]
    fn an_encoded_unreserved_character_is_decoded_once_and_nothing_else_is() {
        for (sent, read_as) in [
            ("/%61dmin", "/admin"),
            ("/%41%5a%30%39%2d%2E%5f%7e", "/AZ09-._~"),
            ("/a%2fb%61%2F", "/a%2fba%2F"),
            ("/%25%36%31", "/%2561"),
            ("/%2561%61", "/%2561a"),
            ("/%2e%2e%2e", "/..."),
            ("//%61", "//a"),
            ("/é%61", "/éa"),
            ("/a%3Bb%61", "/a%3Bba"),
        ] {
            assert_eq!(read(sent).as_deref(), Ok(read_as), "{sent}");
        }
    }

    #[test]
    fn decoding_a_decoded_path_changes_nothing() {
        for path in ["/%61%2e%2fx", "/%25%61", "/%2525", "/%7e%7E", "/a%2561b%62"] {
            let once = read(path).unwrap();
            assert_eq!(read(&once), Ok(once.clone()), "{path}");
        }
    }

    // `%u002e` is a dot to IIS; `%2%65` is `%2e` to a server that decodes twice; others drop the
    // `%`, or answer 400.
    #[test]
    fn a_percent_sign_without_two_hexadecimal_digits_is_refused() {
        let stray = [
            "/%",
            "/a%2",
            "/%zz%",
            "/%u002e",
            "/%u002e%u002e/admin",
            "/%%7e",
            "/%z%61",
            "/%2%7A",
            "/a%b",
            "/%0x",
        ];
        let completed = [
            "/%%36%31",
            "/%2%65",
            "/%%32e",
            "/%2%65%2%65/admin",
            "/%%61",
            "/%2%46",
            "/%+1",
            "/%é",
            "/% 1",
        ];
        for path in stray.into_iter().chain(completed) {
            let fault = canonical(path.as_bytes(), false).unwrap_err();
            assert_eq!(
                (fault.status(), fault.reason.word()),
                (400, "escape-invalid"),
                "{path}"
            );
        }
    }

    #[test]
    fn paths_that_an_upstream_may_interpret_differently_are_refused() {
        let dots = [
            "/a/../b",
            "/..",
            "/./a",
            "/%2e%2E/a",
            "/.%2e",
            "/..;x/admin",
            "/a/.",
            "/%2e",
            "/a/%2E./b",
        ];
        let encoded = [
            "/a%2f../b",
            "/a/..%2Fb",
            "/a%2f%2e%2e%2fb",
            "/a%5c..%5Cb",
            "/..%5c",
            "/%2f.",
            "/é%2f..",
        ];
        let more = ["/a%00b", "/a\\..\\b", "/%2e%2e;x", "/%2e;x/a"];
        for path in dots.into_iter().chain(encoded).chain(more) {
            assert_eq!(read(path), Err(400), "{path}");
        }
    }

    #[test]
    fn empty_segments_are_refused_only_where_configured() {
        for path in ["//admin", "/a//", "//", "/%2fadmin", "/a%2F/b"] {
            assert!(canonical(path.as_bytes(), false).is_ok(), "{path}");
            let fault = canonical(path.as_bytes(), true).unwrap_err();
            assert_eq!(
                (fault.status(), fault.reason.word()),
                (400, "empty-segment"),
                "{path}"
            );
        }
        for path in [
            "/",
            "/a/",
            "/a/b",
            "/proxy/https%3A%2F%2Fexample.com%2F",
            "*",
        ] {
            assert!(canonical(path.as_bytes(), true).is_ok(), "{path}");
        }
    }

    #[test]
    fn the_target_to_send_is_the_canonical_path_with_the_query_as_it_was() {
        for (sent, target_sent) in [
            ("/%61?q=%61", "/a?q=%61"),
            ("/a?%61", "/a?%61"),
            ("/%61", "/a"),
            ("/%61?", "/a?"),
            ("/b%2f", "/b%2f"),
            ("/%61?100%", "/a?100%"),
        ] {
            let path = sent.split('?').next().unwrap_or_default().as_bytes();
            let canonical = canonical(path, false).unwrap();
            assert_eq!(
                target(&canonical, path, sent.as_bytes()),
                target_sent.as_bytes(),
                "{sent}"
            );
        }
    }
}
