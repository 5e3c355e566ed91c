//! Multiplexed: HTTP/2 connections, each with several streams open; a stream whose response has
//! ended is followed by the next.
//!
//! In:    the address, how many connections and streams, which request, how long.
//! Out:   the result of `measured`, which gets the counters of the load.
//! Never: counts a request of the warm-up, or accepts a wrong response.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{Client, Expected, RequestBlock};
use crate::load::counters::Counters;
use crate::load::reach::Reach;
use crate::load::tls::TlsClient;
use crate::load::wire::{Connection, Wire};

/// The load.
#[derive(Clone)]
pub(crate) struct Multiplexed {
    /// The origin, for requests through a proxy.
    pub(crate) origin: SocketAddr,
    /// Connections open at once.
    pub(crate) connections: usize,
    /// Streams open at once on each.
    pub(crate) streams: usize,
    /// The request that each stream carries.
    pub(crate) request: RequestBlock,
    /// What its response must be.
    pub(crate) expected: Expected,
    /// TLS; without it, HTTP/2 with prior knowledge (RFC 9113 section 3.3).
    pub(crate) tls: Option<TlsClient>,
    /// How long requests are counted.
    pub(crate) window: Duration,
}

/// A connection and the HTTP/2 on it.
pub(crate) struct Http2 {
    pub(crate) wire: Connection,
    pub(crate) client: Client,
}

impl Http2 {
    /// Sends what the client has to send.
    pub(crate) async fn flush(&mut self) -> Result<()> {
        if !self.client.out().is_empty() {
            self.wire.send(self.client.out()).await?;
            self.client.out().clear();
        }
        Ok(())
    }

    /// Reads once, and passes the streams whose response has ended to `ended`. Cancel safe.
    pub(crate) async fn read(&mut self, mut ended: impl FnMut(u32)) -> Result<()> {
        let client = &mut self.client;
        self.wire
            .read(|bytes| client.feed(bytes, &mut ended))
            .await?
    }

    /// Sends one request and reads the whole response.
    pub(crate) async fn ask(&mut self) -> Result<()> {
        self.client.open();
        while self.client.in_flight() > 0 {
            self.flush().await?;
            self.read(|_| ()).await?;
        }
        // Acknowledgements of settings.
        self.flush().await
    }
}

impl Multiplexed {
    /// Opens one connection.
    pub(crate) async fn open(&self, reach: Reach) -> Result<Http2> {
        Ok(Http2 {
            wire: Connection::open(reach, self.origin, self.tls.as_ref()).await?,
            client: Client::new(self.request.clone(), self.expected),
        })
    }

    /// Runs the load. `measured` starts after the warm-up and gets the counters of the load.
    pub(crate) async fn run<T>(
        &self,
        reach: Reach,
        measured: impl AsyncFnOnce(&Counters) -> Result<T>,
    ) -> Result<T> {
        let counters = Arc::new(Counters::default());
        let leaving = Arc::new(AtomicBool::new(false));
        let mut opened = Vec::with_capacity(self.connections);
        for _ in 0..self.connections {
            let http2 = self.open(reach).await?;
            counters.watch(&http2.wire)?;
            opened.push(http2);
        }
        let streams = self.streams;
        let ask = |http2| ask(http2, streams, Arc::clone(&counters), Arc::clone(&leaving));
        let mut asking: JoinSet<Result<()>> = opened.into_iter().map(ask).collect();
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

async fn ask(
    mut http2: Http2,
    streams: usize,
    counters: Arc<Counters>,
    leaving: Arc<AtomicBool>,
) -> Result<()> {
    loop {
        if !leaving.load(Relaxed) {
            while http2.client.in_flight() < streams && http2.client.can_open() {
                http2.client.open();
            }
        } else if http2.client.in_flight() == 0 {
            return Ok(());
        }
        http2.flush().await?;
        let mut answered = 0;
        http2.read(|_| answered += 1).await?;
        counters.add(answered, http2.client.take_head_bytes());
    }
}
