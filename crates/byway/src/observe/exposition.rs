//! Exposition: writes the text format of Prometheus (exposition format 0.0.4).
//!
//! In:    metric families: names, kinds, help texts, and samples with labels.
//! Out:   lines.
//! Never: two families of one name, a sample outside its family, or an unescaped label.

use std::fmt::{Display, Write};

use super::histogram::Distribution;

/// The Content-Type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// What has metrics to print.
pub trait Collect: Send + Sync {
    /// Prints them as they are now.
    fn collect(&self, out: &mut Exposition);
}

/// The text written so far.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
    families: Vec<FamilyHead>,
}

/// A family without its samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FamilyHead {
    /// Its name.
    pub name: &'static str,
    /// Its type, in the word of the format.
    pub kind: &'static str,
    /// The names of its labels.
    pub labels: Vec<&'static str>,
    /// Its meaning, in one sentence.
    pub help: &'static str,
}

/// The samples of one family with `N` labels.
#[derive(Debug)]
pub struct Family<'e, const N: usize> {
    text: &'e mut String,
    name: &'static str,
    labels: [&'static str; N],
}

/// Bucket bounds of a histogram: from 64 µs to 134 s, each twice the one before.
const BOUND_BITS: std::ops::RangeInclusive<u32> = 6..=27;

impl Exposition {
    /// Starts a family; `help` is one sentence.
    pub fn family<const N: usize>(
        &mut self,
        name: &'static str,
        kind: MetricKind,
        labels: [&'static str; N],
        help: &'static str,
    ) -> Family<'_, N> {
        let kind = match kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
        };
        self.head(name, kind, &labels, help);
        Family {
            text: &mut self.text,
            name,
            labels,
        }
    }

    /// Writes a family with one number and no labels.
    pub fn single(
        &mut self,
        name: &'static str,
        kind: MetricKind,
        help: &'static str,
        value: impl Display,
    ) {
        self.family(name, kind, [], help).sample([], value);
    }

    /// Writes a histogram of durations, in seconds. `name` must end in `_seconds`.
    pub fn histogram(&mut self, name: &'static str, help: &'static str, of: &Distribution) {
        self.head(name, "histogram", &[], help);
        let count = of.count();
        // `le` includes its bound and `below` does not. Durations are rounded down to whole µs, so
        // what counts as the bound lasted longer than it, but for one that is exact to the nanosecond.
        for bits in BOUND_BITS {
            let bound = seconds(1 << bits);
            self.line(format_args!(
                "{name}_bucket{{le=\"{bound}\"}} {}",
                of.below(bits)
            ));
        }
        self.line(format_args!("{name}_bucket{{le=\"+Inf\"}} {count}"));
        self.line(format_args!("{name}_sum {}", seconds(of.sum_us())));
        self.line(format_args!("{name}_count {count}"));
    }

    /// The whole text.
    pub fn into_text(self) -> String {
        self.text
    }

    /// The families written so far.
    pub fn families(&self) -> &[FamilyHead] {
        &self.families
    }

    fn head(
        &mut self,
        name: &'static str,
        kind: &'static str,
        labels: &[&'static str],
        help: &'static str,
    ) {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
        self.families.push(FamilyHead {
            name,
            kind,
            labels: labels.to_vec(),
            help,
        });
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String does not fail.
        let _ = writeln!(self.text, "{line}");
    }
}

impl<const N: usize> Family<'_, N> {
    /// Writes one sample with the values of its labels; an empty value leaves the label out.
    pub fn sample(&mut self, values: [&str; N], value: impl Display) {
        self.text.push_str(self.name);
        let mut before = '{';
        for (label, value) in self.labels.iter().zip(values) {
            if value.is_empty() {
                continue;
            }
            self.text.push(before);
            self.text.push_str(label);
            self.text.push_str("=\"");
            for character in value.chars() {
                match character {
                    '\\' | '"' => self.text.extend(['\\', character]),
                    '\n' => self.text.push_str("\\n"),
                    _ => self.text.push(character),
                }
            }
            self.text.push('"');
            before = ',';
        }
        if before == ',' {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }
}

/// Microseconds as seconds, exact, without trailing zeroes.
pub fn seconds(us: u64) -> String {
    let text = format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::histogram::Histogram;
    use super::*;

    #[test]
    fn labels_are_quoted_and_families_have_their_head() {
        let mut out = Exposition::default();
        let mut family = out.family(
            "a_total",
            MetricKind::Counter,
            ["listener", "code"],
            "What it is.",
        );
        family.sample(["a\"b\\c\nd", "2xx"], 7);
        family.sample(["", ""], 1);
        out.single("b_bytes", MetricKind::Gauge, "Another.", 0.5);
        let expected = "# HELP a_total What it is.\n# TYPE a_total counter\n\
                        a_total{listener=\"a\\\"b\\\\c\\nd\",code=\"2xx\"} 7\na_total 1\n\
                        # HELP b_bytes Another.\n# TYPE b_bytes gauge\nb_bytes 0.5\n";
        assert_eq!(out.into_text(), expected);
    }

    #[test]
    fn buckets_are_cumulative_and_end_with_everything() {
        let histogram = Histogram::default();
        [63, 64, 1_000_000, 1 << 40]
            .into_iter()
            .for_each(|us| histogram.note(us));
        let mut sum = Distribution::default();
        histogram.add_to(&mut sum);
        let mut out = Exposition::default();
        out.histogram("x_seconds", "How long.", &sum);
        let text = out.into_text();
        for line in [
            "x_seconds_bucket{le=\"0.000064\"} 1",
            "x_seconds_bucket{le=\"0.000128\"} 2",
            "x_seconds_bucket{le=\"1.048576\"} 3",
            "x_seconds_bucket{le=\"134.217728\"} 3",
            "x_seconds_bucket{le=\"+Inf\"} 4",
            "x_seconds_sum 1099512.627903",
            "x_seconds_count 4",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} in {text}");
        }
    }

    #[test]
    fn seconds_are_exact() {
        for (us, text) in [
            (0, "0"),
            (1, "0.000001"),
            (1_500_000, "1.5"),
            (10_000_000, "10"),
        ] {
            assert_eq!(seconds(us), text);
        }
    }
}
