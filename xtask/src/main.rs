//! The project's own commands: `cargo xtask test | bench | guided | dist | docs | arch | fuzz`.
//!
//! In:    a verb.
//! Out:   its steps, one after the other, and a summary line.
//! Never: does anything that cannot be typed as shell commands.

mod arch;
mod dependencies;
mod dist;
mod docs;
mod fuzz;
mod guided;
mod step;
mod test;
mod tools;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask VERB
  test               all required checks: format, lints, tests, documents, the demo's journeys; installs what it needs
  test --all         also the longer checks: cargo-deny (dependencies, advisories), property tests with 20 times
                     their cases (properties), a minute of mixed load with reloads and kills (soak), a page in Chromium
                     (browser), every fuzz target for 30 s (fuzz, needs a nightly toolchain); lists the skipped ones
  test STEP...       only these steps: tools format lints tests documents layers provider journeys, or one of --all
  bench [edge|agent|relay|memory|links|paths] [ARGS]
                     side-by-side measurements (the `lab` package); see bench --help
  guided             a release build of byway guided by a profile (PGO), target/guided/byway: the lab trains it; three
                     builds, some 15 minutes on two cores; needs rustup's component llvm-tools
  dist               a release build of byway in target/dist, with its symbols in byway.debug beside it
  docs               builds the API documents and checks every link between the written ones
  arch [FOLDER]      checks that imports follow the layers of ARCHITECTURE.md; with a folder, prints its imports
  fuzz [TARGET] [S]  runs a fuzz target, or each, for S seconds (60); needs a nightly toolchain";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        ["test", rest @ ..] => test::run(rest),
        ["bench", rest @ ..] => step::cargo(
            &[
                &["run", "--release", "--locked", "--package", "lab", "--"],
                rest,
            ]
            .concat(),
        ),
        ["guided"] => guided::run(),
        ["docs"] => docs::run(),
        ["dist"] => dist::run(),
        ["arch"] => arch::run(),
        ["arch", folder] => arch::print(folder),
        ["fuzz", rest @ ..] => fuzz::run(rest),
        _ => Err(anyhow::anyhow!(USAGE)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
