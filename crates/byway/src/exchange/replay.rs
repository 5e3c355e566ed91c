//! Replay: the part of a request's body that has gone by, kept in case that it has to go again.
//!
//! In:    the bytes as they leave.
//! Out:   all of them, for as long as they are few.
//! Never: holds memory before the first byte, or more than its cap; and never gives back a part as
//!        the whole.

use crate::relay::{Buffer, Size};

/// See the head of the file.
#[derive(Debug, Default)]
pub enum Replay {
    /// Nothing has gone by, and nothing will be kept.
    #[default]
    Off,
    /// All that has gone by is here.
    Keeping {
        /// Taken with the first byte.
        buffer: Option<Buffer>,
        /// The most bytes it may hold.
        most_bytes: usize,
    },
    /// Something has gone by and is lost.
    Gone,
}

impl Replay {
    /// Keeps up to `most_bytes`; zero keeps nothing.
    pub fn keeping(most_bytes: usize) -> Self {
        match most_bytes {
            0 => Self::Off,
            most_bytes => Self::Keeping {
                buffer: None,
                most_bytes,
            },
        }
    }

    /// These bytes go by.
    pub fn note(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if let Self::Keeping { buffer, most_bytes } = self {
            let held = buffer.as_ref().map_or(0, Buffer::len);
            if held + bytes.len() <= *most_bytes {
                return append(buffer, bytes);
            }
        }
        *self = Self::Gone;
    }

    /// Bytes go by that nobody sees.
    pub fn lose(&mut self) {
        *self = Self::Gone;
    }

    /// Whether nothing of what has gone by is lost.
    pub fn is_whole(&self) -> bool {
        !matches!(self, Self::Gone)
    }

    /// What has gone by, if it is whole.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Keeping {
                buffer: Some(buffer),
                ..
            } => buffer.filled(),
            _ => &[],
        }
    }

    /// Nothing will be asked for again: gives the memory back.
    pub fn forget(&mut self) {
        if let Self::Keeping { buffer, .. } = self {
            *self = if buffer.is_some() {
                Self::Gone
            } else {
                Self::Off
            };
        }
    }
}

/// The cap is no larger than the largest buffer, so that a roomier one has room.
fn append(buffer: &mut Option<Buffer>, bytes: &[u8]) {
    let held = buffer.as_ref().map_or(&[][..], Buffer::filled);
    if buffer
        .as_ref()
        .is_none_or(|buffer| buffer.room() < bytes.len())
    {
        let mut roomier = Buffer::take(Size::holding(held.len() + bytes.len()));
        push(&mut roomier, held);
        *buffer = Some(roomier);
    }
    if let Some(buffer) = buffer {
        push(buffer, bytes);
    }
}

fn push(buffer: &mut Buffer, bytes: &[u8]) {
    if let Some(space) = buffer.space().get_mut(..bytes.len()) {
        space.copy_from_slice(bytes);
        buffer.advance(bytes.len());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_is_held_before_the_first_byte_nor_once_it_is_forgotten() {
        let mut replay = Replay::keeping(10);
        assert!(matches!(replay, Replay::Keeping { buffer: None, .. }));
        replay.note(b"");
        assert!(matches!(replay, Replay::Keeping { buffer: None, .. }));
        replay.note(b"0123456789");
        assert_eq!(replay.bytes(), b"0123456789");
        replay.forget();
        assert!(matches!(replay, Replay::Gone) && replay.bytes().is_empty());
    }

    #[test]
    fn one_byte_too_many_and_the_whole_is_gone() {
        let mut replay = Replay::keeping(10);
        replay.note(b"0123456789");
        replay.note(b"x");
        assert!(!replay.is_whole() && replay.bytes().is_empty());
        let mut off = Replay::keeping(0);
        assert!(off.is_whole());
        off.note(b"x");
        assert!(!off.is_whole());
    }

    proptest! {
        #[test]
        fn what_is_given_back_is_the_whole_or_nothing(
            most_bytes in 0usize..=256 * 1024,
            lengths in prop::collection::vec(0usize..40_000, 0..20),
        ) {
            let (mut replay, mut all) = (Replay::keeping(most_bytes), Vec::new());
            for (nth, length) in lengths.into_iter().enumerate() {
                let bytes = vec![nth as u8; length];
                replay.note(&bytes);
                all.extend(bytes);
                let whole = all.len() <= most_bytes;
                prop_assert_eq!(replay.is_whole(), whole);
                let expected = if whole { &all[..] } else { &[] };
                prop_assert!(replay.bytes() == expected);
            }
        }
    }
}
