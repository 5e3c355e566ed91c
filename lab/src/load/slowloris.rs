//! Slowloris: visitors on slow lines: a request head that comes byte by byte and never ends.
//!
//! In:    where to, and how many.
//! Out:   connections that are kept full of unfinished heads until this is dropped; how many were
//!        closed on them.
//! Never: more connections at once than asked for, and never a storm: who was closed waits a second
//!        before it comes again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// From one byte to the next on a connection.
const PAUSE: Duration = Duration::from_millis(500);
/// From a close to the next try.
const RETURN: Duration = Duration::from_secs(1);

/// Slow visitors. Dropping it closes their connections.
pub(crate) struct Slowloris {
    counts: Arc<Counts>,
    _visitors: JoinSet<()>,
}

#[derive(Default)]
struct Counts {
    open: AtomicUsize,
    closed: AtomicUsize,
}

impl Slowloris {
    /// Opens `count` slow connections, and waits until all are in.
    pub(crate) async fn start(to: SocketAddr, count: usize) -> Result<Self> {
        const PATIENCE: Duration = Duration::from_secs(10);
        let counts = Arc::new(Counts::default());
        let mut visitors = JoinSet::new();
        for place in 0..count {
            // Evenly spread over the pause: the bytes of all come one after the other, not in
            // bursts.
            let first = PAUSE.mul_f64(place as f64 / count.max(1) as f64);
            visitors.spawn(visit(to, first, Arc::clone(&counts)));
        }
        let all_in = async {
            while counts.open.load(Relaxed) < count {
                sleep(Duration::from_millis(5)).await;
            }
        };
        let all_in = timeout(PATIENCE, all_in).await.is_ok();
        ensure!(
            all_in,
            "only {} of {count} slow visitors got in",
            counts.open.load(Relaxed)
        );
        Ok(Self {
            counts,
            _visitors: visitors,
        })
    }

    /// How many connections the measured program has closed so far.
    pub(crate) fn closed(&self) -> usize {
        self.counts.closed.load(Relaxed)
    }
}

async fn visit(to: SocketAddr, first: Duration, counts: Arc<Counts>) {
    sleep(first).await;
    loop {
        if let Ok(mut stream) = TcpStream::connect(to).await {
            counts.open.fetch_add(1, Relaxed);
            let _ = send_slowly(&mut stream, to).await;
            counts.open.fetch_sub(1, Relaxed);
            counts.closed.fetch_add(1, Relaxed);
        }
        sleep(RETURN).await;
    }
}

/// Until the other side has had enough.
async fn send_slowly(stream: &mut TcpStream, host: SocketAddr) -> Result<()> {
    let head = format!("GET /1024 HTTP/1.1\r\nHost: {host}\r\nUser-Agent: lab-slow/1\r\nX-Slow: ");
    for byte in head.bytes().chain(std::iter::repeat(b'.')) {
        // A close is seen by the write that follows it; an answer (408) is followed by one.
        stream.write_all(&[byte]).await?;
        sleep(PAUSE).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_visitors_are_in_before_it_counts_as_started() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let slow = Slowloris::start(listener.local_addr().unwrap(), 5)
            .await
            .unwrap();
        for _ in 0..5 {
            listener.accept().await.unwrap();
        }
        assert_eq!(slow.closed(), 0);
    }
}
