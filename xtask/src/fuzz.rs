//! Fuzz: runs the fuzz targets with coverage, on a nightly toolchain.

use std::process::Command;

use anyhow::{Context, bail};

use crate::step;

const TARGETS: [&str; 13] = [
    "h1_request_head",
    "h1_response_head",
    "h1_chunked",
    "h1_same_request",
    "h1_same_response",
    "h1_stream",
    "h1_written",
    "socks",
    "config",
    "link_mux",
    "link_messages",
    "link_join",
    "dns_reply",
];

/// One target, or each, for so many seconds.
pub(crate) fn run(args: &[&str]) -> anyhow::Result<()> {
    let (targets, seconds) = match args {
        [] => (TARGETS.to_vec(), "60"),
        [seconds] if seconds.parse::<u32>().is_ok() => (TARGETS.to_vec(), *seconds),
        [target] => (vec![*target], "60"),
        [target, seconds] => (vec![*target], *seconds),
        _ => bail!("usage: cargo xtask fuzz [TARGET] [SECONDS]"),
    };
    seconds.parse::<u32>().with_context(|| format!("`{seconds}` is no number of seconds"))?;
    if Command::new("cargo").args(["fuzz", "--version"]).output().is_ok_and(|found| !found.status.success()) {
        step::cargo(&["install", "--locked", "cargo-fuzz"])?;
    }
    for target in targets {
        // New finds of the run go to a scratch corpus; the committed one is read.
        let corpus = format!("fuzz/corpus/{target}");
        let scratch = std::env::temp_dir().join(format!("byway-fuzz-{target}"));
        std::fs::create_dir_all(&scratch)?;
        let limit = format!("-max_total_time={seconds}");
        let mut fuzz = Command::new("cargo");
        fuzz.args(["+nightly", "fuzz", "run", target]).arg(scratch).arg(corpus);
        step::run(fuzz.args(["--", &limit, "-print_final_stats=1", "-max_len=8192"]))?;
    }
    Ok(())
}
