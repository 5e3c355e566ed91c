//! Event: what happened to a connection or in the queue, told to an observer when it happens.
//!
//! In:    the moments of an agent's work.
//! Out:   calls of one function.
//! Never: under a lock, and never waits.

use super::error::Error;
use super::group::Group;
use crate::pool;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// One thing that happened. Events of one connection come in order; those of several may come at
/// once, on several threads.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A connection was opened, TLS included.
    Opened {
        /// Its group.
        group: &'a Group,
        /// The other end, where it has an address.
        peer: Option<SocketAddr>,
        /// How long opening took.
        took: Duration,
    },
    /// A connection could not be opened.
    ConnectFailed {
        /// The group that it was for.
        group: &'a Group,
        /// Why.
        error: &'a Error,
    },
    /// A kept connection was lent again.
    Reused {
        /// Its group.
        group: &'a Group,
        /// Requests on it, including this one.
        requests: u64,
    },
    /// A connection was given back and is waiting for its next request.
    Idle {
        /// Its group.
        group: &'a Group,
    },
    /// A connection left the pool for good, by 101 or by CONNECT.
    Upgraded {
        /// Its group.
        group: &'a Group,
    },
    /// A connection was closed.
    Closed {
        /// Its group.
        group: &'a Group,
        /// Why.
        reason: CloseReason,
        /// Time since it was opened.
        age: Duration,
        /// Requests that it carried.
        requests: u64,
    },
    /// A request has to wait for a connection.
    Queued {
        /// The group that it waits for.
        group: &'a Group,
    },
    /// A request got no connection: the queue was full, took too long, or was closed.
    QueueRejected {
        /// The group that it waited for.
        group: &'a Group,
        /// Why.
        error: &'a Error,
    },
    /// A request is sent again on a new connection, because the kept one was stale.
    Retried {
        /// Its group.
        group: &'a Group,
    },
    /// A kept connection was stale and the request is not sent again.
    NotRetried {
        /// Its group.
        group: &'a Group,
        /// Why not.
        because: NoRetry,
    },
}

/// Why a connection was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// It was idle for as long as it may be.
    IdleTimeout,
    /// It was as old as it may be.
    Lifetime,
    /// It had carried as many requests as it may.
    MaxRequests,
    /// It was one idle connection too many, of its group or in all.
    IdleLimit,
    /// Its place was needed for another.
    Reclaimed,
    /// It was evicted, or all idle connections were closed.
    Evicted,
    /// The agent was shut down, or its last clone dropped.
    ShutDown,
    /// The origin had ended it while it was idle, or bytes had come that nobody asked for.
    Stale,
    /// It had been upgraded, and has been dropped as such; if upgraded ones do not count, it has
    /// left.
    Upgraded,
    /// The origin or the caller said `Connection: close`, or the response ended with the
    /// connection.
    LastResponse,
    /// The origin's `Keep-Alive` left no time or no request.
    Hint,
    /// Bytes came behind the response (they could be taken for the next one).
    ExtraBytes,
    /// The response ended before the request was written.
    EarlyResponse,
    /// The exchange failed.
    Failed,
    /// The caller dropped the request or its response half-way.
    Dropped,
    /// The agent keeps no connections
    /// ([`AgentBuilder::keep_alive`](crate::AgentBuilder::keep_alive)).
    Unpooled,
}

/// Why a request on a stale connection is not sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NoRetry {
    /// The agent's [`Retry`](crate::Retry) forbids it.
    Policy,
    /// Something was written, the method is not idempotent, and there is not exactly one
    /// `Idempotency-Key`.
    Method,
    /// More of the body has been sent than is kept for a second try.
    Body,
}

pub(crate) type OnEvent = Arc<dyn Fn(&Event<'_>) + Send + Sync>;

/// The observer, if there is one.
#[derive(Clone, Default)]
pub(crate) struct Observer(pub(crate) Option<OnEvent>);

impl Observer {
    pub(crate) fn notify(&self, event: &Event<'_>) {
        if let Some(on_event) = &self.0 {
            on_event(event);
        }
    }

    /// What the pool tells, for the same observer; `None` if there is none.
    pub(crate) fn of_pool(&self) -> Option<Arc<dyn pool::Observer<Group>>> {
        let on_event = self.0.clone()?;
        Some(Arc::new(move |event: &pool::Event<'_, Group>| {
            if let Some(event) = of_pool(event) {
                on_event(&event);
            }
        }))
    }
}

/// What only the pool knows. The rest is told where more is known of it: by whoever dialled, was
/// refused, or decided that a connection is not kept.
fn of_pool<'a>(event: &pool::Event<'a, Group>) -> Option<Event<'a>> {
    match *event {
        pool::Event::Queued { key } => Some(Event::Queued { group: key }),
        pool::Event::Closed {
            key,
            reason,
            age,
            requests,
        } => {
            let reason = match reason {
                pool::Reason::IdleTimeout => CloseReason::IdleTimeout,
                pool::Reason::Lifetime => CloseReason::Lifetime,
                pool::Reason::MaxRequests => CloseReason::MaxRequests,
                pool::Reason::IdleLimit => CloseReason::IdleLimit,
                pool::Reason::Reclaimed => CloseReason::Reclaimed,
                pool::Reason::Evicted => CloseReason::Evicted,
                pool::Reason::Closed => CloseReason::ShutDown,
                pool::Reason::Stale => CloseReason::Stale,
                pool::Reason::Upgraded => CloseReason::Upgraded,
                pool::Reason::NotKept => return None,
            };
            Some(Event::Closed {
                group: key,
                reason,
                age,
                requests,
            })
        }
        _ => None,
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() {
            "Observer"
        } else {
            "no observer"
        })
    }
}
