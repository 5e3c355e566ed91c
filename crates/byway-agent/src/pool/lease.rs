//! Lease: the guards that stand for a permit while it is out: to open, to use, to keep counted.
//!
//! In:    a permit.   Out:   the same permit, exactly once, after the connection it was for is gone.
//! Never: keeps a connection that nobody said could be kept.

use crate::pool::conn::{Conn, Key};
use crate::pool::slab::Id;
use crate::pool::slots::{Held, Loan, Slot};
use crate::pool::{Shared, now};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

/// A connection on loan. Dropping it closes the connection; keeping it takes [`Lease::release`].
///
/// That is the safe way round: a request that was cancelled, failed or forgotten half-way leaves bytes behind that the
/// next user must not read.
pub struct Lease<K: Key, C: Conn> {
    held: Box<Held<K, C>>,
    permit: Permit<K, C>, // after `held`: fields are dropped in order, and the permit outlives the connection
}

/// The right to open one connection, taken before the dial. Dropping it gives it to the next waiter.
#[must_use = "dial, then install the connection; dropped, the permit goes back"]
pub struct OpenPermit<K: Key, C: Conn> {
    key: K,
    permit: Permit<K, C>,
}

/// Keeps an upgraded connection counted, which itself has left the pool. Drop it after the connection.
#[must_use = "keep it for as long as the connection, which counts against the limits until this is dropped"]
pub struct Detached<K: Key, C: Conn> {
    key: K,
    _permit: Permit<K, C>,
}

/// What becomes of a connection that comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// Lend it again. Only for a connection at a message boundary: the request was written to its end, the response
    /// read to its end, and nothing is left in a read buffer.
    Keep {
        /// How long it may stay idle. From the origin's `Keep-Alive: timeout=N`, already reduced by a margin for the
        /// time on the wire and limited to what the caller believes; taken as it is. Zero closes. `None`:
        /// [`Limits::idle_timeout`](crate::Limits::idle_timeout).
        idle: Option<Duration>,
    },
    /// Close it.
    Close,
}

impl<K: Key, C: Conn> Lease<K, C> {
    pub(crate) fn new(shared: Arc<Shared<K, C>>, loan: Loan<K, C>) -> Self {
        Self { held: loan.held, permit: Permit::new(shared, loan.slot) }
    }

    /// The origin.
    pub fn key(&self) -> &K {
        &self.held.key
    }

    /// Whether the connection has carried a request before this loan. Such a one may turn out to be closed by the
    /// origin meanwhile; a request that got no byte back can then be tried once more on
    /// [`Pool::acquire_fresh`](crate::Pool::acquire_fresh).
    pub fn reused(&self) -> bool {
        self.held.requests > 1
    }

    /// Loans of this connection, including this one: 1 on a new connection.
    pub fn requests(&self) -> u64 {
        self.held.requests
    }

    /// Gives the connection back. A kept one goes to the oldest waiter of its origin, or becomes idle; it is closed all
    /// the same if it is too old, has served its number of requests, was evicted, if another origin has waited too
    /// long for the total, or if the pool is closed.
    pub fn release(self, release: Release) {
        let Release::Keep { idle } = release else { return };
        let Self { held, mut permit } = self;
        let slot = permit.spend();
        permit.shared.release(slot, held, idle);
    }

    /// Takes the connection out of the pool, for an upgrade or a CONNECT. It counts against the limits until the
    /// second half is dropped: keep both together.
    pub fn detach(self) -> (C, Detached<K, C>) {
        let Self { held, permit } = self;
        permit.shared.slots.lock().detach(permit.slot);
        let Held { key, conn, .. } = *held;
        (conn, Detached { key, _permit: permit })
    }

    pub(crate) fn conn(&mut self) -> &mut C {
        &mut self.held.conn
    }

    pub(crate) fn count_request(&mut self) {
        self.held.requests += 1;
    }

    /// Drops the connection and keeps the slot, still active.
    pub(crate) fn hollow(self) -> Id<Slot<K, C>> {
        let Self { held, mut permit } = self;
        drop(held);
        permit.spend()
    }
}

impl<K: Key, C: Conn> OpenPermit<K, C> {
    pub(crate) fn new(shared: &Arc<Shared<K, C>>, slot: Id<Slot<K, C>>, key: &K) -> Self {
        let permit = Permit::new(Arc::clone(shared), slot);
        Self { key: key.clone(), permit }
    }

    /// The origin to dial.
    pub fn key(&self) -> &K {
        &self.key
    }

    /// The dial succeeded: the connection belongs to the pool from now on, and is on loan. Its lifetime begins.
    pub fn install(self, conn: C) -> Lease<K, C> {
        let Self { key, permit } = self;
        permit.shared.slots.lock().install(permit.slot);
        Lease { held: Box::new(Held { key, conn, opened: now(), requests: 1 }), permit }
    }
}

impl<K: Key, C: Conn> Detached<K, C> {
    /// The origin that the connection counts for.
    pub fn key(&self) -> &K {
        &self.key
    }
}

impl<K: Key, C: Conn> Deref for Lease<K, C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.held.conn
    }
}

impl<K: Key, C: Conn> DerefMut for Lease<K, C> {
    fn deref_mut(&mut self) -> &mut C {
        &mut self.held.conn
    }
}

impl<K: Key, C: Conn> fmt::Debug for Lease<K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("requests", &self.held.requests).finish_non_exhaustive()
    }
}

impl<K: Key, C: Conn> fmt::Debug for OpenPermit<K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenPermit").finish_non_exhaustive()
    }
}

impl<K: Key, C: Conn> fmt::Debug for Detached<K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Detached").finish_non_exhaustive()
    }
}

/// A slot that is freed when this is dropped, unless it was spent.
struct Permit<K: Key, C: Conn> {
    shared: Arc<Shared<K, C>>,
    slot: Id<Slot<K, C>>,
    spent: bool,
}

impl<K: Key, C: Conn> Permit<K, C> {
    fn new(shared: Arc<Shared<K, C>>, slot: Id<Slot<K, C>>) -> Self {
        Self { shared, slot, spent: false }
    }

    /// Hands the duty to free the slot to the caller.
    fn spend(&mut self) -> Id<Slot<K, C>> {
        self.spent = true;
        self.slot
    }
}

impl<K: Key, C: Conn> Drop for Permit<K, C> {
    fn drop(&mut self) {
        if !self.spent {
            self.shared.free(self.slot);
        }
    }
}
