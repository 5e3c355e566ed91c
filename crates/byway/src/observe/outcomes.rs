//! Outcomes: how many requests and tunnels of one worker ended, by outcome.
//!
//! In:    an `Ending`, from the worker's thread.
//! Out:   numbers by side and reason, read by any thread.
//! Never: contains an undocumented reason: `docs/reasons.md` lists all of them, and a test checks
//!        it.

use super::counters::LocalCounter;
use super::ending::Ending;
use crate::fault::Who;

/// Everything was delivered.
pub const DONE: &str = "done";

/// A reason that is not in [`REASONS`], which would be a bug.
pub const OTHER: &str = "other";

/// Every reason for which something can fail, sorted.
#[rustfmt::skip]
pub const REASONS: &[&str] = &[
    "absolute-scheme", "ambiguous-path", "asterisk-target", "bad-host", "bad-target", "bare-cr", "bare-lf",
    "body-too-large", "chunk-extension-byte", "chunk-extensions-too-long", "chunk-line-end", "chunk-size-byte",
    "chunk-size-too-large", "chunked-not-last", "chunked-repeated", "client-share", "closed-early", "coding-invalid",
    "coding-on-http10", "coding-repeated", "coding-unasked", "coding-unknown", "colon-missing", "connect",
    "connect-body", "connect-target", "connect-with-body", "connection-option", "deadline", "denied", "descriptors", "drained", "draining",
    "empty-lines", "empty-segment", "endless-interim", "error", "escape-invalid", "extra-space", "far-side", "far-side-busy", "first-byte", "handshake",
    "head-too-large", "host-invalid", "host-missing", "host-repeated", "http-version", "idle", "internal",
    "leading-whitespace", "length-and-coding", "length-invalid", "length-repeated", "length-too-large", "link-answer",
    "link-lost", "lookups", "loop", "malformed", "max-forwards", "max-per-origin", "max-total", "max-upgraded-per-origin", "method-byte", "method-not-allowed", "method-too-long", "misdirected", "name-byte",
    "name-empty", "name-not-found", "network", "no-route", "obs-fold", "origin-form", "parked", "parked-full",
    "premature-upgrade", "queue-full", "reason-byte", "refused", "request-body", "request-head", "request-rate", "reset",
    "resolve", "response-body", "response-rate", "shed", "socks", "socks-address-type", "socks-at-http-port", "socks-command", "space-before-colon",
    "status-code", "target-byte", "target-empty", "target-form", "target-too-large", "target-too-long", "tls",
    "tls-at-plain-port", "too-many-connection-options", "too-many-fields", "trailers-too-large", "unasked-upgrade", "unauthorized", "unreachable",
    "upstream-speaks-http2", "upstream-speaks-tls", "value-byte",
    "version-invalid", "version-missing", "version-unsupported",
];

const SIDES: usize = Who::ALL.len();

/// See the head of the file.
#[derive(Debug)]
pub struct Outcomes {
    done: LocalCounter,
    /// Grouped by side, and after the reasons of each side one entry for other reasons.
    ended: Box<[LocalCounter]>,
}

impl Default for Outcomes {
    fn default() -> Self {
        let ended = (0..SIDES * (REASONS.len() + 1))
            .map(|_| LocalCounter::default())
            .collect();
        Self {
            done: LocalCounter::default(),
            ended,
        }
    }
}

impl Outcomes {
    /// Counts one ending.
    pub fn note(&self, ending: Ending) {
        let Some(who) = ending.who else {
            return self.done.add(1);
        };
        let word = REASONS
            .binary_search(&ending.class)
            .unwrap_or(REASONS.len());
        if let Some(count) = self.ended.get(who as usize * (REASONS.len() + 1) + word) {
            count.add(1);
        }
    }

    /// The number of successes.
    pub fn done(&self) -> u64 {
        self.done.value()
    }

    /// Adds the numbers of failures to `sum`, which must be as long as [`Outcomes::room`].
    pub fn add_to(&self, sum: &mut [u64]) {
        for (to, from) in sum.iter_mut().zip(&self.ended) {
            *to += from.value();
        }
    }

    /// Zeroes for [`Outcomes::add_to`].
    pub fn room() -> Vec<u64> {
        vec![0; SIDES * (REASONS.len() + 1)]
    }

    /// The side and reason of each number of a sum, in order.
    pub fn labels() -> impl Iterator<Item = (Who, &'static str)> {
        Who::ALL.into_iter().flat_map(|who| {
            REASONS
                .iter()
                .copied()
                .chain([OTHER])
                .map(move |word| (who, word))
        })
    }
}

#[cfg(test)]
mod tests;
