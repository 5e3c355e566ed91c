//! Pool: the public handle: acquiring, and operations on all shards.
//!
//! In:    keys and connections.
//! Out:   leases and permits to open.
//! Never: dials, spawns, holds two locks at once, or holds one while foreign code runs (except the
//!        predicate of [`Pool::evict`]).

mod shutdown;

use crate::client::Client;
use crate::conn::{Conn, Key};
use crate::core::PoolCore;
use crate::error::AcquireError;
use crate::event::{Event, Observer, OptObserver, Reason, notify};
use crate::idle::{IdleStore, Taken};
use crate::lease::{Lease, OpenPermit, Permit, PooledConn};
use crate::limits::{InvalidLimits, Limits};
use crate::permits::{self, AcquireRequest, Admit, Grant, Reach, Want};
use crate::shard::Shard;
use crate::stats::{OriginStats, Stats};
use crate::sync::{Mutex, Padded};
use crate::wait::Wait;
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
/// When the last handle is dropped the pool closes: idle connections are closed at once, leased
/// ones when they are released.
pub struct Pool<K: Key, C: Conn> {
    pub(crate) shard: Arc<Shard<K, C>>,
    handle: Arc<Handle<K, C>>,
}

/// The result of an acquire.
pub enum Acquired<K: Key, C: Conn> {
    /// An idle connection, probed clean.
    Lease(Lease<K, C>),
    /// No connection was idle: open one.
    Open(OpenPermit<K, C>),
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

    /// An idle connection of this origin in this shard, or else the permission to open one; waits
    /// in the queue if neither is available.
    ///
    /// At the total limit, the least recently used idle connection of any origin and shard is
    /// closed to make room; at the origin's limit, an idle one of the same origin in another shard.
    /// Fails if the queue is full, the wait takes longer than [`Limits::queue_wait`], or the pool
    /// is closed.
    ///
    /// Cancel safe: a dropped acquire leaves the queue at once, and what it was just granted goes
    /// to the next waiter or becomes idle again. Needs a tokio runtime with time if it has to wait.
    pub async fn acquire(&self, key: &K) -> Result<Acquired<K, C>, AcquireError> {
        self.acquire_for(key, Client::ANYONE).await
    }

    /// As [`Pool::acquire`], for one of several clients that share the pool.
    ///
    /// A single client may hold all permits of an origin, and all places in the queue. When the
    /// queue is full, a newcomer takes the place of the newest waiter of the client with the most
    /// waiters, if its own client would still have fewer; the displaced waiter gets
    /// [`AcquireError::ClientShare`]. The same rule holds between origins, where it never displaces
    /// a client with fewer waiters. When several clients wait for an origin, a free permit goes to
    /// the one that holds least. If a client below its share (the limit divided by the clients that
    /// hold or wait) has waited for a quarter of [`Limits::queue_wait`], at most 1 s, an exchange
    /// of a client above its share that is waiting for its own client is recalled: see
    /// [`Lease::poll_recalled`].
    pub async fn acquire_for(
        &self,
        key: &K,
        client: Client,
    ) -> Result<Acquired<K, C>, AcquireError> {
        let now = now();
        match self.shard.check_out(key, client, now) {
            Some(acquired) => Ok(acquired),
            None => self.admit(key, Want::Any, client, now).await,
        }
    }

    /// As [`Pool::acquire`], but never an idle connection: for the one retry after a reused
    /// connection proved stale. At the origin's cap its oldest idle connection is closed to make
    /// room.
    ///
    /// Errors and cancel safety as for [`Pool::acquire`]; `Acquired::Lease` is never returned.
    pub async fn acquire_fresh(&self, key: &K) -> Result<Acquired<K, C>, AcquireError> {
        self.acquire_fresh_for(key, Client::ANYONE).await
    }

    /// As [`Pool::acquire_fresh`], for one of several clients: see [`Pool::acquire_for`].
    pub async fn acquire_fresh_for(
        &self,
        key: &K,
        client: Client,
    ) -> Result<Acquired<K, C>, AcquireError> {
        self.admit(key, Want::Fresh, client, now()).await
    }

    /// Closes the idle connections that match the predicate, in every shard, and returns their
    /// number. Leased connections are not checked; see [`Pool::evict_key`] for those.
    ///
    /// The predicate runs under a shard's lock: it must be quick, and must not call the pool.
    pub fn evict(&self, mut which: impl FnMut(&K, &C) -> bool) -> usize {
        self.close_each(|idle_store| idle_store.evict(&mut which))
    }

    /// Closes the idle connections of one origin and returns their number. Those that are leased or
    /// being dialled are closed when they are released. Use it for an origin whose address or
    /// identity changed.
    pub fn evict_key(&self, key: &K) -> usize {
        let core = self.core();
        core.permits(|permits| permits.evict(key, &core.evictions));
        self.close_each(|idle_store| idle_store.evict_key(key))
    }

    /// Closes every idle connection and returns their number.
    pub fn close_idle(&self) -> usize {
        self.evict(|_, _| true)
    }

    /// Closes the idle connections whose idle timeout or lifetime has ended at `now`, and returns
    /// their number. The owner calls it at [`Pool::next_expiry`]; the clock is tokio's, for tests
    /// that pause it.
    pub fn expire(&self, now: Instant) -> usize {
        self.close_each(|idle_store| idle_store.expire(now))
    }

    /// When [`Pool::expire`] has something to do next; `None` while nothing is idle. A connection
    /// that becomes idle later may expire earlier, so check again at intervals of about the idle
    /// timeout.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.handle
            .shards
            .iter()
            .filter_map(|shard| shard.idle_store.lock().next_expiry())
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
            origin.idle = idle.remove(&origin.key).unwrap_or(0).min(origin.active);
            origin.active -= origin.idle;
        }
        let sum = |of: fn(&OriginStats<K>) -> usize| origins.iter().map(of).sum();
        let reused = loans + core.handed.load(Ordering::Relaxed);
        Stats {
            connecting: sum(|origin| origin.connecting),
            active: sum(|origin| origin.active),
            idle: sum(|origin| origin.idle),
            upgraded: sum(|origin| origin.upgraded),
            pending,
            opened_total: totals.opened,
            reused_total: reused.saturating_sub(core.unfit_loans.load(Ordering::Relaxed)),
            closed_total: totals.closed,
            stale_closed_total: core.stale.load(Ordering::Relaxed),
            queue_full_total: totals.queue_full,
            queue_timeout_total: totals.queue_timeout,
            draining: mode != permits::Mode::Open,
            oldest_wait: origins.iter().filter_map(|origin| origin.oldest_wait).max(),
            origins,
        }
    }

    async fn admit(
        &self,
        key: &K,
        want: Want,
        client: Client,
        now: Instant,
    ) -> Result<Acquired<K, C>, AcquireError> {
        let wait = match self.enter(key, want, client, now)? {
            Entered::Served(acquired) => return Ok(acquired),
            Entered::Waits(wait) => wait,
        };
        let grant = match wait.await {
            Ok(grant) => grant,
            Err(error) => {
                match error {
                    AcquireError::QueueTimeout { waited } => {
                        notify(&self.core().watch, || Event::QueueTimeout { key, waited });
                    }
                    AcquireError::ClientShare { .. } | AcquireError::QueueFull { .. } => {
                        notify(&self.core().watch, || Event::QueueRejected { key });
                    }
                    AcquireError::Closed => {}
                }
                return Err(error);
            }
        };
        let now = self::now();
        Ok(match grant {
            Grant::Reuse(pooled) => self.shard.receive(pooled, client, now),
            Grant::Open(ticket) => self.permit(key, ticket, now),
        })
    }

    /// Takes a permit or a place in the queue; may close an idle connection to make room.
    fn enter(
        &self,
        key: &K,
        want: Want,
        client: Client,
        now: Instant,
    ) -> Result<Entered<K, C>, AcquireError> {
        let core = self.core();
        let request = AcquireRequest {
            shard: self.shard.number,
            want,
            client,
            since: now,
        };
        // Displaces another waiter only after no idle connection could be closed.
        let mut is_second_try = false;
        loop {
            let reach = match core.permits(|permits| permits.admit(key, &request, is_second_try)) {
                Admit::Open(ticket) => return Ok(Entered::Served(self.permit(key, ticket, now))),
                Admit::Queued {
                    waiter,
                    reach,
                    displaced,
                } => {
                    let wait = Wait::new(Arc::clone(&self.shard), waiter, client, now);
                    if let Some(waker) = displaced {
                        waker.wake();
                    }
                    if !self.make_room(key, reach) {
                        notify(&core.watch, || Event::Queued { key });
                    }
                    return Ok(Entered::Waits(wait));
                }
                Admit::Full(reach) => reach,
                Admit::Closed => return Err(AcquireError::Closed),
            };
            if self.make_room(key, reach) {
                continue;
            }
            if is_second_try {
                core.permits(|permits| permits.totals.queue_full += 1);
                notify(&core.watch, || Event::QueueRejected { key });
                return Err(AcquireError::QueueFull {
                    limit: core.limits.queue_len,
                });
            }
            is_second_try = true;
        }
    }

    fn permit(&self, key: &K, ticket: permits::Ticket<K, C>, now: Instant) -> Acquired<K, C> {
        let permit = Permit::new(Arc::clone(&self.shard), key.clone(), ticket, now);
        Acquired::Open(OpenPermit::new(permit))
    }

    /// Closes an idle connection, whose permit then serves the next waiter. Returns whether one was
    /// closed.
    fn make_room(&self, key: &K, reach: Reach) -> bool {
        let victim = match reach {
            Reach::Own => self.take_oldest(Some(key)),
            Reach::OwnFirst => self
                .take_oldest(Some(key))
                .or_else(|| self.take_oldest(None)),
            Reach::All => self.take_oldest(None),
        };
        victim
            .map(|victim| drop(victim.closed_for(Reason::Reclaimed)))
            .is_some()
    }

    /// The least recently used idle connection, of one origin or of all, in any shard.
    fn take_oldest(&self, of: Option<&K>) -> Option<Box<PooledConn<K, C>>> {
        loop {
            let ages = self
                .handle
                .shards
                .iter()
                .filter_map(|shard| Some((shard.idle_store.lock().oldest(of)?, shard)));
            let (_, shard) = ages.min_by_key(|(idle_since, _)| *idle_since)?;
            let taken = shard.idle_store.lock().take_oldest(of);
            if taken.is_some() {
                return taken; // else another thread took it: try the next one
            }
        }
    }

    /// For each shard: takes connections out under its lock, and closes them after unlocking.
    fn close_each(&self, take: impl FnMut(&mut IdleStore<K, C>) -> Taken<K, C>) -> usize {
        self.handle.close_each(take)
    }

    fn core(&self) -> &PoolCore<K, C> {
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

enum Entered<K: Key, C: Conn> {
    Served(Acquired<K, C>),
    Waits(Wait<K, C>),
}

/// Closes the pool when the last clone is dropped; leases hold only their shard.
struct Handle<K: Key, C: Conn> {
    shards: Box<[Arc<Shard<K, C>>]>,
    core: Arc<PoolCore<K, C>>,
}

impl<K: Key, C: Conn> Handle<K, C> {
    fn close_each(&self, mut take: impl FnMut(&mut IdleStore<K, C>) -> Taken<K, C>) -> usize {
        let close = |shard: &Arc<Shard<K, C>>| {
            let taken = take(&mut shard.idle_store.lock());
            let closed = taken.len();
            drop(taken);
            closed
        };
        self.shards.iter().map(close).sum()
    }
}

impl<K: Key, C: Conn> Drop for Handle<K, C> {
    fn drop(&mut self) {
        self.shut();
    }
}

impl<K: Key, C: Conn> Clone for Pool<K, C> {
    fn clone(&self) -> Self {
        Self {
            shard: Arc::clone(&self.shard),
            handle: Arc::clone(&self.handle),
        }
    }
}

impl<K: Key, C: Conn> fmt::Debug for Pool<K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("shard", &self.shard.number)
            .finish_non_exhaustive()
    }
}

impl<K: Key, C: Conn> fmt::Debug for Acquired<K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lease(lease) => lease.fmt(f),
            Self::Open(permit) => permit.fmt(f),
        }
    }
}

/// The time by tokio's clock: the system's, or a paused one in tests.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
