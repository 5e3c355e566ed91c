//! Upkeep: idle sessions, and operations on many sessions at once: eviction, expiry.
//!
//! In:    a predicate or the time.
//! Out:   sessions to close after unlocking.

use super::SessionEntry;
use crate::conn::{Conn, Key};
use crate::event::Reason;
use crate::permits::{After, OriginState, Permits};
#[cfg(test)]
use crate::permits::{Waiter, Want};
use crate::session::Session;
use crate::slab::Id;
use std::time::Instant;

impl<K: Key, C: Conn, S: Session> Permits<K, C, S> {
    /// When the least recently used idle session became idle: of this origin, or of all.
    pub(crate) fn session_idle_since(&self, of: Option<&K>) -> Option<Instant> {
        let id = self.oldest_idle_of(of)?;
        Some(self.sessions[id].idle_since)
    }

    /// Retires that session.
    pub(crate) fn retire_oldest_idle(
        &mut self,
        of: Option<&K>,
        after: &mut After<K, C, S>,
    ) -> bool {
        let oldest = self.oldest_idle_of(of);
        if let Some(id) = oldest {
            self.retire(id, Reason::Reclaimed, after);
        }
        oldest.is_some()
    }

    fn oldest_idle_of(&self, of: Option<&K>) -> Option<Id<SessionEntry<K, C, S>>> {
        match of {
            Some(key) => self.oldest_idle_session(Some(*self.index.get(key)?)),
            None => self.oldest_idle_session(None),
        }
    }

    pub(super) fn oldest_idle_session(
        &self,
        of: Option<Id<OriginState<K, C, S>>>,
    ) -> Option<Id<SessionEntry<K, C, S>>> {
        let Some(origin) = of else {
            return self.idle_sessions.first();
        };
        if self.origins[origin].sharing.idle == 0 {
            return None;
        }
        self.idle_sessions
            .ids(&self.sessions)
            .find(|id| self.sessions[*id].origin == origin)
    }

    /// When the next idle session must be closed.
    pub(crate) fn next_session_expiry(&self) -> Option<Instant> {
        let idle = self.idle_sessions.ids(&self.sessions);
        idle.map(|id| self.sessions[id].good_until).min()
    }

    /// Retires idle sessions whose time is over; returns their number.
    pub(crate) fn expire_sessions(&mut self, now: Instant, after: &mut After<K, C, S>) -> usize {
        self.retire_each(after, |entry| {
            let is_over = entry.is_idle && entry.good_until <= now;
            let is_old = entry.ends.is_some_and(|ends| ends <= now);
            is_over.then_some(if is_old {
                Reason::Lifetime
            } else {
                Reason::IdleTimeout
            })
        })
    }

    pub(crate) fn retire_idle_sessions(
        &mut self,
        reason: Reason,
        after: &mut After<K, C, S>,
    ) -> usize {
        self.retire_each(after, |entry| entry.is_idle.then_some(reason))
    }

    pub(crate) fn retire_sessions(
        &mut self,
        reason: Reason,
        after: &mut After<K, C, S>,
        mut which: impl FnMut(&K, &S) -> bool,
    ) -> usize {
        self.retire_each(after, |entry| {
            let shared = entry.shared.as_ref()?;
            which(shared.permit.key(), &shared.session).then_some(reason)
        })
    }

    /// Retires the sessions for which `which` has a reason; returns how many of them were idle.
    fn retire_each(
        &mut self,
        after: &mut After<K, C, S>,
        mut which: impl FnMut(&SessionEntry<K, C, S>) -> Option<Reason>,
    ) -> usize {
        let chosen: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, entry)| entry.shared.is_some())
            .filter_map(|(id, entry)| Some((id, which(entry)?, entry.is_idle)))
            .collect();
        for (id, reason, _) in &chosen {
            self.retire(*id, *reason, after);
        }
        chosen.iter().filter(|(_, _, is_idle)| *is_idle).count()
    }
}

#[cfg(test)]
impl<K: Key, C: Conn, S: Session> Permits<K, C, S> {
    /// Checks the sessions of one origin from scratch.
    pub(in crate::permits) fn audit_sessions(
        &self,
        id: Id<OriginState<K, C, S>>,
        origin: &OriginState<K, C, S>,
    ) {
        let sharing = &origin.sharing;
        let (mut idle, mut streams) = (0, 0);
        let mut expected = vec![(0, 0); self.shards];
        for session in sharing.sessions.ids(&self.sessions) {
            let entry = &self.sessions[session];
            let used = entry.places.iter().filter(|place| place.in_use).count();
            assert_eq!(used, entry.in_use);
            assert!(entry.origin == id);
            assert_eq!(entry.places.len(), entry.in_use + entry.vacant.len());
            let is_open = entry.shared.is_some();
            assert_eq!(entry.is_idle, is_open && entry.in_use == 0);
            assert_eq!(entry.is_available, is_open && entry.in_use < entry.allowed);
            assert!(entry.allowed <= entry.max_streams);
            let listed = sharing.shards[entry.shard].available.ids(&self.sessions);
            assert_eq!(
                listed.filter(|listed| *listed == session).count(),
                usize::from(entry.is_available)
            );
            assert!(
                !entry.is_available || sharing.waiting == 0,
                "a waiter and a free slot at once"
            );
            let (own, others) = self.waits(&origin.key);
            assert!(
                !entry.is_idle || !(own || others),
                "a waiter and an idle session at once"
            );
            let (sessions, available) = &mut expected[entry.shard];
            *sessions += usize::from(is_open);
            *available += usize::from(entry.is_available);
            idle += usize::from(entry.is_idle);
            streams += entry.in_use;
        }
        assert_eq!((idle, streams), (sharing.idle, sharing.streams));
        let waiting = origin.queue.ids(&self.waiters);
        let waiting = waiting.filter(|id| self.waiters[*id].want == Want::Shared);
        assert_eq!(waiting.count(), sharing.waiting);
        let dials: usize = sharing.shards.iter().map(|shard| shard.expected).sum();
        let sessions: usize = expected.iter().map(|(sessions, _)| sessions).sum();
        assert_eq!(dials, sessions + sharing.dials);
        for (shard, (sessions, available)) in sharing.shards.iter().zip(expected) {
            assert!(shard.expected >= sessions);
            assert_eq!(shard.available.len(), available);
        }
        assert!(idle <= self.max_idle_per_origin);
    }

    pub(crate) fn streams_of(&self, id: Id<SessionEntry<K, C, S>>) -> usize {
        self.sessions[id].in_use
    }

    /// The number of waiters at most for which a permit will be free without further steps: sessions
    /// are being closed, or all waiters that just lost a dial will still make room.
    pub(in crate::permits) fn provided_for(&self) -> usize {
        let makes_room = |(_, waiter): (_, &Waiter<K, C, S>)| waiter.makes_room;
        if self.waiters.iter().any(makes_room) {
            return usize::MAX;
        }
        let closing = |entry: &SessionEntry<K, C, S>| entry.shared.is_none() && entry.in_use == 0;
        self.sessions
            .iter()
            .filter(|(_, entry)| closing(entry))
            .count()
    }

    /// The numbers of sessions, and of idle ones in the list of all.
    pub(in crate::permits) fn session_counts(&self) -> (usize, usize) {
        (self.sessions.len(), self.idle_sessions.len())
    }
}
