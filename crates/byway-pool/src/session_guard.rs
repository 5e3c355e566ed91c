//! Session guard: what the owner of a session's socket reports to the pool.
//!
//! In:    what the peer announces, and the end of the connection.
//! Out:   the permit, after the socket is closed and the last stream has ended.

use crate::conn::{Conn, Key};
use crate::event::Reason;
use crate::lease::Permit;
use crate::permits::SessionEntry;
use crate::pool::now;
use crate::session::{NoSession, Session};
use crate::slab::Id;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The pool's view of a session whose connection is open. Held by the owner of the socket; drop it
/// after the socket is closed.
///
/// The permit is freed when the guard is dropped and the last stream has ended. A session whose
/// guard is dropped gets no new streams.
#[must_use = "dropping it reports that the connection is closed"]
pub struct SessionGuard<K: Key, C: Conn, S: Session = NoSession> {
    shared: Arc<SharedConn<K, C, S>>,
}

/// A session and its permit. Owned by its entry in the permits while it takes new streams, by each
/// of its streams, and by its guard. On drop, the session is dropped first, then its permit is
/// freed: fields are dropped in order.
pub(crate) struct SharedConn<K: Key, C: Conn, S: Session> {
    pub(crate) session: S,
    pub(crate) permit: Permit<K, C, S>,
    pub(crate) entry: Id<SessionEntry<K, C, S>>,
}

impl<K: Key, C: Conn, S: Session> SessionGuard<K, C, S> {
    pub(crate) fn new(shared: Arc<SharedConn<K, C, S>>) -> Self {
        Self { shared }
    }

    /// The origin.
    pub fn key(&self) -> &K {
        self.shared.permit.key()
    }

    /// The session.
    pub fn session(&self) -> &S {
        &self.shared.session
    }

    /// The peer has announced how many streams it takes at once (`SETTINGS`). More than before:
    /// waiters are served. Fewer than are in use: no stream is leased until enough have ended;
    /// those that were granted before are opened all the same, and the peer may refuse them.
    pub fn set_max_streams(&self, max: u32) {
        let (entry, now) = (self.shared.entry, now());
        let core = self.shared.permit.core();
        core.after(|permits, after| permits.set_max_streams(entry, max as usize, now, after));
    }

    /// How long the session may stay idle from the next time on, instead of
    /// [`Limits::idle_timeout`](crate::Limits::idle_timeout): a hint of the peer, already reduced
    /// by a margin. Zero closes it when its last stream ends.
    pub fn set_idle_timeout(&self, idle: Duration) {
        let (entry, idle) = (self.shared.entry, idle.min(crate::pool::LONGEST));
        let core = self.shared.permit.core();
        core.permits(|permits| permits.set_idle_timeout(entry, idle));
    }

    /// Streams leased, or granted and not yet opened.
    #[cfg(test)]
    pub(crate) fn in_use(&self) -> usize {
        let core = self.shared.permit.core();
        core.permits(|permits| permits.streams_of(self.shared.entry))
    }

    /// The peer takes no new streams (GOAWAY). Those in use continue; when the last one has ended,
    /// or at once if there is none, [`Session::close`] is called.
    pub fn go_away(&self) {
        self.shared
            .permit
            .core()
            .after(|permits, after| permits.retire(self.shared.entry, Reason::GoneAway, after));
    }
}

impl<K: Key, C: Conn, S: Session> Drop for SessionGuard<K, C, S> {
    fn drop(&mut self) {
        let core = self.shared.permit.core();
        core.after(|permits, after| permits.session_ended(self.shared.entry, after));
    }
}

impl<K: Key, C: Conn, S: Session> Drop for SharedConn<K, C, S> {
    fn drop(&mut self) {
        let core = Arc::clone(self.permit.core());
        let (reason, streams) = core.permits(|permits| permits.remove_session(self.entry));
        self.permit.closes_for(reason, streams);
    }
}

impl<K: Key, C: Conn, S: Session> fmt::Debug for SessionGuard<K, C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionGuard").finish_non_exhaustive()
    }
}
