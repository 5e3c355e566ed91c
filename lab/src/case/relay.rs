//! Relay: one bulk flow of plain TCP through a forward that parses nothing.
//!
//! In:    the environment and the direction.
//! Out:   bytes per CPU-second of each relay, beside a loop that only splices.
//! Never: counts a connect.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{Instant, timeout};

use super::roles::{Roles, Subject, SubjectRole};
use super::rounds::{Sample, interleave, watch};
use super::tables::{self, Unit};
use crate::environment::RunEnvironment;
use crate::load::bulk::{Way, transfer};
use crate::load::reach::Reach;
use crate::peers::{Logs, Program, haproxy, nginx, splice};
use crate::report::Section;

const OURS: &str = "byway tcp";

/// Measures the relays.
pub(crate) async fn run(env: &RunEnvironment, way: Way) -> Result<Section> {
    let mut roles = Roles::begin(env, Logs::Off, |byway| {
        vec![(OURS, Reach::Plain(byway.tcp))]
    })
    .await?;
    let bare = splice::serve(env);
    roles
        .start(
            env,
            SubjectRole::Floor,
            "floor: a bare splice loop",
            OURS,
            Reach::Plain,
            bare,
        )
        .await;
    roles.ceiling(env);
    roles
        .add(
            env,
            Program::Haproxy,
            "haproxy, TCP, splice",
            OURS,
            Reach::Plain,
            haproxy::forward(env),
        )
        .await;
    roles
        .add(
            env,
            Program::Nginx,
            "nginx stream",
            OURS,
            Reach::Plain,
            nginx::forward(env),
        )
        .await;
    let rows = interleave(env, &roles.subjects, async |subject| {
        turn(env, way, subject).await
    })
    .await;
    let (title, what) = match way {
        Way::Down => ("Relay, download", "from the origin"),
        Way::Up => ("Relay, upload", "to the origin"),
    };
    let asks = format!(
        "What does one bulk flow {what} cost a TCP relay, against a loop that does nothing but splice?"
    );
    let mut section = Section::new(title, &asks);
    tables::fill(&mut section, Unit::Bytes, env, &rows, &roles, None);
    section.note(format!(
        "Transfers of {} MiB, one after the other on one connection, for {:?} or longer.",
        env.bulk_bytes >> 20,
        env.window
    ));
    roles.end().await?;
    Ok(section)
}

async fn turn(env: &RunEnvironment, way: Way, subject: &Subject) -> Result<Sample> {
    const PATIENCE: Duration = Duration::from_secs(60);
    let mut stream = subject.reach.open(env.origin()).await?;
    let work = async || {
        let (started, mut moved) = (Instant::now(), 0.0);
        while moved == 0.0 || started.elapsed() < env.window {
            let moving = transfer(&mut stream, way, env.bulk_bytes, env.origin());
            timeout(PATIENCE, moving)
                .await
                .with_context(|| format!("not done within {PATIENCE:?}"))??;
            moved += env.bulk_bytes as f64;
        }
        Ok(moved)
    };
    watch(env, subject, work).await
}
