//! Connections: the options for the number of connections, the queue, and how long connections are
//! kept. Nothing is checked before `build`.

use super::AgentBuilder;
#[cfg(doc)]
use crate::agent::Agent;
use crate::agent::keep_alive::Hint;
use byway_pool::{QueueOrder, Scheduling};
use std::time::Duration;

/// # How many connections
impl AgentBuilder {
    /// Connections of all origins together: connecting, active, idle and upgraded. From 1; default
    /// 1024. At the limit an idle connection of any origin is closed to make room, so that idle
    /// connections never keep a request waiting.
    #[doc(alias = "maxTotalSockets")]
    #[doc(alias = "max_connections")]
    pub fn max_total(mut self, connections: usize) -> Self {
        self.max_total = Some(connections);
        self
    }

    /// Connections of one origin (one [`Group`](crate::Group)), counted in the same way. From 1 to
    /// `max_total`; default 128, or `max_total` if that is less.
    #[doc(alias = "maxSockets")]
    #[doc(alias = "MaxConnsPerHost")]
    #[doc(alias = "connections")]
    #[doc(alias = "max_connections_per_host")]
    pub fn max_per_origin(mut self, connections: usize) -> Self {
        self.max_per_origin = Some(connections);
        self
    }

    /// Idle connections of one origin; at the limit the oldest is closed. From 1 to
    /// `max_per_origin`; default `max_per_origin`. To keep none see [`AgentBuilder::keep_alive`].
    #[doc(alias = "maxFreeSockets")]
    #[doc(alias = "MaxIdleConnsPerHost")]
    #[doc(alias = "pool_max_idle_per_host")]
    pub fn max_idle_per_origin(mut self, connections: usize) -> Self {
        self.max_idle_per_origin = Some(connections);
        self
    }

    /// Idle connections of all origins together; at the limit the least recently used is closed.
    /// From `max_idle_per_origin` to `max_total`; default `max_total`, since an idle connection is
    /// closed when its permit is needed.
    #[doc(alias = "MaxIdleConns")]
    pub fn max_idle_total(mut self, connections: usize) -> Self {
        self.limits.max_idle_total = Some(connections);
        self
    }

    /// Requests of all origins together that may wait for a connection at the same time; one more
    /// fails with [`Error::QueueFull`](crate::Error::QueueFull). From 1; default 1024.
    #[doc(alias = "max_pending_requests")]
    pub fn queue_len(mut self, requests: usize) -> Self {
        self.limits.queue_len = requests;
        self
    }

    /// How long a request waits for a connection before it fails with
    /// [`Error::QueueTimeout`](crate::Error::QueueTimeout). Above 0 s; default 5 s.
    #[doc(alias = "wait_timeout")]
    #[doc(alias = "pool_timeout")]
    pub fn queue_wait(mut self, wait: Duration) -> Self {
        self.limits.queue_wait = wait;
        self
    }

    /// Which waiting request is served first. Default [`QueueOrder::Fair`]: origins take turns.
    pub fn queue_order(mut self, order: QueueOrder) -> Self {
        self.limits.queue_order = order;
        self
    }

    /// Parts of the pool with separate locks, one for each worker thread that sends many requests;
    /// the limits apply to all together. From 1; default 1. An agent belongs to one shard and
    /// reuses only its connections; [`Agent::shard`] returns the agent of another.
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = shards;
        self
    }

    /// Which idle connection is reused first. Default [`Scheduling::Lifo`], the most recently used.
    #[doc(alias = "lifo")]
    #[doc(alias = "fifo")]
    pub fn scheduling(mut self, scheduling: Scheduling) -> Self {
        self.limits.scheduling = scheduling;
        self
    }
}

/// # How long connections are kept
impl AgentBuilder {
    /// Whether connections are kept for another request. Default true. False sends `Connection:
    /// close` with each request and opens a connection for each; the limits and the queue still
    /// apply.
    #[doc(alias = "keepAlive")]
    #[doc(alias = "DisableKeepAlives")]
    pub fn keep_alive(mut self, keep: bool) -> Self {
        self.keep_alive = keep;
        self
    }

    /// How long a connection stays idle if the origin gives no hint. Above 0 s, at most
    /// `max_lifetime`; default 4 s, which is less than the 5 s of a Node server, so that no request
    /// meets the origin's close.
    #[doc(alias = "keepAliveTimeout")]
    #[doc(alias = "IdleConnTimeout")]
    #[doc(alias = "pool_idle_timeout")]
    #[doc(alias = "freeSocketTimeout")]
    pub fn idle_timeout(mut self, idle: Duration) -> Self {
        self.idle_timeout = Some(idle);
        self
    }

    /// Age from which a connection is not reused. Above 0 s; default none. Set it if names change
    /// their addresses: a connection in steady use never repeats the lookup.
    #[doc(alias = "clientTtl")]
    #[doc(alias = "max_connection_duration")]
    pub fn max_lifetime(mut self, age: Duration) -> Self {
        self.limits.max_lifetime = Some(age);
        self
    }

    /// The random part of `max_lifetime`: each connection lives up to this fraction less, so that
    /// connections opened together are not all replaced together. 0 to 1; default 0.1. Needs
    /// `max_lifetime`.
    pub fn lifetime_jitter(mut self, part: f64) -> Self {
        self.lifetime_jitter = Some(part);
        self
    }

    /// Requests on one connection before it is closed. From 1; default none.
    #[doc(alias = "maxRequestsPerClient")]
    #[doc(alias = "max_requests_per_connection")]
    pub fn max_requests_per_conn(mut self, requests: u64) -> Self {
        self.limits.max_requests = Some(requests);
        self
    }

    /// How an origin's `Keep-Alive` field is used. Default [`Hint::Honour`] with a margin of 1 s.
    #[doc(alias = "keepAliveTimeoutThreshold")]
    #[doc(alias = "agentKeepAliveTimeoutBuffer")]
    #[doc(alias = "keepAliveMaxTimeout")]
    pub fn server_keep_alive(mut self, hint: Hint) -> Self {
        self.hint = hint;
        self
    }

    /// Whether upgraded connections still count against the limits. Default true, since each is a
    /// socket of this process and of the origin. False returns the permit at 101, as Node does.
    pub fn count_upgraded(mut self, count: bool) -> Self {
        self.limits.count_upgraded = count;
        self
    }
}
