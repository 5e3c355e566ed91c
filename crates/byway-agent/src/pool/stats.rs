//! Stats: one moment of the pool in numbers.
//!
//! In:    nothing.
//! Out:   gauges of one moment, and counters since the pool was made.
//! Never: text.

use std::time::Duration;

/// A snapshot of a [`Pool`](crate::Pool). Permits and waiters were all counted at one moment, so
/// `connecting + active + idle + upgraded` is at most `max_total` in every snapshot. Each shard was
/// asked how many of them are idle a moment before; where other threads are at work the split
/// between `active` and `idle` is that much older. Costs one pass over the origins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats<K> {
    /// Permits given out whose connection is not installed yet.
    pub connecting: usize,
    /// Connections on loan, or being closed.
    pub active: usize,
    /// Connections waiting to be lent.
    pub idle: usize,
    /// Connections that left the pool by [`Lease::detach`](crate::Lease::detach) and still count;
    /// always 0 without [`Limits::count_upgraded`](crate::Limits::count_upgraded).
    pub upgraded: usize,
    /// Acquires in the queue.
    pub pending: usize,
    /// Connections installed, ever.
    pub opened_total: u64,
    /// Leases of a connection that had been used before, ever.
    pub reused_total: u64,
    /// Connections closed, ever, for whatever reason, or no longer counted.
    pub closed_total: u64,
    /// Those of them that a probe found dirty before they were lent: the origin closed or spoke out
    /// of turn.
    pub stale_closed_total: u64,
    /// Acquires refused because the queue was full, or because their place in it went to another
    /// client, ever.
    pub queue_full_total: u64,
    /// Acquires that waited in vain, ever.
    pub queue_timeout_total: u64,
    /// Whether [`Pool::drain`](crate::Pool::drain), [`Pool::shutdown`](crate::Pool::shutdown) or
    /// [`Pool::close`](crate::Pool::close) was called: nobody is admitted any more.
    pub draining: bool,
    /// Every origin that has a connection, a permit or a waiter, in no particular order.
    pub origins: Vec<OriginStats<K>>,
    /// How long the oldest waiter has been waiting; `None` when nobody waits.
    pub oldest_wait: Option<Duration>,
}

/// The part of one origin in a [`Stats`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginStats<K> {
    /// The origin.
    pub key: K,
    /// See [`Stats::connecting`].
    pub connecting: usize,
    /// See [`Stats::active`].
    pub active: usize,
    /// See [`Stats::idle`].
    pub idle: usize,
    /// See [`Stats::upgraded`].
    pub upgraded: usize,
    /// Acquires in the queue for this origin.
    pub pending: usize,
    /// How long the first of them has been waiting.
    pub oldest_wait: Option<Duration>,
}

/// Where a permit stands, as far as all shards know. Whether an installed connection is idle is its
/// shard's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConnPhase {
    Connecting,
    Installed,
    Upgraded,
}

/// Permits by phase.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ConnCounts {
    pub(crate) connecting: usize,
    pub(crate) installed: usize,
    pub(crate) upgraded: usize,
}

impl ConnCounts {
    pub(crate) fn held(&self) -> usize {
        self.connecting + self.installed + self.upgraded
    }

    pub(crate) fn add(&mut self, phase: ConnPhase) {
        *self.of(phase) += 1;
    }

    pub(crate) fn sub(&mut self, phase: ConnPhase) {
        *self.of(phase) -= 1;
    }

    fn of(&mut self, phase: ConnPhase) -> &mut usize {
        match phase {
            ConnPhase::Connecting => &mut self.connecting,
            ConnPhase::Installed => &mut self.installed,
            ConnPhase::Upgraded => &mut self.upgraded,
        }
    }
}

/// Counters that only grow.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(crate) opened: u64,
    pub(crate) closed: u64,
    pub(crate) queue_full: u64,
    pub(crate) queue_timeout: u64,
}
