//! Phases: further measurements of the same subjects after their rounds: memory, system calls,
//! latency at equal load.
//!
//! In:    rows with their samples.
//! Out:   the same rows with further figures.
//! Never: disturbs the figures of CPU time: those are taken before.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use tokio::time::{Instant, sleep, timeout};

use super::roles::{Subject, SubjectRole};
use super::rounds::{PATIENCE, Row, awake};
use super::tables;
use crate::environment::RunEnvironment;
use crate::load::counters::Counters;
use crate::load::paced::Paced;
use crate::load::reach::Reach;
use crate::load::traffic::Traffic;
use crate::peers::Program;
use crate::peers::h2load::H2load;
use crate::process::{cpu_time, memory};
use crate::statistics::{Quantiles, median};

/// How the subjects are loaded, and how much work a response counts.
pub(crate) struct Load {
    /// Connections and request.
    pub(crate) traffic: Traffic,
    /// The work that one response adds to a sample.
    pub(crate) piece: f64,
}

/// The load that was offered to every subject.
pub(crate) struct Offered {
    /// Requests a second.
    pub(crate) rate: f64,
    /// The slowest subject, whose rate it is a share of.
    pub(crate) slowest: String,
    /// Rounds for each subject.
    pub(crate) rounds: usize,
}

/// The share of the slowest subject's rate that every subject is offered.
const SHARE: f64 = 0.7;
/// Rounds for each subject; the median of their quantiles is reported.
const ROUNDS: usize = 7;

/// Longer measurements would only repeat the same thousands of requests.
const LONGEST: Duration = Duration::from_secs(2);

/// Reads the resident memory of each subject after the rounds.
pub(crate) fn memory_now(rows: &mut [Row]) {
    for row in rows.iter_mut().filter(|row| row.failure.is_none()) {
        row.rss_kib = row
            .subject
            .pid
            .and_then(|pid| memory(pid).ok())
            .map(|memory| memory.rss_kib);
    }
}

/// Counts the system calls per request of each subject.
pub(crate) async fn syscalls(env: &RunEnvironment, load: &Load, rows: &mut [Row]) {
    let Some(counter) = env.counter else {
        return;
    };
    for row in rows.iter_mut().filter(|row| row.failure.is_none()) {
        let Some(pid) = row.subject.pid else { continue };
        let count = async |counters: &Counters| {
            let work = || counters.answered() as f64;
            awake(env, counter.a_piece(pid, env.dir(), work)).await
        };
        // A failed count leaves its cell empty; the subject's other figures remain valid.
        match timeout(PATIENCE, load.traffic.run(row.subject.reach, count)).await {
            Ok(Ok(syscalls)) => row.syscalls = Some(syscalls),
            Ok(Err(error)) => eprintln!("lab: system calls of {}: {error:#}", row.subject.name),
            Err(_) => eprintln!(
                "lab: system calls of {}: not counted after {PATIENCE:?}",
                row.subject.name
            ),
        }
        let _ = row.empty_log();
    }
}

/// Measures the CPU time per request of each subject again, under the load of h2load. Returns a note
/// for each subject without that figure.
pub(crate) async fn h2load(env: &RunEnvironment, load: H2load, rows: &mut [Row]) -> Vec<String> {
    if Program::H2load.path().is_none() {
        return vec![format!(
            "h2load is not installed: {}.",
            Program::H2load.remedy()
        )];
    }
    let mut notes = Vec::new();
    for row in rows.iter_mut().filter(|row| row.failure.is_none()) {
        match timeout(PATIENCE, by_h2load(env, load, &row.subject)).await {
            Ok(Ok(cpu)) => row.by_h2load = Some(cpu),
            Ok(Err(error)) => notes.push(format!("h2load and {}: {error:#}.", row.subject.name)),
            Err(_) => notes.push(format!("h2load and {}: not done.", row.subject.name)),
        }
        let _ = row.empty_log();
    }
    notes
}

/// The origin counts the requests of the window, and h2load checks all responses of its run.
async fn by_h2load(env: &RunEnvironment, load: H2load, subject: &Subject) -> Result<Duration> {
    let (Some(pid), Reach::Plain(to)) = (subject.pid, subject.reach) else {
        bail!("it is not a reverse proxy")
    };
    let counts = env.origin_counts();
    let begin = counts.answered();
    let time = env.window + env.window / 2;
    let running = load.start(env, to, time)?;
    // Its connections are open when it has its first responses.
    let deadline = Instant::now() + time;
    while counts.answered() < begin + 100 && Instant::now() < deadline {
        sleep(Duration::from_millis(5)).await;
    }
    sleep(env.window / 6).await;
    let (before, cpu_before) = (counts.answered(), cpu_time(pid)?);
    // Shorter than the rest of its run. The origin sleeps between requests, since h2load needs the
    // same core.
    sleep(env.window).await;
    let (after, cpu_after) = (counts.answered(), cpu_time(pid)?);
    let right = running.end().await?;
    ensure!(
        right >= after - before,
        "the origin has answered {} requests, and h2load received {right} responses",
        after - before
    );
    let requests = u32::try_from(after - before).unwrap_or(u32::MAX).max(1);
    Ok((cpu_after - cpu_before).total() / requests)
}

/// Measures latency at a rate that all subjects can carry: 70 % of what the slowest reached under
/// full load. `None` if no subject has samples.
pub(crate) async fn latency(
    env: &RunEnvironment,
    load: &Load,
    rows: &mut [Row],
) -> Option<Offered> {
    let speed = |row: &Row| median(row.samples.iter().map(tables::rate)).filter(|rate| *rate > 0.0);
    let alive = rows
        .iter()
        .filter(|row| row.failure.is_none() && row.subject.role != SubjectRole::Ceiling);
    let speeds = alive.filter_map(|row| Some((speed(row)?, row.subject.name.clone())));
    let (slowest_rate, slowest) = speeds.min_by(|a, b| a.0.total_cmp(&b.0))?;
    let rate = slowest_rate / load.piece * SHARE;
    let rounds = if env.quick { 1 } else { ROUNDS };
    let window = load.traffic.window().min(LONGEST);
    let paced = Paced {
        traffic: load.traffic.clone(),
        rate,
        window,
    };
    let mut done = 0;
    for round in 0..rounds {
        if round > 0 && !env.has_time() {
            break;
        }
        rows.rotate_left(1);
        for row in rows.iter_mut().filter(|row| row.failure.is_none()) {
            let turn = timeout(PATIENCE, paced.run(row.subject.reach)).await;
            let turn = turn.unwrap_or_else(|_| Err(anyhow!("it was not done after {PATIENCE:?}")));
            match turn.and_then(|took| Quantiles::of(took).context("no request was answered")) {
                Ok(quantiles) => row.latency.push(quantiles),
                Err(error) => row.failure = Some(format!("at {rate:.0} requests/s: {error:#}")),
            }
            let _ = row.empty_log();
        }
        done += 1;
    }
    // Restore the order of the table.
    let turned = done % rows.len().max(1);
    rows.rotate_right(turned);
    Some(Offered {
        rate,
        slowest,
        rounds: done,
    })
}
