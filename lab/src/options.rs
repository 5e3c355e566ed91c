//! Options: what to ask, for how long, how often.
//!
//! In:    the command line.   Out: plain values.   Never: touches the machine.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::case::Case;

/// Measures byway beside nginx, haproxy, microsocks, tinyproxy, rathole and frp. Everything runs on 127.0.0.1.
#[derive(Debug, Parser)]
#[command(name = "lab", bin_name = "cargo xtask bench", version)]
pub(crate) struct Options {
    /// Something other than the benchmark
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
    /// Length of one HTTP measurement in seconds, after a warm-up of a sixth of it
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0)]
    pub(crate) seconds: f64,
    /// How often each subject gets its turn; the median is reported
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    pub(crate) rounds: usize,
    /// A smoke run of less than 40 seconds: one short round, small transfers
    #[arg(long)]
    quick: bool,
    /// Only these questions
    #[arg(long, value_name = "CASE", value_delimiter = ',')]
    only: Vec<Case>,
    /// No further round is begun after this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 240)]
    budget: u64,
    /// The core that the measured programs run on. Default: the first that the lab may use
    #[arg(long, value_name = "CORE")]
    pub(crate) subject_core: Option<usize>,
    /// The core of load generator and origin. Default: the second that the lab may use
    #[arg(long, value_name = "CORE")]
    pub(crate) load_core: Option<usize>,
    /// A byway that is built already. Default: a release build of this workspace
    #[arg(long, value_name = "FILE")]
    pub(crate) byway: Option<PathBuf>,
    /// Installs the missing peers first: by apt-get, which needs root, by cargo and by go
    #[arg(long)]
    pub(crate) install: bool,
    /// Names the file in lab/results. Default: the time in UTC, or `quick`
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

/// What the lab does besides the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum Verb {
    /// Builds byway in release mode into an empty folder and reports the time; takes minutes
    BuildTime,
}

impl Options {
    /// The questions of this run, in their order.
    pub(crate) fn cases(&self) -> Vec<Case> {
        match self.only.is_empty() {
            true => Case::ALL.to_vec(),
            false => Case::ALL.into_iter().filter(|case| self.only.contains(case)).collect(),
        }
    }

    /// The length of one HTTP measurement.
    pub(crate) fn window(&self) -> Duration {
        let seconds = if self.quick { self.seconds.min(0.6) } else { self.seconds };
        Duration::from_secs_f64(seconds.clamp(0.1, 600.0))
    }

    /// How many rounds.
    pub(crate) fn rounds(&self) -> usize {
        if self.quick { 1 } else { self.rounds.max(1) }
    }

    /// The size of a bulk transfer: 1 GiB, 64 MiB in a smoke run.
    pub(crate) fn bulk_bytes(&self) -> u64 {
        if self.quick { 64 << 20 } else { 1 << 30 }
    }

    /// After this no further round is begun.
    pub(crate) fn budget(&self) -> Duration {
        Duration::from_secs(if self.quick { self.budget.min(30) } else { self.budget })
    }

    /// The name of the file in `lab/results`.
    pub(crate) fn name(&self, now: &str) -> String {
        let default = if self.quick { "quick".to_owned() } else { now.replace(':', "").replace(' ', "-") };
        self.name.clone().unwrap_or(default)
    }
}
