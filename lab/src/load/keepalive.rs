//! Keepalive: many connections, each asking again as soon as it was answered.
//!
//! In:    where to, how many connections, which body, how long.
//! Out:   answered requests within a window, and the CPU time that the measured program spent in it.
//! Never: counts a request of the warm-up, and never takes a wrong answer for a right one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::answer::Answer;
use super::reach::Reach;
use super::scratch;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keepalive {
    /// Where the bodies come from, and what Host says.
    pub(crate) origin: SocketAddr,
    /// Connections open at once.
    pub(crate) connections: usize,
    /// The length of a response's body.
    pub(crate) body_bytes: u64,
    /// How long requests are counted.
    pub(crate) window: Duration,
}

impl Keepalive {
    /// Runs the load; `measured` begins when all connections are warm and is given the time and the count to watch.
    pub(crate) async fn run<T>(&self, reach: Reach, measured: impl AsyncFnOnce(&AtomicU64) -> Result<T>) -> Result<T> {
        let answered = Arc::new(AtomicU64::new(0));
        let leaving = Arc::new(AtomicBool::new(false));
        let mut asking = JoinSet::new();
        let request: Arc<[u8]> = get(self.body_bytes, self.origin).into();
        for _ in 0..self.connections {
            let stream = reach.open(self.origin).await?;
            let (answered, leaving) = (Arc::clone(&answered), Arc::clone(&leaving));
            asking.spawn(ask(stream, Arc::clone(&request), self.body_bytes, answered, leaving));
        }
        let load = async {
            sleep(self.window / 6).await;
            measured(&answered).await
        };
        let result = tokio::select! {
            result = load => result,
            // Nobody leaves before being told to.
            broken = asking.join_next() => match broken.context("no connections were asked for")?? {
                Ok(()) => bail!("a connection left early"),
                Err(error) => Err(error),
            },
        }?;
        leaving.store(true, Relaxed);
        // Whoever is not done by then is cut off with the set.
        let _ = timeout(Duration::from_secs(2), async { while asking.join_next().await.is_some() {} }).await;
        Ok(result)
    }
}

async fn ask(
    mut stream: TcpStream,
    request: Arc<[u8]>,
    body_bytes: u64,
    answered: Arc<AtomicU64>,
    leaving: Arc<AtomicBool>,
) -> Result<()> {
    let mut answer = Answer::expecting(body_bytes);
    while !leaving.load(Relaxed) {
        exchange(&mut stream, &request, &mut answer).await?;
        answered.fetch_add(1, Relaxed);
    }
    Ok(())
}

/// One request and its whole answer.
pub(crate) async fn exchange(stream: &mut TcpStream, request: &[u8], answer: &mut Answer) -> Result<()> {
    stream.write_all(request).await?;
    while !scratch::read(stream, |bytes| answer.feed(bytes)).await?? {}
    Ok(())
}

/// A GET with the fields that a browser or a library sends at least.
pub(crate) fn get(length: u64, host: SocketAddr) -> Vec<u8> {
    format!(
        "GET /{length} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: lab/1\r\nAccept: */*\r\nAccept-Encoding: gzip, br\r\n\r\n"
    )
    .into_bytes()
}
