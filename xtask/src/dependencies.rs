//! Dependencies: checks the dependency tree against `deny.toml`, with cargo-deny.
//!
//! In:    `deny.toml` and the lock file.
//! Out:   a failure if a dependency violates a rule, or has an advisory.
//! Never: counts advisories as checked if their database cannot be fetched.

use std::path::Path;
use std::process::Command;

use crate::test::Ended;
use crate::{step, tools};

/// The version that `deny.toml` is written for.
const VERSION: &str = "0.20.2";

/// Bans, licences and sources.
pub(crate) fn check() -> anyhow::Result<Ended> {
    let tool = tools::from_crates_io("cargo-deny", VERSION)?;
    step::run(deny(&tool).args(["check", "bans", "licenses", "sources"]))?;
    Ok(Ended::Passed)
}

/// Advisories and yanked versions.
pub(crate) fn advisories() -> anyhow::Result<Ended> {
    let tool = tools::from_crates_io("cargo-deny", VERSION)?;
    if let Err(error) = step::run(deny(&tool).args(["fetch", "db"])) {
        return Ok(Ended::Skipped(format!(
            "the advisory database cannot be fetched: {error:#}"
        )));
    }
    step::run(deny(&tool).args(["check", "--disable-fetch", "advisories"]))?;
    Ok(Ended::Passed)
}

fn deny(tool: &Path) -> Command {
    let mut command = Command::new(tool);
    command.args(["--workspace", "--locked"]);
    command
}
