//! Name: DNS names as certificates and clients write them.

use std::borrow::Cow;

/// `name` in lower case and without a dot at its end.
pub(crate) fn normal(name: &str) -> Cow<'_, str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(name.to_ascii_lowercase()),
        false => Cow::Borrowed(name),
    }
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
    fn case_and_a_dot_at_the_end_do_not_matter() {
        assert_eq!(normal("A.Example."), "a.example");
        assert_eq!(normal("a.example"), "a.example");
    }
}
