//! Counters: numbers that only grow, and gauges that go up and down. One set per node, for events
//! that happen at most once per connection; events of requests are counted by each worker in its
//! own `metrics`.
//!
//! Out:   values, each exact; two read together may be from slightly different moments.
//! Never: locks.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that any thread may change.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds and returns the new value (which can serve as an id).
    pub fn add(&self, by: u64) -> u64 {
        self.0.fetch_add(by, Relaxed) + by
    }

    /// Subtracts what was added before.
    pub fn sub(&self, by: u64) {
        self.0.fetch_sub(by, Relaxed);
    }

    /// The current value.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that one thread adds to and any thread may read: an addition is a load and a store,
/// without a locked instruction. If two threads add at once, one of the additions may be lost, but
/// nothing else breaks.
#[derive(Debug, Default)]
pub struct LocalCounter(AtomicU64);

impl LocalCounter {
    /// Adds.
    pub fn add(&self, by: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(by), Relaxed);
    }

    /// The current value.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Keeps a gauge raised by one while it lives.
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
            /// Names and values, in the order of declaration.
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
    /// Connections that the accepting worker moved to a less busy one.
    handed_over,
    /// Connections refused because their peer has too many.
    refused_per_peer,
    /// Failed accepts (out of descriptors, for example).
    accept_errors,
    /// Tasks that panicked.
    panics,
    /// Byte relays started (SOCKS, CONNECT, TCP forward, upgrades).
    relays,
    /// Inquiries that the policy refused.
    denied,
    /// Failed log-ins on egress listeners.
    auth_failures,
    /// HTTP requests that were malformed.
    malformed_requests,
    /// HTTP responses that were malformed.
    malformed_responses,
    /// SOCKS greetings and requests that were malformed, and first bytes of an unknown protocol.
    malformed_handshakes,
    /// Connections and requests that ended in any fault.
    faults,
    /// Sessions of links that this node has accepted and that are up now.
    links,
    /// Hellos refused because of their grant.
    link_refused,
    /// Connections to a link listener that did not become a session.
    link_handshakes_failed,
    /// Request reports for the agents of services that were dropped, because their links were gone
    /// or accepted too few.
    reports_dropped,
    /// Sessions that this node dialled and that came up.
    link_dials_up,
    /// Sessions that this node dialled and the other side refused.
    link_dials_refused,
    /// Sessions that this node failed to dial.
    link_dials_failed,
    /// Retries, on another upstream or a new connection, of requests of which nothing had been
    /// sent.
    retried_unsent,
    /// Retries of requests of which some had been sent, and no byte had come back.
    retried_unanswered,
    /// Retries because of the status of an upstream's response.
    retried_status,
    /// Failed requests not retried, as their method is not idempotent.
    not_retried_method,
    /// Failed requests not retried, as their body was not kept.
    not_retried_body,
    /// Failed requests not retried, as a byte of a response had come.
    not_retried_partial,
    /// Failed requests not retried, as they had used all attempts.
    not_retried_attempts,
    /// Failed requests not retried, as the retry budget was exhausted.
    not_retried_budget,
    /// Failed requests not retried, as there was no other upstream.
    not_retried_no_upstream,
    /// Failed requests not retried, as they had already taken too long.
    not_retried_deadline,
    /// Requests ended because their body came too slowly.
    slow_requests,
    /// Responses cut off because they were read too slowly.
    slow_responses,
}
