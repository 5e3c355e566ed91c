//! Shard: one worker's part of the pool: its idle lists with their lock, and how a connection is
//! checked out and returned.
//!
//! In:    released connections.   Out:   connections to reuse, or their permits.
//! Never: holds two of the pool's locks, or holds one while a connection is probed or dropped.

use crate::client::Client;
use crate::conn::{Conn, Key, Probe};
use crate::core::PoolCore;
use crate::event::{Event, Reason, notify};
use crate::idle::IdleStore;
use crate::lease::{Lease, OpenPermit, PooledConn};
use crate::permits::Given;
use crate::pool::Acquired;
use crate::pool::now;
use crate::session::Session;
use crate::sync::{Mutex, Padded};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::{Duration, Instant};

pub(crate) struct Shard<K: Key, C: Conn, S: Session> {
    pub(crate) idle_store: Padded<Mutex<IdleStore<K, C, S>>>,
    pub(crate) number: usize,
    pub(crate) core: Arc<PoolCore<K, C, S>>,
}

/// A connection that must not be reused.
type Unfit<K, C, S> = Box<PooledConn<K, C, S>>;

/// The result of returning a connection to its shard.
enum Put<K: Key, C: Conn, S: Session> {
    /// Kept; another one may have to be closed.
    Kept(Option<Box<PooledConn<K, C, S>>>),
    /// Given to the holder of a permit that waits for one. Wake it.
    Given(Waker),
    /// Acquires wait: offer it to them.
    Offered(Box<PooledConn<K, C, S>>),
    /// It is not kept.
    Refused(Box<PooledConn<K, C, S>>),
}

/// Checking out.
impl<K: Key, C: Conn, S: Session> Shard<K, C, S> {
    /// An idle connection of this origin; if all are unfit, the permit of the last one.
    pub(crate) fn check_out(
        &self,
        key: &K,
        client: Client,
        now: Instant,
    ) -> Option<Acquired<K, C, S>> {
        let tick = C::reactor_tick();
        let pooled = self.idle_store.lock().check_out(key, tick)?;
        match self.look_at(pooled, client, now) {
            Ok(lease) => Some(Acquired::Lease(lease)),
            Err(unfit) => {
                self.core.unfit_loans.fetch_add(1, Ordering::Relaxed);
                Some(self.replace(unfit, client, now))
            }
        }
    }

    /// A connection that was handed to a waiter, or a replacement if it is unfit.
    pub(crate) fn receive(
        &self,
        pooled: Box<PooledConn<K, C, S>>,
        client: Client,
        now: Instant,
    ) -> Acquired<K, C, S> {
        match self.look_at(pooled, client, now) {
            Ok(lease) => {
                self.core.handed.fetch_add(1, Ordering::Relaxed);
                Acquired::Lease(lease)
            }
            Err(unfit) => self.replace(unfit, client, now),
        }
    }

    /// Another idle connection instead of an unfit one, or its permit for a new one.
    fn replace(
        &self,
        mut unfit: Box<PooledConn<K, C, S>>,
        client: Client,
        now: Instant,
    ) -> Acquired<K, C, S> {
        let tick = C::reactor_tick();
        loop {
            let next = self.idle_store.lock().check_out(unfit.key(), tick);
            let Some(next) = next else {
                return Acquired::Open(OpenPermit::new((*unfit).into_permit(client)));
            };
            drop(unfit);
            match self.look_at(next, client, now) {
                Ok(lease) => return Acquired::Lease(lease),
                Err(next) => unfit = next,
            }
            self.core.unfit_loans.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn look_at(
        &self,
        mut pooled: Box<PooledConn<K, C, S>>,
        client: Client,
        now: Instant,
    ) -> Result<Lease<K, C, S>, Unfit<K, C, S>> {
        if pooled.good_until() <= now {
            return Err(pooled.closed_for_age(now));
        }
        if pooled.is_evicted() {
            return Err(pooled.closed_for(Reason::Evicted));
        }
        let conn = pooled.conn_mut();
        if conn.may_be_readable() && conn.probe() == Probe::Dirty {
            self.core.stale.fetch_add(1, Ordering::Relaxed);
            return Err(pooled.closed_for(Reason::Stale));
        }
        pooled.permit().assign_to(client);
        notify(&self.core.watch, || Event::Reused {
            key: pooled.key(),
            requests: pooled.requests(),
        });
        Ok(Lease::new(pooled))
    }
}

/// Returning.
impl<K: Key, C: Conn, S: Session> Shard<K, C, S> {
    /// Its user has released it with `Keep`.
    pub(crate) fn take_back(mut pooled: Box<PooledConn<K, C, S>>, idle: Option<Duration>) {
        let shard = Arc::clone(pooled.shard());
        let now = now();
        pooled.permit().settle();
        let idle = idle
            .unwrap_or(shard.core.limits.idle_timeout)
            .min(crate::pool::LONGEST);
        match pooled.permit().rest(now, idle) {
            Ok(()) => shard.put(pooled),
            Err(reason) => drop(pooled.closed_for(reason)),
        }
    }

    /// A hand-over whose waiter was cancelled: it is returned as if it had not been handed over.
    pub(crate) fn put_back(mut pooled: Box<PooledConn<K, C, S>>) {
        let shard = Arc::clone(pooled.shard());
        let now = now();
        pooled.permit().rests_since(now);
        match pooled.good_until() > now {
            true => shard.put(pooled),
            false => drop(pooled.closed_for_age(now)),
        }
    }

    /// Hands it to a waiter, or else makes it idle. One that holds a permit has waited for that
    /// permit before, so it comes before those that wait for one.
    fn put(&self, mut pooled: Box<PooledConn<K, C, S>>) {
        let mut unneeded_by = 0;
        loop {
            pooled = match self.try_put(pooled, unneeded_by) {
                Put::Kept(over) => return drop(over),
                Put::Given(waker) => return waker.wake(),
                Put::Refused(pooled) => return drop(pooled.closed_for(Reason::Evicted)),
                Put::Offered(pooled) => pooled,
            };
            match self
                .core
                .permits(|permits| permits.give(self.number, pooled))
            {
                Given::Over(waker) => {
                    if let Some(waker) = waker {
                        waker.wake();
                    }
                    return;
                }
                Given::Close(pooled) => {
                    let closed = self.idle_store.lock().shut;
                    let reason = if closed {
                        Reason::Closed
                    } else {
                        Reason::Reclaimed
                    };
                    return drop(pooled.closed_for(reason));
                }
                Given::Keep(back, demand) => {
                    pooled = back;
                    unneeded_by = demand;
                }
            }
        }
    }

    /// Generation and demand must be read under the lock, see [`permits`](crate::permits).
    fn try_put(&self, mut pooled: Box<PooledConn<K, C, S>>, unneeded_by: usize) -> Put<K, C, S> {
        let tick = C::reactor_tick();
        let mut idle_store = self.idle_store.lock();
        if pooled.is_evicted() {
            return Put::Refused(pooled);
        }
        let Some(slot) = pooled.slot() else {
            return Put::Refused(pooled);
        };
        if !idle_store.shut && !idle_store.waiters.is_empty() {
            // Its permit serves an acquire instead.
            pooled = match idle_store.waiters.give(pooled) {
                Ok(waker) => return Put::Given(waker),
                Err(pooled) => pooled,
            };
        }
        let demand = self.core.demand();
        if idle_store.shut || (demand != 0 && demand != unneeded_by) {
            return Put::Offered(pooled);
        }
        Put::Kept(idle_store.keep(pooled, slot, tick))
    }
}
