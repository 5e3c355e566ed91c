//! Statistics: medians, spreads and quantiles of measurements.
//!
//! In:    numbers in any order.
//! Out:   one of them, or the middle of two of them.
//! Never: a mean, which one bad round moves.

use std::time::Duration;

/// The middle value, or the mean of the two in the middle if the count is even. `None` if there are
/// none.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let (low, high) = (
        values.get(values.len().checked_sub(1)? / 2)?,
        values.get(values.len() / 2)?,
    );
    Some((low + high) / 2.0)
}

/// A median with the least and the most of its values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    /// The least of them.
    pub(crate) least: f64,
    /// The middle of them.
    pub(crate) median: f64,
    /// The most of them.
    pub(crate) most: f64,
}

impl Spread {
    /// The spread of these values; `None` if there are none.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let values: Vec<f64> = values.into_iter().collect();
        let least = values.iter().copied().reduce(f64::min)?;
        let most = values.iter().copied().reduce(f64::max)?;
        Some(Self {
            least,
            median: median(values)?,
            most,
        })
    }

    /// A value that was measured once.
    pub(crate) const fn single(value: f64) -> Self {
        Self {
            least: value,
            median: value,
            most: value,
        }
    }
}

/// How long the requests of one round took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quantiles {
    /// Half of them took no longer.
    pub(crate) p50: Duration,
    /// 99 of a hundred took no longer.
    pub(crate) p99: Duration,
}

impl Quantiles {
    /// The quantiles of these durations; `None` if there are none.
    pub(crate) fn of(mut took: Vec<Duration>) -> Option<Self> {
        took.sort_unstable();
        Some(Self {
            p50: quantile(&took, 50)?,
            p99: quantile(&took, 99)?,
        })
    }
}

/// The least value that at least `percent` of a hundred values do not exceed (nearest rank).
fn quantile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_of_an_even_count_lies_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median([]), None);
    }

    #[test]
    fn a_spread_holds_the_ends_and_the_middle() {
        assert_eq!(
            Spread::of([3.0, 1.0, 10.0]),
            Some(Spread {
                least: 1.0,
                median: 3.0,
                most: 10.0
            })
        );
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn quantiles_are_values_that_occurred_at_the_nearest_rank() {
        let took = |count: u64| {
            (1..=count)
                .rev()
                .map(Duration::from_micros)
                .collect::<Vec<_>>()
        };
        let of = |count| {
            Quantiles::of(took(count))
                .map(|quantiles| (quantiles.p50.as_micros(), quantiles.p99.as_micros()))
        };
        assert_eq!(of(100), Some((50, 99)));
        assert_eq!(of(1000), Some((500, 990)));
        assert_eq!(of(1), Some((1, 1)));
        assert_eq!(of(0), None);
    }
}
