//! Report: what was asked, what was measured, on which machine, and what it means, as Markdown with
//! a chart per question.
//!
//! In:    sections.
//! Out:   the report on stdout and as `NAME.md` in its folder (default `lab/results`), its charts
//!        in `NAME/` there.
//! Never: a figure without the machine and the command that it comes from.

use std::env;
use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};

use crate::chart::Chart;
use crate::environment::{RunEnvironment, workspace};
use crate::machine;
use crate::options::Options;
use crate::peers::built::Package;
use crate::peers::{Program, crypto, node};

/// A question with its table and its answers.
pub(crate) struct Section {
    title: String,
    asks: String,
    table: Vec<Vec<String>>,
    answers: Vec<String>,
    notes: Vec<String>,
    chart: Option<Chart>,
}

impl Section {
    /// A question without an answer yet.
    pub(crate) fn new(title: &str, asks: &str) -> Self {
        let (table, answers, notes) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            title: title.to_owned(),
            asks: asks.to_owned(),
            table,
            answers,
            notes,
            chart: None,
        }
    }

    /// The title.
    pub(crate) fn title(&self) -> &str {
        &self.title
    }

    /// Sets the column headings.
    pub(crate) fn head<'a>(&mut self, head: impl IntoIterator<Item = &'a str>) {
        self.table
            .insert(0, head.into_iter().map(str::to_owned).collect());
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.table.push(cells.into_iter().collect());
    }

    /// Sets the chart. A chart without bars is dropped.
    pub(crate) fn chart(&mut self, chart: Chart) {
        self.chart = Some(chart).filter(|chart| !chart.is_empty());
    }

    /// Adds an answer to the question.
    pub(crate) fn answer(&mut self, answer: impl Into<String>) {
        self.answers.push(answer.into());
    }

    /// Adds a fact that a reader needs to interpret the figures.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// The section as Markdown; `picture` is the path of its chart, relative to the report.
    pub(crate) fn markdown(&self, picture: Option<&str>) -> String {
        let mut text = format!("\n## {}\n{}\n\n", self.title, self.asks);
        if let (Some(picture), Some(chart)) = (picture, &self.chart) {
            let words = chart.text().replace(['[', ']'], "");
            text += &format!("![{words}]({picture})\n\n");
        }
        for (index, row) in self.table.iter().enumerate() {
            text += &format!("| {} |\n", row.join(" | "));
            if index == 0 {
                text += &format!("|{}\n", "---|".repeat(row.len()));
            }
        }
        let items = |items: &[String]| {
            items
                .iter()
                .map(|item| format!("- {item}\n"))
                .collect::<String>()
        };
        for list in [&self.answers, &self.notes]
            .into_iter()
            .filter(|list| !list.is_empty())
        {
            text += &format!("\n{}", items(list));
        }
        text
    }
}

/// The whole report of a run.
pub(crate) struct Report {
    date: String,
    facts: Vec<(&'static str, String)>,
    load_before: String,
    sections: Vec<Section>,
}

impl Report {
    /// Records the time and the machine.
    pub(crate) fn begin() -> Self {
        let facts = machine::facts();
        Self {
            date: machine::now_utc(),
            facts,
            load_before: machine::load_average(),
            sections: Vec::new(),
        }
    }

    /// Records the set-up of the run and the versions of all programs.
    pub(crate) fn describe(&mut self, env: &RunEnvironment) {
        let cores = env.cores;
        let shared = if cores.shared() {
            " (**the same core: rates are meaningless, and CPU time nearly so**)"
        } else {
            ""
        };
        let byway = machine::version_line(&env.byway.display().to_string(), &["--version"]);
        let built = [
            (Package::Pingora, "pingora"),
            (Package::Hyper, "hyper"),
            (Package::RustClients, "hyper-util"),
            (Package::RustClients, "reqwest"),
        ];
        let built = built
            .into_iter()
            .filter_map(|(package, name)| package.version_of(name));
        let peers = Program::ALL
            .into_iter()
            .filter_map(Program::version)
            .chain(built)
            .chain(node::versions());
        let revision = if env.built_here {
            revision()
        } else {
            String::new()
        };
        let versions: Vec<String> = byway
            .into_iter()
            .map(|byway| byway + &revision)
            .chain(peers)
            .collect();
        self.facts.extend([
            (
                "cores",
                format!(
                    "subjects on {}, generator and origin on {}{shared}",
                    cores.subject, cores.load
                ),
            ),
            ("versions", versions.join("; ")),
            ("TLS libraries", crypto::libraries(env).join("; ")),
            (
                "rounds",
                format!(
                    "{} interleaved, {:?} each ({:?} over a simulated path); medians",
                    env.rounds,
                    env.window,
                    env.path_window()
                ),
            ),
            (
                "descriptors",
                format!("{} a process at most", machine::descriptors()),
            ),
        ]);
        let given = crypto::given_nginx(env);
        self.facts
            .extend(given.map(|text| ("nginx of --nginx", text)));
    }

    /// Adds a question.
    pub(crate) fn add(&mut self, section: Section) {
        self.sections.push(section);
    }

    /// Writes the report to its folder and to stdout.
    pub(crate) fn finish(self, options: &Options) -> Result<()> {
        let (name, folder) = (options.name(&self.date), options.folder());
        let charts = folder.join(&name);
        fs::create_dir_all(&charts).with_context(|| format!("making {}", charts.display()))?;
        self.draw(&charts)?;
        let text = self.markdown(&name);
        let file = folder.join(format!("{name}.md"));
        fs::write(&file, &text).with_context(|| format!("writing {}", file.display()))?;
        eprintln!("lab: written to {}", file.display());
        // A reader that closes early is no error.
        let _ = std::io::stdout().write_all(text.as_bytes());
        Ok(())
    }

    /// Writes the charts, after removing those of an earlier run of this name.
    fn draw(&self, folder: &Path) -> Result<()> {
        for entry in
            fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?
        {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "svg") {
                fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
            }
        }
        for section in &self.sections {
            if let Some(chart) = &section.chart {
                let file = folder.join(file_name(&section.title));
                fs::write(&file, chart.svg())
                    .with_context(|| format!("writing {}", file.display()))?;
            }
        }
        Ok(())
    }

    fn markdown(&self, name: &str) -> String {
        let mut text = "# Byway beside its peers\n\n".to_owned();
        text += &format!("- date: {} UTC\n- command: `{}`\n", self.date, command());
        for (name, fact) in &self.facts {
            text += &format!("- {name}: {fact}\n");
        }
        let after = machine::load_average();
        text += &format!(
            "- load average (1, 5, 15 min): {} before, {after} after the run\n",
            self.load_before
        );
        text += "\nEverything runs on one machine, on loopback or between two network namespaces. Compare figures within this run only; a shared machine disturbs rates more \
                 than CPU time.\nGenerator and origin share a thread that never sleeps while it measures, so that no subject's \
                 figures include the cost of waking it.\n`byway ÷ it` is the median over the rounds of byway's work per CPU-second divided by \
                 the row's: above 1 byway is better.\n";
        for section in &self.sections {
            text += &section.markdown(Some(&format!("{name}/{}", file_name(&section.title))));
        }
        text
    }
}

/// The file of the chart of a question: `Edge, 1 KiB` becomes `edge-1-kib.svg`.
fn file_name(title: &str) -> String {
    let words = title
        .split(|character: char| !character.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_ascii_lowercase() + ".svg"
}

/// The command that produces this report.
fn command() -> String {
    let arguments = env::args().skip(1).map(|argument| shown(&argument));
    ["cargo xtask bench".to_owned()]
        .into_iter()
        .chain(arguments)
        .collect::<Vec<_>>()
        .join(" ")
}

/// An argument without paths of this machine, which are useless elsewhere: `guided=FILE`.
fn shown(argument: &str) -> String {
    let (before, path) = argument
        .split_once('=')
        .map_or(("", argument), |(name, path)| (name, path));
    match path.contains('/') {
        true if before.is_empty() => "FILE".to_owned(),
        true => format!("{before}=FILE"),
        false => argument.to_owned(),
    }
}

/// The commit that byway was built from, if git knows it.
fn revision() -> String {
    let root = workspace().display().to_string();
    let git =
        |arguments: &[&str]| machine::version_line("git", &[&["-C", &root], arguments].concat());
    match git(&["rev-parse", "--short", "HEAD"]) {
        Some(commit) if git(&["status", "--porcelain", "crates", "Cargo.lock"]).is_some() => {
            format!(" ({commit}, changed)")
        }
        Some(commit) => format!(" ({commit})"),
        None => String::new(),
    }
}

/// A whole number with thousands separators: `77,200`.
pub(crate) fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_have_separators() {
        assert_eq!(
            ["7", "770", "7,700", "1,234,567"].map(str::to_owned),
            [7.0, 770.0, 7700.0, 1_234_567.2].map(grouped)
        );
    }

    #[test]
    fn a_chart_comes_between_question_and_table_with_its_alternative_text() {
        let mut section = Section::new("T", "Q?");
        let mut chart = Chart::new("T", "pieces");
        chart.bar(
            "a",
            crate::chart::Tone::Ours,
            crate::statistics::Spread::single(1.0),
            "1",
        );
        section.chart(chart);
        section.head(["a"]);
        assert_eq!(
            section.markdown(Some("run/t.svg")),
            "\n## T\nQ?\n\n![T, pieces: a 1](run/t.svg)\n\n| a |\n|---|\n"
        );
    }

    #[test]
    fn the_command_in_the_report_has_names_but_no_paths_of_this_machine() {
        let arguments = [
            "edge",
            "--byway",
            "target/x/byway",
            "guided=target/guided/byway",
            "--byway=a/b",
            "--rounds=5",
        ];
        let shown = arguments.map(shown);
        assert_eq!(
            shown,
            [
                "edge",
                "--byway",
                "FILE",
                "guided=FILE",
                "--byway=FILE",
                "--rounds=5"
            ]
        );
    }

    #[test]
    fn titles_become_file_names_without_spaces_or_commas() {
        assert_eq!(
            file_name("Edge, 1 KiB, access logs on"),
            "edge-1-kib-access-logs-on.svg"
        );
    }

    #[test]
    fn a_section_is_a_markdown_table_with_answers_and_notes() {
        let mut section = Section::new("T", "Q?");
        section.head(["a", "b"]);
        section.row(["1".into(), "2".into()]);
        section.answer("yes");
        section.note("but");
        assert_eq!(
            section.markdown(None),
            "\n## T\nQ?\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n- yes\n\n- but\n"
        );
    }
}
