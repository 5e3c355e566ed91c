//! Failure: why one attempt failed before anything was sent downstream.
//!
//! In:    the fault, and how far the attempt got.
//! Out:   what the retry decision needs; the fault to respond with if there is no retry.
//! Never: claims that less was sent than may have been.

use std::time::Duration;

use byway_dial::Broken;
use byway_http::filter::FilterError;
use byway_http::h1::Outcome;

use super::body::BodyTransfer;
use super::exchange_request::ExchangeRequest;
use super::retry::{Failed, is_repeatable};
use crate::config::LimitsPlan;
use crate::fault::{Fault, Reason, Who};

/// Why one attempt failed before anything was sent downstream, with what the retry decision needs.
pub struct AttemptFailure {
    /// What failed.
    pub fault: Fault,
    /// How far it got.
    pub outcome: Outcome,
    /// Whether a connection was opened.
    pub connected: bool,
    /// Whether the connection was a reused one.
    pub reused: bool,
    /// Whether the upstream has refused the stream.
    pub refused: bool,
    /// The retry is granted already: a whole response came, and could have been passed on.
    pub granted: bool,
}

impl AttemptFailure {
    /// No connection could be opened.
    pub fn unreached(fault: Fault) -> Self {
        Self {
            fault,
            outcome: Outcome::Unsent,
            connected: false,
            reused: false,
            refused: false,
            granted: false,
        }
    }

    /// The upstream responded with a status that is retried, and another try was granted.
    pub fn declined(status: u16) -> Self {
        let fault = Fault::new(
            Who::Upstream,
            Reason::Unreachable,
            format!("the upstream answered {status}"),
        );
        Self {
            granted: true,
            ..fault.into()
        }
    }

    /// The input of the retry decision.
    pub fn retry_input(&self, exchange: &ExchangeRequest<'_>, upload: &BodyTransfer) -> Failed {
        Failed {
            outcome: self.outcome,
            reused: self.reused,
            refused: self.refused,
            gave_up: self.fault.reason.is_deadline(),
            repeatable: is_repeatable(&exchange.request),
            body_kept: upload.can_start_over(),
        }
    }
}

impl From<Fault> for AttemptFailure {
    /// Without more information the request may have been served.
    fn from(fault: Fault) -> Self {
        Self {
            fault,
            outcome: Outcome::Partial,
            connected: true,
            reused: false,
            refused: false,
            granted: false,
        }
    }
}

/// The client reads nothing.
pub(super) fn not_read(limit: Duration) -> Fault {
    let detail = format!("the client took no byte of the response for {limit:?}");
    Fault::new(Who::Downstream, Reason::ResponseBody, detail)
}

/// The client does `what` below the minimum rate.
pub(super) fn too_slow(limits: &LimitsPlan, reason: Reason, what: &str) -> Fault {
    let least = limits
        .min_rate
        .map(|rate| rate.to_string())
        .unwrap_or_default();
    let detail = format!(
        "{what} at less than min_rate, {least}, over {:?} of waiting for it",
        limits.body_progress
    );
    Fault::new(Who::Downstream, reason, detail)
}

/// The upstream sends no complete head.
pub(super) fn no_answer(limit: Duration) -> Fault {
    let detail =
        format!("the upstream sent no complete response head within first_byte, {limit:?}");
    Fault::new(Who::Upstream, Reason::FirstByte, detail)
}

/// A filter of a body has failed.
pub(super) fn filter_failed(error: &FilterError) -> Fault {
    Fault::new(Who::Us, Reason::Internal, error.to_string())
}

/// The link that carried the request is lost.
pub(super) fn link_lost(when: &str) -> Fault {
    let detail = format!("the link to the upstream was lost {when}");
    Fault::new(Who::Link, Reason::LinkLost, detail)
}

/// The client has left.
pub(super) fn client_left(broken: &Broken) -> Fault {
    Fault::new(
        Who::Downstream,
        Reason::ClosedEarly,
        format!("the client left: {broken}"),
    )
}

/// The request body is larger than its limit.
pub(super) fn body_too_large(most: u64) -> Fault {
    Fault::new(
        Who::Downstream,
        Reason::BodyTooLarge,
        format!("the request body is larger than max_body, {most} bytes"),
    )
}
