//! String literals of HPACK and QPACK: a length, and bytes or their Huffman code (RFC 7541 section
//! 5.2, RFC 9204 section 4.1.2).

use thiserror::Error;

use crate::huffman::{self, HuffmanError};
use crate::prefix_int::{self, IntError};

/// Why a string cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum StringError {
    /// Its length is no valid number.
    #[error(transparent)]
    Length(#[from] IntError),
    /// The bytes end within it; more may follow.
    #[error("a string is not complete")]
    Incomplete,
    /// Its Huffman code is invalid.
    #[error(transparent)]
    Huffman(#[from] HuffmanError),
}

/// Reads a string, appends it to `out`, and removes its bytes from `input`. The length has
/// `prefix_bits` (1 to 7) in the first byte; the bit above them says whether the string is Huffman
/// code, which grows to at most 8/5 of its length. On an error `input` is unchanged, and `out` may
/// have a part of the string.
///
/// # Errors
/// If the bytes end within the string, or its code is invalid.
#[inline]
pub fn take(input: &mut &[u8], prefix_bits: u32, out: &mut Vec<u8>) -> Result<(), StringError> {
    let mut rest = *input;
    let is_huffman = rest
        .first()
        .is_some_and(|first| first >> prefix_bits & 1 == 1);
    let len = prefix_int::take(&mut rest, prefix_bits)?;
    let (string, rest) = usize::try_from(len)
        .ok()
        .and_then(|len| rest.split_at_checked(len))
        .ok_or(StringError::Incomplete)?;
    match is_huffman {
        true => huffman::decode(string, out)?,
        false => out.extend_from_slice(string),
    }
    *input = rest;
    Ok(())
}

/// Appends a string, as Huffman code if that is shorter. Its length has `prefix_bits` (1 to 7); the
/// bits of `first` above them and above the bit for Huffman code are kept.
#[inline]
pub fn write(out: &mut Vec<u8>, first: u8, prefix_bits: u32, string: &[u8]) {
    let coded = huffman::encoded_len(string);
    if coded < string.len() {
        prefix_int::write(out, first | 1 << prefix_bits, prefix_bits, coded as u64);
        huffman::encode(string, coded, out);
    } else {
        prefix_int::write(out, first, prefix_bits, string.len() as u64);
        out.extend_from_slice(string);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_with_every_prefix() {
        for string in [
            &b""[..],
            b"a",
            b"www.example.com",
            b"\x00\xff{}",
            &[b'0'; 300],
        ] {
            for prefix_bits in 1..=7 {
                let mut bytes = Vec::new();
                write(&mut bytes, 0, prefix_bits, string);
                let (mut rest, mut read) = (&bytes[..], Vec::new());
                assert_eq!(take(&mut rest, prefix_bits, &mut read), Ok(()));
                assert_eq!((rest, &read[..]), (&[][..], string));
                for len in 0..bytes.len() {
                    let mut rest = &bytes[..len];
                    assert!(take(&mut rest, prefix_bits, &mut Vec::new()).is_err());
                    assert_eq!(rest.len(), len);
                }
            }
        }
    }

    #[test]
    fn a_length_beyond_memory_is_incomplete_and_nothing_is_reserved() {
        let mut bytes = Vec::new();
        prefix_int::write(&mut bytes, 0, 7, prefix_int::MOST);
        let (mut rest, mut out) = (&bytes[..], Vec::new());
        assert_eq!(take(&mut rest, 7, &mut out), Err(StringError::Incomplete));
        assert_eq!(out.capacity(), 0);
    }
}
