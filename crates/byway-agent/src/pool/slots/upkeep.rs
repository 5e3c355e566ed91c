//! Upkeep: what happens to many slots at once: eviction, expiry, closing, counting.
//!
//! In:    a predicate or the time.   Out:   connections to close after unlocking.   Never: serves a waiter: whoever
//! closes what comes out of here frees the slots, and that does.

use super::{Id, Idle, Loan, Origin, Slot, Slots, Turn};
use crate::pool::stats::{OriginStats, Stats};
use std::hash::Hash;
use std::task::Waker;
use std::time::Instant;

impl<K: Clone + Eq + Hash, C> Slots<K, C> {
    /// Takes out every idle connection that the predicate names.
    pub(crate) fn evict(&mut self, mut which: impl FnMut(&K, &C) -> bool) -> Vec<Loan<K, C>> {
        let named = |(id, idle): (_, &Idle<K, C>)| which(&idle.loan.held.key, &idle.loan.held.conn).then_some(id);
        let ids: Vec<_> = self.idle.iter().filter_map(named).collect();
        self.lend_all(ids)
    }

    /// Takes out every idle connection of one origin; those in use or being dialled will not be kept.
    pub(crate) fn evict_key(&mut self, key: &K) -> Vec<Loan<K, C>> {
        let Some(origin) = self.index.get(key).copied() else { return Vec::new() };
        self.origins[origin].generation += 1;
        let mut loans = Vec::with_capacity(self.origins[origin].idle.len());
        while let Some(idle) = self.origins[origin].idle.first() {
            loans.push(self.lend(idle));
        }
        loans
    }

    /// Takes out every idle connection whose time has come.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<Loan<K, C>> {
        let mut loans = Vec::new();
        while let Some((at, idle)) = self.soonest()
            && at <= now
        {
            loans.push(self.lend(idle));
        }
        loans
    }

    /// When the next idle connection has to be closed. Exact.
    pub(crate) fn next_expiry(&mut self) -> Option<Instant> {
        self.soonest().map(|(at, _)| at)
    }

    /// Takes out everything idle and ends the queue; nothing is admitted or kept from now on.
    pub(crate) fn close(&mut self) -> (Vec<Loan<K, C>>, Vec<Waker>) {
        self.closed = true;
        let loans = self.evict(|_, _| true);
        let origins: Vec<_> = self.origins.iter().map(|(id, _)| id).collect();
        let wakers = origins.into_iter().flat_map(|origin| self.dismiss(origin)).collect();
        (loans, wakers)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Everything but `reused_total`.
    pub(crate) fn stats(&self, now: Instant) -> Stats<K> {
        let origins: Vec<_> = self.origins.iter().map(|(_, origin)| self.stats_of(origin, now)).collect();
        Stats {
            connecting: self.tally.connecting,
            active: self.tally.active,
            idle: self.tally.idle,
            upgraded: self.tally.upgraded,
            pending: self.pending,
            opened_total: self.totals.opened,
            reused_total: 0,
            closed_total: self.totals.closed,
            stale_closed_total: self.totals.stale_closed,
            queue_full_total: self.totals.queue_full,
            queue_timeout_total: self.totals.queue_timeout,
            oldest_wait: origins.iter().filter_map(|origin| origin.oldest_wait).max(),
            origins,
        }
    }

    fn stats_of(&self, origin: &Origin<K, C>, now: Instant) -> OriginStats<K> {
        OriginStats {
            key: origin.key.clone(),
            connecting: origin.tally.connecting,
            active: origin.tally.active,
            idle: origin.tally.idle,
            upgraded: origin.tally.upgraded,
            pending: origin.queue.len(),
            oldest_wait: origin.queue.first().map(|first| now.saturating_duration_since(self.waiters[first].since)),
        }
    }

    fn lend_all(&mut self, ids: Vec<Id<Idle<K, C>>>) -> Vec<Loan<K, C>> {
        ids.into_iter().map(|id| self.lend(id)).collect()
    }

    /// Tells every waiter of an origin that the pool is closed.
    fn dismiss(&mut self, origin: Id<Origin<K, C>>) -> Vec<Waker> {
        let mut wakers = Vec::new();
        while let Some(waiter) = self.origins[origin].queue.first() {
            self.origins[origin].queue.remove(&mut self.waiters, waiter);
            self.pending -= 1;
            if let Turn::Waiting(waker) = std::mem::replace(&mut self.waiters[waiter].state, Turn::Closed) {
                wakers.extend(waker);
            }
        }
        self.refresh(origin);
        wakers
    }

    /// Sees to it that an alarm goes off at `at` or before.
    pub(super) fn arm(&mut self, slot: Id<Slot<K, C>>, at: Instant) {
        if self.slots[slot].alarm.is_some_and(|(set, _)| set <= at) {
            return;
        }
        let serial = self.expiry.push(at, slot);
        self.slots[slot].alarm = Some((at, serial));
        let slots = &self.slots;
        self.expiry.tidy(slots.len(), |alarm| slots.get(alarm.of).is_some_and(|slot| slot.alarm_is(alarm.serial)));
    }

    /// The idle connection that expires first. Removes void alarms on its way and sets early ones again.
    fn soonest(&mut self) -> Option<(Instant, Id<Idle<K, C>>)> {
        loop {
            let (at, serial, id) = self.expiry.earliest().map(|alarm| (alarm.at, alarm.serial, alarm.of))?;
            let valid = self.slots.get(id).filter(|slot| slot.alarm_is(serial));
            let parked = valid.and_then(|slot| slot.parked);
            let due = parked.map(|idle| self.idle[idle].loan.good_until);
            if due == Some(at) {
                return parked.map(|idle| (at, idle));
            }
            let valid = valid.is_some();
            self.expiry.pop();
            if valid {
                self.slots[id].alarm = None;
            }
            if let Some(due) = due {
                self.arm(id, due);
            }
        }
    }
}

impl<K, C> Slot<K, C> {
    fn alarm_is(&self, serial: u64) -> bool {
        self.alarm.is_some_and(|(_, valid)| valid == serial)
    }
}

#[cfg(test)]
impl<K: Clone + Eq + Hash, C> Slots<K, C> {
    /// Checks every invariant from scratch, in O(everything).
    pub(crate) fn audit(&self) {
        use crate::pool::stats::Tally;
        let mut total = Tally::default();
        let (mut queued, mut ring) = (0, 0);
        for (id, origin) in self.origins.iter() {
            let mut tally = Tally::default();
            let own = self.slots.iter().filter(|(_, slot)| slot.origin == id);
            own.for_each(|(_, slot)| [&mut tally, &mut total].into_iter().for_each(|tally| tally.add(slot.phase)));
            assert_eq!(tally, origin.tally);
            assert_eq!(tally.idle, origin.idle.len());
            assert!(tally.held() <= self.limits.max_per_origin, "an origin is above its cap");
            assert!(tally.held() > 0 || !origin.queue.is_empty(), "an empty origin was kept");
            assert!(origin.queue.is_empty() || tally.idle == 0, "an origin has waiters and idle connections");
            let hungry = !origin.queue.is_empty() && tally.held() < self.limits.max_per_origin;
            assert_eq!(hungry, origin.in_ring);
            queued += origin.queue.len();
            ring += usize::from(hungry);
            assert!(self.index.get(&origin.key).is_some_and(|indexed| *indexed == id));
        }
        assert_eq!((total, queued, ring), (self.tally, self.pending, self.ring.len()));
        assert_eq!((total.idle, total.idle), (self.idle.len(), self.by_age.len()));
        assert_eq!((total.held(), self.origins.len()), (self.slots.len(), self.index.len()));
        assert!(total.held() <= self.limits.max_total, "the total is above its cap");
        assert!(ring == 0 || (total.held() == self.limits.max_total && total.idle == 0), "a waiter could be served");
        assert!(self.expiry.len() <= 65 + 2 * self.limits.max_total);
        for (_, idle) in self.idle.iter() {
            let alarm = self.slots[idle.loan.slot].alarm;
            assert!(alarm.is_some_and(|(at, _)| at <= idle.loan.good_until), "an idle connection has no alarm");
        }
    }
}
