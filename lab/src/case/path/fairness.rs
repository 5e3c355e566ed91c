//! Fairness: how a download shares a path with a TCP connection under cubic.
//!
//! Out:   the rate of each of the two, and Jain's index: 1 is half each, 0.5 is all for one.
//! Never: counts the start of either.

use std::time::Duration;

use anyhow::Result;

use super::at_the_near_end;
use super::crossings::Way;
use super::results::{interleave, with_ends};
use crate::chart::Chart;
use crate::environment::RunEnvironment;
use crate::load::flow::{Flow, Watch};
use crate::load::reach::Reach;
use crate::origin::Origin;
use crate::path::line::Line;
use crate::report::Section;
use lab::shaping::shape::{Queue, Shape};

pub(super) const TITLE: &str = "Path, beside TCP cubic";
const RATES: [u64; 2] = [20, 100];
/// The time in which both find their rate.
const LEAD: Duration = Duration::from_secs(5);

/// Mbit/s of the subject and of TCP.
type Shares = [f64; 2];

pub(super) async fn run(env: &RunEnvironment) -> Result<Section> {
    let asks = "How do a download and one TCP connection under cubic share 20 and 100 Mbit/s, at 50 ms round-trip time with a queue of 100 ms?";
    let mut section = Section::new(TITLE, asks);
    let ways = Way::all(env, &mut section);
    let length = (LEAD + env.path_window()) * 2;
    let all = interleave(env, ways, length, async |way, seed| {
        turn(env, way, seed).await
    })
    .await;
    section.head([
        "subject",
        "20 Mbit/s: index",
        "it",
        "TCP",
        "100 Mbit/s: index",
        "it",
        "TCP",
    ]);
    let mut chart = Chart::new(
        section.title(),
        "Jain's index on 20 Mbit/s; 1 is fair, 0.5 is not",
    );
    for results in &all {
        results.note(&mut section);
        let mut cells = vec![results.way.name()];
        for place in 0..RATES.len() {
            let index = results.spread(|turn: &[Shares; 2]| jain(turn[place]));
            let [way, tcp] =
                [0, 1].map(|who| results.spread(|turn: &[Shares; 2]| turn[place][who]));
            let (Some(index), Some(way), Some(tcp)) = (index, way, tcp) else {
                break;
            };
            cells.extend([with_ends(index, 2), with_ends(way, 1), with_ends(tcp, 1)]);
            if place == 0 {
                chart.bar(
                    &results.way.name(),
                    results.way.tone(),
                    index,
                    format!("{:.2}", index.median),
                );
            }
        }
        if cells.len() > 1 {
            section.row(cells);
        }
    }
    section.chart(chart);
    section.note(format!(
        "Both start at the same time; Mbit/s over {:.0} s, from {} s after the start.",
        env.path_window().as_secs_f64(),
        LEAD.as_secs()
    ));
    Ok(section)
}

async fn turn(env: &RunEnvironment, way: &Way, seed: u64) -> Result<[Shares; 2]> {
    let mut shares = [[0.0; 2]; 2];
    for (place, rate) in shares.iter_mut().zip(RATES) {
        let shape = Shape {
            queue: Queue::Time(Duration::from_millis(100)),
            ..Shape::of_round_trip(50, rate)
        };
        let mut line = Line::make(&shape, seed)?;
        *place = at_the_near_end(&mut line, async |line| {
            let crossing = way.start(env, line).await?;
            // The TCP connection takes its congestion control from the origin's sockets, which take
            // the setting that is in force when the origin starts.
            line.congestion_control("cubic")?;
            let beside = line.far.within(|| Origin::start_at(Line::FAR))?;
            let its = crossing.reach.open(crossing.target).await?;
            let tcp = Reach::Plain(beside.address())
                .open(beside.address())
                .await?;
            let watch = Watch::new(LEAD + env.path_window(), shape.rate);
            let (its, tcp) = tokio::join!(
                Flow::watch(its, crossing.target, watch),
                Flow::watch(tcp, beside.address(), watch)
            );
            crossing.stop().await?;
            if let Some(why) = its.cut.as_ref().or(tcp.cut.as_ref()) {
                anyhow::bail!("a download was cut: {why}");
            }
            Ok([its.megabits_from(LEAD), tcp.megabits_from(LEAD)])
        })
        .await?;
    }
    Ok(shares)
}

/// Jain's index of fairness: the square of the sum, divided by the count times the sum of the
/// squares.
fn jain(shares: Shares) -> f64 {
    let [sum, squares] = shares.iter().fold([0.0, 0.0], |[sum, squares], share| {
        [sum + share, squares + share * share]
    });
    if squares > 0.0 {
        sum * sum / (shares.len() as f64 * squares)
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_is_one_for_equal_shares_and_a_half_if_one_has_all() {
        assert!((jain([7.0, 7.0]) - 1.0).abs() < 1e-12);
        assert!((jain([7.0, 0.0]) - 0.5).abs() < 1e-12);
        assert!((jain([3.0, 1.0]) - 0.8).abs() < 1e-12);
    }
}
