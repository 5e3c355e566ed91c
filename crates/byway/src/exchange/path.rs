//! Path: the one reading of a request's path that matching, policy and forwarding share.
//!
//! In:    the path as it stands in the request line.
//! Out:   the same bytes as text, if everybody behind us must read them as we do.
//! Never: rewrites. A path that an upstream could read in another way (dot segments, an encoded NUL, a backslash) is
//!        refused, so that what was matched is what is served (CVE-2019-9901, GHSA-6jwx-7vp4-9847).

use crate::fault::{Fault, Kind, Who};

/// The path as text.
///
/// # Errors
/// `Malformed("ambiguous-path")` naming what is wrong.
pub fn canonical(path: &[u8]) -> Result<&str, Fault> {
    let ambiguous = |what: &'static str| Fault::new(Who::Downstream, Kind::Malformed("ambiguous-path"), what);
    let text = std::str::from_utf8(path).map_err(|_| ambiguous("the path is not ASCII"))?;
    if text.contains('\\') {
        return Err(ambiguous("the path holds a backslash, which some servers read as a slash; write %5C"));
    }
    if contains_encoded(text, "00") {
        return Err(ambiguous("the path holds an encoded NUL"));
    }
    match segments(text).any(is_dot_segment) {
        true => Err(ambiguous("the path holds a dot segment (/./ or /../), which clients resolve before they send")),
        false => Ok(text),
    }
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

/// `.`, `..`, and the same with `%2e` for any dot; a matrix parameter behind it (`..;x`) is cut off by some servers.
fn is_dot_segment(segment: &str) -> bool {
    let segment = segment.split_once(';').map_or(segment, |(name, _)| name);
    let mut rest = segment;
    let mut dots = 0;
    while !rest.is_empty() {
        let Some(after) = strip_dot(rest) else { return false };
        (dots, rest) = (dots + 1, after);
    }
    dots == 1 || dots == 2
}

fn strip_dot(text: &str) -> Option<&str> {
    text.strip_prefix('.').or_else(|| text.strip_prefix("%2e")).or_else(|| text.strip_prefix("%2E"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_paths_pass_as_they_are() {
        for path in [
            "/",
            "/a/b",
            "/a%2Fb",
            "/a..b",
            "/...",
            "/.well-known/x",
            "/a%20b",
            "/%2e%2e%2e",
            "*",
            "/a;b=1",
            "//",
            "/a%2f..b%5C",
            "/%",
            "/a%2",
            "/é%2f",
        ] {
            assert_eq!(canonical(path.as_bytes()).unwrap(), path);
        }
    }

    #[test]
    fn paths_that_an_upstream_may_read_in_another_way_are_refused() {
        let dots = ["/a/../b", "/..", "/./a", "/%2e%2E/a", "/.%2e", "/..;x/admin", "/a/."];
        let encoded = ["/a%2f../b", "/a/..%2Fb", "/a%2f%2e%2e%2fb", "/a%5c..%5Cb", "/..%5c", "/%2f.", "/é%2f.."];
        for path in dots.into_iter().chain(encoded).chain(["/a%00b", "/a\\..\\b"]) {
            assert_eq!(canonical(path.as_bytes()).unwrap_err().status(), 400, "{path}");
        }
    }
}
