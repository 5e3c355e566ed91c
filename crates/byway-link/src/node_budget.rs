//! Node budget: the bytes by which the windows of all links of a node may grow, and the share of
//! one grant.
//!
//! In:    the owner of a carrier: the grant that it was welcomed by, or the key of the server that
//!        was dialled.
//! Out:   a budget for the windows of its streams, and one for the windows of its QUIC connections.
//! Never: lets one grant use up what the others need, however many sessions it has: a grant has at
//!        most as much as is left after it, so half of everything if it is the only one.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::join::GrantId;
use crate::key::Fingerprint;
use crate::window::{Budget, NODE_BYTES};

/// The bytes by which the windows of all QUIC connections of a node together may grow: 1 GiB. They
/// use memory only if a peer sends data that is not read.
pub const WIDENED_BYTES: u64 = 1024 * 1024 * 1024;

/// The owner of carriers that have a share together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Holder {
    /// A grant of this node, whatever key its holder proves.
    Grant(GrantId),
    /// The other side of a link that this node has dialled.
    Server(Fingerprint),
}

/// The share of one holder.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    /// For windows of streams.
    pub(crate) streams: Arc<Budget>,
    /// For windows of QUIC connections.
    pub(crate) connections: Arc<Budget>,
}

/// See the module docs. Clones share it.
#[derive(Clone, Debug)]
pub struct NodeBudget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    streams: Arc<Budget>,
    connections: Arc<Budget>,
    shares: Mutex<Shares>,
}

#[derive(Debug, Default)]
struct Shares {
    /// Entries of holders without a carrier are removed once there are twice as many entries as
    /// holders with one.
    by_holder: HashMap<Holder, [Weak<Budget>; 2]>,
    prune_at: usize,
}

/// The number of entries up to which unused ones are not removed.
const FEW: usize = 16;

impl Default for NodeBudget {
    fn default() -> Self {
        Self::of(NODE_BYTES, WIDENED_BYTES)
    }
}

impl NodeBudget {
    /// A budget of `streams` bytes for the windows of streams, and of `connections` bytes for those
    /// of QUIC connections.
    pub fn of(streams: u64, connections: u64) -> Self {
        let (streams, connections) = (Budget::new(streams), Budget::new(connections));
        Self(Arc::new(Inner {
            streams,
            connections,
            shares: Mutex::default(),
        }))
    }

    /// The bytes that the windows of streams have taken.
    pub fn used(&self) -> u64 {
        self.0.streams.used()
    }

    /// The share of `holder`: the same one as long as it is in use.
    pub(crate) fn share(&self, holder: Holder) -> Share {
        let mut shares = self.0.shares.lock();
        let known = shares.by_holder.get(&holder);
        let [streams, connections] =
            [(0, &self.0.streams), (1, &self.0.connections)].map(|(nth, of)| {
                let in_use = known.and_then(|known| known.get(nth)?.upgrade());
                in_use.unwrap_or_else(|| Budget::share_of(of))
            });
        shares
            .by_holder
            .insert(holder, [&streams, &connections].map(Arc::downgrade));
        if shares.by_holder.len() >= shares.prune_at {
            shares
                .by_holder
                .retain(|_, known| known.iter().any(|known| known.strong_count() > 0));
            shares.prune_at = shares.by_holder.len() * 2 + FEW;
        }
        drop(shares);
        Share {
            streams,
            connections,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::{EARLY_RESERVE_BYTES, WIDE_BYTES, Window};

    const ROUND_TRIP: std::time::Duration = std::time::Duration::from_millis(50);

    const fn grant(number: u8) -> Holder {
        Holder::Grant(GrantId::from_bytes([number; 6]))
    }

    /// A carrier of `holder`.
    fn carrier(node: &NodeBudget, holder: Holder) -> Arc<Budget> {
        let budget = Budget::unassigned(u64::MAX);
        budget.assign(&node.share(holder).streams);
        budget
    }

    /// Takes all that is left, in steps of 1 byte.
    fn take_all(budget: &Budget) -> u64 {
        std::iter::repeat_with(|| budget.take(1))
            .take_while(|taken| *taken)
            .count() as u64
    }

    #[test]
    fn one_grant_cannot_take_the_whole_window_budget() {
        let node = NodeBudget::of(100, 0);
        let [first, again, second, third] =
            [1, 1, 2, 3].map(|number| carrier(&node, grant(number)));
        assert_eq!(take_all(&first), 50);
        assert_eq!(take_all(&again), 0, "another carrier of the same grant");
        assert_eq!((take_all(&second), take_all(&third)), (25, 12));
        first.give(50);
        assert_eq!((take_all(&third), take_all(&again)), (25, 19));
    }

    #[test]
    fn one_grant_cannot_keep_the_streams_of_all_others_at_the_first_window() {
        let node = NodeBudget::of(u64::from(WIDE_BYTES) * 16, 0);
        let widened = |holder| {
            let budget = carrier(&node, holder);
            let windows = (0..64).map(|_| Window::new(Arc::clone(&budget)));
            let wide = |mut window: Window| window.widen(ROUND_TRIP).map(|_| window);
            windows.filter_map(wide).collect::<Vec<_>>()
        };
        let held = [grant(1), grant(1), grant(2)].map(widened);
        assert_eq!(
            held.each_ref().map(Vec::len),
            [6, 0, 4],
            "a quarter is reserved for streams that are read, but for the reserve of a grant"
        );
    }

    #[test]
    fn a_grant_that_has_used_its_share_cannot_keep_the_streams_of_others_at_the_first_window() {
        let node = NodeBudget::of(u64::from(WIDE_BYTES) * 16, 0);
        let greedy = carrier(&node, grant(1));
        while greedy.take(u64::from(WIDE_BYTES)) {}
        assert_eq!(greedy.used(), u64::from(WIDE_BYTES) * 8);
        let mut window = Window::new(carrier(&node, grant(2)));
        assert!(window.widen(ROUND_TRIP).is_some());
    }

    #[test]
    fn two_grants_cannot_keep_the_streams_of_all_others_at_the_first_window() {
        let node = NodeBudget::of(u64::from(WIDE_BYTES) * 64, 0);
        let greedy = [1, 2].map(|number| carrier(&node, grant(number)));
        for budget in &greedy {
            while budget.take(u64::from(WIDE_BYTES)) {}
        }
        assert_eq!(node.used(), u64::from(WIDE_BYTES) * 48);
        let budget = carrier(&node, grant(3));
        let mut windows: Vec<_> = (0..64).map(|_| Window::new(Arc::clone(&budget))).collect();
        let widened = windows
            .iter_mut()
            .filter_map(|w| w.widen(ROUND_TRIP))
            .count();
        assert_eq!(widened as u64, EARLY_RESERVE_BYTES / u64::from(WIDE_BYTES));
        // Beyond its reserve it has no more than before, and the greedy ones get none.
        assert!(
            Window::new(Arc::clone(&greedy[0]))
                .widen(ROUND_TRIP)
                .is_none()
        );
    }

    #[test]
    fn a_share_is_forgotten_when_its_last_carrier_has_ended_and_kept_as_long_as_one_has_not() {
        let node = NodeBudget::default();
        let kept = carrier(&node, grant(0));
        assert!(kept.take(7));
        for number in 0..10_000_u16 {
            let [high, low] = number.to_be_bytes();
            drop(node.share(Holder::Grant(GrantId::from_bytes([1, 1, 1, 1, high, low]))));
        }
        assert!(node.0.shares.lock().by_holder.len() <= 2 * FEW + 2);
        assert_eq!(node.share(grant(0)).streams.used(), 7);
        drop(kept);
    }
}
