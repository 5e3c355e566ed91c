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

/// Token characters except upper-case letters, by byte.
static LOWER_TOKEN: [bool; 256] = {
    let mut table = TOKEN;
    let mut byte = b'A';
    while byte <= b'Z' {
        table[byte as usize] = false;
        byte += 1;
    }
    table
};

/// The first byte that is not allowed in a field name of HTTP/2 and HTTP/3: a token without
/// upper-case letters (RFC 9113 section 8.2.1).
pub fn first_non_lower_token(bytes: &[u8]) -> Option<usize> {
    // Nearly all names have nothing else.
    first_bad(bytes, |byte| {
        !(byte.is_ascii_lowercase() | byte.is_ascii_digit() | (byte == b'-'))
    })?;
    let is_valid = |byte: u8| LOWER_TOKEN[usize::from(byte)];
    bytes.iter().position(|&byte| !is_valid(byte))
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

/// Checks all bytes first, and searches for the position only if there is an invalid byte.
fn first_bad(bytes: &[u8], bad: impl Fn(u8) -> bool) -> Option<usize> {
    let any = |block: &[u8]| block.iter().fold(false, |any, &byte| any | bad(byte));
    // Blocks of a fixed length and without branches become vector instructions. The last block of a
    // length overlaps the one before it, so that no bytes are left over.
    let found = if let Some(last) = bytes.last_chunk::<16>() {
        any(last) || bytes.as_chunks::<16>().0.iter().any(|block| any(block))
    } else if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        any(first) || any(last)
    } else {
        any(bytes)
    };
    match found {
        true => bytes.iter().position(|&byte| bad(byte)),
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_byte_is_found_at_every_place_of_every_length() {
        for len in 0..70 {
            let mut bytes = vec![b'a'; len];
            assert_eq!(first_non_value(&bytes), None);
            for at in 0..len {
                bytes[at] = 0x7f;
                assert_eq!(first_non_value(&bytes), Some(at), "of {len}");
                assert_eq!(first_non_target(&bytes), Some(at), "of {len}");
                bytes[at] = b'a';
            }
        }
    }

    #[test]
    fn a_value_has_no_control_byte_but_tabs_and_a_target_is_visible_ascii_without_a_hash() {
        for byte in 0..=u8::MAX {
            let is_value = byte == b'\t' || byte >= b' ' && byte != 0x7f;
            assert_eq!(first_non_value(&[byte]).is_none(), is_value, "{byte}");
            let is_target = byte.is_ascii_graphic() && byte != b'#';
            assert_eq!(first_non_target(&[byte]).is_none(), is_target, "{byte}");
        }
    }
}
