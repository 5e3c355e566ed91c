//! Counters: numbers that only grow, and gauges that go up and down. One set a node, for what
//! happens once a connection or less; what happens once a request is counted by each worker for
//! itself, in its `metrics`.
//!
//! In:    single additions.
//! Out:   values, each exact by itself; two read together may be from slightly different moments.
//! Never: locks.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that events add to.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds and returns the new value (which thereby serves as an id).
    pub fn add(&self, by: u64) -> u64 {
        self.0.fetch_add(by, Relaxed) + by
    }

    /// Takes away what was added before.
    pub fn sub(&self, by: u64) {
        self.0.fetch_sub(by, Relaxed);
    }

    /// The value now.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that one thread adds to and any thread may read: an addition is a load and a store, no
/// locked instruction. Two threads that add at once would lose one of the additions, and nothing
/// else.
#[derive(Debug, Default)]
pub struct LocalCounter(AtomicU64);

impl LocalCounter {
    /// Adds.
    pub fn add(&self, by: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(by), Relaxed);
    }

    /// The value now.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A gauge held up by one while this lives.
#[derive(Debug)]
pub struct GaugeGuard<'a>(&'a Counter);

impl<'a> GaugeGuard<'a> {
    /// Raises `gauge` until the guard is dropped.
    pub fn new(gauge: &'a Counter) -> Self {
        gauge.add(1);
        Self(gauge)
    }
}

impl Drop for GaugeGuard<'_> {
    fn drop(&mut self) {
        self.0.sub(1);
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Every counter of a node.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: Counter,)*
            /// Which events get a line in the log.
            pub log_limits: super::log_limit::LogLimits,
        }

        impl Counters {
            /// Names and values, in the order of their declaration.
            pub fn snapshot(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.value()),)*]
            }
        }
    };
}

counters! {
    /// Connections accepted.
    accepted,
    /// Connections open now.
    connections,
    /// Connections that the worker which accepted them gave to a less busy one.
    handed_over,
    /// Connections refused because their peer holds too many.
    refused_per_peer,
    /// Failed accepts (descriptors exhausted, and the like).
    accept_errors,
    /// Tasks that panicked.
    panics,
    /// Byte relays begun (SOCKS, CONNECT, TCP forward, upgrades).
    relays,
    /// Inquiries that policy refused.
    denied,
    /// Failed log-ins on egress listeners.
    auth_failures,
    /// HTTP requests that were malformed.
    malformed_requests,
    /// HTTP responses that were malformed.
    malformed_responses,
    /// SOCKS greetings and requests that were malformed, and first bytes of no known protocol.
    malformed_handshakes,
    /// Connections and requests that ended in any fault.
    faults,
    /// Sessions of links that this node has accepted and that are up now.
    links,
    /// Hellos refused for their grant.
    link_refused,
    /// Connections to a link listener that never became a session.
    link_handshakes_failed,
    /// Reports of requests to the agents of their services that were dropped: their links were gone
    /// or took too few.
    reports_dropped,
    /// Sessions that this node has dialled and that came up.
    link_dials_up,
    /// Sessions that this node has dialled and the other side has refused.
    link_dials_refused,
    /// Sessions that this node has dialled in vain.
    link_dials_failed,
    /// Tries at another upstream, or on a new connection, of requests of which nothing had left.
    retried_unsent,
    /// Requests sent again of which some had left, and no byte had come back.
    retried_unanswered,
    /// Requests sent again for the status that an upstream had answered.
    retried_status,
    /// Failed requests not sent again, as their method is not idempotent.
    not_retried_method,
    /// Failed requests not sent again, as their body was not kept.
    not_retried_body,
    /// Failed requests not sent again, as a byte of an answer had come.
    not_retried_partial,
    /// Failed requests not sent again, as they had been already.
    not_retried_attempts,
    /// Failed requests not sent again, as the budget for retries was exhausted.
    not_retried_budget,
    /// Failed requests for which there was no other upstream.
    not_retried_no_upstream,
    /// Failed requests not sent again, as they had waited long enough.
    not_retried_deadline,
    /// Requests ended because their body came too slowly.
    slow_requests,
    /// Responses cut because they were read too slowly.
    slow_responses,
}
