//! Event: what happens to connections and acquires, reported to an observer for logs and metrics.
//!
//! Never: calls the observer under a lock; lets its panic reach the pool's user.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// Observes a pool; passed to [`Pool::observed`](crate::Pool::observed).
///
/// Called on the thread of the event, right after it, and never under one of the pool's locks: it
/// may call the pool. It must be quick nevertheless; an acquire or a release waits for it. A panic
/// in it is caught and dropped. Events of different threads may arrive out of order.
pub trait Observer<K>: Send + Sync {
    /// Called for each event.
    fn on_event(&self, event: &Event<'_, K>);
}

impl<K, F: Fn(&Event<'_, K>) + Send + Sync> Observer<K> for F {
    fn on_event(&self, event: &Event<'_, K>) {
        self(event);
    }
}

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a, K> {
    /// A dialled connection was installed.
    Opened {
        /// The origin.
        key: &'a K,
    },
    /// An idle connection was reused, or a session for another stream.
    Reused {
        /// The origin.
        key: &'a K,
        /// Leases of this connection or its streams, including this one.
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
        /// The number of its leases, or of those of its streams.
        requests: u64,
    },
    /// An acquire has to wait.
    Queued {
        /// The origin.
        key: &'a K,
    },
    /// An acquire was rejected because the queue is full, or lost its place in the full queue to
    /// another client.
    QueueRejected {
        /// The origin.
        key: &'a K,
    },
    /// An acquire reached the time limit of the queue.
    QueueTimeout {
        /// The origin.
        key: &'a K,
        /// How long it waited.
        waited: Duration,
    },
}

/// Why a connection was closed. A new reason is a breaking change, so that observers that match on
/// every reason miss none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It reached the idle timeout.
    IdleTimeout,
    /// It reached its maximum lifetime.
    Lifetime,
    /// It reached its maximum number of requests.
    MaxRequests,
    /// A probe found it dirty: the origin closed it or sent unexpected bytes.
    Stale,
    /// It was evicted.
    Evicted,
    /// There were too many idle connections, of its origin or in total.
    IdleLimit,
    /// Its permit was needed for another acquire.
    Reclaimed,
    /// Its user did not release it with [`Release::Keep`](crate::Release::Keep).
    NotKept,
    /// It left the pool for an upgrade, and was then dropped; with
    /// [`Limits::count_upgraded`](crate::Limits::count_upgraded) off: it has left the pool.
    Upgraded,
    /// The session takes no more streams: its peer said so or refused all, or it has ended.
    GoneAway,
    /// The pool is closed, or is draining and no acquire waits for it.
    Closed,
}

/// An optional observer.
pub(crate) type OptObserver<K> = Option<Arc<dyn Observer<K>>>;

/// Notifies the observer, if there is one; the event is built only then.
pub(crate) fn notify<'a, K: 'a>(watch: &OptObserver<K>, event: impl FnOnce() -> Event<'a, K>) {
    if let Some(observer) = watch {
        let event = event();
        let _ = catch_unwind(AssertUnwindSafe(|| observer.on_event(&event)));
    }
}
