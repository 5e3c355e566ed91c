//! Slots: the pool's state machine. One slot is one permit, from before the dial until after the close.
//!
//! In:    what was asked, given back or cancelled, and the time.   Out:   grants, connections to close, wakers to wake.
//! Never: reads a clock, wakes, drops a connection, or calls foreign code (but a key's own Eq, Hash and Clone, and the
//! predicate of an eviction).
//!
//! ```text
//!            open                install               detach
//!   (free) ───────▶ Connecting ──────────▶ Active ───────────────▶ Upgraded
//!      ▲                │   ▲   replace    │  │ ▲                     │
//!      │                │   └──────────────┘  │ │ lend                │
//!      │                │            give_back▼ │                     │
//!      │      free      │                     Idle                    │
//!      └────────────────┴──────── from Active, too ───────────────────┘
//! ```
//!
//! A connection that is being closed is Active until it was dropped; only then is its slot freed. Hence the limits hold
//! for sockets, not just for numbers. Always:
//!
//! 1. an origin is in the ring if and only if it has waiters and is below its own cap, so only the total holds it up;
//! 2. if the ring is not empty, the total is used up, and nothing is idle unless a close is under way;
//! 3. an origin that has waiters has no idle connection unless a close is under way.
//!
//! So one returned permit serves one waiter, and nobody has to search for whom. Every close that is under way ends in
//! [`Slots::free`], which serves the ring and, should somebody be left who could be served by one more close, begins it.

mod ledger;
mod upkeep;

use crate::pool::error::AcquireError;
use crate::pool::expiry::Expiry;
use crate::pool::limits::{Limits, Scheduling};
use crate::pool::list::{Linked, Links, List};
use crate::pool::slab::{Id, Slab};
use crate::pool::stats::{Phase, Tally, Totals};
use std::collections::HashMap;
use std::hash::Hash;
use std::task::Waker;
use std::time::{Duration, Instant};

/// How often in a row connections may pass from user to user of one origin while another origin waits for the total.
/// After that the next one is closed and its permit goes to the ring: a busy origin keeps its reuse, nobody starves.
pub(crate) const PASS_OVER: u32 = 8;

/// Longer durations count as this, so that adding one to a time cannot overflow.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// The lists that an [`Idle`] is in.
const OF_ORIGIN: usize = 0;
const BY_AGE: usize = 1;
/// The list that a [`Waiter`] is in, and the one that an [`Origin`] is in.
const QUEUE: usize = 0;
const RING: usize = 0;

pub(crate) struct Slots<K, C> {
    limits: Limits,
    closed: bool,
    index: HashMap<K, Id<Origin<K, C>>>,
    origins: Slab<Origin<K, C>>,
    slots: Slab<Slot<K, C>>,
    idle: Slab<Idle<K, C>>,
    waiters: Slab<Waiter<K, C>>,
    /// Idle connections of all origins, least recently used first.
    by_age: List<Idle<K, C>, BY_AGE>,
    /// Origins that only the total holds up, next one first.
    ring: List<Origin<K, C>, RING>,
    /// Hand-overs within an origin since the ring was last served, while it was waiting.
    passed_over: u32,
    expiry: Expiry<Slot<K, C>>,
    tally: Tally,
    pending: usize,
    totals: Totals,
}

pub(crate) struct Slot<K, C> {
    origin: Id<Origin<K, C>>,
    phase: Phase,
    parked: Option<Id<Idle<K, C>>>,
    /// The origin's generation when the permit was given; an older one is not kept.
    generation: u64,
    /// Time and serial of the one valid alarm.
    alarm: Option<(Instant, u64)>,
}

struct Origin<K, C> {
    key: K,
    tally: Tally,
    idle: List<Idle<K, C>, OF_ORIGIN>,
    queue: List<Waiter<K, C>, QUEUE>,
    ring: Links<Self>,
    in_ring: bool,
    generation: u64,
}

struct Idle<K, C> {
    loan: Loan<K, C>,
    of_origin: Links<Self>,
    by_age: Links<Self>,
}

pub(crate) struct Waiter<K, C> {
    origin: Id<Origin<K, C>>,
    want: Want,
    since: Instant,
    state: Turn<K, C>,
    queue: Links<Self>,
}

/// What a waiter has got so far.
pub(crate) enum Turn<K, C> {
    Waiting(Option<Waker>),
    Granted(Grant<K, C>),
    Closed,
}

/// What an acquire may be served with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// An idle connection, or else a permit.
    Any,
    /// A permit only.
    Fresh,
}

/// A connection with what has to be known about it.
pub(crate) struct Held<K, C> {
    pub(crate) key: K,
    pub(crate) conn: C,
    pub(crate) opened: Instant,
    pub(crate) requests: u64,
}

/// A connection on its way between users; its slot is Active (or Idle, inside of [`Idle`]).
pub(crate) struct Loan<K, C> {
    pub(crate) slot: Id<Slot<K, C>>,
    pub(crate) held: Box<Held<K, C>>,
    /// From then on it must not be lent.
    pub(crate) good_until: Instant,
}

pub(crate) enum Grant<K, C> {
    /// A connection, to be probed before use.
    Reuse(Loan<K, C>),
    /// A permit; its slot is Connecting.
    Open(Id<Slot<K, C>>),
}

pub(crate) enum Admit<K, C> {
    Granted(Grant<K, C>),
    Queued(Id<Waiter<K, C>>),
    /// Close this one; its permit then comes to the waiter, which is next.
    Room(Id<Waiter<K, C>>, Loan<K, C>),
    Refused(AcquireError),
}

/// What is left to do after unlocking, in this order: a close may panic, and nobody must sleep for it.
pub(crate) struct Settled<K, C> {
    pub(crate) wake: Option<Waker>,
    pub(crate) close: Option<Loan<K, C>>,
}

/// Asking.
impl<K: Clone + Eq + Hash, C> Slots<K, C> {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            closed: false,
            index: HashMap::new(),
            origins: Slab::new(),
            slots: Slab::new(),
            idle: Slab::new(),
            waiters: Slab::new(),
            by_age: List::default(),
            ring: List::default(),
            passed_over: 0,
            expiry: Expiry::new(),
            tally: Tally::default(),
            pending: 0,
            totals: Totals::default(),
        }
    }

    pub(crate) fn admit(&mut self, key: &K, want: Want, now: Instant) -> Admit<K, C> {
        if self.closed {
            return Admit::Refused(AcquireError::Closed);
        }
        let origin = self.origin_of(key);
        let admit = self.serve_now(origin, want).unwrap_or_else(|| self.wait_for_one(origin, want, now));
        self.refresh(origin);
        admit
    }

    /// The connection in this slot was no good and has been dropped: another idle one, or its permit for a new one.
    pub(crate) fn replace(&mut self, slot: Id<Slot<K, C>>, stale: bool) -> (Grant<K, C>, Settled<K, C>) {
        self.totals.stale_closed += u64::from(stale);
        let origin = self.slots[slot].origin;
        if let Some(idle) = self.pick_idle(origin) {
            let loan = self.lend(idle);
            return (Grant::Reuse(loan), self.free(slot));
        }
        self.totals.closed += 1;
        self.set_phase(slot, Phase::Connecting);
        self.slots[slot].generation = self.origins[origin].generation;
        (Grant::Open(slot), Settled { wake: None, close: None })
    }

    fn serve_now(&mut self, origin: Id<Origin<K, C>>, want: Want) -> Option<Admit<K, C>> {
        if want == Want::Any
            && let Some(idle) = self.pick_idle(origin)
        {
            return Some(Admit::Granted(Grant::Reuse(self.lend(idle))));
        }
        let free = self.tally.held() < self.limits.max_total && !self.at_cap(origin);
        free.then(|| Admit::Granted(Grant::Open(self.open(origin))))
    }

    /// Queues, and names an idle connection to close if that makes room at once.
    fn wait_for_one(&mut self, origin: Id<Origin<K, C>>, want: Want, now: Instant) -> Admit<K, C> {
        let victim = self.victim_for(origin);
        let limit = self.limits.queue_len;
        if victim.is_none() && self.pending >= limit {
            self.totals.queue_full += 1;
            return Admit::Refused(AcquireError::QueueFull { limit });
        }
        let waiter = self.enqueue(origin, want, now);
        match victim {
            Some(idle) => Admit::Room(waiter, self.lend(idle)),
            None => Admit::Queued(waiter),
        }
    }

    /// The origin's own oldest idle connection (it has one only if a fresh one is wanted), else the oldest of all,
    /// unless the origin's own cap is what is in the way, or others of the origin were there before: then it is
    /// [`Slots::free`] that goes on, once those have been served.
    fn victim_for(&self, origin: Id<Origin<K, C>>) -> Option<Id<Idle<K, C>>> {
        let Origin { idle, queue, .. } = &self.origins[origin];
        let others = self.by_age.first().filter(|_| queue.is_empty() && !self.at_cap(origin));
        idle.first().or(others)
    }

    fn enqueue(&mut self, origin: Id<Origin<K, C>>, want: Want, since: Instant) -> Id<Waiter<K, C>> {
        let waiter = Waiter { origin, want, since, state: Turn::Waiting(None), queue: Links::default() };
        let waiter = self.waiters.insert(waiter);
        self.origins[origin].queue.push_back(&mut self.waiters, waiter);
        self.pending += 1;
        waiter
    }

    fn pick_idle(&self, origin: Id<Origin<K, C>>) -> Option<Id<Idle<K, C>>> {
        let idle = &self.origins[origin].idle;
        match self.limits.scheduling {
            Scheduling::Lifo => idle.last(),
            Scheduling::Fifo => idle.first(),
        }
    }
}

/// Waiting.
impl<K: Clone + Eq + Hash, C> Slots<K, C> {
    /// Remembers whom to wake, and returns a waker to drop after unlocking; `None` if the waiter's turn has come.
    pub(crate) fn wait(&mut self, waiter: Id<Waiter<K, C>>, waker: Waker) -> Option<Option<Waker>> {
        match &mut self.waiters[waiter].state {
            Turn::Waiting(known) => Some(known.replace(waker)),
            Turn::Granted(_) | Turn::Closed => None,
        }
    }

    /// Ends a wait, whatever it has brought. A grant in the answer must be used or given back.
    pub(crate) fn leave(&mut self, waiter: Id<Waiter<K, C>>) -> Turn<K, C> {
        let origin = self.waiters[waiter].origin;
        if let Turn::Waiting(_) = self.waiters[waiter].state {
            self.origins[origin].queue.remove(&mut self.waiters, waiter);
            self.pending -= 1;
            self.refresh(origin);
        }
        let mut turn = self.waiters.remove(waiter).state;
        if let Turn::Granted(Grant::Reuse(loan)) = &mut turn
            && self.is_evicted(loan.slot)
        {
            loan.good_until = loan.held.opened; // evicted between hand-over and pick-up
        }
        turn
    }

    /// As [`Slots::leave`], after waiting in vain; counts it if it was in vain indeed.
    pub(crate) fn time_out(&mut self, waiter: Id<Waiter<K, C>>) -> Turn<K, C> {
        let turn = self.leave(waiter);
        self.totals.queue_timeout += u64::from(matches!(turn, Turn::Waiting(_)));
        turn
    }
}

/// Giving back.
impl<K: Clone + Eq + Hash, C> Slots<K, C> {
    /// A dial succeeded.
    pub(crate) fn install(&mut self, slot: Id<Slot<K, C>>) {
        self.totals.opened += 1;
        self.set_phase(slot, Phase::Active);
    }

    /// A connection leaves the pool; its permit stays out.
    pub(crate) fn detach(&mut self, slot: Id<Slot<K, C>>) {
        self.set_phase(slot, Phase::Upgraded);
    }

    /// A permit comes back without a connection. The next in the ring gets it.
    pub(crate) fn free(&mut self, slot: Id<Slot<K, C>>) -> Settled<K, C> {
        let Slot { origin, phase, .. } = self.slots.remove(slot);
        self.totals.closed += u64::from(phase != Phase::Connecting);
        self.origins[origin].tally.sub(phase);
        self.tally.sub(phase);
        self.refresh(origin);
        let wake = self.serve_ring();
        let more = self.by_age.first().filter(|_| !self.ring.is_empty());
        Settled { wake, close: more.map(|idle| self.lend(idle)) }
    }

    /// A user has finished with a connection and says that it can be used again, for `idle` if it is left alone.
    pub(crate) fn release(
        &mut self,
        slot: Id<Slot<K, C>>,
        held: Box<Held<K, C>>,
        idle: Option<Duration>,
        now: Instant,
    ) -> Settled<K, C> {
        let worn = self.limits.max_requests.is_some_and(|max| held.requests >= max);
        let rest = now + idle.unwrap_or(self.limits.idle_timeout).min(LONGEST);
        let life = held.opened + self.limits.max_lifetime.unwrap_or(LONGEST).min(LONGEST);
        let good_until = if worn { now } else { rest.min(life) };
        self.give_back(Loan { slot, held, good_until }, now)
    }

    /// A connection that can be used again: to the oldest waiter of its origin, else idle, else to be closed because
    /// somebody needs its permit for another one.
    pub(crate) fn give_back(&mut self, loan: Loan<K, C>, now: Instant) -> Settled<K, C> {
        let origin = self.slots[loan.slot].origin;
        let waiter = self.origins[origin].queue.first();
        let unfit = self.closed || loan.good_until <= now || self.is_evicted(loan.slot);
        if unfit || self.is_owed(origin, waiter) {
            return Settled { wake: None, close: Some(loan) };
        }
        match waiter {
            Some(waiter) => Settled { wake: self.grant(waiter, Grant::Reuse(loan)), close: None },
            None => Settled { wake: None, close: self.park(loan) },
        }
    }

    /// Whether the permit is worth more than the connection: somebody waits, and not for this one.
    fn is_owed(&mut self, own: Id<Origin<K, C>>, waiter: Option<Id<Waiter<K, C>>>) -> bool {
        let Some(waiter) = waiter else { return !self.ring.is_empty() };
        if self.waiters[waiter].want == Want::Fresh {
            return true;
        }
        let alone = self.ring.len() == usize::from(self.origins[own].in_ring);
        if alone {
            return false;
        }
        if self.passed_over < PASS_OVER {
            self.passed_over += 1;
            return false;
        }
        self.rotate(own);
        true
    }

    /// Makes a connection idle; returns the oldest of its origin if that is one too many.
    fn park(&mut self, loan: Loan<K, C>) -> Option<Loan<K, C>> {
        let (slot, good_until) = (loan.slot, loan.good_until);
        let origin = self.slots[slot].origin;
        let full = self.origins[origin].idle.len() >= self.limits.max_idle_per_origin;
        let oldest = self.origins[origin].idle.first().filter(|_| full);
        let over = oldest.map(|idle| self.lend(idle));

        let idle = self.idle.insert(Idle { loan, of_origin: Links::default(), by_age: Links::default() });
        self.origins[origin].idle.push_back(&mut self.idle, idle);
        self.by_age.push_back(&mut self.idle, idle);
        self.set_phase(slot, Phase::Idle);
        self.slots[slot].parked = Some(idle);
        self.arm(slot, good_until);
        over
    }

    /// Gives a free permit to the first waiter of the first origin in the ring.
    fn serve_ring(&mut self) -> Option<Waker> {
        let origin = self.ring.first()?;
        let waiter = self.origins[origin].queue.first()?;
        let slot = self.open(origin);
        self.passed_over = 0;
        self.rotate(origin);
        self.grant(waiter, Grant::Open(slot))
    }

    fn grant(&mut self, waiter: Id<Waiter<K, C>>, grant: Grant<K, C>) -> Option<Waker> {
        let origin = self.waiters[waiter].origin;
        self.origins[origin].queue.remove(&mut self.waiters, waiter);
        self.pending -= 1;
        self.refresh(origin);
        match std::mem::replace(&mut self.waiters[waiter].state, Turn::Granted(grant)) {
            Turn::Waiting(waker) => waker,
            Turn::Granted(_) | Turn::Closed => None,
        }
    }
}

impl<K, C> Linked<OF_ORIGIN> for Idle<K, C> {
    fn links(&mut self) -> &mut Links<Self> {
        &mut self.of_origin
    }
}

impl<K, C> Linked<BY_AGE> for Idle<K, C> {
    fn links(&mut self) -> &mut Links<Self> {
        &mut self.by_age
    }
}

impl<K, C> Linked<QUEUE> for Waiter<K, C> {
    fn links(&mut self) -> &mut Links<Self> {
        &mut self.queue
    }
}

impl<K, C> Linked<RING> for Origin<K, C> {
    fn links(&mut self) -> &mut Links<Self> {
        &mut self.ring
    }
}
