//! Build: how long a cold release build of byway takes, and how large the program is.
//!
//! In:    the workspace, with its dependencies downloaded.
//! Out:   wall time, CPU time and the size of the program.
//! Never: uses or changes the target folder of the developer.

use std::time::Instant;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::chart::{Chart, Tone};
use crate::environment;
use crate::process::children_cpu_time;
use crate::report::Section;
use crate::statistics::Spread;

/// Builds into an empty folder, which is removed afterwards.
pub(crate) async fn measure() -> Result<Section> {
    let target =
        TempDir::with_prefix("byway-lab-build-").context("making an empty target folder")?;
    let (started, before) = (Instant::now(), children_cpu_time()?);
    let byway = environment::build(target.path())?;
    let (wall, cpu) = (started.elapsed(), children_cpu_time()? - before);
    let bytes = byway
        .metadata()
        .context("reading the size of the built program")?
        .len();
    let mut section = Section::new(
        "Release build",
        "How long does a cold release build take, and how large is byway?",
    );
    section.head(["what", "value"]);
    section.row(["wall time".into(), format!("{:.0} s", wall.as_secs_f64())]);
    section.row([
        "CPU time of compiler and linker".into(),
        format!("{:.0} s", cpu.total().as_secs_f64()),
    ]);
    section.row([
        "size of the program, with line tables".into(),
        format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    ]);
    let mut chart = Chart::new(section.title(), "seconds; less is better");
    for (label, seconds) in [
        ("wall time", wall.as_secs_f64()),
        ("CPU time", cpu.total().as_secs_f64()),
    ] {
        chart.bar(
            label,
            Tone::Ours,
            Spread::single(seconds),
            format!("{seconds:.0}"),
        );
    }
    section.chart(chart);
    section.note("`cargo build --release -p byway` into an empty folder; the sources of dependencies were at hand.");
    Ok(section)
}
