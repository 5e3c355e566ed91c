//! Wait: one place in the queue, as a future.
//!
//! In:    a waiter.
//! Out:   its grant, or an error.
//! Never: loses a grant: if the future is dropped before it took its grant, the grant goes to the
//!        next waiter.

use crate::client::Client;
use crate::conn::{Conn, Key};
use crate::error::AcquireError;
use crate::permits::{Grant, Share, Waiter, WaiterState};
use crate::pool::now;
use crate::shard::Shard;
use crate::slab::Id;
use crate::stats::ConnPhase;
use crate::sync::{Sleep, sleep};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Resolves to a grant, which must be used or given back. The timer is created only if the first
/// poll finds no grant.
pub(crate) struct Wait<K: Key, C: Conn> {
    place: QueuePlace<K, C>,
    client: Client,
    since: Instant,
    timer: Option<Timer>,
}

/// Fires at the end of the wait. For a client, it also fires a few times before, to recall permits
/// of clients above their shares.
struct Timer {
    sleep: Pin<Box<Sleep>>,
    ends: Instant,
}

/// Leaves the queue on drop, unless it has already left.
struct QueuePlace<K: Key, C: Conn> {
    shard: Arc<Shard<K, C>>,
    waiter: Option<Id<Waiter<K, C>>>,
}

impl<K: Key, C: Conn> Wait<K, C> {
    pub(crate) fn new(
        shard: Arc<Shard<K, C>>,
        waiter: Id<Waiter<K, C>>,
        client: Client,
        since: Instant,
    ) -> Self {
        Self {
            place: QueuePlace {
                shard,
                waiter: Some(waiter),
            },
            client,
            since,
            timer: None,
        }
    }
}

impl<K: Key, C: Conn> Future for Wait<K, C> {
    type Output = Result<Grant<K, C>, AcquireError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(state) = self.place.poll_state(cx) {
            return Poll::Ready(self.end(state));
        }
        let wait = self
            .place
            .shard
            .core
            .limits
            .queue_wait
            .min(crate::pool::LONGEST);
        let step = if self.client == Client::ANYONE {
            wait
        } else {
            recall_interval(wait)
        };
        let this = &mut *self;
        loop {
            let timer = this.timer.get_or_insert_with(|| Timer {
                sleep: Box::pin(sleep(step)),
                ends: now() + wait,
            });
            if timer.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let left = timer.ends.saturating_duration_since(now());
            if left.is_zero() || this.client == Client::ANYONE {
                let state = this.place.time_out();
                return Poll::Ready(this.end(state));
            }
            timer.sleep = Box::pin(sleep(step.min(left)));
            this.place.recall();
        }
    }
}

/// How long a client below its share waits before each recall.
fn recall_interval(wait: Duration) -> Duration {
    (wait / 4).clamp(Duration::from_millis(1), Duration::from_secs(1))
}

impl<K: Key, C: Conn> Wait<K, C> {
    fn end(&self, state: Option<WaiterState<K, C>>) -> Result<Grant<K, C>, AcquireError> {
        match state {
            Some(WaiterState::Granted(grant)) => Ok(grant),
            Some(WaiterState::Waiting(_)) => Err(AcquireError::QueueTimeout {
                waited: now().saturating_duration_since(self.since),
            }),
            Some(WaiterState::Displaced(share)) => {
                let limit = self.place.shard.core.limits.queue_len;
                Err(match share {
                    Share::OfClient => AcquireError::ClientShare { limit },
                    Share::OfOrigin => AcquireError::QueueFull { limit },
                })
            }
            Some(WaiterState::Closed) | None => Err(AcquireError::Closed),
        }
    }
}

impl<K: Key, C: Conn> QueuePlace<K, C> {
    /// `None` while still waiting.
    fn poll_state(&mut self, cx: &Context<'_>) -> Option<Option<WaiterState<K, C>>> {
        let Some(waiter) = self.waiter else {
            return Some(None);
        };
        let waker = cx.waker().clone();
        let (waiting, state) = self.shard.core.permits(|permits| {
            let waiting = permits.wait(waiter, waker);
            let state = waiting.is_none().then(|| permits.leave(waiter));
            (waiting, state)
        });
        drop(waiting); // may be the last reference to a task: not under the lock
        state.map(|state| {
            self.waiter = None;
            Some(state)
        })
    }

    /// Recalls a permit of a client above its share.
    fn recall(&self) {
        let Some(waiter) = self.waiter else { return };
        let recalled = self
            .shard
            .core
            .permits(|permits| permits.recall_for(waiter));
        if let Some(hold) = recalled {
            hold.wake();
        }
    }

    fn time_out(&mut self) -> Option<WaiterState<K, C>> {
        let waiter = self.waiter.take()?;
        Some(self.shard.core.permits(|permits| permits.time_out(waiter)))
    }
}

impl<K: Key, C: Conn> Drop for QueuePlace<K, C> {
    fn drop(&mut self) {
        let Some(waiter) = self.waiter.take() else {
            return;
        };
        match self.shard.core.permits(|permits| permits.leave(waiter)) {
            WaiterState::Granted(Grant::Open(ticket)) => {
                self.shard.core.free(&ticket, ConnPhase::Connecting)
            }
            WaiterState::Granted(Grant::Reuse(pooled)) => Shard::put_back(pooled),
            WaiterState::Waiting(_) | WaiterState::Displaced(_) | WaiterState::Closed => {}
        }
    }
}
