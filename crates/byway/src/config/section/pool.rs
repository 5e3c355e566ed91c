//! `[pool]`.

use super::prelude::*;

keys! {
    /// Connections kept to upstreams.
    ///
    /// The node has one pool. Connecting, used and idle connections count against `max_total` and
    /// `max_per_origin`; upgraded ones (WebSockets) against `max_upgraded_per_origin` alone. None
    /// of the values may be zero. Takes effect at the next start.
    pub struct Pool {} => PoolPlan {
        /// Connections to all upstreams together.
        ///
        /// By default one for each accepted connection, so that many clients cannot fill it.
        /// Lowered to what fits into the process's limit of open files.
        max_total: Count => usize = 10_000, default "as many as `limits.connections`";
        /// Connections to one upstream.
        ///
        /// Also to one exposed HTTP service behind a link. At most `max_total`. Set it to protect an
        /// upstream with a limited capacity.
        max_per_origin: Count => usize = 10_000, default "`max_total`";
        /// Upgraded connections (WebSockets) to one upstream.
        ///
        /// The next one waits for `queue_wait`, then gets 503; its request is not sent. Tunnels stay
        /// open for long and must not block requests.
        max_upgraded_per_origin: Count => usize = 10_000,
            default "as many as `limits.connections`, before that is lowered";
        /// How long an idle connection is kept.
        ///
        /// Without a hint of the upstream; with `Keep-Alive: timeout=N` N seconds less one, at most
        /// 10 min. Below the 5 s after which a Node server closes, so that a request does not meet
        /// the close.
        idle_timeout: Period => Duration = seconds(4);
        /// Requests that may wait for a connection.
        ///
        /// Further ones get 503 at once.
        queue: Count => usize = 1024;
        /// The longest wait in that queue.
        ///
        /// Then 503. After that a client has usually left or retries.
        queue_wait: Period => Duration = seconds(5);
    }
}

impl Resolver<'_> {
    /// The limits that `written` leaves to their default are `usize::MAX`.
    pub(in crate::config) fn pool(&mut self, written: &Pool) -> PoolPlan {
        let plan = written.resolve(self, "pool.");
        plan.with_defaults(written, usize::MAX)
    }
}

impl PoolPlan {
    /// `connections` is what a listener accepts. By default the pool has a connection for each of
    /// them, so that no number of clients that are allowed in can keep others from an upstream.
    pub(in crate::config) fn with_defaults(&self, written: &Pool, connections: usize) -> Self {
        let mut plan = self.clone();
        if written.max_total.is_none() {
            plan.max_total = match written.max_per_origin {
                Some(_) => connections.max(plan.max_per_origin),
                None => connections,
            };
        }
        if written.max_per_origin.is_none() {
            plan.max_per_origin = plan.max_total;
        }
        if written.max_upgraded_per_origin.is_none() {
            plan.max_upgraded_per_origin = connections;
        }
        plan
    }
}
