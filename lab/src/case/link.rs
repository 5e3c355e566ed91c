//! Link: the cost of both uses of a link, on each carrier, at both ends.
//!
//! Out:   bulk transfers, streams opened, recovery after a kill, memory of idle streams.
//! Never: includes the origin or the generator in the figures.

use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Pid;
use tokio::time::{Instant, sleep, timeout};

use crate::chart::{Chart, Tone};
use crate::environment::RunEnvironment;
use crate::load::bulk::{Way, transfer};
use crate::load::hold;
use crate::load::traffic::Traffic;
use crate::process::{CpuTime, cpu_time, memory};
use crate::report::{Section, grouped};
use crate::statistics::{self, Spread};
use crate::two_nodes::{LinkUse, TwoNodes};

const CARRIERS: [&str; 2] = ["quic", "tls"];
/// The limit for one transfer, or for all openings.
pub(super) const ENDS_PATIENCE: Duration = Duration::from_secs(60);
const IDLE_STREAMS: usize = 5000;
pub(super) const OPENED_STREAMS: usize = 3000;
const RESTARTS: usize = 5;

/// How long programs are left idle before their memory is read.
const SETTLE: Duration = Duration::from_millis(500);

/// Measures all questions.
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
        "use",
        "carrier",
        "direction",
        "near end, CPU-s/GB",
        "far end, CPU-s/GB",
        "both",
        "MB/s",
    ]);
    let mut chart = Chart::new(
        section.title(),
        "CPU-seconds per GB, both ends; less is better",
    );
    for link_use in [LinkUse::Expose, LinkUse::Egress] {
        for carrier in CARRIERS {
            let nodes = TwoNodes::start(env, link_use, carrier).await?;
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
                let label = format!("{}, {carrier}, {}", use_name(link_use), way_name(way));
                spread
                    .into_iter()
                    .for_each(|spread| chart.bar(&label, Tone::Ours, spread, both.clone()));
                section.row([
                    use_name(link_use),
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
                  of those of two machines; CPU time is not affected. Every byte is encrypted once and decrypted once.");
    Ok(section)
}

async fn one_transfer(env: &RunEnvironment, nodes: &TwoNodes, way: Way) -> Result<[f64; 3]> {
    let mut stream = nodes.reach.open(env.origin()).await?;
    let (before, started) = (ends(nodes)?, Instant::now());
    let moving = transfer(&mut stream, way, env.bulk_bytes, env.origin());
    timeout(ENDS_PATIENCE, moving)
        .await
        .context("the transfer took longer than a minute")??;
    let [near, far] = spent(before, ends(nodes)?);
    Ok([near, far, started.elapsed().as_secs_f64()])
}

async fn opening(env: &RunEnvironment) -> Result<Section> {
    let asks = format!(
        "What does a stream cost: connect, one request of 1 KiB, close; {OPENED_STREAMS} of them, 50 at a time?"
    );
    let mut section = Section::new("Links, streams opened", &asks);
    section.head(["use", "carrier", "streams/s", "near end, us", "far end, us"]);
    let mut chart = Chart::new(
        section.title(),
        "microseconds of CPU a stream, both ends; less is better",
    );
    for link_use in [LinkUse::Expose, LinkUse::Egress] {
        for carrier in CARRIERS {
            let nodes = TwoNodes::start(env, link_use, carrier).await?;
            let (before, started) = (ends(&nodes)?, Instant::now());
            drop(
                timeout(
                    ENDS_PATIENCE,
                    hold::open(
                        nodes.reach,
                        OPENED_STREAMS,
                        &Traffic::to_hold(env.origin(), None),
                    ),
                )
                .await??,
            );
            let took = started.elapsed().as_secs_f64();
            let [near, far] =
                spent(before, ends(&nodes)?).map(|seconds| seconds * 1e6 / OPENED_STREAMS as f64);
            let both = Spread::single(near + far);
            chart.bar(
                &format!("{}, {carrier}", use_name(link_use)),
                Tone::Ours,
                both,
                format!("{:.0}", both.median),
            );
            let [near, far] = [near, far].map(|value| format!("{value:.0}"));
            section.row([
                use_name(link_use),
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
    let asks = "How long after its restart does a killed node serve again, until a new connection to the origin is answered?";
    let mut section = Section::new("Links, recovery", asks);
    section.head(["use", "carrier", "killed", "median, ms", "worst, ms"]);
    let mut chart = Chart::new(
        section.title(),
        "milliseconds from start to service; less is better",
    );
    for link_use in [LinkUse::Expose, LinkUse::Egress] {
        for carrier in CARRIERS {
            for dialler in [true, false] {
                let mut nodes = TwoNodes::start(env, link_use, carrier).await?;
                let mut took = Vec::new();
                for _ in 0..RESTARTS {
                    let started = Instant::now();
                    match dialler {
                        true => nodes.restart_dialler(env).await?,
                        false => nodes.restart_acceptor(env).await?,
                    }
                    nodes.until_open(env.origin()).await?;
                    took.push(started.elapsed().as_secs_f64() * 1e3);
                }
                let Some(spread) = Spread::of(took) else {
                    continue;
                };
                let killed = if dialler {
                    "the dialler"
                } else {
                    "the acceptor"
                };
                let [median, worst] =
                    [spread.median, spread.most].map(|value| format!("{value:.0}"));
                chart.bar(
                    &format!("{}, {carrier}, {killed}", use_name(link_use)),
                    Tone::Ours,
                    spread,
                    median.clone(),
                );
                section.row([
                    use_name(link_use),
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
        .note("kill -9, then an immediate restart; the figure includes the start of the program.");
    Ok(section)
}

async fn idle(env: &RunEnvironment) -> Result<Section> {
    let asks = format!(
        "How much memory do both ends hold for {IDLE_STREAMS} idle streams, each used once?"
    );
    let mut section = Section::new("Links, idle streams", &asks);
    section.head([
        "use",
        "carrier",
        "end",
        "RSS before, MiB",
        "RSS with them",
        "KiB a stream",
    ]);
    let mut chart = Chart::new(section.title(), "resident KiB a stream; less is better");
    for link_use in [LinkUse::Expose, LinkUse::Egress] {
        for carrier in CARRIERS {
            let nodes = TwoNodes::start(env, link_use, carrier).await?;
            sleep(SETTLE).await;
            let pids = [("near", nodes.near.pid()), ("far", nodes.far.pid())];
            let before = pids.map(|(_, pid)| rss_kib(pid));
            let held = hold::open(
                nodes.reach,
                IDLE_STREAMS,
                &Traffic::to_hold(env.origin(), None),
            )
            .await?;
            sleep(SETTLE).await;
            for ((end, pid), before) in pids.into_iter().zip(before) {
                let (before, with) = (before?, rss_kib(pid)?);
                let each = (with as f64 - before as f64) / IDLE_STREAMS as f64;
                let label = format!("{}, {carrier}, {end} end", use_name(link_use));
                chart.bar(
                    &label,
                    Tone::Ours,
                    Spread::single(each.max(0.0)),
                    format!("{each:.1}"),
                );
                let mebibytes = |kib: u64| format!("{:.1}", kib as f64 / 1024.0);
                let row = [
                    use_name(link_use),
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

fn use_name(link_use: LinkUse) -> String {
    match link_use {
        LinkUse::Expose => "exposed TCP".into(),
        LinkUse::Egress => "desk and exit, SOCKS5".into(),
    }
}

fn way_name(way: Way) -> String {
    match way {
        Way::Down => "down".into(),
        Way::Up => "up".into(),
    }
}
