//! Path: the one reading of a request's path that matching, policy and forwarding share.
//!
//! In:    the path as it stands in the request line.
//! Out:   the same path with each encoded unreserved character decoded, once (RFC 3986 section 6.2.2.2: `%61` is `a`),
//!        if every upstream must read it in the same way.
//! Never: rewrites anything else, not even the case of `%2F`. A path that an upstream could read in another way (dot
//!        segments, an encoded NUL, a backslash) is refused, so that what was matched is what is served (CVE-2019-9901,
//!        GHSA-6jwx-7vp4-9847). Allocates nothing for a path in which there is nothing to decode.

use std::borrow::Cow;

use crate::fault::{Fault, Kind, Who};

/// The canonical path.
///
/// # Errors
/// `Malformed("ambiguous-path")` naming what is wrong; `Malformed("empty-segment")` if those are to be refused.
pub fn canonical(path: &[u8], reject_empty_segments: bool) -> Result<Cow<'_, str>, Fault> {
    let ambiguous = |what: &'static str| Err(Fault::new(Who::Downstream, Kind::Malformed("ambiguous-path"), what));
    let Ok(text) = std::str::from_utf8(path) else { return ambiguous("the path is not ASCII") };
    if text.contains('\\') {
        return ambiguous("the path holds a backslash, which some servers read as a slash; write %5C");
    }
    let Some(path) = decode_unreserved(text) else {
        return ambiguous("the path holds a `%` that an encoded character behind it would complete; write %25");
    };
    if contains_encoded(&path, "00") {
        return ambiguous("the path holds an encoded NUL");
    }
    if segments(&path).any(is_dot_segment) {
        return ambiguous("the path holds a dot segment (/./ or /../), which clients resolve before they send");
    }
    if reject_empty_segments && has_empty_segment(&path) {
        let detail = "the path holds an empty segment (//), which this edge refuses";
        return Err(Fault::new(Who::Downstream, Kind::Malformed("empty-segment"), detail));
    }
    Ok(path)
}

/// Path and query to send on: those of the request, with its path replaced by `canonical`.
pub fn target<'a>(canonical: &str, path: &[u8], path_and_query: &'a [u8]) -> Cow<'a, [u8]> {
    // Whatever is decoded becomes shorter.
    if canonical.len() == path.len() {
        return Cow::Borrowed(path_and_query);
    }
    let query = path_and_query.get(path.len()..).unwrap_or_default();
    Cow::Owned([canonical.as_bytes(), query].concat())
}

/// Decodes what need not be encoded. `None` if that would make a new encoded character out of a stray `%`: `%2%65` must
/// not become `%2e`, which an upstream would decode once more.
fn decode_unreserved(path: &str) -> Option<Cow<'_, str>> {
    let Some((at, byte)) = next_unreserved(path) else { return Some(Cow::Borrowed(path)) };
    let mut decoded = String::with_capacity(path.len());
    let (mut rest, mut next) = (path, Some((at, byte)));
    while let Some((at, byte)) = next {
        decoded.push_str(rest.get(..at)?);
        if byte.is_ascii_hexdigit() && ends_within_encoding(&decoded) {
            return None;
        }
        decoded.push(char::from(byte));
        rest = rest.get(at + 3..)?;
        next = next_unreserved(rest);
    }
    decoded.push_str(rest);
    Some(Cow::Owned(decoded))
}

/// Where the next encoded unreserved character begins, and which one it is.
fn next_unreserved(path: &str) -> Option<(usize, u8)> {
    let bytes = path.as_bytes();
    let mut at = 0;
    while let Some(distance) = memchr::memchr(b'%', bytes.get(at..)?) {
        at += distance;
        let encoded = bytes.get(at + 1..at + 3).and_then(|code| Some((hex(*code.first()?)?, hex(*code.get(1)?)?)));
        match encoded.map(|(high, low)| high << 4 | low) {
            Some(byte) if is_unreserved(byte) => return Some((at, byte)),
            Some(_) => at += 3,
            None => at += 1,
        }
    }
    None
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// RFC 3986 section 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Whether a `%` at the end lacks one or two of its digits.
fn ends_within_encoding(text: &str) -> bool {
    match text.as_bytes() {
        [.., b'%'] => true,
        [.., b'%', digit] => digit.is_ascii_hexdigit(),
        _ => false,
    }
}

/// Two slashes with nothing between them, one of which may be encoded: some servers decode before they merge slashes.
/// Two encoded ones are left alone: they stand in URLs that are a part of a path.
fn has_empty_segment(path: &str) -> bool {
    let pairs = ["//", "/%2f", "/%2F", "%2f/", "%2F/"];
    pairs.iter().any(|pair| path.contains(pair))
}

/// What stands between slashes. An encoded one, or an encoded backslash, is a slash to whoever decodes before it resolves
/// dot segments.
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
    text.split('%').skip(1).any(|rest| rest.get(..2).is_some_and(|code| code.eq_ignore_ascii_case(hex)))
}

/// `.` and `..`; a matrix parameter behind it (`..;x`) is cut off by some servers. `%2e` has been decoded before.
fn is_dot_segment(segment: &str) -> bool {
    matches!(segment.split_once(';').map_or(segment, |(name, _)| name), "." | "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str) -> Result<String, u16> {
        canonical(path.as_bytes(), false).map(Cow::into_owned).map_err(|fault| fault.status())
    }

    #[test]
    fn plain_paths_pass_as_they_are_and_are_not_copied() {
        let plain = ["/", "/a/b", "/a..b", "/...", "/.well-known/x", "*", "/a;b=1", "//", "/a//b"];
        let encoded = ["/a%2Fb", "/a%20b", "/a%2f..b%5C", "/%", "/a%2", "/é%2f", "/%2561", "/%e2%82%AC", "/%zz%"];
        for path in plain.into_iter().chain(encoded) {
            let canonical = canonical(path.as_bytes(), false).unwrap();
            assert!(matches!(canonical, Cow::Borrowed(same) if same == path), "{path} became {canonical}");
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
    fn what_is_read_is_read_alike_a_second_time() {
        for path in ["/%61%2e%2fx", "/%25%61", "/%%7e", "/%z%61", "/%2%7A", "/a%2561b%62"] {
            let once = read(path).unwrap();
            assert_eq!(read(&once), Ok(once.clone()), "{path}");
        }
    }

    #[test]
    fn a_stray_percent_sign_is_not_completed_by_what_is_decoded_behind_it() {
        for path in ["/%%36%31", "/%2%65", "/%%32e", "/%2%65%2%65/admin", "/%%61", "/%2%46"] {
            assert_eq!(read(path), Err(400), "{path}");
        }
    }

    #[test]
    fn paths_that_an_upstream_may_read_in_another_way_are_refused() {
        let dots = ["/a/../b", "/..", "/./a", "/%2e%2E/a", "/.%2e", "/..;x/admin", "/a/.", "/%2e", "/a/%2E./b"];
        let encoded = ["/a%2f../b", "/a/..%2Fb", "/a%2f%2e%2e%2fb", "/a%5c..%5Cb", "/..%5c", "/%2f.", "/é%2f.."];
        let more = ["/a%00b", "/a\\..\\b", "/%2e%2e;x", "/%2e;x/a"];
        for path in dots.into_iter().chain(encoded).chain(more) {
            assert_eq!(read(path), Err(400), "{path}");
        }
    }

    #[test]
    fn empty_segments_are_refused_only_where_that_is_asked_for() {
        for path in ["//admin", "/a//", "//", "/%2fadmin", "/a%2F/b"] {
            assert!(canonical(path.as_bytes(), false).is_ok(), "{path}");
            let fault = canonical(path.as_bytes(), true).unwrap_err();
            assert_eq!((fault.status(), fault.class()), (400, "empty-segment"), "{path}");
        }
        for path in ["/", "/a/", "/a/b", "/proxy/https%3A%2F%2Fexample.com%2F", "*"] {
            assert!(canonical(path.as_bytes(), true).is_ok(), "{path}");
        }
    }

    #[test]
    fn the_target_to_send_is_the_canonical_path_with_the_query_as_it_was() {
        for (sent, target_sent) in
            [("/%61?q=%61", "/a?q=%61"), ("/a?%61", "/a?%61"), ("/%61", "/a"), ("/%61?", "/a?"), ("/b%2f", "/b%2f")]
        {
            let path = sent.split('?').next().unwrap_or_default().as_bytes();
            let canonical = canonical(path, false).unwrap();
            assert_eq!(target(&canonical, path, sent.as_bytes()), target_sent.as_bytes(), "{sent}");
        }
    }
}
