//! Paced: requests at a fixed rate, whether or not earlier ones were answered, and how long each
//! took from its due time.
//!
//! In:    the address, which request, how many per second, for how long.
//! Out:   the time of each request from its due time to the end of its response, including a wait
//!        for a free connection.
//! Never: sends less because the measured program is slow: that would hide the waits that matter
//!        (coordinated omission).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, yield_now};
use tokio::time::timeout;

use super::http2::multiplexed::Http2;
use super::http3::Http3Connection;
use super::keepalive::Line;
use super::reach::Reach;
use super::traffic::{Carrier, Traffic};

/// The load and its rate.
#[derive(Clone)]
pub(crate) struct Paced {
    /// The connections, their streams and the request.
    pub(crate) traffic: Traffic,
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

impl Board {
    /// Takes the time at which the oldest waiting request was due. The caller holds its permit.
    fn take(&self) -> Result<Instant> {
        let due = self.due.lock().pop_front();
        due.context("a request that is due has been taken twice")
    }

    /// A request that was due then has been answered.
    fn answered(&self, due: Instant) {
        if due >= self.counted_from {
            self.took.lock().push(due.elapsed());
        }
    }
}

impl Paced {
    /// Runs the load to its end. The calling thread never sleeps during it.
    pub(crate) async fn run(&self, reach: Reach) -> Result<Vec<Duration>> {
        let mut carriers = Vec::new();
        for _ in 0..self.traffic.connections() {
            carriers.push(self.traffic.open(reach).await?);
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
        let mut asking = JoinSet::new();
        for carrier in carriers {
            let board = Arc::clone(&board);
            asking.spawn(async {
                match carrier {
                    Carrier::Line(line) => serve(*line, board).await,
                    Carrier::Http2(http2, streams) => multiplex(*http2, streams, board).await,
                    Carrier::Http3(http3, streams) => {
                        let stream = |_| ask_each(http3.clone(), Arc::clone(&board));
                        let mut asking: JoinSet<Result<()>> = (0..streams).map(stream).collect();
                        while let Some(stream) = asking.join_next().await {
                            stream??;
                        }
                        Ok(())
                    }
                }
            });
        }
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
        let due = board.take()?;
        line.ask().await?;
        board.answered(due);
    }
    Ok(())
}

/// As [`serve`], with a new stream of the connection for each request.
async fn ask_each(http3: Http3Connection, board: Arc<Board>) -> Result<()> {
    while let Ok(permit) = board.waiting.acquire().await {
        permit.forget();
        let due = board.take()?;
        http3.ask().await?;
        board.answered(due);
    }
    Ok(())
}

async fn multiplex(mut http2: Http2, streams: usize, board: Arc<Board>) -> Result<()> {
    // The streams that are open, each with the time when its request was due.
    let mut open: Vec<(u32, Instant)> = Vec::with_capacity(streams);
    loop {
        let room = open.len() < streams && http2.client.can_open();
        tokio::select! {
            permit = board.waiting.acquire(), if room => match permit {
                Ok(permit) => {
                    permit.forget();
                    open.push((http2.client.open(), board.take()?));
                }
                // All requests have been taken.
                Err(_) if open.is_empty() => return Ok(()),
                Err(_) => read(&mut http2, &mut open, &board).await?,
            },
            read = read(&mut http2, &mut open, &board) => read?,
        }
        http2.flush().await?;
    }
}

/// Reads once. Cancel safe.
async fn read(http2: &mut Http2, open: &mut Vec<(u32, Instant)>, board: &Board) -> Result<()> {
    let ended = |stream| {
        if let Some(place) = open.iter().position(|(id, _)| *id == stream) {
            board.answered(open.swap_remove(place).1);
        }
    };
    http2.read(ended).await
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::grpc_origin::{GrpcOrigin, MESSAGE_BYTES, PREFIX_BYTES};
    use crate::load::http2::multiplexed::Multiplexed;
    use crate::load::http2::{Expected, RequestBlock};
    use crate::load::keepalive::Keepalive;
    use crate::load::request::Request;
    use crate::origin::Origin;

    fn paced(origin: SocketAddr, rate: f64) -> Paced {
        let window = Duration::from_millis(120);
        let traffic = Traffic::Http1(Keepalive {
            origin,
            connections: 4,
            request: Request::get(1024, origin),
            tls: None,
            window,
        });
        Paced {
            traffic,
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
    async fn calls_on_streams_are_timed_like_requests() {
        let origin = GrpcOrigin::start().await.unwrap();
        let window = Duration::from_millis(120);
        let traffic = Traffic::Http2(Multiplexed {
            origin: origin.address(),
            connections: 2,
            streams: 8,
            request: RequestBlock::grpc(MESSAGE_BYTES, "lab.test", false),
            expected: Expected {
                bytes: (PREFIX_BYTES + MESSAGE_BYTES).into(),
                trailers: true,
            },
            tls: None,
            window,
        });
        let paced = Paced {
            traffic,
            rate: 1000.0,
            window,
        };
        let took = paced.run(Reach::Plain(origin.address())).await.unwrap();
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
