//! Idle: the memory of connections that have carried one request and are now idle.
//!
//! Out:   resident memory of each program, without and with them.
//! Never: measures while bytes move.

use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::time::{sleep, timeout};

use super::proxy_rows::{OURS, ProxyRow};
use super::roles::{Roles, Subject};
use super::rounds::PATIENCE;
use super::tables;
use crate::chart::Chart;
use crate::environment::RunEnvironment;
use crate::load::hold;
use crate::load::reach::Reach;
use crate::load::traffic::Traffic;
use crate::peers::front::Edge;
use crate::peers::{Logs, Program, microsocks, tinyproxy};
use crate::process::{Memory, memory};
use crate::report::{Section, grouped};
use crate::statistics::Spread;

/// Keep-alive connections to an edge.
const VISITORS: usize = 10_000;
/// Streams through an egress, of two connections each.
const STREAMS: usize = 2000;

/// The idle time before memory is read.
const SETTLE: Duration = Duration::from_millis(500);

/// Measures reverse proxies.
pub(crate) async fn edges(env: &RunEnvironment) -> Result<Section> {
    let asks = format!(
        "How much memory do {} keep-alive connections cost a reverse proxy, each having carried one request of 1 KiB, \
         against none?",
        grouped(VISITORS as f64)
    );
    let mut table = Table::begin(
        "Edge, idle connections",
        &asks,
        VISITORS,
        Traffic::to_hold(env.origin(), None),
    );
    let roles = Roles::begin(env, Logs::On, |byway| {
        vec![(OURS, Reach::Plain(byway.edge))]
    })
    .await?;
    table.fill(roles).await?;
    let edge = Edge::plain(env.origin(), Logs::On);
    for proxy in ProxyRow::EACH {
        let mut roles = Roles::default();
        proxy.enter(&mut roles, env, &edge).await;
        table.fill(roles).await?;
    }
    table.section.note(
        "Each program has served nothing else before. The kernel's memory for sockets is in none of these figures.",
    );
    Ok(table.end())
}

/// Measures the egress.
pub(crate) async fn egress(env: &RunEnvironment) -> Result<Section> {
    let asks = format!(
        "How much memory do {} idle streams through an egress cost, each used once?",
        grouped(STREAMS as f64)
    );
    let mut table = Table::begin(
        "Egress, idle streams",
        &asks,
        STREAMS,
        Traffic::to_hold(env.origin(), None),
    );
    let ours = |byway: &crate::byway::Byway| vec![("byway SOCKS5", Reach::Socks5(byway.proxy))];
    table
        .fill(Roles::begin(env, Logs::Off, ours).await?)
        .await?;
    let mut roles = Roles::default();
    roles
        .add(
            env,
            Program::Microsocks,
            "microsocks",
            "",
            Reach::Socks5,
            microsocks::serve(env),
        )
        .await;
    roles
        .add(
            env,
            Program::Tinyproxy,
            "tinyproxy CONNECT",
            "",
            Reach::Connect,
            tinyproxy::serve(env),
        )
        .await;
    table.fill(roles).await?;
    table
        .section
        .note("A stream is two sockets; their kernel memory is in none of these figures.");
    Ok(table.end())
}

/// The table under construction.
pub(super) struct Table {
    pub(super) section: Section,
    chart: Chart,
    count: usize,
    traffic: Traffic,
    /// KiB per connection of our row, which comes first.
    ours: Option<(String, f64)>,
}

impl Table {
    /// An empty table about this many connections.
    pub(super) fn begin(title: &str, asks: &str, count: usize, traffic: Traffic) -> Self {
        let mut section = Section::new(title, asks);
        section.head([
            "subject",
            "RSS before, MiB",
            "RSS with them",
            "KiB per connection",
            "of it anonymous",
            "threads",
        ]);
        let chart = Chart::new(title, "resident KiB a connection; less is better");
        Self {
            section,
            chart,
            count,
            traffic,
            ours: None,
        }
    }

    /// Measures freshly started programs, and stops them.
    pub(super) async fn fill(&mut self, roles: Roles) -> Result<()> {
        for subject in &roles.subjects {
            let held = timeout(PATIENCE, hold(subject, self.count, &self.traffic)).await;
            match held.unwrap_or_else(|_| Err(anyhow!("they were not open after {PATIENCE:?}"))) {
                Ok((before, with)) => self.row(subject, before, with),
                Err(error) => self
                    .section
                    .note(format!("{} failed: {error:#}.", subject.name)),
            }
        }
        tables::left_out(&mut self.section, &roles);
        roles.end().await
    }

    fn row(&mut self, subject: &Subject, before: Memory, with: Memory) {
        let each = |before: u64, with: u64| (with as f64 - before as f64) / self.count as f64;
        let resident = each(before.rss_kib, with.rss_kib);
        let mebibytes = |kib: u64| format!("{:.1}", kib as f64 / 1024.0);
        let text = format!("{resident:.1}");
        // A negative value means that the program has returned memory in the meantime.
        self.chart.bar(
            &subject.name,
            subject.role.tone(),
            Spread::single(resident.max(0.0)),
            text.clone(),
        );
        match &self.ours {
            Some((name, mine)) => {
                let answer = tables::less_is_better(
                    (name, *mine),
                    (&subject.name, resident),
                    "KiB a connection",
                );
                self.section.answer(answer);
            }
            None => self.ours = Some((subject.name.clone(), resident)),
        }
        self.section.row([
            subject.name.clone(),
            mebibytes(before.rss_kib),
            mebibytes(with.rss_kib),
            text,
            format!("{:.1}", each(before.anonymous_kib, with.anonymous_kib)),
            grouped(with.threads as f64),
        ]);
    }

    /// The finished section.
    pub(super) fn end(mut self) -> Section {
        self.section.chart(self.chart);
        self.section
    }
}

async fn hold(subject: &Subject, count: usize, traffic: &Traffic) -> Result<(Memory, Memory)> {
    let pid = subject
        .pid
        .ok_or_else(|| anyhow::anyhow!("it is not a process"))?;
    sleep(SETTLE).await;
    let before = memory(pid)?;
    let held = hold::open(subject.reach, count, traffic).await?;
    sleep(SETTLE).await;
    let with = memory(pid)?;
    drop(held);
    Ok((before, with))
}
