//! Retry: whether a request that got no response is sent to an upstream again.
//!
//! In:    how far an attempt got, what kind of request it carried, the time.
//! Out:   yes, or the one reason why not, which is logged.
//! Never: lets a request that may change state reach an upstream twice, unless its client declared
//!        that harmless.

use byway_head::{Framed, Request};
use byway_http::h1::Outcome;
use tokio::time::Instant;

use super::connection_options::ConnectionOptions;
use crate::config::RetryPlan;
use crate::observe::counters::{Counter, Counters};
use crate::outbound::retry_budget::RetryBudget;

/// Why a request was not sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotMade {
    /// It may have been served, and serving it twice may do harm.
    Method,
    /// Too much of its body was sent to be kept for a retry.
    Body,
    /// A byte of a response has come.
    Partial,
    /// The limit of attempts was reached.
    Attempts,
    /// The retry budget is exhausted.
    Budget,
    /// Every upstream was tried.
    NoOtherUpstream,
    /// The time to start a retry has passed.
    Deadline,
}

impl NotMade {
    /// The word in the log and in `byway_not_retried_total`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Method => "method-not-idempotent",
            Self::Body => "body-too-large-to-replay",
            Self::Partial => "partial-response",
            Self::Attempts => "attempts",
            Self::Budget => "budget",
            Self::NoOtherUpstream => "no-other-upstream",
            Self::Deadline => "deadline",
        }
    }
}

/// The word for a retry after it, in the log and in `byway_retries_total`.
pub const fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Unsent => "unsent",
        Outcome::SentNoByteBack => "unanswered",
        Outcome::Partial => "status",
    }
}

impl Counters {
    /// The counter of retries made after such an outcome.
    pub fn retried(&self, outcome: Outcome) -> &Counter {
        match outcome {
            Outcome::Unsent => &self.retried_unsent,
            Outcome::SentNoByteBack => &self.retried_unanswered,
            Outcome::Partial => &self.retried_status,
        }
    }

    /// The counter of retries not made for this reason.
    pub fn not_retried(&self, why: NotMade) -> &Counter {
        match why {
            NotMade::Method => &self.not_retried_method,
            NotMade::Body => &self.not_retried_body,
            NotMade::Partial => &self.not_retried_partial,
            NotMade::Attempts => &self.not_retried_attempts,
            NotMade::Budget => &self.not_retried_budget,
            NotMade::NoOtherUpstream => &self.not_retried_no_upstream,
            NotMade::Deadline => &self.not_retried_deadline,
        }
    }
}

/// One attempt that failed.
#[derive(Clone, Copy, Debug)]
pub struct Failed {
    /// How far it got.
    pub outcome: Outcome,
    /// It was on a reused connection, whose failure says little about its upstream.
    pub reused: bool,
    /// The upstream has refused the stream on a shared connection, which says nothing about others.
    pub refused: bool,
    /// Byway stopped waiting for a response: the same wait is not made twice.
    pub gave_up: bool,
    /// The request may be served twice.
    pub repeatable: bool,
    /// All of the body that was sent is still available.
    pub body_kept: bool,
}

/// The tries of one request so far.
#[derive(Debug)]
pub struct Tries<'p> {
    plan: &'p RetryPlan,
    upstreams: usize,
    until: Instant,
    unreached: usize,
    refused: u32,
    sent_again: u32,
}

impl<'p> Tries<'p> {
    /// Of a request with this many upstreams to choose from. No try begins after `until`.
    pub fn new(plan: &'p RetryPlan, upstreams: usize, until: Instant) -> Self {
        Self {
            plan,
            upstreams,
            until,
            unreached: 0,
            refused: 0,
            sent_again: 0,
        }
    }

    /// Whether the request is retried. If so, counts the retry against all limits.
    ///
    /// # Errors
    /// The reason why not.
    pub fn again(
        &mut self,
        failed: Failed,
        now: Instant,
        budget: &RetryBudget,
    ) -> Result<(), NotMade> {
        match failed.outcome {
            Outcome::Partial => Err(NotMade::Partial),
            Outcome::Unsent => self.unsent(failed, now),
            Outcome::SentNoByteBack => self.sent(failed, now, budget),
        }
    }

    /// The upstream has received nothing: neither the method nor the budget matters. A reused
    /// connection can be found dead only once, as the next try gets a new one.
    fn unsent(&mut self, failed: Failed, now: Instant) -> Result<(), NotMade> {
        match () {
            () if failed.refused => self.refused += 1,
            () if failed.reused => {}
            () => self.unreached += 1,
        }
        match () {
            () if self.refused > MOST_REFUSED => Err(NotMade::Attempts),
            () if self.unreached >= self.upstreams => Err(NotMade::NoOtherUpstream),
            () if !failed.body_kept => Err(NotMade::Body),
            () if now >= self.until => Err(NotMade::Deadline),
            () => Ok(()),
        }
    }

    fn sent(&mut self, failed: Failed, now: Instant, budget: &RetryBudget) -> Result<(), NotMade> {
        match () {
            () if !failed.repeatable => Err(NotMade::Method),
            () if !failed.body_kept => Err(NotMade::Body),
            () if failed.gave_up || now >= self.until => Err(NotMade::Deadline),
            () if self.sent_again >= self.plan.attempts => Err(NotMade::Attempts),
            () if !budget.take(now, self.plan) => Err(NotMade::Budget),
            () => {
                self.sent_again += 1;
                Ok(())
            }
        }
    }
}

/// How often one request may be refused by connections that are shared: a server that announces
/// fewer streams may refuse those that are on their way, once or twice.
const MOST_REFUSED: u32 = 4;

/// Whether a request may be served twice. A key that its `Connection` removes does not count, since
/// the upstream never receives it.
pub fn is_repeatable(request: &Request<'_>) -> bool {
    const KEY: &str = "Idempotency-Key";
    let is_removed =
        ConnectionOptions::in_request(request).is_some_and(|listed| listed.drops(KEY.as_bytes()));
    byway_head::is_repeatable(
        request.method(),
        request.fields_named(KEY).filter(|_| !is_removed),
    )
}

/// How much of the request body is kept: nothing if it may not be retried, or will be too long. A
/// request whose stream `may_be_refused` is sent again whatever its method, as it was not processed.
pub fn kept_bytes(request: &Request<'_>, plan: &RetryPlan, may_be_refused: bool) -> usize {
    let fits = match request.framing() {
        Framed::Chunked => true,
        Framed::Length(length) => length > 0 && length <= plan.replay as u64,
        Framed::None | Framed::UntilClose => false,
    };
    match fits && plan.attempts > 0 && (may_be_refused || is_repeatable(request)) {
        true => plan.replay,
        false => 0,
    }
}

#[cfg(test)]
mod tests;
