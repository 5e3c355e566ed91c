//! Relay: one bulk flow of plain TCP through a forward that parses nothing.
//!
//! In:    the setting and the direction.
//! Out:   bytes per CPU-second of each relay, beside a loop that only splices.
//! Never: counts a connect.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{Instant, timeout};

use super::cast::{Cast, Part, Subject};
use super::figures::{self, Unit};
use super::rounds::{Sample, interleave, watch};
use crate::load::bulk::{Way, transfer};
use crate::load::reach::Reach;
use crate::peers::{Logs, Program, haproxy, nginx, splice};
use crate::report::Section;
use crate::setting::Setting;

const OURS: &str = "byway tcp";

/// Asks it.
pub(crate) async fn run(setting: &Setting, way: Way) -> Result<Section> {
    let mut cast = Cast::begin(setting, Logs::Off, |byway| {
        vec![(OURS, Reach::Plain(byway.tcp))]
    })
    .await?;
    let bare = splice::serve(setting);
    cast.start(
        setting,
        Part::Floor,
        "floor: a bare splice loop",
        OURS,
        Reach::Plain,
        bare,
    )
    .await;
    cast.ceiling(setting);
    cast.add(
        setting,
        Program::Haproxy,
        "haproxy, TCP, splice",
        OURS,
        Reach::Plain,
        haproxy::forward(setting),
    )
    .await;
    cast.add(
        setting,
        Program::Nginx,
        "nginx stream",
        OURS,
        Reach::Plain,
        nginx::forward(setting),
    )
    .await;
    let rows = interleave(setting, &cast.subjects, async |subject| {
        turn(setting, way, subject).await
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
    figures::fill(&mut section, Unit::Bytes, setting, &rows, &cast, None);
    section.note(format!(
        "Transfers of {} MiB follow each other on one connection for {:?} or longer.",
        setting.bulk_bytes >> 20,
        setting.window
    ));
    cast.end().await?;
    Ok(section)
}

async fn turn(setting: &Setting, way: Way, subject: &Subject) -> Result<Sample> {
    const PATIENCE: Duration = Duration::from_secs(60);
    let mut stream = subject.reach.open(setting.origin()).await?;
    let work = async || {
        let (begun, mut moved) = (Instant::now(), 0.0);
        while moved == 0.0 || begun.elapsed() < setting.window {
            let moving = transfer(&mut stream, way, setting.bulk_bytes, setting.origin());
            timeout(PATIENCE, moving)
                .await
                .with_context(|| format!("not done within {PATIENCE:?}"))??;
            moved += setting.bulk_bytes as f64;
        }
        Ok(moved)
    };
    watch(setting, subject, work).await
}
