//! Test: the steps that must pass before a change is merged, and the longer ones of `--all`.
//!
//! In:    `--all`, or names of steps.
//! Out:   each step with its result and its time; a failure at the end if one of them failed.
//! Never: stops at the first failure, and never counts a skipped step as passed.

use std::time::Instant;

use anyhow::{Context, bail, ensure};

use crate::{arch, dependencies, docs, fuzz, step, tools};

/// The result of a step that did not fail.
pub(crate) enum Ended {
    /// It ran.
    Passed,
    /// It could not run here: the reason, and what to install.
    Skipped(String),
}

struct Step {
    name: &'static str,
    run: fn() -> anyhow::Result<Ended>,
}

/// The steps of CI.
const STEPS: [Step; 8] = [
    Step {
        name: "tools",
        run: || passed(tools::install()),
    },
    Step {
        name: "format",
        run: || cargo(&["fmt", "--all", "--check"]),
    },
    Step {
        name: "lints",
        run: || {
            cargo(&[
                "clippy",
                "--locked",
                "--workspace",
                "--all-targets",
                "--",
                "--deny",
                "warnings",
            ])
        },
    },
    Step {
        name: "tests",
        run: || cargo(&["test", "--locked", "--workspace", "--no-fail-fast"]),
    },
    Step {
        name: "documents",
        run: || passed(docs::run()),
    },
    Step {
        name: "layers",
        run: || passed(arch::run()),
    },
    Step {
        name: "provider",
        run: || passed(one_provider()),
    },
    Step {
        name: "journeys",
        run: || {
            cargo(&[
                "run",
                "--locked",
                "--package",
                "byway",
                "--",
                "--log-level",
                "warn",
                "demo",
                "--check",
            ])
        },
    },
];

/// The additional steps of `--all`.
const LONGER: [Step; 7] = [
    Step {
        name: "dependencies",
        run: dependencies::check,
    },
    Step {
        name: "advisories",
        run: dependencies::advisories,
    },
    Step {
        name: "properties",
        run: || passed(properties()),
    },
    Step {
        name: "soak",
        run: || passed(soak()),
    },
    Step {
        name: "browser",
        run: browser,
    },
    Step {
        name: "h2spec",
        run: h2spec,
    },
    Step {
        name: "fuzz",
        run: || fuzz::each(FUZZ_SECONDS),
    },
];

/// The factor for the number of cases of property tests.
const CASES_FACTOR: u32 = 20;

/// proptest's default number of cases, to which the others are in proportion.
const USUAL_CASES: u32 = 256;

/// The time of one fuzz target.
const FUZZ_SECONDS: &str = "30";

/// Runs the steps of CI; with `--all` also the longer ones; with names only those steps.
pub(crate) fn run(args: &[&str]) -> anyhow::Result<()> {
    let steps: Vec<&Step> = match args {
        [] => STEPS.iter().collect(),
        ["--all"] => STEPS.iter().chain(&LONGER).collect(),
        names => names
            .iter()
            .map(|name| named(name))
            .collect::<anyhow::Result<_>>()?,
    };
    let (mut skipped, mut failed) = (Vec::new(), Vec::new());
    for step in &steps {
        let begun = Instant::now();
        eprintln!("\n== {}", step.name);
        let ended = (step.run)();
        let word = match &ended {
            Ok(Ended::Passed) => "ok",
            Ok(Ended::Skipped(_)) => "SKIPPED",
            Err(_) => "FAILED",
        };
        eprintln!(
            "== {}: {word} in {:.0} s",
            step.name,
            begun.elapsed().as_secs_f32()
        );
        match ended {
            Ok(Ended::Passed) => {}
            Ok(Ended::Skipped(why)) => {
                eprintln!("{why}");
                skipped.push(step.name);
            }
            Err(error) => {
                eprintln!("{error:#}");
                failed.push(step.name);
            }
        }
    }
    let passed = steps.len() - failed.len() - skipped.len();
    eprintln!(
        "\nsteps: {passed} passed, {} failed, {} skipped",
        failed.len(),
        skipped.len()
    );
    if !skipped.is_empty() {
        eprintln!("skipped: {}", skipped.join(", "));
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

fn named(name: &str) -> anyhow::Result<&'static Step> {
    let mut all = STEPS.iter().chain(&LONGER);
    all.find(|step| step.name == name).with_context(|| {
        let names: Vec<_> = STEPS.iter().chain(&LONGER).map(|step| step.name).collect();
        format!(
            "there is no step `{name}`; the steps are: {}",
            names.join(", ")
        )
    })
}

fn passed(result: anyhow::Result<()>) -> anyhow::Result<Ended> {
    result.map(|()| Ended::Passed)
}

fn cargo(args: &[&str]) -> anyhow::Result<Ended> {
    passed(step::cargo(args))
}

/// aws-lc-rs is the only crypto provider; `ring` would be a second implementation to monitor and
/// update.
fn one_provider() -> anyhow::Result<()> {
    let mut tree = step::cargo_command();
    tree.args([
        "tree",
        "--locked",
        "--workspace",
        "--edges",
        "normal",
        "--prefix",
        "none",
    ]);
    let tree = step::output(tree.args(["--target", "x86_64-unknown-linux-gnu"]))?;
    ensure!(
        !tree.lines().any(|line| line.starts_with("ring v")),
        "`ring` is in the dependency tree: cargo tree -i ring"
    );
    Ok(())
}

/// Runs the property tests of all crates with more cases.
fn properties() -> anyhow::Result<()> {
    let cases = (USUAL_CASES * CASES_FACTOR).to_string();
    eprintln!("PROPTEST_CASES={cases}");
    let mut failed = Vec::new();
    for args in PROPERTIES {
        let mut test = step::cargo_command();
        test.args(["test", "--locked", "--no-fail-fast"]).args(args);
        if let Err(error) = step::run(test.env("PROPTEST_CASES", &cases)) {
            failed.push(format!("{error:#}"));
        }
    }
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

/// Without the program's suites: their cases are whole requests to the built program.
const PROPERTIES: [&[&str]; 9] = [
    &["--package", "byway-fuzz-bodies"],
    &["--package", "byway-h1"],
    &["--package", "byway-ws"],
    &["--package", "byway-dial", "--lib"],
    &["--package", "byway-link", "--lib"],
    &["--package", "byway-agent", "--lib", "--test", "agent"],
    &["--package", "byway-pool", "--lib"],
    &["--package", "byway-relay", "--lib"],
    &["--package", "byway", "--lib"],
];

/// Ignored elsewhere, as it takes more than a minute and needs an otherwise idle machine.
fn soak() -> anyhow::Result<()> {
    step::cargo(&[
        "test",
        "--locked",
        "--package",
        "byway",
        "--test",
        "soak",
        "--",
        "--ignored",
        "--nocapture",
    ])
}

/// Ignored elsewhere, as it needs a browser.
fn browser() -> anyhow::Result<Ended> {
    if let Err(error) = tools::install_browser() {
        return Ok(Ended::Skipped(format!(
            "there is no Chromium, and it cannot be installed: {error:#}"
        )));
    }
    cargo(&[
        "test",
        "--locked",
        "--package",
        "byway",
        "--test",
        "browser",
        "--",
        "--ignored",
        "--exact",
        BROWSER,
    ])
}

/// Ignored elsewhere, as it needs h2spec.
fn h2spec() -> anyhow::Result<Ended> {
    let h2spec = match tools::h2spec() {
        Ok(h2spec) => h2spec,
        Err(error) => {
            return Ok(Ended::Skipped(format!(
                "there is no h2spec, and Go cannot install it: {error:#}"
            )));
        }
    };
    let mut test = step::cargo_command();
    test.env("BYWAY_H2SPEC", h2spec).args([
        "test",
        "--locked",
        "--package",
        "byway",
        "--test",
        "edge",
        "--",
        "--ignored",
        "--nocapture",
        "h2spec::",
    ]);
    passed(step::run(&mut test))
}

const BROWSER: &str = "a_page_in_chromium_works_through_every_way_in";
