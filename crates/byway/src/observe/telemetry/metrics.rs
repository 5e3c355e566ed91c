//! Metrics: what a node and its process count, as families of metrics.
//!
//! In:    the stats of the workers, the counters, the logs, the process.
//! Out:   families of the exposition, each with a row in `docs/metrics.md`; every name begins with
//!        `byway_` (or with the usual `process_`) and ends in its unit.
//! Never: a label that clients choose: listeners, sides and reasons are fixed by the node.

use super::Telemetry;
use crate::fault::Who;
use crate::observe::access::line::version_text;
use crate::observe::access::log_buffer::LogBuffer;
use crate::observe::counters::LocalCounter;
use crate::observe::exposition::{Collect, Exposition, MetricKind, seconds};
use crate::observe::histogram::{Distribution, Histogram};
use crate::observe::log;
use crate::observe::metrics::{CODES, ListenerTotals, VERSIONS, WorkerMetrics};
use crate::observe::outcomes::Outcomes;
use crate::os::process;

impl Collect for Telemetry {
    fn collect(&self, out: &mut Exposition) {
        requests(out, self);
        timers(out, self);
        ends(out, self);
        self.counters.collect(out);
        access_log(out, self);
        program_log(out);
        process(out);
    }
}

fn requests(out: &mut Exposition, telemetry: &Telemetry) {
    let mut listeners: Vec<(String, ListenerTotals)> = Vec::new();
    for (name, listener_metrics) in telemetry
        .all_stats()
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
    let mut family = out.family(
        "byway_requests_total",
        MetricKind::Counter,
        ["listener", "code"],
        help,
    );
    for (name, sum) in &listeners {
        for (code, count) in CODES.iter().zip(sum.codes) {
            family.sample([name, code], count);
        }
    }
    let help = "HTTP requests that have ended, by version; malformed heads are not among them.";
    let mut family = out.family(
        "byway_requests_by_version_total",
        MetricKind::Counter,
        ["version"],
        help,
    );
    let all_stats = telemetry.all_stats();
    for (place, version) in VERSIONS.into_iter().enumerate() {
        let counts = all_stats
            .iter()
            .filter_map(|stats| stats.metrics.versions.get(place));
        let sum: u64 = counts.map(LocalCounter::value).sum();
        family.sample([version_text(version)], sum);
    }
    let help = "Bytes of request bodies, delivered to upstreams.";
    let mut family = out.family(
        "byway_request_body_bytes_total",
        MetricKind::Counter,
        ["listener"],
        help,
    );
    listeners
        .iter()
        .for_each(|(name, sum)| family.sample([name], sum.bytes_in));
    let help = "Bytes of response bodies, delivered to downstreams.";
    let mut family = out.family(
        "byway_response_body_bytes_total",
        MetricKind::Counter,
        ["listener"],
        help,
    );
    listeners
        .iter()
        .for_each(|(name, sum)| family.sample([name], sum.bytes_out));
}

/// The sum of a histogram over all workers.
fn all(telemetry: &Telemetry, which: impl Fn(&WorkerMetrics) -> &Histogram) -> Distribution {
    let mut sum = Distribution::default();
    telemetry
        .all_stats()
        .iter()
        .for_each(|worker_stats| which(&worker_stats.metrics).add_to(&mut sum));
    sum
}

fn timers(out: &mut Exposition, telemetry: &Telemetry) {
    let help = "Requests: from the end of the head to the end of the response.";
    out.histogram(
        "byway_request_duration_seconds",
        help,
        &all(telemetry, |metrics| &metrics.duration),
    );
    let help =
        "Requests with a response from an upstream: from the connection to the response head.";
    out.histogram(
        "byway_request_first_byte_seconds",
        help,
        &all(telemetry, |metrics| &metrics.first_byte),
    );
    let help = "Requests that had a connection opened: name look-up, TCP and TLS.";
    out.histogram(
        "byway_request_connect_seconds",
        help,
        &all(telemetry, |metrics| &metrics.connect),
    );
    let help =
        "Requests sent to an upstream: the wait for a connection, without the time to open it.";
    out.histogram(
        "byway_request_queue_seconds",
        help,
        &all(telemetry, |metrics| &metrics.queue),
    );
}

fn ends(out: &mut Exposition, telemetry: &Telemetry) {
    let (mut done, mut sum) = (0, Outcomes::room());
    for worker_stats in telemetry.all_stats() {
        done += worker_stats.metrics.outcomes.done();
        worker_stats.metrics.outcomes.add_to(&mut sum);
    }
    let help =
        "Requests and tunnels that have ended, by outcome; docs/reasons.md explains each reason.";
    let mut family = out.family(
        "byway_ends_total",
        MetricKind::Counter,
        ["outcome", "reason"],
        help,
    );
    family.sample(["ok", ""], done);
    for ((who, reason), count) in Outcomes::labels().zip(sum).filter(|(_, count)| *count > 0) {
        family.sample([outcome(who), reason.word()], count);
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

fn access_log(out: &mut Exposition, telemetry: &Telemetry) {
    let sum = |of: fn(&LogBuffer) -> u64| -> u64 {
        telemetry
            .all_stats()
            .iter()
            .map(|worker_stats| of(&worker_stats.log_buffer))
            .sum()
    };
    let lines = sum(LogBuffer::lines);
    out.single(
        "byway_access_log_lines_total",
        MetricKind::Counter,
        "Lines for the access log.",
        lines,
    );
    let help =
        "Lines dropped: no room while the sink was slow (full), or refused by the sink (sink).";
    let mut family = out.family(
        "byway_access_log_dropped_total",
        MetricKind::Counter,
        ["reason"],
        help,
    );
    family.sample(["full"], sum(LogBuffer::dropped));
    family.sample(["sink"], telemetry.access.lost());
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
    let mut family = out.family(
        "byway_log_dropped_total",
        MetricKind::Counter,
        ["reason"],
        help,
    );
    family.sample(["full"], full);
    family.sample(["sink"], sink);
}

fn process(out: &mut Exposition) {
    let help = "1, with the version as a label.";
    out.family("byway_build_info", MetricKind::Gauge, ["version"], help)
        .sample([env!("CARGO_PKG_VERSION")], 1);
    let usage = process::usage();
    if let Some(begun) = usage.begun {
        let help = "Start time of the process since the Unix epoch.";
        let begun = seconds(begun.as_micros() as u64);
        out.single("process_start_time_seconds", MetricKind::Gauge, help, begun);
    }
    if let Some(cpu) = usage.cpu {
        let help = "CPU time, user and system.";
        let cpu = seconds(cpu.as_micros() as u64);
        out.single("process_cpu_seconds_total", MetricKind::Counter, help, cpu);
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
