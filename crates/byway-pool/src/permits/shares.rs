//! Shares: how the places in a full queue are divided between clients, and between origins.
//!
//! In:    waiters that enter and leave.   Out:   the waiter that a newcomer displaces.
//! Never: displaces a waiter of a client that has no more than its share.
//!
//! There is one queue for all origins, and a client may fill it while no other one wants a place.
//! When it is full:
//!
//! 1. A newcomer whose client would still have fewer waiters than another client displaces the
//!    newest waiter of the client with the most waiters. So a newcomer is refused only if its
//!    client already has its share of the queue: the places divided by the number of waiting
//!    clients, rounded down.
//! 2. Otherwise, a newcomer whose origin would still have fewer waiters than another origin
//!    displaces a waiter of the origin with the most, either of its own client or of one that has
//!    more waiters than its own. The numbers of the clients then stay the same, or the two clients
//!    swap theirs.
//!
//! Each displacement makes the clients more equal, or keeps their numbers and makes the origins
//! more equal. So two clients cannot displace each other without end.
//!
//! Entering and leaving cost O(1), and so does the first rule. The second rule may visit each
//! waiter of one origin.

use super::{Id, OriginState, Permits, Waiter, WaiterState};
use crate::client::Client;
use crate::conn::{Conn, Key};
use crate::list::{Linked, Links, List};
use crate::session::Session;
use crate::slab::Slab;
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::task::Waker;

/// The list of a [`Waiter`] with all waiters of its client.
const OF_CLIENT: usize = 2;
/// The list of an [`OriginState`] with all origins that have the same number of waiters.
const RANK: usize = 1;

/// The number of places in the queue by client and by origin.
pub(super) struct Shares<K: Key, C: Conn, S: Session> {
    index: HashMap<Client, Id<ClientQueue<K, C, S>>, RandomState>,
    clients: Slab<ClientQueue<K, C, S>>,
    by_client: Ranking<ClientQueue<K, C, S>, 0>,
    by_origin: Ranking<OriginState<K, C, S>, RANK>,
}

/// Which share a displaced waiter exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    OfClient,
    OfOrigin,
}

/// A waiter that can be displaced, and the share that it exceeds.
type Excess<K, C, S> = (Id<Waiter<K, C, S>>, Share);

/// The waiters of one client, for all origins, oldest first; it exists while it is not empty.
pub(super) struct ClientQueue<K: Key, C: Conn, S: Session> {
    waiters: List<Waiter<K, C, S>, OF_CLIENT>,
    rank: Links<Self>,
}

/// Values sorted by a size that changes by one at a time.
struct Ranking<T, const N: usize> {
    /// The values of size n at index n - 1.
    by_size: Vec<List<T, N>>,
    largest: usize,
}

impl<T: Linked<N>, const N: usize> Ranking<T, N> {
    fn grow(&mut self, values: &mut Slab<T>, id: Id<T>, from: usize) {
        if from > 0 {
            self.by_size[from - 1].remove(values, id);
        }
        if self.by_size.len() == from {
            self.by_size.push(List::default());
        }
        self.by_size[from].push_back(values, id);
        self.largest = self.largest.max(from + 1);
    }

    fn shrink(&mut self, values: &mut Slab<T>, id: Id<T>, from: usize) {
        self.by_size[from - 1].remove(values, id);
        if from > 1 {
            self.by_size[from - 2].push_back(values, id);
        }
        if self.largest == from && self.by_size[from - 1].is_empty() {
            self.largest -= 1;
        }
    }

    /// The largest size, and a value of that size.
    fn largest(&self) -> Option<(usize, Id<T>)> {
        let place = self.largest.checked_sub(1)?;
        Some((self.largest, self.by_size[place].first()?))
    }
}

impl<K: Key, C: Conn, S: Session> Shares<K, C, S> {
    /// The number of places of the client.
    fn places_of(&self, client: Client) -> usize {
        self.index
            .get(&client)
            .map_or(0, |id| self.clients[*id].waiters.len())
    }
}

impl<K: Key, C: Conn, S: Session> Permits<K, C, S> {
    /// Counts a waiter that was just added to its origin's queue.
    pub(super) fn take_place(&mut self, id: Id<Waiter<K, C, S>>) {
        let Waiter { origin, client, .. } = self.waiters[id];
        let Shares {
            index,
            clients,
            by_client,
            by_origin,
        } = &mut self.shares;
        let new = || ClientQueue {
            waiters: List::default(),
            rank: Links::default(),
        };
        let of_client = *index.entry(client).or_insert_with(|| clients.insert(new()));
        let before = clients[of_client].waiters.len();
        clients[of_client].waiters.push_back(&mut self.waiters, id);
        by_client.grow(clients, of_client, before);
        let waiters = self.origins[origin].queue.len();
        by_origin.grow(&mut self.origins, origin, waiters - 1);
    }

    /// Stops counting a waiter that was just removed from its origin's queue.
    pub(super) fn leave_place(&mut self, id: Id<Waiter<K, C, S>>) {
        let Waiter { origin, client, .. } = self.waiters[id];
        let Shares {
            index,
            clients,
            by_client,
            by_origin,
        } = &mut self.shares;
        let waiters = self.origins[origin].queue.len();
        by_origin.shrink(&mut self.origins, origin, waiters + 1);
        let Some(of_client) = index.get(&client).copied() else {
            return;
        };
        let before = clients[of_client].waiters.len();
        by_client.shrink(clients, of_client, before);
        clients[of_client].waiters.remove(&mut self.waiters, id);
        if before == 1 {
            index.remove(&client);
            clients.remove(of_client);
        }
    }

    /// The waiter that a newcomer displaces while the queue is full; `None` if the newcomer is
    /// refused.
    pub(super) fn displaced_by(
        &self,
        origin: Id<OriginState<K, C, S>>,
        client: Client,
    ) -> Option<Excess<K, C, S>> {
        let own = self.shares.places_of(client);
        let (most, of_client) = self.shares.by_client.largest()?;
        if own + 1 < most {
            return self.shares.clients[of_client]
                .waiters
                .last()
                .map(|newest| (newest, Share::OfClient));
        }
        let (most_of_origins, largest) = self.shares.by_origin.largest()?;
        if self.origins[origin].queue.len() + 1 >= most_of_origins {
            return None;
        }
        let largest = &self.origins[largest];
        if most <= own && !largest.contest.awaits(client) {
            return None;
        }
        let queue = &largest.queue;
        let mut newest_first =
            std::iter::successors(queue.last(), |id| queue.before(&self.waiters, *id));
        let displaced = newest_first.find(|id| {
            let of = self.waiters[*id].client;
            of == client || self.shares.places_of(of) > own
        });
        displaced.map(|waiter| (waiter, Share::OfOrigin))
    }

    /// Removes a waiter from the queue, with [`WaiterState::Displaced`]; returns its waker.
    pub(super) fn displace(&mut self, waiter: Id<Waiter<K, C, S>>, share: Share) -> Option<Waker> {
        let origin = self.unlink(waiter);
        let state = std::mem::replace(
            &mut self.waiters[waiter].state,
            WaiterState::Displaced(share),
        );
        self.totals.queue_full += 1;
        self.refresh(origin);
        match state {
            WaiterState::Waiting(waker) => waker,
            WaiterState::Granted(_) | WaiterState::Displaced(_) | WaiterState::Closed => None,
        }
    }

    /// Counts everything again and compares.
    #[cfg(test)]
    pub(super) fn audit_shares(&self) {
        let Shares {
            index,
            clients,
            by_client,
            by_origin,
        } = &self.shares;
        assert_eq!(index.len(), clients.len());
        let mut places = 0;
        for (id, of_client) in clients.iter() {
            let ids: Vec<_> = of_client.waiters.ids(&self.waiters).collect();
            let indexed =
                |waiter: &Id<Waiter<K, C, S>>| index.get(&self.waiters[*waiter].client).copied();
            assert!(
                ids.iter()
                    .all(|waiter| indexed(waiter).is_some_and(|indexed| indexed == id))
            );
            assert!(
                ids.iter()
                    .all(|id| matches!(self.waiters[*id].state, WaiterState::Waiting(_)))
            );
            assert!(!ids.is_empty() && ids.len() == of_client.waiters.len());
            assert!(
                by_client.by_size[ids.len() - 1]
                    .ids(clients)
                    .any(|ranked| ranked == id)
            );
            places += ids.len();
        }
        assert_eq!(
            places, self.pending,
            "the counts of waiters by client are wrong"
        );
        let ranked = by_origin.by_size.iter().enumerate();
        let ranked =
            ranked.flat_map(|(place, list)| list.ids(&self.origins).map(move |id| (id, place + 1)));
        let mut waiting = 0;
        for (id, waiters) in ranked {
            assert_eq!(
                self.origins[id].queue.len(),
                waiters,
                "an origin has the wrong rank"
            );
            waiting += waiters;
        }
        assert_eq!(waiting, self.pending);
        let most = clients
            .iter()
            .map(|(_, of)| of.waiters.len())
            .max()
            .unwrap_or(0);
        assert_eq!(by_client.largest, most);
        let most = self
            .origins
            .iter()
            .map(|(_, of)| of.queue.len())
            .max()
            .unwrap_or(0);
        assert_eq!(by_origin.largest, most);
    }
}

impl<K: Key, C: Conn, S: Session> Default for Shares<K, C, S> {
    fn default() -> Self {
        Self {
            index: HashMap::default(),
            clients: Slab::new(),
            by_client: Ranking::default(),
            by_origin: Ranking::default(),
        }
    }
}

impl<T, const N: usize> Default for Ranking<T, N> {
    fn default() -> Self {
        Self {
            by_size: Vec::new(),
            largest: 0,
        }
    }
}

impl<K: Key, C: Conn, S: Session> Linked<OF_CLIENT> for Waiter<K, C, S> {
    fn links(&mut self) -> &mut Links<Self> {
        &mut self.of_client
    }

    fn linked(&self) -> &Links<Self> {
        &self.of_client
    }
}

impl<K: Key, C: Conn, S: Session> Linked<0> for ClientQueue<K, C, S> {
    fn links(&mut self) -> &mut Links<Self> {
        &mut self.rank
    }

    fn linked(&self) -> &Links<Self> {
        &self.rank
    }
}

impl<K: Key, C: Conn, S: Session> Linked<RANK> for OriginState<K, C, S> {
    fn links(&mut self) -> &mut Links<Self> {
        &mut self.rank
    }

    fn linked(&self) -> &Links<Self> {
        &self.rank
    }
}
