//! Metrics: what the pool and the relays of a node do, for Prometheus.
//!
//! In:    the pool's stats, the counters of relays.
//! Out:   families of the exposition.
//! Never: a label that a peer chooses: origins are added up.

use byway_agent::Stats;

use super::Engine;
use crate::observe::exposition::{Collect, Exposition, MetricKind, seconds};
use crate::relay::RelayCounters;

impl Collect for Engine {
    fn collect(&self, out: &mut Exposition) {
        pool(out, &self.pool.stats(), self.upgrades.count());
        relays(out, &self.relay_counters);
    }
}

fn pool<K>(out: &mut Exposition, stats: &Stats<K>, upgraded: usize) {
    let help = "Connections to all upstreams, by state.";
    let mut family = out.family("byway_pool_connections", MetricKind::Gauge, help);
    for (state, count) in [
        ("connecting", stats.connecting),
        ("active", stats.active),
        ("idle", stats.idle),
        ("upgraded", upgraded),
    ] {
        family.sample(&[("state", state)], count);
    }
    out.single(
        "byway_pool_origins",
        MetricKind::Gauge,
        "Upstreams in the pool now.",
        stats.origins.len(),
    );
    out.single(
        "byway_pool_pending",
        MetricKind::Gauge,
        "Requests that wait for a connection.",
        stats.pending,
    );
    let oldest = seconds(stats.oldest_wait.unwrap_or_default().as_micros() as u64);
    out.single(
        "byway_pool_oldest_wait_seconds",
        MetricKind::Gauge,
        "How long the oldest pending request has waited.",
        oldest,
    );
    let mut total = |name, help, value| out.single(name, MetricKind::Counter, help, value);
    total(
        "byway_pool_opened_total",
        "Connections opened.",
        stats.opened_total,
    );
    total(
        "byway_pool_reused_total",
        "Checkouts of a connection that had been used before.",
        stats.reused_total,
    );
    total(
        "byway_pool_closed_total",
        "Connections closed.",
        stats.closed_total,
    );
    total(
        "byway_pool_stale_total",
        "Kept connections that were found closed or dirty.",
        stats.stale_closed_total,
    );
    total(
        "byway_pool_queue_full_total",
        "Requests refused because the queue was full.",
        stats.queue_full_total,
    );
    total(
        "byway_pool_queue_timeout_total",
        "Requests whose wait for a connection timed out.",
        stats.queue_timeout_total,
    );
}

fn relays(out: &mut Exposition, relays: &RelayCounters) {
    out.single(
        "byway_relays",
        MetricKind::Gauge,
        "Open tunnels.",
        relays.active(),
    );
    let mut family = out.family(
        "byway_relay_bytes_total",
        MetricKind::Counter,
        "Bytes delivered by tunnels.",
    );
    family.sample(&[("direction", "up")], relays.bytes_up());
    family.sample(&[("direction", "down")], relays.bytes_down());
    let help = "Bytes that were read and not delivered, because one side broke.";
    out.single(
        "byway_relay_wasted_bytes_total",
        MetricKind::Counter,
        help,
        relays.wasted_bytes(),
    );
    out.single(
        "byway_spills_total",
        MetricKind::Counter,
        "How often a stream began to use the disk.",
        relays.spills(),
    );
    out.single(
        "byway_spilling_streams",
        MetricKind::Gauge,
        "Streams with bytes on disk.",
        relays.spilling(),
    );
    out.single(
        "byway_spilled_bytes",
        MetricKind::Gauge,
        "Bytes on disk that wait for readers.",
        relays.spilled_bytes(),
    );
    let help = "Bytes in memory that wait for readers, of streams that may use the disk.";
    out.single(
        "byway_spill_memory_bytes",
        MetricKind::Gauge,
        help,
        relays.ring_bytes(),
    );
}
