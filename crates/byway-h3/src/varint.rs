//! Varint: numbers of QUIC and HTTP/3, of 1, 2, 4 or 8 bytes (RFC 9000 section 16).

/// The largest number.
pub(crate) const MOST: u64 = (1 << 62) - 1;

/// Reads a number at the start of `bytes`, and returns it with its length; `None` if the bytes end
/// within it.
#[inline]
pub(crate) fn read(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let len = 1 << (first >> 6);
    let number = bytes.get(..len)?;
    let value = number
        .iter()
        .fold(0, |value, byte| value << 8 | u64::from(*byte));
    // The two highest bits are the length.
    Some((value & u64::MAX >> (66 - 8 * len), len))
}

/// Appends a number of at most [`MOST`], in as few bytes as possible.
pub(crate) fn write(out: &mut Vec<u8>, value: u64) {
    match value {
        0..=0x3f => out.push(value as u8),
        0x40..=0x3fff => out.extend_from_slice(&(value as u16 | 0x4000).to_be_bytes()),
        0x4000..=0x3fff_ffff => out.extend_from_slice(&(value as u32 | 0x8000_0000).to_be_bytes()),
        _ => out.extend_from_slice(&(value | 0xc000_0000_0000_0000).to_be_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_rfc_9000_appendix_a_1() {
        for (bytes, value) in [
            (
                &[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c][..],
                151_288_809_941_952_652,
            ),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
        ] {
            assert_eq!(read(bytes), Some((value, bytes.len())));
            let mut out = Vec::new();
            write(&mut out, value);
            assert_eq!(out, bytes);
            assert_eq!(read(&bytes[..bytes.len() - 1]), None);
        }
        assert_eq!(read(&[0x40, 0x25]), Some((37, 2)));
    }

    #[test]
    fn what_is_written_is_read() {
        for shift in 0..62 {
            for value in [(1u64 << shift) - 1, 1 << shift, MOST] {
                let mut out = Vec::new();
                write(&mut out, value);
                assert_eq!(read(&out), Some((value, out.len())));
            }
        }
    }
}
