//! Words: rewrites the messages of TLS libraries without the names of Rust types.
//!
//! In:    a message such as `invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))`.
//! Out:   `invalid peer certificate: ca used as end entity`.
//! Never: loses information: only wrappers around a name are dropped.

use std::borrow::Cow;

/// `text` with names such as `HandshakeFailure` and `Other(OtherError(Name))` written as words.
pub fn plain_words(text: &str) -> String {
    let text = without_jargon(text);
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

/// `text` with the phrases replaced that TLS libraries write for programmers.
pub(crate) fn without_jargon(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    for (phrase, words) in PHRASES {
        if text.contains(phrase) {
            text = Cow::Owned(text.replace(phrase, words));
        }
    }
    text
}

/// Phrases of rustls for programmers, and their plain form.
const PHRASES: [(&str, &str); 5] = [
    (
        "peer closed connection without sending TLS close_notify: \
         https://docs.rs/rustls/latest/rustls/manual/_03_howto/index.html#unexpected-eof",
        CUT,
    ),
    (
        "peer closed connection without sending TLS close_notify",
        CUT,
    ),
    (
        "peer doesn't support any known protocol",
        "the peer offers none of the expected application protocols (ALPN)",
    ),
    (
        "received corrupt message of type InvalidContentType",
        "the peer sent something that is not TLS",
    ),
    (
        "tls handshake eof",
        "the peer closed the connection during the TLS handshake",
    ),
];

const CUT: &str = "the peer ended the connection without closing its TLS session";

/// Writes `HandshakeFailure` as `handshake failure`. A word without a capital inside is unchanged.
fn push_spaced(token: &str, plain: &mut String) {
    let inside = token
        .as_bytes()
        .windows(2)
        .any(|two| two[0].is_ascii_lowercase() && two[1].is_ascii_uppercase());
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
    fn phrases_of_tls_libraries_become_plain_words() {
        let words_of = |error: rustls::Error| plain_words(&error.to_string());
        let corrupt = rustls::InvalidMessage::InvalidContentType;
        assert_eq!(
            words_of(rustls::Error::InvalidMessage(corrupt)),
            "the peer sent something that is not TLS"
        );
        assert!(words_of(rustls::Error::NoApplicationProtocol).contains("(ALPN)"));
        // The text of rustls for a stream that ends without an alert; it has no public constructor.
        let cut = "peer closed connection without sending TLS close_notify: \
                   https://docs.rs/rustls/latest/rustls/manual/_03_howto/index.html#unexpected-eof";
        assert_eq!(plain_words(cut), CUT);
    }

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
                "the peer sent something that is not TLS",
            ),
            (
                "the TLS of example.com (port 443) failed",
                "the TLS of example.com (port 443) failed",
            ),
            ("Unknown(0x7f)", "0x7f"),
            ("", ""),
        ] {
            assert_eq!(plain_words(text), plain, "{text}");
        }
    }
}
