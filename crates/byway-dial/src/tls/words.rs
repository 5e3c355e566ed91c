//! Words: the messages of TLS libraries without the names of Rust types.
//!
//! In:    a message such as `invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))`.
//! Out:   `invalid peer certificate: ca used as end entity`.
//! Never: loses a part that says what happened: only wrappers around a name are dropped.

/// `text` with names such as `HandshakeFailure` and `Other(OtherError(Name))` written as words.
pub fn plain_words(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for token in text.split(' ') {
        if !plain.is_empty() {
            plain.push(' ');
        }
        let (open, close) = (token.rfind('('), token.find(')'));
        let inner = match (open, close) {
            (Some(open), Some(close)) if open > 0 && open + 1 < close => token.get(open + 1..close),
            _ => None,
        };
        push_spaced(inner.unwrap_or(token), &mut plain);
    }
    plain
}

/// Writes `HandshakeFailure` as `handshake failure`. A word with no capital inside stays as it is.
fn push_spaced(token: &str, plain: &mut String) {
    let inside = token.as_bytes().windows(2).any(|two| two[0].is_ascii_lowercase() && two[1].is_ascii_uppercase());
    if !inside || !token.starts_with(|first: char| first.is_ascii_uppercase()) {
        return plain.push_str(token);
    }
    let mut before = ' ';
    for letter in token.chars() {
        if letter.is_ascii_uppercase() && before.is_ascii_lowercase() {
            plain.push(' ');
        }
        plain.push(letter.to_ascii_lowercase());
        before = letter;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_rust_types_become_words() {
        for (text, plain) in [
            ("HandshakeFailure", "handshake failure"),
            (
                "invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))",
                "invalid peer certificate: ca used as end entity",
            ),
            (
                "peer is incompatible: ServerDoesNotSupportTls12Or13",
                "peer is incompatible: server does not support tls12or13",
            ),
            (
                "received corrupt message of type InvalidContentType",
                "received corrupt message of type invalid content type",
            ),
            ("the TLS of example.com (port 443) failed", "the TLS of example.com (port 443) failed"),
            ("Unknown(0x7f)", "0x7f"),
            ("", ""),
        ] {
            assert_eq!(plain_words(text), plain, "{text}");
        }
    }
}
