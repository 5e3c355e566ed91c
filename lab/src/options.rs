//! Options: what to measure, for how long, how often.
//!
//! In:    the command line.   Out: plain values.   Never: touches the machine.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use crate::case::{Case, Group};
use crate::environment::workspace;
use crate::extra_subject::ExtraSubject;
use std::net::SocketAddr;

/// Measures byway beside the programs and libraries that do the same. Everything runs on 127.0.0.1,
/// or between network namespaces of its own (`paths`).
#[derive(Debug, Parser)]
#[command(name = "lab", bin_name = "cargo xtask bench", version)]
pub(crate) struct Options {
    /// Another mode, in which the lab starts itself
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
    /// Only the questions of these groups
    #[arg(value_name = "GROUP")]
    groups: Vec<Group>,
    /// Length of one HTTP measurement in seconds, after a warm-up of a sixth of it (default 3); of
    /// a download over a simulated path (default 10)
    #[arg(long, value_name = "SECONDS")]
    pub(crate) seconds: Option<f64>,
    /// How many rounds each subject gets; the median is reported
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    pub(crate) rounds: usize,
    /// A smoke run: one short round, small transfers
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only these questions
    #[arg(long, value_name = "CASE", value_delimiter = ',')]
    only: Vec<Case>,
    /// No further round of a question starts after this many seconds of it
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    budget: u64,
    /// The core that the measured programs run on. Default: the first that the lab may use
    #[arg(long, value_name = "CORE")]
    pub(crate) subject_core: Option<usize>,
    /// The core of load generator and origin. Default: the second that the lab may use
    #[arg(long, value_name = "CORE")]
    pub(crate) load_core: Option<usize>,
    /// A byway that is already built. Default: a release build of this workspace
    #[arg(long, value_name = "FILE")]
    pub(crate) byway: Option<PathBuf>,
    /// Another byway, measured in the same rounds of edges and relays, as a row with this name; may
    /// be repeated
    #[arg(long, value_name = "NAME=FILE")]
    pub(crate) also: Vec<ExtraSubject>,
    /// Beside byway only the subjects that have one of these words in their name, for example
    /// `nginx,floor`. Default: all
    #[arg(long, value_name = "WORD", value_delimiter = ',')]
    pub(crate) beside: Vec<String>,
    /// Another nginx beside the installed one, for example a newer one with HTTP/3, which no
    /// package has
    #[arg(long, value_name = "FILE")]
    nginx: Option<PathBuf>,
    /// Installs the missing peers first: by apt-get, which needs root, by cargo, go and npm
    #[arg(long)]
    pub(crate) install: bool,
    /// Names the file of the report. Default: the time in UTC, or `quick`
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The folder of the report, created if it is missing. Default: lab/results in this workspace
    #[arg(long, value_name = "FOLDER")]
    into: Option<PathBuf>,
}

/// What the lab does besides the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum Verb {
    /// The bare relay that forwards are compared with
    #[command(hide = true)]
    SpliceRelay {
        /// The address to listen on
        listen: SocketAddr,
        /// The address to forward to
        to: SocketAddr,
    },
}

impl Options {
    /// The questions of this run in order: those of the groups, without those that `--only` does
    /// not name.
    pub(crate) fn cases(&self) -> Vec<Case> {
        let of_group = |case: &Case| match self.groups.is_empty() {
            // Paths need root, peers that no other group needs, and an hour.
            true => case.group() != Group::Paths || self.only.contains(case),
            false => self.groups.contains(&case.group()),
        };
        let named = |case: &Case| self.only.is_empty() || self.only.contains(case);
        Case::all()
            .iter()
            .copied()
            .filter(|case| of_group(case) && named(case))
            .collect()
    }

    /// Whether to time a cold build.
    pub(crate) fn build_time(&self) -> bool {
        self.groups.contains(&Group::BuildTime)
    }

    /// The length of one HTTP measurement.
    pub(crate) fn window(&self) -> Duration {
        self.length(3.0, 0.6)
    }

    /// The length of a download over a simulated path.
    pub(crate) fn path_window(&self) -> Duration {
        self.length(10.0, 2.0)
    }

    fn length(&self, default: f64, quick: f64) -> Duration {
        let seconds = self.seconds.unwrap_or(default);
        let seconds = if self.quick {
            seconds.min(quick)
        } else {
            seconds
        };
        Duration::from_secs_f64(seconds.clamp(0.1, 600.0))
    }

    /// The number of rounds.
    pub(crate) fn rounds(&self) -> usize {
        if self.quick { 1 } else { self.rounds.max(1) }
    }

    /// The size of a bulk transfer: 1 GiB, 64 MiB in a smoke run.
    pub(crate) fn bulk_bytes(&self) -> u64 {
        if self.quick { 64 << 20 } else { 1 << 30 }
    }

    /// The time after which no further round starts.
    pub(crate) fn budget(&self) -> Duration {
        Duration::from_secs(if self.quick {
            self.budget.min(30)
        } else {
            self.budget
        })
    }

    /// The nginx of `--nginx`, by its whole path.
    pub(crate) fn nginx(&self) -> Result<Option<PathBuf>> {
        let found = |path: &PathBuf| {
            let found = path.canonicalize();
            found.with_context(|| format!("--nginx {}", path.display()))
        };
        self.nginx.as_ref().map(found).transpose()
    }

    /// The folder of the report.
    pub(crate) fn folder(&self) -> PathBuf {
        self.into
            .clone()
            .unwrap_or_else(|| workspace().join("lab").join("results"))
    }

    /// The name of the report's file.
    pub(crate) fn name(&self, now: &str) -> String {
        let default = if self.quick {
            "quick".to_owned()
        } else {
            now.replace(':', "").replace(' ', "-")
        };
        self.name.clone().unwrap_or(default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cases(words: &[&str]) -> Vec<Case> {
        Options::try_parse_from([&["lab"], words].concat())
            .unwrap()
            .cases()
    }

    #[test]
    fn a_group_selects_its_questions_and_only_narrows_them() {
        assert_eq!(
            cases(&["agent"]),
            [Case::AgentSmall, Case::AgentOrigins, Case::AgentCheckout]
        );
        assert_eq!(
            cases(&["edge", "--only", "edge-idle,relay"]),
            [Case::EdgeIdle]
        );
        assert_eq!(
            cases(&["--only", "edge-small,link"]),
            [Case::EdgeSmall, Case::Link]
        );
        let paths = cases(&["paths"]);
        assert_eq!(cases(&[]).len(), Case::all().len() - paths.len());
        assert_eq!(cases(&["--only", "path-loss1"]), [Case::PathLoss1]);
        assert_eq!(cases(&["build-time"]), []);
    }

    #[test]
    fn extra_byways_have_names_and_the_report_goes_to_the_given_folder() {
        let words = [
            "lab",
            "--also",
            "guided=a/byway",
            "--also",
            "old=b/byway",
            "--into",
            "scratch",
        ];
        let options = Options::try_parse_from(words).unwrap();
        let names: Vec<_> = options.also.iter().map(|also| also.name.as_str()).collect();
        assert_eq!(
            (names, options.folder()),
            (vec!["guided", "old"], PathBuf::from("scratch"))
        );
        assert!(
            Options::try_parse_from(["lab"])
                .unwrap()
                .folder()
                .ends_with("lab/results")
        );
        let wrong = Options::try_parse_from(["lab", "--also", "a/byway"])
            .unwrap_err()
            .to_string();
        assert!(
            wrong.contains("--also") && wrong.contains("NAME=FILE"),
            "{wrong}"
        );
    }

    #[test]
    fn the_relay_is_a_verb_and_an_unknown_group_is_an_error() {
        let words = ["lab", "splice-relay", "127.0.0.1:1", "127.0.0.1:2"];
        let verb = Options::try_parse_from(words).unwrap().verb;
        assert!(matches!(verb, Some(Verb::SpliceRelay { listen, .. }) if listen.port() == 1));
        assert!(Options::try_parse_from(["lab", "edges"]).is_err());
    }
}
