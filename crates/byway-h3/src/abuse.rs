//! Abuse: what a peer may cost beyond what it is good for.
//!
//! In:    what the peer did, with its price; useful work; time.
//! Out:   whether the account is empty: the connection ends with H3_EXCESSIVE_LOAD.
//!
//! An exchange that is complete adds 40 points, 1 KiB of data 1, a second 100, up to
//! [`Limits::abuse_budget`](crate::Limits::abuse_budget).

use std::time::Instant;

use byway_head::AbuseAccount;

use crate::error::{ConnectionError, ErrorCode};

/// What the peer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// It reset a stream, or stopped reading one, before its end: 40 points.
    Reset,
    /// A request over the limit of streams: 40 points.
    Refused,
    /// A malformed message, or one that is too large: 40 points.
    Malformed,
    /// A unidirectional stream of an unknown type: 40 points.
    UnknownStream,
    /// A frame that has no use: an empty DATA, an unknown type, or a further interim response: 4
    /// points.
    Waste,
    /// A frame on the control stream, or an instruction of QPACK: 4 points.
    Control,
}

impl Cost {
    const fn points(self) -> u32 {
        match self {
            Self::Reset | Self::Refused | Self::Malformed | Self::UnknownStream => 40,
            Self::Waste | Self::Control => 4,
        }
    }

    /// What is said when it emptied the account.
    const fn reason(self) -> &'static str {
        match self {
            Self::Reset => "a flood of resets",
            Self::Refused => "a flood of streams",
            Self::Malformed => "a flood of malformed messages",
            Self::UnknownStream => "a flood of unknown streams",
            Self::Waste => "a flood of frames without use",
            Self::Control => "a flood of control frames",
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

    /// Takes points for something that happened `times` times.
    ///
    /// # Errors
    /// If too few are left.
    pub(crate) fn charge(
        &mut self,
        cost: Cost,
        times: usize,
        now: Instant,
    ) -> Result<(), ConnectionError> {
        let times = u32::try_from(times).unwrap_or(u32::MAX);
        match self.0.take(cost.points().saturating_mul(times), now) {
            true => Ok(()),
            false => Err(ConnectionError::new(
                ErrorCode::EXCESSIVE_LOAD,
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

    #[test]
    fn an_account_is_emptied_by_its_prices_and_refilled_by_work_and_time() {
        let start = Instant::now();
        let mut budget = AbuseBudget::new(100, start);
        assert_eq!(budget.charge(Cost::Reset, 2, start), Ok(()));
        let error = budget.charge(Cost::Reset, 1, start).unwrap_err();
        assert_eq!(
            (error.code, error.reason),
            (ErrorCode::EXCESSIVE_LOAD, "a flood of resets")
        );
        budget.completed();
        assert_eq!(budget.charge(Cost::Reset, 1, start), Ok(()));
        budget.moved(3 * 1024);
        budget.moved(1023);
        budget.moved(1);
        assert_eq!(budget.charge(Cost::Waste, 6, start), Ok(()));
        assert!(budget.charge(Cost::Waste, 1, start).is_err());
        let later = start + Duration::from_secs(100);
        assert_eq!(budget.charge(Cost::Waste, 25, later), Ok(()));
        assert!(budget.charge(Cost::Waste, 1, later).is_err());
        assert!(budget.charge(Cost::Waste, usize::MAX, later).is_err());
    }
}
