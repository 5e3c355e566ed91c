//! Waiters: holders of a permit that wait for an idle connection of its origin in this shard,
//! instead of opening another one.
//!
//! In:    waiters, and connections that are returned to the shard.
//! Out:   each connection to the waiter that came first, of the client that the connection was
//!        opened for: the origin may count it for that client, which would then pay for others.
//! Never: wakes a waiter, or drops a waker or a connection; it is used under the shard's lock.
//!
//! While a client has such waiters for an origin, no connection that was opened for it is idle in
//! the shard.

use crate::client::Client;
use crate::conn::{Conn, Key};
use crate::lease::PooledConn;
use crate::list::{Linked, Links, List};
use crate::session::Session;
use crate::slab::{Id, Slab};
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::task::Waker;

type Pooled<K, C, S> = Box<PooledConn<K, C, S>>;

/// By client.
type OfOrigin<K, C, S> = HashMap<Client, List<IdleWaiter<K, C, S>, 0>, RandomState>;

/// The waiters of a shard. An origin is in the index while it has any that were given nothing yet.
pub(crate) struct IdleWaiters<K: Key, C: Conn, S: Session> {
    index: HashMap<K, OfOrigin<K, C, S>, RandomState>,
    waiters: Slab<IdleWaiter<K, C, S>>,
}

pub(crate) struct IdleWaiter<K: Key, C: Conn, S: Session> {
    state: WaiterState<K, C, S>,
    links: Links<Self>,
}

enum WaiterState<K: Key, C: Conn, S: Session> {
    Waits(Waker),
    Given(Pooled<K, C, S>),
}

impl<K: Key, C: Conn, S: Session> IdleWaiters<K, C, S> {
    /// Whether no waiter needs a connection.
    pub(crate) fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// A new waiter: the last one of its client, or the first one if it was given a connection
    /// before that proved unfit.
    pub(crate) fn enter(
        &mut self,
        key: &K,
        client: Client,
        waker: Waker,
        is_first: bool,
    ) -> Id<IdleWaiter<K, C, S>> {
        let waiter = self.waiters.insert(IdleWaiter {
            state: WaiterState::Waits(waker),
            links: Links::default(),
        });
        let of_origin = match self.index.get_mut(key) {
            Some(of_origin) => of_origin,
            None => self.index.entry(key.clone()).or_default(),
        };
        let of_client = of_origin.entry(client).or_default();
        match is_first {
            true => of_client.insert_before(&mut self.waiters, waiter, |_| true),
            false => of_client.push_back(&mut self.waiters, waiter),
        }
        waiter
    }

    /// Gives a connection to the first waiter of the client that it was opened for, whose waker is
    /// returned; or returns it, if none waits.
    pub(crate) fn give(&mut self, pooled: Pooled<K, C, S>) -> Result<Waker, Pooled<K, C, S>> {
        let Some(of_origin) = self.index.get_mut(pooled.key()) else {
            return Err(pooled);
        };
        let Some(of_client) = of_origin.get_mut(&pooled.opener()) else {
            return Err(pooled);
        };
        let Some(first) = of_client.first() else {
            return Err(pooled);
        };
        of_client.remove(&mut self.waiters, first);
        if of_client.is_empty() {
            of_origin.remove(&pooled.opener());
        }
        if of_origin.is_empty() {
            self.index.remove(pooled.key());
        }
        let state = &mut self.waiters[first].state;
        match std::mem::replace(state, WaiterState::Given(pooled)) {
            WaiterState::Waits(waker) => Ok(waker),
            // It is in no list any more.
            WaiterState::Given(other) => Err(other),
        }
    }

    /// What the waiter was given, which ends its wait; or its previous waker, to be dropped after
    /// unlocking.
    pub(crate) fn poll(
        &mut self,
        waiter: Id<IdleWaiter<K, C, S>>,
        waker: Waker,
    ) -> Result<Pooled<K, C, S>, Waker> {
        if let WaiterState::Waits(known) = &mut self.waiters[waiter].state {
            return Err(std::mem::replace(known, waker));
        }
        match self.waiters.remove(waiter).state {
            WaiterState::Given(pooled) => Ok(pooled),
            WaiterState::Waits(known) => Err(known),
        }
    }

    /// Ends a wait. Returns what the waiter was given, or else its waker.
    pub(crate) fn leave(
        &mut self,
        key: &K,
        client: Client,
        waiter: Id<IdleWaiter<K, C, S>>,
    ) -> Result<Pooled<K, C, S>, Waker> {
        let waits = matches!(self.waiters[waiter].state, WaiterState::Waits(_));
        if waits
            && let Some(of_origin) = self.index.get_mut(key)
            && let Some(of_client) = of_origin.get_mut(&client)
        {
            of_client.remove(&mut self.waiters, waiter);
            if of_client.is_empty() {
                of_origin.remove(&client);
            }
            if of_origin.is_empty() {
                self.index.remove(key);
            }
        }
        match self.waiters.remove(waiter).state {
            WaiterState::Given(pooled) => Ok(pooled),
            WaiterState::Waits(waker) => Err(waker),
        }
    }

    /// Whether one of this client needs a connection of this origin.
    #[cfg(test)]
    pub(crate) fn waits_for(&self, key: &K, client: Client) -> bool {
        let of_origin = self.index.get(key);
        of_origin.is_some_and(|of_origin| of_origin.contains_key(&client))
    }

    /// Checks the index from scratch.
    #[cfg(test)]
    pub(crate) fn audit(&self) {
        let lists = self.index.values().flat_map(HashMap::values);
        let listed: usize = lists.clone().map(List::len).sum();
        let waiting = |waiter: &IdleWaiter<K, C, S>| matches!(waiter.state, WaiterState::Waits(_));
        let all = self.waiters.iter();
        assert_eq!(listed, all.filter(|(_, waiter)| waiting(waiter)).count());
        assert!(lists.into_iter().all(|of_client| !of_client.is_empty()));
        assert!(self.index.values().all(|of_origin| !of_origin.is_empty()));
    }
}

impl<K: Key, C: Conn, S: Session> Default for IdleWaiters<K, C, S> {
    fn default() -> Self {
        Self {
            index: HashMap::default(),
            waiters: Slab::new(),
        }
    }
}

impl<K: Key, C: Conn, S: Session> Linked<0> for IdleWaiter<K, C, S> {
    fn links(&mut self) -> &mut Links<Self> {
        &mut self.links
    }

    fn linked(&self) -> &Links<Self> {
        &self.links
    }
}
