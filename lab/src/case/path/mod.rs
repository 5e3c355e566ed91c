//! Path: downloads and visits over a simulated path, through Byway's links and other ways to cross
//! it.
//!
//! `crossings` lists the ways, `goodput` measures how much of a path a download gets, `ceiling` the
//! capacity of the simulator itself, `fetch` how long small downloads take, `beside` how long they
//! take beside a large one, `fairness` how a download shares a path with a TCP connection, `outage`
//! the effects of a failing path, `paused` readers that pause. `results` runs the ways in turn.

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

/// Measures `question`, or notes why it cannot be measured here.
pub(super) async fn ask(
    env: &RunEnvironment,
    title: &str,
    question: impl AsyncFnOnce(&RunEnvironment) -> Result<Section>,
) -> Result<Section> {
    if let Err(error) = may_be_made() {
        let mut section = Section::new(title, "Not measured here.");
        section.note(format!("Left out: {error:#}."));
        return Ok(section);
    }
    // The ends of a path and the simulator share the machine; none of them is to have a core to
    // itself.
    machine::unpin()?;
    let section = question(env).await.with_context(|| title.to_owned());
    machine::pin(env.cores.load)?;
    section
}

/// The simulator's share of a core in this time, and a warning if the simulator itself has dropped
/// packets.
fn simulator(section: &mut Section, who: &str, account: &Account, seconds: f64) -> String {
    if account.faults() > 0 {
        section.note(format!(
            "**{who}: the simulator itself has dropped {} packets; the figure is invalid.**",
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

/// Runs `work` with the calling thread at the near end of the path.
async fn at_the_near_end<T>(
    line: &mut Line,
    work: impl AsyncFnOnce(&mut Line) -> Result<T>,
) -> Result<T> {
    let inside = line.near.enter()?;
    let done = work(line).await;
    inside.leave()?;
    done
}
