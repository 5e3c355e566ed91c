//! Huffman: the code of strings in HPACK and QPACK (RFC 7541 appendix B).
//!
//! In:    strings, or their code.
//! Out:   the other of both.
//! Never: accepts padding other than fewer than 8 ones, or the code for the end of a string (RFC
//!        7541 section 5.2).
//!
//! The code is canonical: codes of one length are consecutive numbers, in the order of their
//! symbols. So the lengths define it, and all tables are computed from them.

mod table;

use thiserror::Error;

use table::{CODES, LENGTHS, LONG, PAIR_BITS, PAIRS};

/// Why a code is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HuffmanError {
    /// The padding is longer than 7 bits, or has a zero.
    #[error("invalid padding of a Huffman code")]
    Padding,
    /// The code for the end of a string is part of the string.
    #[error("the end of a string within its Huffman code")]
    EndOfString,
}

/// The length of the code of a string, in bytes.
#[inline]
pub fn encoded_len(string: &[u8]) -> usize {
    let bits: usize = string
        .iter()
        .map(|&byte| usize::from(LENGTHS[usize::from(byte)]))
        .sum();
    bits.div_ceil(8)
}

/// Appends the code of a string; `encoded_len` is that of [`encoded_len`].
pub fn encode(string: &[u8], encoded_len: usize, out: &mut Vec<u8>) {
    out.reserve(encoded_len);
    // The low `bits` of `queue` are still to be written; never more than 31 + 30.
    let (mut queue, mut bits) = (0u64, 0);
    for &byte in string {
        let len = u32::from(LENGTHS[usize::from(byte)]);
        queue = queue << len | u64::from(CODES[usize::from(byte)]);
        bits += len;
        if bits >= 32 {
            bits -= 32;
            out.extend_from_slice(&((queue >> bits) as u32).to_be_bytes());
        }
    }
    if bits > 0 {
        // The padding is the start of the code for the end, which is all ones.
        let last = (queue << (32 - bits)) as u32 | u32::MAX >> bits;
        out.extend_from_slice(&last.to_be_bytes()[..bits.div_ceil(8) as usize]);
    }
}

/// Decodes a whole string and appends it: at most 8/5 of the length of its code. On an error `out`
/// has a part of it.
///
/// # Errors
/// If the padding is invalid, or the string contains its end.
pub fn decode(code: &[u8], out: &mut Vec<u8>) -> Result<(), HuffmanError> {
    let start = out.len();
    // The shortest symbols have 5 bits. One byte more, since pairs are written whole.
    out.resize(start + code.len() * 8 / 5 + 1, 0);
    let room = &mut out[start..];
    let decoded = decode_into(code, room);
    let len = decoded.as_ref().map_or(0, |len| *len);
    out.truncate(start + len);
    decoded.map(|_| ())
}

/// Returns the length of the string.
fn decode_into(mut code: &[u8], room: &mut [u8]) -> Result<usize, HuffmanError> {
    // The high `bits` of `queue` are still to be read; those below are zeroes.
    let (mut queue, mut bits, mut len) = (0u64, 0u32, 0);
    loop {
        if bits < 32 {
            match code.split_first_chunk::<4>() {
                Some((chunk, rest)) => {
                    queue |= u64::from(u32::from_be_bytes(*chunk)) << (32 - bits);
                    bits += 32;
                    code = rest;
                }
                None => break,
            }
        }
        let pair = PAIRS[(queue >> (64 - PAIR_BITS)) as usize];
        if pair.bits == 0 {
            let (symbol, symbol_bits) = long_symbol(queue)?;
            room[len] = symbol;
            len += 1;
            queue <<= symbol_bits;
            bits -= symbol_bits;
            continue;
        }
        room[len..len + 2].copy_from_slice(&pair.symbols);
        len += usize::from(pair.count);
        queue <<= pair.bits;
        bits -= u32::from(pair.bits);
    }
    for &byte in code {
        queue |= u64::from(byte) << (56 - bits);
        bits += 8;
    }
    // Fewer than 64 bits are left. Ones behind them read as padding.
    queue |= u64::MAX >> bits;
    while queue != u64::MAX {
        let pair = PAIRS[(queue >> (64 - PAIR_BITS)) as usize];
        let (symbol, symbol_bits) = match pair.bits {
            0 => long_symbol(queue)?,
            _ => {
                let symbol = pair.symbols[0];
                (symbol, u32::from(LENGTHS[usize::from(symbol)]))
            }
        };
        if symbol_bits > bits {
            break;
        }
        room[len] = symbol;
        len += 1;
        queue = queue << symbol_bits | ((1 << symbol_bits) - 1);
        bits -= symbol_bits;
    }
    match bits < 8 && queue == u64::MAX {
        true => Ok(len),
        false => Err(HuffmanError::Padding),
    }
}

/// The symbol at the start of `queue`, with its length in bits, if that is more than [`PAIR_BITS`].
#[inline(never)]
fn long_symbol(queue: u64) -> Result<(u8, u32), HuffmanError> {
    let code = (queue >> 32) as u32;
    for long in &LONG {
        // The codes of this length end below this; longer codes are larger numbers.
        if u64::from(code) < long.end {
            let n = (code - long.first) >> (32 - long.bits);
            let at = usize::from(long.symbols_at) + n as usize;
            return table::symbol(at)
                .map(|symbol| (symbol, long.bits))
                .ok_or(HuffmanError::EndOfString);
        }
    }
    Err(HuffmanError::EndOfString)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(code: &[u8]) -> Result<Vec<u8>, HuffmanError> {
        let mut out = Vec::new();
        decode(code, &mut out).map(|()| out)
    }

    fn encoded(string: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(string, encoded_len(string), &mut out);
        assert_eq!(out.len(), encoded_len(string));
        out
    }

    #[test]
    fn the_strings_of_rfc_7541_appendix_c() {
        for (string, code) in [
            (
                "www.example.com",
                &[
                    0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff,
                ][..],
            ),
            ("no-cache", &[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]),
            ("302", &[0x64, 0x02]),
            ("private", &[0xae, 0xc3, 0x77, 0x1a, 0x4b]),
        ] {
            assert_eq!(encoded(string.as_bytes()), code);
            assert_eq!(decoded(code), Ok(string.as_bytes().to_vec()));
        }
    }

    #[test]
    fn every_pair_of_bytes_is_decoded_at_every_bit_offset() {
        for first in 0..=u8::MAX {
            for second in 0..=u8::MAX {
                for fill in 0..8 {
                    // A zero has 5 bits, so each fill starts at another bit.
                    let mut string = vec![b'0'; fill];
                    string.extend([first, second]);
                    assert_eq!(decoded(&encoded(&string)), Ok(string));
                }
            }
        }
    }

    #[test]
    fn a_string_of_any_length_is_decoded() {
        for byte in [b'0', b'a', b'&', 0, 0xff] {
            for len in 0..100 {
                let string = vec![byte; len];
                assert_eq!(decoded(&encoded(&string)), Ok(string));
            }
        }
    }

    #[test]
    fn padding_of_eight_bits_or_with_a_zero_is_refused() {
        // `0` is five zeroes.
        assert_eq!(decoded(&[0b0000_0111]), Ok(b"0".to_vec()));
        for code in [
            &[0b0000_0110][..],
            &[0b0000_0011],
            &[0xff],
            &[0b0000_0111, 0xff],
            &[0xff; 3],
        ] {
            assert_eq!(decoded(code), Err(HuffmanError::Padding), "{code:x?}");
        }
    }

    #[test]
    fn the_end_of_a_string_within_it_is_refused() {
        for fill in 0..20 {
            let code = [vec![0; fill], vec![0xff; 4], vec![0; 20]].concat();
            // Zeroes before it, of five bits each, may leave some bits.
            assert!(decoded(&code).is_err(), "{fill}");
        }
        assert_eq!(decoded(&[0xff; 20]), Err(HuffmanError::EndOfString));
        assert_eq!(
            decoded(&[0xff, 0xff, 0xff, 0xfc]),
            Err(HuffmanError::EndOfString)
        );
    }
}
