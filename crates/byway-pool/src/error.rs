//! Errors: why an acquire failed.

use std::time::Duration;
use thiserror::Error;

/// Why an acquire returned neither a connection nor a permit. The cause is always local: nothing
/// was sent, so the request may be retried elsewhere or later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AcquireError {
    /// Every permitted connection is in use, and the queue is full: either on arrival, or because a
    /// newcomer for an origin with fewer waiters took the place of this acquire.
    #[error(
        "the connection pool's queue is full ({limit} waiting): answer 503, or raise queue_len or the connection limits"
    )]
    QueueFull {
        /// [`Limits::queue_len`](crate::Limits::queue_len): waiters of all origins together.
        limit: usize,
    },
    /// The queue is full, and a client with fewer waiters took the place of this acquire.
    #[error(
        "the connection pool's queue is full ({limit} waiting), and a client with fewer waiters took this place: answer \
         503, or raise queue_len or the connection limits"
    )]
    ClientShare {
        /// [`Limits::queue_len`](crate::Limits::queue_len): waiters of all origins together.
        limit: usize,
    },
    /// No connection became free in time.
    #[error(
        "no pooled connection became free within {waited:?}: answer 503, or raise queue_wait or the connection limits"
    )]
    QueueTimeout {
        /// How long this acquire waited.
        waited: Duration,
    },
    /// [`Pool::close`](crate::Pool::close) was called, before or while waiting.
    #[error("the connection pool is closed: use the one that replaced it")]
    Closed,
}
