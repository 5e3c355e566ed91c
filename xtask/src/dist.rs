//! Dist: the program as it is shipped, and its symbols in a file beside it.
//!
//! In:    the sources; `objcopy` of binutils.
//! Out:   `target/dist/byway` without symbols, and `target/dist/byway.debug`, which debuggers and
//!        profilers find by the name that the program holds.
//! Never: ships a program whose symbols are of another build.

use std::fs;
use std::process::Command;

use anyhow::Context;

use crate::step;

/// The largest program that is shipped.
const MOST_BYTES: u64 = 16 << 20;

/// Builds and splits.
pub(crate) fn run() -> anyhow::Result<()> {
    step::cargo(&[
        "build",
        "--locked",
        "--profile",
        "dist",
        "--package",
        "byway",
    ])?;
    let folder = step::root().join("target/dist");
    let (program, symbols) = (folder.join("byway"), folder.join("byway.debug"));
    let objcopy = || {
        let mut objcopy = Command::new("objcopy");
        objcopy.current_dir(&folder);
        objcopy
    };
    let why = "objcopy is part of binutils (apt-get install binutils)";
    step::run(
        objcopy()
            .arg("--only-keep-debug")
            .args([&program, &symbols]),
    )
    .context(why)?;
    step::run(objcopy().arg("--strip-all").arg(&program))?;
    let link = format!("--add-gnu-debuglink={}", symbols.display());
    step::run(objcopy().arg(link).arg(&program))?;
    let bytes = fs::metadata(&program)?.len();
    eprintln!("{}: {} KiB", program.display(), bytes / 1024);
    anyhow::ensure!(
        bytes <= MOST_BYTES,
        "the program has more than {} MiB",
        MOST_BYTES >> 20
    );
    Ok(())
}
