//! Rounds: every subject in turn, several times, so that a disturbance affects all of them alike.
//!
//! In:    subjects and the measurement of each.
//! Out:   samples per subject, in the order of the rounds; or why it failed.
//! Never: begins a round when the budget is used up, or lets one subject's failure end the run.

use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::time::{Instant, sleep, timeout};

use super::roles::Subject;
use crate::environment::RunEnvironment;
use crate::load::counters::{Counters, Received};
use crate::load::traffic::Traffic;
use crate::machine;
use crate::process::{CpuTime, cpu_time};
use crate::statistics::Quantiles;

/// The result of one measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Requests or bytes.
    pub(crate) work: f64,
    /// How long it took.
    pub(crate) wall: Duration,
    /// CPU time of the subject meanwhile; `None` for the ceiling.
    pub(crate) cpu: Option<CpuTime>,
    /// The share of the subject's core that other processes used meanwhile, 0 to 1.
    pub(crate) others: f64,
    /// What the load received meanwhile, if it counts that.
    pub(crate) received: Option<Received>,
}

/// A subject with its samples.
pub(crate) struct Row {
    /// The subject.
    pub(crate) subject: Subject,
    /// One sample per round.
    pub(crate) samples: Vec<Sample>,
    /// Why it dropped out, if it did.
    pub(crate) failure: Option<String>,
    /// Latency at the load that was offered to all, one entry per round.
    pub(crate) latency: Vec<Quantiles>,
    /// Resident memory after the rounds.
    pub(crate) rss_kib: Option<u64>,
    /// System calls per request.
    pub(crate) syscalls: Option<f64>,
    /// CPU time per request under the load of h2load.
    pub(crate) by_h2load: Option<Duration>,
    /// The most sockets that were open at once.
    pub(crate) sockets: Option<usize>,
    /// Bytes of its access log.
    pub(crate) logged: u64,
}

impl Row {
    /// A row without samples yet.
    pub(crate) fn new(subject: &Subject) -> Self {
        let subject = subject.clone();
        Self {
            subject,
            samples: Vec::new(),
            failure: None,
            latency: Vec::new(),
            rss_kib: None,
            syscalls: None,
            by_h2load: None,
            sockets: None,
            logged: 0,
        }
    }

    /// Counts what the subject has logged since the last call, and empties the log.
    pub(crate) fn empty_log(&mut self) -> Result<()> {
        if let Some(log) = &self.subject.access_log {
            self.logged += log.take()?;
        }
        Ok(())
    }
}

/// How long a measurement may take beyond its window, for example to open ten thousand connections.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Measures every subject once in every round. Each round begins with another subject.
pub(crate) async fn interleave(
    env: &RunEnvironment,
    subjects: &[Subject],
    turn: impl AsyncFn(&Subject) -> Result<Sample>,
) -> Vec<Row> {
    let mut rows: Vec<Row> = subjects.iter().map(Row::new).collect();
    for round in 0..env.rounds {
        if round > 0 && !env.has_time() {
            break;
        }
        rows.rotate_left(1);
        for row in rows.iter_mut().filter(|row| row.failure.is_none()) {
            let patience = env.window + PATIENCE;
            let sample = timeout(patience, turn(&row.subject)).await;
            let sample =
                sample.unwrap_or_else(|_| Err(anyhow!("it was not done after {patience:?}")));
            match sample.and_then(|sample| row.empty_log().map(|()| sample)) {
                Ok(sample) => row.samples.push(sample),
                Err(error) => row.failure = Some(format!("{error:#}")),
            }
        }
    }
    let place = |row: &Row| {
        subjects
            .iter()
            .position(|subject| subject.name == row.subject.name)
    };
    rows.sort_by_key(place);
    rows
}

/// Keeps the generator's thread from sleeping during `work`. Waking a sleeping core can cost the
/// waker some microseconds (an interrupt that exits the virtual machine), and the subject would pay
/// for something that no real client causes.
pub(crate) async fn awake<T>(env: &RunEnvironment, work: impl Future<Output = T>) -> T {
    if env.cores.shared() {
        return work.await;
    }
    let never_idle = async {
        loop {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        result = work => result,
        never = never_idle => never,
    }
}

/// Measures a subject under this load for its window; each response counts as `piece` of work.
pub(crate) async fn under_load(
    env: &RunEnvironment,
    piece: f64,
    load: &Traffic,
    subject: &Subject,
) -> Result<Sample> {
    let measured = async |counters: &Counters| {
        let before = counters.received();
        let work = async || {
            sleep(load.window()).await;
            Ok((counters.answered() - before.answered) as f64 * piece)
        };
        let sample = watch(env, subject, work).await?;
        let received = Some(counters.received() - before);
        Ok(Sample { received, ..sample })
    };
    load.run(subject.reach, measured).await
}

/// Measures a subject during `work`, which returns the amount of work.
pub(crate) async fn watch(
    env: &RunEnvironment,
    subject: &Subject,
    work: impl AsyncFnOnce() -> Result<f64>,
) -> Result<Sample> {
    let spent = || subject.pid.map(cpu_time).transpose();
    let busy = || machine::busy(env.cores.subject);
    let (started, spent_before, busy_before) = (Instant::now(), spent()?, busy()?);
    let work = awake(env, work()).await?;
    let (wall, spent_after, busy_after) = (started.elapsed(), spent()?, busy()?);
    let cpu = spent_before
        .zip(spent_after)
        .map(|(before, after)| after - before);
    let of_others = busy_after
        .saturating_sub(busy_before)
        .saturating_sub(cpu.unwrap_or_default().total());
    Ok(Sample {
        work,
        wall,
        cpu,
        others: of_others.as_secs_f64() / wall.as_secs_f64(),
        received: None,
    })
}
