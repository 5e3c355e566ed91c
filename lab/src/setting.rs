//! Setting: what every case of a run shares: cores, origin, scratch folder, byway, how long and how often.
//!
//! In:    the options.   Out: a prepared machine.   Never: measures.

use std::env;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::machine::{self, Cores};
use crate::options::Options;
use crate::origin::Origin;

/// See the head of the file.
pub(crate) struct Setting {
    /// Who runs where.
    pub(crate) cores: Cores,
    /// The program under test.
    pub(crate) byway: PathBuf,
    /// Whether it was built from this workspace just now.
    pub(crate) built_here: bool,
    /// Length of one HTTP measurement.
    pub(crate) window: Duration,
    /// Turns of each subject.
    pub(crate) rounds: usize,
    /// Size of a bulk transfer.
    pub(crate) bulk_bytes: u64,
    origin: Origin,
    dir: TempDir,
    deadline: Instant,
}

impl Setting {
    /// Builds byway if need be, pins the lab to its core, and starts the origin. The budget begins after the build.
    pub(crate) async fn prepare(options: &Options) -> Result<Self> {
        let byway = match &options.byway {
            Some(path) => path.canonicalize().with_context(|| format!("--byway {}", path.display()))?,
            None => build(&target_dir()?)?,
        };
        let cores = Cores::choose(options.subject_core, options.load_core)?;
        machine::raise_descriptors()?;
        machine::pin(cores.load)?;
        Ok(Self {
            cores,
            byway,
            built_here: options.byway.is_none(),
            window: options.window(),
            rounds: options.rounds(),
            bulk_bytes: options.bulk_bytes(),
            origin: Origin::start()?,
            dir: TempDir::with_prefix("byway-lab-").context("making a scratch folder")?,
            deadline: Instant::now() + options.budget(),
        })
    }

    /// Where the origin listens.
    pub(crate) const fn origin(&self) -> SocketAddr {
        self.origin.address()
    }

    /// The scratch folder, which goes with the run.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Whether another round may begin.
    pub(crate) fn has_time(&self) -> bool {
        Instant::now() < self.deadline
    }
}

/// Builds byway in release mode and says where it is.
pub(crate) fn build(target_dir: &Path) -> Result<PathBuf> {
    // The cargo that runs the lab, if one does; so that both are built by the same toolchain.
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "--package", "byway", "--target-dir"])
        .arg(target_dir)
        .current_dir(workspace())
        .status()
        .context("running cargo build")?;
    ensure!(status.success(), "byway could not be built: {status}");
    Ok(target_dir.join("release").join("byway"))
}

/// The target folder that the lab itself was built into: the folder above `release`.
fn target_dir() -> Result<PathBuf> {
    let lab = env::current_exe().context("asking where the lab itself is")?;
    Ok(lab.ancestors().nth(2).context("the lab is not in a target folder; use --byway FILE")?.to_owned())
}

/// The root of the workspace.
pub(crate) fn workspace() -> &'static Path {
    let lab = Path::new(env!("CARGO_MANIFEST_DIR"));
    lab.parent().unwrap_or(lab)
}
