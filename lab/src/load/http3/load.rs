//! Load: HTTP/3 connections, each with several streams open; a stream whose response has ended is
//! followed by the next.
//!
//! In:    the address, how many connections and streams, which length, how long.
//! Out:   the result of `measured`, which gets the counters of the load.
//! Never: counts a request of the warm-up, or accepts a wrong response.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use quinn::{Connection, Endpoint, RecvStream, SendStream, TransportConfig, VarInt};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::response::Response;
use crate::load::counters::Counters;
use crate::load::reach::Reach;
use crate::load::tls::{HOST, TlsClient};

/// The load.
#[derive(Clone)]
pub(crate) struct Http3 {
    /// Connections open at once.
    pub(crate) connections: usize,
    /// Streams open at once on each.
    pub(crate) streams: usize,
    /// The length of each response.
    pub(crate) bytes: u64,
    /// TLS, whose protocol is `h3`.
    pub(crate) tls: TlsClient,
    /// How long requests are counted.
    pub(crate) window: Duration,
}

/// One connection, with an endpoint and a port of its own.
#[derive(Clone)]
pub(crate) struct Http3Connection {
    connection: Connection,
    request: Arc<[u8]>,
    bytes: u64,
    /// Held open: the end of one of these streams is an error (RFC 9114 section 6.2.1).
    _critical: Arc<Critical>,
}

struct Critical {
    _endpoint: Endpoint,
    _control: SendStream,
    _theirs: Vec<RecvStream>,
}

/// The windows of a browser, as for HTTP/2.
const STREAM_WINDOW: u32 = 6 << 20;
const CONNECTION_WINDOW: u32 = 15 << 20;

impl Http3Connection {
    /// Sends one request and reads the whole response. Returns the bytes of its header block.
    pub(crate) async fn ask(&self) -> Result<u64> {
        let (mut send, mut receive) = self.connection.open_bi().await?;
        send.write_all(&self.request).await?;
        send.finish()?;
        let mut response = Response::expecting(self.bytes);
        while let Some(chunk) = receive.read_chunk(usize::MAX, true).await? {
            response.feed(&chunk.bytes)?;
        }
        response.end()
    }
}

impl Http3 {
    /// Opens one connection.
    pub(crate) async fn open(&self, reach: Reach) -> Result<Http3Connection> {
        let Reach::Plain(to) = reach else {
            bail!("HTTP/3 is not asked through a proxy")
        };
        let mut transport = TransportConfig::default();
        transport
            .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
            .receive_window(VarInt::from_u32(CONNECTION_WINDOW));
        let mut config = self.tls.quic()?;
        config.transport_config(Arc::new(transport));
        let endpoint = Endpoint::client(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let connecting = endpoint.connect_with(config, to, HOST)?;
        let connection = connecting.await.context("the QUIC handshake")?;
        // A control stream with empty settings: no dynamic table.
        let mut control = connection.open_uni().await?;
        control.write_all(&[0, 4, 0]).await?;
        let theirs = connection.accept_uni().await?;
        Ok(Http3Connection {
            connection,
            request: request(self.bytes).into(),
            bytes: self.bytes,
            _critical: Arc::new(Critical {
                _endpoint: endpoint,
                _control: control,
                _theirs: vec![theirs],
            }),
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
        let mut asking: JoinSet<Result<()>> = JoinSet::new();
        for _ in 0..self.connections {
            let connection = self.open(reach).await?;
            for _ in 0..self.streams {
                asking.spawn(ask(
                    connection.clone(),
                    Arc::clone(&counters),
                    Arc::clone(&leaving),
                ));
            }
        }
        let load = async {
            sleep(self.window / 6).await;
            measured(&counters).await
        };
        let result = tokio::select! {
            result = load => result,
            // No stream ends for good before `leaving` is set.
            broken = asking.join_next() => match broken.context("no connections were requested")?? {
                Ok(()) => bail!("a connection ended early"),
                Err(error) => Err(error),
            },
        }?;
        leaving.store(true, Relaxed);
        // Streams that are not done in time are dropped with the set.
        let _ = timeout(Duration::from_secs(2), async {
            while asking.join_next().await.is_some() {}
        })
        .await;
        Ok(result)
    }
}

async fn ask(
    connection: Http3Connection,
    counters: Arc<Counters>,
    leaving: Arc<AtomicBool>,
) -> Result<()> {
    while !leaving.load(Relaxed) {
        let head_bytes = connection.ask().await?;
        counters.add(1, head_bytes);
    }
    Ok(())
}

/// One HEADERS frame: a GET with the fields of the other versions, by the static table of QPACK
/// (RFC 9204 appendix A) and literals.
fn request(bytes: u64) -> Vec<u8> {
    // No dynamic table; :method GET, :scheme https; the names of :path, :authority, accept,
    // accept-encoding and user-agent.
    let mut block = vec![0, 0, 0xc0 | 17, 0xc0 | 23];
    let path = format!("/{bytes}");
    for (name, value) in [
        (1, path.as_str()),
        (0, HOST),
        (29, "*/*"),
        (31, "gzip, br"),
        (95, "lab/1"),
    ] {
        // A literal with a name of the static table: an index of four bits, or with a second byte.
        match name {
            0..15 => block.push(0x50 | name),
            _ => block.extend([0x5f, name - 15]),
        }
        block.push(value.len() as u8);
        block.extend_from_slice(value.as_bytes());
    }
    let mut frame = vec![1, 0x40, block.len() as u8];
    frame.extend(block);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_frame_of_headers() {
        let frame = request(1024);
        assert_eq!(&frame[..3], [1, 0x40, frame.len() as u8 - 3]);
        assert!(frame[3..].starts_with(b"\x00\x00\xd1\xd7\x51\x05/1024\x50\x08lab.test"));
        assert!(frame.ends_with(b"\x5f\x50\x05lab/1"));
    }
}
