//! Paused: readers that stop reading.
//!
//! Out:   whether a download that the origin has finished arrives if its reader pauses for longer
//!        than the origin keeps the connection; and how much of a download the kernel holds for a
//!        reader that does not read.
//! Never: measures a rate.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::at_the_near_end;
use super::crossings::{Crossing, Way};
use super::results::{interleave, with_ends};
use crate::chart::Chart;
use crate::environment::RunEnvironment;
use crate::load::reach::Reach;
use crate::load::request::Request;
use crate::load::scratch;
use crate::path::line::Line;
use crate::report::{Section, grouped};
use lab::shaping::shape::Shape;

pub(super) const FINISHED: &str = "Path, a finished download that is paused";
pub(super) const HELD: &str = "Path, readers that do not read";

const READERS: usize = 5;
/// An origin drops the state of a connection that it has closed after 60 s (`tcp_fin_timeout`).
const PAUSE: Duration = Duration::from_secs(70);
const FINISHED_BYTES: u64 = 1 << 20;
const HELD_BYTES: u64 = 64 << 20;
/// The time in which the buffers between both ends fill up.
const FILLED: Duration = Duration::from_secs(8);
const PATIENCE: Duration = Duration::from_secs(30);

/// Measures whether the rest arrives.
pub(super) async fn finished(env: &RunEnvironment) -> Result<Section> {
    let asks = "Does every byte arrive when a reader pauses for 70 s in a download of 1 MiB that the origin has ended?";
    let mut section = Section::new(FINISHED, asks);
    let ways = Way::all(env, &mut section);
    let all = interleave(env, ways, PAUSE + PATIENCE * 2, async |way, seed| {
        with_readers(env, way, seed, async |crossing, _| {
            let mut readers = JoinSet::new();
            for _ in 0..READERS {
                readers.spawn(pauses(
                    crossing.reach.open(crossing.target).await?,
                    crossing.target,
                ));
            }
            Ok(readers.join_all().await)
        })
        .await
    })
    .await;
    section.head(["subject", "downloads that arrived whole"]);
    for results in &all {
        results.note(&mut section);
        let ends: Vec<_> = results.turns.iter().flatten().collect();
        let whole = ends.iter().filter(|end| end.is_ok()).count();
        section.row([results.way.name(), format!("{whole} of {}", ends.len())]);
        if let Some(Err(why)) = ends.iter().find(|end| end.is_err()) {
            section.note(format!("{}: {why:#}.", results.way.name()));
        }
    }
    Ok(section)
}

async fn pauses(mut stream: TcpStream, target: std::net::SocketAddr) -> Result<()> {
    stream
        .write_all(&Request::get_alone(FINISHED_BYTES, target).bytes)
        .await?;
    sleep(PAUSE).await;
    let mut received = 0;
    let reading = async {
        loop {
            match scratch::read(&mut stream, |bytes| bytes.len() as u64).await? {
                0 => return anyhow::Ok(()),
                n => received += n,
            }
        }
    };
    let read = timeout(PATIENCE, reading)
        .await
        .context("the download did not end")
        .flatten();
    read.with_context(|| format!("after {} bytes", grouped(received as f64)))?;
    anyhow::ensure!(
        received > FINISHED_BYTES,
        "the stream ended after {} bytes",
        grouped(received as f64)
    );
    Ok(())
}

/// Measures how much the kernel holds.
pub(super) async fn held(env: &RunEnvironment) -> Result<Section> {
    let asks = "How much does the kernel hold in its send buffer for a reader at the near end that reads nothing?";
    let mut section = Section::new(HELD, asks);
    let ways = Way::all(env, &mut section)
        .into_iter()
        .filter(|way| !matches!(way, Way::Tcp(_)))
        .collect();
    let all = interleave(env, ways, FILLED + PATIENCE, async |way, seed| {
        with_readers(env, way, seed, async |crossing, _| {
            let mut readers = Vec::new();
            for _ in 0..READERS {
                let mut stream = crossing.reach.open(crossing.target).await?;
                stream
                    .write_all(&Request::get(HELD_BYTES, crossing.target).bytes)
                    .await?;
                readers.push(stream);
            }
            sleep(FILLED).await;
            let (Reach::Plain(entry) | Reach::Socks5(entry) | Reach::Connect(entry)) =
                crossing.reach;
            let table =
                fs::read_to_string("/proc/thread-self/net/tcp").context("reading net/tcp")?;
            Ok(send_queues(&table, entry.port()) as f64 / READERS as f64 / 1024.0)
        })
        .await
    })
    .await;
    section.head(["subject", "KiB per reader"]);
    let mut chart = Chart::new(
        section.title(),
        "KiB in the kernel's send buffer per reader; less is better",
    );
    for results in &all {
        results.note(&mut section);
        let Some(spread) = results.spread(|kibibytes| *kibibytes) else {
            continue;
        };
        chart.bar(
            &results.way.name(),
            results.way.tone(),
            spread,
            grouped(spread.median),
        );
        section.row([results.way.name(), with_ends(spread, 0)]);
    }
    section.chart(chart);
    section.note(format!(
        "{READERS} readers of 64 MiB each, {} s after their requests.",
        FILLED.as_secs()
    ));
    Ok(section)
}

/// The sum of the send queues of this port's connections.
fn send_queues(table: &str, port: u16) -> u64 {
    let ends = format!(":{port:04X}");
    let queues = table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        fields.next().filter(|local| local.ends_with(&ends))?;
        u64::from_str_radix(fields.nth(2)?.split_once(':')?.0, 16).ok()
    });
    queues.sum()
}

async fn with_readers<T>(
    env: &RunEnvironment,
    way: &Way,
    seed: u64,
    work: impl AsyncFnOnce(&Crossing, &Line) -> Result<T>,
) -> Result<T> {
    let mut line = Line::make(&Shape::of_round_trip(20, 100), seed)?;
    at_the_near_end(&mut line, async |line| {
        let crossing = way.start(env, line).await?;
        let done = work(&crossing, line).await?;
        crossing.stop().await?;
        Ok(done)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn send_queues_are_summed_over_the_connections_of_one_port() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                     0: 0100007F:1F90 0100007F:D2A8 01 00000100:00000007 00:00000000 00000000     0        0 1 1\n   \
                     1: 0100007F:D2A8 0100007F:1F90 01 00000FFF:00000000 00:00000000 00000000     0        0 2 1\n   \
                     2: 0100007F:1F90 0100007F:D2AA 01 00000010:00000000 00:00000000 00000000     0        0 3 1\n";
        assert_eq!(send_queues(table, 8080), 0x110);
    }
}
