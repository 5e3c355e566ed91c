//! Idle: the idle connections of one shard, by origin and by age.
//!
//! In:    connections to keep, the time and the reactor's tick.
//! Out:   connections to reuse or to close, with their permits.
//! Never: counts permits, reads a clock, drops a connection, or calls foreign code (except a key's
//!        own Eq, Hash, Clone and Drop, and the predicate of an eviction).
//!
//! A connection has a *slot* in the shard where it was installed, until it is closed: a check-out
//! takes it out of the slot, keeping it puts it back, and neither allocates, clones a key or looks
//! one up twice. An origin has an *idle list* as long as it has a slot.

mod upkeep;
mod waiters;

pub(crate) use self::waiters::IdleWaiter;
use self::waiters::IdleWaiters;

use crate::conn::{Conn, Key};
use crate::event::Reason;
use crate::expiry::Expiry;
use crate::lease::PooledConn;
use crate::limits::{Limits, Scheduling};
use crate::list::{Linked, Links, List};
use crate::session::Session;
use crate::slab::{Id, Slab};
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::time::Instant;

/// The lists that a [`Slot`] is in while its connection is idle.
const OF_ORIGIN: usize = 0;
const BY_AGE: usize = 1;

pub(crate) struct IdleStore<K: Key, C: Conn, S: Session> {
    /// Nothing is kept any more: the pool is emptying, draining or closed.
    pub(crate) shut: bool,
    /// Total number of check-outs; those whose connection was unfit are counted elsewhere.
    pub(crate) loans: u64,
    max_idle_per_origin: usize,
    max_idle_total: usize,
    scheduling: Scheduling,
    /// A fast hash with a random seed. If an attacker found colliding keys nevertheless, a lookup
    /// could be as slow as a search through the origins of one shard, of which there are no more
    /// than connections.
    index: HashMap<K, Id<IdleOrigin<K, C, S>>, RandomState>,
    idle_store: Slab<IdleOrigin<K, C, S>>,
    slots: Slab<Slot<K, C, S>>,
    /// Idle connections of all origins, least recently used first.
    by_age: List<Slot<K, C, S>, BY_AGE>,
    expiry: Expiry<Slot<K, C, S>>,
    /// Those that take a connection before it becomes idle.
    pub(crate) waiters: IdleWaiters<K, C, S>,
}

type SlotId<K, C, S> = Id<Slot<K, C, S>>;

/// Connections taken out of the idle lists, to be closed after unlocking.
pub(crate) type Taken<K, C, S> = Vec<Box<PooledConn<K, C, S>>>;

pub(crate) struct IdleOrigin<K: Key, C: Conn, S: Session> {
    idle: List<Slot<K, C, S>, OF_ORIGIN>,
    slots: usize,
    /// The reactor tick in which a connection was last kept here.
    tick: u64,
    /// The newest of the idle connections that were kept before that tick.
    rested: Option<Id<Slot<K, C, S>>>,
}

/// Small, and aligned to a cache line: a check-out touches two of them.
#[repr(align(64))]
pub(crate) struct Slot<K: Key, C: Conn, S: Session> {
    /// `Some` while the connection is idle.
    pooled: Option<Box<PooledConn<K, C, S>>>,
    origin: Id<IdleOrigin<K, C, S>>,
    of_origin: Links<Self>,
    by_age: Links<Self>,
    /// Time and serial of the one valid expiry entry.
    expiry_entry: Option<(Instant, u64)>,
}

impl<K: Key, C: Conn, S: Session> IdleStore<K, C, S> {
    /// The store of one of `shards` shards.
    pub(crate) fn new(limits: &Limits, shards: usize) -> Self {
        // If the limit is not below the cap, the cap already bounds the idle connections, and the
        // limit is not split.
        let share = |limit: usize, cap: usize| {
            if limit < cap {
                limit.div_ceil(shards)
            } else {
                cap
            }
        };
        let max_idle_total = limits.max_idle_total.unwrap_or(limits.max_total);
        Self {
            shut: false,
            loans: 0,
            max_idle_per_origin: share(limits.max_idle_per_origin, limits.max_per_origin),
            max_idle_total: share(max_idle_total, limits.max_total),
            scheduling: limits.scheduling,
            index: HashMap::default(),
            idle_store: Slab::new(),
            slots: Slab::new(),
            by_age: List::default(),
            expiry: Expiry::new(),
            waiters: IdleWaiters::default(),
        }
    }

    /// A slot for a new connection.
    pub(crate) fn add_slot(&mut self, key: &K) -> Id<Slot<K, C, S>> {
        let origin = match self.index.get(key) {
            Some(origin) => *origin,
            None => {
                let origin = self.idle_store.insert(IdleOrigin {
                    idle: List::default(),
                    slots: 0,
                    tick: 0,
                    rested: None,
                });
                self.index.insert(key.clone(), origin);
                origin
            }
        };
        self.idle_store[origin].slots += 1;
        let (of_origin, by_age) = (Links::default(), Links::default());
        self.slots.insert(Slot {
            pooled: None,
            origin,
            of_origin,
            by_age,
            expiry_entry: None,
        })
    }

    /// The connection of this slot was closed or detached.
    pub(crate) fn leave(&mut self, key: &K, slot: Id<Slot<K, C, S>>) {
        let id = self.slots.remove(slot).origin;
        let origin = &mut self.idle_store[id];
        origin.slots -= 1;
        if origin.slots == 0 {
            self.idle_store.remove(id);
            self.index.remove(key);
        }
    }

    /// An idle connection of this origin, to reuse in this reactor tick.
    pub(crate) fn check_out(&mut self, key: &K, tick: u64) -> Option<Box<PooledConn<K, C, S>>> {
        let origin = &self.idle_store[*self.index.get(key)?];
        let slot = match self.scheduling {
            Scheduling::Lifo => origin.newest(tick),
            Scheduling::Fifo => origin.idle.first(),
        }?;
        let pooled = self.take(slot)?;
        self.loans += 1;
        Some(pooled)
    }

    /// Makes a connection idle in this reactor tick; returns the one to close if a limit is
    /// exceeded.
    pub(crate) fn keep(
        &mut self,
        pooled: Box<PooledConn<K, C, S>>,
        slot: Id<Slot<K, C, S>>,
        tick: u64,
    ) -> Option<Box<PooledConn<K, C, S>>> {
        let good_until = pooled.good_until();
        let origin = self.slots[slot].origin;
        let idle = &self.idle_store[origin].idle;
        let excess = if idle.len() >= self.max_idle_per_origin {
            idle.first()
        } else {
            self.by_age
                .first()
                .filter(|_| self.by_age.len() >= self.max_idle_total)
        };
        let over = excess.and_then(|slot| self.take(slot));

        let entry = &mut self.slots[slot];
        entry.pooled = Some(pooled);
        let armed = entry.expiry_entry.is_some_and(|(set, _)| set <= good_until);
        self.idle_store[origin].push(&mut self.slots, slot, tick);
        self.by_age.push_back(&mut self.slots, slot);
        if !armed {
            self.arm(slot, good_until);
        }
        over.map(|over| over.closed_for(Reason::IdleLimit))
    }

    /// When the least recently used idle connection became idle: of this origin, or of all.
    pub(crate) fn oldest(&self, of: Option<&K>) -> Option<Instant> {
        self.slots[self.oldest_slot(of)?]
            .pooled
            .as_ref()
            .map(|pooled| pooled.idle_since())
    }

    /// Takes that connection out.
    pub(crate) fn take_oldest(&mut self, of: Option<&K>) -> Option<Box<PooledConn<K, C, S>>> {
        self.oldest_slot(of).and_then(|slot| self.take(slot))
    }

    fn oldest_slot(&self, of: Option<&K>) -> Option<Id<Slot<K, C, S>>> {
        match of {
            Some(key) => self.idle_store[*self.index.get(key)?].idle.first(),
            None => self.by_age.first(),
        }
    }

    /// Takes an idle connection out of its slot; the slot remains.
    fn take(&mut self, slot: Id<Slot<K, C, S>>) -> Option<Box<PooledConn<K, C, S>>> {
        let pooled = self.slots[slot].pooled.take()?;
        let origin = self.slots[slot].origin;
        self.idle_store[origin].remove(&mut self.slots, slot);
        self.by_age.remove(&mut self.slots, slot);
        Some(pooled)
    }
}

impl<K: Key, C: Conn, S: Session> IdleOrigin<K, C, S> {
    /// The connection that was kept last; one from before this reactor tick is preferred, since it
    /// can be reused without a probe of its socket, which costs a system call
    /// ([`Conn::may_be_readable`]).
    fn newest(&self, tick: u64) -> Option<Id<Slot<K, C, S>>> {
        let rested = self.rested.filter(|_| self.tick == tick);
        rested.or_else(|| self.idle.last())
    }

    fn push(&mut self, slots: &mut Slab<Slot<K, C, S>>, slot: Id<Slot<K, C, S>>, tick: u64) {
        if self.tick != tick {
            (self.tick, self.rested) = (tick, self.idle.last());
        }
        self.idle.push_back(slots, slot);
    }

    fn remove(&mut self, slots: &mut Slab<Slot<K, C, S>>, slot: Id<Slot<K, C, S>>) {
        if self.rested == Some(slot) {
            self.rested = self.idle.before(slots, slot);
        }
        self.idle.remove(slots, slot);
    }
}

impl<K: Key, C: Conn, S: Session> Linked<OF_ORIGIN> for Slot<K, C, S> {
    fn links(&mut self) -> &mut Links<Self> {
        &mut self.of_origin
    }

    fn linked(&self) -> &Links<Self> {
        &self.of_origin
    }
}

impl<K: Key, C: Conn, S: Session> Linked<BY_AGE> for Slot<K, C, S> {
    fn links(&mut self) -> &mut Links<Self> {
        &mut self.by_age
    }

    fn linked(&self) -> &Links<Self> {
        &self.by_age
    }
}
