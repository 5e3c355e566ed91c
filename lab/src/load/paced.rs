//! Paced: requests at a fixed rate, whether or not earlier ones were answered, and how long each
//! took from its due time.
//!
//! In:    the address, which request, how many per second, for how long.
//! Out:   the time of each request from its due time to the end of its response, including a wait
//!        for a free connection.
//! Never: sends less because the measured program is slow: that would hide the waits that matter
//!        (coordinated omission).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, yield_now};
use tokio::time::timeout;

use super::keepalive::Line;
use super::reach::Reach;
use super::request::Request;

/// The load and its rate.
#[derive(Clone, Debug)]
pub(crate) struct Paced {
    /// The origin, for requests through a proxy.
    pub(crate) origin: SocketAddr,
    /// Number of connections.
    pub(crate) connections: usize,
    /// The request.
    pub(crate) request: Request,
    /// Requests per second, evenly spaced.
    pub(crate) rate: f64,
    /// How long requests are counted, after a warm-up of a sixth of it.
    pub(crate) window: Duration,
}

/// How many requests may wait before the measurement is aborted.
const MOST_WAITING: usize = 100_000;

/// What pacer and connections share. All run on one thread, so the locks are never contended.
struct Board {
    due: Mutex<VecDeque<Instant>>,
    /// A permit for each entry of `due`.
    waiting: Semaphore,
    took: Mutex<Vec<Duration>>,
    /// Requests that were due earlier belong to the warm-up.
    counted_from: Instant,
}

impl Paced {
    /// Runs the load to its end. The calling thread never sleeps during it.
    pub(crate) async fn run(&self, reach: Reach) -> Result<Vec<Duration>> {
        let mut lines = Vec::with_capacity(self.connections);
        for _ in 0..self.connections {
            lines.push(Line::open(reach, self.origin, self.request.clone()).await?);
        }
        let begin = Instant::now();
        let counted_from = begin + self.window / 6;
        let most = (self.rate * self.window.as_secs_f64()) as usize + 1;
        let board = Arc::new(Board {
            due: Mutex::default(),
            waiting: Semaphore::new(0),
            took: Mutex::new(Vec::with_capacity(most)),
            counted_from,
        });
        let mut asking: JoinSet<Result<()>> = lines
            .into_iter()
            .map(|line| serve(line, Arc::clone(&board)))
            .collect();
        let paced = self.pace(&board, begin, counted_from + self.window);
        tokio::select! {
            paced = paced => paced?,
            broken = asking.join_next() => match broken.context("no connections were requested")?? {
                Ok(()) => bail!("a connection ended early"),
                Err(error) => return Err(error),
            },
        }
        // The connections end when the last due request has been taken.
        board.waiting.close();
        let all = async {
            while let Some(line) = asking.join_next().await {
                line??;
            }
            anyhow::Ok(())
        };
        timeout(Duration::from_secs(5), all)
            .await
            .context("requests were not answered within 5 s")??;
        Ok(std::mem::take(&mut *board.took.lock()))
    }

    async fn pace(&self, board: &Board, begin: Instant, end: Instant) -> Result<()> {
        let gap = Duration::from_secs_f64(1.0 / self.rate.max(1.0));
        let mut next = begin;
        loop {
            let now = Instant::now();
            let waiting = {
                let mut due = board.due.lock();
                while next <= now && next < end {
                    due.push_back(next);
                    board.waiting.add_permits(1);
                    next += gap;
                }
                due.len()
            };
            if waiting > MOST_WAITING {
                bail!("{waiting} requests are waiting: the offered load is more than it can carry");
            }
            // All requests have been sent, and none is waiting.
            if next >= end && waiting == 0 {
                return Ok(());
            }
            yield_now().await;
        }
    }
}

async fn serve(mut line: Line, board: Arc<Board>) -> Result<()> {
    while let Ok(permit) = board.waiting.acquire().await {
        permit.forget();
        let due = board.due.lock().pop_front();
        let due = due.context("a request that is due has been taken twice")?;
        line.ask().await?;
        if due >= board.counted_from {
            board.took.lock().push(due.elapsed());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::Origin;

    fn paced(origin: SocketAddr, rate: f64) -> Paced {
        let (request, window) = (Request::get(1024, origin), Duration::from_millis(120));
        Paced {
            origin,
            connections: 4,
            request,
            rate,
            window,
        }
    }

    #[tokio::test]
    async fn every_request_due_in_the_window_is_timed() {
        let origin = Origin::start().unwrap();
        let took = paced(origin.address(), 1000.0)
            .run(Reach::Plain(origin.address()))
            .await
            .unwrap();
        assert!((119..=121).contains(&took.len()), "{}", took.len());
    }

    #[tokio::test]
    async fn a_program_that_closes_connections_ends_the_load_with_an_error() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut closing = JoinSet::new();
        closing.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                drop(stream);
            }
        });
        assert!(
            paced(address, 1000.0)
                .run(Reach::Plain(address))
                .await
                .is_err()
        );
    }
}
