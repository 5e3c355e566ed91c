//! Goodput: how much of a path one download gets.
//!
//! In:    the path, and how it changes when the download begins.
//! Out:   Mbit/s of the whole download and of its later part, cost of both ends, and how often the
//!        stream was cut.
//! Never: measures the start of a program or the handshake of a link: the path is clean until the
//!        link is up.

use std::time::Duration;

use anyhow::Result;
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::crossings::{Crossing, Way};
use super::results::{Results, interleave, with_ends};
use super::{at_the_near_end, simulator};
use crate::chart::Chart;
use crate::environment::RunEnvironment;
use crate::load::flow::{Flow, Watch};
use crate::path::line::{Account, Line};
use crate::report::Section;
use lab::shaping::plan::Plan;
use lab::shaping::shape::{Shape, Udp};

/// A path and what happens on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    /// The title in the report.
    pub(crate) title: &'static str,
    asks: &'static str,
    /// The path until the link is up.
    before: fn() -> Shape,
    /// What happens from the first request on.
    during: fn() -> Plan,
    /// An earlier download, if any.
    earlier: Option<Earlier>,
    /// Whether the download is stopped when the later part begins, and a second one takes its
    /// place.
    again: bool,
}

/// A download on another path, followed by a pause.
#[derive(Clone, Copy, Debug)]
struct Earlier {
    path: fn() -> Shape,
    lasts: Duration,
    pause: Duration,
}

impl Question {
    /// Nothing changes.
    pub(crate) const CLEAN: Self = Self {
        title: "Path, clean, 100 Mbit/s",
        asks: "What does a download get of 100 Mbit/s at 100 ms round-trip time, with a queue of 100 ms and no loss?",
        before: || Shape::of_round_trip(100, 100),
        during: Plan::default,
        earlier: None,
        again: false,
    };
    /// A fast path.
    pub(crate) const CLEAN_FAST: Self = Self {
        title: "Path, clean, 500 Mbit/s",
        asks: "What does a download get of 500 Mbit/s at 100 ms round-trip time, with a queue of 100 ms and no loss?",
        before: || Shape::of_round_trip(100, 500),
        during: Plan::default,
        earlier: None,
        again: false,
    };
    /// A path that only the machine limits.
    pub(crate) const CLEAN_SHORT: Self = Self {
        title: "Path, clean, no limit",
        asks: "What does a download get of a path without delay, limit or loss? The machine is the limit.",
        before: Shape::default,
        during: Plan::default,
        earlier: None,
        again: false,
    };
    /// One packet in a hundred is lost.
    pub(crate) const LOSS_1: Self = Self {
        title: "Path, 1 % loss",
        asks: "What does a download get of 100 Mbit/s at 100 ms round-trip time when 1 % of packets are lost at random, in both directions?",
        before: || Shape::of_round_trip(100, 100),
        during: || always(Shape::of_round_trip(100, 100).losing(0.01)),
        earlier: None,
        again: false,
    };
    /// The same after the link has had time to adapt.
    pub(crate) const LOSS_1_LATER: Self = Self {
        title: "Path, 1 % loss, later",
        asks: "What does a download get when another one has run for 15 s before it, at 1 % loss, 100 Mbit/s and 100 ms?",
        earlier: Some(Earlier {
            path: || Shape::of_round_trip(100, 100).losing(0.01),
            lasts: Duration::from_secs(15),
            pause: Duration::ZERO,
        }),
        ..Self::LOSS_1
    };
    /// One packet in twenty is lost.
    pub(crate) const LOSS_5: Self = Self {
        title: "Path, 5 % loss",
        asks: "The same with 5 % of packets lost.",
        before: || Shape::of_round_trip(100, 100),
        during: || always(Shape::of_round_trip(100, 100).losing(0.05)),
        earlier: None,
        again: false,
    };
    /// A short period of heavy loss.
    pub(crate) const BURST: Self = Self {
        title: "Path, a burst of loss",
        asks: "What does a download get of 500 Mbit/s at 100 ms round-trip time when 30 % of packets are lost for 300 ms, 4 s after its start?",
        before: || Shape::of_round_trip(100, 500),
        during: || {
            let shape = Shape::of_round_trip(100, 500);
            let lossy = shape.clone().losing(0.3);
            Plan::default().episode(
                Duration::from_secs(4),
                Duration::from_millis(300),
                &lossy,
                &shape,
            )
        },
        earlier: None,
        again: false,
    };
    /// Packets arrive late, and none is lost.
    pub(crate) const REORDER: Self = Self {
        title: "Path, reordering",
        asks: "What does a download get of 100 Mbit/s at 50 ms round-trip time when 1 % of packets are 3 ms late and none is lost?",
        before: || Shape::of_round_trip(50, 100),
        during: || always(Shape::of_round_trip(50, 100).reordering(0.01, Duration::from_millis(3))),
        earlier: None,
        again: false,
    };
    /// UDP is worse than TCP.
    pub(crate) const POLICED: Self = Self {
        title: "Path, policed UDP",
        asks: "What does a download get of 100 Mbit/s at 50 ms round-trip time when UDP is limited to 1 Mbit/s and loses 3 %, and TCP is not affected? The later figure is of a second download that begins after 5 s, because no stream moves to another carrier.",
        before: || Shape::of_round_trip(50, 100),
        during: || always(policed()),
        earlier: None,
        again: true,
    };
    /// UDP is worse than TCP, and was better before.
    pub(crate) const LOSSY_THEN_POLICED: Self = Self {
        title: "Path, lossy, idle, then policed UDP",
        asks: "The same on a path that lost 3 % of all packets in a download of 8 s and was then idle for 35 s: the earlier measurement of QUIC no longer holds.",
        earlier: Some(Earlier {
            path: || Shape::of_round_trip(50, 100).losing(0.03),
            lasts: Duration::from_secs(8),
            pause: Duration::from_secs(35),
        }),
        ..Self::POLICED
    };
    /// Large packets are dropped without an ICMP message.
    pub(crate) const MTU_HOLE: Self = Self {
        title: "Path, a hole for large packets",
        asks: "What does a download get when packets above 1,400 bytes are dropped from then on, without an ICMP message? 100 Mbit/s, 50 ms. The later figure is of a second download that begins after 5 s, because no stream over TCP survives this.",
        before: || Shape::of_round_trip(50, 100),
        during: || {
            always(Shape {
                mtu: Some(1400),
                ..Shape::of_round_trip(50, 100)
            })
        },
        earlier: None,
        again: true,
    };
}

fn policed() -> Shape {
    let udp = Udp::Policed {
        loss: 0.03,
        rate: 1_000_000,
        burst: 32_000,
    };
    Shape::of_round_trip(50, 100).with_udp(udp)
}

fn always(shape: Shape) -> Plan {
    Plan::default().both(Duration::ZERO, &shape)
}

/// One download.
struct GoodputRun {
    flow: Flow,
    cpu_seconds: Option<f64>,
    account: Account,
}

/// The time in which a download finds its rate, unless it is shorter.
const SETTLED: Duration = Duration::from_secs(5);

/// A smaller download gives no valid cost per byte.
const LEAST_FOR_COST: u64 = 1 << 20;

pub(super) async fn run(env: &RunEnvironment, question: Question) -> Result<Section> {
    let mut section = Section::new(question.title, question.asks);
    let (window, ways) = (env.path_window(), Way::all(env, &mut section));
    let all = interleave(env, ways, window, async |way, seed| {
        turn(env, question, way, seed).await
    })
    .await;
    let from = SETTLED.min(window / 2);
    let settled = format!("from {:.1} s on", from.as_secs_f64());
    section.head([
        "subject",
        "Mbit/s",
        &settled,
        "streams cut",
        "CPU-s per GB, both ends",
        "simulator",
        "packets down",
    ]);
    let mut chart = Chart::new(section.title(), "Mbit/s of one download; more is better");
    for results in &all {
        results.note(&mut section);
        row(&mut section, &mut chart, results, from, window);
    }
    section.chart(chart);
    section.note(format!(
        "{} of {:.0} s on an established link that has carried one request; the first figure includes the start. \
         Median, least and most of the rounds; packets of the last one.",
        if question.again { "Two downloads" } else { "A download" },
        window.as_secs_f64()
    ));
    Ok(section)
}

fn row(
    section: &mut Section,
    chart: &mut Chart,
    results: &Results<GoodputRun>,
    from: Duration,
    window: Duration,
) {
    let whole = results.spread(|turn| turn.flow.megabits_from(Duration::ZERO));
    let settled = results.spread(|turn| turn.flow.megabits_from(from));
    let (Some(whole), Some(settled), Some(last)) = (whole, settled, results.turns.last()) else {
        return;
    };
    let name = results.way.name();
    let cuts: Vec<_> = results
        .turns
        .iter()
        .filter_map(|turn| turn.flow.cut.clone())
        .collect();
    let costs = |turn: &GoodputRun| {
        let bytes = turn.flow.bytes_from(Duration::ZERO);
        (bytes >= LEAST_FOR_COST).then_some(turn.cpu_seconds? * 1e9 / bytes as f64)
    };
    let cost = results.turns.iter().filter_map(costs);
    let cost =
        crate::statistics::median(cost).map_or_else(|| "–".to_owned(), |cost| format!("{cost:.2}"));
    let busy = simulator(section, &name, &last.account, window.as_secs_f64());
    chart.bar(
        &name,
        results.way.tone(),
        whole,
        format!("{:.1}", whole.median),
    );
    section.row([
        name.clone(),
        with_ends(whole, 1),
        with_ends(settled, 1),
        format!("{} of {}", cuts.len(), results.turns.len()),
        cost,
        busy,
        last.account.down.words(),
    ]);
    if let Some(why) = cuts.first() {
        section.note(format!("{name}: {why}."));
    }
}

async fn watch(
    env: &RunEnvironment,
    question: Question,
    crossing: &Crossing,
    stream: TcpStream,
) -> Result<Flow> {
    let (window, rate) = (env.path_window(), (question.before)().rate);
    if !question.again {
        return Ok(Flow::watch(stream, crossing.target, Watch::new(window, rate)).await);
    }
    let first = SETTLED.min(window / 2);
    let flow = Flow::watch(stream, crossing.target, Watch::new(first, rate)).await;
    let stream = crossing.reach.open(crossing.target).await?;
    Ok(flow.then(Flow::watch(stream, crossing.target, Watch::new(window - first, rate)).await))
}

async fn turn(
    env: &RunEnvironment,
    question: Question,
    way: &Way,
    seed: u64,
) -> Result<GoodputRun> {
    let mut line = Line::make(&(question.before)(), seed)?;
    at_the_near_end(&mut line, async |line| {
        let crossing = way.start(env, line).await?;
        if let Some(Earlier { path, lasts, pause }) = question.earlier {
            line.begin(always(path()));
            let stream = crossing.reach.open(crossing.target).await?;
            drop(Flow::watch(stream, crossing.target, Watch::new(lasts, path().rate)).await);
            sleep(pause).await;
        }
        let stream = crossing.reach.open(crossing.target).await?;
        let (spent, before) = (crossing.cpu_seconds()?, line.account()?);
        line.begin((question.during)());
        let flow = watch(env, question, &crossing, stream).await?;
        let account = line.account()?.since(&before);
        let cpu_seconds = crossing
            .cpu_seconds()?
            .zip(spent)
            .map(|(after, before)| after - before);
        crossing.stop().await?;
        Ok(GoodputRun {
            flow,
            cpu_seconds,
            account,
        })
    })
    .await
}
