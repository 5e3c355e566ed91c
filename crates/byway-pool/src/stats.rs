//! Stats: a snapshot of the pool's metrics.

use std::time::Duration;

/// A snapshot of a [`Pool`](crate::Pool). All permits and waiters are counted at one moment, so
/// `connecting + active + idle + upgraded` is at most `max_total` in every snapshot. The idle
/// connections of each shard are counted a moment earlier; with concurrent threads the split
/// between `active` and `idle` is that much older. Costs one pass over the origins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats<K> {
    /// Permits whose connection is not installed yet.
    pub connecting: usize,
    /// Connections leased, or being closed.
    pub active: usize,
    /// Connections waiting for reuse.
    pub idle: usize,
    /// Connections that left the pool by [`Lease::detach`](crate::Lease::detach) and still count;
    /// always 0 without [`Limits::count_upgraded`](crate::Limits::count_upgraded).
    pub upgraded: usize,
    /// Streams of sessions that are leased; 0 in a pool without sessions. A session counts as one
    /// connection, active while it has a stream.
    pub streams: usize,
    /// Acquires in the queue.
    pub pending: usize,
    /// Total connections installed.
    pub opened_total: u64,
    /// Total leases of a connection, or of a stream of a session, that had been used before.
    pub reused_total: u64,
    /// Total connections closed, for whatever reason, or no longer counted.
    pub closed_total: u64,
    /// Those that a probe found dirty before reuse: closed by the origin, or with unexpected bytes.
    pub stale_closed_total: u64,
    /// Total acquires rejected because the queue was full, or displaced by another client.
    pub queue_full_total: u64,
    /// Total acquires that reached the time limit of the queue.
    pub queue_timeout_total: u64,
    /// Whether [`Pool::drain`](crate::Pool::drain), [`Pool::shutdown`](crate::Pool::shutdown) or
    /// [`Pool::close`](crate::Pool::close) was called: new acquires fail.
    pub draining: bool,
    /// Every origin that has a connection, a permit or a waiter, in no particular order.
    pub origins: Vec<OriginStats<K>>,
    /// How long the oldest waiter has been waiting; `None` without waiters.
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
    /// See [`Stats::streams`].
    pub streams: usize,
    /// Acquires in the queue for this origin.
    pub pending: usize,
    /// How long the oldest of them has been waiting.
    pub oldest_wait: Option<Duration>,
}

/// The phase of a permit that all shards know. Only its shard knows whether an installed connection
/// is idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConnPhase {
    Connecting,
    /// Connecting, and the result may be a session for all waiters that accept a stream.
    SharedDial,
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

impl ConnPhase {
    pub(crate) fn is_connecting(self) -> bool {
        matches!(self, Self::Connecting | Self::SharedDial)
    }
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
            ConnPhase::Connecting | ConnPhase::SharedDial => &mut self.connecting,
            ConnPhase::Installed => &mut self.installed,
            ConnPhase::Upgraded => &mut self.upgraded,
        }
    }
}

/// Counters that only grow.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(crate) opened: u64,
    pub(crate) streams_reused: u64,
    pub(crate) closed: u64,
    pub(crate) queue_full: u64,
    pub(crate) queue_timeout: u64,
}
