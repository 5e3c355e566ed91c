//! Quantity: numbers, sizes and durations within their ranges.
//!
//! In:    a value as written, its range and its default.
//! Out:   the value, or the default where nothing or something wrong is written.
//! Never: clamps silently: a value out of range is an error that names the range.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::super::diagnostic::Diagnostic;
use super::super::place::{At, Place, Text};
use super::super::units::{ByteSize, Period, Rate};
use super::Resolver;

/// From one millisecond to what [`Period`] can hold.
pub(super) const ANY_TIME: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(365 * 86_400);

/// From one byte to what [`ByteSize`] can hold.
pub(super) const ANY_SIZE: RangeInclusive<u64> = 1..=i64::MAX.unsigned_abs();

/// A count that fits every type that counts are kept in; far beyond what a machine can hold open.
pub(super) const ANY_COUNT: RangeInclusive<u64> = 1..=1_000_000_000;

impl Resolver<'_> {
    /// A whole number.
    pub(super) fn count(
        &mut self,
        key: &str,
        at: &Option<At<u64>>,
        range: RangeInclusive<u64>,
        default: u64,
    ) -> usize {
        let number = match at {
            Some(at) if self.in_range(key, &at.place, &at.value, &range, u64::to_string) => {
                at.value
            }
            _ => default,
        };
        usize::try_from(number).unwrap_or(usize::MAX)
    }

    /// A size in bytes.
    pub(super) fn size(
        &mut self,
        key: &str,
        at: &Option<Text>,
        range: RangeInclusive<u64>,
        default: u64,
    ) -> u64 {
        self.optional_size(key, at, range).unwrap_or(default)
    }

    /// A size in bytes that may be left out.
    pub(super) fn optional_size(
        &mut self,
        key: &str,
        at: &Option<Text>,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        let text = at.as_ref()?;
        let ByteSize(size) = self.parsed(key, text)?;
        self.in_range(key, &text.place, &size, &range, |size| ByteSize(*size))
            .then_some(size)
    }

    /// A size or `none` for no limit; `inherited` if nothing is written.
    pub(super) fn ceiling(
        &mut self,
        key: &str,
        at: &Option<Text>,
        inherited: Option<u64>,
    ) -> Option<u64> {
        match at {
            None => inherited,
            Some(text) if text.value == "none" => None,
            Some(_) => self.optional_size(key, at, ANY_SIZE).or(inherited),
        }
    }

    /// A rate or `none` for no least.
    pub(super) fn floor(&mut self, key: &str, at: &Option<Text>, default: Rate) -> Option<Rate> {
        match at {
            None => Some(default),
            Some(text) if text.value == "none" => None,
            Some(text) => Some(self.parsed(key, text).unwrap_or(default)),
        }
    }

    /// A duration, or `"none"`, the default.
    pub(super) fn optional_period(
        &mut self,
        key: &str,
        at: &Option<Text>,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        match at {
            Some(text) if text.value != "none" => Some(self.period(key, at, range, Duration::ZERO)),
            _ => None,
        }
    }

    /// A duration.
    pub(super) fn period(
        &mut self,
        key: &str,
        at: &Option<Text>,
        range: RangeInclusive<Duration>,
        default: Duration,
    ) -> Duration {
        let Some(text) = at else { return default };
        let Some(Period(period)) = self.parsed(key, text) else {
            return default;
        };
        match self.in_range(key, &text.place, &period, &range, |period| Period(*period)) {
            true => period,
            false => default,
        }
    }

    fn in_range<T: PartialOrd, S: Display>(
        &mut self,
        key: &str,
        place: &Place,
        value: &T,
        range: &RangeInclusive<T>,
        show: impl Fn(&T) -> S,
    ) -> bool {
        if range.contains(value) {
            return true;
        }
        let (bound, edge) = if value < range.start() {
            ("least", range.start())
        } else {
            ("most", range.end())
        };
        let message = format!(
            "`{key}` must be at {bound} {}, but is {}",
            show(edge),
            show(value)
        );
        self.note(Diagnostic::new(place, message));
        false
    }
}
