//! Keepalive: many connections, each asking again as soon as it was answered.
//!
//! In:    where to, how many connections, which request, how long.
//! Out:   answered requests within a window, and the CPU time that the measured program spent in
//!        it.
//! Never: counts a request of the warm-up, and never takes a wrong answer for a right one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::answer::Answer;
use super::reach::Reach;
use super::request::Request;
use super::scratch;

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) struct Keepalive {
    /// Where the bodies come from.
    pub(crate) origin: SocketAddr,
    /// Connections open at once.
    pub(crate) connections: usize,
    /// What each of them asks.
    pub(crate) request: Request,
    /// How long requests are counted.
    pub(crate) window: Duration,
}

impl Keepalive {
    /// Runs the load; `measured` begins when all connections are warm and is given the time and the
    /// count to watch.
    pub(crate) async fn run<T>(
        &self,
        reach: Reach,
        measured: impl AsyncFnOnce(&AtomicU64) -> Result<T>,
    ) -> Result<T> {
        let answered = Arc::new(AtomicU64::new(0));
        let leaving = Arc::new(AtomicBool::new(false));
        let mut lines = Vec::with_capacity(self.connections);
        for _ in 0..self.connections {
            lines.push(Line::open(reach, self.origin, self.request.clone()).await?);
        }
        let ask = |line| ask(line, Arc::clone(&answered), Arc::clone(&leaving));
        let mut asking: JoinSet<Result<()>> = lines.into_iter().map(ask).collect();
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
        let _ = timeout(Duration::from_secs(2), async {
            while asking.join_next().await.is_some() {}
        })
        .await;
        Ok(result)
    }
}

async fn ask(mut line: Line, answered: Arc<AtomicU64>, leaving: Arc<AtomicBool>) -> Result<()> {
    while !leaving.load(Relaxed) {
        line.ask().await?;
        answered.fetch_add(1, Relaxed);
    }
    Ok(())
}

/// One line to the origin on which requests follow each other: one connection, or one a request.
pub(crate) struct Line {
    reach: Reach,
    origin: SocketAddr,
    request: Request,
    answer: Answer,
    stream: Option<TcpStream>,
}

impl Line {
    /// Opens it.
    pub(crate) async fn open(reach: Reach, origin: SocketAddr, request: Request) -> Result<Self> {
        let stream = Some(reach.open(origin).await?);
        Ok(Self {
            reach,
            origin,
            answer: Answer::expecting(request.answer_bytes),
            request,
            stream,
        })
    }

    /// One request and its whole answer; behind a request that is alone, the end of its connection,
    /// too.
    pub(crate) async fn ask(&mut self) -> Result<()> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            empty => empty.insert(self.reach.open(self.origin).await?),
        };
        exchange(stream, &self.request.bytes, &mut self.answer).await?;
        if self.request.alone {
            let more = scratch::read(stream, <[u8]>::len).await?;
            ensure!(more == 0, "{more} bytes came behind the last answer");
            self.stream = None;
        }
        Ok(())
    }
}

/// One request and its whole answer.
pub(crate) async fn exchange(
    stream: &mut TcpStream,
    request: &[u8],
    answer: &mut Answer,
) -> Result<()> {
    stream.write_all(request).await?;
    while !scratch::read(stream, |bytes| answer.feed(bytes)).await?? {}
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
        Line::open(Reach::Plain(address), address, request(address))
    }

    #[tokio::test]
    async fn requests_that_are_alone_end_their_connections_and_others_keep_them() {
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
    async fn a_body_of_a_post_reaches_the_origin_as_a_whole() {
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
            window: Duration::from_secs(60),
        };
        let ran = load
            .run(Reach::Plain(address), async |_: &AtomicU64| Ok(()))
            .await;
        assert!(ran.is_err_and(|error| {
            error
                .to_string()
                .contains("1024 bytes long instead of 1000")
        }));
    }
}
