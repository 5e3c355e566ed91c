//! Memory: what programs hold while nothing happens, alone and with two thousand idle connections.
//!
//! In:    the setting.   Out: resident memory of each.   Never: measures while bytes move.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::sleep;

use super::cast::Cast;
use crate::byway::start_verb;
use crate::load::hold;
use crate::load::reach::Reach;
use crate::peers::haproxy::Bodies;
use crate::peers::{Fields, Program, haproxy, microsocks, nginx, tinyproxy};
use crate::process::{Memory, memory};
use crate::report::{Section, grouped};
use crate::setting::Setting;

const CONNECTIONS: usize = 2000;

/// How long a program is left alone before it is looked at.
const SETTLE: Duration = Duration::from_millis(400);

/// Asks both questions.
pub(crate) async fn run(setting: &Setting) -> Result<Vec<Section>> {
    Ok(vec![idle(setting).await?, holding(setting).await?])
}

async fn idle(setting: &Setting) -> Result<Section> {
    let mut section =
        Section::new("Idle commands", "How much memory does each command hold before its first connection?");
    section.head(["command", "RSS, MiB", "of it anonymous", "threads"]);
    let origin = setting.origin().to_string();
    let any = "127.0.0.1:0";
    let file = config(setting, setting.origin())?;
    let commands: [&[&str]; 6] = [
        &["edge", "--from", any, "--to", &origin],
        &["proxy", "--listen", any],
        &["serve", "--listen", any],
        &["proxy", "serve", "--listen", any],
        &["run", "-c", &file],
        &["demo"],
    ];
    for arguments in commands {
        let words = arguments.iter().take_while(|word| !word.starts_with('-')).copied().collect::<Vec<_>>();
        let name = format!("byway {}", words.join(" "));
        match idle_memory(setting, arguments).await {
            Ok(memory) => {
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
    section.note("One worker each, as the commands may use one core. RSS counts the pages of the program file, too.");
    Ok(section)
}

async fn idle_memory(setting: &Setting, arguments: &[&str]) -> Result<Memory> {
    let log = format!("idle-{}", arguments.first().copied().unwrap_or_default());
    let (process, _) = start_verb(setting, &log, arguments).await?;
    sleep(SETTLE).await;
    let memory = memory(process.pid())?;
    process.stop().await?;
    Ok(memory)
}

/// A config with one edge, which is `byway run` at its least.
fn config(setting: &Setting, origin: SocketAddr) -> Result<String> {
    let file = setting.dir().join("idle.toml");
    let text = format!("[[edge]]\nlisten = \"127.0.0.1:0\"\n[[edge.route]]\nto = \"{origin}\"\n");
    std::fs::write(&file, text).context("writing idle.toml")?;
    Ok(file.display().to_string())
}

async fn holding(setting: &Setting) -> Result<Section> {
    let asks = format!("How much memory do {CONNECTIONS} connections cost that have been used once and idle now?");
    let mut section = Section::new("Idle connections", &asks);
    section.head(["subject", "RSS before, MiB", "RSS with them", "KiB per connection", "of it anonymous", "threads"]);
    // Each subject is measured in a program that has done nothing else.
    for ours in [Ours::Edge, Ours::Socks5] {
        let cast = Cast::begin(setting, |byway| vec![ours.row(byway)]).await?;
        hold_each(setting, &mut section, &cast, 1).await;
        cast.end().await?;
    }
    let mut cast = Cast::begin(setting, |_| Vec::new()).await?;
    cast.subjects.clear();
    let (least, small) = (Fields::Least, Bodies::Small);
    cast.add(Program::Nginx, "nginx", "", Reach::Plain, nginx::serve(setting, least)).await;
    cast.add(Program::Haproxy, "haproxy", "", Reach::Plain, haproxy::serve(setting, least, small)).await;
    cast.add(Program::Microsocks, "microsocks", "", Reach::Socks5, microsocks::serve(setting)).await;
    cast.add(Program::Tinyproxy, "tinyproxy CONNECT", "", Reach::Connect, tinyproxy::serve(setting)).await;
    let count = cast.subjects.len();
    hold_each(setting, &mut section, &cast, count).await;
    cast.left_out.iter().for_each(|why| section.note(format!("Left out: {why}.")));
    cast.end().await?;
    section.note("An idle stream through an egress is two sockets; their kernel memory is in none of these figures.");
    Ok(section)
}

/// Byway's own rows.
#[derive(Clone, Copy, Debug)]
enum Ours {
    Edge,
    Socks5,
}

impl Ours {
    fn row(self, byway: &crate::byway::Byway) -> (&'static str, Reach) {
        match self {
            Self::Edge => ("byway edge, keep-alive", Reach::Plain(byway.edge)),
            Self::Socks5 => ("byway SOCKS5 streams", Reach::Socks5(byway.proxy)),
        }
    }
}

/// Measures the first `count` subjects of the cast.
async fn hold_each(setting: &Setting, section: &mut Section, cast: &Cast, count: usize) {
    for subject in cast.subjects.iter().take(count) {
        let Some(pid) = subject.pid else { continue };
        let measured = async {
            let before = memory(pid)?;
            let held = hold::open(subject.reach, CONNECTIONS, setting.origin()).await?;
            sleep(SETTLE).await;
            let with = memory(pid)?;
            drop(held);
            anyhow::Ok((before, with))
        };
        match measured.await {
            Ok((before, with)) => section.row(held_row(&subject.name, before, with)),
            Err(error) => section.note(format!("{} failed: {error:#}.", subject.name)),
        }
    }
}

fn held_row(name: &str, before: Memory, with: Memory) -> [String; 6] {
    let each = |before: u64, with: u64| format!("{:.1}", (with as f64 - before as f64) / CONNECTIONS as f64);
    [
        name.to_owned(),
        mebibytes(before.rss_kib),
        mebibytes(with.rss_kib),
        each(before.rss_kib, with.rss_kib),
        each(before.anonymous_kib, with.anonymous_kib),
        grouped(with.threads as f64),
    ]
}

fn mebibytes(kib: u64) -> String {
    format!("{:.1}", kib as f64 / 1024.0)
}
