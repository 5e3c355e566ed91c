//! Built: the peers that are libraries, each with a small program around it, built when it is first
//! needed.
//!
//! In:    a package below `lab/peers`.
//! Out:   its programs, in release mode, from its own Cargo.lock.
//! Never: touches the workspace's lock file or target folder: these packages use `target/lab`.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, ensure};

use crate::environment::{cargo, target_dir, workspace};
use crate::machine::unpinned;

/// A package below `lab/peers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Package {
    /// `lab-pingora`.
    Pingora,
    /// One program for each Rust HTTP client.
    RustClients,
    /// `lab-hyper`.
    Hyper,
}

impl Package {
    /// All packages.
    pub(crate) const ALL: [Self; 3] = [Self::Pingora, Self::RustClients, Self::Hyper];

    const fn folder(self) -> &'static str {
        match self {
            Self::Pingora => "pingora",
            Self::RustClients => "rust-clients",
            Self::Hyper => "hyper",
        }
    }

    /// The path of one of its programs. The first call builds the package, which takes minutes if
    /// nothing is built yet.
    pub(crate) fn program(self, name: &str) -> Result<PathBuf> {
        static BUILT: [OnceLock<Result<PathBuf, String>>; Package::ALL.len()] =
            [const { OnceLock::new() }; Package::ALL.len()];
        let place = &BUILT[self as usize];
        let folder = place.get_or_init(|| self.build().map_err(|error| format!("{error:#}")));
        let folder = folder.as_ref().map_err(|why| anyhow!("{why}"))?;
        Ok(folder.join(name))
    }

    /// Builds it and returns the folder of its programs.
    pub(crate) fn build(self) -> Result<PathBuf> {
        let target = target_dir()?.join("lab");
        let package = workspace().join("lab").join("peers").join(self.folder());
        let mut build = Command::new(cargo());
        build
            .args(["build", "--release", "--target-dir"])
            .arg(&target)
            .current_dir(&package);
        if self != Self::RustClients {
            // The clients depend on byway-agent, whose dependencies follow the workspace and not
            // their lock file.
            build.arg("--locked");
        }
        let status = unpinned(|| build.status()).context("running cargo build")?;
        ensure!(
            status.success(),
            "lab/peers/{} could not be built ({status})",
            self.folder()
        );
        Ok(target.join("release"))
    }

    /// The version of a crate that it is built with, from its lock file.
    pub(crate) fn version_of(self, name: &str) -> Option<String> {
        let lock = self.lock()?;
        locked(&lock, name).map(|version| format!("{name} {version}"))
    }

    /// The text of its lock file.
    pub(crate) fn lock(self) -> Option<String> {
        let lock = workspace()
            .join("lab")
            .join("peers")
            .join(self.folder())
            .join("Cargo.lock");
        std::fs::read_to_string(lock).ok()
    }
}

/// The version of a package in a lock file.
pub(super) fn locked<'a>(lock: &'a str, name: &str) -> Option<&'a str> {
    let behind = lock
        .split_once(&format!("name = \"{name}\"\nversion = \""))?
        .1;
    behind.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_under_its_whole_name_only() {
        let lock = "[[package]]\nname = \"hyper-util\"\nversion = \"0.1.21\"\n\n[[package]]\nname = \"hyper\"\nversion = \"1.12.0\"\n";
        assert_eq!(locked(lock, "hyper"), Some("1.12.0"));
        assert_eq!(locked(lock, "yper"), None);
    }
}
