//! Shelves: the idle connections of one shard, by origin and by age.
//!
//! In:    connections that are kept, the time and the reactor's turn.
//! Out:   connections to lend or to close, with their permits.
//! Never: counts permits, reads a clock, drops a connection, or calls foreign code (but a key's own
//!        Eq, Hash, Clone and Drop, and the predicate of an eviction).
//!
//! A connection has a *berth* in the shard where it was installed, for as long as it lives: lending
//! it takes it out of the berth, keeping it puts it back, and neither allocates, clones a key or
//! looks one up twice. An origin has a *shelf* for as long as it has a berth.

mod upkeep;

use crate::pool::conn::{Conn, Key};
use crate::pool::event::Reason;
use crate::pool::expiry::Expiry;
use crate::pool::lease::Held;
use crate::pool::limits::{Limits, Scheduling};
use crate::pool::list::{Linked, Links, List};
use crate::pool::slab::{Id, Slab};
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::time::Instant;

/// The lists that a [`Berth`] is in while its connection is idle.
const OF_SHELF: usize = 0;
const BY_AGE: usize = 1;

pub(crate) struct Shelves<K: Key, C: Conn> {
    /// Nothing is kept any more: the pool drains or is closed.
    pub(crate) shut: bool,
    /// Loans from here, ever; those whose connection turned out to be unfit are counted elsewhere.
    pub(crate) lent: u64,
    max_idle_per_origin: usize,
    max_idle_total: usize,
    scheduling: Scheduling,
    /// Hashed fast and with a random seed. Whoever found keys that collide all the same could make
    /// a look-up as slow as a search through the origins of one shard, which are no more than the
    /// connections.
    index: HashMap<K, Id<Shelf<K, C>>, RandomState>,
    shelves: Slab<Shelf<K, C>>,
    berths: Slab<Berth<K, C>>,
    /// Idle connections of all origins, least recently used first.
    by_age: List<Berth<K, C>, BY_AGE>,
    expiry: Expiry<Berth<K, C>>,
}

/// What came out of the shelves to be closed, after unlocking.
pub(crate) type Taken<K, C> = Vec<Box<Held<K, C>>>;

pub(crate) struct Shelf<K: Key, C: Conn> {
    idle: List<Berth<K, C>, OF_SHELF>,
    berths: usize,
    /// The turn of the reactor in which a connection was kept here last.
    turn: u64,
    /// The newest of the idle connections that were kept before that turn.
    rested: Option<Id<Berth<K, C>>>,
}

/// Small, and in one line of the cache: a loan looks at two of them.
#[repr(align(64))]
pub(crate) struct Berth<K: Key, C: Conn> {
    /// While the connection is idle.
    held: Option<Box<Held<K, C>>>,
    shelf: Id<Shelf<K, C>>,
    of_shelf: Links<Self>,
    by_age: Links<Self>,
    /// Time and serial of the one valid alarm.
    alarm: Option<(Instant, u64)>,
}

impl<K: Key, C: Conn> Shelves<K, C> {
    /// One of `shards`.
    pub(crate) fn new(limits: &Limits, shards: usize) -> Self {
        // Where the cap is no higher, it bounds the idle ones exactly, and there is nothing to
        // split.
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
            lent: 0,
            max_idle_per_origin: share(limits.max_idle_per_origin, limits.max_per_origin),
            max_idle_total: share(max_idle_total, limits.max_total),
            scheduling: limits.scheduling,
            index: HashMap::default(),
            shelves: Slab::new(),
            berths: Slab::new(),
            by_age: List::default(),
            expiry: Expiry::new(),
        }
    }

    /// A berth for a new connection.
    pub(crate) fn moor(&mut self, key: &K) -> Id<Berth<K, C>> {
        let shelf = match self.index.get(key) {
            Some(shelf) => *shelf,
            None => {
                let shelf = self.shelves.insert(Shelf {
                    idle: List::default(),
                    berths: 0,
                    turn: 0,
                    rested: None,
                });
                self.index.insert(key.clone(), shelf);
                shelf
            }
        };
        self.shelves[shelf].berths += 1;
        let (of_shelf, by_age) = (Links::default(), Links::default());
        self.berths.insert(Berth {
            held: None,
            shelf,
            of_shelf,
            by_age,
            alarm: None,
        })
    }

    /// The connection of this berth is gone for good.
    pub(crate) fn leave(&mut self, key: &K, berth: Id<Berth<K, C>>) {
        let id = self.berths.remove(berth).shelf;
        let shelf = &mut self.shelves[id];
        shelf.berths -= 1;
        if shelf.berths == 0 {
            self.shelves.remove(id);
            self.index.remove(key);
        }
    }

    /// An idle connection of this origin, to lend in this turn of the reactor.
    pub(crate) fn lend(&mut self, key: &K, turn: u64) -> Option<Box<Held<K, C>>> {
        let shelf = &self.shelves[*self.index.get(key)?];
        let berth = match self.scheduling {
            Scheduling::Lifo => shelf.newest(turn),
            Scheduling::Fifo => shelf.idle.first(),
        }?;
        let held = self.take(berth)?;
        self.lent += 1;
        Some(held)
    }

    /// Makes a connection idle in this turn of the reactor; returns the one to close if that is one
    /// too many.
    pub(crate) fn keep(
        &mut self,
        held: Box<Held<K, C>>,
        berth: Id<Berth<K, C>>,
        turn: u64,
    ) -> Option<Box<Held<K, C>>> {
        let good_until = held.good_until();
        let shelf = self.berths[berth].shelf;
        let idle = &self.shelves[shelf].idle;
        let one_too_many = if idle.len() >= self.max_idle_per_origin {
            idle.first()
        } else {
            self.by_age
                .first()
                .filter(|_| self.by_age.len() >= self.max_idle_total)
        };
        let over = one_too_many.and_then(|berth| self.take(berth));

        let place = &mut self.berths[berth];
        place.held = Some(held);
        let armed = place.alarm.is_some_and(|(set, _)| set <= good_until);
        self.shelves[shelf].push(&mut self.berths, berth, turn);
        self.by_age.push_back(&mut self.berths, berth);
        if !armed {
            self.arm(berth, good_until);
        }
        over.map(|over| over.closed_for(Reason::IdleLimit))
    }

    /// Since when the idle connection that was unused for longest is so: of this origin, or of all.
    pub(crate) fn oldest(&self, of: Option<&K>) -> Option<Instant> {
        self.berths[self.oldest_berth(of)?]
            .held
            .as_ref()
            .map(|held| held.idle_since())
    }

    /// Takes that one out.
    pub(crate) fn take_oldest(&mut self, of: Option<&K>) -> Option<Box<Held<K, C>>> {
        self.oldest_berth(of).and_then(|berth| self.take(berth))
    }

    fn oldest_berth(&self, of: Option<&K>) -> Option<Id<Berth<K, C>>> {
        match of {
            Some(key) => self.shelves[*self.index.get(key)?].idle.first(),
            None => self.by_age.first(),
        }
    }

    /// Takes an idle connection out of its berth, which stays.
    fn take(&mut self, berth: Id<Berth<K, C>>) -> Option<Box<Held<K, C>>> {
        let held = self.berths[berth].held.take()?;
        let shelf = self.berths[berth].shelf;
        self.shelves[shelf].remove(&mut self.berths, berth);
        self.by_age.remove(&mut self.berths, berth);
        Some(held)
    }
}

impl<K: Key, C: Conn> Shelf<K, C> {
    /// The connection that was kept last, but before this turn of the reactor if there is one: it
    /// can be lent without a look at its socket, which costs a system call
    /// ([`Conn::may_have_news`]).
    fn newest(&self, turn: u64) -> Option<Id<Berth<K, C>>> {
        let rested = self.rested.filter(|_| self.turn == turn);
        rested.or_else(|| self.idle.last())
    }

    fn push(&mut self, berths: &mut Slab<Berth<K, C>>, berth: Id<Berth<K, C>>, turn: u64) {
        if self.turn != turn {
            (self.turn, self.rested) = (turn, self.idle.last());
        }
        self.idle.push_back(berths, berth);
    }

    fn remove(&mut self, berths: &mut Slab<Berth<K, C>>, berth: Id<Berth<K, C>>) {
        if self.rested == Some(berth) {
            self.rested = self.idle.before(berths, berth);
        }
        self.idle.remove(berths, berth);
    }
}

impl<K: Key, C: Conn> Linked<OF_SHELF> for Berth<K, C> {
    fn links(&mut self) -> &mut Links<Self> {
        &mut self.of_shelf
    }

    fn linked(&self) -> &Links<Self> {
        &self.of_shelf
    }
}

impl<K: Key, C: Conn> Linked<BY_AGE> for Berth<K, C> {
    fn links(&mut self) -> &mut Links<Self> {
        &mut self.by_age
    }

    fn linked(&self) -> &Links<Self> {
        &self.by_age
    }
}
