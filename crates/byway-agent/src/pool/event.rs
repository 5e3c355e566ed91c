//! Event: what happens to connections and acquires, told to whoever wants to log or count it.
//!
//! In:    one happening.
//! Out:   a call of the observer, outside of every lock.
//! Never: text, or a panic of an observer that reaches the pool's user.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// Watches a pool; given to [`Pool::observed`](crate::Pool::observed).
///
/// Called on the thread where it happens, right after it happened, and never under one of the
/// pool's locks: it may call the pool. Keep it short all the same; an acquire or a release waits
/// for it. A panic in it is caught and dropped. Events of different threads may arrive in another
/// order than they happened in.
pub trait Observer<K>: Send + Sync {
    /// Something happened.
    fn on_event(&self, event: &Event<'_, K>);
}

impl<K, F: Fn(&Event<'_, K>) + Send + Sync> Observer<K> for F {
    fn on_event(&self, event: &Event<'_, K>) {
        self(event);
    }
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a, K> {
    /// A dialled connection was installed.
    Opened {
        /// The origin.
        key: &'a K,
    },
    /// A kept connection was lent.
    Reused {
        /// The origin.
        key: &'a K,
        /// Loans of this connection, including this one.
        requests: u64,
    },
    /// A connection was dropped, and its permit is free.
    Closed {
        /// The origin.
        key: &'a K,
        /// Why.
        reason: Reason,
        /// Time since it was installed.
        age: Duration,
        /// Loans that it had.
        requests: u64,
    },
    /// An acquire has to wait.
    Queued {
        /// The origin.
        key: &'a K,
    },
    /// An acquire was refused, as the queue is full; or it lost its place in the full queue to
    /// another client.
    QueueRejected {
        /// The origin.
        key: &'a K,
    },
    /// An acquire waited in vain.
    QueueTimeout {
        /// The origin.
        key: &'a K,
        /// How long it waited.
        waited: Duration,
    },
}

/// Why a connection was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// It was idle for as long as it may be.
    IdleTimeout,
    /// It was as old as it may be.
    Lifetime,
    /// It had carried as many requests as it may.
    MaxRequests,
    /// A probe found it dirty: the origin closed it, or spoke out of turn.
    Stale,
    /// It was evicted.
    Evicted,
    /// It was one idle connection too many, of its origin or in total.
    IdleLimit,
    /// Somebody else needed its permit.
    Reclaimed,
    /// Its user did not say that it can be kept.
    NotKept,
    /// It left the pool for an upgrade, and has come to its end as one; with
    /// [`Limits::count_upgraded`](crate::Limits::count_upgraded) off: it has left.
    Upgraded,
    /// The pool is closed, or draining and nobody waits for it.
    Closed,
}

/// Perhaps an observer.
pub(crate) type OptObserver<K> = Option<Arc<dyn Observer<K>>>;

/// Tells the observer, if there is one; the event is made only then.
pub(crate) fn notify<'a, K: 'a>(watch: &OptObserver<K>, event: impl FnOnce() -> Event<'a, K>) {
    if let Some(observer) = watch {
        let event = event();
        let _ = catch_unwind(AssertUnwindSafe(|| observer.on_event(&event)));
    }
}
