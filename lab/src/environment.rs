//! Environment: what every case of a run shares: cores, origin, scratch folder, byway, durations
//! and rounds.
//!
//! In:    the options.   Out: a prepared machine.   Never: measures.

use std::cell::{Cell, OnceCell};
use std::env;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::extra_subject::ExtraSubject;
use crate::machine::{self, Cores};
use crate::options::Options;
use crate::origin::{Counts, Origin};
use crate::peers::front::CertificateFiles;
use crate::syscalls::Counter;

/// See the top of the file.
pub(crate) struct RunEnvironment {
    /// Which core runs which programs.
    pub(crate) cores: Cores,
    /// The program under test.
    pub(crate) byway: PathBuf,
    /// Other byways to measure beside it.
    pub(crate) extra: Vec<ExtraSubject>,
    /// Words in the names of the other subjects that take part; if empty, all take part.
    beside: Vec<String>,
    /// An nginx beside the installed one.
    pub(crate) nginx: Option<PathBuf>,
    /// Whether byway was built from this workspace just now.
    pub(crate) built_here: bool,
    /// Length of one HTTP measurement.
    pub(crate) window: Duration,
    /// Length of a download over a simulated path.
    path_window: Duration,
    /// Rounds for each subject.
    pub(crate) rounds: usize,
    /// Whether this is a smoke run.
    pub(crate) quick: bool,
    /// What counts system calls here, if anything can.
    pub(crate) counter: Option<Counter>,
    /// Size of a bulk transfer.
    pub(crate) bulk_bytes: u64,
    origin: Origin,
    dir: TempDir,
    site: OnceCell<CertificateFiles>,
    budget: Duration,
    deadline: Cell<Instant>,
}

impl RunEnvironment {
    /// Builds byway if need be, pins the lab to its core, and starts the origin.
    pub(crate) async fn prepare(options: &Options) -> Result<Self> {
        let extra = ExtraSubject::found(&options.also)?;
        let byway = match &options.byway {
            Some(path) => path
                .canonicalize()
                .with_context(|| format!("--byway {}", path.display()))?,
            None => build(&target_dir()?)?,
        };
        let cores = Cores::choose(options.subject_core, options.load_core)?;
        machine::raise_descriptors()?;
        machine::pin(cores.load)?;
        Ok(Self {
            cores,
            byway,
            extra,
            beside: options.beside.clone(),
            nginx: options.nginx()?,
            built_here: options.byway.is_none(),
            window: options.window(),
            path_window: options.path_window(),
            rounds: options.rounds(),
            quick: options.quick,
            counter: Counter::choose(),
            bulk_bytes: options.bulk_bytes(),
            origin: Origin::start()?,
            dir: TempDir::with_prefix("byway-lab-").context("making a scratch folder")?,
            site: OnceCell::new(),
            budget: options.budget(),
            deadline: Cell::new(Instant::now() + options.budget()),
        })
    }

    /// Where the origin listens.
    pub(crate) fn origin(&self) -> SocketAddr {
        self.origin.address()
    }

    /// Length of a download over a simulated path.
    pub(crate) const fn path_window(&self) -> Duration {
        self.path_window
    }

    /// What the origin has seen.
    pub(crate) fn origin_counts(&self) -> &Counts {
        self.origin.counts()
    }

    /// Whether a subject other than byway takes part. A subject that the user left out needs no
    /// note.
    pub(crate) fn takes(&self, name: &str) -> bool {
        self.beside.is_empty() || self.beside.iter().any(|word| name.contains(word.as_str()))
    }

    /// The scratch folder, which is removed at the end of the run.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The certificate of every program that needs one, created by the first call.
    pub(crate) fn site(&self) -> Result<&CertificateFiles> {
        match self.site.get() {
            Some(site) => Ok(site),
            None => {
                let made = CertificateFiles::make(self.dir())?;
                Ok(self.site.get_or_init(|| made))
            }
        }
    }

    /// Starts the time budget of the next question.
    pub(crate) fn begin_question(&self) {
        self.deadline.set(Instant::now() + self.budget);
    }

    /// Whether another round may begin.
    pub(crate) fn has_time(&self) -> bool {
        Instant::now() < self.deadline.get()
    }
}

/// Builds byway in release mode and returns the path of the program.
pub(crate) fn build(target_dir: &Path) -> Result<PathBuf> {
    let status = Command::new(cargo())
        .args(["build", "--release", "--package", "byway", "--target-dir"])
        .arg(target_dir)
        .current_dir(workspace())
        .status()
        .context("running cargo build")?;
    ensure!(status.success(), "byway could not be built: {status}");
    Ok(target_dir.join("release").join("byway"))
}

/// The cargo that runs the lab, if any, so that everything is built by the same toolchain.
pub(crate) fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// The target folder that the lab itself was built into: the folder above `release`.
pub(crate) fn target_dir() -> Result<PathBuf> {
    let lab = env::current_exe().context("finding the lab's own program")?;
    Ok(lab
        .ancestors()
        .nth(2)
        .context("the lab is not in a target folder; use --byway FILE")?
        .to_owned())
}

/// The root of the workspace.
pub(crate) fn workspace() -> &'static Path {
    let lab = Path::new(env!("CARGO_MANIFEST_DIR"));
    lab.parent().unwrap_or(lab)
}
