//! Queue: the waiters for permits, by origin and shard, and their order.
//!
//! In:    waiters, and returned permits and connections.   Out:   grants, and wakers to wake.
//! Never: keeps a waiter that could be served.

use super::{
    AcquireRequest, After, Given, Grant, Id, Mode, OriginState, PASS_OVER, Permits, ShardQueue,
    Waiter, WaiterState, Want,
};
use crate::client::Client;
use crate::conn::{Conn, Key};
use crate::lease::PooledConn;
use crate::limits::QueueOrder;
use crate::list::{Links, List};
use crate::session::Session;
use std::task::Waker;

/// Waiting.
impl<K: Key, C: Conn, S: Session> Permits<K, C, S> {
    pub(super) fn enqueue(
        &mut self,
        origin: Id<OriginState<K, C, S>>,
        request: &AcquireRequest,
    ) -> Id<Waiter<K, C, S>> {
        let AcquireRequest {
            shard,
            want,
            client,
            since,
            arrival,
        } = *request;
        self.arrivals = self.arrivals.wrapping_add(1);
        let position = arrival;
        let (arrival, state) = (arrival.unwrap_or(self.arrivals), WaiterState::Waiting(None));
        let (queue, shard_queue, of_client) =
            (Links::default(), Links::default(), Links::default());
        let (has_recalled, makes_room) = (false, false);
        let waiter = Waiter {
            origin,
            shard,
            want,
            client,
            has_recalled,
            makes_room,
            since,
            arrival,
            state,
            queue,
            shard_queue,
            of_client,
        };
        let waiter = self.waiters.insert(waiter);
        let OriginState {
            queue,
            shard_queues,
            contest,
            sharing,
            ..
        } = &mut self.origins[origin];
        contest.enters(client);
        sharing.waiting += usize::from(want == Want::Shared);
        if shard_queues.is_empty() {
            shard_queues.resize_with(self.shards, || ShardQueue {
                queue: List::default(),
                served: 0,
            });
        }
        catch_up(shard_queues, shard);
        let in_shard = &mut shard_queues[shard].queue;
        match position {
            None => {
                queue.push_back(&mut self.waiters, waiter);
                in_shard.push_back(&mut self.waiters, waiter);
            }
            Some(position) => {
                // Compared as ages, so that the numbers may wrap.
                let (arrivals, age) = (self.arrivals, self.arrivals.wrapping_sub(position));
                let is_younger =
                    |other: &Waiter<K, C, S>| arrivals.wrapping_sub(other.arrival) < age;
                queue.insert_before(&mut self.waiters, waiter, is_younger);
                in_shard.insert_before(&mut self.waiters, waiter, is_younger);
            }
        }
        self.take_place(waiter);
        self.pending += 1;
        waiter
    }

    /// Stores the waker of a waiter, and returns the previous one to drop after unlocking; `None`
    /// if the wait is over.
    pub(crate) fn wait(
        &mut self,
        waiter: Id<Waiter<K, C, S>>,
        waker: Waker,
    ) -> Option<Option<Waker>> {
        match &mut self.waiters[waiter].state {
            WaiterState::Waiting(known) => Some(known.replace(waker)),
            WaiterState::Granted(_) | WaiterState::Displaced(_) | WaiterState::Closed => None,
        }
    }

    /// Ends a wait in any state. A grant in the result must be used or given back.
    pub(crate) fn leave(&mut self, waiter: Id<Waiter<K, C, S>>) -> WaiterState<K, C, S> {
        if let WaiterState::Waiting(_) = self.waiters[waiter].state {
            let origin = self.unlink(waiter);
            self.refresh(origin);
        }
        self.waiters.remove(waiter).state
    }

    /// As [`Permits::leave`], after the time limit; counts a timeout unless the wait had already
    /// ended.
    pub(crate) fn time_out(&mut self, waiter: Id<Waiter<K, C, S>>) -> WaiterState<K, C, S> {
        let state = self.leave(waiter);
        self.totals.queue_timeout += u64::from(matches!(state, WaiterState::Waiting(_)));
        state
    }

    /// Ends the queue: every waiter gets [`WaiterState::Closed`].
    pub(crate) fn dismiss(&mut self) -> Vec<Waker> {
        self.mode = Mode::Closed;
        let ids: Vec<_> = self.waiters.iter().map(|(id, _)| id).collect();
        let mut wakers = Vec::new();
        for waiter in ids {
            if matches!(self.waiters[waiter].state, WaiterState::Waiting(_)) {
                let origin = self.unlink(waiter);
                if let WaiterState::Waiting(waker) =
                    std::mem::replace(&mut self.waiters[waiter].state, WaiterState::Closed)
                {
                    wakers.extend(waker);
                }
                self.refresh(origin);
            }
        }
        wakers
    }

    pub(super) fn unlink(&mut self, waiter: Id<Waiter<K, C, S>>) -> Id<OriginState<K, C, S>> {
        let Waiter {
            origin: id,
            shard,
            client,
            want,
            ..
        } = self.waiters[waiter];
        let origin = &mut self.origins[id];
        origin.sharing.waiting -= usize::from(want == Want::Shared);
        if origin.queue.first() == Some(waiter) {
            origin.overtaken = 0;
        }
        origin.queue.remove(&mut self.waiters, waiter);
        origin.shard_queues[shard]
            .queue
            .remove(&mut self.waiters, waiter);
        origin.contest.leaves(client, origin.queue.is_empty());
        self.leave_place(waiter);
        self.pending -= 1;
        if self.waiters[waiter].makes_room {
            self.pass_on_room(id);
        }
        id
    }
}

/// Serving.
impl<K: Key, C: Conn, S: Session> Permits<K, C, S> {
    /// A connection that may be reused was released to its shard while acquires wait.
    pub(crate) fn give(
        &mut self,
        shard: usize,
        pooled: Box<PooledConn<K, C, S>>,
    ) -> Given<K, C, S> {
        if self.mode == Mode::Closed {
            return Given::Close(pooled);
        }
        let id = pooled.origin();
        let leaving = pooled.hold().client();
        // Until it is granted it belongs to no client.
        pooled.hold().belongs_to(Client::ANYONE);
        self.origins[id].contest.gives(leaving);
        self.origins[id].contest.takes(Client::ANYONE);
        let next = self.next_waiter(id);
        let Some(own) = next.and_then(|next| self.next_in_shard(id, shard, next)) else {
            let origin = &self.origins[id];
            let unneeded = origin.in_need() == 0 && self.ring.is_empty() && self.mode == Mode::Open;
            if !unneeded {
                return Given::Close(pooled);
            }
            // In the idle list it keeps its last client.
            pooled.hold().belongs_to(leaving);
            return Given::Keep(pooled, self.demand());
        };
        if self.waiters[own].want == Want::Fresh || !self.may_pass_over(id, own, next) {
            return Given::Close(pooled);
        }
        let client = self.waiters[own].client;
        pooled.hold().belongs_to(client);
        self.origins[id].contest.gives(Client::ANYONE);
        self.origins[id].contest.takes(client);
        Given::Over(self.grant(own, Grant::Reuse(pooled)))
    }

    /// Whether a waiter may have the connection although another may be next; counts it.
    ///
    /// A shard's queue may be ahead of that of the oldest waiter by a few grants: then a shard that
    /// has more of the connections than others gives some up, and none does while all have the same
    /// number. The origin's count limits the wait of its next waiter if the shards' counts start
    /// far apart.
    fn may_pass_over(
        &mut self,
        id: Id<OriginState<K, C, S>>,
        waiter: Id<Waiter<K, C, S>>,
        next: Option<Id<Waiter<K, C, S>>>,
    ) -> bool {
        let origin = &self.origins[id];
        let served =
            |waiter: Id<Waiter<K, C, S>>| origin.shard_queues[self.waiters[waiter].shard].served;
        let next = next.filter(|next| *next != waiter);
        let ahead = next.map_or(0, |next| served(waiter).saturating_sub(served(next)));
        let others = self.ring.len() > usize::from(origin.in_ring);
        let most = PASS_OVER.saturating_mul(u32::try_from(self.shards).unwrap_or(u32::MAX));
        if ahead >= u64::from(PASS_OVER) || (next.is_some() && origin.overtaken >= most) {
            return false;
        }
        if others && self.passed_over >= PASS_OVER {
            self.rotate(id);
            return false;
        }
        let overtaken = &mut self.origins[id].overtaken;
        *overtaken = if next.is_some() { *overtaken + 1 } else { 0 };
        self.passed_over += u32::from(others);
        true
    }

    /// Gives a free permit to the first waiter of the origin that is next.
    pub(super) fn serve_ring(&mut self) -> Option<Waker> {
        if self.counts.held() >= self.max_total {
            return None;
        }
        let origin = self.next_origin()?;
        let waiter = self.next_waiter(origin)?;
        let Waiter {
            client,
            want,
            shard,
            ..
        } = self.waiters[waiter];
        let in_need = self.origins[origin].in_need();
        let phase = self.origins[origin].begin_dial(want, shard, self.shards);
        let ticket = self.open(origin, client);
        self.forget_stream_passes();
        self.passed_over = 0;
        self.origins[origin].overtaken = 0;
        self.rotate(origin);
        let waker = self.grant(waiter, Grant::Open(ticket, phase));
        // The first waiter may have been one that a dial covers. Then the one that made room for
        // this permit still needs one.
        let is_left = |origin: &OriginState<K, C, S>| origin.in_need() >= in_need;
        if self.origins.get(origin).is_some_and(is_left) {
            self.pass_on_room(origin);
        }
        waker
    }

    /// As [`Permits::serve_ring`], until no permit is free or no waiter needs one.
    pub(super) fn serve_all(&mut self, after: &mut After<K, C, S>) {
        while self.counts.held() < self.max_total && !self.ring.is_empty() {
            let waker = self.serve_ring();
            after.wake(waker);
        }
    }

    fn next_origin(&self) -> Option<Id<OriginState<K, C, S>>> {
        match self.order {
            QueueOrder::Fair => self.ring.first(),
            QueueOrder::Fifo => self.ring.ids(&self.origins).min_by_key(|id| {
                let first = self.origins[*id].queue.first();
                // Counted back from the last arrival, so that the number may wrap.
                first.map(|first| {
                    std::cmp::Reverse(self.arrivals.wrapping_sub(self.waiters[first].arrival))
                })
            }),
        }
    }

    /// Moves an origin to the end of the ring, if it is in the ring.
    fn rotate(&mut self, origin: Id<OriginState<K, C, S>>) {
        if self.origins[origin].in_ring {
            self.ring.remove(&mut self.origins, origin);
            self.ring.push_back(&mut self.origins, origin);
        }
    }

    pub(super) fn grant(
        &mut self,
        waiter: Id<Waiter<K, C, S>>,
        grant: Grant<K, C, S>,
    ) -> Option<Waker> {
        let origin = self.unlink(waiter);
        let shard = self.waiters[waiter].shard;
        self.origins[origin].shard_queues[shard].served += 1;
        let state = std::mem::replace(&mut self.waiters[waiter].state, WaiterState::Granted(grant));
        self.refresh(origin);
        match state {
            WaiterState::Waiting(waker) => waker,
            WaiterState::Granted(_) | WaiterState::Displaced(_) | WaiterState::Closed => None,
        }
    }
}

/// A shard that begins to wait gets no credit for earlier times: its count is raised to that of the
/// waiting shard with the fewest grants, or, if none waits, to the highest count.
fn catch_up<K: Key, C: Conn, S: Session>(shard_queues: &mut [ShardQueue<K, C, S>], shard: usize) {
    if !shard_queues[shard].queue.is_empty() {
        return;
    }
    let worst = shard_queues
        .iter()
        .filter(|shard_queue| !shard_queue.queue.is_empty())
        .map(|shard_queue| shard_queue.served)
        .min();
    let best = shard_queues
        .iter()
        .map(|shard_queue| shard_queue.served)
        .max();
    if let Some(served) = worst.or(best) {
        shard_queues[shard].served = shard_queues[shard].served.max(served);
    }
}
