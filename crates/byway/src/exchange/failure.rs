//! Failure: why one attempt failed before anything was sent downstream.
//!
//! In:    the fault, and how far the attempt had got.
//! Out:   what the judge of retries wants to know; the fault to answer with if there is none.
//! Never: claims that less was sent than may have been.

use super::body::Passage;
use super::forward::Asked;
use super::retry::{Failed, Outcome, is_repeatable};
use crate::fault::{Fault, Kind};

/// See the head of the file.
pub struct Failure {
    /// What failed.
    pub fault: Fault,
    /// How far it had got.
    pub outcome: Outcome,
    /// Whether there was a connection at all.
    pub connected: bool,
    /// Whether the connection was a kept one.
    pub on_kept: bool,
}

impl Failure {
    /// No connection could be opened.
    pub fn unreached(fault: Fault) -> Self {
        Self { fault, outcome: Outcome::Unsent, connected: false, on_kept: false }
    }

    /// As the judge of retries wants to know it.
    pub fn told(&self, asked: &Asked<'_>, upload: &Passage) -> Failed {
        Failed {
            outcome: self.outcome,
            on_kept: self.on_kept,
            gave_up: matches!(self.fault.kind, Kind::Deadline(_)),
            repeatable: is_repeatable(&asked.request),
            body_kept: upload.can_start_over(),
        }
    }
}

impl From<Fault> for Failure {
    /// Where nothing else is known the request may have been served.
    fn from(fault: Fault) -> Self {
        Self { fault, outcome: Outcome::Partial, connected: true, on_kept: false }
    }
}
