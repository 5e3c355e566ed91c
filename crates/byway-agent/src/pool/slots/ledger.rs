//! Ledger: the small steps that keep slots, origins, lists and counts in agreement.
//!
//! In:    one change.   Out:   every number and link that follows from it.   Never: decides who is served.

use super::{Id, Idle, Loan, Origin, Slot, Slots};
use crate::pool::list::{Links, List};
use crate::pool::stats::{Phase, Tally};
use std::hash::Hash;

impl<K: Clone + Eq + Hash, C> Slots<K, C> {
    pub(super) fn origin_of(&mut self, key: &K) -> Id<Origin<K, C>> {
        if let Some(origin) = self.index.get(key) {
            return *origin;
        }
        let origin = self.origins.insert(Origin {
            key: key.clone(),
            tally: Tally::default(),
            idle: List::default(),
            queue: List::default(),
            ring: Links::default(),
            in_ring: false,
            generation: 0,
        });
        self.index.insert(key.clone(), origin);
        origin
    }

    /// Restores invariant 2 after an origin's queue or permits changed, and forgets an origin with nothing left.
    pub(super) fn refresh(&mut self, id: Id<Origin<K, C>>) {
        let origin = &mut self.origins[id];
        let (held, queued) = (origin.tally.held(), !origin.queue.is_empty());
        let hungry = queued && held < self.limits.max_per_origin;
        if hungry != origin.in_ring {
            origin.in_ring = hungry;
            match hungry {
                true => self.ring.push_back(&mut self.origins, id),
                false => self.ring.remove(&mut self.origins, id),
            }
        }
        if held == 0 && !queued {
            let origin = self.origins.remove(id);
            self.index.remove(&origin.key);
        }
    }

    /// Sends an origin to the end of the ring, if it is in there.
    pub(super) fn rotate(&mut self, origin: Id<Origin<K, C>>) {
        if self.origins[origin].in_ring {
            self.ring.remove(&mut self.origins, origin);
            self.ring.push_back(&mut self.origins, origin);
        }
    }

    pub(super) fn at_cap(&self, origin: Id<Origin<K, C>>) -> bool {
        self.origins[origin].tally.held() >= self.limits.max_per_origin
    }

    pub(super) fn is_evicted(&self, slot: Id<Slot<K, C>>) -> bool {
        let slot = &self.slots[slot];
        slot.generation != self.origins[slot.origin].generation
    }

    pub(super) fn open(&mut self, origin: Id<Origin<K, C>>) -> Id<Slot<K, C>> {
        debug_assert!(self.tally.held() < self.limits.max_total && !self.at_cap(origin));
        let (phase, generation) = (Phase::Connecting, self.origins[origin].generation);
        self.tally.add(phase);
        self.origins[origin].tally.add(phase);
        self.slots.insert(Slot { origin, phase, parked: None, generation, alarm: None })
    }

    /// Takes an idle connection out; its slot is active.
    pub(super) fn lend(&mut self, id: Id<Idle<K, C>>) -> Loan<K, C> {
        let slot = self.idle[id].loan.slot;
        let origin = self.slots[slot].origin;
        self.origins[origin].idle.remove(&mut self.idle, id);
        self.by_age.remove(&mut self.idle, id);
        self.slots[slot].parked = None;
        self.set_phase(slot, Phase::Active);
        self.idle.remove(id).loan
    }

    pub(super) fn set_phase(&mut self, slot: Id<Slot<K, C>>, to: Phase) {
        let slot = &mut self.slots[slot];
        let from = std::mem::replace(&mut slot.phase, to);
        for tally in [&mut self.tally, &mut self.origins[slot.origin].tally] {
            tally.sub(from);
            tally.add(to);
        }
    }
}
