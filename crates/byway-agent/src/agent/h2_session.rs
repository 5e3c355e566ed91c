//! HTTP/2 session: a connection whose streams are shared by requests.
//!
//! In:    an open stream on which HTTP/2 was agreed, and the permit of its dial.
//! Out:   the stream of its first request; a task that drives the connection and reports to the
//!        pool what the origin announces.
//! Never: outlives its connection: the task ends with it; has more streams than either side allows.

use super::connector::Connected;
use super::error::BoxError;
use super::group::Group;
use super::pooled_conn::PooledConn;
use super::{Config, HEAD_LIMITS, LONGEST};
use byway_dial::Pipe;
use byway_head::Scheme;
use byway_http::h2::{
    Client, ClientEnd, ClientEvent, ClientSession, ClientTimeouts, ErrorCode, H2Stream, Limits,
};
use byway_pool::{OpenPermit, Session, SessionGuard, StreamLease};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::Instant;

/// A stream of a session, leased for one request.
pub(crate) type H2Lease = StreamLease<Group, PooledConn, H2Session>;

/// The name of HTTP/2 over TLS in ALPN (RFC 7301).
pub(crate) const H2: &[u8] = b"h2";

/// The options of connections of HTTP/2.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Http2 {
    /// Offered by ALPN, and accepted if the origin selects it.
    pub(crate) by_alpn: bool,
    /// Spoken without TLS.
    pub(crate) prior_knowledge: bool,
    pub(crate) max_streams: u32,
    pub(crate) ping_interval: Option<Duration>,
    pub(crate) ping_timeout: Duration,
}

impl Default for Http2 {
    fn default() -> Self {
        Self {
            by_alpn: true,
            prior_knowledge: false,
            max_streams: 128,
            ping_interval: Some(Duration::from_secs(15)),
            ping_timeout: Duration::from_secs(10),
        }
    }
}

/// A connection of HTTP/2, as the pool shares it.
pub(crate) struct H2Session {
    session: ClientSession,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) local: Option<SocketAddr>,
    opened: Instant,
    requests: AtomicU64,
    in_use: AtomicUsize,
}

impl H2Session {
    /// A stream ends. Returns whether it was the last one.
    pub(crate) fn ends_stream(&self) -> bool {
        self.in_use.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Whether the connection is lost, and all streams with it.
    pub(crate) fn is_lost(&self) -> bool {
        self.session.is_lost()
    }

    /// Requests that it has carried.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(crate) fn age(&self) -> Duration {
        self.opened.elapsed()
    }
}

impl Session for H2Session {
    /// In a box, so that the result of an acquire stays small.
    type Stream = Box<H2Stream>;

    fn is_open(&self) -> bool {
        self.session.is_open()
    }

    fn open(&self) -> Box<H2Stream> {
        self.in_use.fetch_add(1, Ordering::AcqRel);
        self.requests.fetch_add(1, Ordering::Relaxed);
        Box::new(self.session.open())
    }

    fn reset(&self, stream: &mut Box<H2Stream>) {
        stream.reset(ErrorCode::CANCEL);
    }

    fn close(&self) {
        self.session.close();
    }
}

/// A connection of HTTP/2 whose origin has sent its settings.
pub(crate) struct Established {
    client: Client,
    session: H2Session,
    /// How many streams both sides allow.
    streams: u32,
    /// The origin has announced the end already.
    goes_away: bool,
}

/// Begins HTTP/2 on a connection, and waits for the settings of the origin (RFC 9113 section 3.4), so
/// that no request is sent that it would refuse. Dropping the future closes the connection.
pub(crate) async fn establish(
    connected: Connected,
    secured: bool,
    config: &Config,
) -> Result<Established, BoxError> {
    let Http2 {
        max_streams,
        ping_interval,
        ping_timeout,
        ..
    } = config.http2;
    let limits = Limits {
        head: HEAD_LIMITS,
        streams: max_streams,
        ..Limits::default()
    };
    let timeouts = ClientTimeouts {
        write: config.times.body_idle.unwrap_or(LONGEST),
        quiet: ping_interval.unwrap_or(LONGEST),
        pong: ping_timeout,
    };
    let scheme = if secured { Scheme::Https } else { Scheme::Http };
    let stream = connected.stream;
    let (peer, local) = (stream.peer_addr(), stream.local_addr());
    let (mut client, session) = Client::new(stream, limits, scheme, timeouts);
    let announced = client.settings().await.map_err(|end| -> BoxError {
        match end {
            ClientEnd::Failed(error) => {
                format!("it does not speak HTTP/2: {}", error.reason).into()
            }
            ClientEnd::Broken(broken) => format!("it broke before HTTP/2 began: {broken}").into(),
            ClientEnd::Done => "it closed before HTTP/2 began".into(),
        }
    })?;
    let session = H2Session {
        session,
        peer,
        local,
        opened: Instant::now(),
        requests: AtomicU64::new(0),
        in_use: AtomicUsize::new(0),
    };
    Ok(Established {
        client,
        session,
        streams: announced.streams.min(max_streams),
        goes_away: announced.goes_away,
    })
}

impl Established {
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.session.peer
    }

    /// Hands the connection to the pool, and returns the stream of its first request. Its task runs
    /// on `runtime`, and ends with the connection.
    pub(crate) fn install(
        self,
        permit: OpenPermit<Group, PooledConn, H2Session>,
        max_streams: u32,
        runtime: &Handle,
    ) -> H2Lease {
        let streams = NonZeroU32::new(self.streams).unwrap_or(NonZeroU32::MIN);
        let (lease, guard) = permit.install_session(self.session, streams);
        if self.streams == 0 {
            guard.set_max_streams(0);
        }
        if self.goes_away {
            guard.go_away();
        }
        // The task ends with the connection, which the pool closes when it is not needed.
        drop(runtime.spawn(drive(self.client, guard, max_streams)));
        lease
    }
}

/// Drives a connection to its end, closes it, and then frees its permit.
async fn drive(
    client: Client,
    guard: SessionGuard<Group, PooledConn, H2Session>,
    max_streams: u32,
) {
    let end = client.run(|event| match event {
        ClientEvent::MaxStreams(most) => guard.set_max_streams(most.min(max_streams)),
        ClientEvent::GoAway => guard.go_away(),
    });
    end.await;
    drop(guard);
}
