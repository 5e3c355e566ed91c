//! Figures: samples become a table and an answer.
//!
//! In:    rows of samples, and what they count.
//! Out:   medians with their spread, ratios round by round, and in words who wins and what was the limit.
//! Never: hides a question that a peer wins, and never compares across runs.

use super::cast::{Cast, Part};
use super::rounds::{Row, Sample};
use crate::report::{Section, grouped};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Requests; costs in microseconds a request.
    Requests,
    /// Bytes; costs in seconds a GB (10^9 bytes).
    Bytes,
}

impl Unit {
    const fn head(self) -> [&'static str; 9] {
        match self {
            Self::Requests => [
                "subject",
                "requests per CPU-s",
                "(least … most)",
                "byway ÷ it",
                "us per request",
                "user",
                "system",
                "requests/s",
                "core: subject + others",
            ],
            Self::Bytes => [
                "subject",
                "GB per CPU-s",
                "(least … most)",
                "byway ÷ it",
                "CPU-s per GB",
                "user",
                "system",
                "MB/s",
                "core: subject + others",
            ],
        }
    }

    fn per_cpu(self, value: f64) -> String {
        match self {
            Self::Requests => grouped(value),
            Self::Bytes => format!("{:.2}", value / 1e9),
        }
    }

    fn cost(self, seconds_a_piece: f64) -> String {
        match self {
            Self::Requests => format!("{:.1}", seconds_a_piece * 1e6),
            Self::Bytes => format!("{:.3}", seconds_a_piece * 1e9),
        }
    }

    fn rate(self, value: f64) -> String {
        match self {
            Self::Requests => grouped(value),
            Self::Bytes => grouped(value / 1e6),
        }
    }

    const fn per_cpu_in_words(self) -> &'static str {
        match self {
            Self::Requests => "requests per CPU-second",
            Self::Bytes => "bytes per CPU-second",
        }
    }
}

/// Fills a section with the table, the answers and what has to be known to read them.
pub(crate) fn fill(section: &mut Section, unit: Unit, rounds: usize, rows: &[Row], cast: &Cast) {
    section.head(unit.head());
    for row in rows {
        section.row(cells(unit, row, rows));
    }
    for row in rows {
        answers(unit, row, rows).into_iter().for_each(|answer| section.answer(answer));
    }
    limit(unit, rows).into_iter().for_each(|note| section.note(note));
    let whole = rows.iter().filter(|row| row.failure.is_none()).map(|row| row.samples.len()).min();
    if let Some(done) = whole.filter(|done| *done < rounds) {
        section.note(format!("Only {done} of {rounds} rounds: the time budget of the run was used up."));
    }
    cast.left_out.iter().for_each(|why| section.note(format!("Left out: {why}.")));
    for row in rows {
        if let Some(failure) = &row.failure {
            section.note(format!("{} failed after {} rounds: {failure}.", row.subject.name, row.samples.len()));
        }
    }
}

fn cells(unit: Unit, row: &Row, rows: &[Row]) -> [String; 9] {
    let none = || "–".to_owned();
    let of = |value: fn(&Sample) -> Option<f64>, text: &dyn Fn(f64) -> String| {
        median(row.samples.iter().filter_map(value)).map_or_else(none, text)
    };
    let all: Vec<f64> = row.samples.iter().filter_map(per_cpu).collect();
    let spread = all.iter().copied().reduce(f64::min).zip(all.iter().copied().reduce(f64::max));
    let core = median(row.samples.iter().filter_map(used)).map(|used| format!("{:.0} %", used * 100.0));
    let others = median(row.samples.iter().map(|sample| sample.others)).unwrap_or_default();
    [
        row.subject.name.clone(),
        of(per_cpu, &|value| unit.per_cpu(value)),
        spread.map_or_else(none, |(least, most)| format!("{} … {}", unit.per_cpu(least), unit.per_cpu(most))),
        ratio(row, rows).map_or_else(none, |ratio| format!("{ratio:.2}")),
        of(|sample| Some(sample.cpu?.total().as_secs_f64() / sample.work), &|value| unit.cost(value)),
        of(|sample| Some(sample.cpu?.user.as_secs_f64() / sample.work), &|value| unit.cost(value)),
        of(|sample| Some(sample.cpu?.system.as_secs_f64() / sample.work), &|value| unit.cost(value)),
        of(|sample| Some(rate(sample)), &|value| unit.rate(value)),
        format!("{} + {:.0} %", core.unwrap_or_else(none), others * 100.0),
    ]
}

fn per_cpu(sample: &Sample) -> Option<f64> {
    let seconds = sample.cpu?.total().as_secs_f64();
    (seconds > 0.0).then(|| sample.work / seconds)
}

fn rate(sample: &Sample) -> f64 {
    sample.work / sample.wall.as_secs_f64()
}

/// The share of its core that the subject used.
fn used(sample: &Sample) -> Option<f64> {
    Some(sample.cpu?.total().as_secs_f64() / sample.wall.as_secs_f64())
}

/// The median over the rounds of our work per CPU-second divided by this row's.
fn ratio(row: &Row, rows: &[Row]) -> Option<f64> {
    let ours = rows.iter().find(|other| other.subject.name == row.subject.against)?;
    let pairs = ours.samples.iter().zip(&row.samples);
    let ratios = pairs.filter_map(|(ours, its)| Some(per_cpu(ours)? / per_cpu(its)?));
    (ours.subject.name != row.subject.name).then(|| median(ratios)).flatten()
}

fn answers(unit: Unit, row: &Row, rows: &[Row]) -> Option<String> {
    /// Smaller differences than this are within the noise of a shared machine.
    const EVEN: f64 = 0.03;
    let ratio = ratio(row, rows)?;
    let (ours, name, what) = (row.subject.against, &row.subject.name, unit.per_cpu_in_words());
    match row.subject.part {
        Part::Peer if ratio > 1.0 + EVEN => Some(format!("{ours} wins over {name}: {ratio:.2} × its {what}.")),
        Part::Peer if ratio < 1.0 - EVEN => Some(format!("**{name} wins**: {ours} does {ratio:.2} × its {what}.")),
        Part::Peer => Some(format!("{ours} and {name} are even ({ratio:.2} × its {what}).")),
        Part::Floor => Some(format!("{ours} reaches {ratio:.2} of a byway that parses nothing.")),
        Part::Ours | Part::Ceiling => None,
    }
}

/// Whether the load or the subject was the limit.
fn limit(unit: Unit, rows: &[Row]) -> Option<String> {
    let (ceiling, _) = rows.iter().filter(|row| row.subject.part == Part::Ceiling).find_map(speed)?;
    let others = rows.iter().filter(|row| row.subject.part != Part::Ceiling);
    let (fastest, row) = others.filter_map(speed).max_by(|a, b| a.0.total_cmp(&b.0))?;
    let share = fastest / ceiling;
    let what = if unit == Unit::Requests { "requests/s" } else { "MB/s" };
    let judged = match share < 0.9 {
        true => "the generator was not the limit",
        false => "**the generator may have been the limit**: read only what is counted per CPU-second",
    };
    Some(format!(
        "Generator and origin alone reach {} {what}; the fastest subject ({}) came to {:.0} % of that: {judged}.",
        unit.rate(ceiling),
        row.subject.name,
        share * 100.0
    ))
}

fn speed(row: &Row) -> Option<(f64, &Row)> {
    median(row.samples.iter().map(rate)).map(|rate| (rate, row))
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
    Some((low + high) / 2.0)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use super::super::cast::Subject;
    use super::*;
    use crate::load::reach::Reach;
    use crate::process::CpuTime;

    fn row(name: &str, part: Part, work: &[f64]) -> Row {
        let second = Duration::from_secs(1);
        let cpu = CpuTime { user: second / 2, system: second / 2 };
        let sample = |work: &f64| Sample { work: *work, wall: second, cpu: Some(cpu), others: 0.0 };
        let reach = Reach::Plain(SocketAddr::from(([127, 0, 0, 1], 1)));
        let subject = Subject { name: name.to_owned(), part, pid: None, reach, against: "byway" };
        Row { subject, samples: work.iter().map(sample).collect(), failure: None }
    }

    #[test]
    fn a_median_of_an_even_count_lies_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), Some(2.5));
        assert_eq!(median(std::iter::empty()), None);
    }

    #[test]
    fn ratios_are_taken_round_by_round_and_a_peer_that_wins_is_named() {
        let rows = [
            row("byway", Part::Ours, &[100.0, 50.0, 100.0]),
            row("slower", Part::Peer, &[80.0, 40.0, 80.0]),
            row("faster", Part::Peer, &[200.0, 100.0, 210.0]),
        ];
        assert_eq!(ratio(&rows[1], &rows), Some(1.25));
        assert_eq!(ratio(&rows[0], &rows), None);
        assert!(answers(Unit::Requests, &rows[2], &rows).unwrap().starts_with("**faster wins**"));
        assert!(answers(Unit::Requests, &rows[1], &rows).unwrap().starts_with("byway wins over slower: 1.25"));
    }
}
