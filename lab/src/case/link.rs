//! Link: what the two roads over a link cost, on each carrier, at both ends.
//!
//! In:    the setting.
//! Out:   bulk transfers, streams opened, recovery after a kill, memory of idle streams.
//! Never: counts the origin or the generator among the ends.

use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Pid;
use tokio::time::{Instant, sleep, timeout};

use crate::chart::{Chart, Tone};
use crate::environment::RunEnvironment;
use crate::load::bulk::{Way, transfer};
use crate::load::hold;
use crate::process::{CpuTime, cpu_time, memory};
use crate::report::{Section, grouped};
use crate::statistics::{self, Spread};
use crate::two_nodes::{Road, TwoNodes};

const CARRIERS: [&str; 2] = ["quic", "tls"];
/// For one transfer, or all openings.
pub(super) const ENDS_PATIENCE: Duration = Duration::from_secs(60);
const IDLE_STREAMS: usize = 5000;
pub(super) const OPENED_STREAMS: usize = 3000;
const RESTARTS: usize = 5;

/// How long programs are left alone before their memory is looked at.
const SETTLE: Duration = Duration::from_millis(500);

/// Asks all of it.
pub(crate) async fn run(env: &RunEnvironment) -> Result<Vec<Section>> {
    Ok(vec![
        bulk(env).await?,
        opening(env).await?,
        recovery(env).await?,
        idle(env).await?,
    ])
}

/// CPU time of both ends.
fn ends(nodes: &TwoNodes) -> Result<[CpuTime; 2]> {
    Ok([cpu_time(nodes.near.pid())?, cpu_time(nodes.far.pid())?])
}

fn spent(before: [CpuTime; 2], after: [CpuTime; 2]) -> [f64; 2] {
    let [near, far] = before;
    let [near_after, far_after] = after;
    [
        (near_after - near).total().as_secs_f64(),
        (far_after - far).total().as_secs_f64(),
    ]
}

async fn bulk(env: &RunEnvironment) -> Result<Section> {
    let size = env.bulk_bytes >> 20;
    let asks = format!(
        "What does one transfer of {size} MiB through two nodes cost at each end, and how fast does it go?"
    );
    let mut section = Section::new("Links, bulk", &asks);
    section.head([
        "road",
        "carrier",
        "way",
        "near end, CPU-s/GB",
        "far end, CPU-s/GB",
        "both",
        "MB/s",
    ]);
    let mut chart = Chart::new(
        section.title(),
        "CPU-seconds per GB, both ends; less is better",
    );
    for road in [Road::Expose, Road::Egress] {
        for carrier in CARRIERS {
            let nodes = TwoNodes::start(env, road, carrier).await?;
            for way in [Way::Down, Way::Up] {
                let mut costs = Vec::new();
                for _ in 0..env.rounds {
                    costs.push(one_transfer(env, &nodes, way).await?);
                }
                let gigabytes = env.bulk_bytes as f64 / 1e9;
                let of = |pick: fn(&[f64; 3]) -> f64| median(costs.iter().map(pick).collect());
                let (near, far) = (
                    of(|cost| cost[0]) / gigabytes,
                    of(|cost| cost[1]) / gigabytes,
                );
                let rate = env.bulk_bytes as f64 / 1e6 / of(|cost| cost[2]);
                let figures = [near, far, near + far].map(|value| format!("{value:.2}"));
                let [near, far, both] = figures;
                let spread =
                    Spread::of(costs.iter().map(|[near, far, _]| (near + far) / gigabytes));
                let label = format!("{}, {carrier}, {}", road_name(road), way_name(way));
                spread
                    .into_iter()
                    .for_each(|spread| chart.bar(&label, Tone::Ours, spread, both.clone()));
                section.row([
                    road_name(road),
                    carrier.into(),
                    way_name(way),
                    near,
                    far,
                    both,
                    grouped(rate),
                ]);
            }
            nodes.stop().await?;
        }
    }
    section.chart(chart);
    section.note("Near is the server or the desk, far the agent or the exit. Both share the subjects' core: rates are half \
                  of what two machines give, CPU time is not touched by it. Every byte is encrypted once and decrypted once.");
    Ok(section)
}

async fn one_transfer(env: &RunEnvironment, nodes: &TwoNodes, way: Way) -> Result<[f64; 3]> {
    let mut stream = nodes.reach.open(env.origin()).await?;
    let (before, begun) = (ends(nodes)?, Instant::now());
    let moving = transfer(&mut stream, way, env.bulk_bytes, env.origin());
    timeout(ENDS_PATIENCE, moving)
        .await
        .context("the transfer took longer than a minute")??;
    let [near, far] = spent(before, ends(nodes)?);
    Ok([near, far, begun.elapsed().as_secs_f64()])
}

async fn opening(env: &RunEnvironment) -> Result<Section> {
    let asks = format!(
        "What does a stream cost: connect, one request of 1 KiB, close; {OPENED_STREAMS} of them in 50 lanes?"
    );
    let mut section = Section::new("Links, streams opened", &asks);
    section.head([
        "road",
        "carrier",
        "streams/s",
        "near end, us",
        "far end, us",
    ]);
    let mut chart = Chart::new(
        section.title(),
        "microseconds of CPU a stream, both ends; less is better",
    );
    for road in [Road::Expose, Road::Egress] {
        for carrier in CARRIERS {
            let nodes = TwoNodes::start(env, road, carrier).await?;
            let (before, begun) = (ends(&nodes)?, Instant::now());
            drop(
                timeout(
                    ENDS_PATIENCE,
                    hold::open(nodes.reach, OPENED_STREAMS, env.origin()),
                )
                .await??,
            );
            let took = begun.elapsed().as_secs_f64();
            let [near, far] =
                spent(before, ends(&nodes)?).map(|seconds| seconds * 1e6 / OPENED_STREAMS as f64);
            let both = Spread::single(near + far);
            chart.bar(
                &format!("{}, {carrier}", road_name(road)),
                Tone::Ours,
                both,
                format!("{:.0}", both.median),
            );
            let [near, far] = [near, far].map(|value| format!("{value:.0}"));
            section.row([
                road_name(road),
                carrier.into(),
                grouped(OPENED_STREAMS as f64 / took),
                near,
                far,
            ]);
            nodes.stop().await?;
        }
    }
    section.chart(chart);
    section.note(
        "The sockets at both ends are in these figures: an accept at one, a dial at the other.",
    );
    Ok(section)
}

async fn recovery(env: &RunEnvironment) -> Result<Section> {
    let asks = "How long after its start does a killed node serve again, a new connection to the origin answered?";
    let mut section = Section::new("Links, recovery", asks);
    section.head(["road", "carrier", "killed", "median, ms", "worst, ms"]);
    let mut chart = Chart::new(
        section.title(),
        "milliseconds from start to service; less is better",
    );
    for road in [Road::Expose, Road::Egress] {
        for carrier in CARRIERS {
            for dialler in [true, false] {
                let mut nodes = TwoNodes::start(env, road, carrier).await?;
                let mut took = Vec::new();
                for _ in 0..RESTARTS {
                    let begun = Instant::now();
                    match dialler {
                        true => nodes.restart_dialler(env).await?,
                        false => nodes.restart_acceptor(env).await?,
                    }
                    nodes.until_open(env.origin()).await?;
                    took.push(begun.elapsed().as_secs_f64() * 1e3);
                }
                let Some(spread) = Spread::of(took) else {
                    continue;
                };
                let killed = if dialler {
                    "who dialled"
                } else {
                    "who accepted"
                };
                let [median, worst] =
                    [spread.median, spread.most].map(|value| format!("{value:.0}"));
                chart.bar(
                    &format!("{}, {carrier}, {killed}", road_name(road)),
                    Tone::Ours,
                    spread,
                    median.clone(),
                );
                section.row([
                    road_name(road),
                    carrier.into(),
                    killed.into(),
                    median,
                    worst,
                ]);
                nodes.stop().await?;
            }
        }
    }
    section.chart(chart);
    section
        .note("kill -9, then at once a start; the start of the program itself is in the figure.");
    Ok(section)
}

async fn idle(env: &RunEnvironment) -> Result<Section> {
    let asks = format!(
        "How much memory do both ends of {IDLE_STREAMS} streams hold that were used once and idle now?"
    );
    let mut section = Section::new("Links, idle streams", &asks);
    section.head([
        "road",
        "carrier",
        "end",
        "RSS before, MiB",
        "RSS with them",
        "KiB a stream",
    ]);
    let mut chart = Chart::new(section.title(), "resident KiB a stream; less is better");
    for road in [Road::Expose, Road::Egress] {
        for carrier in CARRIERS {
            let nodes = TwoNodes::start(env, road, carrier).await?;
            sleep(SETTLE).await;
            let pids = [("near", nodes.near.pid()), ("far", nodes.far.pid())];
            let before = pids.map(|(_, pid)| rss_kib(pid));
            let held = hold::open(nodes.reach, IDLE_STREAMS, env.origin()).await?;
            sleep(SETTLE).await;
            for ((end, pid), before) in pids.into_iter().zip(before) {
                let (before, with) = (before?, rss_kib(pid)?);
                let each = (with as f64 - before as f64) / IDLE_STREAMS as f64;
                let label = format!("{}, {carrier}, {end} end", road_name(road));
                chart.bar(
                    &label,
                    Tone::Ours,
                    Spread::single(each.max(0.0)),
                    format!("{each:.1}"),
                );
                let mebibytes = |kib: u64| format!("{:.1}", kib as f64 / 1024.0);
                let row = [
                    road_name(road),
                    carrier.into(),
                    end.into(),
                    mebibytes(before),
                    mebibytes(with),
                    format!("{each:.1}"),
                ];
                section.row(row);
            }
            drop(held);
            nodes.stop().await?;
        }
    }
    section.chart(chart);
    Ok(section)
}

fn rss_kib(pid: Pid) -> Result<u64> {
    Ok(memory(pid)?.rss_kib)
}

pub(super) fn median(values: Vec<f64>) -> f64 {
    statistics::median(values).unwrap_or_default()
}

fn road_name(road: Road) -> String {
    match road {
        Road::Expose => "exposed TCP".into(),
        Road::Egress => "desk and exit, SOCKS5".into(),
    }
}

fn way_name(way: Way) -> String {
    match way {
        Way::Down => "down".into(),
        Way::Up => "up".into(),
    }
}
