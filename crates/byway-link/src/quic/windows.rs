//! Windows: how much a peer may send on all streams of a QUIC connection together.
//!
//! In:    the streams that are open, and what their own windows have grown by.
//! Out:   the window of the connection, when it becomes wider.
//! Never: makes it narrower: QUIC cannot take back what was announced (RFC 9000 section 4.1), and a window that is made narrower
//!        and wide again announces the difference a second time, so that a peer could collect far more than the widest
//!        one.
//!
//! The window never keeps the peer from what those of its streams allow, unless all connections of this process together
//! have [`WIDENED_BYTES`] more than they began with. From then on the streams of a connection share its window, and wait for
//! each other's readers when it is full.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use quinn::VarInt;

use super::WINDOW_STEP_BYTES;
use crate::window::INITIAL_BYTES;

/// What the windows of all connections of this process may be wider than at first, all together: 1 GiB. It is memory only
/// where a peer sends what is not read.
const WIDENED_BYTES: u64 = 1024 * 1024 * 1024;

/// How much of it is taken.
static WIDENED: AtomicU64 = AtomicU64::new(0);

/// What the windows of a connection add up to: the first one of each stream of the peer that was answered with success, of
/// some that were not, and of each that we have open, and what they have grown by. The most that there was at once counts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Windows {
    pub(super) theirs: u64,
    pub(super) ours: u64,
    pub(super) grown_bytes: u64,
}

/// The window of a connection, and what it has taken of [`WIDENED_BYTES`] for it.
#[derive(Debug, Default)]
pub(super) struct Widened {
    windows: Windows,
    /// Bytes beyond the window that the connection began with as a carrier.
    taken: u64,
}

impl Widened {
    /// Changes what the window is made of, if there is room for a wider one. The new window, if it is wider.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Windows)) -> Option<VarInt> {
        let before = self.windows;
        let mut windows = before;
        change(&mut windows);
        let more = windows.all().into_inner().checked_sub(before.all().into_inner()).filter(|more| *more > 0)?;
        // The first one is what each carrier has.
        let is_first = before.theirs == 0;
        if !is_first && !self.take(more) {
            return None;
        }
        self.windows = windows;
        Some(windows.all())
    }

    /// Takes room for a window that is `bytes` wider. A connection has at most a quarter of what is left and its own, so
    /// that there is always some for another one.
    fn take(&mut self, bytes: u64) -> bool {
        let more = |used: u64| {
            let used = used.checked_add(bytes)?;
            let left = WIDENED_BYTES.checked_sub(used)?;
            (self.taken + bytes <= left / 3).then_some(used)
        };
        let is_taken = WIDENED.fetch_update(Relaxed, Relaxed, more).is_ok();
        self.taken += if is_taken { bytes } else { 0 };
        is_taken
    }
}

impl Drop for Widened {
    fn drop(&mut self) {
        WIDENED.fetch_sub(self.taken, Relaxed);
    }
}

impl Windows {
    fn all(&self) -> VarInt {
        let first = (self.theirs + self.ours) * u64::from(INITIAL_BYTES);
        VarInt::try_from(first + self.grown_bytes + WINDOW_STEP_BYTES).unwrap_or(VarInt::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_connection_that_widens_its_window_leaves_room_for_those_of_others() {
        let fill = || {
            let mut widened = Widened::default();
            widened.change(|windows| windows.theirs = 1).unwrap();
            while widened.change(|windows| windows.theirs += 32).is_some() {}
            widened
        };
        let held: Vec<Widened> = (0..8).map(|_| fill()).collect();
        assert!(held[0].taken <= WIDENED_BYTES / 4, "{}", held[0].taken);
        assert!(held.iter().all(|widened| widened.taken > 0), "each has some");
        assert!(held.iter().map(|widened| widened.taken).sum::<u64>() <= WIDENED_BYTES);
        drop(held);
        assert!(fill().taken > WIDENED_BYTES / 8, "what a connection has taken is free when it has ended");
    }
}
