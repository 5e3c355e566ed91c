//! Octets: the byte classes of the grammar of HTTP.
//!
//! In:    bytes.
//! Out:   the position of the first invalid byte, if any.
//! Never: changes or decodes bytes.

/// Token characters (RFC 9110 section 5.6.2), by byte.
static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = matches!(byte as u8,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
            | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z');
        byte += 1;
    }
    table
};

/// Whether it may be in a token.
pub fn is_token_byte(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

/// The first byte that is not a token character.
pub fn first_non_token(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|&byte| !is_token_byte(byte))
}

/// Whether this is a token.
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && first_non_token(bytes).is_none()
}

/// The first byte that is not allowed in a field value: all controls except HTAB. Bytes from 0x80
/// up are allowed (obs-text).
pub fn first_non_value(bytes: &[u8]) -> Option<usize> {
    first_bad(bytes, |byte| {
        ((byte < 0x20) & (byte != b'\t')) | (byte == 0x7f)
    })
}

/// The first byte that is not allowed in a request target: controls, space, `#` and all bytes from
/// 0x7f up.
pub fn first_non_target(bytes: &[u8]) -> Option<usize> {
    first_bad(bytes, |byte| {
        (byte <= 0x20) | (byte >= 0x7f) | (byte == b'#')
    })
}

/// Optional white space (RFC 9110 section 5.6.3).
pub fn is_ows(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// `bytes` without the spaces and tabs around them.
pub fn trim_ows(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && is_ows(*first)
    {
        bytes = rest;
    }
    while let [rest @ .., last] = bytes
        && is_ows(*last)
    {
        bytes = rest;
    }
    bytes
}

/// Checks all bytes without branches, so that the compiler can vectorise the loop, and searches for
/// the position only if there is an invalid byte.
fn first_bad(bytes: &[u8], bad: impl Fn(u8) -> bool) -> Option<usize> {
    if !bytes.iter().fold(false, |any, &byte| any | bad(byte)) {
        return None;
    }
    bytes.iter().position(|&byte| bad(byte))
}
