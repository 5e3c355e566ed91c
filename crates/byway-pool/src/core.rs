//! Core: what all shards share: the permits with their lock, the demand that shards read, and what
//! is done after unlocking.
//!
//! Never: holds the lock while foreign code runs, or together with a shard's.

use crate::conn::{Conn, Key};
use crate::event::OptObserver;
use crate::limits::Limits;
use crate::permits::{After, Mode, Permits, Ticket};
use crate::session::Session;
use crate::stats::ConnPhase;
use crate::sync::{AtomicUsize, Mutex, Padded};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;
use tokio::sync::Notify;

pub(crate) struct PoolCore<K: Key, C: Conn, S: Session> {
    pub(crate) limits: Limits,
    pub(crate) watch: OptObserver<K>,
    /// [`Permits::demand`], for shards. Written only under the permits' lock, rarely; read at each
    /// release.
    demand: Padded<AtomicUsize>,
    /// Total number of evictions of origins. Read at each release, written rarely; see
    /// [`Ticket::is_evicted`](crate::permits::Ticket::is_evicted).
    pub(crate) evictions: Padded<AtomicUsize>,
    permits: Padded<Mutex<Permits<K, C, S>>>,
    /// Notified when the last permit was returned and the pool is no longer open.
    pub(crate) emptied: Notify,
    /// Total number of hand-overs to waiters.
    pub(crate) handed: AtomicU64,
    /// Total number of connections checked out of an idle list that were unfit.
    pub(crate) unfit_loans: AtomicU64,
    /// Total number of connections that a probe found dirty.
    pub(crate) stale: AtomicU64,
}

impl<K: Key, C: Conn, S: Session> PoolCore<K, C, S> {
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

    /// Runs one step of the permits. The demand is updated before the step ends.
    pub(crate) fn permits<R>(&self, step: impl FnOnce(&mut Permits<K, C, S>) -> R) -> R {
        let mut permits = self.permits.lock();
        let before = permits.demand();
        let result = step(&mut permits);
        let after = permits.demand();
        if before != after {
            self.demand.store(after, Ordering::Relaxed);
        }
        let emptied = permits.mode != Mode::Open && permits.is_empty();
        let passed_on = std::mem::take(&mut permits.passed_on);
        drop(permits);
        passed_on.into_iter().for_each(Waker::wake);
        if emptied {
            self.emptied.notify_waiters();
        }
        result
    }

    /// As [`PoolCore::permits`], and does afterwards what the step leaves to do.
    pub(crate) fn after<R>(
        &self,
        step: impl FnOnce(&mut Permits<K, C, S>, &mut After<K, C, S>) -> R,
    ) -> R {
        let mut after = After::default();
        let result = self.permits(|permits| step(permits, &mut after));
        after.run();
        result
    }

    /// 0 while no acquire waits. Exact under the lock of a shard that a new waiter will search.
    pub(crate) fn demand(&self) -> usize {
        // Relaxed is enough: a waiter locks the shard after it raised the demand. If it did so
        // before us, our lock makes the demand visible; if after us, it finds the connection that
        // we kept.
        self.demand.load(Ordering::Relaxed)
    }

    /// Returns a permit after its connection, if any, was dropped.
    pub(crate) fn free(&self, ticket: &Ticket<K, C, S>, phase: ConnPhase, shard: usize) {
        self.after(|permits, after| permits.free(ticket, phase, shard, after));
    }

    /// The lifetime of a new connection: the maximum, reduced by the random jitter.
    pub(crate) fn lifetime(&self) -> Option<Duration> {
        let longest = self.limits.max_lifetime?.min(crate::pool::LONGEST);
        let jitter = self.limits.lifetime_jitter;
        if jitter == 0.0 {
            return Some(longest);
        }
        Some(longest.mul_f64(1.0 - jitter * fastrand::f64()))
    }
}
