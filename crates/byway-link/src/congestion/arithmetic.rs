//! Arithmetic: rates, amounts and shares in whole numbers, without overflow.
//!
//! In:    bytes, durations, rates in bytes per second, shares in hundredths.
//! Out:   the result rounded down, or the largest value where it does not fit.

use std::time::Duration;

/// `bytes` over `interval`, as a rate.
pub(super) fn per_second(bytes: u64, interval: Duration) -> u64 {
    let nanos = interval.as_nanos().max(1);
    u64::try_from(u128::from(bytes) * 1_000_000_000 / nanos).unwrap_or(u64::MAX)
}

/// Bytes that are sent in `interval` at `rate`.
pub(super) fn bytes_in(rate: u64, interval: Duration) -> u64 {
    let bytes = u128::from(rate).saturating_mul(interval.as_nanos()) / 1_000_000_000;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// How long sending `bytes` takes at `rate`.
pub(super) fn time_for(bytes: u64, rate: u64) -> Duration {
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// `hundredths` of `value`.
pub(super) fn percent(value: u64, hundredths: u64) -> u64 {
    u64::try_from(u128::from(value) * u128::from(hundredths) / 100).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_rounded_down_and_saturate() {
        assert_eq!(per_second(10, Duration::from_secs(3)), 3);
        assert_eq!(per_second(u64::MAX, Duration::ZERO), u64::MAX);
        assert_eq!(bytes_in(999, Duration::from_millis(1500)), 1498);
        assert_eq!(bytes_in(u64::MAX, Duration::MAX), u64::MAX);
        assert_eq!(time_for(1, 3), Duration::from_nanos(333_333_333));
        assert_eq!(time_for(u64::MAX, 0), Duration::from_nanos(u64::MAX));
        assert_eq!((percent(199, 50), percent(u64::MAX, 200)), (99, u64::MAX));
    }
}
