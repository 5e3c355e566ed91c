//! Next idle: the wait of a permit's holder for an idle connection, as a future.
//!
//! In:    the permit's origin, shard and client.
//! Out:   a lease.
//! Never: loses a connection: if the future is dropped before it took the one it was given, that
//!        one goes to the next waiter.

use crate::client::Client;
use crate::conn::{Conn, Key};
use crate::idle::IdleWaiter;
use crate::lease::Lease;
use crate::pool::now;
use crate::session::{NoSession, Session};
use crate::shard::Shard;
use crate::slab::Id;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

/// Resolves to the next connection that becomes idle: see
/// [`OpenPermit::next_idle`](crate::OpenPermit::next_idle).
#[must_use = "a future does nothing unless it is polled"]
pub struct NextIdle<K: Key, C: Conn, S: Session = NoSession> {
    shard: Arc<Shard<K, C, S>>,
    key: K,
    client: Client,
    waiter: Option<Id<IdleWaiter<K, C, S>>>,
}

impl<K: Key, C: Conn, S: Session> NextIdle<K, C, S> {
    pub(crate) fn new(shard: Arc<Shard<K, C, S>>, key: K, client: Client) -> Self {
        Self {
            shard,
            key,
            client,
            waiter: None,
        }
    }
}

// Nothing in it is pinned.
impl<K: Key, C: Conn, S: Session> Unpin for NextIdle<K, C, S> {}

impl<K: Key, C: Conn, S: Session> Future for NextIdle<K, C, S> {
    type Output = Lease<K, C, S>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let (tick, mut was_given) = (C::reactor_tick(), false);
        loop {
            let waker = cx.waker().clone();
            let mut idle_store = this.shard.idle_store.lock();
            let found = match this.waiter {
                Some(waiter) => idle_store.waiters.poll(waiter, waker),
                None => match idle_store.check_out(&this.key, tick) {
                    Some(pooled) => Ok(pooled),
                    None => {
                        let waiter =
                            idle_store
                                .waiters
                                .enter(&this.key, this.client, waker, was_given);
                        this.waiter = Some(waiter);
                        return Poll::Pending;
                    }
                },
            };
            drop(idle_store);
            let pooled = match found {
                Ok(pooled) => pooled,
                // May be the last reference to a task, so it is dropped without the lock.
                Err(_previous) => return Poll::Pending,
            };
            was_given = this.waiter.take().is_some();
            match this.shard.look_at(pooled, this.client, now()) {
                Ok(lease) => {
                    let handed = u64::from(was_given);
                    this.shard.core.handed.fetch_add(handed, Ordering::Relaxed);
                    return Poll::Ready(lease);
                }
                Err(unfit) => drop(unfit),
            }
            if !was_given {
                let unfit_loans = &this.shard.core.unfit_loans;
                unfit_loans.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl<K: Key, C: Conn, S: Session> Drop for NextIdle<K, C, S> {
    fn drop(&mut self) {
        let Some(waiter) = self.waiter.take() else {
            return;
        };
        let left = self
            .shard
            .idle_store
            .lock()
            .waiters
            .leave(&self.key, self.client, waiter);
        if let Ok(pooled) = left {
            Shard::put_back(pooled);
        }
    }
}

impl<K: Key, C: Conn, S: Session> fmt::Debug for NextIdle<K, C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NextIdle").finish_non_exhaustive()
    }
}
