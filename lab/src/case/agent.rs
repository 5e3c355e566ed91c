//! Agent: how many requests one CPU-second of an HTTP client makes, with one origin and with a
//! thousand.
//!
//! Out:   requests per CPU-second as counted by the origin; with many origins, also the sockets
//!        open at once.
//! Never: uses a client's own count, or lets two clients work at the same time.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Pid;
use tokio::time::{Instant, sleep, timeout};

use super::roles::{Roles, Subject, SubjectRole};
use super::rounds::{Row, Sample, awake, interleave, watch};
use super::tables::{self, Unit};
use crate::environment::RunEnvironment;
use crate::load::reach::Reach;
use crate::origin::{Counts, Origin};
use crate::peers::clients::Client;
use crate::process::{Process, network_sockets};
use crate::report::{Section, grouped};

const OURS: &str = "byway-agent";
const OURS_CAPPED: &str = "byway-agent, at most 64";

/// Requests in flight to one origin.
const IN_FLIGHT: usize = 64;
/// Origins of the second question.
const ORIGINS: usize = 1000;
/// Limit of connections to all of them together.
const CAP: usize = 64;
/// Requests in flight to many origins: four per connection of the limit.
const IN_FLIGHT_OF_MANY: usize = 256;

/// A client and its parameters.
struct Asker {
    name: &'static str,
    client: Client,
    against: &'static str,
    in_flight: usize,
    max_total: usize,
}

/// GETs of 1 KiB from one origin.
pub(crate) async fn small(env: &RunEnvironment) -> Result<Section> {
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
    let targets = targets(env, "one-origin.txt", &[env.origin()])?;
    let (rows, roles) = ask_all(env, &askers, &targets, env.origin_counts()).await;
    let mut section = Section::new("Agent, 1 KiB", &asks);
    tables::fill(&mut section, Unit::Requests, env, &rows, &roles, None);
    section.note(HOW);
    Ok(section)
}

/// The same from a thousand origins, round-robin, with a limit on all connections together.
pub(crate) async fn origins(env: &RunEnvironment) -> Result<Section> {
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
    let targets = targets(env, "many-origins.txt", many.addresses())?;
    let (rows, roles) = ask_all(env, &askers, &targets, many.counts()).await;
    let mut section = Section::new("Agent, 1,000 origins", &asks);
    tables::fill(&mut section, Unit::Requests, env, &rows, &roles, None);
    for row in &rows {
        let limit = askers
            .iter()
            .find(|asker| asker.name == row.subject.name)
            .map_or(0, |asker| asker.max_total);
        row.sockets
            .and_then(|most| kept(&row.subject.name, most, limit))
            .into_iter()
            .for_each(|answer| section.answer(answer));
    }
    section.note(HOW);
    section.note(
        "Sockets are counted in `/proc/PID/fd` every 20 ms. At the limit nearly every request closes one connection \
         and opens another; without it each origin keeps its own, which costs one socket per origin and saves the dials. \
         Clients with a limit are compared with byway-agent with a limit, the others with byway-agent without one.",
    );
    Ok(section)
}

/// Whether a client has kept its limit; 0 is no limit.
fn kept(name: &str, most: usize, limit: usize) -> Option<String> {
    match limit {
        0 => None,
        limit if most <= limit => Some(format!("{name} never had more than {most} sockets open.")),
        limit => Some(format!(
            "**{name} had {most} sockets open**, more than its limit of {limit}."
        )),
    }
}

const HOW: &str = "Each measurement is a separate process on the subject's core, with one thread of Rust or JavaScript. Requests are \
                   counted at the origin; the warm-up, JavaScript compilation included, is not in the figures. A client that used nearly 100 % of its core was its own \
                   limit; with a lower share the origin was the limit.";

/// Writes a file with one URL per line.
fn targets(
    env: &RunEnvironment,
    name: &str,
    addresses: &[std::net::SocketAddr],
) -> Result<PathBuf> {
    let file = env.dir().join(name);
    let lines: String = addresses
        .iter()
        .map(|address| format!("http://{address}/1024\n"))
        .collect();
    fs::write(&file, lines).with_context(|| format!("writing {}", file.display()))?;
    Ok(file)
}

async fn ask_all(
    env: &RunEnvironment,
    askers: &[Asker],
    targets: &Path,
    counts: &Counts,
) -> (Vec<Row>, Roles) {
    let mut roles = Roles::default();
    let takes_part = |asker: &&Asker| asker.client == Client::BywayAgent || env.takes(asker.name);
    for asker in askers.iter().filter(takes_part) {
        match asker
            .client
            .command(targets, asker.in_flight, asker.max_total)
        {
            Ok(_) => roles.subjects.push(Subject {
                name: asker.name.to_owned(),
                role: if asker.client == Client::BywayAgent {
                    SubjectRole::Ours
                } else {
                    SubjectRole::Peer
                },
                pid: None,
                reach: Reach::Plain(env.origin()),
                against: asker.against,
                access_log: None,
            }),
            Err(error) => roles.left_out.push(format!("{}: {error:#}", asker.name)),
        }
    }
    let most = RefCell::new(vec![0; askers.len()]);
    let turn = async |subject: &Subject| {
        let place = askers
            .iter()
            .position(|asker| asker.name == subject.name)
            .context("no such client")?;
        let (sample, sockets) = turn(env, &askers[place], subject, targets, counts).await?;
        let mut most = most.borrow_mut();
        most[place] = most[place].max(sockets);
        Ok(sample)
    };
    let mut rows = interleave(env, &roles.subjects, turn).await;
    for row in rows.iter_mut().filter(|row| row.failure.is_none()) {
        let Some(place) = askers
            .iter()
            .position(|asker| asker.name == row.subject.name)
        else {
            continue;
        };
        row.sockets = (askers[place].in_flight > IN_FLIGHT).then(|| most.borrow()[place]);
        // A failed count leaves its cell empty; the other figures remain valid.
        match syscalls(env, &askers[place], targets, counts).await {
            Ok(syscalls) => row.syscalls = syscalls,
            Err(error) => eprintln!("lab: system calls of {}: {error:#}", row.subject.name),
        }
    }
    (rows, roles)
}

/// Starts a client and warms it up.
async fn start(
    env: &RunEnvironment,
    asker: &Asker,
    targets: &Path,
    counts: &Counts,
) -> Result<Process> {
    let command = asker
        .client
        .command(targets, asker.in_flight, asker.max_total)?;
    let log = format!("client-{}", asker.client.name().replace(' ', "-"));
    let mut process = Process::spawn(command, &log, env.cores, env.dir())?;
    let before = counts.answered();
    // On failure the client's own log has the reason.
    let warm = process
        .until(async |_| (counts.answered() > before + 2000).then_some(()))
        .await;
    warm.with_context(|| format!("after {} requests", counts.answered() - before))?;
    awake(env, sleep((env.window / 3).max(Duration::from_millis(500)))).await;
    Ok(process)
}

/// The number of system calls that a client makes per request.
async fn syscalls(
    env: &RunEnvironment,
    asker: &Asker,
    targets: &Path,
    counts: &Counts,
) -> Result<Option<f64>> {
    let Some(counter) = env.counter else {
        return Ok(None);
    };
    let process = start(env, asker, targets, counts).await?;
    let from = counts.answered();
    let work = || (counts.answered() - from) as f64;
    let syscalls = awake(env, counter.a_piece(process.pid(), env.dir(), work)).await?;
    process.stop().await?;
    Ok(Some(syscalls))
}

/// One measurement, and the most sockets that were open at once.
async fn turn(
    env: &RunEnvironment,
    asker: &Asker,
    subject: &Subject,
    targets: &Path,
    counts: &Counts,
) -> Result<(Sample, usize)> {
    let mut process = start(env, asker, targets, counts).await?;
    let most = RefCell::new(0);
    let work = async || {
        let from = counts.answered();
        sample_sockets(process.pid(), env.window, &most).await?;
        let done = counts.answered() - from;
        ensure!(done > 0, "it sent no request within {:?}", env.window);
        Ok(done as f64)
    };
    let subject = Subject {
        pid: Some(process.pid()),
        ..subject.clone()
    };
    let sample = watch(env, &subject, work).await;
    if let Some(why) = process.ended()? {
        anyhow::bail!("{why}");
    }
    let sample = sample?;
    process.stop().await?;
    // The origin closes what the client left open before the next client starts.
    timeout(Duration::from_secs(1), sleep(Duration::from_millis(50))).await?;
    Ok((sample, most.into_inner()))
}

/// Samples the number of sockets of a process until the window ends.
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
    fn a_broken_limit_is_reported_and_zero_is_no_limit() {
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
