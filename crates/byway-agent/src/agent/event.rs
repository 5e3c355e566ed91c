//! Event: what happened to a connection or in the queue, told to an observer when it happens.
//!
//! In:    the moments of an agent's work.   Out:   calls of one function.   Never: under a lock, and never waits.

use super::error::Error;
use super::group::Group;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// One thing that happened. Events of one connection come in order; those of several may come at once, on several
/// threads.
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
    /// While idle, by the pool: its time was over, an idle limit was reached, it was evicted, or another group needed
    /// its place.
    Idle,
    /// While idle, by the origin: it had ended, or bytes had come that nobody asked for.
    Stale,
    /// The origin or the caller said `Connection: close`, or the response ended with the connection.
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
    /// The agent keeps no connections ([`AgentBuilder::keep_alive`](crate::AgentBuilder::keep_alive)).
    Unpooled,
}

/// Why a request on a stale connection is not sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NoRetry {
    /// The agent's [`Retry`](crate::Retry) forbids it.
    Policy,
    /// Something was written, the method is not idempotent, and there is no `Idempotency-Key`.
    Method,
    /// More of the body has been sent than is kept for a second try.
    Body,
}

pub(crate) type OnEvent = Arc<dyn Fn(&Event<'_>) + Send + Sync>;

/// The observer, if there is one.
#[derive(Clone, Default)]
pub(crate) struct Observer(pub(crate) Option<OnEvent>);

impl Observer {
    pub(crate) fn tell(&self, event: &Event<'_>) {
        if let Some(on_event) = &self.0 {
            on_event(event);
        }
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Observer" } else { "no observer" })
    }
}
