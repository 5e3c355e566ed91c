//! Slowloris: clients on slow lines, which send a request head byte by byte and never end it.
//!
//! In:    the address, and how many.
//! Out:   connections with unfinished heads until this is dropped; how many of them the server
//!        closed.
//! Never: more connections at once than requested, or a storm of reconnects: a client whose
//!        connection was closed waits a second before it reconnects.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// The time between two bytes on a connection.
const PAUSE: Duration = Duration::from_millis(500);
/// The time from a close to the next attempt.
const RETURN: Duration = Duration::from_secs(1);

/// Slow clients. Dropping it closes their connections.
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
    /// Opens `count` slow connections, and waits until all are connected.
    pub(crate) async fn start(to: SocketAddr, count: usize) -> Result<Self> {
        const PATIENCE: Duration = Duration::from_secs(10);
        let counts = Arc::new(Counts::default());
        let mut visitors = JoinSet::new();
        for place in 0..count {
            // Evenly spread over the pause, so that the bytes of all connections do not come in
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
            "only {} of {count} slow clients connected",
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

/// Sends until the server closes the connection.
async fn send_slowly(stream: &mut TcpStream, host: SocketAddr) -> Result<()> {
    let head = format!("GET /1024 HTTP/1.1\r\nHost: {host}\r\nUser-Agent: lab-slow/1\r\nX-Slow: ");
    for byte in head.bytes().chain(std::iter::repeat(b'.')) {
        // A close is noticed by a later write; so is the close after a response (408).
        stream.write_all(&[byte]).await?;
        sleep(PAUSE).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn start_returns_when_all_clients_are_connected() {
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
