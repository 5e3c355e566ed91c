//! Leaving: how a session ends in order, whichever side begins.
//!
//! In:    the wish to leave, or the GoAway of the other side; what it says afterwards.
//! Out:   the messages to send, and when the session may end.
//! Never: ends a session while either side has a stream open, since what one side has sent may still be on its way; but for
//!        one that takes longer than the drain deadline, whatever the other side says or leaves out.
//!
//! The side that leaves says GoAway. The other side opens no more streams, and once it has none it says GoAway with `idle`. When
//! the leaving side has heard that and has none either, it ends the session.

use std::time::Duration;

use byway_link::Link;
use byway_link::wire::{GoAway, Said, Visited};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::outbox::Outbox;

/// How often a session that is left looks whether its streams have finished.
const TICK: Duration = Duration::from_millis(20);

/// See the head of the file.
#[derive(Default)]
pub struct Leaving {
    /// When the session ends at the latest. Set by whichever side leaves first.
    deadline: Option<Instant>,
    we_leave: bool,
    they_leave: bool,
    they_are_idle: bool,
    told_idle: bool,
}

/// What to do about a session without open streams.
pub enum Step {
    /// Say this.
    Say(Said),
    /// End it.
    End,
    /// Wait for the other side.
    Wait,
}

impl Leaving {
    /// This side leaves, within `patience`. What to say.
    pub fn begin(&mut self, why: &str, patience: Duration) -> Said {
        self.deadline.get_or_insert_with(|| Instant::now() + patience);
        self.we_leave = true;
        Said::GoAway(GoAway { detail: why.to_owned(), idle: false })
    }

    /// The other side has said GoAway. It may take `patience` to end the session.
    pub fn heard(&mut self, away: &GoAway, patience: Duration) {
        self.deadline.get_or_insert_with(|| Instant::now() + patience);
        self.they_leave = true;
        self.they_are_idle |= away.idle;
    }

    /// Whether this side has said that it leaves.
    pub fn is_begun(&self) -> bool {
        self.we_leave
    }

    /// Resolves when the session has had its time to end in order; never for a session that neither side leaves. Cancel safe.
    pub async fn overdue(&self) {
        match self.deadline {
            Some(deadline) => sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    }

    /// Whether something is to be done once no stream is open, see [`Leaving::step`].
    pub fn waits_for_idle(&self) -> bool {
        (self.they_leave && !self.told_idle) || (self.we_leave && self.they_are_idle)
    }

    /// No stream is open now.
    pub fn step(&mut self) -> Step {
        if self.we_leave && self.they_are_idle {
            return Step::End;
        }
        if self.they_leave && !std::mem::replace(&mut self.told_idle, true) {
            return Step::Say(Said::GoAway(GoAway { detail: "no stream is open".into(), idle: true }));
        }
        Step::Wait
    }
}

/// Resolves once no stream of the session is open. Cancel safe.
pub async fn idle(link: &Link) {
    while link.streams() > 0 {
        sleep(TICK).await;
    }
}

/// Serves a session that is left until it is over or may be ended. `patience` holds if neither side has said GoAway yet. Reports
/// of requests that still end go to `visited`.
pub async fn leave(
    link: &Link,
    said: &mut mpsc::Receiver<Said>,
    visited: impl Fn(&Visited),
    mut leaving: Leaving,
    mut outbox: Outbox,
    patience: Duration,
) {
    leaving.deadline.get_or_insert_with(|| Instant::now() + patience);
    loop {
        // Each arm is cancel safe: what is not taken stays in its channel.
        tokio::select! {
            _ = link.ended() => return,
            Some(said) = said.recv() => match said {
                Said::GoAway(away) => leaving.heard(&away, patience),
                Said::Visited(report) => visited(&report),
                // Answers to what was asked before mean nothing any more.
                _ => {}
            },
            () = outbox.say_next(link, async |_| {}) => {}
            () = idle(link), if leaving.waits_for_idle() => match leaving.step() {
                Step::Say(said) => outbox.push(said),
                Step::End => return,
                Step::Wait => {}
            },
            () = leaving.overdue() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(600);

    fn is_idle(step: &Step) -> bool {
        matches!(step, Step::Say(Said::GoAway(away)) if away.idle)
    }

    /// `heard` on one side what the other says.
    fn tell(to: &mut Leaving, said: Said) {
        let Said::GoAway(away) = said else { panic!("{said:?}") };
        to.heard(&away, PATIENCE);
    }

    #[test]
    fn whoever_leaves_ends_the_session_when_the_other_side_has_nothing_open_and_not_before() {
        let (mut one, mut other) = (Leaving::default(), Leaving::default());
        tell(&mut other, one.begin("stopping", PATIENCE));
        assert!(!one.waits_for_idle() && other.waits_for_idle());
        let Step::Say(said) = other.step() else { panic!("nothing to say") };
        tell(&mut one, said);
        assert!(one.waits_for_idle() && matches!(one.step(), Step::End));
        assert!(!other.waits_for_idle(), "the other side waits for the end");
    }

    #[test]
    fn two_sides_that_leave_at_once_both_hear_that_the_other_has_nothing_open() {
        let (mut one, mut other) = (Leaving::default(), Leaving::default());
        let (first, second) = (one.begin("stopping", PATIENCE), other.begin("stopping", PATIENCE));
        tell(&mut one, second);
        tell(&mut other, first);
        let (from_one, from_other) = (one.step(), other.step());
        assert!(is_idle(&from_one) && is_idle(&from_other));
        let (Step::Say(from_one), Step::Say(from_other)) = (from_one, from_other) else { unreachable!() };
        assert!(matches!(one.step(), Step::Wait));
        tell(&mut one, from_other);
        tell(&mut other, from_one);
        assert!(matches!((one.step(), other.step()), (Step::End, Step::End)));
    }
}
