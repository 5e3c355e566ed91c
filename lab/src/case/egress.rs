//! Egress: one large transfer through SOCKS5 and through CONNECT.
//!
//! In:    the environment and the direction.
//! Out:   bytes per CPU-second.
//! Never: waits longer than a minute for a transfer.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::timeout;

use super::roles::{Roles, Subject};
use super::rounds::{Sample, interleave, watch};
use super::tables::{self, Unit};
use crate::environment::RunEnvironment;
use crate::load::bulk::{Way, transfer};
use crate::load::reach::Reach;
use crate::peers::{Logs, Program, microsocks, tinyproxy};
use crate::report::Section;

const SOCKS5: &str = "byway SOCKS5";
const CONNECT: &str = "byway CONNECT";

/// Measures the transfer.
pub(crate) async fn run(env: &RunEnvironment, way: Way) -> Result<Section> {
    let ours = |byway: &crate::byway::Byway| {
        vec![
            (SOCKS5, Reach::Socks5(byway.proxy)),
            (CONNECT, Reach::Connect(byway.proxy)),
        ]
    };
    let mut roles = Roles::begin(env, Logs::Off, ours).await?;
    roles.bound(env);
    roles
        .add(
            env,
            Program::Microsocks,
            "microsocks",
            SOCKS5,
            Reach::Socks5,
            microsocks::serve(env),
        )
        .await;
    roles
        .add(
            env,
            Program::Tinyproxy,
            "tinyproxy CONNECT",
            CONNECT,
            Reach::Connect,
            tinyproxy::serve(env),
        )
        .await;
    let rows = interleave(env, &roles.subjects, async |subject| {
        turn(env, way, subject).await
    })
    .await;
    let (title, what) = match way {
        Way::Down => ("Egress, download", "download"),
        Way::Up => ("Egress, upload", "upload"),
    };
    let size = env.bulk_bytes >> 20;
    let asks = format!(
        "What does one {what} of {size} MiB through the egress cost, and how fast does it go?"
    );
    let mut section = Section::new(title, &asks);
    tables::fill(&mut section, Unit::Bytes, env, &rows, &roles, None);
    section.note("CPU time is counted in ticks of 10 ms: a difference of a few per cent between rows is not significant.");
    roles.end().await?;
    Ok(section)
}

async fn turn(env: &RunEnvironment, way: Way, subject: &Subject) -> Result<Sample> {
    const PATIENCE: Duration = Duration::from_secs(60);
    let mut stream = subject.reach.open(env.origin()).await?;
    let work = async || {
        let moving = transfer(&mut stream, way, env.bulk_bytes, env.origin());
        timeout(PATIENCE, moving)
            .await
            .with_context(|| format!("not done within {PATIENCE:?}"))??;
        Ok(env.bulk_bytes as f64)
    };
    watch(env, subject, work).await
}
