//! Agent: sends HTTP/1.1 requests over a bounded pool of connections.
//!
//! In:    `http::Request`s.   Out:   `http::Response`s whose bodies arrive while they are read.
//! Never: uses a task or a channel per connection: the task that polls a request drives its
//!        connection.

mod body;
mod builder;
mod checked_request;
mod connector;
mod error;
mod event;
mod exchange;
mod group;
mod in_flight;
mod interim;
mod keep_alive;
mod pooled_conn;
mod proxy;
mod reaper;
mod request_head;
mod response_head;
mod retry;
mod service;
mod stats;
mod target;
#[cfg(test)]
mod tests;
mod upgrade;
mod upload;

pub use body::Body;
pub use builder::{AgentBuilder, BuildError};
pub use connector::{Connected, ConnectorFn, connector_fn};
pub use error::{BadAnswer, BoxError, Error, Unsuited, Which};
pub use event::{CloseReason, Event, NoRetry};
pub use group::Group;
pub use interim::OnInterim;
pub use keep_alive::Hint;
pub use pooled_conn::ConnFacts;
pub use proxy::{BadProxy, Proxy};
pub use retry::Retry;
pub use service::ResponseFuture;
pub use stats::{AgentStats, Counters, GroupStats};
pub use target::Target;
pub use upgrade::{UpgradePermit, Upgraded};

use body::{About, Incoming};
use byway_dial::{TlsClient, TlsOptions};
use byway_http::h1::ClientExchange;
use byway_pool::{AcquireError, Acquired, Lease, OpenPermit, Pool};
use checked_request::{CheckedRequest, GroupBy};
use connector::Connect;
use event::Observer;
use exchange::{Terms, Times};
use http::{Method, Request, Response, Uri};
use in_flight::{InFlight, InFlightCount};
use pooled_conn::{Exchange, PooledConn};
use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::Instant;
use upload::{Upload, Uploading};

/// The longest head, in bytes.
const HEAD_BYTES: usize = 64 * 1024;
/// Limits on a response: a head of 64 KiB with 128 fields, the same for trailers.
const HEAD_LIMITS: byway_head::Limits = byway_head::Limits {
    head_bytes: HEAD_BYTES,
    fields: 128,
    target_bytes: 16 * 1024,
    connection_options: byway_head::CONNECTION_OPTIONS,
    chunk_extension_bytes: 16 * 1024,
};

/// An HTTP/1.1 client with a bounded, observable connection pool. Cheap to clone; clones share one
/// pool.
///
/// Dropping the last clone closes idle connections; responses that are still being read continue.
/// An agent belongs to the runtime of its first request: name lookups run there.
#[derive(Clone)]
pub struct Agent {
    /// The handle of this agent's shard.
    pool: Pool<Group, PooledConn>,
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pool: Pool<Group, PooledConn>,
    config: Config,
    connector: Arc<dyn Connect>,
    /// Created by the first `https` request, since that reads the system's roots from disk.
    tls: OnceLock<TlsClient>,
    observer: Observer,
    in_flight: InFlightCount,
    sweeping: AtomicBool,
}

/// The options that are used after an agent is built.
pub(crate) struct Config {
    max_total: usize,
    max_per_origin: usize,
    idle_timeout: Duration,
    connect_timeout: Duration,
    times: Times,
    hint: Hint,
    retry: Retry,
    keep_alive: bool,
    fixed: Option<byway_dial::Target>,
    tls: TlsOptions,
    proxy: Option<Proxy>,
    group_by: Option<GroupBy>,
    on_interim: Option<OnInterim>,
}

impl Agent {
    /// An agent with the defaults: 128 connections per origin, 1024 in total, a queue of 1024
    /// requests that wait 5 s at most.
    #[allow(
        clippy::expect_used,
        reason = "the defaults are sound, which a test shows"
    )]
    pub fn new() -> Self {
        Self::builder().build().expect("the defaults are sound")
    }

    /// An agent without connection reuse: one connection per request, within the same limits.
    #[doc(alias = "agent: false")]
    #[allow(
        clippy::expect_used,
        reason = "the defaults are sound, which a test shows"
    )]
    pub fn unpooled() -> Self {
        Self::builder()
            .keep_alive(false)
            .build()
            .expect("the defaults are sound")
    }

    /// A builder for an agent with other options.
    pub fn builder() -> AgentBuilder {
        AgentBuilder::default()
    }

    pub(crate) fn from_parts(
        pool: Pool<Group, PooledConn>,
        config: Config,
        connector: Arc<dyn Connect>,
        observer: Observer,
    ) -> Self {
        let (tls, in_flight, sweeping) = (
            OnceLock::new(),
            InFlightCount::default(),
            AtomicBool::new(false),
        );
        Self {
            pool: pool.clone(),
            inner: Arc::new(Inner {
                pool,
                config,
                connector,
                tls,
                observer,
                in_flight,
                sweeping,
            }),
        }
    }

    /// A GET of an `http://` or `https://` URL.
    ///
    /// # Errors
    /// As [`Agent::request`].
    pub async fn get<U>(&self, url: U) -> Result<Response<Body>, Error>
    where
        U: TryInto<Uri>,
        U::Error: Into<http::Error>,
    {
        let uri = url
            .try_into()
            .map_err(|error| Error::invalid(format!("its URL: {}", error.into())))?;
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = uri;
        self.request(request).await
    }

    /// Sends a request and waits for the head of its response; the body arrives while it is read.
    /// The request's body may be any [`http_body::Body`]; the part not yet sent when the response
    /// begins is sent while the response's body is polled.
    ///
    /// The agent writes `Host`, `Content-Length` and `Transfer-Encoding`. If the caller sets
    /// `Host`, it is sent unchanged; the other two must agree with the body. Redirects are not
    /// followed, and nothing is decompressed.
    ///
    /// Cancel safe: dropping the future leaves the queue or closes the connection; other requests
    /// are not affected.
    ///
    /// # Errors
    /// [`Error`]; a status of 400 or above is not an error.
    pub async fn request<B>(&self, request: Request<B>) -> Result<Response<Body>, Error>
    where
        B: http_body::Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let (parts, body) = request.into_parts();
        let exact = if body.is_end_stream() {
            Some(0)
        } else {
            body.size_hint().exact()
        };
        let mut checked = CheckedRequest::new(parts, exact, self.inner.config.group_by.as_ref())?;
        if let Some(proxy) = &self.inner.config.proxy {
            Box::pin(proxy.choose(&mut checked, self.inner.config.connect_timeout)).await?;
        }
        let mut upload = Upload::new(body, checked.outgoing);
        let in_flight = InFlight::begin(&self.inner);
        let mut fresh = false;
        loop {
            let lease = self.lease(&checked, fresh).await?;
            if !lease.reused() {
                upload.keep_nothing();
            }
            let mut exchange = ClientExchange::begin(lease);
            let sent = self.inner.exchange(&checked, &mut upload, &mut exchange);
            let error = match sent.await {
                Ok(abandoned) => return respond(in_flight, &checked, upload, exchange, abandoned),
                Err(error) => error,
            };
            exchange.lease.close_reason = Some(CloseReason::Failed);
            drop(exchange);
            self.inner.forget_session(&checked, &error);
            if fresh || !self.inner.retries(&checked, &error, &mut upload) {
                return Err(error);
            }
            fresh = true;
        }
    }

    /// A snapshot of the agent's metrics.
    pub fn stats(&self) -> AgentStats {
        let Inner { pool, config, .. } = &*self.inner;
        AgentStats::new(pool.stats(), config.max_total, config.max_per_origin)
    }

    /// Closes the idle connections for which `which` returns true, and returns their number.
    /// `which` runs under a lock: it must be quick and must not use the agent.
    pub fn evict(&self, mut which: impl FnMut(&ConnFacts<'_>) -> bool) -> usize {
        self.inner
            .pool
            .evict(|group, conn| which(&conn.facts(group)))
    }

    /// Closes every idle connection and returns their number. Connections in use continue and are
    /// kept afterwards as usual.
    #[doc(alias = "CloseIdleConnections")]
    pub fn close_idle(&self) -> usize {
        self.inner.pool.close_idle()
    }

    /// Shuts the agent down: closes idle connections, and new requests fail with [`Error::Closed`];
    /// queued and running requests continue. Waits until the last of them is over, its response's
    /// body included, but no longer than `deadline`: then requests still in the queue fail with
    /// [`Error::Closed`], too. Returns how many requests are left; their callers must drop them.
    /// Upgraded connections are not waited for. With a deadline of 0 the queue fails at once.
    ///
    /// Cancel safe: the agent stays closed to new requests. Calling it twice is harmless.
    #[doc(alias = "destroy")]
    #[doc(alias = "close")]
    pub async fn shutdown(&self, deadline: Duration) -> usize {
        self.inner.pool.drain();
        self.inner.in_flight.wait_idle(deadline).await;
        let queued = self.inner.pool.stats().pending; // about to fail
        self.inner.pool.close();
        self.inner.in_flight.under_way().saturating_sub(queued)
    }

    /// The same agent on another shard ([`AgentBuilder::shards`]): `number` modulo the number of
    /// shards. It shares limits, queue and everything else, but not the idle connections. Use one
    /// for each thread or runtime.
    #[must_use]
    pub fn shard(&self, number: usize) -> Self {
        Self {
            pool: self.inner.pool.shard(number),
            inner: Arc::clone(&self.inner),
        }
    }

    /// A connection for the request: a clean idle one, or a new one.
    async fn lease(
        &self,
        checked: &CheckedRequest,
        fresh: bool,
    ) -> Result<Lease<Group, PooledConn>, Error> {
        let inner = &self.inner;
        let acquired = match fresh {
            false => self.pool.acquire(&checked.group).await,
            true => self.pool.acquire_fresh(&checked.group).await,
        };
        match acquired.map_err(|error| inner.rejected(checked, error))? {
            Acquired::Lease(lease) => {
                inner.observer.notify(&Event::Reused {
                    group: &checked.group,
                    requests: lease.requests(),
                });
                Ok(lease)
            }
            Acquired::Open(permit) => Box::pin(inner.open(checked, permit)).await,
        }
    }
}

impl Inner {
    fn rejected(&self, checked: &CheckedRequest, error: AcquireError) -> Error {
        let error = error.into();
        self.observer.notify(&Event::QueueRejected {
            group: &checked.group,
            error: &error,
        });
        error
    }

    async fn open(
        &self,
        checked: &CheckedRequest,
        permit: OpenPermit<Group, PooledConn>,
    ) -> Result<Lease<Group, PooledConn>, Error> {
        let target = checked.target(self.config.fixed.as_ref())?;
        let begun = Instant::now();
        let opened = connector::open(
            &*self.connector,
            &target,
            || self.tls(),
            self.config.connect_timeout,
        )
        .await;
        match opened {
            Ok(connected) => {
                let conn = PooledConn::new(connected, checked.group.clone(), self.observer.clone());
                let (peer, took) = (conn.peer, begun.elapsed());
                self.observer.notify(&Event::Opened {
                    group: &checked.group,
                    peer,
                    took,
                });
                Ok(permit.install(conn))
            }
            Err(error) => {
                self.observer.notify(&Event::ConnectFailed {
                    group: &checked.group,
                    error: &error,
                });
                Err(error)
            }
        }
    }

    fn tls(&self) -> Result<TlsClient, BoxError> {
        if let Some(client) = self.tls.get() {
            return Ok(client.clone());
        }
        let client = TlsClient::with_options(self.config.tls.clone())?;
        Ok(self.tls.get_or_init(|| client).clone())
    }

    /// Forgets the TLS session of a broken connection, so that the next one does a full handshake.
    fn forget_session(&self, checked: &CheckedRequest, error: &Error) {
        if let Error::ConnectionLost {
            source: Some(_), ..
        } = error
            && let Some(tls) = self.tls.get()
            && let Ok(Some(name)) = checked.verified_name()
        {
            tls.forget(&name);
        }
    }

    async fn exchange<B>(
        &self,
        checked: &CheckedRequest,
        upload: &mut Upload<B>,
        exchange: &mut Exchange,
    ) -> Result<bool, Error>
    where
        B: http_body::Body + Send,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let on_interim = checked
            .parts
            .extensions
            .get::<OnInterim>()
            .or(self.config.on_interim.as_ref());
        let Config {
            keep_alive, times, ..
        } = self.config;
        let terms = Terms {
            reused: exchange.lease.reused(),
            keep_alive,
            times,
            on_interim,
        };
        exchange::run(checked, upload, exchange, &terms).await
    }

    /// Whether the request is retried after `error`; if so, the upload has been rewound.
    fn retries<B>(&self, checked: &CheckedRequest, error: &Error, upload: &mut Upload<B>) -> bool
    where
        B: http_body::Body,
        B::Error: Into<BoxError>,
    {
        if !retry::is_stale(error) {
            return false;
        }
        let group = &checked.group;
        let permitted = retry::permits(self.config.retry, error);
        match permitted.and_then(|()| {
            if upload.rewind() {
                Ok(())
            } else {
                Err(NoRetry::Body)
            }
        }) {
            Ok(()) => {
                self.observer.notify(&Event::Retried { group });
                true
            }
            Err(because) => {
                self.observer.notify(&Event::NotRetried { group, because });
                false
            }
        }
    }
}

/// The response for the final head, with a body that owns the connection. `abandoned`: the upload is
/// incomplete and has stopped.
fn respond<B>(
    in_flight: InFlight,
    checked: &CheckedRequest,
    upload: Upload<B>,
    mut exchange: Exchange,
    abandoned: bool,
) -> Result<Response<Body>, Error>
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    exchange.lease.close_reason = Some(CloseReason::Failed); // reported if a step below fails
    let config = &in_flight.agent().config;
    let response = response_head::read(&exchange)?;
    let framed = exchange
        .response()
        .framing(checked.parts.method.as_str().as_bytes())?;
    let conn = &mut *exchange.lease;
    conn.close_reason = Some(CloseReason::Dropped);
    let about = About {
        requests: conn.requests(),
        peer: conn.peer,
        local: conn.local,
    };
    if leaves_http(checked, &response) {
        let upgraded = upgrade(&in_flight, exchange).ok_or(Error::Closed)?;
        return Ok(response.map(|()| Body::of_upgrade(upgraded, about)));
    }
    let kept = exchange.begin_body(framed, &HEAD_LIMITS, config.hint.limits());
    let keep = match (config.keep_alive, checked.closes, abandoned) {
        (false, ..) => Err(CloseReason::Unpooled),
        (_, true, _) => Err(CloseReason::LastResponse),
        (.., true) => Err(CloseReason::EarlyResponse),
        _ => keep_alive::keep(kept),
    };
    let upload: Option<Box<dyn Uploading>> = match upload.is_over() || abandoned {
        true => None,
        false => Some(Box::new(upload)),
    };
    let incoming = Incoming {
        exchange: Some(exchange),
        upload,
        keep,
        body_idle: config.times.body_idle,
        in_flight,
        idempotent: checked.idempotent,
        due: None,
        taken: 0,
        over: false,
    };
    Ok(response.map(|()| Body::incoming(incoming, about)))
}

fn leaves_http(checked: &CheckedRequest, response: &Response<()>) -> bool {
    let tunnel = checked.parts.method == Method::CONNECT && response.status().is_success();
    tunnel || response.status().as_u16() == 101
}

/// Detaches the connection from the pool.
fn upgrade(in_flight: &InFlight, exchange: Exchange) -> Option<Upgraded> {
    let lease = exchange.leave_http();
    let agent = in_flight.agent();
    agent
        .observer
        .notify(&Event::Upgraded { group: lease.key() });
    let (mut conn, permit) = lease.detach();
    let (stream, unread) = conn.take()?;
    Some(Upgraded::new(stream, unread, permit))
}

impl Default for Agent {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Agent({})", self.stats())
    }
}
