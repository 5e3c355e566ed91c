//! A bounded pool of connections: exact limits, a fair queue, and a permit before every dial.
//!
//! The pool keeps three promises that are easy to check and hard to get by accident:
//!
//! - **The limits are exact.** [`Limits::max_total`] and [`Limits::max_per_origin`] count connections being opened,
//!   in use, idle and upgraded. A permit is taken *before* the dial, lives as long as the connection, and comes back
//!   only after the connection was dropped.
//! - **Whoever can be served is served.** Waiters of one origin are served in order; origins take turns; an origin at
//!   its own cap does not hold up another one; an idle connection of another origin is closed when the total is used
//!   up. The queue has a length and a time.
//! - **Forgetting is safe.** A dropped [`Lease`] closes its connection, a dropped [`OpenPermit`] gives its permit back,
//!   a dropped acquire leaves the queue at once, and what had just been handed to it goes to the next one.
//!
//! The pool opens nothing itself: it hands out an idle connection or the permission to open one. It is generic over
//! the key of an origin ([`Key`]) and the connection ([`Conn`]), knows no sockets, starts no tasks and has one lock.
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
//! Idle connections grow old: whoever owns the pool calls [`Pool::expire`] at [`Pool::next_expiry`]. Nothing unsafe
//! happens without it, since age is also checked when a connection is lent; idle sockets merely stay open longer.

mod agent;
mod pool;

/// The dialler's types that options are made of: TLS, local addresses, proxies and their routes.
pub use byway_dial as dial;

pub use agent::{
    Agent, AgentBuilder, AgentStats, BadAnswer, BadProxy, Body, BoxError, BuildError, CloseReason, ConnFacts, Connected,
};
pub use agent::{
    ConnectorFn, Counters, Error, Event, Group, GroupStats, Hint, NoRetry, OnInterim, Proxy, ResponseFuture, Retry,
};
pub use agent::{Target, Unsuited, UpgradePermit, Upgraded, Which, connector_fn};
pub use pool::{AcquireError, Acquired, Conn, Detached, InvalidLimits, Key, Lease, Limits, OpenPermit, OriginStats};
pub use pool::{Pool, Probe, Release, Scheduling, Stats};
