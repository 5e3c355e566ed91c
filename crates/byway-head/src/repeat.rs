//! Repeat: whether a request may be sent again when the result of the first attempt is unknown.
//!
//! In:    its method and the values of its `Idempotency-Key` fields.
//! Out:   yes or no.
//! Never: counts attempts.

/// Whether a request may be served twice: its method is idempotent (RFC 9110 section 9.2.2), or it
/// has exactly one `Idempotency-Key`, by which a server can deduplicate it. An empty key does not
/// identify a request, and with several keys it is unknown which one the server uses.
pub fn is_repeatable<'k>(method: &[u8], keys: impl IntoIterator<Item = &'k [u8]>) -> bool {
    if matches!(
        method,
        b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE" | b"PUT" | b"DELETE"
    ) {
        return true;
    }
    let mut keys = keys.into_iter();
    keys.next().is_some_and(|key| !key.trim_ascii().is_empty()) && keys.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_with_a_side_effect_needs_exactly_one_key_that_is_not_empty() {
        for (method, keys, repeatable) in [
            ("GET", &[][..], true),
            ("PUT", &["", ""], true),
            ("POST", &[], false),
            ("POST", &["a"], true),
            ("POST", &[""], false),
            ("POST", &[" \t"], false),
            ("POST", &["a", "a"], false),
            ("POST", &["a", ""], false),
            ("PATCH", &["a"], true),
            ("get", &[], false),
        ] {
            let values = keys.iter().map(|key| key.as_bytes());
            assert_eq!(
                is_repeatable(method.as_bytes(), values),
                repeatable,
                "{method} {keys:?}"
            );
        }
    }
}
