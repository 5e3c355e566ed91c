//! Retry: whether a request that got no answer goes to an upstream again.
//!
//! In:    how far an attempt got, what kind of request it carried, the time.
//! Out:   yes, or the one reason why not, which the log tells.
//! Never: lets a request that may change something reach an upstream twice, unless its sender said
//!        that this is harmless.

use byway_h1::{Framed, Request};
use tokio::time::Instant;

use super::connection_options::ConnectionOptions;
use super::retry_budget::RetryBudget;
use crate::config::RetryPlan;
use crate::observe::counters::{Counter, Counters};

/// How far an attempt got before it failed. Whatever is in doubt counts as the later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing of the request has left: no connection could be opened, or a kept one had died
    /// before the first byte.
    Unsent,
    /// Some of the request has left, and not one byte of an answer has come: it may have been
    /// served, or not.
    SentNoByteBack,
    /// A byte of an answer has come: it was served, at least in part. (Only a status of `retry.on`
    /// lets it go again.)
    Partial,
}

impl Outcome {
    /// The word in the log.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unsent => "unsent",
            Self::SentNoByteBack => "sent-no-byte-back",
            Self::Partial => "partial",
        }
    }
}

/// Why a request was not sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotMade {
    /// It may have been served, and to serve it twice may do harm.
    Method,
    /// Too much of its body has gone by to be sent again.
    Body,
    /// A byte of an answer has come.
    Partial,
    /// It was sent as often as it may be.
    Attempts,
    /// Too many others are being sent again.
    Budget,
    /// Every upstream was tried.
    NoOtherUpstream,
    /// It has taken as long already as anybody waits.
    Deadline,
}

impl NotMade {
    /// The word in the log.
    pub fn name(self) -> &'static str {
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

impl Counters {
    /// The counter of retries made behind such an outcome.
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
    /// It was on a kept connection, whose death says little about its upstream.
    pub on_kept: bool,
    /// It was we who gave up waiting for an answer: nobody waits as long a second time.
    pub gave_up: bool,
    /// The request may be served twice.
    pub repeatable: bool,
    /// All of the body that has gone by is still there.
    pub body_kept: bool,
}

/// The tries of one request so far.
#[derive(Debug)]
pub struct Tries<'p> {
    plan: &'p RetryPlan,
    upstreams: usize,
    until: Instant,
    unreached: usize,
    sent_again: u32,
}

impl<'p> Tries<'p> {
    /// Of a request with so many upstreams to choose from. No try begins after `until`.
    pub fn new(plan: &'p RetryPlan, upstreams: usize, until: Instant) -> Self {
        Self {
            plan,
            upstreams,
            until,
            unreached: 0,
            sent_again: 0,
        }
    }

    /// Whether the request goes again; takes the place of the retry in all limits if so.
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

    /// The upstream has heard nothing: neither the method matters nor what has been spent. A kept
    /// connection can be found dead only once, as the next try gets a new one.
    fn unsent(&mut self, failed: Failed, now: Instant) -> Result<(), NotMade> {
        if !failed.on_kept {
            self.unreached += 1;
        }
        match () {
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

/// Whether a request may be served twice. A key that its `Connection` removes does not count: the
/// upstream never sees it.
pub fn is_repeatable(request: &Request<'_>) -> bool {
    const KEY: &str = "Idempotency-Key";
    let is_removed =
        ConnectionOptions::in_request(request).is_some_and(|listed| listed.drops(KEY.as_bytes()));
    byway_h1::is_repeatable(
        request.method(),
        request.fields_named(KEY).filter(|_| !is_removed),
    )
}

/// How much of the request's body is worth keeping: nothing where it may not go again, or will be
/// too long.
pub fn kept_bytes(request: &Request<'_>, plan: &RetryPlan) -> usize {
    let fits = match request.framing() {
        Framed::Chunked => true,
        Framed::Length(length) => length > 0 && length <= plan.replay_bytes as u64,
        Framed::None | Framed::UntilClose => false,
    };
    match fits && plan.attempts > 0 && is_repeatable(request) {
        true => plan.replay_bytes,
        false => 0,
    }
}

#[cfg(test)]
mod tests;
