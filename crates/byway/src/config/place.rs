//! Place: where a value was written, so that an error can point at it.
//!
//! In:    byte ranges of the config text, or the flag of a value.
//! Out:   a [`Place`] next to its value in [`At`].
//! Never: holds the text itself, or a secret: a flag's value arrives here already masked.

use std::ops::Range;
use std::sync::Arc;

/// Where a value was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// The file, or the command line, as a whole.
    #[default]
    Whole,
    /// Bytes `start..end` of the config text.
    Text {
        /// First byte.
        start: usize,
        /// One past the last byte.
        end: usize,
    },
    /// A flag of the command line.
    Flag {
        /// The flag with its dashes, such as `--from`.
        name: &'static str,
        /// Its value as shown: secrets in it are `***`.
        shown: Arc<str>,
    },
}

impl Place {
    /// The flag `name`, given as `name shown`.
    pub fn flag(name: &'static str, shown: &str) -> Self {
        Self::Flag {
            name,
            shown: shown.into(),
        }
    }

    /// Whether the value came from the command line.
    pub fn is_flag(&self) -> bool {
        matches!(self, Self::Flag { .. })
    }

    /// What to call `key` in a message about this place: the flag's own name, or the key.
    pub(super) fn key_or_flag<'n>(&self, key: &'n str) -> &'n str {
        match self {
            Self::Flag { name, .. } => name,
            Self::Whole | Self::Text { .. } => key,
        }
    }

    /// Orders errors by their position in the file.
    pub(super) fn order(&self) -> (usize, usize) {
        match self {
            Self::Text { start, end } => (*start, *end),
            Self::Whole | Self::Flag { .. } => (0, 0),
        }
    }
}

impl From<Range<usize>> for Place {
    fn from(span: Range<usize>) -> Self {
        Self::Text {
            start: span.start,
            end: span.end,
        }
    }
}

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Where it was written.
    pub place: Place,
}

impl<T> At<T> {
    /// `value`, written at `place`.
    pub fn new(value: T, place: impl Into<Place>) -> Self {
        Self {
            value,
            place: place.into(),
        }
    }
}

/// Text as written: an address, a size, a duration, a pattern; `resolve` reads it.
pub type Text = At<String>;
