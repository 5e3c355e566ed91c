//! Name: DNS names as certificates and clients write them.

use std::borrow::Cow;
use std::iter;
use std::net::IpAddr;

/// `name` in lower case and without a dot at its end.
pub(crate) fn normal(name: &str) -> Cow<'_, str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(name.to_ascii_lowercase()),
        false => Cow::Borrowed(name),
    }
}

/// A host of a request, as policies are filed under: a name as by [`normal`], an address in its usual
/// text and without brackets.
pub(crate) fn host(host: &str) -> Cow<'_, str> {
    let inner = host
        .strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'))
        .unwrap_or(host);
    match inner.parse::<IpAddr>() {
        Ok(address) => Cow::Owned(address.to_string()),
        Err(_) => normal(host),
    }
}

/// The parents of a name, the nearest first: `example.com` and `com` of `a.example.com`.
pub(crate) fn parents(name: &str) -> impl Iterator<Item = &str> {
    iter::successors(parent(name), |name| parent(name))
}

/// The parent of a name, which its wildcard is filed under: `a.example.com` gives `example.com`.
/// `None` for a single label.
pub(crate) fn parent(name: &str) -> Option<&str> {
    name.split_once('.')
        .map(|(_, parent)| parent)
        .filter(|parent| !parent.is_empty())
}

/// The parent of a wildcard: `*.example.com` gives `example.com`.
pub(crate) fn wildcard_parent(pattern: &str) -> Option<&str> {
    pattern
        .strip_prefix("*.")
        .filter(|parent| !parent.is_empty())
}

/// Whether `pattern` of a certificate is for `name`, both normal.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    match wildcard_parent(pattern) {
        Some(wild) => parent(name) == Some(wild) && !name.starts_with('.'),
        None => pattern == name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stands_for_exactly_one_label() {
        assert!(matches("*.a.example", "x.a.example"));
        assert!(!matches("*.a.example", "a.example"));
        assert!(!matches("*.a.example", "x.y.a.example"));
        assert!(!matches("*.a.example", ".a.example"));
        assert!(matches("a.example", "a.example"));
        assert!(!matches("a.example", "b.example"));
    }

    #[test]
    fn an_address_is_filed_under_one_text_however_it_is_written() {
        for text in ["::1", "[::1]", "[0:0:0:0:0:0:0:1]", "::0001"] {
            assert_eq!(host(text), "::1");
        }
        assert_eq!(host("127.0.0.1"), "127.0.0.1");
        assert_eq!(host("[a.example]"), "[a.example]");
    }

    #[test]
    fn case_and_a_dot_at_the_end_do_not_matter() {
        assert_eq!(normal("A.Example."), "a.example");
        assert_eq!(normal("a.example"), "a.example");
    }
}
