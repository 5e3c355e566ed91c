//! An HTTP client (1.1 and 2) with a bounded connection pool: exact connection limits per origin and in
//! total, a bounded and fair queue, and live metrics.
//!
//! It uses the common types (`http` 1, `http-body` 1, `tower-service`). Byway's own proxy uses the
//! same pool, [`byway_pool`].
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), byway_agent::BoxError> {
//! # let origin = byway_testkit::Origin::named("hello");
//! # let url = format!("http://{}/", origin.address());
//! use byway_agent::Agent;
//!
//! let agent = Agent::new(); // at most 128 connections an origin, 1024 in all; at most 1024 requests wait, 5 s each
//! let response = agent.get(&url).await?;
//! assert_eq!(response.status(), 200);
//! println!("{}", response.into_body().text().await?);
//! # Ok(())
//! # }
//! ```
//!
//! # Guarantees
//!
//! - **The limits are exact.** [`AgentBuilder::max_total`] and [`AgentBuilder::max_per_origin`]
//!   count connections that are being opened, in use, idle and upgraded. A permit is taken *before*
//!   the dial and returned after the connection is closed. (A `tower` limit around a connector
//!   limits dials, not connections.)
//! - **No waiter is blocked without need.** Waiters of one origin are served in order; origins take
//!   turns; an origin at its own limit does not block others; when the total is used up, an idle
//!   connection of another origin is closed. The queue has a length limit and a time limit.
//! - **Dropping is safe.** A request, a response or an upgraded connection may be dropped at any
//!   point. A connection is reused only at a proven message boundary: request written, response
//!   read, no byte left over. A byte on an idle connection, or after a body, closes it: it would be
//!   read as the next response (CVE-2026-48931).
//! - **Every wait has a limit.** Queue, dial, response head and pauses in bodies have limits, each
//!   with its own name in [`Error::Timeout`].
//! - **Few tasks.** With HTTP/1.1 the task that polls a request or its response drives the
//!   connection, without another task or a channel. A connection of HTTP/2 has one task. One more
//!   closes connections that were idle for too long, and exists only while some connection is idle.
//!
//! # Limits and the queue
//!
//! ```
//! use byway_agent::{Agent, BuildError, Error};
//! use std::time::Duration;
//!
//! let agent = Agent::builder()
//!     .max_per_origin(6)
//!     .max_total(64)
//!     .idle_timeout(Duration::from_secs(30))
//!     .max_lifetime(Duration::from_secs(300))
//!     .queue_len(200)
//!     .queue_wait(Duration::from_secs(2))
//!     .build()?;
//!
//! fn is_overload(error: &Error) -> bool {
//!     error.is_queue() // QueueFull or QueueTimeout: nothing was sent; answer 503, or try later
//! }
//! # let _ = (agent, is_overload);
//! # Ok::<(), BuildError>(())
//! ```
//!
//! Zero is an error everywhere, and so is a limit that another limit makes unreachable. On a
//! runtime with several worker threads that all send many requests, each thread can have its own
//! shard ([`AgentBuilder::shards`], [`Agent::shard`]); the limits apply to all shards together.
//!
//! # HTTP/2
//!
//! `https` origins choose between HTTP/2 and HTTP/1.1 (ALPN); `http` origins that are known to speak
//! HTTP/2 need [`AgentBuilder::http2_prior_knowledge`]. A connection of HTTP/2 is one connection for
//! the limits, and carries up to [`AgentBuilder::max_streams_per_connection`] requests at once, or as
//! many as the origin allows.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), byway_agent::BoxError> {
//! # use tokio::net::TcpListener;
//! # let listener = TcpListener::bind("127.0.0.1:0").await?;
//! # let url = format!("http://{}/", listener.local_addr()?);
//! # let origin = async {
//! #     let mut conn = h2::server::handshake(listener.accept().await.unwrap().0).await.unwrap();
//! #     while let Some(Ok((_, mut respond))) = conn.accept().await {
//! #         let body = respond.send_response(http::Response::new(()), false);
//! #         body.unwrap().send_data(bytes::Bytes::from("hello"), true).unwrap();
//! #     }
//! # };
//! use byway_agent::Agent;
//!
//! let agent = Agent::builder().http2_prior_knowledge(true).build()?;
//! # let requests = async {
//! let both = tokio::join!(agent.get(&url), agent.get(&url)); // over one connection
//! let (first, second) = (both.0?, both.1?);
//! assert_eq!(first.version(), http::Version::HTTP_2);
//! assert_eq!(agent.stats().totals().open(), 1);
//! # assert_eq!(first.into_body().text().await?, "hello");
//! # drop(second);
//! # Ok::<_, byway_agent::BoxError>(())
//! # };
//! # tokio::select! { done = requests => done?, () = origin => {} }
//! # Ok(())
//! # }
//! ```
//!
//! The guarantees are the same. A request that is dropped, or whose response is, resets its stream
//! and leaves the others alone. One that the origin has not processed (REFUSED_STREAM, or GOAWAY) is
//! sent again, up to three times. A connection that broke silently is found by a PING, one that is
//! idle is closed after [`AgentBuilder::idle_timeout`]. What an origin may cost is limited: floods of
//! frames, resets and compressed heads end its connection. The agent holds at most 2 MiB of unread
//! bodies for each connection, and 1 MiB for each response.
//!
//! While it is not known which version an origin speaks, other requests to it wait for the first
//! dial. Upgrades and CONNECT use connections of HTTP/1.1.
//!
//! # Bodies
//!
//! A request's body is any [`http_body::Body`]; [`Body`] makes one from bytes or text. A response's
//! body arrives while it is polled, and the rest of the request's body is sent meanwhile, so both
//! can stream at once. Read it with [`Body::text`], [`Body::bytes`] (up to a limit),
//! [`Body::frame`], or anything that takes an [`http_body::Body`]. The connection returns to the
//! pool with the last frame; a body that is dropped earlier closes it (unless all of it had
//! arrived).
//!
//! # Errors report what was sent
//!
//! [`Error::ConnectionLost`] has whether the connection was reused, and how many bytes were written
//! and read; [`Error::StreamReset`] whether the origin has processed the request; [`Error::is_retryable`] is true if sending the request again is safe. If a reused
//! connection returns no byte, the request is sent once more on a new one, if that is safe: see
//! [`Retry`].
//!
//! # Where connections go
//!
//! ```no_run
//! use byway_agent::{Agent, BoxError, Target, connector_fn};
//!
//! # fn main() -> Result<(), BoxError> {
//! // A daemon on a Unix socket.
//! let docker = Agent::builder().unix_socket("/run/docker.sock").build()?;
//!
//! // All requests to one address, whatever their URLs.
//! let staging = Agent::builder().one_address("127.0.0.1:3000").build()?;
//!
//! // Your own connector: anything that reads and writes. The limits apply to it too.
//! let own = Agent::builder()
//!     .connector(connector_fn(|target: Target| async move {
//!         tokio::net::TcpStream::connect((target.host().to_owned(), target.port())).await
//!     }))
//!     .build()?;
//!
//! // Your own grouping: hosts that share connections, paths with separate limits.
//! let grouped = Agent::builder()
//!     .group_by(|request| request.uri.path().starts_with("/search").then_some("search"))
//!     .build()?;
//! # let _ = (docker, staging, own, grouped);
//! # Ok(())
//! # }
//! ```
//!
//! # Proxies and TLS
//!
//! ```no_run
//! use byway_agent::dial::{Identity, TlsOptions, TlsVersion};
//! use byway_agent::{Agent, BoxError, Proxy};
//!
//! # fn main() -> Result<(), BoxError> {
//! // The proxy resolves names. Limits, queue and reuse are as without a proxy.
//! let private = Agent::builder().proxy(Proxy::socks5h("127.0.0.1:9050")?).build()?;
//!
//! // Reads HTTPS_PROXY, NO_PROXY and the like, which are ignored by default.
//! let corporate = Agent::builder().proxy(Proxy::from_env()?).build()?;
//!
//! // Your own certificate, and TLS 1.3 only.
//! let identity = Some(Identity::from_pem(&std::fs::read("me.pem")?, &std::fs::read("me.key")?)?);
//! let tls = TlsOptions { identity, min_version: TlsVersion::V1_3, ..TlsOptions::default() };
//! let strict = Agent::builder().tls(tls).build()?;
//! # let _ = (private, corporate, strict);
//! # Ok(())
//! # }
//! ```
//!
//! [`Proxy::by`] takes your own routing, such as one that runs a script. The route of a request is
//! part of its [`Group`]: a request never reuses a connection of another route.
//!
//! # Observing it
//!
//! [`Agent::stats`] is a snapshot, by group and in total, with a `Display` for logs.
//! [`AgentBuilder::on_event`] reports each connection opened, reused and closed, with the reason,
//! requests that the queue rejected, and retries. [`Agent::evict`], [`Agent::close_idle`] and
//! [`Agent::shutdown`] are for the operator.
//!
//! # Upgrades
//!
//! After 101, or a 2xx to CONNECT, [`Body::upgraded`] returns the connection itself. It has left
//! the pool, and counts against the limits until it is dropped ([`AgentBuilder::count_upgraded`]).
//!
//! # Coming from another client
//!
//! [`coming_from`] maps the options of reqwest, hyper-util, Node, undici and Go to ours; [`node`]
//! maps the known behaviour of Node's `http.Agent` to tests of this crate. Each chapter here has an
//! example: `cargo run -p byway-agent --example first_get`, `limits_and_queue`, `unix_socket`,
//! `through_socks5`, `regrouping`, `one_address`, `live_stats`, `upgrade`.
//!
//! # The pool by itself
//!
//! The pool is the crate [`byway_pool`]. Programs that speak another protocol than HTTP use it
//! directly: it is generic over the key of an origin and the connection.

#[doc = include_str!("../docs/coming-from.md")]
pub mod coming_from {}

#[doc = include_str!("../docs/node.md")]
pub mod node {}

mod agent;

/// The dialler's types that options use: TLS, local addresses, proxies and their routes.
pub use byway_dial as dial;

pub use agent::{
    Agent, AgentBuilder, AgentStats, BadAnswer, BadProxy, Body, BoxError, BuildError, CloseReason,
    ConnFacts, Connected,
};
pub use agent::{
    ConnectorFn, Counters, Error, Event, Group, GroupStats, Hint, NoRetry, OnInterim, Proxy,
    ResponseFuture, Retry,
};
pub use agent::{Target, Unsuited, UpgradePermit, Upgraded, Which, connector_fn};

/// The pool's types that options and errors use.
pub use byway_pool::{InvalidLimits, QueueOrder, Scheduling};
