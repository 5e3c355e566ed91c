//! Replay: the part of a request body that was sent, kept for a retry.
//!
//! In:    the bytes as they are sent.
//! Out:   all of them, up to a limit.
//! Never: holds memory before the first byte, or more than its limit; never returns a part as the
//!        whole.

use byway_relay::{Buffer, Size};

/// The part of a request body that was sent, kept for a retry: all of it, or nothing once it
/// exceeds the limit.
#[derive(Debug, Default)]
pub enum Replay {
    /// Nothing was sent, and nothing will be kept.
    #[default]
    Off,
    /// All that was sent is here.
    Keeping {
        /// Allocated with the first byte.
        buffer: Option<Buffer>,
        /// The maximum number of bytes it may hold.
        most_bytes: usize,
    },
    /// Some of what was sent was not kept.
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

    /// Records bytes that are sent.
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

    /// Records that bytes were sent that did not pass through here.
    pub fn lose(&mut self) {
        *self = Self::Gone;
    }

    /// Whether everything that was sent is kept.
    pub fn is_whole(&self) -> bool {
        !matches!(self, Self::Gone)
    }

    /// What was sent, if all of it is kept.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Keeping {
                buffer: Some(buffer),
                ..
            } => buffer.filled(),
            _ => &[],
        }
    }

    /// Releases the memory: there will be no retry.
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

/// The limit is no larger than the largest buffer, so a larger buffer always fits.
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
    fn nothing_is_held_before_the_first_byte_nor_after_it_is_released() {
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
    fn one_byte_above_the_limit_discards_everything() {
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
        fn what_is_returned_is_everything_or_nothing(
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
