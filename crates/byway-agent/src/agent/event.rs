//! Event: what happened to a connection or in the queue, reported to an observer when it happens.
//!
//! Never: calls the observer under a lock; waits.

use super::error::Error;
use super::group::Group;
use byway_pool as pool;
use http::Version;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// One event. Events of one connection arrive in order; those of several connections may arrive
/// concurrently, on several threads.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A connection was opened, TLS included.
    Opened {
        /// Its group.
        group: &'a Group,
        /// The peer's address, if it has one.
        peer: Option<SocketAddr>,
        /// How long opening took.
        took: Duration,
        /// The version of HTTP that is spoken on it: 1.1 or 2.
        version: Version,
    },
    /// A connection could not be opened.
    ConnectFailed {
        /// The group that it was for.
        group: &'a Group,
        /// Why.
        error: &'a Error,
    },
    /// An idle connection is reused, or a connection of HTTP/2 gets another stream.
    Reused {
        /// Its group.
        group: &'a Group,
        /// Requests on it, including this one.
        requests: u64,
    },
    /// A connection was returned and waits for its next request. On HTTP/2: its last stream has
    /// ended.
    Idle {
        /// Its group.
        group: &'a Group,
    },
    /// A connection left the pool, by 101 or by CONNECT.
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
    /// A request got no connection: the queue was full, its time limit expired, or it was closed.
    QueueRejected {
        /// The group that it waited for.
        group: &'a Group,
        /// Why.
        error: &'a Error,
    },
    /// A request is retried: on a new connection, because the reused one was stale; or on another
    /// stream, because the origin had not processed it ([`Retry`](crate::Retry)).
    Retried {
        /// Its group.
        group: &'a Group,
    },
    /// A reused connection was stale, or the origin had not processed the request, and it is not
    /// retried.
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
    /// It reached the idle timeout.
    IdleTimeout,
    /// It reached its maximum lifetime.
    Lifetime,
    /// It reached its maximum number of requests.
    MaxRequests,
    /// There were too many idle connections, in its group or in total.
    IdleLimit,
    /// Its permit was needed for another connection.
    Reclaimed,
    /// It was evicted, or all idle connections were closed.
    Evicted,
    /// The agent was shut down, or its last clone dropped.
    ShutDown,
    /// The origin had closed it while it was idle, or had sent unexpected bytes.
    Stale,
    /// It had been upgraded and was dropped by its user; if upgraded connections do not count,
    /// reported when it leaves the pool.
    Upgraded,
    /// The origin or the caller sent `Connection: close`, or the response was delimited by the end
    /// of the connection.
    LastResponse,
    /// A connection of HTTP/2 takes no more requests: the origin said so, refused all streams, or
    /// the connection has ended.
    GoneAway,
    /// The origin's `Keep-Alive` left no time or no request.
    Hint,
    /// Bytes followed the response (they could be read as the next one).
    ExtraBytes,
    /// The response ended before the request was written.
    EarlyResponse,
    /// The exchange failed.
    Failed,
    /// The caller dropped the request or its response before its end.
    Dropped,
    /// The agent keeps no connections
    /// ([`AgentBuilder::keep_alive`](crate::AgentBuilder::keep_alive)).
    Unpooled,
}

/// Why a request on a stale connection is not retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NoRetry {
    /// The agent's [`Retry`](crate::Retry) forbids it.
    Policy,
    /// Something was written, the method is not idempotent, and there is not exactly one
    /// `Idempotency-Key`.
    Method,
    /// More of the body was sent than is kept for a retry.
    Body,
    /// It was tried often enough.
    Often,
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

    /// An observer of the pool's events, for the same observer; `None` if there is none.
    pub(crate) fn of_pool(&self) -> Option<Arc<dyn pool::Observer<Group>>> {
        let on_event = self.0.clone()?;
        Some(Arc::new(move |event: &pool::Event<'_, Group>| {
            if let Some(event) = of_pool(event) {
                on_event(&event);
            }
        }))
    }
}

/// The events that only the pool knows. The others are reported where more is known: after a dial,
/// a rejection, or the decision not to keep a connection.
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
                pool::Reason::GoneAway => CloseReason::GoneAway,
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
