//! Shutdown: how a pool ends, at once or after running requests.
//!
//! Never: takes a connection away from its user.

use crate::conn::{Conn, Key};
use crate::event::Reason;
use crate::idle::IdleStore;
use crate::permits::Mode;
use crate::pool::{Handle, Pool};
use crate::session::Session;
use std::pin::pin;
use std::task::Waker;
use std::time::Duration;

impl<K: Key, C: Conn, S: Session> Pool<K, C, S> {
    /// Closes the pool: idle connections are closed, every queued acquire gets
    /// [`AcquireError::Closed`](crate::AcquireError::Closed), as does each later one. Leased
    /// connections continue and are closed when they are released, sessions after their last stream.
    /// Calling it twice is harmless.
    pub fn close(&self) {
        self.handle.shut();
    }

    /// Whether [`Pool::close`] was called, or a [`Pool::shutdown`] has ended.
    pub fn is_closed(&self) -> bool {
        self.core().permits(|permits| permits.mode) == Mode::Closed
    }

    /// Keeps nothing from now on: idle connections are closed, and leased ones when they are
    /// released, unless an acquire waits for them. Acquiring still works. For a node that finishes
    /// its running requests: an idle connection would delay the end. It cannot be undone.
    pub fn keep_nothing(&self) {
        self.core().after(|permits, after| {
            if permits.mode == Mode::Open {
                permits.mode = Mode::Emptying;
            }
            permits.retire_idle_sessions(Reason::Closed, after);
        });
        self.handle.close_each(IdleStore::shut);
    }

    /// Drains the pool: each later acquire gets
    /// [`AcquireError::Closed`](crate::AcquireError::Closed) and idle connections are closed, but
    /// queued acquires are still served from released connections. It cannot be undone.
    pub fn drain(&self) {
        self.core().after(|permits, after| {
            if matches!(permits.mode, Mode::Open | Mode::Emptying) {
                permits.mode = Mode::Draining;
            }
            permits.retire_idle_sessions(Reason::Closed, after);
        });
        self.handle.close_each(IdleStore::shut);
    }

    /// [`Pool::drain`], then [`Pool::close`] when no permit is in use and no acquire waits, or
    /// after `within`, whichever comes first. Returns the number of permits still in use: being
    /// dialled, leased, or upgraded and counted. They continue until their users drop them.
    ///
    /// Cancel safe: the pool continues to drain, and may be shut down or closed again. Needs a
    /// tokio runtime with time.
    pub async fn shutdown(&self, within: Duration) -> usize {
        self.drain();
        let _ = tokio::time::timeout(within, self.emptied()).await;
        self.close();
        self.core().permits(|permits| permits.held())
    }

    async fn emptied(&self) {
        loop {
            let mut emptied = pin!(self.core().emptied.notified());
            emptied.as_mut().enable(); // before the check, so that no notification is missed
            if self.core().permits(|permits| permits.is_empty()) {
                return;
            }
            emptied.await;
        }
    }
}

impl<K: Key, C: Conn, S: Session> Handle<K, C, S> {
    pub(super) fn shut(&self) {
        let wakers = self.core.after(|permits, after| {
            let wakers = permits.dismiss();
            permits.retire_sessions(Reason::Closed, after, |_, _| true);
            wakers
        });
        wakers.into_iter().for_each(Waker::wake);
        self.close_each(IdleStore::shut);
    }
}
