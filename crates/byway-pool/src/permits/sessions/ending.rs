//! Ending: how streams and sessions end.
//!
//! In:    streams whose work has ended, and reasons to lease no more.
//! Out:   slots for waiters, idle sessions, and sessions to close.
//! Never: closes a session that has a stream.

use super::{Ending, SessionEntry};
use crate::conn::{Conn, Key};
use crate::event::Reason;
use crate::permits::{After, Mode, Permits};
use crate::session::Session;
use crate::session_guard::SharedConn;
use crate::slab::Id;
use std::sync::Arc;
use std::time::Instant;

impl<K: Key, C: Conn, S: Session> Permits<K, C, S> {
    /// The work of a stream has ended.
    pub(crate) fn end_stream(
        &mut self,
        shared: &Arc<SharedConn<K, C, S>>,
        place: usize,
        ending: Ending,
        now: Instant,
        after: &mut After<K, C, S>,
    ) {
        let id = shared.entry;
        let entry = &mut self.sessions[id];
        entry.in_use -= 1;
        entry.places[place].in_use = false;
        entry.vacant.push(place);
        match ending {
            Ending::Released => entry.allowed = entry.max_streams.min(entry.allowed + 1),
            Ending::Refused => entry.allowed = entry.allowed.min(entry.in_use),
            Ending::Unused => entry.requests -= 1,
            Ending::Reset | Ending::GoneAway => {}
        }
        let is_useless = ending == Ending::Refused && entry.allowed == 0;
        let client = entry.places[place].hold.client();
        let origin = &mut self.origins[entry.origin];
        origin.contest.gives(client);
        origin.sharing.streams -= 1;
        if entry.shared.is_none() {
            if entry.in_use == 0 && !entry.has_ended {
                after.retired(Arc::clone(shared), true);
            }
            return;
        }
        if is_useless || ending == Ending::GoneAway {
            return self.retire(id, Reason::GoneAway, after);
        }
        self.list_session(id);
        self.serve_session(id, now, after);
        self.rest_session(id, now, after);
    }

    /// Makes a session idle if it has no stream, or retires it if it must not be kept.
    fn rest_session(
        &mut self,
        id: Id<SessionEntry<K, C, S>>,
        now: Instant,
        after: &mut After<K, C, S>,
    ) {
        let entry = &self.sessions[id];
        if entry.in_use > 0 || entry.shared.is_none() {
            return;
        }
        let origin = entry.origin;
        let is_needed = self.origins[origin].in_need() > 0 || !self.ring.is_empty();
        let refused = if self.mode != Mode::Open {
            Some(Reason::Closed)
        } else if entry.ends.is_some_and(|ends| ends <= now) {
            Some(Reason::Lifetime)
        } else if entry.idle_timeout.is_zero() {
            Some(Reason::IdleTimeout)
        } else if is_needed {
            Some(Reason::Reclaimed)
        } else {
            None
        };
        if let Some(reason) = refused {
            return self.retire(id, reason, after);
        }
        let entry = &mut self.sessions[id];
        let until = now + entry.idle_timeout;
        entry.good_until = entry.ends.map_or(until, |ends| ends.min(until));
        entry.idle_since = now;
        let excess = if self.origins[origin].sharing.idle > self.max_idle_per_origin {
            self.oldest_idle_session(Some(origin))
        } else {
            let len = self.idle_sessions.len();
            self.idle_sessions
                .first()
                .filter(|_| len > self.max_idle_total)
        };
        if let Some(excess) = excess {
            self.retire(excess, Reason::IdleLimit, after);
        }
    }

    /// A session gets no new streams. Without a stream it is closed.
    pub(crate) fn retire(
        &mut self,
        id: Id<SessionEntry<K, C, S>>,
        reason: Reason,
        after: &mut After<K, C, S>,
    ) {
        let entry = &mut self.sessions[id];
        let Some(shared) = entry.shared.take() else {
            return;
        };
        entry.reason = reason;
        after.retired(shared, entry.in_use == 0 && !entry.has_ended);
        self.origins[entry.origin].sharing.shards[entry.shard].expected -= 1;
        self.list_session(id);
    }

    /// Retires a session that has carried its number of requests.
    pub(super) fn retire_worn(
        &mut self,
        id: Id<SessionEntry<K, C, S>>,
        after: &mut After<K, C, S>,
    ) {
        let worn = self
            .max_requests
            .is_some_and(|max| self.sessions[id].requests >= max);
        if worn {
            self.retire(id, Reason::MaxRequests, after);
        }
    }

    /// The owner of its socket has closed it.
    pub(crate) fn session_ended(
        &mut self,
        id: Id<SessionEntry<K, C, S>>,
        after: &mut After<K, C, S>,
    ) {
        self.sessions[id].has_ended = true;
        self.retire(id, Reason::GoneAway, after);
    }

    /// Its last owner drops it; afterwards its permit is freed. Returns why it was retired, and the
    /// number of its streams.
    pub(crate) fn remove_session(&mut self, id: Id<SessionEntry<K, C, S>>) -> (Reason, u64) {
        let origin = self.sessions[id].origin;
        self.origins[origin]
            .sharing
            .sessions
            .remove(&mut self.sessions, id);
        let entry = self.sessions.remove(id);
        (entry.reason, entry.requests)
    }
}
