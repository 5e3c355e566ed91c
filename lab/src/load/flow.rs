//! Flow: one long download, measured for a time.
//!
//! In:    an open connection to the origin, and how long to measure.
//! Out:   the bytes received in each tenth of a second; and whether the connection was cut.
//! Never: counts a handshake, or requests more than the path can carry in twice the time: programs
//!        may spill to disk what their reader does not read.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::request::Request;
use super::scratch;

/// How long to measure, and how many bytes to request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watch {
    window: Duration,
    bytes: u64,
}

impl Watch {
    /// For this long, on a path of this rate. A path without a limit counts as one of 20 Gbit/s.
    pub(crate) fn new(window: Duration, rate: Option<u64>) -> Self {
        const FASTEST: u64 = 20_000_000_000;
        let a_second = rate.unwrap_or(FASTEST) as f64 / 8.0;
        Self {
            window,
            bytes: (a_second * window.as_secs_f64() * 2.0) as u64 + (1 << 20),
        }
    }
}

/// The length of one entry of [`Flow::bytes`].
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// The result of a download.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flow {
    /// Bytes received in each tick.
    bytes: Vec<u64>,
    /// Why it ended early, if it did.
    pub(crate) cut: Option<String>,
}

impl Flow {
    /// Downloads for the window. A cut download keeps what it has received so far.
    pub(crate) async fn watch(mut stream: TcpStream, origin: SocketAddr, watch: Watch) -> Self {
        let ticks = watch.window.as_millis().div_ceil(TICK.as_millis()).max(1);
        let mut flow = Self {
            bytes: vec![0; usize::try_from(ticks).unwrap_or(1)],
            cut: None,
        };
        if let Err(error) = flow.download(&mut stream, origin, watch).await {
            flow.cut = Some(format!("{error:#}"));
        }
        flow
    }

    async fn download(
        &mut self,
        stream: &mut TcpStream,
        origin: SocketAddr,
        watch: Watch,
    ) -> Result<()> {
        let started = Instant::now();
        stream
            .write_all(&Request::get(watch.bytes, origin).bytes)
            .await?;
        // The head of the response is counted too; it is negligible.
        while let Ok(read) =
            timeout_at(started + watch.window, scratch::read(stream, <[u8]>::len)).await
        {
            let n = read?;
            if n == 0 {
                bail!(
                    "the stream ended after {:.1} s",
                    started.elapsed().as_secs_f64()
                );
            }
            let tick = started.elapsed().as_millis() / TICK.as_millis();
            let last = self.bytes.len() - 1;
            if let Some(bytes) = self
                .bytes
                .get_mut(usize::try_from(tick).unwrap_or(last).min(last))
            {
                *bytes += n as u64;
            }
        }
        Ok(())
    }

    /// Appends a flow that began when this one ended.
    pub(crate) fn then(mut self, later: Self) -> Self {
        self.bytes.extend(later.bytes);
        self.cut = self.cut.or(later.cut);
        self
    }

    /// Bytes from the tick at `from` on.
    pub(crate) fn bytes_from(&self, from: Duration) -> u64 {
        self.bytes.iter().skip(ticks(from)).sum()
    }

    /// Whether nothing was received in the last ticks of this length.
    pub(crate) fn stalled(&self, last: Duration) -> bool {
        self.bytes
            .iter()
            .rev()
            .take(ticks(last))
            .all(|bytes| *bytes == 0)
    }

    /// Mbit/s from `from` to the end of the window.
    pub(crate) fn megabits_from(&self, from: Duration) -> f64 {
        let seconds =
            TICK.as_secs_f64() * self.bytes.len().saturating_sub(ticks(from)).max(1) as f64;
        self.bytes_from(from) as f64 * 8e-6 / seconds
    }
}

fn ticks(time: Duration) -> usize {
    usize::try_from(time.as_millis() / TICK.as_millis()).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_covers_the_requested_part_of_the_window() {
        let flow = Flow {
            bytes: vec![0, 0, 125_000, 125_000],
            cut: None,
        };
        assert_eq!(flow.bytes_from(Duration::ZERO), 250_000);
        assert!((flow.megabits_from(Duration::ZERO) - 5.0).abs() < 1e-9);
        let flow = Flow {
            bytes: vec![125_000, 0, 0],
            cut: None,
        };
        assert!(
            flow.stalled(Duration::from_millis(200)) && !flow.stalled(Duration::from_millis(300))
        );
        let flow = Flow {
            bytes: vec![0, 0, 125_000, 125_000],
            cut: None,
        };
        assert!((flow.megabits_from(Duration::from_millis(200)) - 10.0).abs() < 1e-9);
    }

    #[tokio::test]
    async fn a_connection_that_ends_early_is_cut_and_one_measured_to_the_end_is_not() {
        let origin = crate::origin::Origin::start().unwrap();
        let stream = TcpStream::connect(origin.address()).await.unwrap();
        let flow = Flow::watch(
            stream,
            origin.address(),
            Watch::new(Duration::from_millis(150), None),
        )
        .await;
        assert!(
            flow.cut.is_none() && flow.bytes_from(Duration::ZERO) > 0,
            "{:?}",
            flow.cut
        );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        drop(listener.accept().await.unwrap());
        let flow = Flow::watch(
            stream,
            origin.address(),
            Watch::new(Duration::from_secs(60), None),
        )
        .await;
        assert!(flow.cut.is_some());
    }
}
