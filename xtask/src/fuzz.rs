//! Fuzz: runs the fuzz targets with coverage, on a nightly toolchain.

use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::test::Ended;
use crate::{step, tools};

const TARGETS: [&str; 18] = [
    "h1_request_head",
    "h1_response_head",
    "h1_chunked",
    "h1_same_request",
    "h1_same_response",
    "h1_stream",
    "h1_written",
    "h2_connection",
    "hpack_decode",
    "hpack_round_trip",
    "socks",
    "config",
    "link_mux",
    "link_messages",
    "link_join",
    "dns_reply",
    "ws_frames",
    "ws_handshake",
];

/// The version of cargo-fuzz that is installed if there is none.
const CARGO_FUZZ: &str = "0.13.2";

/// Runs one target, or each, for the given number of seconds.
pub(crate) fn run(args: &[&str]) -> anyhow::Result<()> {
    let (targets, seconds) = match args {
        [] => (TARGETS.to_vec(), "60"),
        [seconds] if seconds.parse::<u32>().is_ok() => (TARGETS.to_vec(), *seconds),
        [target] => (vec![*target], "60"),
        [target, seconds] => (vec![*target], *seconds),
        _ => bail!("usage: cargo xtask fuzz [TARGET] [SECONDS]"),
    };
    seconds
        .parse::<u32>()
        .with_context(|| format!("`{seconds}` is not a number of seconds"))?;
    fuzz(&targets, seconds)
}

/// Runs every target for the given number of seconds; skipped without a nightly toolchain.
pub(crate) fn each(seconds: &str) -> anyhow::Result<Ended> {
    if !has_nightly() {
        let why =
            "fuzzing needs a nightly toolchain: rustup toolchain install nightly --profile minimal";
        return Ok(Ended::Skipped(why.to_owned()));
    }
    fuzz(&TARGETS, seconds)?;
    Ok(Ended::Passed)
}

/// Queries rustup, which installs nothing then; `cargo +nightly` might.
fn has_nightly() -> bool {
    let listed = Command::new("rustup").args(["toolchain", "list"]).output();
    listed.is_ok_and(|output| {
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .any(|line| line.starts_with("nightly"))
    })
}

fn fuzz(targets: &[&str], seconds: &str) -> anyhow::Result<()> {
    let tool = tools::from_crates_io("cargo-fuzz", CARGO_FUZZ)?;
    let mut failed = Vec::new();
    for target in targets {
        // New inputs of the run are written to a scratch corpus; the committed one is read.
        let corpus = format!("fuzz/corpus/{target}");
        let scratch = std::env::temp_dir().join(format!("byway-fuzz-{target}"));
        std::fs::create_dir_all(&scratch)?;
        let limit = format!("-max_total_time={seconds}");
        let mut fuzz = Command::new(&tool);
        // As `cargo +nightly` would start it: the cargo that it calls is nightly's.
        fuzz.env("RUSTUP_TOOLCHAIN", "nightly")
            .env("CARGO", "cargo")
            .env_remove("RUSTC");
        fuzz.args(["run", target]).arg(scratch).arg(corpus);
        if let Err(error) =
            step::run(fuzz.args(["--", &limit, "-print_final_stats=1", "-max_len=8192"]))
        {
            eprintln!("{error:#}");
            failed.push(*target);
        }
    }
    ensure!(
        failed.is_empty(),
        "fuzz targets that failed: {}",
        failed.join(", ")
    );
    Ok(())
}
