//! Key: the proof that a server understood the handshake (RFC 6455 sections 4.1 and 4.2.2).

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// The length of 16 bytes in base64.
const KEY_CHARS: usize = 24;
/// The length of a SHA-1 digest in base64.
const ACCEPT_CHARS: usize = 28;

/// The value of Sec-WebSocket-Key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key([u8; KEY_CHARS]);

/// The value of Sec-WebSocket-Accept: a digest of the key. It proves no identity, so SHA-1 is good
/// enough; it shows that the server is no cache and no server of another protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptKey([u8; ACCEPT_CHARS]);

impl Key {
    pub(super) fn new(nonce: [u8; 16]) -> Self {
        let mut text = [b'='; KEY_CHARS];
        let written = BASE64_STANDARD.encode_slice(nonce, &mut text);
        debug_assert_eq!(written, Ok(KEY_CHARS));
        Self(text)
    }

    /// `None` if it is not 16 bytes in base64.
    pub(super) fn parse(value: &[u8]) -> Option<Self> {
        let text: [u8; KEY_CHARS] = value.try_into().ok()?;
        let mut nonce = [0; 18];
        let len = BASE64_STANDARD.decode_slice(text, &mut nonce).ok()?;
        (len == 16).then_some(Self(text))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl AcceptKey {
    pub(super) fn new(key: &Key) -> Self {
        let mut digest = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
        digest.update(key.as_bytes());
        digest.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
        let mut text = [b'='; ACCEPT_CHARS];
        let written = BASE64_STANDARD.encode_slice(digest.finish(), &mut text);
        debug_assert_eq!(written, Ok(ACCEPT_CHARS));
        Self(text)
    }

    /// The value of the field.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_key_is_that_of_rfc_6455_section_1_3() {
        let key = Key::parse(b"dGhlIHNhbXBsZSBub25jZQ==").unwrap();
        assert_eq!(key, Key::new(*b"the sample nonce"));
        assert_eq!(
            AcceptKey::new(&key).as_str(),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[test]
    fn a_key_that_is_not_16_bytes_in_base64_is_refused() {
        for value in [
            &b""[..],
            b"dGhlIHNhbXBsZSBub25jZQ",
            b"dGhlIHNhbXBsZSBub25jZQ=",
            b"dGhlIHNhbXBsZSBub25jZSEh",
            b"dGhlIHNhbXBsZSBub25jZSE=",
            b"dGhlIHNhbXBsZSBub25jZR==",
            b"dGhlIHNhbXBsZSB-b25jZQ==",
        ] {
            assert_eq!(Key::parse(value), None, "{}", value.escape_ascii());
        }
    }
}
