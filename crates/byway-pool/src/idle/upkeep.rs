//! Upkeep: operations on many idle connections at once: eviction, expiry, counting.
//!
//! In:    a predicate or the time.
//! Out:   connections to close after unlocking. Their permits then serve waiters.

use super::{Id, IdleStore, Slot, SlotId, Taken};
use crate::conn::{Conn, Key};
use crate::event::Reason;
use crate::lease::PooledConn;
use crate::session::Session;
use std::collections::HashMap;
use std::time::Instant;

impl<K: Key, C: Conn, S: Session> IdleStore<K, C, S> {
    /// Takes out every idle connection that matches the predicate.
    pub(crate) fn evict(&mut self, mut which: impl FnMut(&K, &C) -> bool) -> Taken<K, C, S> {
        let mut named = |pooled: &PooledConn<K, C, S>| which(pooled.key(), pooled.conn());
        let ids: Vec<_> = self
            .slots
            .iter()
            .filter_map(|(id, slot)| slot.pooled.as_deref().is_some_and(&mut named).then_some(id))
            .collect();
        ids.into_iter()
            .filter_map(|id| Some(self.take(id)?.closed_for(Reason::Evicted)))
            .collect()
    }

    /// Takes out every idle connection of one origin.
    pub(crate) fn evict_key(&mut self, key: &K) -> Taken<K, C, S> {
        let mut taken = Vec::new();
        while let Some(pooled) = self.take_oldest(Some(key)) {
            taken.push(pooled.closed_for(Reason::Evicted));
        }
        taken
    }

    /// Takes out everything, and keeps nothing from now on.
    pub(crate) fn shut(&mut self) -> Taken<K, C, S> {
        self.shut = true;
        let mut taken = Vec::new();
        while let Some(pooled) = self.take_oldest(None) {
            taken.push(pooled.closed_for(Reason::Closed));
        }
        taken
    }

    /// Takes out every idle connection whose time is over.
    pub(crate) fn expire(&mut self, now: Instant) -> Taken<K, C, S> {
        let mut taken = Vec::new();
        while let Some((at, slot)) = self.soonest()
            && at <= now
            && let Some(pooled) = self.take(slot)
        {
            taken.push(pooled.closed_for_age(now));
        }
        taken
    }

    /// When the next idle connection must be closed. Exact.
    pub(crate) fn next_expiry(&mut self) -> Option<Instant> {
        self.soonest().map(|(at, _)| at)
    }

    /// Adds the number of idle connections of each origin.
    pub(crate) fn count_idle(&self, into: &mut HashMap<K, usize>) {
        for (key, origin) in &self.index {
            let idle = self.idle_store[*origin].idle.len();
            if idle > 0 {
                *into.entry(key.clone()).or_default() += idle;
            }
        }
    }

    /// Adds an expiry entry for `at`.
    pub(super) fn arm(&mut self, slot: Id<Slot<K, C, S>>, at: Instant) {
        let serial = self.expiry.push(at, slot);
        self.slots[slot].expiry_entry = Some((at, serial));
        let slots = &self.slots;
        self.expiry.tidy(slots.len(), |expiry_entry| {
            slots
                .get(expiry_entry.of)
                .is_some_and(|slot| slot.is_expiry_entry(expiry_entry.serial))
        });
    }

    /// The idle connection that expires first. Removes stale entries and replaces early ones.
    fn soonest(&mut self) -> Option<(Instant, SlotId<K, C, S>)> {
        loop {
            let (at, serial, id) = self
                .expiry
                .earliest()
                .map(|expiry_entry| (expiry_entry.at, expiry_entry.serial, expiry_entry.of))?;
            let valid = self
                .slots
                .get(id)
                .filter(|slot| slot.is_expiry_entry(serial));
            let due = valid.and_then(|slot| slot.pooled.as_ref().map(|pooled| pooled.good_until()));
            if due == Some(at) {
                return Some((at, id));
            }
            let valid = valid.is_some();
            self.expiry.pop();
            if valid {
                self.slots[id].expiry_entry = None;
            }
            if let Some(due) = due {
                self.arm(id, due);
            }
        }
    }
}

impl<K: Key, C: Conn, S: Session> Slot<K, C, S> {
    fn is_expiry_entry(&self, serial: u64) -> bool {
        self.expiry_entry.is_some_and(|(_, valid)| valid == serial)
    }
}

#[cfg(test)]
impl<K: Key, C: Conn, S: Session> IdleStore<K, C, S> {
    /// Checks this shard from scratch, and adds its counts to `slots` and `idle`.
    pub(crate) fn audit(&self, slots: &mut HashMap<K, usize>, idle: &mut HashMap<K, usize>) {
        self.waiters.audit();
        let (mut slot_count, mut kept) = (0, 0);
        for (key, id) in &self.index {
            let origin = &self.idle_store[*id];
            assert!(origin.slots > 0, "an empty origin was kept");
            assert!(origin.idle.len() <= self.max_idle_per_origin);
            assert!(
                origin.idle.ids(&self.slots).all(|idle| {
                    let pooled = self.slots[idle].pooled.as_deref();
                    pooled.is_none_or(|pooled| !self.waiters.waits_for(key, pooled.opener()))
                }),
                "an idle connection was kept from a waiter"
            );
            let rested = origin
                .rested
                .is_none_or(|rested| origin.idle.ids(&self.slots).any(|idle| idle == rested));
            assert!(rested, "`rested` is not an idle connection");
            *slots.entry(key.clone()).or_default() += origin.slots;
            *idle.entry(key.clone()).or_default() += origin.idle.len();
            slot_count += origin.slots;
            kept += origin.idle.len();
        }
        assert_eq!(
            (slot_count, kept, self.idle_store.len()),
            (self.slots.len(), self.by_age.len(), self.index.len())
        );
        assert!(kept <= self.max_idle_total && !(self.shut && kept > 0));
        assert!(self.expiry.len() <= 65 + 2 * self.slots.places());
        for (_, slot) in self.slots.iter() {
            let on_time = |pooled: &PooledConn<K, C, S>| {
                slot.expiry_entry
                    .is_some_and(|(at, _)| at <= pooled.good_until())
            };
            assert!(
                slot.pooled.as_deref().is_none_or(on_time),
                "an idle connection has no expiry entry"
            );
        }
    }

    /// The number of idle lists and of slots, and the largest capacity of their slabs.
    pub(crate) fn places(&self) -> (usize, usize, usize) {
        (
            self.idle_store.len(),
            self.slots.len(),
            self.idle_store.places().max(self.slots.places()),
        )
    }
}
