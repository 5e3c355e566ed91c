//! Memory: the memory of idle programs, alone and with idle connections through an egress.
//!
//! In:    the environment.   Out: resident memory of each.   Never: measures while bytes move.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::sleep;

use super::idle;
use crate::byway::start_verb;
use crate::chart::{Chart, Tone};
use crate::environment::RunEnvironment;
use crate::process::{Memory, memory};
use crate::report::Section;
use crate::statistics::Spread;

/// The idle time before memory is read.
const SETTLE: Duration = Duration::from_millis(400);

/// Measures both questions.
pub(crate) async fn run(env: &RunEnvironment) -> Result<Vec<Section>> {
    Ok(vec![idle_commands(env).await?, idle::egress(env).await?])
}

async fn idle_commands(env: &RunEnvironment) -> Result<Section> {
    let mut section = Section::new(
        "Idle commands",
        "How much memory does each command hold before its first connection?",
    );
    section.head(["command", "RSS, MiB", "of it anonymous", "threads"]);
    let mut chart = Chart::new(section.title(), "resident MiB; less is better");
    let origin = env.origin().to_string();
    let any = "127.0.0.1:0";
    let file = config(env, env.origin())?;
    let commands: [&[&str]; 6] = [
        &["edge", "--from", any, "--to", &origin],
        &["proxy", "--listen", any],
        &["serve", "--listen", any],
        &["proxy", "serve", "--listen", any],
        &["run", "-c", &file],
        &["demo"],
    ];
    for arguments in commands {
        let words = arguments
            .iter()
            .take_while(|word| !word.starts_with('-'))
            .copied()
            .collect::<Vec<_>>();
        let name = format!("byway {}", words.join(" "));
        match idle_memory(env, arguments).await {
            Ok(memory) => {
                let spread = Spread::single(memory.rss_kib as f64 / 1024.0);
                chart.bar(&name, Tone::Ours, spread, mebibytes(memory.rss_kib));
                section.row([
                    name,
                    mebibytes(memory.rss_kib),
                    mebibytes(memory.anonymous_kib),
                    memory.threads.to_string(),
                ]);
            }
            Err(error) => section.note(format!("Left out: {name}: {error:#}.")),
        }
    }
    section.chart(chart);
    section.note("One worker each, since the commands may use one core. RSS includes the pages of the program file.");
    Ok(section)
}

async fn idle_memory(env: &RunEnvironment, arguments: &[&str]) -> Result<Memory> {
    let log = format!("idle-{}", arguments.first().copied().unwrap_or_default());
    let (process, _) = start_verb(env, &log, arguments).await?;
    sleep(SETTLE).await;
    let memory = memory(process.pid())?;
    process.stop().await?;
    Ok(memory)
}

/// A config with one edge: the smallest for `byway run`.
fn config(env: &RunEnvironment, origin: SocketAddr) -> Result<String> {
    let file = env.dir().join("idle.toml");
    let text = format!("[[edge]]\nlisten = \"127.0.0.1:0\"\n[[edge.route]]\nto = \"{origin}\"\n");
    std::fs::write(&file, text).context("writing idle.toml")?;
    Ok(file.display().to_string())
}

fn mebibytes(kib: u64) -> String {
    format!("{:.1}", kib as f64 / 1024.0)
}
