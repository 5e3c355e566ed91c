//! Mask: masks and unmasks payloads (RFC 6455 section 5.3).

/// The masking key of one frame, at its current position in the payload. Masking is its own
/// inverse.
///
/// ```
/// let mut payload = *b"Hello";
/// byway_ws::Mask::new([0x37, 0xfa, 0x21, 0x3d]).apply(&mut payload);
/// assert_eq!(payload, [0x7f, 0x9f, 0x4d, 0x51, 0x58]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mask {
    /// Rotated so that its first byte belongs to the next byte of the payload.
    key: [u8; 4],
}

impl Mask {
    /// At the start of a payload.
    pub fn new(key: [u8; 4]) -> Self {
        Self { key }
    }

    /// Masks or unmasks the next bytes of the payload. A payload may be passed in pieces of any
    /// length.
    pub fn apply(&mut self, bytes: &mut [u8]) {
        let [a, b, c, d] = self.key;
        let key = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
        let rotation = bytes.len() % 4;
        let (words, rest) = bytes.as_chunks_mut::<8>();
        for word in words {
            *word = (u64::from_ne_bytes(*word) ^ key).to_ne_bytes();
        }
        for (byte, key) in rest.iter_mut().zip(self.key.iter().cycle()) {
            *byte ^= key;
        }
        self.key.rotate_left(rotation);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masking_in_pieces_of_any_length_equals_masking_byte_by_byte() {
        let key = [1, 2, 4, 128];
        let plain: Vec<u8> = (0..=255).collect();
        let expected: Vec<u8> = (plain.iter().zip(key.iter().cycle()))
            .map(|(byte, key)| byte ^ key)
            .collect();
        for first in 0..40 {
            for second in 0..40 {
                let (mut masked, mut mask) = (plain.clone(), Mask::new(key));
                let (head, tail) = masked.split_at_mut(first);
                mask.apply(head);
                let (middle, tail) = tail.split_at_mut(second);
                mask.apply(middle);
                mask.apply(tail);
                assert_eq!(masked, expected, "split after {first} and {second} bytes");
            }
        }
    }
}
