//! Dependencies: what `deny.toml` permits in the dependency tree, by cargo-deny.
//!
//! In:    `deny.toml` and the lock file.
//! Out:   a failure for each dependency that breaks a rule.
//! Never: fails because the advisory database cannot be reached; it prints that advisories were not checked.

use std::process::Command;

use crate::test::Ended;
use crate::{step, tools};

/// The version that `deny.toml` is written for.
const VERSION: &str = "0.20.2";

/// Bans, licences and sources; advisories too, if their database can be fetched.
pub(crate) fn check() -> anyhow::Result<Ended> {
    let deny = tools::from_crates_io("cargo-deny", VERSION)?;
    let deny = || {
        let mut command = Command::new(&deny);
        command.args(["--workspace", "--locked"]);
        command
    };
    step::run(deny().args(["check", "bans", "licenses", "sources"]))?;
    if let Err(error) = step::run(deny().args(["fetch", "db"])) {
        eprintln!("the advisory database cannot be fetched, and advisories are NOT checked: {error:#}");
        return Ok(Ended::Passed);
    }
    step::run(deny().args(["check", "--disable-fetch", "advisories"]))?;
    Ok(Ended::Passed)
}
