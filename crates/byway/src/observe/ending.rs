//! Ending: how a request or a tunnel ended; one value for the access log and the metrics.
//!
//! In:    a fault, the end of a relay, or success.
//! Out:   the side that ended it, the reason, and the phase.

use crate::fault::{Fault, Reason, Who};

/// How a request or a tunnel ended, for the access log and the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The side that ended it; `None` if everything was delivered.
    pub who: Option<Who>,
    /// Why.
    pub reason: Reason,
    /// When: the name of a timer, or of a phase of a relay.
    pub phase: &'static str,
}

impl Ending {
    /// Success.
    pub const fn done(phase: &'static str) -> Self {
        Self {
            who: None,
            reason: Reason::Done,
            phase,
        }
    }

    /// It failed with `fault`.
    pub fn of_fault(fault: &Fault, phase: &'static str) -> Self {
        Self {
            who: Some(fault.who),
            reason: fault.reason,
            phase,
        }
    }
}
