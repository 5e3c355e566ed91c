//! Bounds: upper limits of the bytes in flight that were learned from losses.
//!
//! In:    what the controller concludes from the losses of a round.
//! Out:   the limits; the largest value where there is none.

use super::arithmetic::percent;

/// How much of the upper bound is used between probes, in hundredths, so that other flows find
/// room.
const HEADROOM: u64 = 85;

/// Upper limits on the bytes in flight, learned from losses. By default nothing is limited.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bounds {
    /// The largest amount that probes have found to fit.
    pub(super) high: Option<u64>,
    /// A lower limit, set by losses since the last probe.
    low: Option<u64>,
    /// `low` was set by losses without a queue, and grows again in rounds without loss.
    low_recovers: bool,
    /// Grows from the first window again, after persistent congestion.
    ramp: Option<u64>,
}

impl Bounds {
    pub(super) fn high(&self) -> u64 {
        self.high.unwrap_or(u64::MAX)
    }

    /// The part of `high` that is used between probes.
    pub(super) fn high_between_probes(&self) -> u64 {
        self.high.map_or(u64::MAX, |high| percent(high, HEADROOM))
    }

    /// How much a probe for more may have in flight: `gain` hundredths of `high`, and at least
    /// `least` more than it. A small bound would not grow otherwise, since partial packets are not
    /// sent.
    pub(super) fn high_in_probe(&self, gain: u64, least: u64) -> u64 {
        let grown = |high: u64| percent(high, gain).max(high.saturating_add(least));
        self.high.map_or(u64::MAX, grown)
    }

    pub(super) fn low(&self) -> u64 {
        self.low.unwrap_or(u64::MAX)
    }

    /// Replaces `low`; `recovers`: it grows again in rounds without loss.
    pub(super) fn set_low(&mut self, low: u64, recovers: bool) {
        (self.low, self.low_recovers) = (Some(low), recovers);
    }

    /// Ends a round without congestion. `low` becomes `growth` hundredths of itself if it recovers
    /// and the round had no loss, and is removed when it reaches `limit`.
    pub(super) fn recover_low(&mut self, lossless: bool, growth: u64, limit: u64) {
        if self.low_recovers && lossless {
            self.low = self
                .low
                .map(|low| percent(low, growth))
                .filter(|low| *low < limit);
        }
    }

    pub(super) fn remove_low(&mut self) {
        (self.low, self.low_recovers) = (None, false);
    }

    pub(super) fn ramp(&self) -> u64 {
        self.ramp.unwrap_or(u64::MAX)
    }

    pub(super) fn start_ramp(&mut self, window: u64) {
        self.ramp = Some(window);
    }

    /// Ends a round. The ramp doubles without congestion, and is removed when it reaches `limit`.
    pub(super) fn grow_ramp(&mut self, congested: bool, limit: u64) {
        let growth = if congested { 1 } else { 2 };
        self.ramp = self
            .ramp
            .map(|ramp| ramp.saturating_mul(growth))
            .filter(|ramp| *ramp < limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_low_bound_recovers_only_if_it_may_and_after_rounds_without_loss() {
        let mut bounds = Bounds::default();
        assert_eq!((bounds.low(), bounds.high()), (u64::MAX, u64::MAX));
        bounds.set_low(1000, false);
        bounds.recover_low(true, 125, 10_000);
        assert_eq!(bounds.low(), 1000);
        bounds.set_low(1000, true);
        bounds.recover_low(false, 125, 10_000);
        assert_eq!(bounds.low(), 1000);
        bounds.recover_low(true, 125, 10_000);
        assert_eq!(bounds.low(), 1250);
        bounds.recover_low(true, 125, 1500);
        assert_eq!(bounds.low(), u64::MAX);
    }

    #[test]
    fn a_ramp_doubles_each_round_without_congestion_until_its_limit() {
        let mut bounds = Bounds::default();
        bounds.start_ramp(100);
        bounds.grow_ramp(true, 400);
        assert_eq!(bounds.ramp(), 100);
        bounds.grow_ramp(false, 400);
        assert_eq!(bounds.ramp(), 200);
        bounds.grow_ramp(false, 400);
        assert_eq!(bounds.ramp(), u64::MAX);
    }

    #[test]
    fn a_probe_may_exceed_a_small_upper_bound_by_whole_packets_and_a_large_one_by_a_share() {
        let mut bounds = Bounds::default();
        assert_eq!(bounds.high_in_probe(125, 5000), u64::MAX);
        bounds.high = Some(3000);
        assert_eq!(bounds.high_in_probe(125, 5000), 8000);
        bounds.high = Some(100_000);
        assert_eq!(bounds.high_in_probe(125, 5000), 125_000);
    }
}
