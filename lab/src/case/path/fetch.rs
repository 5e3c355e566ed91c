//! Fetch: how long a small download takes, on a new link and on a used one.
//!
//! Out:   seconds from the client's connect to the last byte of the response.
//! Never: leaves out the client's handshake.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{Instant, timeout};

use super::at_the_near_end;
use super::crossings::{Crossing, Way};
use super::results::{interleave, with_ends};
use crate::chart::Chart;
use crate::environment::RunEnvironment;
use crate::load::answer::Answer;
use crate::load::keepalive::exchange;
use crate::load::request::Request;
use crate::path::line::Line;
use crate::report::Section;
use lab::shaping::shape::Shape;

pub(super) const TITLE: &str = "Path, fetches";
const PATIENCE: Duration = Duration::from_secs(60);
/// 1 MB and 10 MB, each on a new link, then 1 MB again on the second link.
const FETCHES: [u64; 2] = [1_000_000, 10_000_000];

pub(super) async fn run(env: &RunEnvironment) -> Result<Section> {
    let asks = "How long does a fetch of 1 MB take, and one of 10 MB, at 100 Mbit/s and 100 ms round-trip time?";
    let mut section = Section::new(TITLE, asks);
    let ways = Way::all(env, &mut section);
    let all = interleave(env, ways, Duration::from_secs(30), async |way, seed| {
        turn(env, way, seed).await
    })
    .await;
    section.head(["subject", "1 MB, s", "10 MB, s", "1 MB after the 10 MB, s"]);
    let mut chart = Chart::new(section.title(), "seconds for 10 MB; less is better");
    for results in &all {
        results.note(&mut section);
        let figures = [0, 1, 2].map(|place| results.spread(|turn: &[f64; 3]| turn[place]));
        let [Some(small), Some(large), Some(again)] = figures else {
            continue;
        };
        chart.bar(
            &results.way.name(),
            results.way.tone(),
            large,
            format!("{:.2}", large.median),
        );
        let cells = [small, large, again].map(|spread| with_ends(spread, 2));
        section.row([results.way.name()].into_iter().chain(cells));
    }
    section.chart(chart);
    section.note(
        "From the client's connect to the last byte. The first two fetches use separate links that have carried one \
         request of a byte; the third follows the second immediately, on the same link.",
    );
    Ok(section)
}

async fn turn(env: &RunEnvironment, way: &Way, seed: u64) -> Result<[f64; 3]> {
    let mut took = Vec::new();
    for bytes in FETCHES {
        let mut line = Line::make(&Shape::of_round_trip(100, 100), seed)?;
        let of_one = at_the_near_end(&mut line, async |line| {
            let crossing = way.start(env, line).await?;
            let first = fetch(&crossing, bytes).await?;
            let again = if bytes == FETCHES[1] {
                Some(fetch(&crossing, FETCHES[0]).await?)
            } else {
                None
            };
            crossing.stop().await?;
            Ok([Some(first), again])
        });
        took.extend(of_one.await?.into_iter().flatten());
    }
    took.try_into().ok().context("there are three fetches")
}

/// The duration in seconds.
async fn fetch(crossing: &Crossing, bytes: u64) -> Result<f64> {
    let started = Instant::now();
    let fetched = async {
        let mut stream = crossing.reach.open(crossing.target).await?;
        let request = Request::get(bytes, crossing.target);
        exchange(&mut stream, &request.bytes, &mut Answer::expecting(bytes)).await
    };
    timeout(PATIENCE, fetched)
        .await
        .with_context(|| format!("{bytes} bytes took longer than {PATIENCE:?}"))??;
    Ok(started.elapsed().as_secs_f64())
}
