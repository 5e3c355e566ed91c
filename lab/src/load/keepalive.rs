//! Keepalive: many connections, each sending the next request as soon as the last was answered.
//!
//! In:    the address, how many connections, which request, how long.
//! Out:   the result of `measured`, which watches the number of answered requests.
//! Never: counts a request of the warm-up, or accepts a wrong response.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::answer::Answer;
use super::counters::Counters;
use super::reach::Reach;
use super::request::Request;
use super::tls::TlsClient;
use super::wire::{Connection, Wire};

/// The load.
#[derive(Clone)]
pub(crate) struct Keepalive {
    /// The origin, for requests through a proxy.
    pub(crate) origin: SocketAddr,
    /// Connections open at once.
    pub(crate) connections: usize,
    /// The request that each of them repeats.
    pub(crate) request: Request,
    /// TLS, if they use it.
    pub(crate) tls: Option<TlsClient>,
    /// How long requests are counted.
    pub(crate) window: Duration,
}

impl Keepalive {
    /// Opens one connection.
    pub(crate) async fn open(&self, reach: Reach) -> Result<Line> {
        Line::open(reach, self.origin, self.request.clone(), self.tls.clone()).await
    }

    /// Runs the load. `measured` starts after the warm-up and gets the counters of the load.
    pub(crate) async fn run<T>(
        &self,
        reach: Reach,
        measured: impl AsyncFnOnce(&Counters) -> Result<T>,
    ) -> Result<T> {
        let counters = Arc::new(Counters::default());
        let leaving = Arc::new(AtomicBool::new(false));
        let mut lines = Vec::with_capacity(self.connections);
        for _ in 0..self.connections {
            let line = self.open(reach).await?;
            line.stream
                .as_ref()
                .map_or(Ok(()), |stream| counters.watch(stream))?;
            lines.push(line);
        }
        let ask = |line| ask(line, Arc::clone(&counters), Arc::clone(&leaving));
        let mut asking: JoinSet<Result<()>> = lines.into_iter().map(ask).collect();
        let load = async {
            sleep(self.window / 6).await;
            measured(&counters).await
        };
        let result = tokio::select! {
            result = load => result,
            // No connection ends before `leaving` is set.
            broken = asking.join_next() => match broken.context("no connections were requested")?? {
                Ok(()) => bail!("a connection ended early"),
                Err(error) => Err(error),
            },
        }?;
        leaving.store(true, Relaxed);
        // Connections that are not done in time are dropped with the set.
        let _ = timeout(Duration::from_secs(2), async {
            while asking.join_next().await.is_some() {}
        })
        .await;
        Ok(result)
    }
}

async fn ask(mut line: Line, counters: Arc<Counters>, leaving: Arc<AtomicBool>) -> Result<()> {
    while !leaving.load(Relaxed) {
        line.ask().await?;
        counters.add(1, line.answer.take_head_bytes());
    }
    Ok(())
}

/// Requests to the origin one after the other: all on one connection, or each on a new one.
pub(crate) struct Line {
    reach: Reach,
    origin: SocketAddr,
    request: Request,
    tls: Option<TlsClient>,
    answer: Answer,
    stream: Option<Connection>,
}

impl Line {
    /// Opens the first connection.
    pub(crate) async fn open(
        reach: Reach,
        origin: SocketAddr,
        request: Request,
        tls: Option<TlsClient>,
    ) -> Result<Self> {
        let stream = Some(Connection::open(reach, origin, tls.as_ref()).await?);
        Ok(Self {
            reach,
            origin,
            answer: Answer::expecting(request.answer_bytes),
            request,
            tls,
            stream,
        })
    }

    /// Sends one request and reads the whole response; for a request that is alone, also the end of
    /// its connection.
    pub(crate) async fn ask(&mut self) -> Result<()> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            empty => {
                let opened = Connection::open(self.reach, self.origin, self.tls.as_ref());
                empty.insert(opened.await?)
            }
        };
        exchange(stream, &self.request.bytes, &mut self.answer).await?;
        if self.request.alone {
            let more = stream.read(<[u8]>::len).await?;
            ensure!(more == 0, "{more} bytes followed the last answer");
            self.stream = None;
        }
        Ok(())
    }
}

/// Sends one request and reads the whole response.
pub(crate) async fn exchange(
    stream: &mut impl Wire,
    request: &[u8],
    answer: &mut Answer,
) -> Result<()> {
    stream.send(request).await?;
    while !stream.read(|bytes| answer.feed(bytes)).await?? {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::Origin;

    fn line(
        request: fn(SocketAddr) -> Request,
        origin: &Origin,
    ) -> impl Future<Output = Result<Line>> {
        let address = origin.address();
        Line::open(Reach::Plain(address), address, request(address), None)
    }

    #[tokio::test]
    async fn alone_requests_close_their_connections_and_others_keep_them() {
        let origin = Origin::start().unwrap();
        let mut alone = line(|origin| Request::get_alone(1024, origin), &origin)
            .await
            .unwrap();
        let mut kept = line(|origin| Request::get(1024, origin), &origin)
            .await
            .unwrap();
        for _ in 0..3 {
            alone.ask().await.unwrap();
            kept.ask().await.unwrap();
            assert!(alone.stream.is_none() && kept.stream.is_some());
        }
        assert_eq!(origin.counts().answered(), 6);
    }

    #[tokio::test]
    async fn the_whole_body_of_a_post_reaches_the_origin() {
        let origin = Origin::start().unwrap();
        let mut posting = line(|origin| Request::post(300_000, origin), &origin)
            .await
            .unwrap();
        for _ in 0..2 {
            posting.ask().await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_wrong_answer_ends_the_load() {
        let origin = Origin::start().unwrap();
        let address = origin.address();
        let wrong = Request {
            answer_bytes: 1000,
            ..Request::get(1024, address)
        };
        let load = Keepalive {
            origin: address,
            connections: 2,
            request: wrong,
            tls: None,
            window: Duration::from_secs(60),
        };
        let ran = load
            .run(Reach::Plain(address), async |_: &Counters| Ok(()))
            .await;
        assert!(ran.is_err_and(|error| {
            error
                .to_string()
                .contains("1024 bytes long instead of 1000")
        }));
    }
}
