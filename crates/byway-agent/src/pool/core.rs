//! Core: what all shards share: the permits behind its lock, the demand that shards read, and what
//! is done after unlocking.
//!
//! In:    permits that come free.
//! Out:   waiters woken.
//! Never: holds the lock while foreign code runs, or together with a shard's.

use crate::pool::conn::{Conn, Key};
use crate::pool::event::OptObserver;
use crate::pool::limits::Limits;
use crate::pool::permits::{Mode, Permits, Ticket};
use crate::pool::stats::ConnPhase;
use crate::pool::sync::{AtomicUsize, Mutex, Padded};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

pub(crate) struct PoolCore<K: Key, C: Conn> {
    pub(crate) limits: Limits,
    pub(crate) watch: OptObserver<K>,
    /// [`Permits::demand`], for shards. Written under the permits' lock only, and seldom; read at
    /// each release.
    demand: Padded<AtomicUsize>,
    /// Origins evicted, ever. Read at each release, written seldom; see
    /// [`Ticket::is_evicted`](super::permits::Ticket::is_evicted).
    pub(crate) evictions: Padded<AtomicUsize>,
    permits: Padded<Mutex<Permits<K, C>>>,
    /// Whenever the last permit came back and nobody is admitted any more.
    pub(crate) emptied: Notify,
    /// Loans to waiters, ever.
    pub(crate) handed: AtomicU64,
    /// Connections lent from an idle list that turned out to be unfit, ever.
    pub(crate) unfit_loans: AtomicU64,
    /// Connections that a probe found dirty, ever.
    pub(crate) stale: AtomicU64,
}

impl<K: Key, C: Conn> PoolCore<K, C> {
    pub(crate) fn new(limits: Limits, shards: usize, watch: OptObserver<K>) -> Self {
        Self {
            demand: Padded(AtomicUsize::new(0)),
            evictions: Padded(AtomicUsize::new(0)),
            permits: Padded(Mutex::new(Permits::new(&limits, shards))),
            limits,
            watch,
            emptied: Notify::new(),
            handed: AtomicU64::new(0),
            unfit_loans: AtomicU64::new(0),
            stale: AtomicU64::new(0),
        }
    }

    /// One step of the permits. Demand is told to the shards before the step is over.
    pub(crate) fn permits<R>(&self, step: impl FnOnce(&mut Permits<K, C>) -> R) -> R {
        let mut permits = self.permits.lock();
        let before = permits.demand();
        let result = step(&mut permits);
        let after = permits.demand();
        if before != after {
            self.demand.store(after, Ordering::Relaxed);
        }
        let emptied = permits.mode != Mode::Open && permits.is_empty();
        drop(permits);
        if emptied {
            self.emptied.notify_waiters();
        }
        result
    }

    /// 0 while nobody waits. Exact under the lock of a shard that somebody who began to wait will
    /// look through.
    pub(crate) fn demand(&self) -> usize {
        // Relaxed: whoever raised it locks the shard later than that. If that was before us, our
        // lock shows it; if it comes after us, then what we leave in the shard is seen there.
        self.demand.load(Ordering::Relaxed)
    }

    /// Gives a permit back whose connection, if any, has been dropped.
    pub(crate) fn free(&self, ticket: &Ticket<K, C>, phase: ConnPhase) {
        let waker = self.permits(|permits| permits.free(ticket, phase));
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// How long a connection that is new now may live: less than the maximum by as much as chance
    /// will have it.
    pub(crate) fn lifetime(&self) -> Option<Duration> {
        let longest = self.limits.max_lifetime?.min(super::LONGEST);
        let jitter = self.limits.lifetime_jitter;
        if jitter == 0.0 {
            return Some(longest);
        }
        Some(longest.mul_f64(1.0 - jitter * fastrand::f64()))
    }
}
