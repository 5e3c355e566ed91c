//! Metrics: what the pool and the relays of a node do, for Prometheus.
//!
//! In:    the pool's stats, the counters of relays.
//! Out:   families of the exposition.
//! Never: a label that a peer chooses: upstreams have the names of the config, everything else is
//!        added up.

use std::collections::HashMap;

use byway_pool::Stats;
use byway_relay::RelayCounters;

use super::Engine;
use super::pooled::PoolKey;
use crate::config::Plan;
use crate::observe::exposition::{Collect, Exposition, MetricKind, seconds};

impl Collect for Engine {
    fn collect(&self, out: &mut Exposition) {
        let stats = self.pool.stats();
        pool(out, &stats, self.upgrades.count());
        upstreams(out, &self.live.peek(), &stats, &self.upgrades.stats());
        relays(out, &self.relay_counters);
    }
}

fn pool<K>(out: &mut Exposition, stats: &Stats<K>, upgraded: usize) {
    let help = "Connections to all upstreams, by state.";
    let mut family = out.family("byway_pool_connections", MetricKind::Gauge, ["state"], help);
    for (state, count) in [
        ("connecting", stats.connecting),
        ("active", stats.active),
        ("idle", stats.idle),
        ("upgraded", upgraded),
    ] {
        family.sample([state], count);
    }
    out.single(
        "byway_pool_origins",
        MetricKind::Gauge,
        "Origins in the pool now.",
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

/// The names of everything that the config does not name, by kind.
const OTHER_KINDS: [&str; 2] = ["egress targets", "exposed services"];

/// The connections and the waiting requests of one upstream, or of all origins of one kind.
#[derive(Clone, Copy, Default)]
struct Load {
    connecting: usize,
    active: usize,
    idle: usize,
    upgraded: usize,
    pending: usize,
}

/// The load of each upstream of `plan`, by its name in the config. Upstreams that a reload removed have
/// no series of their own any more.
fn upstreams<'p>(
    out: &mut Exposition,
    plan: &'p Plan,
    stats: &Stats<PoolKey>,
    upgraded: &Stats<PoolKey>,
) {
    let mut loads: Vec<(&'p str, Load)> = Vec::new();
    let mut places: HashMap<&'p str, usize> = HashMap::new();
    let named = plan.routes().flat_map(|route| &route.upstreams);
    for name in named.map(|upstream| &*upstream.id).chain(OTHER_KINDS) {
        places.entry(name).or_insert_with(|| {
            loads.push((name, Load::default()));
            loads.len() - 1
        });
    }
    let place_of = |key: &PoolKey| {
        let name = match key {
            PoolKey::Upstream(id) => &**id,
            PoolKey::Egress { .. } => OTHER_KINDS[0],
            PoolKey::Service(_) => OTHER_KINDS[1],
        };
        places.get(name).copied().unwrap_or(usize::MAX)
    };
    for origin in &stats.origins {
        if let Some((_, load)) = loads.get_mut(place_of(&origin.key)) {
            load.connecting += origin.connecting;
            load.active += origin.active;
            load.idle += origin.idle;
            load.pending += origin.pending;
        }
    }
    for origin in &upgraded.origins {
        if let Some((_, load)) = loads.get_mut(place_of(&origin.key)) {
            load.upgraded += origin.connecting;
            load.pending += origin.pending;
        }
    }
    let help = "Connections to each upstream of the config, by state; those to egress targets and to exposed services.";
    let mut family = out.family(
        "byway_upstream_connections",
        MetricKind::Gauge,
        ["upstream", "state"],
        help,
    );
    for (name, load) in &loads {
        for (state, count) in [
            ("connecting", load.connecting),
            ("active", load.active),
            ("idle", load.idle),
            ("upgraded", load.upgraded),
        ] {
            family.sample([name, state], count);
        }
    }
    let help = "Requests that wait for a connection, by the upstream that they wait for.";
    let mut family = out.family(
        "byway_upstream_pending",
        MetricKind::Gauge,
        ["upstream"],
        help,
    );
    for (name, load) in &loads {
        family.sample([name], load.pending);
    }
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
        ["direction"],
        "Bytes delivered by tunnels.",
    );
    family.sample(["up"], relays.bytes_up());
    family.sample(["down"], relays.bytes_down());
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
