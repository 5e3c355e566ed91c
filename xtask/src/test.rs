//! Test: everything that must hold before a change lands. What CI runs, and nothing else.

use std::time::Instant;

use anyhow::{bail, ensure};

use crate::{docs, step, tools};

/// A step by its name.
type Step = (&'static str, fn() -> anyhow::Result<()>);

const STEPS: [Step; 7] = [
    ("tools", tools::install),
    ("format", || step::cargo(&["fmt", "--all", "--check"])),
    ("lints", || step::cargo(&["clippy", "--locked", "--workspace", "--all-targets", "--", "--deny", "warnings"])),
    ("tests", || step::cargo(&["test", "--locked", "--workspace", "--no-fail-fast"])),
    ("documents", docs::run),
    ("one crypto provider", no_ring),
    ("journeys", || {
        step::cargo(&["run", "--locked", "--package", "byway", "--", "--log-level", "warn", "demo", "--check"])
    }),
];

/// Runs every step, also behind one that failed, and counts.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut failed = Vec::new();
    for (name, step) in STEPS {
        let begun = Instant::now();
        eprintln!("\n== {name}");
        let done = step();
        eprintln!(
            "== {name}: {} in {:.0} s",
            if done.is_ok() { "ok" } else { "FAILED" },
            begun.elapsed().as_secs_f32()
        );
        if let Err(error) = done {
            eprintln!("{error:#}");
            failed.push(name);
        }
    }
    let passed = STEPS.len() - failed.len();
    eprintln!("\nsteps: {passed} passed, {} failed", failed.len());
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

/// aws-lc-rs is the one provider; `ring` beside it would be a second set of keys to the house.
fn no_ring() -> anyhow::Result<()> {
    let mut tree = step::cargo_command();
    tree.args(["tree", "--locked", "--workspace", "--edges", "normal", "--prefix", "none"]);
    let tree = step::output(tree.args(["--target", "x86_64-unknown-linux-gnu"]))?;
    ensure!(
        !tree.lines().any(|line| line.starts_with("ring v")),
        "`ring` is in the dependency tree: cargo tree -i ring"
    );
    Ok(())
}
