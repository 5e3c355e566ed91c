//! Beside: how long a small fetch takes while a large download fills the path.
//!
//! In:    the path.
//! Out:   p50 and p99 of fetches of 1 KiB, each on a new connection; the rate of the download
//!        meanwhile.
//! Never: skips a fetch because an earlier one has not been answered.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use super::at_the_near_end;
use super::crossings::{Crossing, Way};
use super::results::{interleave, with_ends};
use crate::chart::Chart;
use crate::environment::RunEnvironment;
use crate::load::flow::{Flow, Watch};
use crate::load::visits::{Visit, Visits};
use crate::path::line::Line;
use crate::report::Section;
use crate::statistics::Quantiles;
use lab::shaping::shape::{Queue, Shape};

/// A path and its question.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    pub(super) title: &'static str,
    asks: &'static str,
    megabits: u64,
    queue: Duration,
}

pub(super) const PATHS: [Path; 2] = [
    Path {
        title: "Path, beside a download, 20 Mbit/s",
        asks: "How long does a fetch of 1 KiB take beside a download, on 20 Mbit/s at 50 ms round-trip time with a queue of 1 s?",
        megabits: 20,
        queue: Duration::from_secs(1),
    },
    Path {
        title: "Path, beside a download, 100 Mbit/s",
        asks: "How long does a fetch of 1 KiB take beside a download, on 100 Mbit/s at 50 ms round-trip time with a queue of 250 ms?",
        megabits: 100,
        queue: Duration::from_millis(250),
    },
];

const EVERY: Duration = Duration::from_millis(100);
/// A fetch that takes longer counts with this time.
const PATIENCE: Duration = Duration::from_secs(15);
/// The time until the first fetch: the download has filled the queue.
const LEAD: Duration = Duration::from_secs(4);

struct BesideRun {
    times: Quantiles,
    unanswered: usize,
    megabits: f64,
}

pub(super) async fn run(env: &RunEnvironment, path: Path) -> Result<Section> {
    let mut section = Section::new(path.title, path.asks);
    let ways = Way::all(env, &mut section);
    let length = LEAD + env.path_window() + PATIENCE;
    let all = interleave(env, ways, length, async |way, seed| {
        turn(env, path, way, seed).await
    })
    .await;
    section.head([
        "subject",
        "p99, ms",
        "p50, ms",
        "unanswered",
        "download, Mbit/s",
    ]);
    let mut chart = Chart::new(section.title(), "p99 in milliseconds; less is better");
    for results in &all {
        results.note(&mut section);
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        let figures = (
            results.spread(|turn| milliseconds(turn.times.p99)),
            results.spread(|turn| milliseconds(turn.times.p50)),
            results.spread(|turn| turn.megabits),
        );
        let (Some(p99), Some(p50), Some(rate)) = figures else {
            continue;
        };
        let unanswered: usize = results.turns.iter().map(|turn| turn.unanswered).sum();
        chart.bar(
            &results.way.name(),
            results.way.tone(),
            p99,
            format!("{:.0}", p99.median),
        );
        let cells = [
            with_ends(p99, 0),
            with_ends(p50, 0),
            unanswered.to_string(),
            with_ends(rate, 1),
        ];
        section.row([results.way.name()].into_iter().chain(cells));
    }
    section.chart(chart);
    section.note(format!(
        "Ten fetches a second, from connect to the last byte, starting {} s after the download. The minimum is two round trips of \
         50 ms for a new connection across the path, one over an existing link.",
        LEAD.as_secs()
    ));
    Ok(section)
}

async fn turn(env: &RunEnvironment, path: Path, way: &Way, seed: u64) -> Result<BesideRun> {
    let shape = Shape {
        queue: Queue::Time(path.queue),
        ..Shape::of_round_trip(50, path.megabits)
    };
    let mut line = Line::make(&shape, seed)?;
    at_the_near_end(&mut line, async |line| {
        let crossing = way.start(env, line).await?;
        let bulk = crossing.reach.open(crossing.target).await?;
        let watch = Watch::new(LEAD + env.path_window(), shape.rate);
        let (flow, fetched) = tokio::join!(
            Flow::watch(bulk, crossing.target, watch),
            fetches(&crossing, env.path_window())
        );
        crossing.stop().await?;
        if let Some(why) = flow.cut {
            anyhow::bail!("the download was cut: {why}");
        }
        let unanswered = fetched.iter().filter(|visit| !visit.answered).count();
        let took = |visit: &Visit| if visit.answered { visit.took } else { PATIENCE };
        let times = Quantiles::of(fetched.iter().map(took).collect());
        let times = times.unwrap_or(Quantiles {
            p50: PATIENCE,
            p99: PATIENCE,
        });
        Ok(BesideRun {
            times,
            unanswered,
            megabits: flow.megabits_from(LEAD),
        })
    })
    .await
}

/// Small fetches, started when the download has filled the queue.
async fn fetches(crossing: &Crossing, window: Duration) -> Vec<Visit> {
    sleep(LEAD).await;
    let visits = Visits {
        every: EVERY,
        window,
        patience: PATIENCE,
        bytes: 1024,
    };
    visits.run(crossing.reach, crossing.target).await
}
