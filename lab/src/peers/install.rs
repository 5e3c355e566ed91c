//! Install: puts the missing peers on a Debian machine.
//!
//! In:    what is missing.   Out: installed packages.   Never: runs unless asked by `--install`, and as root.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::Program;

/// Installs the peers that are missing, by apt-get.
pub(crate) fn missing() -> Result<()> {
    let missing: Vec<_> = Program::ALL.into_iter().filter(|program| program.path().is_none()).collect();
    let packages: Vec<_> = missing.iter().map(|program| program.package()).collect();
    if packages.is_empty() {
        return Ok(());
    }
    ensure!(rustix::process::getuid().is_root(), "--install needs root: sudo apt-get install {}", packages.join(" "));
    let status = Command::new("apt-get")
        .args(["install", "--yes", "--no-install-recommends"])
        .args(&packages)
        .env("DEBIAN_FRONTEND", "noninteractive")
        // Run level 1 keeps invoke-rc.d from starting the services, which would only disturb the measurement.
        .env("RUNLEVEL", "1")
        .stdout(std::io::stderr())
        .status()
        .context("running apt-get")?;
    ensure!(status.success(), "apt-get install {} failed ({status}); run apt-get update first", packages.join(" "));
    Ok(())
}
