//! Ending: how a request or a tunnel ended, made once and read by the access log and the metrics
//! alike.
//!
//! In:    a fault, the end of a relay, or nothing at all: it went well.
//! Out:   who ended it, one word for how, and what was going on.
//! Never: a sentence; that stands in the log.

use super::outcomes::DONE;
use crate::fault::{Fault, Who};
use crate::relay::{End, EndKind, Side};

/// See the head of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Who ended it; nobody, if everything that was to be said was said.
    pub who: Option<Who>,
    /// How: `done`, or one of the words of [`super::outcomes::REASONS`].
    pub class: &'static str,
    /// What was going on: the name of a timer, or of a phase of a relay.
    pub phase: &'static str,
}

impl Ending {
    /// It went well.
    pub const fn done(phase: &'static str) -> Self {
        Self {
            who: None,
            class: DONE,
            phase,
        }
    }

    /// It ended in `fault`.
    pub fn of_fault(fault: &Fault, phase: &'static str) -> Self {
        Self {
            who: Some(fault.who),
            class: fault.class(),
            phase,
        }
    }

    /// A relay ended so.
    pub fn of_relay(end: &End) -> Self {
        if end.kind == EndKind::Fin {
            return Self::done(end.phase.word());
        }
        let who = match end.who {
            Side::Downstream => Who::Downstream,
            Side::Upstream => Who::Upstream,
            Side::Link => Who::Link,
            Side::Us => Who::Us,
        };
        Self {
            who: Some(who),
            class: end.kind.word(),
            phase: end.phase.word(),
        }
    }
}
