//! Traffic: the load of a question, in one of the versions of HTTP.
//!
//! In:    how to reach the program.
//! Out:   the result of `measured`, which gets the counters of the load.
//! Never: a load of its own.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;

use super::counters::Counters;
use super::http2::multiplexed::{Http2, Multiplexed};
use super::http3::{Http3, Http3Connection};
use super::keepalive::{Keepalive, Line};
use super::reach::Reach;
use super::request::Request;
use super::tls::TlsClient;

/// See the top of the file.
#[derive(Clone)]
pub(crate) enum Traffic {
    /// HTTP/1.1, one request after the other on each connection.
    Http1(Keepalive),
    /// HTTP/2, several at once on each connection.
    Http2(Multiplexed),
    /// HTTP/3, several at once on each connection.
    Http3(Http3),
}

impl Traffic {
    /// HTTP/1.1, for connections that are opened one by one and carry a GET of 1 KiB.
    pub(crate) fn to_hold(origin: SocketAddr, tls: Option<TlsClient>) -> Self {
        Self::Http1(Keepalive {
            origin,
            connections: 1,
            request: Request::get(1024, origin),
            tls,
            window: Duration::ZERO,
        })
    }

    /// Runs the load. `measured` starts after the warm-up and gets the counters of the load.
    pub(crate) async fn run<T>(
        &self,
        reach: Reach,
        measured: impl AsyncFnOnce(&Counters) -> Result<T>,
    ) -> Result<T> {
        match self {
            Self::Http1(load) => load.run(reach, measured).await,
            Self::Http2(load) => load.run(reach, measured).await,
            Self::Http3(load) => load.run(reach, measured).await,
        }
    }

    /// Connections open at once.
    pub(crate) const fn connections(&self) -> usize {
        match self {
            Self::Http1(load) => load.connections,
            Self::Http2(load) => load.connections,
            Self::Http3(load) => load.connections,
        }
    }

    /// Opens one connection.
    pub(crate) async fn open(&self, reach: Reach) -> Result<Carrier> {
        Ok(match self {
            Self::Http1(load) => Carrier::Line(Box::new(load.open(reach).await?)),
            Self::Http2(load) => Carrier::Http2(Box::new(load.open(reach).await?), load.streams),
            Self::Http3(load) => Carrier::Http3(load.open(reach).await?, load.streams),
        })
    }

    /// How long requests are counted.
    pub(crate) const fn window(&self) -> Duration {
        match self {
            Self::Http1(load) => load.window,
            Self::Http2(load) => load.window,
            Self::Http3(load) => load.window,
        }
    }
}

/// One connection.
pub(crate) enum Carrier {
    /// One request after the other.
    Line(Box<Line>),
    /// With the number of its streams.
    Http2(Box<Http2>, usize),
    /// The same.
    Http3(Http3Connection, usize),
}

impl Carrier {
    /// Sends one request and reads the whole response.
    pub(crate) async fn ask(&mut self) -> Result<()> {
        match self {
            Self::Line(line) => line.ask().await,
            Self::Http2(http2, _) => http2.ask().await,
            Self::Http3(http3, _) => http3.ask().await.map(drop),
        }
    }
}
