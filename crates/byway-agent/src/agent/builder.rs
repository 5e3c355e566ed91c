//! Builder: the options of an agent, each with its unit, default and range.
//!
//! Never: takes 0 for "no limit" or for "the default"; accepts an option that would have no effect.

mod connections;
mod http2;
mod sockets;

use super::connector::{self, Connect, Connected, Direct};
use super::error::BoxError;
use super::event::{Event, Observer};
use super::exchange::Times;
use super::h2_session::{H2, Http2};
use super::interim::OnInterim;
use super::keep_alive::Hint;
use super::proxy::Proxy;
use super::retry::Retry;
use super::target::Target;
use super::{Agent, Config, LONGEST};
use byway_dial::{BadTarget, Family, LocalAddress, TlsOptions};
use byway_pool::{InvalidLimits, Limits, Pool};
use http::Response;
use http::request::Parts;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tower_service::Service;

/// The name of HTTP/1.1 in TLS (ALPN, RFC 7301).
pub(crate) const HTTP_1_1: &[u8] = b"http/1.1";

/// Builds an [`Agent`]. Every option has a default; options are checked only in
/// [`AgentBuilder::build`].
#[derive(Clone)]
#[must_use = "call `build`"]
pub struct AgentBuilder {
    max_total: Option<usize>,
    max_per_origin: Option<usize>,
    max_idle_per_origin: Option<usize>,
    idle_timeout: Option<Duration>,
    lifetime_jitter: Option<f64>,
    limits: Limits,
    shards: usize,
    connect_timeout: Duration,
    times: Times,
    hint: Hint,
    retry: Retry,
    keep_alive: bool,
    http2: Http2,
    way: ConnectMethod,
    one_address: Option<String>,
    unix_socket: Option<PathBuf>,
    local_address: Option<LocalAddress>,
    family: Family,
    tcp_keepalive: Option<Option<Duration>>,
    tls: TlsOptions,
    proxy: Option<Proxy>,
    group_by: Option<super::checked_request::GroupBy>,
    observer: Observer,
    on_interim: Option<OnInterim>,
}

/// How connections are opened.
#[derive(Clone)]
enum ConnectMethod {
    Direct,
    Foreign(Arc<dyn Connect>),
}

/// Why an agent cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A limit is 0, or another limit makes it unreachable.
    #[error("{0}")]
    Limits(#[from] InvalidLimits),
    /// A time of 0.
    #[error("{option} is 0: leave it out for the default, or set it above 0 s")]
    Zero {
        /// The option.
        option: &'static str,
    },
    /// Two options that exclude each other.
    #[error("{option} does nothing together with {other}: leave one of them out")]
    Conflict {
        /// The option.
        option: &'static str,
        /// The other one.
        other: &'static str,
    },
    /// The credentials cannot be sent in the proxy's protocol.
    #[error("proxy: {0}")]
    Proxy(String),
    /// Application protocols (ALPN) other than those that the agent offers by itself.
    #[error("tls: the agent itself offers h2 and http/1.1: leave `alpn` empty, and see `http2`")]
    Alpn,
    /// The address of `one_address` cannot be parsed.
    #[error("one_address: {0}")]
    Address(#[from] BadTarget),
}

impl Default for AgentBuilder {
    fn default() -> Self {
        Self {
            max_total: None,
            max_per_origin: None,
            max_idle_per_origin: None,
            idle_timeout: None,
            lifetime_jitter: None,
            limits: Limits::default(),
            shards: 1,
            connect_timeout: Duration::from_secs(10),
            times: Times {
                first_byte: Some(Duration::from_secs(60)),
                body_idle: Some(Duration::from_secs(60)),
                expect_continue: Duration::from_secs(1),
            },
            hint: Hint::default(),
            retry: Retry::default(),
            keep_alive: true,
            http2: Http2::default(),
            way: ConnectMethod::Direct,
            one_address: None,
            unix_socket: None,
            local_address: None,
            family: Family::Any,
            tcp_keepalive: None,
            tls: TlsOptions::default(),
            proxy: None,
            group_by: None,
            observer: Observer::default(),
            on_interim: None,
        }
    }
}

/// # Timeouts
///
/// Durations above a year count as a year.
impl AgentBuilder {
    /// Limit for opening a connection, TLS included, all addresses of a name together. Above 0 s;
    /// default 10 s.
    #[doc(alias = "connectTimeout")]
    #[doc(alias = "DialTimeout")]
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// Limit from the last byte of the request to the end of the response's head; each interim
    /// response restarts it. Above 0 s, or `None` for no limit; default 60 s.
    #[doc(alias = "headersTimeout")]
    #[doc(alias = "ResponseHeaderTimeout")]
    pub fn first_byte_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.times.first_byte = limit.into();
        self
    }

    /// The longest pause of the origin in a body: sending no byte of the response while the caller
    /// reads it, or taking no byte of the request while some are ready. It does not limit the whole
    /// body. Above 0 s, or `None` for no limit; default 60 s.
    #[doc(alias = "bodyTimeout")]
    #[doc(alias = "read_timeout")]
    pub fn body_idle_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.times.body_idle = limit.into();
        self
    }

    /// How long a request with `Expect: 100-continue` waits for the 100 before it sends its body.
    /// Above 0 s; default 1 s.
    #[doc(alias = "ExpectContinueTimeout")]
    pub fn expect_continue_timeout(mut self, limit: Duration) -> Self {
        self.times.expect_continue = limit;
        self
    }

    /// When the agent itself retries a request. Default [`Retry::Stale`].
    #[doc(alias = "retry_canceled_requests")]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }
}

/// # Where connections go
impl AgentBuilder {
    /// Opens connections with a `tower` service from [`Target`] to anything that reads and writes;
    /// for a function see [`connector_fn`](crate::connector_fn). It is called after a permit of the
    /// pool was taken, so the limits apply to its connections too. For `https` targets the agent
    /// speaks TLS over what it returns.
    #[doc(alias = "createConnection")]
    #[doc(alias = "connect")]
    #[doc(alias = "DialContext")]
    pub fn connector<S>(mut self, service: S) -> Self
    where
        S: Service<Target> + Clone + Send + Sync + 'static,
        S::Response: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
    {
        self.way = ConnectMethod::Foreign(connector::of_io(service));
        self
    }

    /// As [`AgentBuilder::connector`], for a service whose connections are [`byway_dial::Stream`]s,
    /// or [`Connected`]: a stream on which TLS is already done, or which goes to a forward proxy.
    pub fn stream_connector<S>(mut self, service: S) -> Self
    where
        S: Service<Target> + Clone + Send + Sync + 'static,
        S::Response: Into<Connected> + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
    {
        self.way = ConnectMethod::Foreign(connector::of_streams(service));
        self
    }

    /// Dials this Unix socket for every request, whatever its URL.
    #[doc(alias = "socketPath")]
    pub fn unix_socket(mut self, path: impl AsRef<Path>) -> Self {
        self.unix_socket = Some(path.as_ref().into());
        self
    }

    /// Dials this address for every request, whatever its URL: `host:port`, `[IPv6]:port` or
    /// `unix:/path`. Requests still carry the URL's host, and are still grouped by it.
    #[doc(alias = "createConnection")]
    pub fn one_address(mut self, address: impl Into<String>) -> Self {
        self.one_address = Some(address.into());
        self
    }

    /// Which requests share connections. The rule receives the whole head of a request; `None`
    /// means by origin, as usual. Hosts with the same name share connections and limits; paths with
    /// their own names have their own limits. Plain and TLS connections, and connections verified
    /// for different names, are never shared, whatever the rule returns.
    ///
    /// If hosts share connections, one server must serve all of them.
    #[doc(alias = "getName")]
    pub fn group_by<N: Into<Arc<str>>>(
        mut self,
        rule: impl Fn(&Parts) -> Option<N> + Send + Sync + 'static,
    ) -> Self {
        self.group_by = Some(Arc::new(move |parts| rule(parts).map(Into::into)));
        self
    }
}

/// # Events
impl AgentBuilder {
    /// Calls `observer` with each [`Event`]. It is called in place, under no lock, so it may use
    /// the agent; it must be quick, and must not panic.
    pub fn on_event(mut self, observer: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        self.observer = Observer(Some(Arc::new(observer)));
        self
    }

    /// Calls `call` with each interim response (100, 103) of every request that has no
    /// [`OnInterim`] of its own.
    #[doc(alias = "information")]
    #[doc(alias = "continue")]
    pub fn on_informational(
        mut self,
        call: impl Fn(&Response<()>) + Send + Sync + 'static,
    ) -> Self {
        self.on_interim = Some(OnInterim::new(call));
        self
    }
}

impl AgentBuilder {
    /// Builds the agent. Opens nothing and needs no runtime yet.
    ///
    /// # Errors
    /// [`BuildError`] for a 0, for a limit that another limit makes unreachable, and for options
    /// that exclude each other.
    pub fn build(self) -> Result<Agent, BuildError> {
        self.refuse_zeros()?;
        self.refuse_conflicts()?;
        self.refuse_unusable_tls_and_proxy()?;
        let limits = self.limits();
        limits.validate()?;
        let fixed = match (&self.unix_socket, &self.one_address) {
            (Some(path), _) => Some(byway_dial::Target::Unix(path.clone())),
            (None, Some(address)) => Some(address.parse()?),
            (None, None) => None,
        };
        let options = self.dial_options();
        let alpn = &self.tls.alpn;
        let offers_http2 = alpn.is_empty() || alpn.iter().any(|protocol| protocol == H2);
        let tls = TlsOptions {
            alpn: vec![HTTP_1_1.to_vec()],
            ..self.tls
        };
        let http2 = Http2 {
            // A connection for each request has no use for streams; and a list without `h2` says no.
            by_alpn: self.http2.by_alpn && self.keep_alive && offers_http2,
            ping_interval: self.http2.ping_interval.map(|time| time.min(LONGEST)),
            ping_timeout: self.http2.ping_timeout.min(LONGEST),
            ..self.http2
        };
        let connector = match self.way {
            ConnectMethod::Direct => Arc::new(Direct::new(options, &tls)),
            ConnectMethod::Foreign(connector) => connector,
        };
        let config = Config {
            max_total: limits.max_total,
            max_per_origin: limits.max_per_origin,
            idle_timeout: limits.idle_timeout.min(LONGEST),
            connect_timeout: self.connect_timeout.min(LONGEST),
            times: Times {
                first_byte: self.times.first_byte.map(|limit| limit.min(LONGEST)),
                body_idle: self.times.body_idle.map(|limit| limit.min(LONGEST)),
                expect_continue: self.times.expect_continue.min(LONGEST),
            },
            hint: self.hint,
            retry: self.retry,
            keep_alive: self.keep_alive,
            http2,
            fixed,
            tls,
            proxy: self.proxy,
            group_by: self.group_by,
            on_interim: self.on_interim,
        };
        let pool = Pool::with_sessions(limits, self.shards, self.observer.of_pool())?;
        Ok(Agent::from_parts(pool, config, connector, self.observer))
    }

    /// The limits, with defaults derived from the options that were set.
    fn limits(&self) -> Limits {
        let default = Limits::default();
        let max_total = self.max_total.unwrap_or(default.max_total);
        let max_per_origin = self
            .max_per_origin
            .unwrap_or_else(|| default.max_per_origin.min(max_total));
        let most_idle = self.limits.max_idle_total.unwrap_or(max_total).max(1); // 0 is an error of its own
        let longest = self.limits.max_lifetime.unwrap_or(Duration::MAX);
        Limits {
            max_total,
            max_per_origin,
            max_idle_per_origin: self
                .max_idle_per_origin
                .unwrap_or_else(|| max_per_origin.min(most_idle)),
            idle_timeout: self
                .idle_timeout
                .unwrap_or_else(|| default.idle_timeout.min(longest)),
            lifetime_jitter: self.lifetime_jitter.unwrap_or(default.lifetime_jitter),
            ..self.limits.clone()
        }
    }

    fn refuse_zeros(&self) -> Result<(), BuildError> {
        if self.http2.max_streams == 0 {
            let option = "max_streams_per_connection";
            return Err(InvalidLimits::Zero { option }.into());
        }
        let longest_hint = match self.hint {
            Hint::Honour { longest, .. } => Some(longest),
            Hint::Ignore => None,
        };
        let times = [
            ("connect_timeout", Some(self.connect_timeout)),
            ("first_byte_timeout", self.times.first_byte),
            ("body_idle_timeout", self.times.body_idle),
            ("expect_continue_timeout", Some(self.times.expect_continue)),
            ("server_keep_alive: longest", longest_hint),
            ("http2_ping_interval", self.http2.ping_interval),
            ("http2_ping_timeout", Some(self.http2.ping_timeout)),
        ];
        match times
            .into_iter()
            .find(|(_, time)| *time == Some(Duration::ZERO))
        {
            Some((option, _)) => Err(BuildError::Zero { option }),
            None => Ok(()),
        }
    }

    fn refuse_unusable_tls_and_proxy(&self) -> Result<(), BuildError> {
        let offered = |protocol: &Vec<u8>| protocol == HTTP_1_1 || protocol == H2;
        if !self.tls.alpn.iter().all(offered) {
            return Err(BuildError::Alpn);
        }
        let Some(proxy) = &self.proxy else {
            return Ok(());
        };
        match proxy.misused() {
            Some(option) => Err(BuildError::Conflict {
                option,
                other: "a proxy from the environment or a routing",
            }),
            None => proxy
                .check()
                .map_err(|error| BuildError::Proxy(error.to_string())),
        }
    }

    fn refuse_conflicts(&self) -> Result<(), BuildError> {
        let fixed = ("one_address", self.one_address.is_some());
        let unix = ("unix_socket", self.unix_socket.is_some());
        let local = ("local_address", self.local_address.is_some());
        let family = ("family", self.family != Family::Any);
        let keepalive = ("tcp_keepalive", self.tcp_keepalive.is_some());
        let proxy = ("proxy", self.proxy.is_some());
        let connector = ("connector", matches!(self.way, ConnectMethod::Foreign(_)));
        let unpooled = ("keep_alive(false)", !self.keep_alive);
        let idle = ("idle_timeout", self.idle_timeout.is_some());
        let most_idle = ("max_idle_per_origin", self.max_idle_per_origin.is_some());
        let all_idle = ("max_idle_total", self.limits.max_idle_total.is_some());
        let known = ("http2_prior_knowledge", self.http2.prior_knowledge);
        let no_http2 = ("http2(false)", !self.http2.by_alpn);
        let jitter = ("lifetime_jitter", self.lifetime_jitter.is_some());
        let ageless = ("no max_lifetime", self.limits.max_lifetime.is_none());
        let excluding = [
            (fixed, unix),
            (local, unix),
            (family, unix),
            (keepalive, unix),
            (proxy, unix),
            (proxy, fixed),
            (proxy, connector),
            (local, connector),
            (family, connector),
            (keepalive, connector),
            (idle, unpooled),
            (most_idle, unpooled),
            (all_idle, unpooled),
            (jitter, ageless),
            (known, unpooled),
            (known, no_http2),
        ];
        match excluding
            .into_iter()
            .find(|((_, one), (_, other))| *one && *other)
        {
            Some(((option, _), (other, _))) => Err(BuildError::Conflict { option, other }),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for AgentBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentBuilder")
            .field("limits", &self.limits())
            .finish_non_exhaustive()
    }
}
