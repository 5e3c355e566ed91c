//! Egress: one large transfer through SOCKS5 and through CONNECT.
//!
//! In:    the setting and the direction.
//! Out:   bytes per CPU-second.
//! Never: waits longer than a minute for one.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::timeout;

use super::cast::{Cast, Subject};
use super::figures::{self, Unit};
use super::rounds::{Sample, interleave, watch};
use crate::load::bulk::{Way, transfer};
use crate::load::reach::Reach;
use crate::peers::{Logs, Program, microsocks, tinyproxy};
use crate::report::Section;
use crate::setting::Setting;

const SOCKS5: &str = "byway SOCKS5";
const CONNECT: &str = "byway CONNECT";

/// Asks it.
pub(crate) async fn run(setting: &Setting, way: Way) -> Result<Section> {
    let ours = |byway: &crate::byway::Byway| {
        vec![
            (SOCKS5, Reach::Socks5(byway.proxy)),
            (CONNECT, Reach::Connect(byway.proxy)),
        ]
    };
    let mut cast = Cast::begin(setting, Logs::Off, ours).await?;
    cast.bound(setting);
    cast.add(
        setting,
        Program::Microsocks,
        "microsocks",
        SOCKS5,
        Reach::Socks5,
        microsocks::serve(setting),
    )
    .await;
    cast.add(
        setting,
        Program::Tinyproxy,
        "tinyproxy CONNECT",
        CONNECT,
        Reach::Connect,
        tinyproxy::serve(setting),
    )
    .await;
    let rows = interleave(setting, &cast.subjects, async |subject| {
        turn(setting, way, subject).await
    })
    .await;
    let (title, what) = match way {
        Way::Down => ("Egress, download", "download"),
        Way::Up => ("Egress, upload", "upload"),
    };
    let size = setting.bulk_bytes >> 20;
    let asks = format!(
        "What does one {what} of {size} MiB through the egress cost, and how fast does it go?"
    );
    let mut section = Section::new(title, &asks);
    figures::fill(&mut section, Unit::Bytes, setting, &rows, &cast, None);
    section.note("CPU time is counted in ticks of 10 ms: a difference of a few per cent between rows says nothing.");
    cast.end().await?;
    Ok(section)
}

async fn turn(setting: &Setting, way: Way, subject: &Subject) -> Result<Sample> {
    const PATIENCE: Duration = Duration::from_secs(60);
    let mut stream = subject.reach.open(setting.origin()).await?;
    let work = async || {
        let moving = transfer(&mut stream, way, setting.bulk_bytes, setting.origin());
        timeout(PATIENCE, moving)
            .await
            .with_context(|| format!("not done within {PATIENCE:?}"))??;
        Ok(setting.bulk_bytes as f64)
    };
    watch(setting, subject, work).await
}
