//! Agent: what one CPU-second of an HTTP client asks, with one origin and with a thousand.
//!
//! In:    the setting.
//! Out:   requests per CPU-second as the origin has counted them; with many origins, the sockets
//!        that were open at once.
//! Never: believes a client's own count, and never lets two of them work at the same time.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Pid;
use tokio::time::{Instant, sleep, timeout};

use super::cast::{Cast, Part, Subject};
use super::figures::{self, Unit};
use super::rounds::{Row, Sample, awake, interleave, watch};
use crate::load::reach::Reach;
use crate::origin::{Counts, Origin};
use crate::peers::clients::Client;
use crate::process::{Process, network_sockets};
use crate::report::{Section, grouped};
use crate::setting::Setting;

const OURS: &str = "byway-agent";
const OURS_CAPPED: &str = "byway-agent, at most 64";

/// Requests at once, to one origin.
const IN_FLIGHT: usize = 64;
/// Origins of the second question.
const ORIGINS: usize = 1000;
/// Connections to all of them together.
const CAP: usize = 64;
/// Requests at once there: four wait for each connection.
const IN_FLIGHT_OF_MANY: usize = 256;

/// A client with its orders.
struct Asker {
    name: &'static str,
    client: Client,
    against: &'static str,
    in_flight: usize,
    max_total: usize,
}

/// GETs of 1 KiB from one origin.
pub(crate) async fn small(setting: &Setting) -> Result<Section> {
    let asks = format!(
        "How many GETs of 1 KiB does one CPU-second of an HTTP client carry, {IN_FLIGHT} in flight to one origin?"
    );
    let asker = |client: Client| Asker {
        name: client.name(),
        client,
        against: OURS,
        in_flight: IN_FLIGHT,
        max_total: 0,
    };
    let askers = Client::ALL.map(asker);
    let targets = targets(setting, "one-origin.txt", &[setting.origin()])?;
    let (rows, cast) = ask_all(setting, &askers, &targets, setting.origin_counts()).await;
    let mut section = Section::new("Agent, 1 KiB", &asks);
    figures::fill(&mut section, Unit::Requests, setting, &rows, &cast, None);
    section.note(HOW);
    Ok(section)
}

/// The same from a thousand origins, in turn, with a limit on all connections together.
pub(crate) async fn origins(setting: &Setting) -> Result<Section> {
    let asks = format!(
        "How many GETs of 1 KiB does one CPU-second of an HTTP client carry, {IN_FLIGHT_OF_MANY} in flight to {} origins in \
         turn, and how many sockets does it open, with a total of at most {CAP} where it has such a limit?",
        grouped(ORIGINS as f64)
    );
    let asker = |name, client, against, max_total| Asker {
        name,
        client,
        against,
        in_flight: IN_FLIGHT_OF_MANY,
        max_total,
    };
    let mut askers = vec![
        asker(OURS_CAPPED, Client::BywayAgent, OURS_CAPPED, CAP),
        asker(
            "byway-agent, without a limit",
            Client::BywayAgent,
            OURS_CAPPED,
            0,
        ),
    ];
    for client in Client::ALL
        .into_iter()
        .filter(|client| *client != Client::BywayAgent)
    {
        askers.push(match client.has_total_cap() {
            true => asker("Node http.Agent, at most 64", client, OURS_CAPPED, CAP),
            false => asker(client.name(), client, "byway-agent, without a limit", 0),
        });
    }
    let many = Origin::start_many(ORIGINS)?;
    let targets = targets(setting, "many-origins.txt", many.addresses())?;
    let (rows, cast) = ask_all(setting, &askers, &targets, many.counts()).await;
    let mut section = Section::new("Agent, 1,000 origins", &asks);
    figures::fill(&mut section, Unit::Requests, setting, &rows, &cast, None);
    for row in &rows {
        let limit = askers
            .iter()
            .find(|asker| asker.name == row.subject.name)
            .map_or(0, |asker| asker.max_total);
        row.sockets
            .and_then(|most| kept(&row.subject.name, most, limit))
            .into_iter()
            .for_each(|said| section.answer(said));
    }
    section.note(HOW);
    section.note(
        "Sockets are counted in `/proc/PID/fd` every 20 ms. At the limit nearly every request has to close one connection \
         and to open another; without it each origin keeps its own, which costs a socket an origin and saves the dials. \
         Each is compared with the row of byway-agent that has a limit, or has none, as it has.",
    );
    Ok(section)
}

/// Whether a client has kept its limit; 0 is none.
fn kept(name: &str, most: usize, limit: usize) -> Option<String> {
    match limit {
        0 => None,
        limit if most <= limit => Some(format!("{name} never had more than {most} sockets open.")),
        limit => Some(format!(
            "**{name} had {most} sockets open**, more than its limit of {limit}."
        )),
    }
}

const HOW: &str = "Each turn is a process of its own on the subject's core, one thread of Rust or of JavaScript; requests are \
                   counted at the origin; the warm-up, compilers of JavaScript included, is not in the figures. Whose core was near 100 % was its own \
                   limit; a lower share means that the origin was.";

/// A file with a URL a line.
fn targets(setting: &Setting, name: &str, addresses: &[std::net::SocketAddr]) -> Result<PathBuf> {
    let file = setting.dir().join(name);
    let lines: String = addresses
        .iter()
        .map(|address| format!("http://{address}/1024\n"))
        .collect();
    fs::write(&file, lines).with_context(|| format!("writing {}", file.display()))?;
    Ok(file)
}

async fn ask_all(
    setting: &Setting,
    askers: &[Asker],
    targets: &Path,
    counts: &Counts,
) -> (Vec<Row>, Cast) {
    let mut cast = Cast::default();
    let takes_part =
        |asker: &&Asker| asker.client == Client::BywayAgent || setting.takes(asker.name);
    for asker in askers.iter().filter(takes_part) {
        match asker
            .client
            .command(targets, asker.in_flight, asker.max_total)
        {
            Ok(_) => cast.subjects.push(Subject {
                name: asker.name.to_owned(),
                part: if asker.client == Client::BywayAgent {
                    Part::Ours
                } else {
                    Part::Peer
                },
                pid: None,
                reach: Reach::Plain(setting.origin()),
                against: asker.against,
                access_log: None,
            }),
            Err(error) => cast.left_out.push(format!("{}: {error:#}", asker.name)),
        }
    }
    let most = RefCell::new(vec![0; askers.len()]);
    let turn = async |subject: &Subject| {
        let place = askers
            .iter()
            .position(|asker| asker.name == subject.name)
            .context("no such client")?;
        let (sample, sockets) = turn(setting, &askers[place], subject, targets, counts).await?;
        let mut most = most.borrow_mut();
        most[place] = most[place].max(sockets);
        Ok(sample)
    };
    let mut rows = interleave(setting, &cast.subjects, turn).await;
    for row in rows.iter_mut().filter(|row| row.failure.is_none()) {
        let Some(place) = askers
            .iter()
            .position(|asker| asker.name == row.subject.name)
        else {
            continue;
        };
        row.sockets = (askers[place].in_flight > IN_FLIGHT).then(|| most.borrow()[place]);
        // A count that fails leaves its cell empty; the figures stand.
        match calls(setting, &askers[place], targets, counts).await {
            Ok(calls) => row.calls = calls,
            Err(error) => eprintln!("lab: system calls of {}: {error:#}", row.subject.name),
        }
    }
    (rows, cast)
}

/// A client that is warm.
async fn start(
    setting: &Setting,
    asker: &Asker,
    targets: &Path,
    counts: &Counts,
) -> Result<Process> {
    let command = asker
        .client
        .command(targets, asker.in_flight, asker.max_total)?;
    let log = format!("client-{}", asker.client.name().replace(' ', "-"));
    let mut process = Process::spawn(command, &log, setting.cores, setting.dir())?;
    let before = counts.answered();
    // A reader of the log of failures finds the client's own words there.
    let warm = process
        .until(async |_| (counts.answered() > before + 2000).then_some(()))
        .await;
    warm.with_context(|| format!("after {} requests", counts.answered() - before))?;
    awake(
        setting,
        sleep((setting.window / 3).max(Duration::from_millis(500))),
    )
    .await;
    Ok(process)
}

/// How many system calls a request costs a client.
async fn calls(
    setting: &Setting,
    asker: &Asker,
    targets: &Path,
    counts: &Counts,
) -> Result<Option<f64>> {
    let Some(counter) = setting.counter else {
        return Ok(None);
    };
    let process = start(setting, asker, targets, counts).await?;
    let from = counts.answered();
    let work = || (counts.answered() - from) as f64;
    let calls = awake(setting, counter.a_piece(process.pid(), setting.dir(), work)).await?;
    process.stop().await?;
    Ok(Some(calls))
}

/// A sample, and the sockets that were seen open at once.
async fn turn(
    setting: &Setting,
    asker: &Asker,
    subject: &Subject,
    targets: &Path,
    counts: &Counts,
) -> Result<(Sample, usize)> {
    let mut process = start(setting, asker, targets, counts).await?;
    let most = RefCell::new(0);
    let work = async || {
        let from = counts.answered();
        sample_sockets(process.pid(), setting.window, &most).await?;
        let done = counts.answered() - from;
        ensure!(done > 0, "it asked nothing for {:?}", setting.window);
        Ok(done as f64)
    };
    let subject = Subject {
        pid: Some(process.pid()),
        ..subject.clone()
    };
    let sample = watch(setting, &subject, work).await;
    if let Some(why) = process.ended()? {
        anyhow::bail!("{why}");
    }
    let sample = sample?;
    process.stop().await?;
    // The origin closes what the client left open, before the next one comes.
    timeout(Duration::from_secs(1), sleep(Duration::from_millis(50))).await?;
    Ok((sample, most.into_inner()))
}

/// Looks at the sockets of a process until the window is over.
async fn sample_sockets(pid: Pid, window: Duration, most: &RefCell<usize>) -> Result<()> {
    const EVERY: Duration = Duration::from_millis(20);
    let end = Instant::now() + window;
    while Instant::now() < end {
        let open = network_sockets(pid)?;
        most.replace_with(|most| open.max(*most));
        sleep(EVERY.min(end - Instant::now())).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_was_not_kept_is_said_and_none_is_no_limit() {
        assert_eq!(
            kept("a", 64, 64).unwrap(),
            "a never had more than 64 sockets open."
        );
        assert_eq!(
            kept("a", 65, 64).unwrap(),
            "**a had 65 sockets open**, more than its limit of 64."
        );
        assert_eq!(kept("a", 1000, 0), None);
    }
}
