//! Prometheus: all metrics of a node, in one text.
//!
//! In:    the stats of its workers, its counters, its pool, its relays, the process.
//! Out:   the exposition; every name begins with `byway_` (or with the usual `process_`) and ends
//!        in its unit.
//! Never: a label that clients choose: listeners, sides and reasons are fixed by the node, and the
//!        numbers of upstreams and of the links of a grant are summed up.

use byway_agent::Stats;
use byway_link::Measured;

use super::carriers::{self, Series};
use super::counters::Counter;
use super::exposition::{Exposition, MetricKind, seconds};
use super::histogram::{Distribution, Histogram};
use super::log;
use super::metrics::{CODES, ListenerTotals, WorkerMetrics};
use super::outcomes::Outcomes;
use crate::fault::Who;
use crate::link::services::ServiceCount;
use crate::os::process;
use crate::shared::Shared;

/// The current text. Numbers of different families may be from slightly different moments.
pub fn text(shared: &Shared) -> String {
    let mut out = Exposition::default();
    requests(&mut out, shared);
    timers(&mut out, shared);
    ends(&mut out, shared);
    connections(&mut out, shared);
    links(&mut out, shared);
    retries(&mut out, shared);
    pool(&mut out, &shared.pool.stats(), shared.upgrades.count());
    relays(&mut out, shared);
    access_log(&mut out, shared);
    program_log(&mut out);
    about(&mut out, shared);
    out.into_text()
}

fn requests(out: &mut Exposition, shared: &Shared) {
    let mut listeners: Vec<(String, ListenerTotals)> = Vec::new();
    for (name, listener_metrics) in shared
        .worker_stats
        .iter()
        .flat_map(|worker_stats| worker_stats.all_listener_metrics())
    {
        match listeners.iter_mut().find(|(known, _)| **known == *name) {
            Some((_, sum)) => listener_metrics.add_to(sum),
            None => {
                let mut sum = ListenerTotals::default();
                listener_metrics.add_to(&mut sum);
                listeners.push((name.to_string(), sum));
            }
        }
    }
    let help = "HTTP requests that have ended, by listener and class of status; none: no response was sent.";
    let mut family = out.family("byway_requests_total", MetricKind::Counter, help);
    for (name, sum) in &listeners {
        for (code, count) in CODES.iter().zip(sum.codes) {
            family.sample(&[("listener", name), ("code", code)], count);
        }
    }
    let help = "Bytes of request bodies, delivered to upstreams.";
    let mut family = out.family("byway_request_body_bytes_total", MetricKind::Counter, help);
    listeners
        .iter()
        .for_each(|(name, sum)| family.sample(&[("listener", name)], sum.bytes_in));
    let help = "Bytes of response bodies, delivered to downstreams.";
    let mut family = out.family("byway_response_body_bytes_total", MetricKind::Counter, help);
    listeners
        .iter()
        .for_each(|(name, sum)| family.sample(&[("listener", name)], sum.bytes_out));
}

/// The sum of a histogram over all workers.
fn all(shared: &Shared, which: impl Fn(&WorkerMetrics) -> &Histogram) -> Distribution {
    let mut sum = Distribution::default();
    shared
        .worker_stats
        .iter()
        .for_each(|worker_stats| which(&worker_stats.metrics).add_to(&mut sum));
    sum
}

fn timers(out: &mut Exposition, shared: &Shared) {
    let help = "Requests: from the end of the head to the end of the response.";
    out.histogram(
        "byway_request_duration_seconds",
        help,
        &all(shared, |metrics| &metrics.duration),
    );
    let help =
        "Requests with a response from an upstream: from the connection to the response head.";
    out.histogram(
        "byway_request_first_byte_seconds",
        help,
        &all(shared, |metrics| &metrics.first_byte),
    );
    let help = "Requests that had a connection opened: name look-up, TCP and TLS.";
    out.histogram(
        "byway_request_connect_seconds",
        help,
        &all(shared, |metrics| &metrics.connect),
    );
    let help =
        "Requests sent to an upstream: the wait for a connection, without the time to open it.";
    out.histogram(
        "byway_request_queue_seconds",
        help,
        &all(shared, |metrics| &metrics.queue),
    );
}

fn ends(out: &mut Exposition, shared: &Shared) {
    let (mut done, mut sum) = (0, Outcomes::room());
    for worker_stats in &shared.worker_stats {
        done += worker_stats.metrics.outcomes.done();
        worker_stats.metrics.outcomes.add_to(&mut sum);
    }
    let help =
        "Requests and tunnels that have ended, by outcome; docs/reasons.md explains each reason.";
    let mut family = out.family("byway_ends_total", MetricKind::Counter, help);
    family.sample(&[("outcome", "ok")], done);
    for ((who, reason), count) in Outcomes::labels().zip(sum).filter(|(_, count)| *count > 0) {
        family.sample(&[("outcome", outcome(who)), ("reason", reason)], count);
    }
}

/// The outcome label of a failure, by the side that it occurred on.
const fn outcome(who: Who) -> &'static str {
    match who {
        Who::Downstream => "client_error",
        Who::Upstream => "upstream_error",
        Who::Link => "link_error",
        Who::Us => "node_error",
    }
}

fn connections(out: &mut Exposition, shared: &Shared) {
    use MetricKind::{Counter as Total, Gauge};
    let counters = &shared.counters;
    let mut one =
        |name, kind, help, counter: &Counter| out.single(name, kind, help, counter.value());
    let help = "Connections of downstreams that are open.";
    one("byway_connections", Gauge, help, &counters.connections);
    let help = "Connections accepted, QUIC carriers among them.";
    one("byway_accepted_total", Total, help, &counters.accepted);
    let help = "Connections refused because their peer has too many.";
    one(
        "byway_refused_per_peer_total",
        Total,
        help,
        &counters.refused_per_peer,
    );
    let help = "Failed accepts, mostly for lack of descriptors.";
    one(
        "byway_accept_errors_total",
        Total,
        help,
        &counters.accept_errors,
    );
    one(
        "byway_denied_total",
        Total,
        "Inquiries that the policy refused.",
        &counters.denied,
    );
    one(
        "byway_auth_failures_total",
        Total,
        "Failed log-ins on egress listeners.",
        &counters.auth_failures,
    );
    one(
        "byway_malformed_requests_total",
        Total,
        "Malformed requests.",
        &counters.malformed_requests,
    );
    one(
        "byway_malformed_responses_total",
        Total,
        "Malformed responses.",
        &counters.malformed_responses,
    );
    let help = "Malformed SOCKS handshakes, and first bytes of an unknown protocol.";
    one(
        "byway_malformed_handshakes_total",
        Total,
        help,
        &counters.malformed_handshakes,
    );
    let help = "Connections that the accepting worker moved to a less busy one.";
    one(
        "byway_handed_over_total",
        Total,
        help,
        &counters.handed_over,
    );
    let help = "Requests ended because their body came too slowly.";
    one(
        "byway_slow_requests_total",
        Total,
        help,
        &counters.slow_requests,
    );
    let help = "Responses cut off because they were read too slowly.";
    one(
        "byway_slow_responses_total",
        Total,
        help,
        &counters.slow_responses,
    );
    one(
        "byway_panics_total",
        Total,
        "Tasks that panicked.",
        &counters.panics,
    );
    one(
        "byway_link_sessions",
        Gauge,
        "Sessions of links that were accepted and are up.",
        &counters.links,
    );
    one(
        "byway_link_refused_total",
        Total,
        "Links refused because of their grant.",
        &counters.link_refused,
    );
    let help = "Connections to a link listener that did not become a session.";
    one(
        "byway_link_handshakes_failed_total",
        Total,
        help,
        &counters.link_handshakes_failed,
    );
    let help = "Request reports for the agents of services that were dropped.";
    one(
        "byway_link_reports_dropped_total",
        Total,
        help,
        &counters.reports_dropped,
    );
}

/// The links that this node dials, the visitors that wait for a name here, and the state folder.
fn links(out: &mut Exposition, shared: &Shared) {
    let outgoing = shared.links.all_outgoing();
    let help =
        "1 while a link that this node dials is up and the other side answers on it, else 0.";
    let mut family = out.family("byway_link_up", MetricKind::Gauge, help);
    let mut services = ServiceCount::default();
    for link in &outgoing {
        family.sample(&[("link", &link.plan().id)], u8::from(link.answers()));
        services += link.count_services();
    }
    let mut series = carriers::of_dialled(&outgoing);
    series.extend(carriers::of_accepted(&shared.links.registry));
    link_carriers(out, &series);
    let counters = &shared.counters;
    let help = "Sessions that this node dialled, by outcome.";
    let mut family = out.family("byway_link_dials_total", MetricKind::Counter, help);
    for (outcome, counter) in [
        ("up", &counters.link_dials_up),
        ("refused", &counters.link_dials_refused),
        ("failed", &counters.link_dials_failed),
    ] {
        family.sample(&[("outcome", outcome)], counter.value());
    }
    let help = "Services that this node exposes: public, refused, or not confirmed yet.";
    let mut family = out.family("byway_services", MetricKind::Gauge, help);
    for (state, count) in [
        ("public", services.public),
        ("refused", services.refused),
        ("waiting", services.waiting),
    ] {
        family.sample(&[("state", state)], count);
    }
    let help = "Visitors that wait for the agent of a name.";
    out.single(
        "byway_parked",
        MetricKind::Gauge,
        help,
        shared.links.registry.parked_visitors(),
    );
    let help =
        "1 while names could not be written to the state folder, else 0; the write is retried.";
    out.single(
        "byway_state_unwritten",
        MetricKind::Gauge,
        help,
        u8::from(shared.links.registry.is_unwritten()),
    );
}

/// The carriers of the links that this node dials and of those that it has accepted.
fn link_carriers(out: &mut Exposition, carriers: &[Series]) {
    let mut family = |name, help, value: &dyn Fn(u32, &Measured) -> Option<f64>| {
        let mut family = out.family(name, MetricKind::Gauge, help);
        for Series {
            link,
            preferring,
            measured,
        } in carriers
        {
            if let Some(value) = value(*preferring, measured) {
                family.sample(
                    &[("link", link), ("carrier", &measured.kind.to_string())],
                    value,
                );
            }
        }
    };
    let help = "1 for the carrier that new streams of a link use, else 0; for a grant, how many of its links use it.";
    family("byway_link_carrier_preferred", help, &|preferring, _| {
        Some(f64::from(preferring))
    });
    let help = "1 while a carrier answers the pings of its link, 0 while a reply is overdue; for a grant, 0 if any reply is.";
    family("byway_link_carrier_answers", help, &|_, measured| {
        Some(f64::from(u8::from(measured.answers)))
    });
    let help =
        "Round trip of a carrier, by the pings of its link, including the queue of the sender.";
    family("byway_link_carrier_rtt_seconds", help, &|_, measured| {
        measured.round_trip.map(|rtt| rtt.as_secs_f64())
    });
    let help = "Share of packets lost in the last seconds; for TLS, of TCP segments, where the kernel reports it.";
    family("byway_link_carrier_loss_ratio", help, &|_, measured| {
        measured.loss
    });
    let help = "Bytes sent per second in the last seconds, without those lost.";
    family("byway_link_carrier_goodput_bytes", help, &|_, measured| {
        Some(number(measured.rate))
    });
    let help = "Congestion window in bytes; for TLS, that of TCP, where the kernel reports it.";
    family(
        "byway_link_carrier_congestion_window_bytes",
        help,
        &|_, measured| measured.congestion_window.map(number),
    );
    let help = "TCP connections of a TLS carrier: several if the path loses packets and the kernel has no BBR.";
    family("byway_link_carrier_connections", help, &|_, measured| {
        (measured.connections > 0).then(|| number(measured.connections as u64))
    });
}

#[expect(
    clippy::cast_precision_loss,
    reason = "no figure of a link is near 2^53"
)]
const fn number(value: u64) -> f64 {
    value as f64
}

/// Retries, and failed requests that were not retried.
fn retries(out: &mut Exposition, shared: &Shared) {
    let counters = &shared.counters;
    let help = "Retries, by how the attempt before had failed.";
    let mut family = out.family("byway_retries_total", MetricKind::Counter, help);
    for (after, counter) in [
        ("unsent", &counters.retried_unsent),
        ("unanswered", &counters.retried_unanswered),
        ("status", &counters.retried_status),
    ] {
        family.sample(&[("after", after)], counter.value());
    }
    let help = "Failed requests that were not retried, by reason.";
    let mut family = out.family("byway_not_retried_total", MetricKind::Counter, help);
    for (why, counter) in [
        ("method", &counters.not_retried_method),
        ("body", &counters.not_retried_body),
        ("partial", &counters.not_retried_partial),
        ("attempts", &counters.not_retried_attempts),
        ("budget", &counters.not_retried_budget),
        ("no-upstream", &counters.not_retried_no_upstream),
        ("deadline", &counters.not_retried_deadline),
    ] {
        family.sample(&[("reason", why)], counter.value());
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

fn relays(out: &mut Exposition, shared: &Shared) {
    let relays = &shared.relay_counters;
    let total = shared.counters.relays.value();
    out.single(
        "byway_relays_total",
        MetricKind::Counter,
        "Tunnels started: CONNECT, SOCKS, forwards, upgrades, links.",
        total,
    );
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

fn access_log(out: &mut Exposition, shared: &Shared) {
    let sum = |of: fn(&super::access::log_buffer::LogBuffer) -> u64| -> u64 {
        shared
            .worker_stats
            .iter()
            .map(|worker_stats| of(&worker_stats.log_buffer))
            .sum()
    };
    let lines = sum(super::access::log_buffer::LogBuffer::lines);
    out.single(
        "byway_access_log_lines_total",
        MetricKind::Counter,
        "Lines for the access log.",
        lines,
    );
    let help =
        "Lines dropped: no room while the sink was slow (full), or refused by the sink (sink).";
    let mut family = out.family("byway_access_log_dropped_total", MetricKind::Counter, help);
    family.sample(
        &[("reason", "full")],
        sum(super::access::log_buffer::LogBuffer::dropped),
    );
    family.sample(&[("reason", "sink")], shared.access.lost());
}

fn program_log(out: &mut Exposition) {
    out.single(
        "byway_log_lines_total",
        MetricKind::Counter,
        "Lines for the program's log.",
        log::lines(),
    );
    let (full, sink) = log::dropped();
    let help =
        "Lines dropped: no room while standard error was not read (full), or refused by it (sink).";
    let mut family = out.family("byway_log_dropped_total", MetricKind::Counter, help);
    family.sample(&[("reason", "full")], full);
    family.sample(&[("reason", "sink")], sink);
}

fn about(out: &mut Exposition, shared: &Shared) {
    let help = "1, with the version as a label.";
    out.family("byway_build_info", MetricKind::Gauge, help)
        .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    let plan = shared.plan.load();
    out.single(
        "byway_config_generation",
        MetricKind::Gauge,
        "The generation of the config; grows with each reload.",
        plan.generation,
    );
    out.single(
        "byway_workers",
        MetricKind::Gauge,
        "Worker threads.",
        plan.workers,
    );
    let usage = process::usage();
    if let Some(begun) = usage.begun {
        let help = "Start time of the process since the Unix epoch.";
        out.single(
            "process_start_time_seconds",
            MetricKind::Gauge,
            help,
            seconds(begun.as_micros() as u64),
        );
    }
    if let Some(cpu) = usage.cpu {
        let help = "CPU time, user and system.";
        out.single(
            "process_cpu_seconds_total",
            MetricKind::Counter,
            help,
            seconds(cpu.as_micros() as u64),
        );
    }
    for (name, help, value) in [
        (
            "process_resident_memory_bytes",
            "Resident memory.",
            usage.resident_bytes,
        ),
        (
            "process_open_fds",
            "Open files and sockets.",
            usage.open_files,
        ),
        (
            "process_max_fds",
            "The limit of open files and sockets.",
            usage.most_files,
        ),
    ] {
        if let Some(value) = value {
            out.single(name, MetricKind::Gauge, help, value);
        }
    }
}
