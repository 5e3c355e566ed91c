//! An HTTP/1.1 client whose connections are counted: limits for each origin and in all, a bounded
//! and fair queue, and numbers that say what is going on.
//!
//! It speaks the types that everybody has (`http` 1, `http-body` 1, `tower-service`) and is the
//! pool that Byway's own proxy stands on.
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
//! # What it promises
//!
//! - **The limits are exact.** [`AgentBuilder::max_total`] and [`AgentBuilder::max_per_origin`]
//!   count connections being opened, in use, idle and upgraded. A permit is taken *before* the dial
//!   and comes back after the connection is gone. (A `tower` limit around a connector limits dials,
//!   not connections.)
//! - **Whoever can be served is served.** Waiters of one origin are served in order; origins take
//!   turns; an origin at its own limit holds up no other; an idle connection of another origin is
//!   closed when the total is used up. The queue has a length and a patience.
//! - **Forgetting is safe.** A request, a response or an upgraded connection may be dropped at any
//!   point. Only a connection at a proven message boundary is lent again: request written, response
//!   read, not a byte left over. A byte on an idle connection, or behind a body, closes it: it
//!   would be taken for the next response (CVE-2026-48931).
//! - **Nothing waits for ever.** Queue, dial, head, and pauses in bodies have limits, each with its
//!   own name in [`Error::Timeout`].
//! - **One task.** Whoever polls a request or its response drives the connection. There is no task
//!   for a connection and no channel between; the only task of an agent closes what has been idle
//!   for too long, and exists only while something is idle.
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
//! Zero is an error everywhere, and so is a limit that another one makes unreachable. A runtime
//! with several worker threads that all send many requests may give each a shard of its own
//! ([`AgentBuilder::shards`], [`Agent::shard`]); the limits hold for all together.
//!
//! # Bodies
//!
//! A request's body is any [`http_body::Body`]; [`Body`] makes one of bytes or text. A response's
//! body arrives while it is polled, and what is still missing of the request's body leaves
//! meanwhile, so that both may stream at once. Read it with [`Body::text`], [`Body::bytes`] (up to
//! a limit), [`Body::frame`], or anything that takes an [`http_body::Body`]. The connection goes
//! back with the last frame; a body that is dropped before closes it (unless all of it was here).
//!
//! # Errors that say how far it came
//!
//! [`Error::ConnectionLost`] says whether the connection was a kept one, how much was written, and
//! how much was read; [`Error::is_retryable`] says whether sending the request again can do harm. A
//! kept connection that gives no byte back is replaced once, if that is safe: see [`Retry`].
//!
//! # Where connections lead
//!
//! ```no_run
//! use byway_agent::{Agent, BoxError, Target, connector_fn};
//!
//! # fn main() -> Result<(), BoxError> {
//! // A daemon behind a Unix socket.
//! let docker = Agent::builder().unix_socket("/run/docker.sock").build()?;
//!
//! // Everything to one address, whatever the URLs say.
//! let staging = Agent::builder().one_address("127.0.0.1:3000").build()?;
//!
//! // A connector of your own: anything that reads and writes. The limits hold for it too.
//! let own = Agent::builder()
//!     .connector(connector_fn(|target: Target| async move {
//!         tokio::net::TcpStream::connect((target.host().to_owned(), target.port())).await
//!     }))
//!     .build()?;
//!
//! // A grouping of your own: hosts that share connections, paths that have limits of their own.
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
//! // Names travel to the proxy. Limits, queue and kept connections are as without one.
//! let private = Agent::builder().proxy(Proxy::socks5h("127.0.0.1:9050")?).build()?;
//!
//! // What HTTPS_PROXY, NO_PROXY and the like say; otherwise nobody looks at them.
//! let corporate = Agent::builder().proxy(Proxy::from_env()?).build()?;
//!
//! // A certificate of your own, and TLS 1.3 alone.
//! let identity = Some(Identity::from_pem(&std::fs::read("me.pem")?, &std::fs::read("me.key")?)?);
//! let tls = TlsOptions { identity, min_version: TlsVersion::V1_3, ..TlsOptions::default() };
//! let strict = Agent::builder().tls(tls).build()?;
//! # let _ = (private, corporate, strict);
//! # Ok(())
//! # }
//! ```
//!
//! [`Proxy::by`] takes a routing of your own, such as one that runs a script. Which way a request
//! goes is a part of its
//! [`Group`]: a connection is never lent to a request that would take another.
//!
//! # Watching it
//!
//! [`Agent::stats`] is a snapshot, by group and in all; it prints itself.
//! [`AgentBuilder::on_event`] tells of each connection opened, reused and closed, with the reason,
//! of requests that the queue refused and of second tries. [`Agent::evict`], [`Agent::close_idle`]
//! and [`Agent::shutdown`] are there for the operator.
//!
//! # Upgrades
//!
//! After 101, or a 2xx to CONNECT, [`Body::upgraded`] gives the connection itself. It has left the
//! pool, and counts against the limits until it is dropped ([`AgentBuilder::count_upgraded`]).
//!
//! # Coming from another client
//!
//! [`coming_from`] lists what options are called in reqwest, hyper-util, Node, undici and Go;
//! [`node`] maps what is known of Node's `http.Agent` to tests of this crate. There is an example
//! for each chapter here: `cargo run -p byway-agent --example first_get`, `limits_and_queue`,
//! `unix_socket`, `through_socks5`, `regrouping`, `one_address`, `live_stats`, `upgrade`.
//!
//! # The pool by itself
//!
//! [`Pool`] is what all of this stands on. It opens nothing itself: it hands out an idle connection
//! or the permission to open one. It is generic over the key of an origin ([`Key`]) and the
//! connection ([`Conn`]), knows no sockets and starts no tasks.
//!
//! Lending and keeping a connection takes one lock, that of its shard, for a few dozen
//! instructions; [`Pool::sharded`] makes a pool with a shard for each worker, whose limits are
//! those of all shards together. See [`Pool`]; who watches a pool is a [`pool::Observer`].
//!
//! ```
//! use byway_agent::{Acquired, Conn, Lease, Limits, Pool, Probe, Release};
//!
//! /// A connection in memory; a real one owns a socket.
//! struct Line(String);
//!
//! impl Conn for Line {
//!     fn probe(&mut self) -> Probe {
//!         Probe::Clean // a real one does one non-blocking read here
//!     }
//! }
//!
//! async fn lease(pool: &Pool<&'static str, Line>) -> Lease<&'static str, Line> {
//!     match pool.acquire(&"example.com:443").await.expect("neither full nor closed") {
//!         Acquired::Lease(lease) => lease,
//!         Acquired::Open(permit) => permit.install(Line("dialled".into())), // dial here; on failure drop the permit
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let pool = Pool::new(Limits::capped(64, 6)).expect("sound limits");
//!
//! let first = lease(&pool).await;
//! assert!(!first.reused());
//! first.release(Release::Keep { idle: None }); // the message ended, nothing is left over: lend it again
//!
//! let second = lease(&pool).await;
//! assert!(second.reused());
//! assert_eq!(second.0, "dialled");
//! drop(second); // not released: closed
//!
//! assert_eq!(pool.stats().idle, 0);
//! # }
//! ```
//!
//! Idle connections grow old: whoever owns the pool calls [`Pool::expire`] at
//! [`Pool::next_expiry`]. Nothing unsafe happens without it, since age is also checked when a
//! connection is lent; idle sockets merely stay open longer.

#[doc = include_str!("../docs/coming-from.md")]
pub mod coming_from {}

#[doc = include_str!("../docs/node.md")]
pub mod node {}

mod agent;
pub mod pool;

/// The dialler's types that options are made of: TLS, local addresses, proxies and their routes.
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
pub use pool::{
    AcquireError, Acquired, Client, Conn, Detached, InvalidLimits, Key, Lease, Limits, OpenPermit,
    OriginStats,
};
pub use pool::{Pool, Probe, QueueOrder, Release, Scheduling, Stats};
