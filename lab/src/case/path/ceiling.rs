//! Ceiling: the capacity of the simulator itself, measured before anything else.
//!
//! Out:   Mbit/s, packets per second and the simulator's own CPU time, for one TCP connection.
//! Never: shapes anything but the delay.

use std::time::Duration;

use anyhow::Result;

use super::at_the_near_end;
use super::crossings::Way;
use crate::environment::RunEnvironment;
use crate::load::flow::{Flow, Watch};
use crate::path::line::Line;
use crate::report::{Section, grouped};
use lab::shaping::shape::Shape;

pub(super) const TITLE: &str = "Path, ceiling of the simulator";

/// Measures with and without a delay, because a delayed packet is copied and an undelayed one is
/// not.
pub(super) async fn run(env: &RunEnvironment) -> Result<Section> {
    let asks =
        "How much does the simulator carry without shaping, with a download on one TCP connection?";
    let mut section = Section::new(TITLE, asks);
    section.head([
        "path",
        "Mbit/s",
        "packets/s, both directions",
        "simulator, share of a core",
        "packets",
    ]);
    for (name, delay) in [("no delay", 0), ("5 ms each way", 5)] {
        let shape = Shape {
            delay: Duration::from_millis(delay),
            ..Shape::default()
        };
        let mut line = Line::make(&shape, 1)?;
        let (flow, account) = at_the_near_end(&mut line, async |line| {
            let crossing = Way::Tcp("cubic").start(env, line).await?;
            let stream = crossing.reach.open(crossing.target).await?;
            let before = line.account()?;
            let flow =
                Flow::watch(stream, crossing.target, Watch::new(env.path_window(), None)).await;
            Ok((flow, line.account()?.since(&before)))
        })
        .await?;
        let seconds = env.path_window().as_secs_f64();
        let busy = super::simulator(&mut section, name, &account, seconds);
        let packets = (account.down.passed + account.up.passed) as f64 / seconds;
        let rate = grouped(flow.megabits_from(Duration::ZERO));
        section.row([
            name.into(),
            rate,
            grouped(packets),
            busy,
            account.down.words(),
        ]);
    }
    section.note(
        "Sender, receiver, origin, generator and simulator share the machine. Most of the simulator's time is \
         kernel time: each packet is received within the write that delivers it. A path near these figures is limited by \
         the machine, so its question does not compare the subjects.",
    );
    Ok(section)
}
