//! Histogram: counts of durations, in buckets whose width grows with the duration.
//!
//! In:    durations, from one thread.
//! Out:   counts, read by any thread at any time; the error of a quantile is at most a sixteenth of
//!        its value.
//! Never: locks, allocates, or drops a value: a duration beyond the last bucket is counted there.

use std::time::Duration;

use super::counters::LocalCounter;

/// An octave (a doubling of the duration) is divided into this many buckets of equal width.
const STEPS: u32 = 8;
const STEP_BITS: u32 = STEPS.trailing_zeros();

/// Durations from 2^30 µs on (about 18 minutes) share the last bucket.
const MOST_BITS: u32 = 30;

/// Eight buckets of one microsecond each, eight for each octave from 8 µs to 2^30 µs, and the last.
const BUCKETS: usize = (MOST_BITS - STEP_BITS + 1) as usize * STEPS as usize + 1;

/// Counts durations in buckets whose width grows with the duration; a quantile is off by at most a
/// sixteenth. Only one thread may write it, any thread may read it. 1.8 KiB.
#[derive(Debug)]
pub struct Histogram {
    buckets: [LocalCounter; BUCKETS],
    sum_us: LocalCounter,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: std::array::from_fn(|_| LocalCounter::default()),
            sum_us: LocalCounter::default(),
        }
    }
}

impl Histogram {
    /// Counts one duration, in microseconds. Call it only on the thread that owns the histogram.
    pub fn note(&self, us: u64) {
        if let Some(bucket) = self.buckets.get(bucket_of(us)) {
            bucket.add(1);
        }
        self.sum_us.add(us);
    }

    /// Adds the current counts to `sum`.
    pub fn add_to(&self, sum: &mut Distribution) {
        for (to, from) in sum.buckets.iter_mut().zip(&self.buckets) {
            *to += from.value();
        }
        sum.sum_us += self.sum_us.value();
    }
}

/// The counts of one or more histograms at one time.
#[derive(Clone, Debug)]
pub struct Distribution {
    buckets: [u64; BUCKETS],
    sum_us: u64,
}

impl Default for Distribution {
    fn default() -> Self {
        Self {
            buckets: [0; BUCKETS],
            sum_us: 0,
        }
    }
}

impl Distribution {
    /// The number of durations.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The sum of all durations, in microseconds.
    pub fn sum_us(&self) -> u64 {
        self.sum_us
    }

    /// How many are below 2^`bits` µs, for `bits` from 3 to 30: exact, because no bucket crosses
    /// such a bound.
    pub fn below(&self, bits: u32) -> u64 {
        self.buckets
            .iter()
            .take(bucket_of(1 << bits.clamp(STEP_BITS, MOST_BITS)))
            .sum()
    }

    /// The duration that the share `share` (0 to 1) of all durations do not exceed; `None` if there
    /// are none.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let count = self.count();
        let wanted = ((count as f64 * share.clamp(0.0, 1.0)).ceil() as u64).max(1);
        let mut seen = 0;
        let index = self.buckets.iter().position(|bucket| {
            seen += bucket;
            seen >= wanted
        })?;
        Some(Duration::from_micros(middle_of(index)))
    }
}

/// The bucket of a duration: its octave, and the bits after the first one.
fn bucket_of(us: u64) -> usize {
    if us < u64::from(STEPS) {
        return us as usize;
    }
    let octave = u64::BITS - 1 - us.leading_zeros();
    if octave >= MOST_BITS {
        return BUCKETS - 1;
    }
    let step = (us >> (octave - STEP_BITS)) as usize & (STEPS as usize - 1);
    (octave - STEP_BITS + 1) as usize * STEPS as usize + step
}

/// The middle of a bucket, in microseconds.
fn middle_of(bucket: usize) -> u64 {
    let (row, step) = (bucket as u32 / STEPS, u64::from(bucket as u32 % STEPS));
    if row == 0 {
        return step;
    }
    let width = 1u64 << (row - 1);
    (u64::from(STEPS) + step) * width + width / 2
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(durations: impl IntoIterator<Item = u64>) -> Distribution {
        let histogram = Histogram::default();
        durations.into_iter().for_each(|us| histogram.note(us));
        let mut sum = Distribution::default();
        histogram.add_to(&mut sum);
        sum
    }

    proptest! {
        #[test]
        fn the_error_of_a_quantile_is_at_most_a_sixteenth(us in 0u64..(1 << 30)) {
            let quantile = of([us]).quantile(1.0).unwrap().as_micros() as u64;
            prop_assert!(quantile.abs_diff(us) * 16 <= us, "{us} gives {quantile}");
        }

        #[test]
        fn buckets_are_in_the_order_of_their_durations(us in 0u64..(1 << 31)) {
            prop_assert!(bucket_of(us) <= bucket_of(us + 1) && bucket_of(us + 1) <= bucket_of(us) + 1);
        }

        #[test]
        fn a_bound_divides_exactly(durations in prop::collection::vec(0u64..(1 << 32), 0..100), bits in 3u32..31) {
            let below = durations.iter().filter(|us| **us < 1 << bits).count() as u64;
            prop_assert_eq!(of(durations).below(bits), below);
        }
    }

    #[test]
    fn the_longest_durations_share_the_last_bucket() {
        assert_eq!(
            (
                bucket_of((1 << 30) - 1),
                bucket_of(1 << 30),
                bucket_of(u64::MAX)
            ),
            (BUCKETS - 2, BUCKETS - 1, BUCKETS - 1)
        );
        assert_eq!(of([1 << 40, 1]).below(30), 1);
    }

    #[test]
    fn quantiles_and_sums_are_those_of_the_counted_durations() {
        let sum = of(1..=1000);
        assert_eq!((sum.count(), sum.sum_us()), (1000, 500_500));
        let median = sum.quantile(0.5).unwrap().as_micros() as i64;
        assert!((median - 500).abs() <= 32, "{median}");
        assert_eq!(of([]).quantile(0.5), None);
    }
}
