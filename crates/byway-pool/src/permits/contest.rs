//! Contest: which waiter is served when several clients want one origin, and which exchange is
//! recalled.
//!
//! In:    waiters and permits of an origin, by client.
//! Out:   the waiter whose client holds least; the exchange to end.
//! Never: does any work while all waiters belong to one client, the usual case.
//!
//! What a client holds is counted when two clients begin to compete, and then updated: while an
//! acquire waits for an origin, none of its connections is idle, and every permit that moves passes
//! through the permits. This misses a connection that was checked out of an idle list just before,
//! so the counts are renewed after as many steps as there are permits.

use super::{Id, OriginState, Permits, Waiter, WaiterState, Want};
use crate::client::Client;
use crate::conn::{Conn, Key};
use crate::hold::Hold;
use crate::session::Session;
use foldhash::fast::RandomState;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

/// The clients of one origin; empty while there is no waiter.
#[derive(Default)]
pub(super) struct Contest {
    clients: HashMap<Client, Usage, RandomState>,
    /// The number of clients with waiters.
    waiting: usize,
    /// Steps until the permits are counted again.
    count_in: usize,
}

#[derive(Clone, Copy, Default)]
struct Usage {
    waiting: usize,
    held: usize,
}

impl Contest {
    pub(super) fn enters(&mut self, client: Client) {
        let usage = self.clients.entry(client).or_default();
        usage.waiting += 1;
        self.waiting += usize::from(usage.waiting == 1);
    }

    /// A waiter has been served or has left. `is_over`: it was the last waiter.
    pub(super) fn leaves(&mut self, client: Client, is_over: bool) {
        if is_over {
            return *self = Self::default();
        }
        if let Some(usage) = self.clients.get_mut(&client) {
            usage.waiting -= 1;
            self.waiting -= usize::from(usage.waiting == 0);
        }
    }

    /// The client received a permit.
    pub(super) fn takes(&mut self, client: Client) {
        if !self.clients.is_empty() {
            self.clients.entry(client).or_default().held += 1;
        }
    }

    /// The client gave up a permit.
    pub(super) fn gives(&mut self, client: Client) {
        if let Some(usage) = self.clients.get_mut(&client) {
            usage.held = usage.held.saturating_sub(1);
        }
    }

    /// Whether the client has a waiter.
    pub(super) fn awaits(&self, client: Client) -> bool {
        self.clients
            .get(&client)
            .is_some_and(|usage| usage.waiting > 0)
    }

    fn is_between_clients(&self) -> bool {
        self.waiting > 1
    }

    fn held(&self, client: Client) -> usize {
        self.clients.get(&client).map_or(0, |usage| usage.held)
    }

    fn count(&mut self, holds: impl Iterator<Item = Client>) {
        if self.count_in > 0 {
            self.count_in -= 1;
            return;
        }
        self.clients.values_mut().for_each(|usage| usage.held = 0);
        for client in holds {
            self.clients.entry(client).or_default().held += 1;
            self.count_in += 1;
        }
        self.clients
            .retain(|_, usage| usage.waiting > 0 || usage.held > 0);
    }
}

/// Serving.
impl<K: Key, C: Conn, S: Session> Permits<K, C, S> {
    /// The waiter of an origin to serve next: the first one of the client that holds least.
    pub(super) fn next_waiter(
        &mut self,
        id: Id<OriginState<K, C, S>>,
    ) -> Option<Id<Waiter<K, C, S>>> {
        self.next_waiter_that(id, |_| true)
    }

    /// The same among those that accept a stream.
    pub(super) fn next_waiter_for_stream(
        &mut self,
        id: Id<OriginState<K, C, S>>,
    ) -> Option<Id<Waiter<K, C, S>>> {
        match self.origins[id].sharing.waiting {
            0 => None,
            _ => self.next_waiter_that(id, |waiter| waiter.want == Want::Shared),
        }
    }

    fn next_waiter_that(
        &mut self,
        id: Id<OriginState<K, C, S>>,
        which: impl Fn(&Waiter<K, C, S>) -> bool,
    ) -> Option<Id<Waiter<K, C, S>>> {
        let origin = &mut self.origins[id];
        let first = origin
            .queue
            .ids(&self.waiters)
            .find(|waiter| which(&self.waiters[*waiter]))?;
        if !origin.contest.is_between_clients() {
            return Some(first);
        }
        let permits = origin.holds.iter().map(|(_, hold)| hold);
        let streams = Self::stream_holds(&self.sessions, &origin.sharing);
        origin
            .contest
            .count(permits.chain(streams).map(|hold| hold.client()));
        let (mut best, mut least) = (first, usize::MAX);
        let queue = origin.queue.ids(&self.waiters);
        for waiter in queue.filter(|waiter| which(&self.waiters[*waiter])) {
            let held = origin.contest.held(self.waiters[waiter].client);
            if held < least {
                (best, least) = (waiter, held);
            }
            if held == 0 {
                break;
            }
        }
        Some(best)
    }

    /// The first waiter in one shard whose client holds no more than that of `next`.
    pub(super) fn next_in_shard(
        &self,
        id: Id<OriginState<K, C, S>>,
        shard: usize,
        next: Id<Waiter<K, C, S>>,
    ) -> Option<Id<Waiter<K, C, S>>> {
        let origin = &self.origins[id];
        let shard_queue = origin.shard_queues.get(shard)?;
        if !origin.contest.is_between_clients() {
            return shard_queue.queue.first();
        }
        let held = |waiter: Id<Waiter<K, C, S>>| origin.contest.held(self.waiters[waiter].client);
        let least = held(next);
        shard_queue
            .queue
            .ids(&self.waiters)
            .find(|waiter| held(*waiter) <= least)
    }
}

/// Recalling permits.
impl<K: Key, C: Conn, S: Session> Permits<K, C, S> {
    /// The exchange to recall for this waiter: among those that wait for their own client, of the
    /// client furthest above its share, the one that has waited longest. `None` if the waiter's
    /// client has its share, or will have it after earlier recalls.
    pub(crate) fn recall_for(&mut self, waiter: Id<Waiter<K, C, S>>) -> Option<Arc<Hold>> {
        let Waiter {
            origin,
            client,
            want,
            ref state,
            ..
        } = self.waiters[waiter];
        if !matches!(state, WaiterState::Waiting(_)) {
            return None;
        }
        let capped = self.at_cap(origin);
        let mut limit = if capped {
            self.max_per_origin
        } else {
            self.max_total
        };
        // The permits that block the waiter: its origin's, or all.
        let holds = self
            .origins
            .iter()
            .filter(|(id, _)| !capped || *id == origin);
        let mut holds: Vec<&Arc<Hold>> = holds
            .flat_map(|(_, origin)| origin.holds.iter().map(|(_, hold)| hold))
            .filter(|hold| hold.client() != Client::SESSION)
            .collect();
        if want == Want::Shared {
            // A stream of its own origin would do, too.
            let sharing = &self.origins[origin].sharing;
            holds.extend(Self::stream_holds(&self.sessions, sharing));
            let sessions = sharing.sessions.ids(&self.sessions);
            let slots: usize = sessions.map(|id| self.sessions[id].slots()).sum();
            limit = limit
                .saturating_sub(sharing.sessions.len())
                .saturating_add(slots);
        }
        let mut usages: HashMap<Client, usize, RandomState> = HashMap::default();
        for hold in &holds {
            // One that was already recalled does not count.
            *usages.entry(hold.client()).or_default() += usize::from(!hold.is_leaving());
        }
        let mut recalled = 0;
        for other in self.origins[origin].queue.ids(&self.waiters) {
            let Waiter {
                client: of,
                has_recalled,
                ..
            } = self.waiters[other];
            usages.entry(of).or_default();
            recalled += usize::from(of == client && has_recalled && other != waiter);
        }
        let share = (limit / usages.len().max(1)).max(1);
        if usages
            .get(&client)
            .is_some_and(|held| held + recalled >= share)
        {
            return None;
        }
        let candidates = holds
            .into_iter()
            .filter(|hold| !hold.is_leaving() && hold.client() != client);
        let ranked = candidates.filter_map(|hold| {
            let held = usages
                .get(&hold.client())
                .copied()
                .filter(|held| *held > share)?;
            Some((held, Reverse(hold.waits_since()?), hold))
        });
        let chosen = Arc::clone(ranked.max_by_key(|(held, since, _)| (*held, *since))?.2);
        chosen.recall();
        self.waiters[waiter].has_recalled = true;
        Some(chosen)
    }
}
