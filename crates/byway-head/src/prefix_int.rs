//! Prefix integers: numbers that begin in the low bits of a byte (RFC 7541 section 5.1, RFC 9204
//! section 4.1.1).
//!
//! In:    bytes of a peer.
//! Out:   a number, or why there is none.
//! Never: reads more than [`MOST_BYTES`] for one number.

use thiserror::Error;

/// The largest number: 62 bits, as many as QPACK needs.
pub const MOST: u64 = (1 << 62) - 1;

/// The longest encoding that is read: the byte of the prefix and those of 63 bits. One more than
/// the largest number needs, since some encoders pad with zeroes.
pub const MOST_BYTES: usize = 10;

/// Why a number cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum IntError {
    /// The bytes end within it; more may follow.
    #[error("a number is not complete")]
    Incomplete,
    /// It is over [`MOST`], or longer than [`MOST_BYTES`].
    #[error("a number is too large")]
    TooLarge,
}

/// Reads a number whose first part is the low `prefix_bits` (1 to 8) of the first byte, and removes
/// its bytes from `input`. On an error `input` is unchanged.
///
/// # Errors
/// If the bytes end within the number, or it is too large.
#[inline]
pub fn take(input: &mut &[u8], prefix_bits: u32) -> Result<u64, IntError> {
    let (&first, rest) = input.split_first().ok_or(IntError::Incomplete)?;
    let full = (1u64 << prefix_bits) - 1;
    let value = u64::from(first) & full;
    if value < full {
        *input = rest;
        return Ok(value);
    }
    take_long(input, value)
}

fn take_long(input: &mut &[u8], mut value: u64) -> Result<u64, IntError> {
    let bytes = &input[..input.len().min(MOST_BYTES)];
    for (n, &byte) in bytes.iter().enumerate().skip(1) {
        // At most 9 * 7 bits, and a prefix: below 2^64.
        value += u64::from(byte & 0x7f) << (7 * (n - 1));
        if value > MOST {
            return Err(IntError::TooLarge);
        }
        if byte & 0x80 == 0 {
            *input = &input[n + 1..];
            return Ok(value);
        }
    }
    match bytes.len() < MOST_BYTES {
        true => Err(IntError::Incomplete),
        false => Err(IntError::TooLarge),
    }
}

/// Appends a number behind the high bits of `first`, whose low `prefix_bits` (1 to 8) are 0.
#[inline]
pub fn write(out: &mut Vec<u8>, first: u8, prefix_bits: u32, value: u64) {
    let full = (1u64 << prefix_bits) - 1;
    if value < full {
        out.push(first | value as u8);
        return;
    }
    out.push(first | full as u8);
    let mut rest = value - full;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(bytes: &[u8], prefix_bits: u32) -> Result<(u64, usize), IntError> {
        let mut rest = bytes;
        take(&mut rest, prefix_bits).map(|value| (value, bytes.len() - rest.len()))
    }

    #[test]
    fn the_examples_of_rfc_7541_appendix_c_1() {
        for (bytes, prefix_bits, value) in [
            (&[0b1110_1010][..], 5, 10),
            (&[0b1111_1111, 0b1001_1010, 0b0000_1010], 5, 1337),
            (&[0b0010_1010], 8, 42),
        ] {
            assert_eq!(taken(bytes, prefix_bits), Ok((value, bytes.len())));
            let (mut out, mask) = (Vec::new(), ((1u16 << prefix_bits) - 1) as u8);
            write(&mut out, bytes[0] & !mask, prefix_bits, value);
            assert_eq!(out, bytes);
        }
    }

    #[test]
    fn what_is_written_is_read_with_every_prefix() {
        for shift in 0..62 {
            for value in [(1 << shift) - 1, 1 << shift, (1 << shift) + 1] {
                for prefix_bits in 1..=8 {
                    let mut out = Vec::new();
                    write(&mut out, 0, prefix_bits, value);
                    assert_eq!(taken(&out, prefix_bits), Ok((value, out.len())));
                    for len in 0..out.len() {
                        assert_eq!(taken(&out[..len], prefix_bits), Err(IntError::Incomplete));
                    }
                }
            }
        }
    }

    #[test]
    fn a_number_over_62_bits_or_without_an_end_is_refused() {
        let mut out = Vec::new();
        write(&mut out, 0, 7, MOST + 1);
        assert_eq!(taken(&out, 7), Err(IntError::TooLarge));
        assert_eq!(taken(&[0xff; 100], 7), Err(IntError::TooLarge));
        let zeroes = [&[0x7f][..], &[0x80; 100]].concat();
        assert_eq!(taken(&zeroes, 7), Err(IntError::TooLarge));
        assert_eq!(taken(&[0x7f, 0x80, 0x80, 0], 7), Ok((127, 4)));
    }
}
