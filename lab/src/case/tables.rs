//! Tables: turns samples into a table and an answer.
//!
//! In:    rows of samples, and their unit.
//! Out:   medians with their spread, as table and chart; ratios round by round; in words, who wins
//!        and what was the limit.
//! Never: hides a question that a peer wins, or compares across runs.

use std::time::Duration;

use super::phases::Offered;
use super::roles::{Roles, SubjectRole};
use super::rounds::{Row, Sample};
use crate::chart::Chart;
use crate::environment::RunEnvironment;
use crate::load::counters::Received;
use crate::report::{Section, grouped};
use crate::statistics::{Quantiles, Spread, median};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Requests; costs in microseconds per request.
    Requests,
    /// TLS handshakes; costs in microseconds per handshake.
    Handshakes,
    /// Messages of WebSockets; costs in microseconds per message.
    Messages,
    /// Bytes; costs in seconds per GB (10^9 bytes).
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
            Self::Handshakes => [
                "subject",
                "handshakes per CPU-s",
                "(least … most)",
                "byway ÷ it",
                "us per handshake",
                "user",
                "system",
                "handshakes/s",
                "core: subject + others",
            ],
            Self::Messages => [
                "subject",
                "messages per CPU-s",
                "(least … most)",
                "byway ÷ it",
                "us per message",
                "user",
                "system",
                "messages/s",
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
            Self::Requests | Self::Handshakes | Self::Messages => grouped(value),
            Self::Bytes => format!("{:.2}", value / 1e9),
        }
    }

    fn cost(self, seconds_a_piece: f64) -> String {
        match self {
            Self::Requests | Self::Handshakes | Self::Messages => {
                format!("{:.1}", seconds_a_piece * 1e6)
            }
            Self::Bytes => format!("{:.3}", seconds_a_piece * 1e9),
        }
    }

    fn rate(self, value: f64) -> String {
        match self {
            Self::Requests | Self::Handshakes | Self::Messages => grouped(value),
            Self::Bytes => grouped(value / 1e6),
        }
    }

    const fn of_the_chart(self) -> &'static str {
        match self {
            Self::Requests => "requests per CPU-second; more is better",
            Self::Handshakes => "handshakes per CPU-second; more is better",
            Self::Messages => "messages per CPU-second; more is better",
            Self::Bytes => "GB per CPU-second; more is better",
        }
    }

    const fn per_cpu_in_words(self) -> &'static str {
        match self {
            Self::Requests => "requests per CPU-second",
            Self::Handshakes => "handshakes per CPU-second",
            Self::Messages => "messages per CPU-second",
            Self::Bytes => "bytes per CPU-second",
        }
    }
}

/// Fills a section with the table, the chart, the answers and the notes that a reader needs.
/// `offered` is the load at which latency was measured, if it was.
pub(crate) fn fill(
    section: &mut Section,
    unit: Unit,
    env: &RunEnvironment,
    rows: &[Row],
    roles: &Roles,
    offered: Option<&Offered>,
) {
    let more: Vec<&Column> = COLUMNS
        .iter()
        .filter(|column| rows.iter().any(|row| (column.cell)(row).is_some()))
        .collect();
    section.head(
        unit.head()
            .into_iter()
            .chain(more.iter().map(|column| column.head)),
    );
    let mut chart = Chart::new(section.title(), unit.of_the_chart());
    for row in rows {
        let more = more
            .iter()
            .map(|column| (column.cell)(row).unwrap_or_else(none));
        section.row(cells(unit, row, rows).into_iter().chain(more));
        if let Some(spread) = Spread::of(row.samples.iter().filter_map(per_cpu)) {
            chart.bar(
                &row.subject.name,
                row.subject.role.tone(),
                spread,
                unit.per_cpu(spread.median),
            );
        }
    }
    section.chart(chart);
    for row in rows {
        answers(unit, row, rows)
            .into_iter()
            .for_each(|answer| section.answer(answer));
    }
    offered
        .and_then(|offered| at_equal_load(offered, rows))
        .into_iter()
        .for_each(|answer| section.answer(answer));
    limit(unit, rows)
        .into_iter()
        .for_each(|note| section.note(note));
    if let Some(offered) = offered {
        section.note(format!(
            "p50 and p99: at {} requests/s for every subject, 70 % of the highest rate of {}; from the time a request was due; \
             medians of {} rounds.",
            grouped(offered.rate),
            offered.slowest,
            offered.rounds
        ));
    }
    if let Some(counter) = env
        .counter
        .filter(|_| rows.iter().any(|row| row.syscalls.is_some()))
    {
        section.note(format!(
            "System calls per request, under full load: counted by {}.",
            counter.name()
        ));
    }
    let whole = rows
        .iter()
        .filter(|row| row.failure.is_none())
        .map(|row| row.samples.len())
        .min();
    if let Some(done) = whole.filter(|done| *done < env.rounds) {
        section.note(format!(
            "Only {done} of {} rounds: the time budget of the question was used up.",
            env.rounds
        ));
    }
    left_out(section, roles);
    for row in rows {
        if let Some(failure) = &row.failure {
            section.note(format!(
                "{} failed after {} rounds: {failure}.",
                row.subject.name,
                row.samples.len()
            ));
        }
    }
}

/// Adds a note for each subject that was left out.
pub(crate) fn left_out(section: &mut Section, roles: &Roles) {
    roles
        .left_out
        .iter()
        .for_each(|why| section.note(format!("Left out: {why}.")));
}

/// Notes how much each subject has logged, and which one logged nothing although it should.
pub(crate) fn logs(section: &mut Section, rows: &[Row]) {
    let mut sizes = Vec::new();
    for row in rows
        .iter()
        .filter(|row| row.subject.access_log.is_some() && row.failure.is_none())
    {
        match row.logged {
            0 => section.note(format!(
                "**{} has logged nothing**: its figures include no logging.",
                row.subject.name
            )),
            bytes => sizes.push(format!(
                "{} {} MB",
                row.subject.name,
                grouped(bytes as f64 / 1e6)
            )),
        }
    }
    if !sizes.is_empty() {
        section.note(format!(
            "Access logs written during the question: {}.",
            sizes.join(", ")
        ));
    }
}

/// A column that only some questions have.
struct Column {
    head: &'static str,
    cell: fn(&Row) -> Option<String>,
}

const COLUMNS: [Column; 8] = [
    Column {
        head: "p50, us",
        cell: |row| Some(microseconds(latency(row, |quantiles| quantiles.p50)?)),
    },
    Column {
        head: "p99, us",
        cell: |row| Some(microseconds(latency(row, |quantiles| quantiles.p99)?)),
    },
    Column {
        head: "RSS, MiB",
        cell: |row| Some(format!("{:.1}", row.rss_kib? as f64 / 1024.0)),
    },
    Column {
        head: "sockets open at most",
        cell: |row| Some(grouped(row.sockets? as f64)),
    },
    Column {
        head: "system calls per request",
        cell: |row| Some(format!("{:.2}", row.syscalls?)),
    },
    Column {
        head: "head bytes per response",
        cell: |row| {
            let bytes = each(row, |received| received.head_bytes)?;
            Some(format!("{bytes:.0}"))
        },
    },
    Column {
        head: "writes per response",
        cell: |row| Some(format!("{:.2}", each(row, |received| received.segments)?)),
    },
    Column {
        head: "us per request by h2load",
        cell: |row| Some(format!("{:.1}", row.by_h2load?.as_secs_f64() * 1e6)),
    },
];

/// The median of a count for each response over the rounds; `None` where nothing was counted.
fn each(row: &Row, of: fn(&Received) -> u64) -> Option<f64> {
    let received = row.samples.iter().filter_map(|sample| sample.received);
    let share = |received: Received| of(&received) as f64 / received.answered.max(1) as f64;
    median(received.map(share)).filter(|share| *share > 0.0)
}

/// The median of a quantile over the rounds, in seconds.
fn latency(row: &Row, of: fn(&Quantiles) -> Duration) -> Option<f64> {
    median(
        row.latency
            .iter()
            .map(|quantiles| of(quantiles).as_secs_f64()),
    )
}

fn microseconds(seconds: f64) -> String {
    grouped(seconds * 1e6)
}

/// Compares our p99 with that of the best peer.
fn at_equal_load(offered: &Offered, rows: &[Row]) -> Option<String> {
    /// The p99 of two equal programs may differ by this much on a shared machine.
    const EVEN: f64 = 0.1;
    let p99 = |row: &Row| latency(row, |quantiles| quantiles.p99);
    let ours = rows
        .iter()
        .find(|row| row.subject.role == SubjectRole::Ours)?;
    let peers = rows
        .iter()
        .filter(|row| row.subject.role == SubjectRole::Peer);
    let (best, peer) = peers
        .filter_map(|row| Some((p99(row)?, row)))
        .min_by(|a, b| a.0.total_cmp(&b.0))?;
    let (mine, name) = (p99(ours)?, &peer.subject.name);
    let judged = match mine / best {
        ratio if ratio < 1.0 - EVEN => format!("{} wins over the best peer", ours.subject.name),
        ratio if ratio > 1.0 + EVEN => format!("**{name} wins**"),
        _ => format!("{} is within 10 % of the best peer", ours.subject.name),
    };
    Some(format!(
        "At {} requests/s {judged}: p99 of {} us, {name} {} us.",
        grouped(offered.rate),
        microseconds(mine),
        microseconds(best)
    ))
}

fn none() -> String {
    "–".to_owned()
}

fn cells(unit: Unit, row: &Row, rows: &[Row]) -> [String; 9] {
    let of = |value: fn(&Sample) -> Option<f64>, text: &dyn Fn(f64) -> String| {
        median(row.samples.iter().filter_map(value)).map_or_else(none, text)
    };
    let spread = Spread::of(row.samples.iter().filter_map(per_cpu));
    let core =
        median(row.samples.iter().filter_map(used)).map(|used| format!("{:.0} %", used * 100.0));
    let others = median(row.samples.iter().map(|sample| sample.others)).unwrap_or_default();
    [
        row.subject.name.clone(),
        of(per_cpu, &|value| unit.per_cpu(value)),
        spread.map_or_else(none, |spread| {
            format!(
                "{} … {}",
                unit.per_cpu(spread.least),
                unit.per_cpu(spread.most)
            )
        }),
        ratio(row, rows).map_or_else(none, |ratio| format!("{ratio:.2}")),
        of(
            |sample| Some(sample.cpu?.total().as_secs_f64() / sample.work),
            &|value| unit.cost(value),
        ),
        of(
            |sample| Some(sample.cpu?.user.as_secs_f64() / sample.work),
            &|value| unit.cost(value),
        ),
        of(
            |sample| Some(sample.cpu?.system.as_secs_f64() / sample.work),
            &|value| unit.cost(value),
        ),
        of(|sample| Some(rate(sample)), &|value| unit.rate(value)),
        format!("{} + {:.0} %", core.unwrap_or_else(none), others * 100.0),
    ]
}

/// Work per second of the processor.
pub(crate) fn per_cpu(sample: &Sample) -> Option<f64> {
    let seconds = sample.cpu?.total().as_secs_f64();
    (seconds > 0.0).then(|| sample.work / seconds)
}

/// Work per second of the clock.
pub(crate) fn rate(sample: &Sample) -> f64 {
    sample.work / sample.wall.as_secs_f64()
}

/// The share of its core that the subject used.
fn used(sample: &Sample) -> Option<f64> {
    Some(sample.cpu?.total().as_secs_f64() / sample.wall.as_secs_f64())
}

/// The median over the rounds of our work per CPU-second divided by this row's.
fn ratio(row: &Row, rows: &[Row]) -> Option<f64> {
    let ours = rows
        .iter()
        .find(|other| other.subject.name == row.subject.against)?;
    let pairs = ours.samples.iter().zip(&row.samples);
    let ratios = pairs.filter_map(|(ours, its)| Some(per_cpu(ours)? / per_cpu(its)?));
    (ours.subject.name != row.subject.name)
        .then(|| median(ratios))
        .flatten()
}

/// Smaller differences than this are within the noise of a shared machine.
const EVEN: f64 = 0.03;

fn answers(unit: Unit, row: &Row, rows: &[Row]) -> Option<String> {
    let ratio = ratio(row, rows)?;
    let (ours, name) = (row.subject.against, &row.subject.name);
    match row.subject.role {
        SubjectRole::Peer => Some(more_is_better(ours, name, ratio, unit.per_cpu_in_words())),
        SubjectRole::Floor => Some(format!("{ours} reaches {ratio:.2} of its {name}.")),
        SubjectRole::Ours | SubjectRole::Ceiling => None,
    }
}

/// Who wins where more is better; `ratio` is ours divided by the peer's.
pub(crate) fn more_is_better(ours: &str, peer: &str, ratio: f64, what: &str) -> String {
    match ratio {
        ratio if ratio > 1.0 + EVEN => format!("{ours} wins over {peer}: {ratio:.2} × its {what}."),
        ratio if ratio < 1.0 - EVEN => {
            format!("**{peer} wins**: {ours} does {ratio:.2} × its {what}.")
        }
        _ => format!("{ours} and {peer} are even ({ratio:.2} × its {what})."),
    }
}

/// Who wins where less is better; each as its name and its figure.
pub(crate) fn less_is_better(ours: (&str, f64), peer: (&str, f64), unit: &str) -> String {
    let ((mine, its), (ours, peer)) = ((ours.1, peer.1), (ours.0, peer.0));
    let judged = match mine {
        mine if mine < its * (1.0 - EVEN) => format!("{ours} wins over {peer}"),
        mine if mine > its * (1.0 + EVEN) => format!("**{peer} wins**"),
        _ => format!("{ours} and {peer} are even"),
    };
    format!("{judged}: {mine:.1} {unit} against {its:.1}.")
}

/// Whether the load or the subject was the limit.
fn limit(unit: Unit, rows: &[Row]) -> Option<String> {
    let (ceiling, _) = rows
        .iter()
        .filter(|row| row.subject.role == SubjectRole::Ceiling)
        .find_map(speed)?;
    let others = rows
        .iter()
        .filter(|row| row.subject.role != SubjectRole::Ceiling);
    let (fastest, row) = others
        .filter_map(speed)
        .max_by(|a, b| a.0.total_cmp(&b.0))?;
    let share = fastest / ceiling;
    let what = match unit {
        Unit::Requests => "requests/s",
        Unit::Handshakes => "handshakes/s",
        Unit::Messages => "messages/s",
        Unit::Bytes => "MB/s",
    };
    let judged = match share < 0.9 {
        true => "the generator was not the limit",
        false => {
            "**the generator may have been the limit**: read only what is counted per CPU-second"
        }
    };
    Some(format!(
        "Generator and origin alone reach {} {what}; the fastest subject ({}) reached {:.0} % of that: {judged}.",
        unit.rate(ceiling),
        row.subject.name,
        share * 100.0
    ))
}

fn speed(row: &Row) -> Option<(f64, &Row)> {
    median(row.samples.iter().map(rate)).map(|rate| (rate, row))
}

#[cfg(test)]
mod tests;
