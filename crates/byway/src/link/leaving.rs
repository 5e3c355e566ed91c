//! Leaving: the orderly end of a session, whichever side begins.
//!
//! In:    a request to leave, or the GoAway of the other side and its later messages.
//! Out:   the messages to send, and when the session may end.
//! Never: ends a session while either side has a stream open, because sent bytes may still be in
//!        flight; except after the drain deadline, whatever the other side sends, or if the other
//!        side does not acknowledge the GoAway.
//!
//! The leaving side sends GoAway. The other side acknowledges it with `heard` at once, opens no
//! more streams, and sends GoAway with `idle` once it has none. When the leaving side has received
//! that and has none either, it ends the session. A side with open streams responds, so a silent
//! one has none: if the leaving side has none either, and a ping has shown that the path works, it
//! ends the session after `ANSWER_EXPECTED`.

use std::time::Duration;

use byway_link::Link;
use byway_link::wire::{Control, GoAway, Visited};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::outbox::Outbox;

/// How long to wait for the acknowledgement of a GoAway, before the response to one ping. Much
/// longer than the round trip of a live session.
const ANSWER_EXPECTED: Duration = Duration::from_secs(5);

/// The state of the orderly end of a session: which side has sent GoAway, which has no open stream,
/// and the time at which the session ends at the latest.
#[derive(Default)]
pub struct Leaving {
    /// When the session ends at the latest. Set by the side that leaves first.
    deadline: Option<Instant>,
    /// When this side sent its GoAway.
    left_at: Option<Instant>,
    peer_leaves: bool,
    is_acknowledged: bool,
    peer_is_idle: bool,
    sent_idle: bool,
}

/// What to do with a session without open streams.
pub enum LeaveStep {
    /// Send this.
    Send(Control),
    /// End it.
    End,
    /// Wait for the other side.
    Wait,
}

/// The meaning of a received GoAway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoAwayMeaning {
    /// The other side leaves: it accepts no more streams. The GoAway was acknowledged.
    Leaves,
    /// It acknowledges the GoAway of this side; there is nothing to do.
    Acknowledgement,
}

impl Leaving {
    /// Starts to leave, within `patience`. Returns the message to send.
    pub fn begin(&mut self, why: &str, patience: Duration) -> Control {
        let now = Instant::now();
        self.deadline.get_or_insert(now + patience);
        self.left_at.get_or_insert(now);
        Control::GoAway(GoAway {
            detail: why.to_owned(),
            ..GoAway::default()
        })
    }

    /// Handles a GoAway of the other side, which may take `patience` to end the session. The
    /// acknowledgement goes to `outbox`.
    pub fn on_go_away(
        &mut self,
        away: &GoAway,
        patience: Duration,
        outbox: &mut Outbox,
    ) -> GoAwayMeaning {
        self.is_acknowledged |= away.heard || away.idle;
        if away.heard {
            return GoAwayMeaning::Acknowledgement;
        }
        self.deadline
            .get_or_insert_with(|| Instant::now() + patience);
        self.peer_is_idle |= away.idle;
        // One acknowledgement, however often it is sent.
        if !std::mem::replace(&mut self.peer_leaves, true) && !away.idle {
            outbox.push(Control::GoAway(GoAway {
                heard: true,
                ..GoAway::default()
            }));
        }
        GoAwayMeaning::Leaves
    }

    /// Whether this side has sent a GoAway.
    pub fn is_begun(&self) -> bool {
        self.left_at.is_some()
    }

    /// Resolves when the time for an orderly end is over, or when the session may end because no
    /// stream is open here and the other side does not respond; never for a session that neither
    /// side leaves. Cancel safe.
    pub async fn overdue(&self, link: &Link) {
        let Some(deadline) = self.deadline else {
            return std::future::pending().await;
        };
        let Some(left_at) = self.left_at.filter(|_| !self.is_acknowledged) else {
            return sleep_until(deadline).await;
        };
        let unanswered = async {
            sleep_until(left_at + ANSWER_EXPECTED).await;
            link.answered().await;
            link.idle().await;
        };
        let _ = timeout_at(deadline, unanswered).await;
    }

    /// Whether there is something to do once no stream is open, see [`Leaving::step`].
    pub fn waits_for_idle(&self) -> bool {
        (self.peer_leaves && !self.sent_idle) || (self.is_begun() && self.peer_is_idle)
    }

    /// Decides what to do; call it when no stream is open.
    pub fn step(&mut self) -> LeaveStep {
        if self.is_begun() && self.peer_is_idle {
            return LeaveStep::End;
        }
        if self.peer_leaves && !std::mem::replace(&mut self.sent_idle, true) {
            return LeaveStep::Send(Control::GoAway(GoAway {
                detail: "no stream is open".into(),
                idle: true,
                heard: false,
            }));
        }
        LeaveStep::Wait
    }
}

/// Serves a session that is being left until it is over or may be ended. `patience` applies if
/// neither side has sent GoAway yet. Late reports of requests go to `visited`.
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
        // Each arm is cancel safe: a message that is not received stays in its channel.
        tokio::select! {
            _ = link.ended() => return,
            Some(control) = control.recv() => match control {
                Control::GoAway(away) => {
                    leaving.on_go_away(&away, patience, &mut outbox);
                }
                Control::Visited(report) => visited(&report),
                // Responses to earlier requests do not matter any more.
                _ => {}
            },
            () = outbox.send_next(link, async |_| {}) => {}
            () = link.idle(), if leaving.waits_for_idle() => match leaving.step() {
                LeaveStep::Send(control) => outbox.push(control),
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
        matches!(step, LeaveStep::Send(Control::GoAway(away)) if away.idle)
    }

    /// Delivers a message of one side to the other.
    fn notify(to: &mut Leaving, control: Control) {
        let Control::GoAway(away) = control else {
            panic!("{control:?}")
        };
        to.on_go_away(&away, PATIENCE, &mut Outbox::default());
    }

    #[test]
    fn the_leaving_side_ends_the_session_only_once_the_other_side_has_no_open_stream() {
        let (mut one, mut other) = (Leaving::default(), Leaving::default());
        notify(&mut other, one.begin("stopping", PATIENCE));
        assert!(!one.waits_for_idle() && other.waits_for_idle());
        let LeaveStep::Send(control) = other.step() else {
            panic!("nothing to send")
        };
        notify(&mut one, control);
        assert!(one.waits_for_idle() && matches!(one.step(), LeaveStep::End));
        assert!(!other.waits_for_idle(), "the other side waits for the end");
    }

    #[test]
    fn two_sides_that_leave_at_once_both_learn_that_the_other_has_no_open_stream() {
        let (mut one, mut other) = (Leaving::default(), Leaving::default());
        let (first, second) = (
            one.begin("stopping", PATIENCE),
            other.begin("stopping", PATIENCE),
        );
        notify(&mut one, second);
        notify(&mut other, first);
        let (from_one, from_other) = (one.step(), other.step());
        assert!(is_idle(&from_one) && is_idle(&from_other));
        let (LeaveStep::Send(from_one), LeaveStep::Send(from_other)) = (from_one, from_other)
        else {
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
