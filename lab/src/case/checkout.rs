//! Checkout: the time that byway-pool needs to check out and release a connection, in
//! nanoseconds.
//!
//! In:    the benchmark `checkout` of the crate.
//! Out:   its figures as a table.
//! Never: measures anything itself: the benchmark has access to the pool's internals.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::chart::{Chart, Tone};
use crate::environment::{RunEnvironment, cargo, workspace};
use crate::machine::unpinned;
use crate::report::Section;
use crate::statistics::Spread;

/// One case of the benchmark.
#[derive(Debug, PartialEq)]
struct Line {
    name: String,
    ns: f64,
    /// Values with bounds: the largest gap between two shards, the number of queue timeouts.
    more: Vec<(String, f64)>,
}

/// Runs the benchmark.
pub(crate) fn run(env: &RunEnvironment) -> Result<Section> {
    let asks = "How many nanoseconds take checkout and release of a connection in byway-pool, without any I/O?";
    let mut section = Section::new("Agent, checkout", asks);
    match measure(env) {
        Ok(rounds) => fill(&mut section, &rounds),
        Err(error) => section.note(format!("Left out: {error:#}.")),
    }
    Ok(section)
}

/// Returns the lines of each round.
fn measure(env: &RunEnvironment) -> Result<Vec<Vec<Line>>> {
    let bench = |more: &[&str]| {
        let mut command = Command::new(cargo());
        command
            .args([
                "bench",
                "--quiet",
                "--package",
                "byway-pool",
                "--bench",
                "checkout",
            ])
            .args(more);
        command.current_dir(workspace());
        command
    };
    let built = unpinned(|| bench(&["--no-run"]).output()).context("running cargo bench")?;
    let stderr = String::from_utf8_lossy(&built.stderr);
    ensure!(
        built.status.success(),
        "the benchmark cannot be built: {}",
        stderr.lines().last().unwrap_or_default()
    );
    let mut rounds = Vec::new();
    for round in 0..env.rounds {
        if round > 0 && !env.has_time() {
            break;
        }
        // On all cores: the case with four threads measures how concurrent threads affect each
        // other.
        let output = unpinned(|| bench(&[]).output());
        let output = output.context("running cargo bench")?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(
            output.status.success(),
            "the benchmark failed ({})",
            output.status
        );
        let lines = parse(&text);
        ensure!(
            !lines.is_empty(),
            "the benchmark printed no line that the lab can read"
        );
        rounds.push(lines);
    }
    Ok(rounds)
}

fn fill(section: &mut Section, rounds: &[Vec<Line>]) {
    section.head(["case", "ns, median", "(least … most)", "besides"]);
    let mut chart = Chart::new(
        section.title(),
        "nanoseconds for checkout and release; less is better",
    );
    for line in rounds.first().into_iter().flatten() {
        let same = rounds
            .iter()
            .flatten()
            .filter(|other| other.name == line.name);
        let Some(spread) = Spread::of(same.clone().map(|line| line.ns)) else {
            continue;
        };
        let figure = |value: f64| format!("{value:.0}");
        let besides = match line.more.is_empty() {
            true => "–".to_owned(),
            false => worst(same)
                .into_iter()
                .map(|(key, value)| format!("{key} {value}"))
                .collect::<Vec<_>>()
                .join(", "),
        };
        chart.bar(&line.name, Tone::Ours, spread, figure(spread.median));
        section.row([
            line.name.clone(),
            figure(spread.median),
            format!("{} … {}", figure(spread.least), figure(spread.most)),
            besides,
        ]);
    }
    section.chart(chart);
    section
        .note("`cargo bench -p byway-pool --bench checkout`; the column `besides` has the worst value of all rounds.");
}

/// The largest value of each key over the rounds: a median would hide a single lost wake-up.
fn worst<'a>(lines: impl Iterator<Item = &'a Line>) -> Vec<(String, f64)> {
    let mut worst: Vec<(String, f64)> = Vec::new();
    for (key, value) in lines.flat_map(|line| &line.more) {
        match worst.iter_mut().find(|(known, _)| known == key) {
            Some((_, most)) => *most = most.max(*value),
            None => worst.push((key.clone(), *value)),
        }
    }
    worst
}

/// Parses the benchmark's output. A case is a line such as `10000 origins, 1 shards: 80.1 ns at
/// least, 84.0 ns median`; at the cap it is several lines under a title, with `310 ns a grant`,
/// `difference …: 1` and `queue timeouts 0`.
fn parse(text: &str) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    let mut title = None;
    for line in text.lines().map(str::trim) {
        if let Some((name, figures)) = line.split_once(" shards: ")
            && let Some(ns) = number_before(figures, " ns median")
        {
            lines.push(Line {
                name: format!("{name} shards"),
                ns,
                more: Vec::new(),
            });
        } else if line.starts_with("at the cap") {
            let threads = line
                .trim_end_matches(':')
                .rsplit(", ")
                .next()
                .filter(|role| role.ends_with("threads"));
            title = Some(threads.map_or_else(
                || "at the cap".to_owned(),
                |threads| format!("at the cap, {threads}"),
            ));
        } else if let Some(ns) = number_before(line, " ns a grant")
            && let Some(name) = title.take()
        {
            lines.push(Line {
                name,
                ns,
                more: Vec::new(),
            });
        } else if let Some(last) = lines.last_mut() {
            for (words, key) in [
                ("widest difference between two shards", "gap"),
                ("queue timeouts", "timeouts"),
            ] {
                let value = line
                    .contains(words)
                    .then(|| line.rsplit(' ').next()?.parse().ok())
                    .flatten();
                value
                    .into_iter()
                    .for_each(|value| last.more.push((key.to_owned(), value)));
            }
        }
    }
    lines
}

/// The number directly before `words`.
fn number_before(line: &str, words: &str) -> Option<f64> {
    line.split_once(words)?.0.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "running\n     1 origins, 4 shards:   97.3 ns at least,   99.5 ns median (target 120)\n       \
                        the clock, read once:   25.0 ns\nat the cap, four shards, 4 threads:\n          310 ns a grant, 9 \
                        grants by shard [4, 5]\n       widest difference between two shards at any moment: 2\n       reused \
                        8, opened 1\n       users that finished 32 of 32, queue timeouts 1\n";

    #[test]
    fn every_case_of_the_benchmark_is_parsed_and_its_clock_line_is_skipped() {
        let lines = parse(OUTPUT);
        assert_eq!(
            lines[0],
            Line {
                name: "1 origins, 4 shards".into(),
                ns: 99.5,
                more: Vec::new()
            }
        );
        let more = vec![("gap".into(), 2.0), ("timeouts".into(), 1.0)];
        assert_eq!(
            lines[1],
            Line {
                name: "at the cap, 4 threads".into(),
                ns: 310.0,
                more
            }
        );
        assert_eq!(lines.len(), 2);
        assert_eq!(parse("running 0 tests\n"), []);
    }

    #[test]
    fn one_queue_timeout_in_any_round_is_shown() {
        let rounds = ["timeouts 0", "timeouts 2", "timeouts 1"]
            .map(|count| parse(&OUTPUT.replace("timeouts 1", count)));
        let mut section = Section::new("t", "q");
        fill(&mut section, &rounds);
        let text = section.markdown(None);
        assert!(
            text.contains("4 threads | 310 | 310 … 310 | gap 2, timeouts 2 |"),
            "{text}"
        );
    }
}
