//! Units: sizes, rates and durations as text.
//!
//! In:    text such as `256KiB`, `200Mbit/s` or `30s`.
//! Out:   bytes, bytes per second or a duration; each prints itself in a form that reads back as
//!        the same value.
//! Never: guesses: `64M`, `25Mb/s` and a duration without a unit are refused, with what to write
//!        instead.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A number of bytes: `256KiB`, `64MB`, `1GiB`, or plain `65536`. `KiB` is 1024, `KB` is 1000; the
/// case does not matter. At most `i64::MAX`, so that sums of a few stay within `u64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

/// A number of bytes per second: `25MiB/s`, or in bits `200Mbit/s` (rounded down to whole bytes;
/// `/s` may be left out after bits). `25Mb/s` is refused, because half of its readers take it for
/// bits. Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(pub u64);

/// A duration in whole milliseconds: `250ms`, `30s`, `10m`, `1h`, `7d`. At most 365 days, so that
/// adding it to a clock never overflows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period(pub Duration);

/// Why a text is not a size, rate or duration. Every message shows valid examples.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadQuantity {
    /// Does not start with a whole number.
    #[error("`{text}` is not a {}: write {}", .kind.name(), .kind.examples())]
    Malformed {
        /// As written.
        text: String,
        /// What it should have been.
        kind: UnitKind,
    },
    /// Starts with a minus sign.
    #[error("`{text}` is negative: write {}", .kind.examples())]
    Negative {
        /// As written.
        text: String,
        /// What it should have been.
        kind: UnitKind,
    },
    /// A number alone where the unit decides.
    #[error("`{text}` has no unit: write {}", .kind.examples())]
    NoUnit {
        /// As written.
        text: String,
        /// What it should have been.
        kind: UnitKind,
    },
    /// An unknown unit.
    #[error("`{text}` has the unknown unit `{unit}`: write {}", .kind.examples())]
    Unit {
        /// As written.
        text: String,
        /// Its unit.
        unit: String,
        /// What it should have been.
        kind: UnitKind,
    },
    /// `Mb/s`, which some read as bits and others as bytes.
    #[error(
        "`{text}` may mean bits or bytes: write {digits}Mbit/s for bits or {digits}MB/s for bytes"
    )]
    Ambiguous {
        /// As written.
        text: String,
        /// Its number.
        digits: u64,
    },
    /// Above the largest value.
    #[error("`{text}` is too large: the most is {most}")]
    TooLarge {
        /// As written.
        text: String,
        /// The largest value.
        most: &'static str,
    },
    /// Rounds down to zero.
    #[error("`{text}` is less than one byte per second: write {}", UnitKind::Rate.examples())]
    TooSmall {
        /// As written.
        text: String,
    },
}

/// The three kinds of quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitKind {
    /// A number of bytes.
    Size,
    /// Bytes per second.
    Rate,
    /// A duration.
    Period,
}

impl UnitKind {
    /// The word for it in a message.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Size => "size",
            Self::Rate => "rate",
            Self::Period => "duration",
        }
    }

    /// A regular expression (ECMA-262) for valid texts, whatever their range.
    pub(super) const fn pattern(self) -> &'static str {
        match self {
            Self::Size => "^\\s*[0-9]+\\s*(([kKmMgGtT][iI]?)?[bB])?\\s*$",
            Self::Rate => {
                "^\\s*[0-9]+\\s*(([kKmMgGtT][iI][bB]|[kKmMgGtT]?B)/s|[kKmMgGtT]?[bB][iI][tT](/s)?)\\s*$"
            }
            Self::Period => "^\\s*[0-9]+\\s*([mM]?[sS]|[mMhHdD])\\s*$",
        }
    }

    /// Valid examples, as a message shows them.
    pub const fn examples(self) -> &'static str {
        match self {
            Self::Size => "256KiB, 64MB, 1GiB or a plain number of bytes",
            Self::Rate => "25MiB/s, 200Mbit/s or 500kbit/s",
            Self::Period => "250ms, 30s, 10m, 1h or 7d",
        }
    }
}

const MOST_BYTES: u64 = i64::MAX.unsigned_abs();
const MOST_MILLIS: u64 = 365 * 24 * 3_600_000;

/// Longest units first, so that the first that divides a value prints it shortest.
const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];

/// Bits per second, without the `/s`.
const BITS: [(&str, u64); 5] = [
    ("bit", 1),
    ("kbit", 1_000),
    ("Mbit", 1_000_000),
    ("Gbit", 1_000_000_000),
    ("Tbit", 1_000_000_000_000),
];

const PERIODS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

impl FromStr for ByteSize {
    type Err = BadQuantity;

    fn from_str(text: &str) -> Result<Self, BadQuantity> {
        let (number, unit) = split(text, UnitKind::Size)?;
        let factor = match unit {
            "" => 1,
            unit => factor(&SIZES, unit).ok_or_else(|| unknown(text, unit, UnitKind::Size))?,
        };
        scaled(text, number, factor).map(Self)
    }
}

impl FromStr for Rate {
    type Err = BadQuantity;

    fn from_str(text: &str) -> Result<Self, BadQuantity> {
        let (number, unit) = split(text, UnitKind::Rate)?;
        if unit.is_empty() {
            return Err(BadQuantity::NoUnit {
                text: text.into(),
                kind: UnitKind::Rate,
            });
        }
        let per_second = unit.strip_suffix("/s");
        if let Some(bits) = factor(&BITS, per_second.unwrap_or(unit)) {
            return more_than_nothing(text, scaled(text, number, bits)? / 8);
        }
        let bytes = per_second.and_then(|unit| factor(&SIZES, unit).map(|factor| (unit, factor)));
        let Some((unit, factor)) = bytes else {
            return Err(unknown(text, unit, UnitKind::Rate));
        };
        if unit.ends_with('b') && !unit.to_ascii_lowercase().ends_with("ib") {
            return Err(BadQuantity::Ambiguous {
                text: text.into(),
                digits: number,
            });
        }
        more_than_nothing(text, scaled(text, number, factor)?)
    }
}

impl FromStr for Period {
    type Err = BadQuantity;

    fn from_str(text: &str) -> Result<Self, BadQuantity> {
        let (number, unit) = split(text, UnitKind::Period)?;
        if unit.is_empty() {
            return Err(BadQuantity::NoUnit {
                text: text.into(),
                kind: UnitKind::Period,
            });
        }
        let factor = factor(&PERIODS, unit).ok_or_else(|| unknown(text, unit, UnitKind::Period))?;
        match number.checked_mul(factor) {
            Some(millis) if millis <= MOST_MILLIS => Ok(Self(Duration::from_millis(millis))),
            _ => Err(BadQuantity::TooLarge {
                text: text.into(),
                most: "365d",
            }),
        }
    }
}

/// The leading digits as a number, and what follows them; one space between the two is fine.
fn split(text: &str, kind: UnitKind) -> Result<(u64, &str), BadQuantity> {
    let trimmed = text.trim();
    if trimmed.starts_with('-') {
        return Err(BadQuantity::Negative {
            text: text.into(),
            kind,
        });
    }
    let end = trimmed
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(trimmed.len());
    let (digits, unit) = trimmed.split_at(end);
    if digits.is_empty() || unit.starts_with(['.', ',', '_']) {
        return Err(BadQuantity::Malformed {
            text: text.into(),
            kind,
        });
    }
    // Digits alone fail to parse only because there are too many of them.
    let number = digits.parse().map_err(|_| BadQuantity::TooLarge {
        text: text.into(),
        most: most(kind),
    })?;
    Ok((number, unit.trim_start()))
}

fn factor(units: &[(&str, u64)], unit: &str) -> Option<u64> {
    units
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit))
        .map(|(_, factor)| *factor)
}

fn unknown(text: &str, unit: &str, kind: UnitKind) -> BadQuantity {
    BadQuantity::Unit {
        text: text.into(),
        unit: unit.into(),
        kind,
    }
}

const fn most(kind: UnitKind) -> &'static str {
    match kind {
        UnitKind::Size | UnitKind::Rate => "9223372036854775807 bytes",
        UnitKind::Period => "365d",
    }
}

fn scaled(text: &str, number: u64, factor: u64) -> Result<u64, BadQuantity> {
    number
        .checked_mul(factor)
        .filter(|bytes| *bytes <= MOST_BYTES)
        .ok_or_else(|| BadQuantity::TooLarge {
            text: text.into(),
            most: most(UnitKind::Size),
        })
}

fn more_than_nothing(text: &str, bytes: u64) -> Result<Rate, BadQuantity> {
    match bytes {
        0 => Err(BadQuantity::TooSmall { text: text.into() }),
        bytes => Ok(Rate(bytes)),
    }
}

/// The value in the largest unit that divides it.
fn shortest<'u>(value: u64, units: &[(&'u str, u64)], smallest: &'u str) -> (u64, &'u str) {
    let whole = units
        .iter()
        .find(|(_, factor)| value >= *factor && value.is_multiple_of(*factor));
    whole.map_or((value, smallest), |(unit, factor)| (value / factor, unit))
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, unit) = shortest(self.0, &SIZES, "B");
        write!(f, "{number}{unit}")
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", ByteSize(self.0))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        match shortest(millis, &PERIODS, "ms") {
            (0, _) => f.write_str("0s"),
            (number, unit) => write!(f, "{number}{unit}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(text: &str) -> Result<u64, String> {
        text.parse::<ByteSize>()
            .map(|v| v.0)
            .map_err(|e| e.to_string())
    }

    fn rate(text: &str) -> Result<u64, String> {
        text.parse::<Rate>().map(|v| v.0).map_err(|e| e.to_string())
    }

    fn millis(text: &str) -> Result<u128, String> {
        text.parse::<Period>()
            .map(|v| v.0.as_millis())
            .map_err(|e| e.to_string())
    }

    #[test]
    fn sizes_have_binary_and_decimal_units_in_any_case() {
        assert_eq!(bytes("256KiB"), Ok(262_144));
        assert_eq!(bytes("64MB"), Ok(64_000_000));
        assert_eq!(bytes("1 gib"), Ok(1 << 30));
        assert_eq!(bytes("65536"), Ok(65_536));
        assert_eq!(bytes("0"), Ok(0));
        assert_eq!(bytes("7B"), Ok(7));
    }

    #[test]
    fn errors_of_sizes_show_valid_examples() {
        let examples = "256KiB, 64MB, 1GiB or a plain number of bytes";
        assert_eq!(
            bytes("64M"),
            Err(format!("`64M` has the unknown unit `M`: write {examples}"))
        );
        assert_eq!(
            bytes("much"),
            Err(format!("`much` is not a size: write {examples}"))
        );
        assert_eq!(
            bytes(""),
            Err(format!("`` is not a size: write {examples}"))
        );
        assert_eq!(
            bytes("1.5GiB"),
            Err(format!("`1.5GiB` is not a size: write {examples}"))
        );
        assert_eq!(
            bytes("-1"),
            Err(format!("`-1` is negative: write {examples}"))
        );
        assert_eq!(
            bytes("9000000TiB"),
            Err("`9000000TiB` is too large: the most is 9223372036854775807 bytes".into())
        );
        assert_eq!(
            bytes("99999999999999999999"),
            Err(
                "`99999999999999999999` is too large: the most is 9223372036854775807 bytes".into()
            )
        );
    }

    #[test]
    fn rates_are_bytes_or_bits_per_second() {
        assert_eq!(rate("25MiB/s"), Ok(25 << 20));
        assert_eq!(rate("200Mbit/s"), Ok(25_000_000));
        assert_eq!(rate("50mbit"), Ok(6_250_000));
        assert_eq!(rate("1mib/s"), Ok(1 << 20));
    }

    #[test]
    fn a_rate_that_may_mean_bits_or_bytes_is_refused() {
        let expected =
            "`25Mb/s` may mean bits or bytes: write 25Mbit/s for bits or 25MB/s for bytes";
        assert_eq!(rate("25Mb/s"), Err(expected.into()));
    }

    #[test]
    fn a_rate_without_a_unit_of_time_or_of_zero_is_refused() {
        let examples = "25MiB/s, 200Mbit/s or 500kbit/s";
        assert_eq!(
            rate("25MiB"),
            Err(format!(
                "`25MiB` has the unknown unit `MiB`: write {examples}"
            ))
        );
        assert_eq!(
            rate("100"),
            Err(format!("`100` has no unit: write {examples}"))
        );
        assert_eq!(
            rate("7bit/s"),
            Err(format!(
                "`7bit/s` is less than one byte per second: write {examples}"
            ))
        );
        assert_eq!(
            rate("0MB/s"),
            Err(format!(
                "`0MB/s` is less than one byte per second: write {examples}"
            ))
        );
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(millis("250ms"), Ok(250));
        assert_eq!(millis("30s"), Ok(30_000));
        assert_eq!(millis("10m"), Ok(600_000));
        assert_eq!(millis("1h"), Ok(3_600_000));
        let examples = "250ms, 30s, 10m, 1h or 7d";
        assert_eq!(
            millis("30"),
            Err(format!("`30` has no unit: write {examples}"))
        );
        assert_eq!(
            millis("3 weeks"),
            Err(format!(
                "`3 weeks` has the unknown unit `weeks`: write {examples}"
            ))
        );
        assert_eq!(
            millis("-3s"),
            Err(format!("`-3s` is negative: write {examples}"))
        );
        assert_eq!(
            millis("366d"),
            Err("`366d` is too large: the most is 365d".into())
        );
    }

    #[test]
    fn values_print_in_the_largest_unit_that_divides_them() {
        assert_eq!(ByteSize(262_144).to_string(), "256KiB");
        assert_eq!(ByteSize(1_000).to_string(), "1KB");
        assert_eq!(ByteSize(1_001).to_string(), "1001B");
        assert_eq!(ByteSize(0).to_string(), "0B");
        assert_eq!(Rate(25_000_000).to_string(), "25MB/s");
        assert_eq!(Period(Duration::from_secs(90)).to_string(), "90s");
        assert_eq!(Period(Duration::from_secs(600)).to_string(), "10m");
        assert_eq!(Period(Duration::ZERO).to_string(), "0s");
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back_as_the_same_value(number in 0u64..=MOST_BYTES, shift in 0u32..63) {
            let number = number >> shift;
            prop_assert_eq!(ByteSize(number).to_string().parse(), Ok(ByteSize(number)));
            let rate = Rate(number.max(1));
            prop_assert_eq!(rate.to_string().parse(), Ok(rate));
            let period = Period(Duration::from_millis(number % (MOST_MILLIS + 1)));
            prop_assert_eq!(period.to_string().parse(), Ok(period));
        }

        /// A text that a parser refuses only for its size matches the pattern, too.
        #[test]
        fn the_patterns_match_what_the_parsers_read(text in "[ -]?[0-9]{0,3} ?[kKMGx]?i?[bB]?(it)?[smhd]{0,2}(/s)?") {
            let refused = |kind: UnitKind, error: Option<String>| {
                let matches = regex::Regex::new(kind.pattern()).unwrap().is_match(&text);
                let of_size = |error: &String| {
                    error.contains("less than one byte") || error.contains("is too large")
                };
                let read = error.as_ref().is_none_or(of_size);
                prop_assert_eq!(matches, read, "{} {:?}", text, error);
                Ok(())
            };
            refused(UnitKind::Size, bytes(&text).err())?;
            refused(UnitKind::Rate, rate(&text).err())?;
            refused(UnitKind::Period, millis(&text).err())?;
        }

        #[test]
        fn no_text_makes_a_parser_panic(text in ".{0,12}") {
            let _ = (bytes(&text), rate(&text), millis(&text));
        }
    }
}
