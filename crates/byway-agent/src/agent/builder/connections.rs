//! Connections: the options of how many there are, who waits for them, and how long they are kept.
//!
//! In:    what the caller wants.   Out:   the same, kept until `build`.   Never: checks anything.

use super::AgentBuilder;
#[cfg(doc)]
use crate::agent::Agent;
use crate::agent::keep_alive::Hint;
use crate::pool::{QueueOrder, Scheduling};
use std::time::Duration;

/// # How many connections
impl AgentBuilder {
    /// Connections of all origins together: connecting, active, idle and upgraded. From 1; default 1024.
    /// At the limit an idle connection of any origin is closed for a newcomer, so that idle ones
    /// never keep a request waiting.
    #[doc(alias = "maxTotalSockets")]
    #[doc(alias = "max_connections")]
    pub fn max_total(mut self, connections: usize) -> Self {
        self.max_total = Some(connections);
        self
    }

    /// Connections of one origin (of one [`Group`](crate::Group)), counted in the same way. From 1
    /// to `max_total`; default 128, or `max_total` if that is less.
    #[doc(alias = "maxSockets")]
    #[doc(alias = "MaxConnsPerHost")]
    #[doc(alias = "connections")]
    #[doc(alias = "max_connections_per_host")]
    pub fn max_per_origin(mut self, connections: usize) -> Self {
        self.max_per_origin = Some(connections);
        self
    }

    /// Idle connections of one origin; one more closes the oldest. From 1 to `max_per_origin`;
    /// default the same as `max_per_origin`. For none at all there is [`AgentBuilder::keep_alive`].
    #[doc(alias = "maxFreeSockets")]
    #[doc(alias = "MaxIdleConnsPerHost")]
    #[doc(alias = "pool_max_idle_per_host")]
    pub fn max_idle_per_origin(mut self, connections: usize) -> Self {
        self.max_idle_per_origin = Some(connections);
        self
    }

    /// Idle connections of all origins together; one more closes the one unused for longest. From
    /// `max_idle_per_origin` to `max_total`; default `max_total`, since an idle connection gives
    /// way to whoever needs its place.
    #[doc(alias = "MaxIdleConns")]
    pub fn max_idle_total(mut self, connections: usize) -> Self {
        self.limits.max_idle_total = Some(connections);
        self
    }

    /// Requests that may wait for a connection at the same time, of all origins together; one more
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

    /// Who of those that wait is served first. Default [`QueueOrder::Fair`]: origins take turns.
    pub fn queue_order(mut self, order: QueueOrder) -> Self {
        self.limits.queue_order = order;
        self
    }

    /// Parts of the pool that have locks of their own, one for each worker thread that sends many
    /// requests; the limits hold for all together. From 1; default 1. An agent belongs to one of
    /// them and reuses that one's connections only; [`Agent::shard`] gives the agent of another.
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = shards;
        self
    }

    /// Which idle connection is lent first. Default [`Scheduling::Lifo`], the one used last.
    #[doc(alias = "lifo")]
    #[doc(alias = "fifo")]
    pub fn scheduling(mut self, scheduling: Scheduling) -> Self {
        self.limits.scheduling = scheduling;
        self
    }
}

/// # How long they are kept
impl AgentBuilder {
    /// Whether connections are kept for another request. Default true. False sends
    /// `Connection: close` with each request and opens a connection for each; the limits and the
    /// queue still hold.
    #[doc(alias = "keepAlive")]
    #[doc(alias = "DisableKeepAlives")]
    pub fn keep_alive(mut self, keep: bool) -> Self {
        self.keep_alive = keep;
        self
    }

    /// How long a connection stays idle where the origin gives no hint. Above 0 s, at most
    /// `max_lifetime`; default 4 s, which is less than the 5 s of a Node server: the request that
    /// meets the origin's close should not be ours.
    #[doc(alias = "keepAliveTimeout")]
    #[doc(alias = "IdleConnTimeout")]
    #[doc(alias = "pool_idle_timeout")]
    #[doc(alias = "freeSocketTimeout")]
    pub fn idle_timeout(mut self, idle: Duration) -> Self {
        self.idle_timeout = Some(idle);
        self
    }

    /// Age from which a connection is not used for another request. Above 0 s; default none. Set it
    /// where names change their addresses: a connection in steady use never looks the name up
    /// again.
    #[doc(alias = "clientTtl")]
    #[doc(alias = "max_connection_duration")]
    pub fn max_lifetime(mut self, age: Duration) -> Self {
        self.limits.max_lifetime = Some(age);
        self
    }

    /// The part of `max_lifetime` that is left to chance: each connection lives for up to this part
    /// less, so that those that were opened together are not all opened anew together. 0 to 1;
    /// default 0.1. Needs `max_lifetime`.
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

    /// What to make of an origin's `Keep-Alive` field. Default [`Hint::Honour`] with a margin of 1
    /// s.
    #[doc(alias = "keepAliveTimeoutThreshold")]
    #[doc(alias = "agentKeepAliveTimeoutBuffer")]
    #[doc(alias = "keepAliveMaxTimeout")]
    pub fn server_keep_alive(mut self, hint: Hint) -> Self {
        self.hint = hint;
        self
    }

    /// Whether connections that were upgraded still count against the limits. Default true, since
    /// each is a socket of this process and of the origin. False frees the place at 101, as Node
    /// does.
    pub fn count_upgraded(mut self, count: bool) -> Self {
        self.limits.count_upgraded = count;
        self
    }
}
