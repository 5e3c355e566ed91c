//! Busy queue: the order of a client's opens that wait for a busy far side.
//!
//! In:    opens that were refused because of a limit of the far side, and later ones of the same
//!        client.
//! Out:   the turn, to one of them at a time, the oldest first.
//! Never: keeps anything of clients without a waiting open, or lets one client wait for another:
//!        the far side shares what it has between clients, so each has a queue of its own.
//!
//! Its length is bounded by what a waiting open holds: a permit of the pool, or a connection of its
//! client.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use byway_link::Name;
use byway_pool::Client;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::route::{Allowed, Outbound};

/// What opens the stream at the other end of a link.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FarSide {
    /// The agents of an exposed service.
    Service(Name),
    /// The exit at the end of this link.
    Exit(Arc<str>),
}

impl FarSide {
    /// The far side that `allowed` leads to, if it leads over a link.
    pub fn of(allowed: &Allowed) -> Option<Self> {
        match allowed.outbound() {
            Outbound::Service(name) => Some(Self::Service(name.clone())),
            Outbound::Exit(id, _) => Some(Self::Exit(id.clone())),
            Outbound::Direct(_) | Outbound::Via(..) | Outbound::Pooled(_) => None,
        }
    }
}

type QueueKey = (FarSide, Client);

/// The queues of a node.
#[derive(Debug, Default)]
pub struct BusyQueues {
    state: Mutex<State>,
    /// How many queues there are: usually none, which is read without the lock.
    count: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    last_ticket: u64,
    /// By ticket: the first has the turn. No queue is empty.
    queues: HashMap<QueueKey, BTreeMap<u64, Arc<Notify>>>,
}

/// A place in a queue, which is left when it is dropped.
#[derive(Debug)]
pub struct BusyPlace<'q> {
    queues: &'q BusyQueues,
    key: QueueKey,
    ticket: u64,
    turn: Arc<Notify>,
}

impl BusyQueues {
    /// A place behind the opens of `client` that wait for `far_side`; `None` if none does.
    pub fn enter_if_waiting(&self, far_side: &FarSide, client: Client) -> Option<BusyPlace<'_>> {
        if self.count.load(Relaxed) == 0 {
            return None;
        }
        let key = (far_side.clone(), client);
        let mut state = self.state.lock();
        if !state.queues.contains_key(&key) {
            return None;
        }
        Some(self.enter_with(&mut state, key))
    }

    /// A place at the end of the queue of `client` for `far_side`.
    pub fn enter(&self, far_side: &FarSide, client: Client) -> BusyPlace<'_> {
        self.enter_with(&mut self.state.lock(), (far_side.clone(), client))
    }

    fn enter_with(&self, state: &mut State, key: QueueKey) -> BusyPlace<'_> {
        state.last_ticket += 1;
        let place = BusyPlace {
            queues: self,
            key,
            ticket: state.last_ticket,
            turn: Arc::default(),
        };
        place.insert_into(state);
        place
    }
}

impl BusyPlace<'_> {
    /// Whether it is the oldest of its queue.
    pub fn has_turn(&self) -> bool {
        let state = self.queues.state.lock();
        let queue = state.queues.get(&self.key);
        queue.is_some_and(|queue| queue.keys().next() == Some(&self.ticket))
    }

    /// Resolves when it is the oldest of its queue.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn turn(&self) {
        while !self.has_turn() {
            self.turn.notified().await;
        }
    }

    /// Leaves the queue for a time, and keeps its position: an answer that takes long does not
    /// delay the others.
    pub fn step_aside(&self) {
        let mut state = self.queues.state.lock();
        let Some(queue) = state.queues.get_mut(&self.key) else {
            return;
        };
        let first = queue.keys().next().copied();
        queue.remove(&self.ticket);
        match queue.values().next() {
            None => {
                state.queues.remove(&self.key);
                self.queues.count.store(state.queues.len(), Relaxed);
            }
            Some(next) if first == Some(self.ticket) => next.notify_one(),
            Some(_) => {}
        }
    }

    /// Takes its position again after [`BusyPlace::step_aside`].
    pub fn step_back(&self) {
        self.insert_into(&mut self.queues.state.lock());
    }

    fn insert_into(&self, state: &mut State) {
        let queue = state.queues.entry(self.key.clone()).or_default();
        queue.insert(self.ticket, Arc::clone(&self.turn));
        self.queues.count.store(state.queues.len(), Relaxed);
    }
}

impl Drop for BusyPlace<'_> {
    fn drop(&mut self) {
        self.step_aside();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn exit() -> FarSide {
        FarSide::Exit("exit".into())
    }

    fn is_now<T>(future: impl Future<Output = T>) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        pin!(future).poll(&mut cx).is_ready()
    }

    #[test]
    fn the_turn_passes_from_the_oldest_to_the_next() {
        let queues = BusyQueues::default();
        let client = Client::of(&1);
        assert!(queues.enter_if_waiting(&exit(), client).is_none());
        let places: Vec<_> = (0..5).map(|_| queues.enter(&exit(), client)).collect();
        for place in &places[1..] {
            assert!(!place.has_turn() && !is_now(place.turn()));
        }
        for place in places {
            assert!(is_now(place.turn()), "the turn was lost");
        }
        assert!(queues.state.lock().queues.is_empty());
        assert!(queues.enter_if_waiting(&exit(), client).is_none());
    }

    #[tokio::test]
    async fn the_next_is_woken_when_the_oldest_leaves_and_not_before() {
        let queues = BusyQueues::default();
        let client = Client::of(&1);
        let (first, second) = (queues.enter(&exit(), client), queues.enter(&exit(), client));
        let third = queues.enter(&exit(), client);
        let mut turn = pin!(third.turn());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(turn.as_mut().poll(&mut cx).is_pending());
        drop(second);
        assert!(turn.as_mut().poll(&mut cx).is_pending());
        drop(first);
        turn.await;
    }

    #[test]
    fn clients_and_far_sides_have_queues_of_their_own() {
        let queues = BusyQueues::default();
        let other = FarSide::Exit("other".into());
        let places = [
            queues.enter(&exit(), Client::of(&1)),
            queues.enter(&exit(), Client::of(&2)),
            queues.enter(&other, Client::of(&1)),
        ];
        assert!(places.iter().all(BusyPlace::has_turn));
        assert!(queues.enter_if_waiting(&other, Client::of(&2)).is_none());
        let behind = queues.enter_if_waiting(&other, Client::of(&1));
        assert!(behind.is_some_and(|place| !place.has_turn()));
        drop(places);
        assert_eq!(queues.count.load(Relaxed), 0);
    }

    #[test]
    fn one_that_waits_for_an_answer_lets_the_others_pass_and_keeps_its_position() {
        let queues = BusyQueues::default();
        let client = Client::of(&1);
        let (first, second) = (queues.enter(&exit(), client), queues.enter(&exit(), client));
        first.step_aside();
        assert!(second.has_turn() && is_now(second.turn()));
        first.step_back();
        assert!(first.has_turn() && !second.has_turn());
        first.step_aside();
        drop(first);
        assert!(second.has_turn());
        drop(second);
        assert!(queues.state.lock().queues.is_empty());
    }
}
