//! Windows: how much a peer may send on all streams of a QUIC connection together.
//!
//! In:    the open streams, and how much their windows have grown.
//! Out:   the window of the connection, when it becomes wider.
//! Never: narrows it: QUIC cannot take back what was announced (RFC 9000 section 4.1). A window
//!        that is narrowed and widened again would announce the difference a second time, so a peer
//!        could collect far more than the widest window.
//!
//! The window never stops the peer from sending what the windows of its streams allow, unless the
//! grant of the connection has its share of [`WIDENED_BYTES`](crate::node_budget::WIDENED_BYTES),
//! or the connection a quarter of what is left. From then on the window grows by what is available.
//! If that is nothing, the streams of the connection share its window, and wait for each other's
//! readers when it is full.

use std::sync::Arc;

use quinn::VarInt;

use crate::budget::Budget;
use crate::window::INITIAL_BYTES;

/// The room of a connection's window beyond the sum of its streams' windows: for the control
/// stream, and so that a peer never waits for the connection's window. It also grows in steps of
/// this size.
pub(super) const WINDOW_STEP_BYTES: u64 = 1024 * 1024;

/// The window grows by at least this, even where less than it needs is available.
const LEAST_STEP_BYTES: u64 = 256 * 1024;

/// A connection leaves three times as much as it has taken, so that some is left for others.
const LEAVES: u64 = 3;

/// The parts that the window of a connection adds up: the first window of each stream of the peer
/// that was answered with success, of some that were not, and of each stream that we have opened,
/// and their growth. Each part keeps its maximum.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Windows {
    pub(super) theirs: u64,
    pub(super) ours: u64,
    pub(super) grown_bytes: u64,
}

/// The window of a connection, and what it has taken for it from its grant's share.
#[derive(Debug)]
pub(super) struct Widened {
    wanted: Windows,
    /// The window that was announced; 0 before the first change.
    announced: u64,
    /// For bytes beyond the first window of a carrier.
    budget: Arc<Budget>,
}

impl Default for Widened {
    fn default() -> Self {
        Self {
            wanted: Windows::default(),
            announced: 0,
            budget: Budget::unassigned_leaving(LEAVES),
        }
    }
}

impl Widened {
    /// See [`Quic::assign`](super::Quic::assign).
    pub(super) fn assign(&self, share: &Arc<Budget>) {
        self.budget.assign(share);
    }

    /// Changes the parts of the window. Returns the new window if it could be widened: it may be
    /// narrower than wanted, and each later change tries again.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Windows)) -> Option<VarInt> {
        change(&mut self.wanted);
        let missing = self
            .wanted
            .all()
            .checked_sub(self.announced)
            .filter(|missing| *missing > 0)?;
        // The first window is free for each carrier.
        let more = if self.announced == 0 {
            missing
        } else {
            self.budget.take_some(missing, LEAST_STEP_BYTES)
        };
        self.announced += more;
        (more > 0).then(|| VarInt::try_from(self.announced).unwrap_or(VarInt::MAX))
    }
}

impl Drop for Widened {
    fn drop(&mut self) {
        self.budget.give(self.budget.used());
    }
}

impl Windows {
    fn all(&self) -> u64 {
        (self.theirs + self.ours) * u64::from(INITIAL_BYTES) + self.grown_bytes + WINDOW_STEP_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fair_budget::Limits;
    use crate::join::GrantId;
    use crate::node_budget::{Holder, NodeBudget, WIDENED_BYTES};

    /// A connection of grant number `grant`, which has announced its first window.
    fn connection(node: &NodeBudget, grant: u8) -> Widened {
        let mut widened = Widened::default();
        widened.assign(
            &node
                .share(Holder::Grant(GrantId::from_bytes([grant; 6])))
                .connections,
        );
        widened.change(|windows| windows.theirs = 1).unwrap();
        widened
    }

    fn fill(node: &NodeBudget, grant: u8) -> Widened {
        let mut widened = connection(node, grant);
        while widened.change(|windows| windows.theirs += 32).is_some() {}
        widened
    }

    #[test]
    fn one_connection_that_widens_its_window_leaves_room_for_those_of_others() {
        let node = NodeBudget::default();
        let held: Vec<Widened> = (0..8).map(|grant| fill(&node, grant)).collect();
        let taken = |widened: &Widened| widened.budget.used();
        assert!(taken(&held[0]) <= WIDENED_BYTES / 4, "{}", taken(&held[0]));
        assert!(
            held.iter().all(|widened| taken(widened) > 0),
            "each has taken some"
        );
        assert!(held.iter().map(taken).sum::<u64>() <= WIDENED_BYTES);
        drop(held);
        assert!(
            taken(&fill(&node, 0)) > WIDENED_BYTES / 8,
            "what a connection has taken is free when it has ended"
        );
    }

    #[test]
    fn one_grant_took_almost_all_of_the_room_for_wide_connections() {
        let node = NodeBudget::default();
        let held: Vec<Widened> = (0..64).map(|_| fill(&node, 1)).collect();
        let taken: u64 = held.iter().map(|widened| widened.budget.used()).sum();
        assert!(taken <= WIDENED_BYTES / 2, "{taken}");
        let other = fill(&node, 2).budget.used();
        assert!(other >= WIDENED_BYTES / 10, "{other}");
    }

    #[test]
    fn a_window_that_needs_more_room_than_is_left_got_none_of_it() {
        let node = NodeBudget::of(Limits::NONE, 8 << 20);
        let mut widened = connection(&node, 1);
        let first = widened.announced;
        // A connection has at most a quarter.
        assert_eq!(
            widened.change(|windows| windows.grown_bytes = 4 << 20),
            VarInt::try_from(first + (2 << 20)).ok()
        );
        assert_eq!(widened.change(|_| {}), None);
        drop(widened);
        // What is missing is still wanted once there is room for it.
        let (mut other, mut widened) = (connection(&node, 1), connection(&node, 1));
        other
            .change(|windows| windows.grown_bytes = 1 << 20)
            .unwrap();
        assert!(
            widened
                .change(|windows| windows.grown_bytes = 4 << 20)
                .is_some()
        );
        while widened.change(|_| {}).is_some() {}
        drop(other);
        assert!(widened.change(|_| {}).is_some());
    }
}
