//! After: what a step of the permits leaves to do when the lock is released.

use crate::conn::{Conn, Key};
use crate::session::Session;
use crate::session_guard::SharedConn;
use std::sync::Arc;
use std::task::Waker;

/// Wakers to wake, and sessions that left their entries. Allocates only for the second of each.
pub(crate) struct After<K: Key, C: Conn, S: Session> {
    waker: Option<Waker>,
    more_wakers: Vec<Waker>,
    sessions: Vec<RetiredSession<K, C, S>>,
}

struct RetiredSession<K: Key, C: Conn, S: Session> {
    shared: Arc<SharedConn<K, C, S>>,
    /// It has no stream, and its connection is open.
    close: bool,
}

impl<K: Key, C: Conn, S: Session> After<K, C, S> {
    pub(super) fn wake(&mut self, waker: Option<Waker>) {
        match self.waker {
            None => self.waker = waker,
            Some(_) => self.more_wakers.extend(waker),
        }
    }

    pub(super) fn retired(&mut self, shared: Arc<SharedConn<K, C, S>>, close: bool) {
        self.sessions.push(RetiredSession { shared, close });
    }

    /// Must be called after unlocking.
    pub(crate) fn run(self) {
        self.waker.into_iter().for_each(Waker::wake);
        self.more_wakers.into_iter().for_each(Waker::wake);
        for RetiredSession { shared, close } in self.sessions {
            if close {
                shared.session.close();
            }
        }
    }
}

impl<K: Key, C: Conn, S: Session> Default for After<K, C, S> {
    fn default() -> Self {
        Self {
            waker: None,
            more_wakers: Vec::new(),
            sessions: Vec::new(),
        }
    }
}
