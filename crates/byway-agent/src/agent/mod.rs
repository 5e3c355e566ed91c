//! Agent: sends requests of HTTP/1.1 and HTTP/2 over a bounded pool of connections.
//!
//! In:    `http::Request`s.   Out:   `http::Response`s whose bodies arrive while they are read.
//! Never: uses a task or a channel per connection of HTTP/1: the task that polls a request drives
//!        its connection. One of HTTP/2 has a task.

mod body;
mod builder;
mod carrier;
mod checked_request;
mod connector;
mod error;
mod event;
mod exchange;
mod group;
mod h2_exchange;
mod h2_session;
mod in_flight;
mod interim;
mod keep_alive;
mod open;
mod pooled_conn;
mod proxy;
mod reaper;
mod request_head;
mod respond;
mod response_head;
mod retry;
mod service;
mod stats;
mod target;
#[cfg(test)]
mod tests;
mod tls_clients;
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

use byway_dial::TlsOptions;
use byway_http::h1::ClientExchange;
use byway_pool::{AcquireError, Acquired, Lease, Pool, Requeue};
use carrier::Carrier;
use checked_request::{CheckedRequest, GroupBy};
use connector::Connect;
use event::Observer;
use exchange::{Terms, Times};
use h2_exchange::H2Exchange;
use h2_session::{H2Lease, H2Session, Http2};
use http::{Method, Request, Response, Uri};
use in_flight::{InFlight, InFlightCount};
use pooled_conn::PooledConn;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tls_clients::TlsClients;
use upload::Upload;

/// Longer durations are reduced to this, so that adding one to an `Instant` cannot overflow.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
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

/// An HTTP client (1.1 and 2) with a bounded, observable connection pool. Cheap to clone; clones share one
/// pool.
///
/// Dropping the last clone closes idle connections; responses that are still being read continue.
/// An agent belongs to the runtime of its first request: name lookups run there.
#[derive(Clone)]
pub struct Agent {
    /// The handle of this agent's shard.
    pool: Pool<Group, PooledConn, H2Session>,
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pool: Pool<Group, PooledConn, H2Session>,
    config: Config,
    connector: Arc<dyn Connect>,
    tls: TlsClients,
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
    http2: Http2,
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
        pool: Pool<Group, PooledConn, H2Session>,
        config: Config,
        connector: Arc<dyn Connect>,
        observer: Observer,
    ) -> Self {
        let (tls, in_flight, sweeping) = (
            TlsClients::default(),
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
        let (mut next, mut tried) = (Next::Any, 0);
        loop {
            let lease = match self.lease(&checked, next).await? {
                Leased::Conn(lease) => lease,
                Leased::Stream(exchange) => {
                    let sent = Box::pin(self.exchange_on(exchange, &checked, &mut upload));
                    match sent.await {
                        Ok((exchange, abandoned)) => {
                            return respond::respond_on(
                                in_flight, &checked, upload, *exchange, abandoned,
                            );
                        }
                        Err(failed) => {
                            next = self.next_stream(&checked, failed, &mut upload, &mut tried)?;
                            continue;
                        }
                    }
                }
            };
            if !lease.reused() {
                upload.keep_nothing();
            }
            let mut exchange = ClientExchange::begin(lease);
            let sent = self.inner.exchange(&checked, &mut upload, &mut exchange);
            let error = match sent.await {
                Ok(abandoned) => {
                    return respond::respond(in_flight, &checked, upload, exchange, abandoned);
                }
                Err(error) => error,
            };
            exchange.lease.close_reason = Some(CloseReason::Failed);
            drop(exchange);
            self.inner.forget_session(&checked, &error);
            if !matches!(next, Next::Any) || !self.inner.retries(&checked, &error, &mut upload) {
                return Err(error);
            }
            next = Next::Fresh;
        }
    }

    /// One try on a stream of HTTP/2, up to the head of the final response. On an error the
    /// exchange is given back, for what it says about the stream.
    async fn exchange_on<B>(
        &self,
        mut exchange: Box<H2Exchange>,
        checked: &CheckedRequest,
        upload: &mut Upload<B>,
    ) -> Result<(Box<H2Exchange>, bool), (Box<H2Exchange>, Error)>
    where
        B: http_body::Body + Send,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let sent = self.inner.exchange(checked, upload, &mut *exchange).await;
        match sent {
            Ok(abandoned) => Ok((exchange, abandoned)),
            Err(error) => Err((exchange, error)),
        }
    }

    /// How the request is tried again after a try on a stream has failed, or the error.
    fn next_stream<B>(
        &self,
        checked: &CheckedRequest,
        failed: (Box<H2Exchange>, Error),
        upload: &mut Upload<B>,
        tried: &mut u32,
    ) -> Result<Next, Error>
    where
        B: http_body::Body,
        B::Error: Into<BoxError>,
    {
        let (exchange, error) = failed;
        let is_unprocessed = matches!(
            error,
            Error::StreamReset {
                unprocessed: true,
                ..
            }
        );
        if !is_unprocessed {
            drop(exchange);
            // What may have been processed is tried again once, by the rules of HTTP/1.
            let may_retry = *tried <= retry::MOST_UNPROCESSED;
            if !may_retry || !self.inner.retries(checked, &error, upload) {
                return Err(error);
            }
            *tried = retry::MOST_UNPROCESSED + 1;
            return Ok(Next::Any);
        }
        let requeue = exchange.refused();
        let permitted = retry::permits_unprocessed(self.inner.config.retry, *tried);
        if !self.inner.rewinds(checked, permitted, upload) {
            return Err(error);
        }
        *tried += 1;
        Ok(requeue.map_or(Next::Any, Next::Again))
    }

    /// A snapshot of the agent's metrics.
    pub fn stats(&self) -> AgentStats {
        let Inner { pool, config, .. } = &*self.inner;
        AgentStats::new(pool.stats(), config.max_total, config.max_per_origin)
    }

    /// Closes the idle connections for which `which` returns true, and returns their number. A
    /// connection of HTTP/2 that has requests gets no more of them, and is closed after the last.
    /// `which` runs under a lock: it must be quick and must not use the agent.
    pub fn evict(&self, mut which: impl FnMut(&ConnFacts<'_>) -> bool) -> usize {
        let pool = &self.inner.pool;
        let conns = pool.evict(|group, conn| which(&conn.facts(group)));
        let of_session =
            |group: &Group, session: &H2Session| which(&ConnFacts::of_session(session, group));
        conns + pool.evict_sessions(of_session)
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

    /// What carries the request: a clean idle connection, a stream of one of HTTP/2, or a new
    /// connection.
    async fn lease(&self, checked: &CheckedRequest, next: Next) -> Result<Leased, Error> {
        let (inner, group) = (&self.inner, &checked.group);
        let acquired = match next {
            Next::Any if inner.may_share(checked) => self.pool.acquire_shared(group).await,
            Next::Any => self.pool.acquire(group).await,
            Next::Fresh => self.pool.acquire_fresh(group).await,
            Next::Again(requeue) => self.pool.acquire_again(group, requeue).await,
        };
        match acquired.map_err(|error| inner.rejected(checked, error))? {
            Acquired::Lease(lease) => {
                let requests = lease.requests();
                inner.observer.notify(&Event::Reused { group, requests });
                Ok(Leased::Conn(lease))
            }
            Acquired::Stream(lease) => {
                let requests = lease.requests();
                if requests > 1 {
                    inner.observer.notify(&Event::Reused { group, requests });
                }
                Ok(inner.stream(lease))
            }
            Acquired::Open(permit) => Box::pin(inner.open(checked, permit)).await,
        }
    }
}

/// What the next try of a request acquires.
#[derive(Clone, Copy)]
enum Next {
    Any,
    /// A new connection.
    Fresh,
    /// A stream, or what can be had, in place of one that was refused.
    Again(Requeue),
}

/// What carries a request.
pub(crate) enum Leased {
    Conn(Lease<Group, PooledConn, H2Session>),
    Stream(Box<H2Exchange>),
}

impl Inner {
    fn stream(self: &Arc<Self>, lease: H2Lease) -> Leased {
        Leased::Stream(Box::new(H2Exchange::new(lease, Arc::clone(self))))
    }

    /// Whether a stream of HTTP/2 can carry the request. One that changes to another protocol needs
    /// a connection for itself.
    fn may_share(&self, checked: &CheckedRequest) -> bool {
        let is_alone = checked.upgrades || checked.parts.method == Method::CONNECT;
        let http2 = &self.config.http2;
        let is_possible = match checked.is_tls() {
            true => http2.by_alpn,
            false => http2.prior_knowledge,
        };
        is_possible && !is_alone
    }

    fn rejected(&self, checked: &CheckedRequest, error: AcquireError) -> Error {
        let error = error.into();
        self.observer.notify(&Event::QueueRejected {
            group: &checked.group,
            error: &error,
        });
        error
    }

    /// Forgets the TLS session of a broken connection, so that the next one does a full handshake.
    fn forget_session(&self, checked: &CheckedRequest, error: &Error) {
        if let Error::ConnectionLost {
            source: Some(_), ..
        } = error
            && let Ok(Some(name)) = checked.verified_name()
        {
            self.tls.forget(&name);
        }
    }

    async fn exchange<B, C>(
        &self,
        checked: &CheckedRequest,
        upload: &mut Upload<B>,
        exchange: &mut C,
    ) -> Result<bool, Error>
    where
        B: http_body::Body + Send,
        B::Data: Send,
        B::Error: Into<BoxError>,
        C: Carrier,
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
        let permitted = retry::permits(self.config.retry, error);
        self.rewinds(checked, permitted, upload)
    }

    /// Rewinds the upload for another try, if one is permitted and everything is kept for it.
    fn rewinds<B>(
        &self,
        checked: &CheckedRequest,
        permitted: Result<(), NoRetry>,
        upload: &mut Upload<B>,
    ) -> bool
    where
        B: http_body::Body,
        B::Error: Into<BoxError>,
    {
        let group = &checked.group;
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
