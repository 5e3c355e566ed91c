//! Errors of a header block, each of which ends the connection.

use byway_head::huffman::HuffmanError;
use byway_head::prefix_int::IntError;
use byway_head::string_literal::StringError;
use thiserror::Error;

/// Why a header block cannot be decoded. The table is then unknown: the connection must end, with
/// COMPRESSION_ERROR (RFC 9113 section 4.3), or with ENHANCE_YOUR_CALM for
/// [`TooLarge`](Self::TooLarge).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HpackError {
    /// The block ends within a field.
    #[error("a header block ends within a field")]
    Truncated,
    /// A number is over 2^62-1, or too long.
    #[error("a number in a header block is too large")]
    NumberTooLarge,
    /// The Huffman code of a string is invalid.
    #[error("a string in a header block: {0}")]
    Huffman(HuffmanError),
    /// An index that is 0, or beyond the tables.
    #[error("a header block refers to entry {index} of {entries}")]
    IndexUnknown {
        /// The index.
        index: u64,
        /// Entries in both tables together.
        entries: usize,
    },
    /// A change of the table's size behind a field (RFC 7541 section 4.2).
    #[error("a change of the table's size after the start of a header block")]
    ResizeLate,
    /// The peer has chosen a larger table than was allowed.
    #[error("a table of {bytes} bytes, more than {limit}")]
    ResizeTooLarge {
        /// The size that was chosen.
        bytes: u64,
        /// The largest that was allowed.
        limit: usize,
    },
    /// The decoded fields are larger than the limit for one block.
    #[error("more than {limit} bytes of fields in one header block")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
}

impl From<IntError> for HpackError {
    fn from(error: IntError) -> Self {
        match error {
            IntError::Incomplete => Self::Truncated,
            IntError::TooLarge => Self::NumberTooLarge,
        }
    }
}

impl From<StringError> for HpackError {
    fn from(error: StringError) -> Self {
        match error {
            StringError::Length(error) => error.into(),
            StringError::Incomplete => Self::Truncated,
            StringError::Huffman(error) => Self::Huffman(error),
        }
    }
}
