//! Permits: all permits and the queue for them. One permit is one connection, from before the dial
//! until after the close, in any shard.
//!
//! In:    acquires, releases, cancellations, and the time.
//! Out:   permits, hand-overs, wakers to wake.
//! Never: reads a clock, wakes, drops a connection, or calls foreign code (except a key's own Eq,
//!        Hash, Clone and Drop).
//!
//! ```text
//!            open                install               detach
//!   (free) ───────▶ Connecting ──────────▶ Installed ───────────▶ Upgraded
//!      ▲                │   ▲    reopen       │                      │
//!      │      free      │   └─────────────────┤                      │
//!      └────────────────┴─────────────────────┴──────────────────────┘
//! ```
//!
//! Only its shard knows whether an installed connection is idle: checking out and keeping one does
//! not involve the permits, unless an acquire waits. A permit is freed after its connection was
//! dropped, so the caps hold for sockets, not just for numbers. Always, unless a close is under
//! way:
//!
//! 1. an origin is in the ring if and only if it has waiters that need a permit and is below its own
//!    cap, so that only the total limit blocks it;
//! 2. if the ring is not empty, the total is used up, and nothing is idle in any shard;
//! 3. an origin that has such waiters has no idle connection in any shard.
//!
//! A waiter that accepts a stream of a session needs no permit while a dial of another acquire may
//! yield one for it: see [`sharing`]. Sessions, their slots and which of them are idle are part of
//! the permits: see [`sessions`].
//!
//! So one returned permit serves one waiter, without a search. The first invariant concerns only
//! the permits. The other two involve the shards, which have their own locks: a new waiter raises
//! the demand *before* it searches the shards for an idle connection to close, and a thread that
//! makes a connection idle reads the demand *under the lock of its shard*. Of two such threads at
//! one shard the second sees what the first did.

mod after;
mod contest;
mod queue;
mod sessions;
mod shares;
mod sharing;

pub(crate) use self::after::After;
use self::contest::Contest;
pub(crate) use self::sessions::{Ending, LeasedStream, NewSession, SessionEntry};
pub(crate) use self::shares::Share;
use self::shares::Shares;
use self::sharing::Sharing;
use crate::client::Client;
use crate::conn::{Conn, Key};
use crate::event::Reason;
use crate::hold::Hold;
use crate::lease::PooledConn;
use crate::limits::{Limits, QueueOrder};
use crate::list::{Linked, Links, List};
use crate::session::Session;
use crate::slab::{Id, Slab};
use crate::stats::{ConnCounts, ConnPhase, OriginStats, Totals};
use crate::sync::AtomicUsize;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::Instant;

/// How often connections may be handed over out of turn: within one origin while another origin is
/// next, and in one shard more often than in the shard of the next waiter. After that a connection
/// is closed and its permit goes to the next waiter: a queue does not turn reuse into dialling, and
/// no waiter starves.
pub(crate) const PASS_OVER: u32 = 8;

/// The lists of a [`Waiter`]: all waiters of its origin, and those of its origin in its shard.
const QUEUE: usize = 0;
const SHARD_QUEUE: usize = 1;
/// The list of an [`OriginState`].
const RING: usize = 0;

pub(crate) struct Permits<K: Key, C: Conn, S: Session> {
    max_total: usize,
    max_per_origin: usize,
    queue_len: usize,
    order: QueueOrder,
    shards: usize,
    pub(crate) mode: Mode,
    index: HashMap<K, Id<OriginState<K, C, S>>>,
    origins: Slab<OriginState<K, C, S>>,
    waiters: Slab<Waiter<K, C, S>>,
    /// Origins that only the total limit blocks, next one first.
    ring: List<OriginState<K, C, S>, RING>,
    /// Hand-overs within an origin since the ring was last served, while another origin was in it.
    passed_over: u32,
    counts: ConnCounts,
    pending: usize,
    /// How the places in the queue are divided.
    shares: Shares<K, C, S>,
    /// Number of waiters so far, which is the number of the last one.
    arrivals: usize,
    pub(crate) totals: Totals,
    max_requests: Option<u64>,
    max_idle_per_origin: usize,
    max_idle_total: usize,
    sessions: Slab<SessionEntry<K, C, S>>,
    /// Open sessions without a stream, least recently used first.
    idle_sessions: List<SessionEntry<K, C, S>, { sessions::BY_AGE }>,
    /// Streams leased while others waited for the permits of sessions, since one was retired.
    stream_passes: u32,
    /// The number of them at which a session is retired.
    max_stream_passes: u32,
    /// Waiters that make room instead of one that left. Woken after each step.
    pub(crate) passed_on: Vec<Waker>,
}

/// Whether acquires are admitted, and whether the queue is still served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Open,
    /// Acquires are served, and nothing is kept.
    Emptying,
    Draining,
    Closed,
}

pub(crate) struct OriginState<K: Key, C: Conn, S: Session> {
    key: K,
    counts: ConnCounts,
    queue: List<Waiter<K, C, S>, QUEUE>,
    /// The queue by shard; empty until an acquire waits.
    shard_queues: Vec<ShardQueue<K, C, S>>,
    ring: Links<Self>,
    in_ring: bool,
    rank: Links<Self>,
    /// Hand-overs past the next waiter, which is in another shard.
    overtaken: u32,
    /// Every permit in use, by its ticket.
    holds: Slab<Arc<Hold>>,
    contest: Contest,
    sharing: Sharing<K, C, S>,
    /// Read by shards without the permits' lock; see [`Ticket::is_evicted`].
    generation: Arc<AtomicUsize>,
}

/// The waiters for one origin in one shard.
struct ShardQueue<K: Key, C: Conn, S: Session> {
    queue: List<Waiter<K, C, S>, SHARD_QUEUE>,
    /// Number of grants; raised by `catch_up` after the shard had no waiters.
    served: u64,
}

pub(crate) struct Waiter<K: Key, C: Conn, S: Session> {
    origin: Id<OriginState<K, C, S>>,
    shard: usize,
    want: Want,
    client: Client,
    /// Whether an exchange was recalled for it.
    has_recalled: bool,
    /// Whether it must look for an idle connection to close when it is polled.
    makes_room: bool,
    since: Instant,
    arrival: usize,
    state: WaiterState<K, C, S>,
    queue: Links<Self>,
    shard_queue: Links<Self>,
    of_client: Links<Self>,
}

/// The state of a waiter.
pub(crate) enum WaiterState<K: Key, C: Conn, S: Session> {
    Waiting(Option<Waker>),
    Granted(Grant<K, C, S>),
    /// The queue was full, and a newcomer took its place.
    Displaced(Share),
    Closed,
}

/// What an acquire accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// An idle connection, or else a permit.
    Any,
    /// A permit only.
    Fresh,
    /// An idle connection, a stream of a session, or else a permit.
    Shared,
}

pub(crate) enum Grant<K: Key, C: Conn, S: Session> {
    /// A connection, to be checked before use.
    Reuse(Box<PooledConn<K, C, S>>),
    /// A permit in this phase.
    Open(Ticket<K, C, S>, ConnPhase),
    /// A slot of a session, whose stream is not open yet.
    Stream(LeasedStream<K, C, S>),
}

/// A permit, as seen under the lock. Outside the lock it is a [`Permit`](crate::lease::Permit),
/// which is freed on drop.
pub(crate) struct Ticket<K: Key, C: Conn, S: Session> {
    pub(crate) origin: Id<OriginState<K, C, S>>,
    pub(crate) hold: Arc<Hold>,
    place: Id<Arc<Hold>>,
    generation: Arc<AtomicUsize>,
    born: usize,
    /// The number of evictions of all origins when it was last seen to be valid.
    valid_at: usize,
}

/// A request for a permit.
pub(crate) struct AcquireRequest {
    pub(crate) shard: usize,
    pub(crate) want: Want,
    pub(crate) client: Client,
    pub(crate) since: Instant,
    /// Its position, if it had one before.
    pub(crate) arrival: Option<usize>,
}

pub(crate) enum Admit<K: Key, C: Conn, S: Session> {
    Granted(Grant<K, C, S>),
    /// Queued; closing an idle connection within `reach` makes room.
    Queued {
        waiter: Id<Waiter<K, C, S>>,
        reach: Option<Reach>,
    },
    /// Not queued, because the queue is full; closing one of these makes room.
    Full(Reach),
    Closed,
}

/// Which idle connections can be closed to make room, depending on the limit that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The origin's own cap: its own idle connections, in any shard.
    Own,
    /// The total, and a fresh connection is wanted, probably because the others are stale: its own
    /// first.
    OwnFirst,
    /// The total: the least recently used in any shard.
    All,
}

/// What to do with a connection that was released while acquires wait.
pub(crate) enum Given<K: Key, C: Conn, S: Session> {
    /// Handed over to a waiter. Wake it.
    Over(Option<Waker>),
    /// Its permit is needed elsewhere.
    Close(Box<PooledConn<K, C, S>>),
    /// No waiter can use it or its permit, as long as the demand is this one.
    Keep(Box<PooledConn<K, C, S>>, usize),
}

/// Permits.
impl<K: Key, C: Conn, S: Session> Permits<K, C, S> {
    pub(crate) fn new(limits: &Limits, shards: usize) -> Self {
        Self {
            max_total: limits.max_total,
            max_per_origin: limits.max_per_origin,
            queue_len: limits.queue_len,
            order: limits.queue_order,
            shards,
            mode: Mode::Open,
            index: HashMap::new(),
            origins: Slab::new(),
            waiters: Slab::new(),
            ring: List::default(),
            passed_over: 0,
            counts: ConnCounts::default(),
            pending: 0,
            shares: Shares::default(),
            arrivals: 0,
            totals: Totals::default(),
            max_requests: limits.max_requests,
            max_idle_per_origin: limits.max_idle_per_origin,
            max_idle_total: limits.max_idle_total.unwrap_or(limits.max_total),
            sessions: Slab::new(),
            idle_sessions: List::default(),
            stream_passes: 0,
            max_stream_passes: PASS_OVER,
            passed_on: Vec::new(),
        }
    }

    /// 0 while no acquire waits; otherwise a number that changes with each arrival.
    pub(crate) fn demand(&self) -> usize {
        if self.pending == 0 {
            0
        } else {
            self.arrivals.max(1)
        }
    }

    /// Whether no permit is in use and no acquire waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.counts.held() == 0 && self.pending == 0
    }

    pub(crate) fn held(&self) -> usize {
        self.counts.held()
    }

    /// A permit, a stream of a session, or a place in the queue: a free one, or at the second try
    /// that of another waiter.
    pub(crate) fn admit(
        &mut self,
        key: &K,
        request: &AcquireRequest,
        is_second_try: bool,
        after: &mut After<K, C, S>,
    ) -> Admit<K, C, S> {
        if matches!(self.mode, Mode::Draining | Mode::Closed) {
            return Admit::Closed;
        }
        let origin = self.origin_of(key);
        let admit = self.admit_to(origin, request, is_second_try, after);
        self.refresh(origin);
        admit
    }

    fn admit_to(
        &mut self,
        origin: Id<OriginState<K, C, S>>,
        request: &AcquireRequest,
        is_second_try: bool,
        after: &mut After<K, C, S>,
    ) -> Admit<K, C, S> {
        let AcquireRequest {
            shard,
            want,
            client,
            ..
        } = *request;
        let has_permit = self.counts.held() < self.max_total && !self.at_cap(origin);
        let has_place = self.pending < self.queue_len;
        let mut is_covered = false;
        if want == Want::Shared {
            if let Some(leased) = self.lease_stream(origin, request, has_permit, after) {
                return Admit::Granted(Grant::Stream(leased));
            }
            let sharing = self.origins[origin].sharing.in_shard(shard, self.shards);
            // A shard without a session opens its own while there are permits.
            let is_first = has_permit && sharing.expected == 0;
            is_covered = !is_first && self.origins[origin].sharing.covers_another();
        }
        if has_permit && !(is_covered && has_place) {
            let phase = self.origins[origin].begin_dial(want, shard, self.shards);
            return Admit::Granted(Grant::Open(self.open(origin, client), phase));
        }
        let reach = self.reach(origin, want);
        let displaced = match has_place {
            true => None,
            false if !is_second_try => return Admit::Full(reach),
            false => match self.displaced_by(origin, client) {
                None => return Admit::Full(reach),
                displaced => displaced,
            },
        };
        // The newcomer enters first, so that the origin of the displaced one is not removed before.
        let waiter = self.enqueue(origin, request);
        if let Some((other, share)) = displaced {
            let waker = self.displace(other, share);
            after.wake(waker);
        }
        Admit::Queued {
            waiter,
            reach: (!is_covered).then_some(reach),
        }
    }

    /// A dial yielded an exclusive connection.
    pub(crate) fn install(
        &mut self,
        origin: Id<OriginState<K, C, S>>,
        phase: ConnPhase,
        shard: usize,
        after: &mut After<K, C, S>,
    ) {
        let in_need = self.origins[origin].in_need();
        self.totals.opened += 1;
        self.move_on(origin, phase, ConnPhase::Installed);
        self.dial_succeeds(origin, phase, shard, None);
        if phase == ConnPhase::SharedDial {
            self.cover_again(origin, in_need, after);
        }
    }

    /// The connection was dropped, and its permit is used for another one.
    pub(crate) fn reopen(&mut self, ticket: &Ticket<K, C, S>) -> Ticket<K, C, S> {
        self.totals.closed += 1;
        self.move_on(ticket.origin, ConnPhase::Installed, ConnPhase::Connecting);
        self.ticket(ticket.origin, Arc::clone(&ticket.hold), ticket.place)
    }

    /// The connection has left the pool and still counts.
    pub(crate) fn detach(&mut self, origin: Id<OriginState<K, C, S>>) {
        self.move_on(origin, ConnPhase::Installed, ConnPhase::Upgraded);
    }

    /// The connection, if there was one, has been dropped: its permit serves the next origin in the
    /// ring.
    pub(crate) fn free(
        &mut self,
        ticket: &Ticket<K, C, S>,
        phase: ConnPhase,
        shard: usize,
        after: &mut After<K, C, S>,
    ) {
        let origin = ticket.origin;
        let in_need = self.origins[origin].in_need();
        self.counts.sub(phase);
        self.origins[origin].counts.sub(phase);
        self.origins[origin].contest.gives(ticket.hold.client());
        // The ticket has another reference, which is dropped outside the lock.
        drop(self.origins[origin].holds.remove(ticket.place));
        self.totals.closed += u64::from(!phase.is_connecting());
        if phase == ConnPhase::SharedDial {
            self.origins[origin].sharing.dial_fails(shard);
            return self.cover_again(origin, in_need, after);
        }
        self.refresh(origin);
        let waker = self.serve_ring();
        after.wake(waker);
    }

    /// Connections of this origin that are installed or being dialled are no longer kept. Returns the
    /// number of its idle sessions, which are closed.
    pub(crate) fn evict(
        &mut self,
        key: &K,
        evictions: &AtomicUsize,
        after: &mut After<K, C, S>,
    ) -> usize {
        if let Some(origin) = self.index.get(key) {
            // Under the permits' lock, and before the shards are searched. A thread that keeps a
            // connection in a shard after that search sees both increments; a thread that sees the
            // second sees the first.
            self.origins[*origin]
                .generation
                .fetch_add(1, Ordering::Relaxed);
            evictions.fetch_add(1, Ordering::Release);
        }
        self.retire_sessions(Reason::Evicted, after, |of, _| of == key)
    }

    fn open(&mut self, origin: Id<OriginState<K, C, S>>, client: Client) -> Ticket<K, C, S> {
        debug_assert!(self.counts.held() < self.max_total && !self.at_cap(origin));
        self.counts.add(ConnPhase::Connecting);
        let hold = Arc::new(Hold::new(client));
        let of = &mut self.origins[origin];
        of.counts.add(ConnPhase::Connecting);
        of.contest.takes(client);
        let place = of.holds.insert(Arc::clone(&hold));
        self.ticket(origin, hold, place)
    }

    fn ticket(
        &self,
        origin: Id<OriginState<K, C, S>>,
        hold: Arc<Hold>,
        place: Id<Arc<Hold>>,
    ) -> Ticket<K, C, S> {
        let generation = Arc::clone(&self.origins[origin].generation);
        let born = generation.load(Ordering::Relaxed);
        Ticket {
            origin,
            hold,
            place,
            generation,
            born,
            valid_at: usize::MAX,
        }
    }

    fn move_on(&mut self, origin: Id<OriginState<K, C, S>>, from: ConnPhase, to: ConnPhase) {
        for counts in [&mut self.counts, &mut self.origins[origin].counts] {
            counts.sub(from);
            counts.add(to);
        }
    }

    fn at_cap(&self, origin: Id<OriginState<K, C, S>>) -> bool {
        self.origins[origin].counts.held() >= self.max_per_origin
    }

    fn origin_of(&mut self, key: &K) -> Id<OriginState<K, C, S>> {
        if let Some(origin) = self.index.get(key) {
            return *origin;
        }
        let origin = self.origins.insert(OriginState {
            key: key.clone(),
            counts: ConnCounts::default(),
            queue: List::default(),
            shard_queues: Vec::new(),
            ring: Links::default(),
            in_ring: false,
            rank: Links::default(),
            overtaken: 0,
            holds: Slab::new(),
            contest: Contest::default(),
            sharing: Sharing::default(),
            generation: Arc::new(AtomicUsize::new(0)),
        });
        self.index.insert(key.clone(), origin);
        origin
    }

    /// Restores invariant 1 after an origin's queue or permits changed, and removes an origin
    /// without waiters and permits.
    fn refresh(&mut self, id: Id<OriginState<K, C, S>>) {
        let origin = &mut self.origins[id];
        let (held, queued) = (origin.counts.held(), !origin.queue.is_empty());
        let eligible = queued && held < self.max_per_origin && origin.in_need() > 0;
        if eligible != origin.in_ring {
            origin.in_ring = eligible;
            match eligible {
                true => self.ring.push_back(&mut self.origins, id),
                false => self.ring.remove(&mut self.origins, id),
            }
        }
        if held == 0 && !queued {
            let origin = self.origins.remove(id);
            self.index.remove(&origin.key);
        }
    }
}

/// Counting.
impl<K: Key, C: Conn, S: Session> Permits<K, C, S> {
    /// Waiters of all origins.
    pub(crate) fn pending(&self) -> usize {
        self.pending
    }

    /// The part of each origin; all installed connections but idle sessions count as active.
    pub(crate) fn stats(&self, now: Instant) -> Vec<OriginStats<K>> {
        let of = |origin: &OriginState<K, C, S>| OriginStats {
            key: origin.key.clone(),
            connecting: origin.counts.connecting,
            active: origin.counts.installed - origin.sharing.idle,
            idle: origin.sharing.idle,
            streams: origin.sharing.streams,
            upgraded: origin.counts.upgraded,
            pending: origin.queue.len(),
            oldest_wait: origin
                .queue
                .first()
                .map(|first| now.saturating_duration_since(self.waiters[first].since)),
        };
        self.origins.iter().map(|(_, origin)| of(origin)).collect()
    }

    /// Checks every invariant of the permits from scratch; returns the installed exclusive
    /// connections by origin.
    #[cfg(test)]
    pub(crate) fn audit(&self) -> HashMap<K, usize> {
        let (mut total, mut queued, mut ring) = (ConnCounts::default(), 0, 0);
        for (id, origin) in self.origins.iter() {
            let ConnCounts {
                connecting,
                installed,
                upgraded,
            } = origin.counts;
            total.connecting += connecting;
            total.installed += installed;
            total.upgraded += upgraded;
            assert_eq!(
                origin.counts.held(),
                origin.holds.len(),
                "the count and the list of permits in use do not match"
            );
            assert!(
                origin.counts.held() <= self.max_per_origin,
                "an origin is above its cap"
            );
            assert!(
                origin.counts.held() > 0 || !origin.queue.is_empty(),
                "an empty origin was kept"
            );
            let eligible = origin.in_need() > 0 && origin.counts.held() < self.max_per_origin;
            assert_eq!(eligible, origin.in_ring);
            self.audit_sessions(id, origin);
            assert_eq!(
                origin
                    .shard_queues
                    .iter()
                    .map(|shard_queue| shard_queue.queue.len())
                    .sum::<usize>(),
                origin.queue.len()
            );
            queued += origin.queue.len();
            ring += usize::from(eligible);
            assert!(
                self.index
                    .get(&origin.key)
                    .is_some_and(|indexed| *indexed == id)
            );
        }
        assert_eq!(
            (total, queued, ring),
            (self.counts, self.pending, self.ring.len())
        );
        assert_eq!(self.origins.len(), self.index.len());
        self.audit_shares();
        let count = |of: fn(&Sharing<K, C, S>) -> usize| {
            self.origins
                .iter()
                .map(|(_, origin)| of(&origin.sharing))
                .sum::<usize>()
        };
        let (sessions, idle) = (count(|of| of.sessions.len()), count(|of| of.idle));
        assert_eq!((sessions, idle), self.session_counts());
        assert!(total.held() <= self.max_total, "the total is above its cap");
        assert!(
            ring == 0 || total.held() == self.max_total,
            "a waiter below all limits was not served"
        );
        self.origins
            .iter()
            .map(|(_, origin)| {
                let sessions = origin.sharing.sessions.len();
                (origin.key.clone(), origin.counts.installed - sessions)
            })
            .collect()
    }

    /// Whether an origin has waiters that need a permit; whether any origin is blocked only by the
    /// total limit. Those that will get a permit without further steps do not count.
    #[cfg(test)]
    pub(crate) fn waits(&self, key: &K) -> (bool, bool) {
        let provided_for = self.provided_for();
        let own = self.index.get(key).map(|id| self.origins[*id].in_need());
        let ring = self.ring.ids(&self.origins);
        let others: usize = ring.map(|id| self.origins[id].in_need()).sum();
        (
            own.is_some_and(|own| own > provided_for),
            others > provided_for,
        )
    }

    /// The number of origins and of waiters, and the largest capacity of their slabs.
    #[cfg(test)]
    pub(crate) fn places(&self) -> (usize, usize, usize) {
        (
            self.origins.len(),
            self.waiters.len(),
            self.origins.places().max(self.waiters.places()),
        )
    }
}

impl<K: Key, C: Conn, S: Session> Ticket<K, C, S> {
    /// Whether the origin was evicted since the permit was given. If no origin was evicted since the
    /// last check, this does not read the origin's memory, which may not be cached.
    pub(crate) fn is_evicted(&mut self, evictions: &AtomicUsize) -> bool {
        let evictions = evictions.load(Ordering::Acquire);
        if self.valid_at == evictions {
            return false;
        }
        let evicted = self.generation.load(Ordering::Relaxed) != self.born;
        if !evicted {
            self.valid_at = evictions;
        }
        evicted
    }
}

impl<K: Key, C: Conn, S: Session> Linked<QUEUE> for Waiter<K, C, S> {
    fn links(&mut self) -> &mut Links<Self> {
        &mut self.queue
    }

    fn linked(&self) -> &Links<Self> {
        &self.queue
    }
}

impl<K: Key, C: Conn, S: Session> Linked<SHARD_QUEUE> for Waiter<K, C, S> {
    fn links(&mut self) -> &mut Links<Self> {
        &mut self.shard_queue
    }

    fn linked(&self) -> &Links<Self> {
        &self.shard_queue
    }
}

impl<K: Key, C: Conn, S: Session> Linked<RING> for OriginState<K, C, S> {
    fn links(&mut self) -> &mut Links<Self> {
        &mut self.ring
    }

    fn linked(&self) -> &Links<Self> {
        &self.ring
    }
}
