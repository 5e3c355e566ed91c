//! Leaving: how a session ends in order, whichever side begins.
//!
//! In:    the wish to leave, or the GoAway of the other side; what it says afterwards.
//! Out:   the messages to send, and when the session may end.
//! Never: ends a session while either side has a stream open, since what one side has sent may
//!        still be on its way; but for one that takes longer than the drain deadline, whatever the
//!        other side says or leaves out, and one whose other side does not answer the GoAway.
//!
//! The side that leaves says GoAway. The other side answers with `heard` at once, opens no more
//! streams, and says GoAway with `idle` once it has none. When the leaving side has heard that and
//! has none either, it ends the session. A side that has streams open answers, so one that is
//! silent has none: if the leaving side has none either, and a ping has shown that the path works,
//! it ends the session after `ANSWER_EXPECTED`.

use std::time::Duration;

use byway_link::Link;
use byway_link::wire::{Control, GoAway, Visited};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::outbox::Outbox;

/// How long the answer to a GoAway is waited for, and then for the answer to one ping. Much longer
/// than the round trip of a session that lives.
const ANSWER_EXPECTED: Duration = Duration::from_secs(5);

/// See the head of the file.
#[derive(Default)]
pub struct Leaving {
    /// When the session ends at the latest. Set by whichever side leaves first.
    deadline: Option<Instant>,
    /// When this side has said that it leaves.
    left_at: Option<Instant>,
    they_leave: bool,
    they_have_heard: bool,
    they_are_idle: bool,
    said_idle: bool,
}

/// What to do about a session without open streams.
pub enum LeaveStep {
    /// Say this.
    Say(Control),
    /// End it.
    End,
    /// Wait for the other side.
    Wait,
}

/// What a GoAway of the other side means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoAwayMeaning {
    /// It leaves: it takes no more streams. It has been answered.
    Leaves,
    /// It answers the GoAway of this side, which has nothing to do for it.
    Answer,
}

impl Leaving {
    /// This side leaves, within `patience`. What to say.
    pub fn begin(&mut self, why: &str, patience: Duration) -> Control {
        let now = Instant::now();
        self.deadline.get_or_insert(now + patience);
        self.left_at.get_or_insert(now);
        Control::GoAway(GoAway {
            detail: why.to_owned(),
            ..GoAway::default()
        })
    }

    /// The other side has said GoAway. It may take `patience` to end the session. The answer to it
    /// goes to `outbox`.
    pub fn heard(
        &mut self,
        away: &GoAway,
        patience: Duration,
        outbox: &mut Outbox,
    ) -> GoAwayMeaning {
        self.they_have_heard |= away.heard || away.idle;
        if away.heard {
            return GoAwayMeaning::Answer;
        }
        self.deadline
            .get_or_insert_with(|| Instant::now() + patience);
        self.they_are_idle |= away.idle;
        // One answer, however often it is said.
        if !std::mem::replace(&mut self.they_leave, true) && !away.idle {
            outbox.push(Control::GoAway(GoAway {
                heard: true,
                ..GoAway::default()
            }));
        }
        GoAwayMeaning::Leaves
    }

    /// Whether this side has said that it leaves.
    pub fn is_begun(&self) -> bool {
        self.left_at.is_some()
    }

    /// Resolves when the session has had its time to end in order, or may end because nothing is
    /// open here and the other side does not answer; never for a session that neither side leaves.
    /// Cancel safe.
    pub async fn overdue(&self, link: &Link) {
        let Some(deadline) = self.deadline else {
            return std::future::pending().await;
        };
        let Some(left_at) = self.left_at.filter(|_| !self.they_have_heard) else {
            return sleep_until(deadline).await;
        };
        let unanswered = async {
            sleep_until(left_at + ANSWER_EXPECTED).await;
            link.answered().await;
            link.idle().await;
        };
        let _ = timeout_at(deadline, unanswered).await;
    }

    /// Whether something is to be done once no stream is open, see [`Leaving::step`].
    pub fn waits_for_idle(&self) -> bool {
        (self.they_leave && !self.said_idle) || (self.is_begun() && self.they_are_idle)
    }

    /// No stream is open now.
    pub fn step(&mut self) -> LeaveStep {
        if self.is_begun() && self.they_are_idle {
            return LeaveStep::End;
        }
        if self.they_leave && !std::mem::replace(&mut self.said_idle, true) {
            return LeaveStep::Say(Control::GoAway(GoAway {
                detail: "no stream is open".into(),
                idle: true,
                heard: false,
            }));
        }
        LeaveStep::Wait
    }
}

/// Serves a session that is left until it is over or may be ended. `patience` holds if neither side
/// has said GoAway yet. Reports of requests that still end go to `visited`.
pub async fn leave(
    link: &Link,
    control: &mut mpsc::Receiver<Control>,
    visited: impl Fn(&Visited),
    mut leaving: Leaving,
    mut outbox: Outbox,
    patience: Duration,
) {
    leaving
        .deadline
        .get_or_insert_with(|| Instant::now() + patience);
    loop {
        // Each arm is cancel safe: what is not taken stays in its channel.
        tokio::select! {
            _ = link.ended() => return,
            Some(control) = control.recv() => match control {
                Control::GoAway(away) => {
                    leaving.heard(&away, patience, &mut outbox);
                }
                Control::Visited(report) => visited(&report),
                // Answers to what was asked before mean nothing any more.
                _ => {}
            },
            () = outbox.send_next(link, async |_| {}) => {}
            () = link.idle(), if leaving.waits_for_idle() => match leaving.step() {
                LeaveStep::Say(control) => outbox.push(control),
                LeaveStep::End => return,
                LeaveStep::Wait => {}
            },
            () = leaving.overdue(link) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(600);

    fn is_idle(step: &LeaveStep) -> bool {
        matches!(step, LeaveStep::Say(Control::GoAway(away)) if away.idle)
    }

    /// `heard` on one side what the other says.
    fn notify(to: &mut Leaving, control: Control) {
        let Control::GoAway(away) = control else {
            panic!("{control:?}")
        };
        to.heard(&away, PATIENCE, &mut Outbox::default());
    }

    #[test]
    fn whoever_leaves_ends_the_session_when_the_other_side_has_nothing_open_and_not_before() {
        let (mut one, mut other) = (Leaving::default(), Leaving::default());
        notify(&mut other, one.begin("stopping", PATIENCE));
        assert!(!one.waits_for_idle() && other.waits_for_idle());
        let LeaveStep::Say(control) = other.step() else {
            panic!("nothing to say")
        };
        notify(&mut one, control);
        assert!(one.waits_for_idle() && matches!(one.step(), LeaveStep::End));
        assert!(!other.waits_for_idle(), "the other side waits for the end");
    }

    #[test]
    fn two_sides_that_leave_at_once_both_hear_that_the_other_has_nothing_open() {
        let (mut one, mut other) = (Leaving::default(), Leaving::default());
        let (first, second) = (
            one.begin("stopping", PATIENCE),
            other.begin("stopping", PATIENCE),
        );
        notify(&mut one, second);
        notify(&mut other, first);
        let (from_one, from_other) = (one.step(), other.step());
        assert!(is_idle(&from_one) && is_idle(&from_other));
        let (LeaveStep::Say(from_one), LeaveStep::Say(from_other)) = (from_one, from_other) else {
            unreachable!()
        };
        assert!(matches!(one.step(), LeaveStep::Wait));
        notify(&mut one, from_other);
        notify(&mut other, from_one);
        assert!(matches!(
            (one.step(), other.step()),
            (LeaveStep::End, LeaveStep::End)
        ));
    }
}
