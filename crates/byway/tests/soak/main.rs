//! Soak: a mixed load in every way through three nodes, with reloads and kills, for a minute.
//!
//! In:    `cargo test -p byway --test soak -- --ignored --nocapture`; `BYWAY_SOAK_SECONDS` for
//!        another length than 60.
//! Out:   only requests cut by a kill have failed; memory, descriptors, threads and names are back
//!        where they were.
//! Never: run with the other tests, as it needs the whole machine.
//!
//! `load` the clients and their requests · `nodes` the three nodes, their configs and what they use
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod load;
mod nodes;

use std::time::{Duration, Instant};

use load::Load;
use nodes::Nodes;

const BYWAY: &str = env!("CARGO_BIN_EXE_byway");

/// How much more memory a node may have after a phase than after the first one, as an allocator
/// keeps memory from burst to burst. A leak of 300 bytes per request exceeds it.
const RSS_MARGIN_KIB: u64 = 16 * 1024;

/// The node that is killed during a phase, besides the reloads.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kill {
    Agent,
    Hub,
}

fn seconds() -> u64 {
    std::env::var("BYWAY_SOAK_SECONDS").map_or(60, |seconds| {
        seconds.parse().expect("BYWAY_SOAK_SECONDS is a number")
    })
}

#[test]
#[ignore = "takes more than a minute and the whole machine: cargo xtask test soak"]
fn a_mixed_load_with_reloads_and_kills_fails_no_request_and_leaves_nothing_behind() {
    let phase = Duration::from_secs(seconds()) / 3;
    let mut nodes = Nodes::start();
    // Registers each name once, since names stay reserved.
    nodes.reload_all();
    nodes.settle();
    let fresh = nodes.usage();
    eprintln!("fresh:\n{fresh}{}", nodes.open_files());
    let mut first = None;
    for kills in [&[Kill::Agent, Kill::Hub][..], &[Kill::Agent], &[Kill::Hub]] {
        let outages = run(&mut nodes, phase, kills);
        eprintln!("killed {kills:?}, out of service for {outages:?}");
        nodes.settle();
        let now = nodes.usage_once(|now| now.is_back_at(&fresh));
        eprintln!("after the load:\n{now}");
        assert!(
            now.is_back_at(&fresh),
            "after {kills:?}; the descriptors are:\n{}",
            nodes.open_files()
        );
        let first = first.get_or_insert_with(|| now.rss_kib());
        for ((name, first), (_, now)) in first.iter().zip(now.rss_kib()) {
            assert!(
                now < first + RSS_MARGIN_KIB,
                "{name}: {now} KiB resident, {first} KiB after the first phase"
            );
        }
    }
}

/// One phase: load, reloads, and the kills at equal intervals. Returns the length of each outage.
fn run(nodes: &mut Nodes, phase: Duration, kills: &[Kill]) -> Vec<Duration> {
    let load = Load::start(nodes.ways());
    let started = Instant::now();
    let part = phase / (kills.len() as u32 + 1);
    let mut outages = Vec::new();
    for number in 1..=kills.len() + 1 {
        while started.elapsed() < part * number as u32 {
            nodes.reload_all();
            std::thread::park_timeout(Duration::from_millis(500));
        }
        if let Some(kill) = kills.get(number - 1) {
            let down = Instant::now();
            match kill {
                Kill::Agent => nodes.kill_agent(),
                Kill::Hub => nodes.kill_hub(),
            }
            outages.push((down, Instant::now()));
        }
    }
    let outcome = load.finish();
    eprintln!("{}", outcome.report(&outages));
    let failed = outcome.failed_outside(&outages);
    assert!(
        failed.is_empty(),
        "{} requests failed that no kill has cut:\n{}",
        failed.len(),
        failed.join("\n")
    );
    outages.into_iter().map(|(down, up)| up - down).collect()
}
