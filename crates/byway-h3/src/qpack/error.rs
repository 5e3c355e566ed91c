//! Errors of a header block, each of which ends the connection.

use byway_head::huffman::HuffmanError;
use byway_head::prefix_int::IntError;
use byway_head::string_literal::StringError;
use thiserror::Error;

/// Why a header block cannot be decoded. The connection must end, with QPACK_DECOMPRESSION_FAILED,
/// or with H3_EXCESSIVE_LOAD for [`TooLarge`](Self::TooLarge).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum QpackError {
    /// The block ends within a field or its prefix.
    #[error("a header block ends within a field")]
    Truncated,
    /// A number is over 2^62-1, or too long.
    #[error("a number in a header block is too large")]
    NumberTooLarge,
    /// The Huffman code of a string is invalid.
    #[error("a string in a header block: {0}")]
    Huffman(HuffmanError),
    /// A reference to the dynamic table, which has size 0.
    #[error("a header block refers to a dynamic table, which it may not use")]
    Dynamic,
    /// An index beyond the static table.
    #[error("a header block refers to entry {index} of 99")]
    IndexUnknown {
        /// The index.
        index: u64,
    },
    /// The decoded fields are larger than the limit for one block.
    #[error("more than {limit} bytes of fields in one header block")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
}

impl From<IntError> for QpackError {
    fn from(error: IntError) -> Self {
        match error {
            IntError::Incomplete => Self::Truncated,
            IntError::TooLarge => Self::NumberTooLarge,
        }
    }
}

impl From<StringError> for QpackError {
    fn from(error: StringError) -> Self {
        match error {
            StringError::Length(error) => error.into(),
            StringError::Incomplete => Self::Truncated,
            StringError::Huffman(error) => Self::Huffman(error),
        }
    }
}
