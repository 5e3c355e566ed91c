//! Upkeep: what happens to many idle connections at once: eviction, expiry, counting.
//!
//! In:    a predicate or the time.
//! Out:   connections to close after unlocking.
//! Never: serves a waiter: the permits of what comes out of here do, once it was closed.

use super::{Berth, Id, Shelves, Taken};
use crate::pool::conn::{Conn, Key};
use crate::pool::event::Reason;
use crate::pool::lease::Held;
use std::collections::HashMap;
use std::time::Instant;

impl<K: Key, C: Conn> Shelves<K, C> {
    /// Takes out every idle connection that the predicate names.
    pub(crate) fn evict(&mut self, mut which: impl FnMut(&K, &C) -> bool) -> Taken<K, C> {
        let mut named = |held: &Held<K, C>| which(held.key(), held.conn());
        let ids: Vec<_> = self
            .berths
            .iter()
            .filter_map(|(id, berth)| berth.held.as_deref().is_some_and(&mut named).then_some(id))
            .collect();
        ids.into_iter()
            .filter_map(|id| Some(self.take(id)?.closed_for(Reason::Evicted)))
            .collect()
    }

    /// Takes out every idle connection of one origin.
    pub(crate) fn evict_key(&mut self, key: &K) -> Taken<K, C> {
        let mut taken = Vec::new();
        while let Some(held) = self.take_oldest(Some(key)) {
            taken.push(held.closed_for(Reason::Evicted));
        }
        taken
    }

    /// Takes out everything, and keeps nothing from now on.
    pub(crate) fn shut(&mut self) -> Taken<K, C> {
        self.shut = true;
        let mut taken = Vec::new();
        while let Some(held) = self.take_oldest(None) {
            taken.push(held.closed_for(Reason::Closed));
        }
        taken
    }

    /// Takes out every idle connection whose time has come.
    pub(crate) fn expire(&mut self, now: Instant) -> Taken<K, C> {
        let mut taken = Vec::new();
        while let Some((at, berth)) = self.soonest()
            && at <= now
            && let Some(held) = self.take(berth)
        {
            taken.push(held.closed_for_age(now));
        }
        taken
    }

    /// When the next idle connection has to be closed. Exact.
    pub(crate) fn next_expiry(&mut self) -> Option<Instant> {
        self.soonest().map(|(at, _)| at)
    }

    /// Adds the number of idle connections of each origin.
    pub(crate) fn count_idle(&self, into: &mut HashMap<K, usize>) {
        for (key, shelf) in &self.index {
            let idle = self.shelves[*shelf].idle.len();
            if idle > 0 {
                *into.entry(key.clone()).or_default() += idle;
            }
        }
    }

    /// Sees to it that an alarm goes off at `at`.
    pub(super) fn arm(&mut self, berth: Id<Berth<K, C>>, at: Instant) {
        let serial = self.expiry.push(at, berth);
        self.berths[berth].alarm = Some((at, serial));
        let berths = &self.berths;
        self.expiry.tidy(berths.len(), |alarm| {
            berths
                .get(alarm.of)
                .is_some_and(|berth| berth.alarm_is(alarm.serial))
        });
    }

    /// The idle connection that expires first. Removes void alarms on its way and sets early ones
    /// again.
    fn soonest(&mut self) -> Option<(Instant, Id<Berth<K, C>>)> {
        loop {
            let (at, serial, id) = self
                .expiry
                .earliest()
                .map(|alarm| (alarm.at, alarm.serial, alarm.of))?;
            let valid = self.berths.get(id).filter(|berth| berth.alarm_is(serial));
            let due = valid.and_then(|berth| berth.held.as_ref().map(|held| held.good_until()));
            if due == Some(at) {
                return Some((at, id));
            }
            let valid = valid.is_some();
            self.expiry.pop();
            if valid {
                self.berths[id].alarm = None;
            }
            if let Some(due) = due {
                self.arm(id, due);
            }
        }
    }
}

impl<K: Key, C: Conn> Berth<K, C> {
    fn alarm_is(&self, serial: u64) -> bool {
        self.alarm.is_some_and(|(_, valid)| valid == serial)
    }
}

#[cfg(test)]
impl<K: Key, C: Conn> Shelves<K, C> {
    /// Checks this shard from scratch, and adds what it has to `berths` and `idle`.
    pub(crate) fn audit(&self, berths: &mut HashMap<K, usize>, idle: &mut HashMap<K, usize>) {
        let (mut moored, mut kept) = (0, 0);
        for (key, id) in &self.index {
            let shelf = &self.shelves[*id];
            assert!(shelf.berths > 0, "an empty origin was kept");
            assert!(shelf.idle.len() <= self.max_idle_per_origin);
            let rested = shelf
                .rested
                .is_none_or(|rested| shelf.idle.ids(&self.berths).any(|idle| idle == rested));
            assert!(rested, "a connection that is not idle is thought to be");
            *berths.entry(key.clone()).or_default() += shelf.berths;
            *idle.entry(key.clone()).or_default() += shelf.idle.len();
            moored += shelf.berths;
            kept += shelf.idle.len();
        }
        assert_eq!(
            (moored, kept, self.shelves.len()),
            (self.berths.len(), self.by_age.len(), self.index.len())
        );
        assert!(kept <= self.max_idle_total && !(self.shut && kept > 0));
        assert!(self.expiry.len() <= 65 + 2 * self.berths.places());
        for (_, berth) in self.berths.iter() {
            let on_time =
                |held: &Held<K, C>| berth.alarm.is_some_and(|(at, _)| at <= held.good_until());
            assert!(
                berth.held.as_deref().is_none_or(on_time),
                "an idle connection has no alarm"
            );
        }
    }

    /// Shelves, berths, and places for them that were ever needed at once.
    pub(crate) fn places(&self) -> (usize, usize, usize) {
        (
            self.shelves.len(),
            self.berths.len(),
            self.shelves.places().max(self.berths.places()),
        )
    }
}
