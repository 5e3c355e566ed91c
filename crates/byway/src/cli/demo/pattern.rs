//! Pattern: pseudo-random bytes, the same in every run, without two equal blocks.
//!
//! In:    a length.
//! Out:   the bytes, front by front, and the SHA-256 of the whole.
//! Never: holds more than one block.

use std::fmt::Write;
use std::sync::LazyLock;

use aws_lc_rs::digest::{Context, SHA256};

/// 2^20 bytes.
pub(super) const MIB: u64 = 1024 * 1024;

const BLOCK_BYTES: usize = 64 * 1024;

/// A position in a pattern.
pub(super) struct Pattern {
    /// The current block: the common one, stamped with its number so that a lost or repeated block
    /// changes the sum.
    block: Vec<u8>,
    number: u64,
    at: usize,
    left: u64,
}

impl Pattern {
    /// The start of a pattern of `bytes` bytes.
    pub(super) fn new(bytes: u64) -> Self {
        let mut pattern = Self {
            block: BLOCK.clone(),
            number: 0,
            at: 0,
            left: bytes,
        };
        pattern.stamp();
        pattern
    }

    /// The next bytes, at most to the end of the block; empty at the end.
    pub(super) fn front(&self) -> &[u8] {
        let rest = self.block.get(self.at..).unwrap_or_default();
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        rest.get(..left.min(rest.len())).unwrap_or_default()
    }

    /// Passes over the first `n` bytes of the front.
    pub(super) fn pass(&mut self, n: usize) {
        let n = n.min(self.front().len());
        self.left -= n as u64;
        self.at += n;
        if self.at == BLOCK_BYTES {
            (self.at, self.number) = (0, self.number + 1);
            self.stamp();
        }
    }

    fn stamp(&mut self) {
        self.block
            .iter_mut()
            .zip(self.number.to_le_bytes())
            .for_each(|(byte, stamp)| *byte = stamp);
    }
}

/// The common block: 64 KiB of an xorshift sequence (Marsaglia 2003).
static BLOCK: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(BLOCK_BYTES / 8).flatten().collect()
});

/// A running SHA-256, and the number of bytes.
pub(super) struct Sum {
    context: Context,
    bytes: u64,
}

impl Sum {
    /// Of no bytes.
    pub(super) fn new() -> Self {
        Self {
            context: Context::new(&SHA256),
            bytes: 0,
        }
    }

    /// Of a whole pattern.
    pub(super) fn of_pattern(bytes: u64) -> Self {
        let (mut pattern, mut sum) = (Pattern::new(bytes), Self::new());
        while !pattern.front().is_empty() {
            sum.add(pattern.front());
            pattern.pass(BLOCK_BYTES);
        }
        sum
    }

    /// Adds bytes.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// How many bytes were added.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The sum in hex.
    pub(super) fn hex(self) -> String {
        self.context
            .finish()
            .as_ref()
            .iter()
            .fold(String::new(), |mut hex, byte| {
                // Writing to a String cannot fail.
                let _ = write!(hex, "{byte:02x}");
                hex
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: u64, step: usize) -> Vec<u8> {
        let (mut pattern, mut all) = (Pattern::new(bytes), Vec::new());
        while !pattern.front().is_empty() {
            let n = step.min(pattern.front().len());
            all.extend_from_slice(&pattern.front()[..n]);
            pattern.pass(n);
        }
        all
    }

    #[test]
    fn a_pattern_is_the_same_in_steps_of_any_size() {
        let bytes = 2 * BLOCK_BYTES as u64 + 5;
        let all = whole(bytes, usize::MAX);
        assert_eq!(all.len() as u64, bytes);
        for step in [1, 7, 4096, BLOCK_BYTES - 1] {
            assert!(whole(bytes, step) == all, "in steps of {step}");
        }
        let mut sum = Sum::new();
        sum.add(&all);
        assert_eq!(sum.hex(), Sum::of_pattern(bytes).hex());
    }

    #[test]
    fn no_two_blocks_are_alike_and_a_longer_pattern_begins_as_a_shorter_one() {
        let all = whole(2 * BLOCK_BYTES as u64, usize::MAX);
        assert_ne!(all[..BLOCK_BYTES], all[BLOCK_BYTES..]);
        assert!(all.starts_with(&whole(1000, 10)));
        assert!(whole(0, 1).is_empty());
    }

    #[test]
    fn a_sum_is_sha_256() {
        let mut sum = Sum::new();
        sum.add(b"a");
        sum.add(b"bc");
        assert_eq!(sum.bytes(), 3);
        assert_eq!(
            sum.hex(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
