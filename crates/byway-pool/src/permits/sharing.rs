//! Sharing: which waiters wait for a dial of another acquire, because it may yield a session for
//! all of them.
//!
//! In:    dials of acquires that accept a stream, and their results.
//! Out:   how many waiters are *covered*, and need no permit of their own.
//! Never: counts a dial whose result can only be an exclusive connection.
//!
//! A dial covers the waiters of its origin that accept a stream: all of them while nothing is known
//! of the origin, as many as the streams of its last session, or none if its last dial yielded an
//! exclusive connection. Each dial that fails in a row doubles the number of dials that run at
//! once, so that a fault of one address, or a caller that leaves, does not hold up the others for
//! long. Coverage is a number: no waiter is tied to a dial, so a cancelled waiter or dial only
//! changes the numbers.

use super::after::After;
use super::{Id, OriginState, Permits, Reach, SessionEntry, Waiter, WaiterState, Want};
use crate::conn::{Conn, Key};
use crate::list::List;
use crate::session::Session;
use crate::stats::ConnPhase;

/// What an origin knows of sessions.
pub(super) struct Sharing<K: Key, C: Conn, S: Session> {
    outlook: Outlook,
    /// Dials in a row that yielded nothing.
    failures: u32,
    /// Dials under way that may yield a session.
    pub(super) dials: usize,
    /// Waiters that accept a stream.
    pub(super) waiting: usize,
    /// Sessions without a stream that may get one.
    pub(super) idle: usize,
    /// Streams in use.
    pub(super) streams: usize,
    /// Every session, until it is closed.
    pub(super) sessions: List<SessionEntry<K, C, S>, { super::sessions::OF_ORIGIN }>,
    /// By shard; empty until the first dial that may yield a session.
    pub(super) shards: Vec<ShardSessions<K, C, S>>,
}

/// The sessions of one origin in one shard.
pub(super) struct ShardSessions<K: Key, C: Conn, S: Session> {
    /// Those with a free slot.
    pub(super) available: List<SessionEntry<K, C, S>, { super::sessions::AVAILABLE }>,
    /// Sessions that take new streams, and dials that may yield one.
    pub(super) expected: usize,
}

/// What the next dial is likely to yield.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outlook {
    Unknown,
    Exclusive,
    /// A session with this number of streams.
    Streams(usize),
}

impl<K: Key, C: Conn, S: Session> Sharing<K, C, S> {
    /// How many of `waiting` waiters that accept a stream the dials under way will serve.
    fn covers(&self, waiting: usize) -> usize {
        let each = match self.outlook {
            Outlook::Unknown => usize::MAX,
            Outlook::Exclusive => 0,
            // One of the streams is that of the acquire that dials.
            Outlook::Streams(streams) => streams.saturating_sub(1),
        };
        let in_parallel = 1_usize << self.failures.min(16);
        let to_dial = in_parallel.saturating_sub(self.dials);
        let by_dials = self.dials.saturating_mul(each);
        by_dials.min(waiting.saturating_sub(to_dial))
    }

    pub(super) fn covered(&self) -> usize {
        self.covers(self.waiting)
    }

    /// Whether one more waiter would be covered.
    pub(super) fn covers_another(&self) -> bool {
        self.covers(self.waiting + 1) > self.waiting
    }

    pub(super) fn in_shard(&mut self, shard: usize, shards: usize) -> &mut ShardSessions<K, C, S> {
        if self.shards.is_empty() {
            self.shards.resize_with(shards, ShardSessions::default);
        }
        &mut self.shards[shard]
    }

    fn dial_ends(&mut self, shard: usize) {
        self.dials -= 1;
        self.shards[shard].expected -= 1;
    }

    pub(super) fn dial_fails(&mut self, shard: usize) {
        self.dial_ends(shard);
        self.failures = self.failures.saturating_add(1);
    }

    /// The peer announces this number of streams.
    pub(super) fn learns_of_streams(&mut self, max: usize) {
        self.outlook = Outlook::Streams(max.max(1));
    }
}

impl<K: Key, C: Conn, S: Session> OriginState<K, C, S> {
    /// The phase of a dial that begins now.
    pub(super) fn begin_dial(&mut self, want: Want, shard: usize, shards: usize) -> ConnPhase {
        if want != Want::Shared {
            return ConnPhase::Connecting;
        }
        self.sharing.dials += 1;
        self.sharing.in_shard(shard, shards).expected += 1;
        ConnPhase::SharedDial
    }

    /// The waiters that need a permit, because no dial under way covers them.
    pub(super) fn in_need(&self) -> usize {
        self.queue.len() - self.sharing.covered()
    }
}

impl<K: Key, C: Conn, S: Session> Permits<K, C, S> {
    /// A dial yielded a connection.
    pub(super) fn dial_succeeds(
        &mut self,
        origin: Id<OriginState<K, C, S>>,
        phase: ConnPhase,
        shard: usize,
        streams: Option<usize>,
    ) {
        let sharing = &mut self.origins[origin].sharing;
        if phase == ConnPhase::SharedDial {
            sharing.dial_ends(shard);
            sharing.failures = 0;
            if streams.is_none() {
                sharing.outlook = Outlook::Exclusive;
            }
        }
        if let Some(streams) = streams {
            sharing.learns_of_streams(streams);
        }
    }

    /// Serves the waiters of an origin that may have lost their coverage, as far as there are
    /// permits. If more than `before` need one now, the others make room, as they would have done
    /// on arrival.
    pub(super) fn cover_again(
        &mut self,
        id: Id<OriginState<K, C, S>>,
        before: usize,
        after: &mut After<K, C, S>,
    ) {
        self.refresh(id);
        self.serve_all(after);
        let in_need = self.origins.get(id).map_or(0, OriginState::in_need);
        let more = in_need.saturating_sub(before);
        if more == 0 {
            return;
        }
        // The demand changes, as for new waiters.
        self.arrivals = self.arrivals.wrapping_add(1);
        let queue = self.origins[id].queue.ids(&self.waiters);
        let uncovered = queue.filter(|waiter| !self.waiters[*waiter].makes_room);
        let uncovered: Vec<_> = uncovered.take(more).collect();
        for waiter in uncovered {
            let waiter = &mut self.waiters[waiter];
            waiter.makes_room = true;
            if let WaiterState::Waiting(waker) = &mut waiter.state {
                after.wake(waker.take());
            }
        }
    }

    /// A waiter left that was to make room: another one of its origin does so.
    pub(super) fn pass_on_room(&mut self, id: Id<OriginState<K, C, S>>) {
        let queue = &self.origins[id].queue;
        let next = queue
            .ids(&self.waiters)
            .find(|waiter| !self.waiters[*waiter].makes_room);
        let Some(next) = next else { return };
        let next = &mut self.waiters[next];
        next.makes_room = true;
        if let WaiterState::Waiting(waker) = &mut next.state {
            self.passed_on.extend(waker.take());
        }
    }

    /// Whether a waiter must make room now, and where.
    pub(crate) fn takes_room(&mut self, waiter: Id<Waiter<K, C, S>>) -> Option<Reach> {
        let Waiter {
            origin,
            want,
            ref mut makes_room,
            ..
        } = self.waiters[waiter];
        if !std::mem::take(makes_room) || self.origins[origin].in_need() == 0 {
            return None;
        }
        Some(self.reach(origin, want))
    }

    /// Where closing an idle connection makes room for an acquire.
    pub(super) fn reach(&self, origin: Id<OriginState<K, C, S>>, want: Want) -> Reach {
        match want {
            _ if self.at_cap(origin) => Reach::Own,
            Want::Fresh => Reach::OwnFirst,
            Want::Any | Want::Shared => Reach::All,
        }
    }
}

impl<K: Key, C: Conn, S: Session> Default for Sharing<K, C, S> {
    fn default() -> Self {
        Self {
            outlook: Outlook::Unknown,
            failures: 0,
            dials: 0,
            waiting: 0,
            idle: 0,
            streams: 0,
            sessions: List::default(),
            shards: Vec::new(),
        }
    }
}

impl<K: Key, C: Conn, S: Session> Default for ShardSessions<K, C, S> {
    fn default() -> Self {
        Self {
            available: List::default(),
            expected: 0,
        }
    }
}
