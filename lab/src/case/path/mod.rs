//! Path: downloads and visits over a simulated path, through Byway's links and the other ways to
//! cross it.
//!
//! `crossings` says who takes part, `goodput` how much of a path a download gets, `ceiling` how
//! much the simulator itself carries, `fetch` how long small downloads take, `beside` how long they
//! take beside a large one, `fairness` how a download shares a path with a TCP connection, `outage`
//! what is noticed when the path fails, `paused` what becomes of readers that pause. `results`
//! gives each way its turns.

mod beside;
mod ceiling;
mod crossings;
mod fairness;
mod fetch;
mod goodput;
mod outage;
mod paused;
mod results;

use anyhow::{Context, Result};

use crate::environment::RunEnvironment;
use crate::machine;
use crate::path::line::{Account, Line};
use crate::path::namespace::may_be_made;
use crate::report::Section;

pub(crate) use goodput::Question;
pub(crate) use outage::Outage;

/// Asks `question`, or says why it cannot be asked here.
pub(super) async fn ask(
    env: &RunEnvironment,
    title: &str,
    question: impl AsyncFnOnce(&RunEnvironment) -> Result<Section>,
) -> Result<Section> {
    if let Err(error) = may_be_made() {
        let mut section = Section::new(title, "Not asked here.");
        section.note(format!("Left out: {error:#}."));
        return Ok(section);
    }
    // The ends of a path and the simulator share the machine; no one of them is to have a core to
    // itself.
    machine::unpin()?;
    let asked = question(env).await.with_context(|| title.to_owned());
    machine::pin(env.cores.load)?;
    asked
}

/// The simulator's share of a core in this time, and a warning when packets are missing by its
/// fault.
fn simulator(section: &mut Section, who: &str, account: &Account, seconds: f64) -> String {
    if account.faults() > 0 {
        section.note(format!(
            "**{who}: the simulator has lost {} packets by itself; the figure is void.**",
            account.faults()
        ));
    }
    format!(
        "{:.0} %",
        account.cpu.total().as_secs_f64() / seconds * 100.0
    )
}

pub(super) async fn ceiling(env: &RunEnvironment) -> Result<Section> {
    ask(env, ceiling::TITLE, ceiling::run).await
}

pub(super) async fn goodput(env: &RunEnvironment, question: Question) -> Result<Section> {
    ask(env, question.title, async |env| {
        goodput::run(env, question).await
    })
    .await
}

pub(super) async fn fetch(env: &RunEnvironment) -> Result<Section> {
    ask(env, fetch::TITLE, fetch::run).await
}

pub(super) async fn beside(env: &RunEnvironment) -> Result<Vec<Section>> {
    let mut sections = Vec::new();
    for path in beside::PATHS {
        sections.push(ask(env, path.title, async |env| beside::run(env, path).await).await?);
    }
    Ok(sections)
}

pub(super) async fn fairness(env: &RunEnvironment) -> Result<Section> {
    ask(env, fairness::TITLE, fairness::run).await
}

pub(super) async fn outages(env: &RunEnvironment, outages: &[Outage]) -> Result<Vec<Section>> {
    let mut sections = Vec::new();
    for outage in outages {
        sections.push(
            ask(env, outage.title, async |env| {
                outage::run(env, *outage).await
            })
            .await?,
        );
    }
    Ok(sections)
}

pub(super) async fn paused_downloads(env: &RunEnvironment) -> Result<Section> {
    ask(env, paused::FINISHED, paused::finished).await
}

pub(super) async fn paused_readers(env: &RunEnvironment) -> Result<Section> {
    ask(env, paused::HELD, paused::held).await
}

/// A path for one turn of one subject, with the calling thread at its near end.
async fn at_the_near_end<T>(
    line: &mut Line,
    work: impl AsyncFnOnce(&mut Line) -> Result<T>,
) -> Result<T> {
    let inside = line.near.enter()?;
    let done = work(line).await;
    inside.leave()?;
    done
}
