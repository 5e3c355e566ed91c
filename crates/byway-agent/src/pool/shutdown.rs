//! Shutdown: how a pool comes to its end, at once or after what is under way.
//!
//! In:    the wish, and how long it may take.   Out:   a pool that admits, keeps and holds nothing.
//! Never: takes a connection away from its user.

use crate::pool::conn::{Conn, Key};
use crate::pool::idle::IdleStore;
use crate::pool::permits::Mode;
use crate::pool::{Handle, Pool};
use std::pin::pin;
use std::task::Waker;
use std::time::Duration;

impl<K: Key, C: Conn> Pool<K, C> {
    /// Ends the pool: idle connections are closed, everyone in the queue gets
    /// [`AcquireError::Closed`](crate::AcquireError::Closed), as does each later acquire.
    /// Connections on loan work on and are closed when they come back. Doing it twice does no harm.
    pub fn close(&self) {
        self.handle.shut();
    }

    /// Whether [`Pool::close`] was called, or a [`Pool::shutdown`] has come to its end.
    pub fn is_closed(&self) -> bool {
        self.core().permits(|permits| permits.mode) == Mode::Closed
    }

    /// Keeps nothing from now on: idle connections are closed, and those on loan when they come
    /// back, unless a waiter waits for them. Acquiring still works. For a node that finishes what
    /// is under way: a kept connection would hold up whatever waits for its end. There is no way
    /// back from here.
    pub fn keep_nothing(&self) {
        self.core().permits(|permits| {
            if permits.mode == Mode::Open {
                permits.mode = Mode::Emptying;
            }
        });
        self.handle.close_each(IdleStore::shut);
    }

    /// Lets the pool run dry: each later acquire gets
    /// [`AcquireError::Closed`](crate::AcquireError::Closed) and idle connections are closed, but
    /// the queue is served still, from what comes back. There is no way back from here.
    pub fn drain(&self) {
        self.core().permits(|permits| {
            if matches!(permits.mode, Mode::Open | Mode::Emptying) {
                permits.mode = Mode::Draining;
            }
        });
        self.handle.close_each(IdleStore::shut);
    }

    /// [`Pool::drain`], then [`Pool::close`] once nothing is out and nobody waits, or after
    /// `within`, whichever comes first. Returns how many connections are still out: being dialled,
    /// on loan, or upgraded and counted. They work on until their users drop them.
    ///
    /// Cancel safe: the pool goes on draining, and may be shut down or closed again. Needs a tokio
    /// runtime with time.
    pub async fn shutdown(&self, within: Duration) -> usize {
        self.drain();
        let _ = tokio::time::timeout(within, self.emptied()).await;
        self.close();
        self.core().permits(|permits| permits.held())
    }

    async fn emptied(&self) {
        loop {
            let mut emptied = pin!(self.core().emptied.notified());
            emptied.as_mut().enable(); // before the look, so that nothing falls in between
            if self.core().permits(|permits| permits.is_empty()) {
                return;
            }
            emptied.await;
        }
    }
}

impl<K: Key, C: Conn> Handle<K, C> {
    pub(super) fn shut(&self) {
        let wakers = self.core.permits(|permits| permits.dismiss());
        wakers.into_iter().for_each(Waker::wake);
        self.close_each(IdleStore::shut);
    }
}
