//! Counters: numbers that only grow, and gauges that go up and down. One set per node, for events
//! that happen at most once per connection; events of requests are counted by each worker in its
//! own `metrics`.
//!
//! Out:   families of metrics; values, each exact; two read together may be from slightly different
//!        moments.
//! Never: locks.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::exposition::{Collect, Exposition, MetricKind};

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
    (
        with a family { $($(#[doc = $help:literal])+ $name:ident: $family:literal,)* }
        by a label {
            $($(#[doc = $sum_help:literal])+ $sum:literal, $label:literal {
                $($(#[doc = $part_doc:literal])+ $part:ident: $value:literal,)*
            })*
        }
    ) => {
        /// Every counter of a node.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[doc = $help])+ pub $name: Counter,)*
            $($($(#[doc = $part_doc])+ pub $part: Counter,)*)*
            /// Which events get a line in the log.
            pub log_limits: super::log_limit::LogLimits,
        }

        impl Counters {
            /// Names and values, in the order of declaration.
            pub fn snapshot(&self) -> Vec<(&'static str, u64)> {
                vec![
                    $((stringify!($name), self.$name.value()),)*
                    $($((stringify!($part), self.$part.value()),)*)*
                ]
            }
        }

        impl Collect for Counters {
            fn collect(&self, out: &mut Exposition) {
                $(
                    out.single(
                        $family,
                        kind_of($family),
                        concat!($($help),+).trim_ascii_start(),
                        self.$name.value(),
                    );
                )*
                $(
                    let help = concat!($($sum_help),+).trim_ascii_start();
                    let mut family = out.family($sum, kind_of($sum), [$label], help);
                    $(family.sample([$value], self.$part.value());)*
                )*
            }
        }
    };
}

fn kind_of(family: &str) -> MetricKind {
    match family.ends_with("_total") {
        true => MetricKind::Counter,
        false => MetricKind::Gauge,
    }
}

// The comment of a family is its help text.
counters! {
    with a family {
        /// Connections accepted, QUIC carriers among them.
        accepted: "byway_accepted_total",
        /// Connections of downstreams that are open.
        connections: "byway_connections",
        /// Connections that the accepting worker moved to a less busy one.
        handed_over: "byway_handed_over_total",
        /// Connections refused because their peer has too many.
        refused_per_peer: "byway_refused_per_peer_total",
        /// Failed accepts, mostly for lack of descriptors.
        accept_errors: "byway_accept_errors_total",
        /// Tasks that panicked.
        panics: "byway_panics_total",
        /// Tunnels started: CONNECT, SOCKS, forwards, upgrades, links.
        relays: "byway_relays_total",
        /// Inquiries that the policy refused.
        denied: "byway_denied_total",
        /// Failed log-ins on egress listeners.
        auth_failures: "byway_auth_failures_total",
        /// Malformed requests.
        malformed_requests: "byway_malformed_requests_total",
        /// Connections on which HTTP/2 was spoken.
        http2_connections: "byway_http2_connections_total",
        /// Connections closed since the client broke the rules of HTTP/2, or cost too much.
        http2_errors: "byway_http2_errors_total",
        /// Connections on which HTTP/3 was spoken.
        http3_connections: "byway_http3_connections_total",
        /// Connections closed since the client broke the rules of HTTP/3, or cost too much.
        http3_errors: "byway_http3_errors_total",
        /// Handshakes of QUIC refused: no connection permit was free.
        quic_refused: "byway_quic_refused_total",
        /// Handshakes of QUIC whose client had to prove its address first, as many were under way.
        quic_retries: "byway_quic_retries_total",
        /// Malformed responses.
        malformed_responses: "byway_malformed_responses_total",
        /// Malformed SOCKS handshakes, and first bytes of an unknown protocol.
        malformed_handshakes: "byway_malformed_handshakes_total",
        /// Sessions of links that were accepted and are up.
        links: "byway_link_sessions",
        /// Links refused because of their grant.
        link_refused: "byway_link_refused_total",
        /// Connections to a link listener that did not become a session.
        link_handshakes_failed: "byway_link_handshakes_failed_total",
        /// Request reports for the agents of services that were dropped.
        reports_dropped: "byway_link_reports_dropped_total",
        /// Requests ended because their body came too slowly.
        slow_requests: "byway_slow_requests_total",
        /// Responses cut off because they were read too slowly.
        slow_responses: "byway_slow_responses_total",
    }
    by a label {
        /// Retries, by how the attempt before had failed.
        "byway_retries_total", "after" {
            /// Retries, on another upstream or a new connection, of requests of which nothing had been
            /// sent.
            retried_unsent: "unsent",
            /// Retries of requests of which some had been sent, and no byte had come back.
            retried_unanswered: "unanswered",
            /// Retries because of the status of an upstream's response.
            retried_status: "status",
        }
        /// Failed requests that were not retried, by reason.
        "byway_not_retried_total", "reason" {
            /// Failed requests not retried, as their method is not idempotent.
            not_retried_method: "method-not-idempotent",
            /// Failed requests not retried, as their body was not kept.
            not_retried_body: "body-too-large-to-replay",
            /// Failed requests not retried, as a byte of a response had come.
            not_retried_partial: "partial-response",
            /// Failed requests not retried, as they had used all attempts.
            not_retried_attempts: "attempts",
            /// Failed requests not retried, as the retry budget was exhausted.
            not_retried_budget: "budget",
            /// Failed requests not retried, as there was no other upstream.
            not_retried_no_upstream: "no-other-upstream",
            /// Failed requests not retried, as they had already taken too long.
            not_retried_deadline: "deadline",
        }
        /// Sessions that this node dialled, by outcome.
        "byway_link_dials_total", "outcome" {
            /// Sessions that this node dialled and that came up.
            link_dials_up: "up",
            /// Sessions that this node dialled and the other side refused.
            link_dials_refused: "refused",
            /// Sessions that this node failed to dial.
            link_dials_failed: "failed",
        }
    }
}
