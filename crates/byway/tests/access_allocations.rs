//! Access allocations: counting a request and writing its line of the access log allocate nothing.
//! A program of its own, because it replaces the allocator.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::hint::black_box;
use std::sync::Arc;
use tokio::time::Instant;

use byway::config::{AccessFormat, AccessPlace, LogPlan};
use byway::observe::access::AccessLog;
use byway::observe::access::line::{Entry, EntrySubject};
use byway::observe::ending::Ending;
use byway::observe::timing::{Phase, Timing};
use byway::observe::worker_stats::WorkerStats;
use byway_head::Version;

/// One request, from its head to its log line.
fn one_request(
    worker_stats: &WorkerStats,
    upstream: &Arc<str>,
    listener_metrics: &byway::observe::metrics::ListenerMetrics,
    agent: &[u8],
) {
    let mut timing = Timing::begun(Instant::now());
    timing.upstream = Some(Arc::clone(upstream));
    timing.connected(true);
    timing.enter(Phase::Transfer);
    let timers = timing.timers(Instant::now());
    let ending = Ending::done(timing.phase().word());
    listener_metrics.note(200, 0, 1024);
    worker_stats.metrics.note(&timing, &timers, ending);
    worker_stats.log_buffer.note(&Entry {
        connection: 4711,
        request_id: "0123456789abcdef",
        listener: "site",
        peer: Some("[2001:db8::1]:4711".parse().unwrap()),
        tls: None,
        user: Some("alice"),
        subject: EntrySubject::Request {
            method: b"GET",
            target: b"/a/path?with=a&query",
            version: Version::Http11,
            host: Some(b"www.example.com"),
            referer: Some(b"http://example.com/"),
            agent: Some(agent),
        },
        status: 200,
        bytes_in: 0,
        bytes_out: 1024,
        timers,
        upstream: timing.upstream.as_deref(),
        reused: timing.reused,
        retried: timing.retried,
        not_retried: timing.not_retried,
        ending,
    });
}

/// Both formats, with and without escapes, over many runs of the writer.
#[test]
fn a_hundred_thousand_requests_are_counted_and_logged_without_one_allocation() {
    let folder = tempfile::tempdir().unwrap();
    for (name, format) in [
        ("combined", AccessFormat::Combined),
        ("json", AccessFormat::Json),
    ] {
        let (log, worker_stats) = (AccessLog::default(), Arc::new(WorkerStats::default()));
        let plan = LogPlan {
            access: AccessPlace::File(folder.path().join(name)),
            access_format: format,
        };
        log.begin(log.prepare(&plan).unwrap(), &[Arc::clone(&worker_stats)])
            .unwrap();
        let listener_metrics = worker_stats.listener_metrics(&Arc::from("site"));
        let upstream: Arc<str> = Arc::from("http://127.0.0.1:9001");
        let hostile: Vec<u8> = (0..=255).cycle().take(8192).collect();
        let counted = allocation_counter::measure(|| {
            for turn in 0..100_000 {
                let agent: &[u8] = if turn % 1000 == 0 {
                    &hostile
                } else {
                    b"curl/8.14.1"
                };
                one_request(
                    black_box(&worker_stats),
                    &upstream,
                    &listener_metrics,
                    agent,
                );
            }
        });
        assert_eq!((counted.count_total, counted.bytes_total), (0, 0), "{name}");
        assert_eq!(
            worker_stats.log_buffer.lines() + worker_stats.log_buffer.dropped(),
            100_000
        );
        log.close();
    }
}

/// The counter counts: without this, the test above could not fail.
#[test]
fn an_allocation_is_seen_by_the_counter() {
    let counted = allocation_counter::measure(|| {
        black_box(vec![0u8; 100]);
    });
    assert_eq!(counted.count_total, 1);
}
