//! Instructions: the two streams of QPACK beside the header blocks (RFC 9204 sections 4.3 and 4.4).
//!
//! Never: keeps more than the start of one number. With tables of size 0 on both sides nothing on
//!        these streams has an effect, and nearly all instructions are errors.

use byway_head::prefix_int::{self, IntError, MOST_BYTES};

/// Instructions about a table that the peer may not use: it may set the size to 0.
#[derive(Debug, Default)]
pub struct EncoderInstructions(Partial);

/// Acknowledgements of a table that this side does not use: the peer may cancel streams.
#[derive(Debug, Default)]
pub struct DecoderInstructions(Partial);

impl EncoderInstructions {
    /// Reads bytes of the peer's encoder stream. Returns how many instructions have ended, or `None`
    /// if one is not allowed.
    pub fn read(&mut self, bytes: &[u8]) -> Option<usize> {
        // Set Dynamic Table Capacity is 001, with 5 bits of the size.
        self.0.read(
            bytes,
            |first| (first >> 5 == 0b001).then_some(5),
            |size| size == 0,
        )
    }
}

impl DecoderInstructions {
    /// Reads bytes of the peer's decoder stream. Returns how many instructions have ended, or `None`
    /// if one is not allowed.
    pub fn read(&mut self, bytes: &[u8]) -> Option<usize> {
        // Stream Cancellation is 01, with 6 bits of the stream.
        self.0
            .read(bytes, |first| (first >> 6 == 0b01).then_some(6), |_| true)
    }
}

/// The start of a number that continues in later bytes.
#[derive(Debug, Default)]
struct Partial {
    bytes: [u8; MOST_BYTES],
    len: usize,
}

impl Partial {
    fn read(
        &mut self,
        bytes: &[u8],
        prefix_bits: impl Fn(u8) -> Option<u32>,
        is_allowed: impl Fn(u64) -> bool,
    ) -> Option<usize> {
        let mut ended = 0;
        for &byte in bytes {
            *self.bytes.get_mut(self.len)? = byte;
            self.len += 1;
            let mut number = self.bytes.get(..self.len)?;
            let bits = prefix_bits(*number.first()?)?;
            match prefix_int::take(&mut number, bits) {
                Ok(number) if is_allowed(number) => {
                    self.len = 0;
                    ended += 1;
                }
                Err(IntError::Incomplete) => {}
                Ok(_) | Err(IntError::TooLarge) => return None,
            }
        }
        Some(ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoder_may_set_the_size_of_its_table_to_0_only() {
        let read = |bytes: &[u8]| EncoderInstructions::default().read(bytes);
        assert_eq!(read(&[]), Some(0));
        assert_eq!(read(&[0x20, 0x20]), Some(2));
        // RFC 9204 appendix B.2: a size of 220, and an insertion.
        assert_eq!(read(&[0x3f, 0xbd, 0x01]), None);
        assert_eq!(read(&[0xc0, 0x0f]), None);
        assert_eq!(read(&[0x4a]), None);
        assert_eq!(read(&[0x02]), None);
    }

    #[test]
    fn a_decoder_may_cancel_streams_only() {
        let mut instructions = DecoderInstructions::default();
        // RFC 9204 appendix B.4: Stream Cancellation, stream 8.
        assert_eq!(instructions.read(&[0x48]), Some(1));
        let cancel = [0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
        for (n, byte) in cancel.into_iter().enumerate() {
            let ended = usize::from(n == cancel.len() - 1);
            assert_eq!(instructions.read(&[byte]), Some(ended));
        }
        // A section that was acknowledged, and insertions.
        assert_eq!(DecoderInstructions::default().read(&[0x84]), None);
        assert_eq!(DecoderInstructions::default().read(&[0x01]), None);
        assert_eq!(DecoderInstructions::default().read(&[0x7f; 20]), Some(10));
        assert_eq!(DecoderInstructions::default().read(&[0xff; 20]), None);
        let endless = [&[0x7f][..], &[0x80; 20]].concat();
        assert_eq!(DecoderInstructions::default().read(&endless), None);
    }
}
