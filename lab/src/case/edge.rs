//! Edge: HTTP/1.1 with keep-alive on both sides, in clear, without access logs on any side.
//!
//! In:    the setting.   Out: work per CPU-second of each reverse proxy.   Never: lets a wrong answer count.

use std::sync::atomic::Ordering::Relaxed;

use anyhow::Result;
use tokio::time::sleep;

use super::cast::{Cast, Subject};
use super::figures::{self, Unit};
use super::rounds::{Sample, interleave, watch};
use crate::load::keepalive::Keepalive;
use crate::load::reach::Reach;
use crate::peers::haproxy::Bodies;
use crate::peers::{Fields, Program, haproxy, nginx};
use crate::report::Section;
use crate::setting::Setting;

/// How large the bodies are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// 1 KiB.
    Small,
    /// 1 MiB.
    Large,
}

const OURS: &str = "byway edge";

/// Asks it.
pub(crate) async fn run(setting: &Setting, size: Size) -> Result<Section> {
    let cast = cast(setting, size).await?;
    let load = Keepalive {
        origin: setting.origin(),
        connections: if size == Size::Small { 64 } else { 16 },
        body_bytes: if size == Size::Small { 1024 } else { 1 << 20 },
        window: setting.window,
    };
    let rows = interleave(setting, &cast.subjects, async |subject| turn(setting, size, &load, subject).await).await;
    let (title, asks, unit) = match size {
        Size::Small => (
            "Edge, HTTP/1.1, 1 KiB",
            "How many keep-alive GETs of 1 KiB does one CPU-second of the reverse proxy carry, at 64 connections?",
            Unit::Requests,
        ),
        Size::Large => (
            "Edge, HTTP/1.1, 1 MiB",
            "How many GB of 1 MiB responses does one CPU-second of the reverse proxy carry, at 16 connections?",
            Unit::Bytes,
        ),
    };
    let mut section = Section::new(title, asks);
    figures::fill(&mut section, unit, setting.rounds, &rows, &cast);
    section.note(
        "Byway always adds X-Forwarded-For, -Proto, -Host, X-Real-IP, X-Request-Id and Via. The peers add \
         X-Forwarded-For alone, but where the row says `same fields`.",
    );
    cast.end().await?;
    Ok(section)
}

async fn cast(setting: &Setting, size: Size) -> Result<Cast> {
    let mut cast = Cast::begin(setting, |byway| vec![(OURS, Reach::Plain(byway.edge))]).await?;
    let nginx = nginx::serve(setting, Fields::Least);
    cast.add(Program::Nginx, "nginx", OURS, Reach::Plain, nginx).await;
    let haproxy = match size {
        Size::Small => haproxy::serve(setting, Fields::Least, Bodies::Small),
        Size::Large => haproxy::serve(setting, Fields::Least, Bodies::Buffered),
    };
    cast.add(Program::Haproxy, "haproxy", OURS, Reach::Plain, haproxy).await;
    if size == Size::Large {
        let spliced = haproxy::serve(setting, Fields::Least, Bodies::Spliced);
        cast.add(Program::Haproxy, "haproxy, splice", OURS, Reach::Plain, spliced).await;
        return Ok(cast);
    }
    let nginx = nginx::serve(setting, Fields::AsByway);
    cast.add(Program::Nginx, "nginx, same fields", OURS, Reach::Plain, nginx).await;
    let haproxy = haproxy::serve(setting, Fields::AsByway, Bodies::Small);
    cast.add(Program::Haproxy, "haproxy, same fields", OURS, Reach::Plain, haproxy).await;
    Ok(cast)
}

async fn turn(setting: &Setting, size: Size, load: &Keepalive, subject: &Subject) -> Result<Sample> {
    let piece = if size == Size::Small { 1.0 } else { load.body_bytes as f64 };
    let measured = async |answered: &std::sync::atomic::AtomicU64| {
        let work = async || {
            let before = answered.load(Relaxed);
            sleep(load.window).await;
            Ok((answered.load(Relaxed) - before) as f64 * piece)
        };
        watch(setting, subject, work).await
    };
    load.run(subject.reach, measured).await
}
