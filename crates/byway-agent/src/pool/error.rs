//! Errors: why no connection could be had.

use std::time::Duration;
use thiserror::Error;

/// Why an acquire gave neither a connection nor a permit. All of them are our side's doing: nothing
/// was sent, so the request may be tried again elsewhere or later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AcquireError {
    /// Every permitted connection is in use, and the queue has no place left for this acquire: at
    /// once, or since a newcomer for an origin with fewer waiters got its place.
    #[error(
        "the connection pool's queue is full ({limit} waiting): answer 503, or raise queue_len or the connection limits"
    )]
    QueueFull {
        /// [`Limits::queue_len`](crate::Limits::queue_len): waiters of all origins together.
        limit: usize,
    },
    /// The queue filled up, and a client with fewer waiters than this one got the place of this
    /// acquire.
    #[error(
        "the connection pool's queue is full ({limit} waiting), and a client with fewer waiters got this place: answer \
         503, or raise queue_len or the connection limits"
    )]
    ClientShare {
        /// [`Limits::queue_len`](crate::Limits::queue_len): waiters of all origins together.
        limit: usize,
    },
    /// No connection came free in time.
    #[error(
        "no pooled connection came free within {waited:?}: answer 503, or raise queue_wait or the connection limits"
    )]
    QueueTimeout {
        /// How long this acquire waited.
        waited: Duration,
    },
    /// [`Pool::close`](crate::Pool::close) was called, before or while waiting.
    #[error("the connection pool is closed: use the one that replaced it")]
    Closed,
}
