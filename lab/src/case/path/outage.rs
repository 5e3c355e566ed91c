//! Outage: the effects on visits, downloads and uploads when a path goes silent, changes its
//! address or loses UDP.
//!
//! In:    the path, what happens to it, and when it is restored.
//! Out:   visits that failed, the longest wait, the time to recover; downloads that were cut or are
//!        stalled at the end, and uploads that failed.
//! Never: counts a late response as a failure: a client waits for [`PATIENCE`].

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{Instant, sleep_until, timeout};

use super::at_the_near_end;
use super::crossings::{Crossing, Way};
use super::results::{Results, interleave, with_ends};
use crate::chart::Chart;
use crate::environment::RunEnvironment;
use crate::load::answer::Answer;
use crate::load::flow::{Flow, Watch};
use crate::load::keepalive::exchange;
use crate::load::request::Request;
use crate::load::visits::{Visit, Visits};
use crate::path::line::Line;
use crate::report::Section;
use lab::shaping::plan::Plan;
use lab::shaping::shape::{Shape, Udp};

/// How long clients wait.
const PATIENCE: Duration = Duration::from_secs(30);
const EVERY: Duration = Duration::from_millis(100);
/// The time from the first visit to the event.
const LEAD: Duration = Duration::from_secs(3);
const DOWNLOADS: usize = 2;
/// A download that receives nothing for this long at the end of its time has stalled.
const STALLED: Duration = Duration::from_secs(2);
const UPLOAD_BYTES: u64 = 1 << 20;

/// An event on a path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outage {
    /// The title in the report.
    pub(crate) title: &'static str,
    asks: &'static str,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    /// Nothing passes for this long.
    Hole(Duration),
    /// Nothing passes for the first duration, everything for the second, repeated until the third.
    Flapping(Duration, Duration, Duration),
    /// No UDP passes from then on.
    UdpDies,
    /// The near end changes its address.
    NewAddress,
}

const fn hole(title: &'static str, asks: &'static str, milliseconds: u64) -> Outage {
    Outage {
        title,
        asks,
        what: What::Hole(Duration::from_millis(milliseconds)),
    }
}

impl Outage {
    /// Short holes, which streams should survive.
    pub(crate) const HOLES: [Self; 3] = [
        hole(
            "Path, silent for 5 s",
            "What is noticed when nothing passes for 5 s?",
            5_000,
        ),
        hole(
            "Path, silent for 7 s",
            "What is noticed when nothing passes for 7 s?",
            7_000,
        ),
        hole(
            "Path, silent for 9.5 s",
            "What is noticed when nothing passes for 9.5 s?",
            9_500,
        ),
    ];
    /// A long hole, which no stream survives.
    pub(crate) const LONG: Self = hole(
        "Path, silent for 100 s",
        "How soon is a visitor answered again when nothing has passed for 100 s?",
        100_000,
    );
    /// Silent and working alternately.
    pub(crate) const FLAPPING: Self = Self {
        title: "Path, flapping",
        asks: "What is noticed when the path is silent for 9 s and works for 6 s, four times?",
        what: What::Flapping(
            Duration::from_secs(9),
            Duration::from_secs(6),
            Duration::from_secs(60),
        ),
    };
    /// A firewall starts to block UDP.
    pub(crate) const UDP_DIES: Self = Self {
        title: "Path, UDP dies",
        asks: "What is noticed when UDP dies under a link that works?",
        what: What::UdpDies,
    };
    /// The client moves to another network.
    pub(crate) const NEW_ADDRESS: Self = Self {
        title: "Path, a new address",
        asks: "What is noticed when the near end loses its address and gets another immediately?",
        what: What::NewAddress,
    };

    fn shape() -> Shape {
        Shape::of_round_trip(50, 100)
    }

    fn plan(&self) -> Plan {
        let shape = Self::shape();
        match self.what {
            What::Hole(length) => {
                Plan::default().episode(Duration::ZERO, length, &shape.clone().silent(), &shape)
            }
            What::Flapping(dead, alive, end) => Plan::flapping(&shape, dead, alive, end),
            What::UdpDies => Plan::default().both(Duration::ZERO, &shape.with_udp(Udp::Dead)),
            What::NewAddress => Plan::default(),
        }
    }

    /// The time from its beginning until the path no longer changes.
    fn length(&self) -> Duration {
        match self.what {
            What::Hole(length) | What::Flapping(_, _, length) => length,
            What::UdpDies | What::NewAddress => Duration::ZERO,
        }
    }
}

struct OutageRun {
    visits: Vec<Visit>,
    /// The time from the last change of the path to the next response of a visit.
    recovery: Option<Duration>,
    cut: Vec<String>,
    /// Downloads that were not cut, and received nothing in the last [`STALLED`].
    stalled: usize,
    uploads: usize,
    failed_uploads: usize,
}

pub(super) async fn run(env: &RunEnvironment, outage: Outage) -> Result<Section> {
    let mut section = Section::new(outage.title, outage.asks);
    let ways = Way::all(env, &mut section);
    let window = LEAD + outage.length() + env.path_window();
    let all = interleave(env, ways, window + PATIENCE, async |way, seed| {
        turn(env, outage, way, seed).await
    })
    .await;
    section.head([
        "subject",
        "visits failed",
        "longest wait, s",
        "first answer afterwards, s",
        "downloads cut",
        "stalled at the end",
        "uploads failed",
    ]);
    let mut chart = Chart::new(
        section.title(),
        "longest wait of a visitor in seconds; less is better",
    );
    for results in &all {
        results.note(&mut section);
        row(&mut section, &mut chart, results);
    }
    section.chart(chart);
    section.note(format!(
        "On 100 Mbit/s at 50 ms round-trip time; ten visits a second with a timeout of {} s, {DOWNLOADS} downloads that \
         last all the time, and uploads of 1 MiB one after the other. The event begins {} s after the first visit; the last \
         visit starts {:.0} s after the path has stopped changing. The first answer afterwards is counted from then. A \
         download that receives nothing in the last {} s has stalled.",
        PATIENCE.as_secs(),
        LEAD.as_secs(),
        env.path_window().as_secs_f64(),
        STALLED.as_secs(),
    ));
    Ok(section)
}

fn row(section: &mut Section, chart: &mut Chart, results: &Results<OutageRun>) {
    let longest = |turn: &OutageRun| {
        turn.visits
            .iter()
            .map(|visit| visit.took.as_secs_f64())
            .fold(0.0, f64::max)
    };
    let Some(longest) = results.spread(longest) else {
        return;
    };
    let recovered = results.spread(|turn| {
        turn.recovery
            .map_or(f64::INFINITY, |time| time.as_secs_f64())
    });
    let sum = |count: fn(&OutageRun) -> usize| results.turns.iter().map(count).sum::<usize>();
    let of = |failed: usize, all: usize| format!("{failed} of {all}");
    let name = results.way.name();
    chart.bar(
        &name,
        results.way.tone(),
        longest,
        format!("{:.1}", longest.median),
    );
    section.row([
        name.clone(),
        of(
            sum(|turn| turn.visits.iter().filter(|visit| !visit.answered).count()),
            sum(|turn| turn.visits.len()),
        ),
        with_ends(longest, 1),
        recovered.map_or_else(String::new, |spread| {
            with_ends(spread, 1).replace("inf", "none")
        }),
        of(sum(|turn| turn.cut.len()), results.turns.len() * DOWNLOADS),
        of(sum(|turn| turn.stalled), results.turns.len() * DOWNLOADS),
        of(sum(|turn| turn.failed_uploads), sum(|turn| turn.uploads)),
    ]);
    if let Some(why) = results.turns.iter().flat_map(|turn| &turn.cut).next() {
        section.note(format!("{name}, a download: {why}."));
    }
}

async fn turn(env: &RunEnvironment, outage: Outage, way: &Way, seed: u64) -> Result<OutageRun> {
    let mut line = Line::make(&Outage::shape(), seed)?;
    at_the_near_end(&mut line, async |line| {
        let crossing = way.start(env, line).await?;
        let mut streams = Vec::new();
        for _ in 0..DOWNLOADS {
            streams.push(crossing.reach.open(crossing.target).await?);
        }
        let streams = streams
            .try_into()
            .ok()
            .context("as many downloads as were opened")?;
        let [first, second]: [_; DOWNLOADS] = streams;
        let window = LEAD + outage.length() + env.path_window();
        let watch = Watch::new(window, Outage::shape().rate);
        let (started, target) = (Instant::now(), crossing.target);
        let happens = async {
            sleep_until(started + LEAD).await;
            line.begin(outage.plan());
            if matches!(outage.what, What::NewAddress) {
                line.move_near(9)
            } else {
                Ok(())
            }
        };
        let visits = Visits {
            every: EVERY,
            window,
            patience: PATIENCE,
            bytes: 1024,
        };
        let (happened, visits, first, second, (uploads, failed_uploads)) = tokio::join!(
            happens,
            visits.run(crossing.reach, target),
            Flow::watch(first, target, watch),
            Flow::watch(second, target, watch),
            uploads(&crossing, started + window)
        );
        happened?;
        crossing.stop().await?;
        let whole = LEAD + outage.length();
        // Responses that were already on their way when a path changed at once do not count as
        // recovery.
        let due_from = if outage.length().is_zero() {
            whole
        } else {
            Duration::ZERO
        };
        let recovery = recovery(&visits, due_from, whole);
        let flows = [first, second];
        let stalled = flows
            .iter()
            .filter(|flow| flow.cut.is_none() && flow.stalled(STALLED))
            .count();
        let cut = flows.into_iter().filter_map(|flow| flow.cut).collect();
        Ok(OutageRun {
            visits,
            recovery,
            cut,
            stalled,
            uploads,
            failed_uploads,
        })
    })
    .await
}

/// The time from `whole` to the first response after it, of a visit that was due at `due_from` or
/// later.
fn recovery(visits: &[Visit], due_from: Duration, whole: Duration) -> Option<Duration> {
    let answered = visits
        .iter()
        .filter(|visit| visit.answered && visit.due >= due_from);
    let answers = answered.map(|visit| visit.due + visit.took);
    answers.filter(|at| *at >= whole).min().map(|at| at - whole)
}

/// Uploads one after the other until `end`: how many, and how many of them failed.
async fn uploads(crossing: &Crossing, end: Instant) -> (usize, usize) {
    let (mut all, mut failed) = (0, 0);
    let request = Request::post(UPLOAD_BYTES, crossing.target);
    while Instant::now() < end {
        let upload = async {
            let mut stream = crossing.reach.open(crossing.target).await?;
            exchange(&mut stream, &request.bytes, &mut Answer::expecting(0)).await
        };
        let started = Instant::now();
        all += 1;
        if !matches!(timeout(PATIENCE, upload).await, Ok(Ok(()))) {
            failed += 1;
            // Do not retry a failed upload immediately.
            sleep_until(started + EVERY).await;
        }
    }
    (all, failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recovery_is_counted_to_the_first_answer_after_the_outage() {
        let visit = |due, took, answered| Visit {
            due: Duration::from_secs(due),
            took: Duration::from_secs(took),
            answered,
        };
        let visits = [
            visit(1, 1, true),
            visit(2, 9, true),
            visit(4, 5, false),
            visit(10, 2, true),
        ];
        let (any, seconds) = (Duration::ZERO, Duration::from_secs);
        assert_eq!(recovery(&visits, any, seconds(8)), Some(seconds(3)));
        assert_eq!(recovery(&visits, any, seconds(13)), None);
        // The path changed at 9 s; the request answered at 11 s was sent before.
        assert_eq!(recovery(&visits, seconds(9), seconds(9)), Some(seconds(3)));
    }
}
