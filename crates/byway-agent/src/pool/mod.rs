//! Pool: the handle that people hold, and what is done outside of the lock: probing, closing, waking.
//!
//! In:    keys and connections.   Out:   leases and permits to open.   Never: dials, spawns, or holds the lock while
//! foreign code runs (but the predicate of [`Pool::evict`]).

mod conn;
mod error;
mod expiry;
mod lease;
mod limits;
mod list;
mod slab;
mod slots;
mod stats;
#[cfg(test)]
mod tests;
mod wait;

pub use conn::{Conn, Key, Probe};
pub use error::AcquireError;
pub use lease::{Detached, Lease, OpenPermit, Release};
pub use limits::{InvalidLimits, Limits, Scheduling};
pub use stats::{OriginStats, Stats};

use self::slab::Id;
use self::slots::{Admit, Grant, Held, Loan, Settled, Slot, Slots, Want};
use self::wait::Wait;
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

/// A bounded pool of connections. Cheap to clone; clones are the same pool.
///
/// When the last handle is dropped the pool closes: idle connections are closed at once, those on loan when they come
/// back.
pub struct Pool<K: Key, C: Conn> {
    handle: Arc<Handle<K, C>>,
}

/// What an acquire gives.
pub enum Acquired<K: Key, C: Conn> {
    /// A kept connection, probed clean.
    Lease(Lease<K, C>),
    /// None was to be had: open one.
    Open(OpenPermit<K, C>),
}

impl<K: Key, C: Conn> Pool<K, C> {
    /// A pool with these limits, if they are sound.
    pub fn new(limits: Limits) -> Result<Self, InvalidLimits> {
        limits.validate()?;
        let queue_wait = limits.queue_wait;
        let slots = Mutex::new(Slots::new(limits));
        let shared = Arc::new(Shared { slots, queue_wait, reused: AtomicU64::new(0) });
        Ok(Self { handle: Arc::new(Handle { shared }) })
    }

    /// A kept connection of this origin, or else the permission to open one; waits in the queue if neither is free.
    ///
    /// At the total limit, the least recently used idle connection of any origin is closed to make room. Fails if the
    /// queue is full, the wait takes longer than [`Limits::queue_wait`], or the pool is closed.
    ///
    /// Cancel safe: a dropped acquire leaves the queue at once, and what had just been handed to it goes to the next
    /// waiter or back to the idle ones. Needs a tokio runtime with time if it has to wait.
    pub async fn acquire(&self, key: &K) -> Result<Acquired<K, C>, AcquireError> {
        self.admit(key, Want::Any).await
    }

    /// As [`Pool::acquire`], but never a kept connection: for the one retry after a kept connection proved stale. At
    /// the origin's cap its oldest idle connection is closed to make room.
    ///
    /// Errors and cancel safety as for [`Pool::acquire`]; `Acquired::Lease` is never returned.
    pub async fn acquire_fresh(&self, key: &K) -> Result<Acquired<K, C>, AcquireError> {
        self.admit(key, Want::Fresh).await
    }

    /// Closes the idle connections that the predicate names, and returns how many. Connections on loan are not asked;
    /// see [`Pool::evict_key`] for those.
    ///
    /// The predicate runs under the pool's lock: keep it short, and do not call the pool from it.
    pub fn evict(&self, which: impl FnMut(&K, &C) -> bool) -> usize {
        let loans = self.shared().slots.lock().evict(which);
        self.shared().close_all(loans)
    }

    /// Closes the idle connections of one origin and returns how many. Those on loan, or being dialled now, are closed
    /// when they come back: for an origin whose address or identity changed.
    pub fn evict_key(&self, key: &K) -> usize {
        let loans = self.shared().slots.lock().evict_key(key);
        self.shared().close_all(loans)
    }

    /// Closes every idle connection and returns how many.
    pub fn close_idle(&self) -> usize {
        self.evict(|_, _| true)
    }

    /// Closes the idle connections whose idle timeout or lifetime has ended at `now`, and returns how many. To be
    /// called by the owner at [`Pool::next_expiry`]; the clock is tokio's, for tests that pause it.
    pub fn expire(&self, now: Instant) -> usize {
        let loans = self.shared().slots.lock().expire(now);
        self.shared().close_all(loans)
    }

    /// When [`Pool::expire`] has something to do next; `None` while nothing is idle. A connection that becomes idle
    /// later may have an earlier time, so look again at intervals of about the idle timeout.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.shared().slots.lock().next_expiry()
    }

    /// Ends the pool: idle connections are closed, everyone in the queue gets [`AcquireError::Closed`], as does each
    /// later acquire. Connections on loan work on and are closed when they come back. Doing it twice does no harm.
    pub fn close(&self) {
        self.shared().shut();
    }

    /// Whether [`Pool::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.shared().slots.lock().is_closed()
    }

    /// The pool in numbers, all of one moment.
    pub fn stats(&self) -> Stats<K> {
        let now = now();
        let stats = self.shared().slots.lock().stats(now);
        Stats { reused_total: self.shared().reused.load(Ordering::Relaxed), ..stats }
    }

    async fn admit(&self, key: &K, want: Want) -> Result<Acquired<K, C>, AcquireError> {
        let now = now();
        let admit = self.shared().slots.lock().admit(key, want, now);
        let wait = match admit {
            Admit::Granted(grant) => return Ok(self.redeem(key, grant, now)),
            Admit::Queued(waiter) => Wait::new(Arc::clone(self.shared()), waiter, now),
            Admit::Room(waiter, loan) => {
                let wait = Wait::new(Arc::clone(self.shared()), waiter, now);
                self.shared().discard(loan);
                wait
            }
            Admit::Refused(error) => return Err(error),
        };
        let grant = wait.await?;
        Ok(self.redeem(key, grant, self::now()))
    }

    /// Turns a grant into guards. Connections are probed here, until one is clean or a permit is left.
    fn redeem(&self, key: &K, mut grant: Grant<K, C>, now: Instant) -> Acquired<K, C> {
        loop {
            let loan = match grant {
                Grant::Reuse(loan) => loan,
                Grant::Open(slot) => return Acquired::Open(OpenPermit::new(self.shared(), slot, key)),
            };
            let expired = loan.good_until <= now;
            let mut lease = Lease::new(Arc::clone(self.shared()), loan);
            let stale = !expired && lease.conn().probe() == Probe::Dirty;
            if !expired && !stale {
                self.shared().reused.fetch_add(1, Ordering::Relaxed);
                lease.count_request();
                return Acquired::Lease(lease);
            }
            grant = self.shared().replace(lease.hollow(), stale);
        }
    }

    fn shared(&self) -> &Arc<Shared<K, C>> {
        &self.handle.shared
    }

    #[cfg(test)]
    pub(crate) fn audit(&self) {
        self.shared().slots.lock().audit();
    }
}

impl<K: Key, C: Conn> Clone for Pool<K, C> {
    fn clone(&self) -> Self {
        Self { handle: Arc::clone(&self.handle) }
    }
}

impl<K: Key, C: Conn> fmt::Debug for Pool<K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
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

/// Closes the pool when the last clone is dropped; leases hold only what is inside.
struct Handle<K: Key, C: Conn> {
    shared: Arc<Shared<K, C>>,
}

impl<K: Key, C: Conn> Drop for Handle<K, C> {
    fn drop(&mut self) {
        self.shared.shut();
    }
}

/// The lock and what is done right after it was let go.
pub(crate) struct Shared<K: Key, C: Conn> {
    pub(crate) slots: Mutex<Slots<K, C>>,
    pub(crate) queue_wait: Duration,
    reused: AtomicU64,
}

impl<K: Key, C: Conn> Shared<K, C> {
    /// Gives a permit back whose connection has been dropped.
    pub(crate) fn free(self: &Arc<Self>, slot: Id<Slot<K, C>>) {
        let settled = self.slots.lock().free(slot);
        self.settle(settled);
    }

    /// A user is done with a connection that can be kept.
    pub(crate) fn release(self: &Arc<Self>, slot: Id<Slot<K, C>>, held: Box<Held<K, C>>, idle: Option<Duration>) {
        let now = now();
        let settled = self.slots.lock().release(slot, held, idle, now);
        self.settle(settled);
    }

    /// A grant whose waiter was cancelled: it goes on as if the waiter had never been there.
    pub(crate) fn decline(self: &Arc<Self>, grant: Grant<K, C>) {
        match grant {
            Grant::Open(slot) => self.free(slot),
            Grant::Reuse(loan) => {
                let now = now();
                let settled = self.slots.lock().give_back(loan, now);
                self.settle(settled);
            }
        }
    }

    fn replace(self: &Arc<Self>, slot: Id<Slot<K, C>>, stale: bool) -> Grant<K, C> {
        let (grant, settled) = self.slots.lock().replace(slot, stale);
        self.settle(settled);
        grant
    }

    fn shut(self: &Arc<Self>) {
        let (loans, wakers) = self.slots.lock().close();
        wakers.into_iter().for_each(Waker::wake);
        self.close_all(loans);
    }

    fn close_all(self: &Arc<Self>, loans: Vec<Loan<K, C>>) -> usize {
        let closed = loans.len();
        loans.into_iter().for_each(|loan| self.discard(loan));
        closed
    }

    fn settle(self: &Arc<Self>, settled: Settled<K, C>) {
        if let Some(waker) = settled.wake {
            waker.wake();
        }
        if let Some(loan) = settled.close {
            self.discard(loan);
        }
    }

    /// Drops a connection, then frees its slot, even if the drop panics.
    fn discard(self: &Arc<Self>, loan: Loan<K, C>) {
        drop(Lease::new(Arc::clone(self), loan));
    }
}

/// The time as tokio tells it: the system's, or that of a test which paused it.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
