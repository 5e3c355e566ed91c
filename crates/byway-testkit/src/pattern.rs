//! Pattern: pseudorandom bytes that are the same in every run and differ in every megabyte.
//!
//! In:    a length.
//! Out:   the bytes, block by block, and the SHA-256 of the whole.
//! Never: holds more than one block.

use std::fmt::Write;
use std::sync::LazyLock;

use aws_lc_rs::digest::{Context, SHA256};

/// 2^20, as the tests count.
pub const MIB: u64 = 1024 * 1024;

/// The blocks of a pattern, one after the other.
pub struct Pattern {
    block: Vec<u8>,
    number: u64,
    left: u64,
}

impl Pattern {
    /// A pattern of `bytes` bytes.
    pub fn new(bytes: u64) -> Self {
        // The first eight bytes are a stamp, so a block has at least eight.
        let len = bytes.clamp(8, MIB) as usize;
        Self {
            block: BLOCK[..len].to_vec(),
            number: 0,
            left: bytes,
        }
    }

    /// The next block, stamped with its number; `None` at the end.
    pub fn next_block(&mut self) -> Option<&[u8]> {
        let len = self.left.min(MIB);
        self.left -= len;
        self.block[..8].copy_from_slice(&self.number.to_le_bytes());
        self.number += 1;
        (len > 0).then(|| &self.block[..len as usize])
    }

    /// The whole pattern; for short ones.
    pub fn whole(bytes: u64) -> Vec<u8> {
        let (mut pattern, mut all) = (Self::new(bytes), Vec::new());
        while let Some(block) = pattern.next_block() {
            all.extend_from_slice(block);
        }
        all
    }

    /// The SHA-256 of the pattern of that length, in hex.
    pub fn sha256(bytes: u64) -> String {
        let (mut pattern, mut sum) = (Self::new(bytes), Sum::new());
        while let Some(block) = pattern.next_block() {
            sum.add(block);
        }
        sum.hex()
    }
}

/// The content of every block after its stamp; made once, because it is slow in a debug build.
static BLOCK: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(MIB as usize / 8).flatten().collect()
});

/// The SHA-256 and the number of the bytes that were added.
pub struct Sum {
    context: Context,
    bytes: u64,
}

impl Default for Sum {
    fn default() -> Self {
        Self::new()
    }
}

impl Sum {
    /// A sum of no bytes.
    pub fn new() -> Self {
        Self {
            context: Context::new(&SHA256),
            bytes: 0,
        }
    }

    /// Adds bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// The number of bytes that were added.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The sum in hex.
    pub fn hex(self) -> String {
        self.context
            .finish()
            .as_ref()
            .iter()
            .fold(String::new(), |mut hex, byte| {
                let _ = write!(hex, "{byte:02x}");
                hex
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_has_the_requested_length_and_all_blocks_differ() {
        let all = Pattern::whole(2 * MIB + 5);
        assert_eq!(all.len() as u64, 2 * MIB + 5);
        assert_ne!(all[..MIB as usize], all[MIB as usize..2 * MIB as usize]);
        let mut sum = Sum::new();
        sum.add(&all);
        assert_eq!(sum.hex(), Pattern::sha256(2 * MIB + 5));
    }
}
