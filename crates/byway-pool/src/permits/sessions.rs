//! Sessions: the shared sessions of all shards, their slots, and who gets them.
//!
//! In:    sessions, streams that end, what peers announce, and the time.
//! Out:   leased streams, grants to waiters, and sessions to close.
//! Never: leases more streams of a session than its peer takes; keeps a free slot while a waiter of
//!        its origin could use it.
//!
//! ```text
//!             install              last stream ends
//!   (permit) ─────────▶ active ◀──────────────────────▶ idle
//!                         │        next stream            │
//!                  retire │                        retire │
//!                         ▼        last stream ends       ▼      guard dropped
//!                      draining ───────────────────────▶ closing ─────────────▶ (free)
//! ```
//!
//! All of it is under the permits' lock, so that a slot, the queue and the permits always match. A
//! session is *retired* when it gets no more streams. Its entry exists until its permit is freed.

mod ending;
mod upkeep;

use super::after::After;
use super::sharing::Sharing;
use super::{AcquireRequest, Grant, Id, Mode, OriginState, PASS_OVER, Permits};
use crate::client::Client;
use crate::conn::{Conn, Key};
use crate::event::Reason;
use crate::hold::Hold;
use crate::list::{Linked, Links};
use crate::session::Session;
use crate::session_guard::SharedConn;
use crate::slab::Slab;
use crate::stats::ConnPhase;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The lists of a [`SessionEntry`]: all of its origin; those of its origin and shard with a free
/// slot; all idle ones, least recently used first.
pub(super) const OF_ORIGIN: usize = 0;
pub(super) const AVAILABLE: usize = 1;
pub(super) const BY_AGE: usize = 2;

pub(crate) struct SessionEntry<K: Key, C: Conn, S: Session> {
    origin: Id<OriginState<K, C, S>>,
    shard: usize,
    /// `None` once it is retired.
    shared: Option<Arc<SharedConn<K, C, S>>>,
    /// How many streams the peer takes at once.
    max_streams: usize,
    /// The same, or fewer after a stream was refused.
    allowed: usize,
    in_use: usize,
    /// One for each stream that was ever in use at once.
    places: Vec<StreamPlace>,
    vacant: Vec<usize>,
    requests: u64,
    idle_timeout: Duration,
    ends: Option<Instant>,
    /// While it is idle.
    idle_since: Instant,
    good_until: Instant,
    /// Why it was retired.
    reason: Reason,
    /// The owner of its socket has closed it.
    has_ended: bool,
    is_available: bool,
    is_idle: bool,
    of_origin: Links<Self>,
    available: Links<Self>,
    by_age: Links<Self>,
}

struct StreamPlace {
    hold: Arc<Hold>,
    in_use: bool,
}

/// A slot of a session, as seen under the lock. Outside the lock it is a
/// [`StreamSlot`](crate::stream_lease::StreamSlot), which is freed on drop.
pub(crate) struct LeasedStream<K: Key, C: Conn, S: Session> {
    pub(crate) shared: Arc<SharedConn<K, C, S>>,
    pub(crate) hold: Arc<Hold>,
    pub(crate) place: usize,
    /// Number of this stream in its session.
    pub(crate) requests: u64,
    /// The position of its acquire among all arrivals.
    pub(crate) arrival: usize,
}

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It was leased and never opened.
    Unused,
    Released,
    Reset,
    /// The peer did not process it.
    Refused,
    /// The session takes no more streams.
    GoneAway,
}

/// A session to install.
pub(crate) struct NewSession<K: Key, C: Conn, S: Session> {
    pub(crate) origin: Id<OriginState<K, C, S>>,
    pub(crate) shard: usize,
    pub(crate) phase: ConnPhase,
    pub(crate) client: Client,
    pub(crate) max_streams: usize,
    pub(crate) idle_timeout: Duration,
    pub(crate) ends: Option<Instant>,
    pub(crate) is_evicted: bool,
}

/// Leasing.
impl<K: Key, C: Conn, S: Session> Permits<K, C, S> {
    /// A dial yielded a session: its first stream is leased to the client that dialled, the others
    /// to waiters.
    pub(crate) fn install_session(
        &mut self,
        new: &NewSession<K, C, S>,
        now: Instant,
        after: &mut After<K, C, S>,
        build: impl FnOnce(Id<SessionEntry<K, C, S>>) -> Arc<SharedConn<K, C, S>>,
    ) -> LeasedStream<K, C, S> {
        let NewSession {
            origin,
            shard,
            phase,
            client,
            max_streams,
            ..
        } = *new;
        let in_need = self.origins[origin].in_need();
        self.totals.opened += 1;
        self.move_on(origin, phase, ConnPhase::Installed);
        let id = self.sessions.insert(SessionEntry::new(new, now));
        let shared = build(id);
        // The connection belongs to no client; its streams do.
        shared.permit.hold().belongs_to(Client::SESSION);
        self.sessions[id].shared = Some(shared);
        let OriginState {
            contest, sharing, ..
        } = &mut self.origins[origin];
        contest.gives(client);
        contest.takes(Client::SESSION);
        sharing.sessions.push_back(&mut self.sessions, id);
        sharing.in_shard(shard, self.shards).expected += 1;
        self.dial_succeeds(origin, phase, shard, Some(max_streams));
        let leased = self.take_stream(id, client, self.arrivals);
        if new.is_evicted {
            self.retire(id, Reason::Evicted, after);
        } else if self.mode == Mode::Closed {
            self.retire(id, Reason::Closed, after);
        }
        self.retire_worn(id, after);
        self.serve_session(id, now, after);
        self.cover_again(origin, in_need, after);
        leased
    }

    /// A stream of a session of this origin: in this shard, or in another one unless this shard
    /// has none and `may_open` one.
    pub(super) fn lease_stream(
        &mut self,
        origin: Id<OriginState<K, C, S>>,
        request: &AcquireRequest,
        may_open: bool,
        after: &mut After<K, C, S>,
    ) -> Option<LeasedStream<K, C, S>> {
        let arrival = request.arrival.unwrap_or(self.arrivals);
        loop {
            let sharing = &self.origins[origin].sharing;
            let own = sharing.shards.get(request.shard)?;
            let id = match own.available.first() {
                Some(id) => id,
                None if may_open && own.expected == 0 => return None,
                None => sharing
                    .shards
                    .iter()
                    .find_map(|shard| shard.available.first())?,
            };
            if let Some(reason) = self.must_retire(id, request.since) {
                self.retire(id, reason, after);
                continue;
            }
            let leased = self.take_stream(id, request.client, arrival);
            self.retire_worn(id, after);
            return Some(leased);
        }
    }

    /// Why the next stream must not be leased from this session.
    fn must_retire(&mut self, id: Id<SessionEntry<K, C, S>>, now: Instant) -> Option<Reason> {
        let SessionEntry { ends, origin, .. } = self.sessions[id];
        if ends.is_some_and(|ends| ends <= now) {
            return Some(Reason::Lifetime);
        }
        self.passes_over_others(origin).then_some(Reason::Reclaimed)
    }

    /// Whether a busy session must be given up, because others wait for its permit. A session may
    /// never be idle, so after a number of streams one is retired; the number doubles each time
    /// until a waiter is served, so that few are retired even if they end slowly.
    fn passes_over_others(&mut self, origin: Id<OriginState<K, C, S>>) -> bool {
        let of = &self.origins[origin];
        let exclusive = of.queue.len() > of.sharing.waiting;
        if !exclusive && self.ring.len() <= usize::from(of.in_ring) {
            return false;
        }
        self.stream_passes += 1;
        if self.stream_passes <= self.max_stream_passes {
            return false;
        }
        self.stream_passes = 0;
        self.max_stream_passes = self.max_stream_passes.saturating_mul(2);
        true
    }

    /// A waiter got a permit.
    pub(super) fn forget_stream_passes(&mut self) {
        (self.stream_passes, self.max_stream_passes) = (0, PASS_OVER);
    }

    fn take_stream(
        &mut self,
        id: Id<SessionEntry<K, C, S>>,
        client: Client,
        arrival: usize,
    ) -> LeasedStream<K, C, S> {
        let entry = &mut self.sessions[id];
        entry.in_use += 1;
        entry.requests += 1;
        let place = entry.vacant.pop().unwrap_or_else(|| {
            entry.places.push(StreamPlace {
                hold: Arc::new(Hold::new(client)),
                in_use: false,
            });
            entry.places.len() - 1
        });
        entry.places[place].in_use = true;
        let hold = Arc::clone(&entry.places[place].hold);
        hold.belongs_to(client);
        let requests = entry.requests;
        self.totals.streams_reused += u64::from(requests > 1);
        let Some(shared) = entry.shared.clone() else {
            unreachable!("a retired session is not available")
        };
        let origin = &mut self.origins[entry.origin];
        origin.contest.takes(client);
        origin.sharing.streams += 1;
        self.list_session(id);
        LeasedStream {
            shared,
            hold,
            place,
            requests,
            arrival,
        }
    }

    /// Serves waiters of its origin that accept a stream, while it has free slots.
    fn serve_session(
        &mut self,
        id: Id<SessionEntry<K, C, S>>,
        now: Instant,
        after: &mut After<K, C, S>,
    ) {
        while self.sessions[id].is_available {
            let origin = self.sessions[id].origin;
            let Some(waiter) = self.next_waiter_for_stream(origin) else {
                return;
            };
            if let Some(reason) = self.must_retire(id, now) {
                return self.retire(id, reason, after);
            }
            let (client, arrival) = (self.waiters[waiter].client, self.waiters[waiter].arrival);
            let leased = self.take_stream(id, client, arrival);
            let waker = self.grant(waiter, Grant::Stream(leased));
            after.wake(waker);
            self.retire_worn(id, after);
        }
    }
}

/// What peers announce.
impl<K: Key, C: Conn, S: Session> Permits<K, C, S> {
    pub(crate) fn set_max_streams(
        &mut self,
        id: Id<SessionEntry<K, C, S>>,
        max: usize,
        now: Instant,
        after: &mut After<K, C, S>,
    ) {
        let entry = &mut self.sessions[id];
        (entry.max_streams, entry.allowed) = (max, max);
        let (origin, is_retired) = (entry.origin, entry.shared.is_none());
        if is_retired {
            return;
        }
        let in_need = self.origins[origin].in_need();
        self.origins[origin].sharing.learns_of_streams(max);
        self.list_session(id);
        self.serve_session(id, now, after);
        self.cover_again(origin, in_need, after);
    }

    pub(crate) fn set_idle_timeout(&mut self, id: Id<SessionEntry<K, C, S>>, idle: Duration) {
        self.sessions[id].idle_timeout = idle;
    }
}

/// Lists.
impl<K: Key, C: Conn, S: Session> Permits<K, C, S> {
    /// Puts a session into the lists that it belongs to now.
    fn list_session(&mut self, id: Id<SessionEntry<K, C, S>>) {
        let entry = &mut self.sessions[id];
        let is_open = entry.shared.is_some();
        let (available, idle) = (
            is_open && entry.in_use < entry.allowed,
            is_open && entry.in_use == 0,
        );
        let was = (entry.is_available, entry.is_idle);
        (entry.is_available, entry.is_idle) = (available, idle);
        let sharing = &mut self.origins[entry.origin].sharing;
        let list = &mut sharing.shards[entry.shard].available;
        match (was.0, available) {
            (false, true) => list.push_back(&mut self.sessions, id),
            (true, false) => list.remove(&mut self.sessions, id),
            _ => {}
        }
        match (was.1, idle) {
            (false, true) => {
                sharing.idle += 1;
                self.idle_sessions.push_back(&mut self.sessions, id);
            }
            (true, false) => {
                sharing.idle -= 1;
                self.idle_sessions.remove(&mut self.sessions, id);
            }
            _ => {}
        }
    }

    /// The clients of an origin's streams.
    pub(super) fn stream_holds<'a>(
        sessions: &'a Slab<SessionEntry<K, C, S>>,
        sharing: &Sharing<K, C, S>,
    ) -> impl Iterator<Item = &'a Arc<Hold>> + use<'a, K, C, S> {
        let entries = sharing.sessions.ids(sessions);
        let places = entries.flat_map(|id| &sessions[id].places);
        places.filter(|place| place.in_use).map(|place| &place.hold)
    }
}

impl<K: Key, C: Conn, S: Session> SessionEntry<K, C, S> {
    fn new(new: &NewSession<K, C, S>, now: Instant) -> Self {
        Self {
            origin: new.origin,
            shard: new.shard,
            shared: None,
            max_streams: new.max_streams,
            allowed: new.max_streams,
            in_use: 0,
            places: Vec::new(),
            vacant: Vec::new(),
            requests: 0,
            idle_timeout: new.idle_timeout,
            ends: new.ends,
            idle_since: now,
            good_until: now,
            reason: Reason::NotKept,
            has_ended: false,
            is_available: false,
            is_idle: false,
            of_origin: Links::default(),
            available: Links::default(),
            by_age: Links::default(),
        }
    }

    /// How many streams it may have.
    pub(super) fn slots(&self) -> usize {
        match self.shared {
            Some(_) => self.allowed.max(self.in_use),
            None => self.in_use,
        }
    }
}

impl<K: Key, C: Conn, S: Session> Linked<OF_ORIGIN> for SessionEntry<K, C, S> {
    fn links(&mut self) -> &mut Links<Self> {
        &mut self.of_origin
    }

    fn linked(&self) -> &Links<Self> {
        &self.of_origin
    }
}

impl<K: Key, C: Conn, S: Session> Linked<AVAILABLE> for SessionEntry<K, C, S> {
    fn links(&mut self) -> &mut Links<Self> {
        &mut self.available
    }

    fn linked(&self) -> &Links<Self> {
        &self.available
    }
}

impl<K: Key, C: Conn, S: Session> Linked<BY_AGE> for SessionEntry<K, C, S> {
    fn links(&mut self) -> &mut Links<Self> {
        &mut self.by_age
    }

    fn linked(&self) -> &Links<Self> {
        &self.by_age
    }
}
