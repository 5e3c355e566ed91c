//! Slow: what a thousand clients on slow lines cost the others.
//!
//! Out:   ordinary requests of each reverse proxy, alone and beside heads that never end.
//! Never: measures before all slow clients are connected.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use anyhow::{Result, bail};

use super::proxy_rows::{OURS, ProxyRow};
use super::roles::{Roles, Subject, SubjectRole};
use super::rounds::{Row, Sample, interleave, under_load};
use super::tables;
use crate::chart::Chart;
use crate::environment::RunEnvironment;
use crate::load::keepalive::Keepalive;
use crate::load::reach::Reach;
use crate::load::request::Request;
use crate::load::slowloris::Slowloris;
use crate::load::traffic::Traffic;
use crate::peers::Logs;
use crate::peers::front::Edge;
use crate::report::{Section, grouped};
use crate::statistics::{Spread, median};

const VISITORS: usize = 1000;

/// Measures the reverse proxies.
pub(crate) async fn run(env: &RunEnvironment) -> Result<Section> {
    let asks = format!(
        "What is left of 1 KiB keep-alive GETs at 64 connections while {} other visitors send a head of a byte every half \
         second?",
        grouped(VISITORS as f64)
    );
    let mut roles = Roles::begin(env, Logs::On, |byway| {
        vec![(OURS, Reach::Plain(byway.edge))]
    })
    .await?;
    let edge = Edge::plain(env.origin(), Logs::On);
    for proxy in ProxyRow::EACH {
        proxy.enter(&mut roles, env, &edge).await;
    }
    let load = Traffic::Http1(Keepalive {
        origin: env.origin(),
        connections: 64,
        request: Request::get(1024, env.origin()),
        tls: None,
        window: env.window,
    });
    let alone = interleave(env, &roles.subjects, async |subject| {
        under_load(env, 1.0, &load, subject).await
    })
    .await;
    let closed = AtomicUsize::new(0);
    let beside = async |subject: &Subject| beside_slow(env, &load, subject, &closed).await;
    let beside = interleave(env, &roles.subjects, beside).await;
    let mut section = Section::new("Edge, slow visitors", &asks);
    fill(&mut section, &alone, &beside);
    tables::left_out(&mut section, &roles);
    if closed.into_inner() > 0 {
        section.note(
            "The program closed some slow connections during the measurement; each client reconnected after a second.",
        );
    }
    section.note(
        "The second figure of every subject includes reading 2,000 slow bytes a second. All programs wait 30 s for a head: \
         longer than a measurement.",
    );
    roles.end().await?;
    Ok(section)
}

async fn beside_slow(
    env: &RunEnvironment,
    load: &Traffic,
    subject: &Subject,
    closed: &AtomicUsize,
) -> Result<Sample> {
    let Reach::Plain(to) = subject.reach else {
        bail!("an edge is reached without a proxy protocol")
    };
    let slow = Slowloris::start(to, VISITORS).await?;
    let sample = under_load(env, 1.0, load, subject).await;
    closed.fetch_add(slow.closed(), Relaxed);
    sample
}

fn fill(section: &mut Section, alone: &[Row], beside: &[Row]) {
    section.head([
        "subject",
        "requests per CPU-s alone",
        "beside slow visitors",
        "kept",
        "requests/s alone",
        "beside",
    ]);
    let mut chart = Chart::new(
        section.title(),
        "requests per CPU-second beside the slow visitors; more is better",
    );
    let per_cpu = |row: &Row| Spread::of(row.samples.iter().filter_map(tables::per_cpu));
    let rate = |row: &Row| {
        median(row.samples.iter().map(tables::rate)).map_or_else(|| "–".to_owned(), grouped)
    };
    // Byway is the first row.
    let mut ours = None;
    for (alone, beside) in alone.iter().zip(beside) {
        for failure in [&alone.failure, &beside.failure].into_iter().flatten() {
            section.note(format!("{} failed: {failure}.", alone.subject.name));
        }
        let (Some(before), Some(with)) = (per_cpu(alone), per_cpu(beside)) else {
            continue;
        };
        chart.bar(
            &beside.subject.name,
            beside.subject.role.tone(),
            with,
            grouped(with.median),
        );
        match (beside.subject.role, ours) {
            (SubjectRole::Ours, _) => ours = Some(with.median),
            (_, Some(ours)) => {
                let what = "requests per CPU-second beside slow visitors";
                section.answer(tables::more_is_better(
                    OURS,
                    &beside.subject.name,
                    ours / with.median,
                    what,
                ));
            }
            (_, None) => {}
        }
        section.row([
            beside.subject.name.clone(),
            grouped(before.median),
            grouped(with.median),
            format!("{:.0} %", with.median / before.median * 100.0),
            rate(alone),
            rate(beside),
        ]);
    }
    section.chart(chart);
}
