//! Pool: the public handle: acquiring, and operations on all shards.
//!
//! In:    keys and connections.
//! Out:   leases and permits to open.
//! Never: dials, spawns, holds two locks at once, or holds one while foreign code runs (except the
//!        predicate of [`Pool::evict`]).

mod acquire;
mod shutdown;

use crate::conn::{Conn, Key};
use crate::core::PoolCore;
use crate::event::{Observer, OptObserver, Reason};
use crate::idle::{IdleStore, Taken};
use crate::lease::{Lease, OpenPermit};
use crate::limits::{InvalidLimits, Limits};
use crate::permits::Mode;
use crate::session::{NoSession, Session};
use crate::shard::Shard;
use crate::stats::{OriginStats, Stats};
use crate::stream_lease::StreamLease;
use crate::sync::{Mutex, Padded};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Longer durations are reduced to this, so that adding one to an `Instant` cannot overflow.
pub(crate) const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// A bounded connection pool. Cheap to clone; clones share one pool.
///
/// # Shards
/// A pool made by [`Pool::sharded`] has several shards, one for each worker thread: each handle
/// belongs to one of them, and [`Pool::shard`] returns the handle of another. A handle reuses only
/// idle connections of its own shard, so a connection stays with the worker that opened it, and
/// workers that reuse connections never touch the same memory.
///
/// Permits belong to no shard. The caps hold for all shards together, exactly, and there is one
/// queue: at a cap, the idle connection that is closed to make room may be in any shard. A
/// connection that is released while acquires wait goes to a waiter of its own origin and shard,
/// even if another waiter is next, as long as that shard has had at most eight connections more
/// than the shard of the next waiter, and no other origin has been passed over more than eight
/// times. After that it is closed, and its permit serves the next waiter. So shards that all wait
/// at a cap get equal shares, at the cost of very few dials.
///
/// # Sessions
/// A pool made by [`Pool::with_sessions`] shares connections that carry many streams ([`Session`]).
/// [`Pool::acquire_shared`] leases a stream of one, and whether a dial yields a session or an
/// exclusive connection is decided after the permit. A session takes one permit however many
/// streams it has, from before its dial until its owner has closed it; without a stream it is idle,
/// with the same time limits, and is closed when its permit is needed. Its slots are exact: no more
/// streams are leased than its peer takes, and a slot is freed when the lease ends.
///
/// When a session can lease no more streams, because its peer has said so, it has died, is too old
/// or has had its number of requests, the streams in use continue. After the last one it is closed
/// and its permit goes to the next waiter. A session that is never idle is closed in this way as
/// well, if its streams have passed over waiters that need its permit more than eight times.
///
/// When the last handle is dropped the pool closes: idle connections are closed at once, leased
/// ones when they are released.
pub struct Pool<K: Key, C: Conn, S: Session = NoSession> {
    pub(crate) shard: Arc<Shard<K, C, S>>,
    handle: Arc<Handle<K, C, S>>,
}

/// The result of an acquire.
pub enum Acquired<K: Key, C: Conn, S: Session = NoSession> {
    /// An idle connection, probed clean.
    Lease(Lease<K, C, S>),
    /// A stream of a session; only from [`Pool::acquire_shared`] and the like.
    Stream(StreamLease<K, C, S>),
    /// No connection was idle: open one.
    Open(OpenPermit<K, C, S>),
}

impl<K: Key, C: Conn> Pool<K, C> {
    /// A pool of one shard with these limits, if they are valid.
    pub fn new(limits: Limits) -> Result<Self, InvalidLimits> {
        Self::sharded(limits, 1)
    }

    /// A pool of several shards, at least one; use one per worker thread. The handle is that of
    /// shard 0.
    pub fn sharded(limits: Limits, shards: usize) -> Result<Self, InvalidLimits> {
        Self::build(limits, shards, None)
    }

    /// As [`Pool::sharded`], with an observer.
    pub fn observed(
        limits: Limits,
        shards: usize,
        observer: Arc<dyn Observer<K>>,
    ) -> Result<Self, InvalidLimits> {
        Self::build(limits, shards, Some(observer))
    }
}

impl<K: Key, C: Conn, S: Session> Pool<K, C, S> {
    /// As [`Pool::sharded`] and [`Pool::observed`], for a pool whose connections may be sessions.
    pub fn with_sessions(
        limits: Limits,
        shards: usize,
        observer: Option<Arc<dyn Observer<K>>>,
    ) -> Result<Self, InvalidLimits> {
        Self::build(limits, shards, observer)
    }

    fn build(limits: Limits, shards: usize, watch: OptObserver<K>) -> Result<Self, InvalidLimits> {
        limits.validate()?;
        if shards == 0 {
            return Err(InvalidLimits::Zero { option: "shards" });
        }
        let idle_store: Vec<_> = (0..shards)
            .map(|_| IdleStore::new(&limits, shards))
            .collect();
        let core = Arc::new(PoolCore::new(limits, shards, watch));
        let shard = |(number, idle_store)| {
            let idle_store = Padded(Mutex::new(idle_store));
            Arc::new(Shard {
                idle_store,
                number,
                core: Arc::clone(&core),
            })
        };
        let shards: Box<[_]> = idle_store.into_iter().enumerate().map(shard).collect();
        let shard = Arc::clone(&shards[0]);
        Ok(Self {
            shard,
            handle: Arc::new(Handle { shards, core }),
        })
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.handle.shards.len()
    }

    /// The handle of one shard: `number` modulo the number of shards.
    pub fn shard(&self, number: usize) -> Self {
        let shard = Arc::clone(&self.handle.shards[number % self.shards()]);
        Self {
            shard,
            handle: Arc::clone(&self.handle),
        }
    }

    /// Closes the idle connections that match the predicate, in every shard, and returns their
    /// number. Leased connections are not checked; see [`Pool::evict_key`] for those.
    ///
    /// The predicate runs under a shard's lock: it must be quick, and must not call the pool.
    pub fn evict(&self, mut which: impl FnMut(&K, &C) -> bool) -> usize {
        self.close_each(|idle_store| idle_store.evict(&mut which))
    }

    /// Closes the idle connections and sessions of one origin and returns their number. Those that
    /// are leased or being dialled are closed when they are released, sessions after their last
    /// stream; no stream of them is leased any more. Use it for an origin whose address or
    /// identity changed.
    pub fn evict_key(&self, key: &K) -> usize {
        let core = self.core();
        let idle = core.after(|permits, after| permits.evict(key, &core.evictions, after));
        idle + self.close_each(|idle_store| idle_store.evict_key(key))
    }

    /// Leases no more streams of the sessions that match the predicate. Those without a stream are
    /// closed now, the others after their last stream; returns the number of the former.
    ///
    /// The predicate runs under a lock: it must be quick, and must not call the pool.
    pub fn evict_sessions(&self, which: impl FnMut(&K, &S) -> bool) -> usize {
        self.core()
            .after(|permits, after| permits.retire_sessions(Reason::Evicted, after, which))
    }

    /// Closes every idle connection and idle session and returns their number.
    pub fn close_idle(&self) -> usize {
        let sessions = self
            .core()
            .after(|permits, after| permits.retire_idle_sessions(Reason::Evicted, after));
        sessions + self.evict(|_, _| true)
    }

    /// Closes the idle connections whose idle timeout or lifetime has ended at `now`, and returns
    /// their number. The owner calls it at [`Pool::next_expiry`]; the clock is tokio's, for tests
    /// that pause it.
    pub fn expire(&self, now: Instant) -> usize {
        let sessions = self
            .core()
            .after(|permits, after| permits.expire_sessions(now, after));
        sessions + self.close_each(|idle_store| idle_store.expire(now))
    }

    /// When [`Pool::expire`] has something to do next; `None` while nothing is idle. A connection
    /// that becomes idle later may expire earlier, so check again at intervals of about the idle
    /// timeout.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.handle
            .shards
            .iter()
            .filter_map(|shard| shard.idle_store.lock().next_expiry())
            .chain(self.core().permits(|permits| permits.next_session_expiry()))
            .min()
    }

    /// A snapshot of the pool's metrics.
    pub fn stats(&self) -> Stats<K> {
        let core = self.core();
        let (mut idle, mut loans) = (HashMap::new(), 0);
        for shard in &self.handle.shards {
            let idle_store = shard.idle_store.lock();
            idle_store.count_idle(&mut idle);
            loans += idle_store.loans;
        }
        let now = now();
        let (mut origins, pending, totals, mode) = core.permits(|permits| {
            (
                permits.stats(now),
                permits.pending(),
                permits.totals,
                permits.mode,
            )
        });
        for origin in &mut origins {
            // Some may have been closed, or their origin removed, since they were counted.
            let idle = idle.remove(&origin.key).unwrap_or(0).min(origin.active);
            origin.idle += idle;
            origin.active -= idle;
        }
        let sum = |of: fn(&OriginStats<K>) -> usize| origins.iter().map(of).sum();
        let reused = loans + core.handed.load(Ordering::Relaxed) + totals.streams_reused;
        Stats {
            connecting: sum(|origin| origin.connecting),
            active: sum(|origin| origin.active),
            idle: sum(|origin| origin.idle),
            upgraded: sum(|origin| origin.upgraded),
            streams: sum(|origin| origin.streams),
            pending,
            opened_total: totals.opened,
            reused_total: reused.saturating_sub(core.unfit_loans.load(Ordering::Relaxed)),
            closed_total: totals.closed,
            stale_closed_total: core.stale.load(Ordering::Relaxed),
            queue_full_total: totals.queue_full,
            queue_timeout_total: totals.queue_timeout,
            draining: mode != Mode::Open,
            oldest_wait: origins.iter().filter_map(|origin| origin.oldest_wait).max(),
            origins,
        }
    }

    /// For each shard: takes connections out under its lock, and closes them after unlocking.
    fn close_each(&self, take: impl FnMut(&mut IdleStore<K, C, S>) -> Taken<K, C, S>) -> usize {
        self.handle.close_each(take)
    }

    fn core(&self) -> &PoolCore<K, C, S> {
        &self.handle.core
    }

    /// Checks every invariant from scratch, while the pool is at rest.
    #[cfg(test)]
    pub(crate) fn audit(&self) {
        let (mut slots, mut idle) = (HashMap::new(), HashMap::new());
        self.handle
            .shards
            .iter()
            .for_each(|shard| shard.idle_store.lock().audit(&mut slots, &mut idle));
        self.core().permits(|permits| {
            let installed = permits.audit();
            for (key, slots) in &slots {
                assert_eq!(
                    installed.get(key),
                    Some(slots),
                    "connections and permits do not match"
                );
            }
            assert_eq!(
                installed.values().sum::<usize>(),
                slots.values().sum::<usize>()
            );
            for (key, idle) in idle {
                let (own, others) = permits.waits(&key);
                assert!(
                    idle == 0 || !(own || others),
                    "a waiter and an idle connection at once"
                );
            }
        });
    }

    /// The number of entries in all maps and slabs, and the largest capacity of a slab.
    #[cfg(test)]
    pub(crate) fn remains(&self) -> (usize, usize) {
        let (origins, waiters, places) = self.core().permits(|permits| permits.places());
        let shards = self
            .handle
            .shards
            .iter()
            .map(|shard| shard.idle_store.lock().places());
        shards.fold(
            (origins + waiters, places),
            |(left, most), (idle_store, slots, places)| {
                (left + idle_store + slots, most.max(places))
            },
        )
    }
}

/// Closes the pool when the last clone is dropped; leases hold only their shard.
struct Handle<K: Key, C: Conn, S: Session> {
    shards: Box<[Arc<Shard<K, C, S>>]>,
    core: Arc<PoolCore<K, C, S>>,
}

impl<K: Key, C: Conn, S: Session> Handle<K, C, S> {
    fn close_each(&self, mut take: impl FnMut(&mut IdleStore<K, C, S>) -> Taken<K, C, S>) -> usize {
        let close = |shard: &Arc<Shard<K, C, S>>| {
            let taken = take(&mut shard.idle_store.lock());
            let closed = taken.len();
            drop(taken);
            closed
        };
        self.shards.iter().map(close).sum()
    }
}

impl<K: Key, C: Conn, S: Session> Drop for Handle<K, C, S> {
    fn drop(&mut self) {
        self.shut();
    }
}

impl<K: Key, C: Conn, S: Session> Clone for Pool<K, C, S> {
    fn clone(&self) -> Self {
        Self {
            shard: Arc::clone(&self.shard),
            handle: Arc::clone(&self.handle),
        }
    }
}

impl<K: Key, C: Conn, S: Session> fmt::Debug for Pool<K, C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("shard", &self.shard.number)
            .finish_non_exhaustive()
    }
}

impl<K: Key, C: Conn, S: Session> fmt::Debug for Acquired<K, C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lease(lease) => lease.fmt(f),
            Self::Stream(lease) => lease.fmt(f),
            Self::Open(permit) => permit.fmt(f),
        }
    }
}

/// The time by tokio's clock: the system's, or a paused one in tests.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
