//! Tunnels: the cost of an exposed TCP service through Byway's link and through other tunnels, both
//! ends together.
//!
//! Out:   CPU time of bulk transfers each way and of streams opened, and how Byway's work per
//!        CPU-second compares.
//! Never: lets one tunnel work while another is measured.

use anyhow::{Context, Result};
use tokio::time::timeout;

use super::link::{ENDS_PATIENCE, OPENED_STREAMS, median};
use super::tables;
use crate::chart::{Chart, Tone};
use crate::environment::RunEnvironment;
use crate::load::bulk::{Way, transfer};
use crate::load::hold;
use crate::load::reach::Reach;
use crate::load::traffic::Traffic;
use crate::peers::frp::Transport;
use crate::peers::{BothEnds, Program, frp, rathole};
use crate::process::{Process, cpu_time};
use crate::report::Section;
use crate::statistics::Spread;
use crate::two_nodes::{LinkUse, TwoNodes};

/// One tunnel, and the CPU time of its ends: seconds per round, for each of [`QUESTIONS`].
struct Tunnel {
    name: String,
    near: Process,
    far: Process,
    reach: Reach,
    spent: [Vec<f64>; QUESTIONS.len()],
}

/// What is measured of each tunnel in each round.
const QUESTIONS: [Question; 3] = [
    Question::Bulk(Way::Down),
    Question::Bulk(Way::Up),
    Question::Opened,
];

#[derive(Clone, Copy)]
enum Question {
    Bulk(Way),
    Opened,
}

/// Measures all tunnels.
pub(crate) async fn run(env: &RunEnvironment) -> Result<Section> {
    let size = env.bulk_bytes >> 20;
    let asks = format!(
        "What does exposed TCP cost, server and agent together: {size} MiB down, {size} MiB up, and \
         {OPENED_STREAMS} times connect, one request, close?"
    );
    let mut section = Section::new("Tunnels", &asks);
    let mut tunnels = start(env, &mut section).await?;
    for _ in 0..env.rounds {
        for tunnel in &mut tunnels {
            for (place, question) in QUESTIONS.into_iter().enumerate() {
                let cost = tunnel
                    .ask(env, question)
                    .await
                    .with_context(|| tunnel.name.clone())?;
                tunnel.spent[place].push(cost);
            }
        }
    }
    section.head([
        "tunnel",
        "down, CPU-s/GB",
        "up, CPU-s/GB",
        "opened, CPU-us",
        "byway ÷ it, down",
        "byway ÷ it, up",
        "byway ÷ it, opened",
    ]);
    let scale = [
        1e9 / env.bulk_bytes as f64,
        1e9 / env.bulk_bytes as f64,
        1e6 / OPENED_STREAMS as f64,
    ];
    let costs: Vec<_> = tunnels
        .iter()
        .map(|tunnel| tunnel.spent.each_ref().map(|spent| median(spent.clone())))
        .collect();
    let mut chart = Chart::new(
        section.title(),
        "CPU-seconds per GB down, both ends; less is better",
    );
    for (tunnel, cost) in tunnels.iter().zip(&costs) {
        let tone = if tunnel.name.starts_with("byway") {
            Tone::Ours
        } else {
            Tone::Peer
        };
        let spread = Spread::of(tunnel.spent[0].iter().map(|spent| spent * scale[0]));
        spread.into_iter().for_each(|spread| {
            chart.bar(&tunnel.name, tone, spread, format!("{:.2}", spread.median))
        });
        let figure = |place: usize| {
            format!(
                "{:.*}",
                if place == 2 { 0 } else { 2 },
                cost[place] * scale[place]
            )
        };
        // Work per CPU-second: its CPU time divided by byway's for the same work.
        let ratio = |place: usize| {
            costs.first().map_or_else(String::new, |ours| {
                format!("{:.2}", cost[place] / ours[place])
            })
        };
        if tone == Tone::Peer {
            let words = [
                "bytes down per CPU-second",
                "bytes up per CPU-second",
                "opened streams per CPU-second",
            ];
            for (place, what) in words.into_iter().enumerate() {
                let ratio = costs.first().map_or(1.0, |ours| cost[place] / ours[place]);
                section.answer(tables::more_is_better(
                    "byway, tls",
                    &tunnel.name,
                    ratio,
                    what,
                ));
            }
        }
        section.row([
            tunnel.name.clone(),
            figure(0),
            figure(1),
            figure(2),
            ratio(0),
            ratio(1),
            ratio(2),
        ]);
    }
    section.chart(chart);
    section.note(
        "The ratios compare the first row, byway over TLS, with each. All are encrypted. Byway checks a key at \
                  both ends, rathole a certificate at one, frp in its default configuration nothing.",
    );
    for tunnel in tunnels {
        tunnel.near.stop().await?;
        tunnel.far.stop().await?;
    }
    Ok(section)
}

async fn start(env: &RunEnvironment, section: &mut Section) -> Result<Vec<Tunnel>> {
    let mut tunnels = Vec::new();
    for carrier in ["tls", "quic"] {
        let TwoNodes {
            near, far, reach, ..
        } = TwoNodes::start(env, LinkUse::Expose, carrier).await?;
        tunnels.push(Tunnel::new(&format!("byway, {carrier}"), near, far, reach));
    }
    let frp = |transport| frp::expose(env, transport);
    tunnels.extend(
        peer(
            env,
            section,
            Program::Rathole,
            "rathole, TLS",
            rathole::expose(env),
        )
        .await,
    );
    tunnels.extend(
        peer(
            env,
            section,
            Program::Frpc,
            "frp, TLS and yamux",
            frp(Transport::Mux),
        )
        .await,
    );
    let alone = frp(Transport::Connections);
    tunnels.extend(
        peer(
            env,
            section,
            Program::Frpc,
            "frp, a TLS connection per visitor",
            alone,
        )
        .await,
    );
    tunnels.extend(
        peer(
            env,
            section,
            Program::Frpc,
            "frp, QUIC",
            frp(Transport::Quic),
        )
        .await,
    );
    Ok(tunnels)
}

/// A peer whose origin answers, or a note why it is missing.
async fn peer(
    env: &RunEnvironment,
    section: &mut Section,
    program: Program,
    name: &str,
    start: impl Future<Output = Result<BothEnds>>,
) -> Option<Tunnel> {
    if !env.takes(name) {
        return None;
    }
    if program.path().is_none() {
        section.note(format!(
            "Left out: {name} is not installed: {}.",
            program.remedy()
        ));
        return None;
    }
    let started = async {
        let BothEnds {
            near,
            mut far,
            entry,
        } = start.await?;
        let reach = Reach::Plain(entry);
        far.until(async |_| reach.answers(env.origin()).await)
            .await?;
        anyhow::Ok(Tunnel::new(name, near, far, reach))
    };
    match started.await {
        Ok(tunnel) => Some(tunnel),
        Err(error) => {
            section.note(format!("Left out: {name} did not start: {error:#}."));
            None
        }
    }
}

impl Tunnel {
    fn new(name: &str, near: Process, far: Process, reach: Reach) -> Self {
        Self {
            name: name.to_owned(),
            near,
            far,
            reach,
            spent: Default::default(),
        }
    }

    /// CPU-seconds of both ends for one question.
    async fn ask(&self, env: &RunEnvironment, question: Question) -> Result<f64> {
        let origin = env.origin();
        let used = || {
            anyhow::Ok(
                (cpu_time(self.near.pid())?.total() + cpu_time(self.far.pid())?.total())
                    .as_secs_f64(),
            )
        };
        let before;
        match question {
            Question::Bulk(way) => {
                let mut stream = self.reach.open(origin).await?;
                before = used()?;
                timeout(
                    ENDS_PATIENCE,
                    transfer(&mut stream, way, env.bulk_bytes, origin),
                )
                .await??;
            }
            Question::Opened => {
                before = used()?;
                drop(
                    timeout(
                        ENDS_PATIENCE,
                        hold::open(self.reach, OPENED_STREAMS, &Traffic::to_hold(origin, None)),
                    )
                    .await??,
                );
            }
        }
        Ok(used()? - before)
    }
}
