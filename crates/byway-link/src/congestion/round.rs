//! Round: what is measured during one round trip.
//!
//! In:    the samples and losses of the round.
//! Out:   one [`RoundFacts`] when the round is over.

use std::time::Duration;

use super::arithmetic::percent;

/// The current round, and the number of rounds before it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Round {
    number: u64,
    /// The round is over when what was sent after this many delivered bytes is acknowledged.
    end: u64,
    rate: u64,
    app_limited: bool,
    min_round_trip: Option<Duration>,
    round_trip_sum: Duration,
    round_trip_count: u32,
    max_in_flight: u64,
}

/// What a completed round has measured.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RoundFacts {
    /// The highest delivery rate, in bytes per second; 0 if there was none.
    pub(super) rate: u64,
    /// In part of it the sender had too little to send.
    pub(super) app_limited: bool,
    pub(super) min_round_trip: Duration,
    pub(super) mean_round_trip: Duration,
    /// The most bytes in flight when a packet was sent that is now acknowledged or lost.
    pub(super) max_in_flight: u64,
    /// Bytes acknowledged in it.
    pub(super) acked: u64,
    /// No packet was found lost in it.
    pub(super) lossless: bool,
    /// Even the smallest round trip shows a queue.
    pub(super) queue: bool,
}

impl Round {
    /// The number of completed rounds.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Whether an acknowledged packet that was sent after `delivered` bytes ends the round.
    pub(super) fn ends_with(&self, delivered: u64) -> bool {
        delivered >= self.end
    }

    /// Lets the round end no earlier than with what is sent after `delivered` bytes.
    pub(super) fn extend_to(&mut self, delivered: u64) {
        self.end = self.end.max(delivered);
    }

    pub(super) fn add_round_trip(&mut self, round_trip: Duration) {
        let min = self
            .min_round_trip
            .map_or(round_trip, |min| min.min(round_trip));
        self.min_round_trip = Some(min);
        self.round_trip_sum = self.round_trip_sum.saturating_add(round_trip);
        self.round_trip_count = self.round_trip_count.saturating_add(1);
    }

    pub(super) fn add_rate(&mut self, rate: u64) {
        self.rate = self.rate.max(rate);
    }

    pub(super) fn add_app_limited(&mut self, app_limited: bool) {
        self.app_limited |= app_limited;
    }

    pub(super) fn add_in_flight(&mut self, in_flight: u64) {
        self.max_in_flight = self.max_in_flight.max(in_flight);
    }

    /// Ends the round and starts the next, which ends with what is sent after `delivered` bytes.
    /// `min_round_trip` is used for a round without a sample. Facts from elsewhere keep their
    /// defaults.
    pub(super) fn take(&mut self, delivered: u64, min_round_trip: Duration) -> RoundFacts {
        let next = Self {
            number: self.number + 1,
            end: delivered,
            ..Self::default()
        };
        let over = std::mem::replace(self, next);
        RoundFacts {
            rate: over.rate,
            app_limited: over.app_limited,
            min_round_trip: over.min_round_trip.unwrap_or(min_round_trip),
            mean_round_trip: over.round_trip_sum / over.round_trip_count.max(1),
            max_in_flight: over.max_in_flight,
            ..RoundFacts::default()
        }
    }
}

/// Whether the rate grows from round to round.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Growth {
    pub(super) best: u64,
    /// Rounds without growth.
    pub(super) flat: u32,
}

impl Growth {
    /// Ends a round of `rate`. Returns whether it is at least `growth` hundredths of the best
    /// before.
    pub(super) fn round(&mut self, rate: u64, growth: u64) -> bool {
        let grown = rate >= percent(self.best, growth) && rate > 0;
        if grown {
            (self.best, self.flat) = (rate, 0);
        } else {
            self.flat = self.flat.saturating_add(1);
        }
        grown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_reports_what_was_measured_in_it_and_the_next_begins_empty() {
        let ms = Duration::from_millis;
        let mut round = Round::default();
        for (round_trip, rate) in [(30, 100), (10, 300), (20, 200)] {
            round.add_round_trip(ms(round_trip));
            round.add_rate(rate);
            round.add_in_flight(rate * 2);
        }
        round.add_app_limited(true);
        round.add_app_limited(false);
        let facts = round.take(5000, ms(1));
        assert_eq!(
            (facts.rate, facts.max_in_flight, facts.app_limited),
            (300, 600, true)
        );
        assert_eq!(
            (facts.min_round_trip, facts.mean_round_trip),
            (ms(10), ms(20))
        );
        assert_eq!(round.number(), 1);
        assert!(round.ends_with(5000) && !round.ends_with(4999));
        round.extend_to(6000);
        round.extend_to(5500);
        assert!(round.ends_with(6000) && !round.ends_with(5999));
        let empty = round.take(7000, ms(1));
        assert_eq!(
            (empty.rate, empty.max_in_flight, empty.app_limited),
            (0, 0, false)
        );
        assert_eq!(
            (empty.min_round_trip, empty.mean_round_trip),
            (ms(1), Duration::ZERO)
        );
    }
}
