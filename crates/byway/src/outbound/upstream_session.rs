//! Upstream session: a connection of HTTP/2 to an upstream, whose streams are shared by requests.
//!
//! In:    an open stream on which HTTP/2 was agreed, and the permit of its dial.
//! Out:   its first stream; a task that drives it, and passes what the upstream announces to the pool.
//! Never: drives a connection without an owner, or holds more of bodies than its window.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use byway_dial::Stream;
use byway_head::Scheme;
use byway_http::h2::{
    Client, ClientEnd, ClientEvent, ClientSession, ClientTimeouts, ErrorCode, H2Stream, Limits,
};
use byway_pool::{OpenPermit, Session, StreamLease};
use tokio::time::timeout;

use super::Engine;
use super::pooled::PoolKey;
use super::upstream_conn::UpstreamConn;
use crate::fault::{Fault, Reason, Who};
use crate::runtime::scope::Scope;

/// A connection of HTTP/2 to an upstream.
pub struct UpstreamSession(ClientSession);

/// A stream of one, with one request on it.
pub type UpstreamStream = StreamLease<PoolKey, UpstreamConn, UpstreamSession>;

/// Most streams of one connection, if the upstream allows more. A lost connection fails all of
/// them, and they share one window.
pub const MOST_STREAMS: u32 = 256;

/// How long nothing may come from an upstream that has a request, before a PING asks for it; and how
/// long its answer may take. Then the connection is closed: new requests would wait for
/// `limits.first_byte` on it, one after the other.
const QUIET: Duration = Duration::from_secs(10);
const PONG: Duration = Duration::from_secs(10);

impl Session for UpstreamSession {
    type Stream = H2Stream;

    fn is_open(&self) -> bool {
        self.0.is_open()
    }

    fn open(&self) -> H2Stream {
        self.0.open()
    }

    fn reset(&self, stream: &mut H2Stream) {
        stream.reset(ErrorCode::CANCEL);
    }

    fn close(&self) {
        self.0.close();
    }
}

/// Makes a session of `stream`, and returns the stream of its first request. Its task belongs to
/// `scope`. Waits for the settings of the upstream (RFC 9113 section 3.4), so that it gets no more
/// requests at once than it takes: it would refuse them.
///
/// # Errors
/// If the upstream does not speak HTTP/2, closes, or sends none within `dial.connect_timeout`.
///
/// # Cancel safety
/// Safe: the connection is closed, and its permit returned.
pub(super) async fn begin(
    engine: &Engine,
    stream: Stream,
    scheme: Scheme,
    permit: OpenPermit<PoolKey, UpstreamConn, UpstreamSession>,
    scope: &Scope,
) -> Result<UpstreamStream, Fault> {
    let plan = engine.live.plan();
    let limits = &plan.limits;
    let codec = Limits {
        head: limits.head_limits(),
        streams: MOST_STREAMS,
        ..Limits::default()
    };
    let timeouts = ClientTimeouts {
        write: limits.body_progress,
        quiet: QUIET,
        pong: PONG,
    };
    let (mut client, session) = Client::new(stream, codec, scheme, timeouts);
    let limit = plan.dial.connect_timeout;
    let announced = match timeout(limit, client.settings()).await {
        Ok(announced) => announced.map_err(|end| not_begun(permit.key(), &end))?,
        Err(_) => {
            let detail = format!(
                "{} sent no settings of HTTP/2 within dial.connect_timeout, {limit:?}",
                permit.key()
            );
            return Err(Fault::new(Who::Upstream, Reason::Connect, detail));
        }
    };
    let most = NonZeroU32::new(announced.streams.min(MOST_STREAMS)).unwrap_or(NonZeroU32::MIN);
    let (lease, guard) = permit.install_session(UpstreamSession(session), most);
    if announced.streams == 0 {
        // It takes none for now: the first request waits or is refused, and no other one is added.
        guard.set_max_streams(0);
    }
    if announced.goes_away {
        guard.go_away();
    }
    let telemetry = Arc::clone(&engine.telemetry);
    scope.spawn("upstream session", async move {
        let upstream = guard.key().to_string();
        let end = client.run(|event| match event {
            ClientEvent::MaxStreams(most) => guard.set_max_streams(most.min(MOST_STREAMS)),
            ClientEvent::GoAway => guard.go_away(),
        });
        // The guard is dropped behind the connection.
        match end.await {
            ClientEnd::Done => {}
            ClientEnd::Broken(broken) => {
                tracing::debug!(upstream, "a connection of HTTP/2 was lost: {broken}");
            }
            ClientEnd::Failed(error) => {
                telemetry.counters.malformed_responses.add(1);
                tracing::debug!(
                    upstream,
                    code = error.code.name(),
                    "a connection of HTTP/2 was closed: {}",
                    error.reason
                );
            }
        }
    });
    Ok(lease)
}

fn not_begun(upstream: &PoolKey, end: &ClientEnd) -> Fault {
    let detail = match end {
        ClientEnd::Failed(error) => format!("{upstream} does not speak HTTP/2: {}", error.reason),
        ClientEnd::Broken(broken) => format!("{upstream} broke off before HTTP/2 began: {broken}"),
        ClientEnd::Done => format!("{upstream} closed before HTTP/2 began"),
    };
    Fault::new(Who::Upstream, Reason::ClosedEarly, detail)
}
