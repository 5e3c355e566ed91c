//! Ending: how a request or a tunnel ended; one value for the access log and the metrics.
//!
//! In:    a fault, the end of a relay, or success.
//! Out:   the side that ended it, the reason in one word, and the phase.

use super::outcomes::DONE;
use crate::fault::{Fault, Who};

/// See the head of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The side that ended it; `None` if everything was delivered.
    pub who: Option<Who>,
    /// How: `done`, or one of [`super::outcomes::REASONS`].
    pub class: &'static str,
    /// When: the name of a timer, or of a phase of a relay.
    pub phase: &'static str,
}

impl Ending {
    /// Success.
    pub const fn done(phase: &'static str) -> Self {
        Self {
            who: None,
            class: DONE,
            phase,
        }
    }

    /// It failed with `fault`.
    pub fn of_fault(fault: &Fault, phase: &'static str) -> Self {
        Self {
            who: Some(fault.who),
            class: fault.class(),
            phase,
        }
    }
}
