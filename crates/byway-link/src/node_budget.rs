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

use crate::budget::Budget;
use crate::fair_budget::{FairBudget, Limits};
use crate::join::GrantId;
use crate::key::Fingerprint;
use crate::window::NODE_BYTES;

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
    pub(crate) streams: Arc<FairBudget>,
    /// For windows of QUIC connections.
    pub(crate) connections: Arc<Budget>,
}

/// The bytes by which the windows of all links of a node may grow, divided between grants and
/// dialled servers so that none of them can take all. Clones share it.
#[derive(Clone, Debug)]
pub struct NodeBudget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    streams: Arc<FairBudget>,
    connections: Arc<Budget>,
    shares: Mutex<Shares>,
}

#[derive(Debug, Default)]
struct Shares {
    /// Entries of holders without a carrier are removed once there are twice as many entries as
    /// holders with one.
    by_holder: HashMap<Holder, (Weak<FairBudget>, Weak<Budget>)>,
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
    /// A budget of `streams` for the windows of streams, and of `connections` bytes for those of
    /// QUIC connections.
    pub fn of(streams: Limits, connections: u64) -> Self {
        let (streams, connections) = (FairBudget::node(streams), Budget::new(connections));
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
        let streams = known.and_then(|(streams, _)| streams.upgrade());
        let streams = streams.unwrap_or_else(|| FairBudget::grant(&self.0.streams));
        let connections = known.and_then(|(_, connections)| connections.upgrade());
        let connections = connections.unwrap_or_else(|| Budget::share_of(&self.0.connections));
        let in_use = (Arc::downgrade(&streams), Arc::downgrade(&connections));
        shares.by_holder.insert(holder, in_use);
        if shares.by_holder.len() >= shares.prune_at {
            let in_use = |(streams, connections): &(Weak<FairBudget>, Weak<Budget>)| {
                streams.strong_count() + connections.strong_count() > 0
            };
            shares.by_holder.retain(|_, known| in_use(known));
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

    const fn grant(number: u8) -> Holder {
        Holder::Grant(GrantId::from_bytes([number; 6]))
    }

    #[test]
    fn a_share_is_forgotten_when_its_last_carrier_has_ended_and_kept_as_long_as_one_has_not() {
        let node = NodeBudget::default();
        let kept = node.share(grant(0));
        assert!(kept.connections.take(7));
        for number in 0..10_000_u16 {
            let [high, low] = number.to_be_bytes();
            drop(node.share(Holder::Grant(GrantId::from_bytes([1, 1, 1, 1, high, low]))));
        }
        assert!(node.0.shares.lock().by_holder.len() <= 2 * FEW + 2);
        let again = node.share(grant(0));
        assert_eq!(again.connections.used(), 7);
        assert!(Arc::ptr_eq(&again.streams, &kept.streams));
        drop(kept);
    }
}
