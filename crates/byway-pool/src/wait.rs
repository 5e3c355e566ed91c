//! Wait: one place in the queue, as a future.
//!
//! In:    a waiter.
//! Out:   its grant, or an error.
//! Never: loses a grant: if the future is dropped before it took its grant, the grant goes to the
//!        next waiter.

use crate::client::Client;
use crate::conn::{Conn, Key};
use crate::error::AcquireError;
use crate::permits::{AcquireRequest, Grant, Reach, Share, Waiter, WaiterState};
use crate::pool::now;
use crate::session::Session;
use crate::shard::Shard;
use crate::slab::Id;
use crate::stream_lease::StreamSlot;
use crate::sync::{Sleep, sleep};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Resolves to a grant, which must be used or given back; to a request to make room, after which it
/// is polled again; or to an error. The timer is created only if the first
/// poll finds no grant.
pub(crate) struct Wait<K: Key, C: Conn, S: Session> {
    place: QueuePlace<K, C, S>,
    request: AcquireRequest,
    timer: Option<Timer>,
}

/// What a wait has led to.
pub(crate) enum Waited<K: Key, C: Conn, S: Session> {
    Granted(Grant<K, C, S>),
    /// No dial of another acquire serves it any more: close an idle connection within this reach,
    /// and wait on.
    MakeRoom(Reach),
}

/// The state of a place when it is polled.
enum PlaceState<K: Key, C: Conn, S: Session> {
    Waits,
    MakesRoom(Reach),
    Left(Option<WaiterState<K, C, S>>),
}

/// Fires at the end of the wait. For a client, it also fires a few times before, to recall permits
/// of clients above their shares.
struct Timer {
    sleep: Pin<Box<Sleep>>,
    ends: Instant,
}

/// Leaves the queue on drop, unless it has already left.
struct QueuePlace<K: Key, C: Conn, S: Session> {
    shard: Arc<Shard<K, C, S>>,
    waiter: Option<Id<Waiter<K, C, S>>>,
}

impl<K: Key, C: Conn, S: Session> Wait<K, C, S> {
    pub(crate) fn new(
        shard: Arc<Shard<K, C, S>>,
        waiter: Id<Waiter<K, C, S>>,
        request: AcquireRequest,
    ) -> Self {
        Self {
            place: QueuePlace {
                shard,
                waiter: Some(waiter),
            },
            request,
            timer: None,
        }
    }

    pub(crate) fn request(&self) -> &AcquireRequest {
        &self.request
    }
}

impl<K: Key, C: Conn, S: Session> Future for Wait<K, C, S> {
    type Output = Result<Waited<K, C, S>, AcquireError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.place.poll_state(cx) {
            PlaceState::Waits => {}
            PlaceState::MakesRoom(reach) => return Poll::Ready(Ok(Waited::MakeRoom(reach))),
            PlaceState::Left(state) => return Poll::Ready(self.end(state)),
        }
        let wait = self
            .place
            .shard
            .core
            .limits
            .queue_wait
            .min(crate::pool::LONGEST);
        let step = if self.request.client == Client::ANYONE {
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
            if left.is_zero() || this.request.client == Client::ANYONE {
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

impl<K: Key, C: Conn, S: Session> Wait<K, C, S> {
    fn end(&self, state: Option<WaiterState<K, C, S>>) -> Result<Waited<K, C, S>, AcquireError> {
        match state {
            Some(WaiterState::Granted(grant)) => Ok(Waited::Granted(grant)),
            Some(WaiterState::Waiting(_)) => Err(AcquireError::QueueTimeout {
                waited: now().saturating_duration_since(self.request.since),
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

impl<K: Key, C: Conn, S: Session> QueuePlace<K, C, S> {
    fn poll_state(&mut self, cx: &Context<'_>) -> PlaceState<K, C, S> {
        let Some(waiter) = self.waiter else {
            return PlaceState::Left(None);
        };
        let waker = cx.waker().clone();
        let (waiting, state) = self.shard.core.permits(|permits| {
            let waiting = permits.wait(waiter, waker);
            let state = match waiting {
                None => PlaceState::Left(Some(permits.leave(waiter))),
                Some(_) => match permits.takes_room(waiter) {
                    Some(reach) => PlaceState::MakesRoom(reach),
                    None => PlaceState::Waits,
                },
            };
            (waiting, state)
        });
        drop(waiting); // may be the last reference to a task: not under the lock
        if matches!(state, PlaceState::Left(_)) {
            self.waiter = None;
        }
        state
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

    fn time_out(&mut self) -> Option<WaiterState<K, C, S>> {
        let waiter = self.waiter.take()?;
        Some(self.shard.core.permits(|permits| permits.time_out(waiter)))
    }
}

impl<K: Key, C: Conn, S: Session> Drop for QueuePlace<K, C, S> {
    fn drop(&mut self) {
        let Some(waiter) = self.waiter.take() else {
            return;
        };
        match self.shard.core.permits(|permits| permits.leave(waiter)) {
            WaiterState::Granted(Grant::Open(ticket, phase)) => {
                self.shard.core.free(&ticket, phase, self.shard.number)
            }
            WaiterState::Granted(Grant::Stream(leased)) => drop(StreamSlot::new(leased)),
            WaiterState::Granted(Grant::Reuse(pooled)) => Shard::put_back(pooled),
            WaiterState::Waiting(_) | WaiterState::Displaced(_) | WaiterState::Closed => {}
        }
    }
}
