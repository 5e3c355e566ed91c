//! Abuse: what a peer may cost beyond what it is good for.
//!
//! In:    what the peer did, with its price; useful work; time.
//! Out:   whether the account is empty: the connection ends with ENHANCE_YOUR_CALM.
//! Never: charges for data, heads and windows that a busy client of good will needs.
//!
//! Prices, from an account of [`Limits::abuse_budget`](crate::Limits::abuse_budget), 10,000 by
//! default:
//!
//! | what the peer did | price |
//! |---|---|
//! | resets a stream before its end; a request that is refused, malformed or too large | 40 |
//! | breaks a rule of a stream, so that it is reset | 100 |
//! | SETTINGS | 40 |
//! | empty DATA, CONTINUATION | 10 |
//! | PING, unknown frames, frames on streams that this side has reset or does not process | 4 |
//! | PRIORITY, PRIORITY_UPDATE | 2 |
//! | WINDOW_UPDATE | 1 |
//!
//! | what refills it, to its full size at most | points |
//! |---|---|
//! | an exchange: both messages of a stream have ended, and its head was within the limits | 40 |
//! | 1 KiB of data, in either direction | 1 |
//! | a second | 100 |

use std::time::Instant;

use byway_head::AbuseAccount;

use crate::error::{ConnectionError, ErrorCode};

/// What the peer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cost {
    Reset,
    Refused,
    Malformed,
    Violation,
    Settings,
    EmptyData,
    Continuation,
    Ping,
    Unknown,
    Late,
    Priority,
    WindowUpdate,
}

impl Cost {
    const fn points(self) -> u32 {
        match self {
            Self::Violation => 100,
            Self::Reset | Self::Refused | Self::Malformed | Self::Settings => 40,
            Self::EmptyData | Self::Continuation => 10,
            Self::Ping | Self::Unknown | Self::Late => 4,
            Self::Priority => 2,
            Self::WindowUpdate => 1,
        }
    }

    /// What is said when it emptied the account.
    const fn reason(self) -> &'static str {
        match self {
            Self::Reset => "a flood of resets",
            Self::Refused => "a flood of streams",
            Self::Malformed => "a flood of malformed requests",
            Self::Violation => "a flood of stream errors",
            Self::Settings => "a flood of SETTINGS",
            Self::EmptyData => "a flood of empty DATA",
            Self::Continuation => "a flood of CONTINUATION",
            Self::Ping => "a flood of PING",
            Self::Unknown => "a flood of unknown frames",
            Self::Late => "a flood of frames on streams that are over",
            Self::Priority => "a flood of priorities",
            Self::WindowUpdate => "a flood of WINDOW_UPDATE",
        }
    }
}

/// The account of one connection.
#[derive(Debug)]
pub(crate) struct AbuseBudget(AbuseAccount);

impl AbuseBudget {
    pub(crate) fn new(full: u32, now: Instant) -> Self {
        Self(AbuseAccount::new(full, now))
    }

    /// Takes points.
    ///
    /// # Errors
    /// If too few are left.
    pub(crate) fn charge(&mut self, cost: Cost, now: Instant) -> Result<(), ConnectionError> {
        match self.0.take(cost.points(), now) {
            true => Ok(()),
            false => Err(ConnectionError::new(
                ErrorCode::ENHANCE_YOUR_CALM,
                cost.reason(),
            )),
        }
    }

    /// Adds points for an exchange that is complete.
    pub(crate) fn completed(&mut self) {
        self.0.completed();
    }

    /// Adds points for data that has moved.
    pub(crate) fn moved(&mut self, bytes: usize) {
        self.0.moved(bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn times(budget: &mut AbuseBudget, cost: Cost, now: Instant) -> usize {
        (0..)
            .take_while(|_| budget.charge(cost, now).is_ok())
            .count()
    }

    #[test]
    fn an_account_is_emptied_by_its_prices_and_says_by_what() {
        let now = Instant::now();
        for (cost, most) in [
            (Cost::Reset, 25),
            (Cost::Violation, 10),
            (Cost::Ping, 250),
            (Cost::WindowUpdate, 1000),
        ] {
            let mut budget = AbuseBudget::new(1000, now);
            assert_eq!(times(&mut budget, cost, now), most);
            let error = budget.charge(cost, now).unwrap_err();
            assert_eq!(error.code, ErrorCode::ENHANCE_YOUR_CALM);
            assert_eq!(error.reason, cost.reason());
        }
    }

    #[test]
    fn useful_work_and_time_refill_it_up_to_its_size() {
        let start = Instant::now();
        let mut budget = AbuseBudget::new(1000, start);
        budget.completed();
        assert_eq!(times(&mut budget, Cost::Ping, start), 250);
        budget.completed();
        assert_eq!(times(&mut budget, Cost::Ping, start), 10);
        for _ in 0..8 {
            budget.moved(1000);
        }
        assert_eq!(times(&mut budget, Cost::WindowUpdate, start), 7);
        let later = start + Duration::from_millis(2500);
        assert_eq!(times(&mut budget, Cost::WindowUpdate, later), 200);
        let much_later = start + Duration::from_secs(1_000_000);
        assert_eq!(times(&mut budget, Cost::WindowUpdate, much_later), 1000);
    }
}
