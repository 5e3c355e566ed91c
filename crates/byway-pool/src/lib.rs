//! A bounded connection pool: exact limits per origin and in total, a bounded and fair queue, and
//! live metrics.
//!
//! The pool opens nothing itself: it returns an idle connection or the permission to open one. It
//! is generic over the key of an origin ([`Key`]) and the connection ([`Conn`]), uses no sockets
//! and starts no tasks. Byway's proxy and its HTTP client, `byway-agent`, are built on it.
//!
//! ```
//! use byway_pool::{Acquired, Conn, Lease, Limits, Pool, Probe, Release};
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
//! let pool = Pool::new(Limits::capped(64, 6)).expect("valid limits");
//!
//! let first = lease(&pool).await;
//! assert!(!first.reused());
//! first.release(Release::Keep { idle: None }); // message ended, no byte left over: reuse it
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
//! # Sessions
//!
//! A connection that carries many streams at once, such as one of HTTP/2, is a [`Session`]. One dial
//! then serves many acquires; the limits count the connection, and its streams have exact limits of
//! their own. What the dial has yielded, for example by ALPN, decides between [`OpenPermit::install`]
//! and [`OpenPermit::install_session`].
//!
//! ```
//! # use byway_pool::{Acquired, Conn, Limits, Pool, Probe, Session, SessionGuard, StreamLease};
//! # use std::num::NonZeroU32;
//! # struct Line(String);
//! # impl Conn for Line {
//! #     fn probe(&mut self) -> Probe {
//! #         Probe::Clean
//! #     }
//! # }
//! /// A session in memory; a real one shares its state with the task that owns the socket.
//! struct Mux;
//!
//! /// A stream of it; a real one has a number, and resets itself through the session.
//! struct Stream;
//!
//! impl Session for Mux {
//!     type Stream = Stream;
//!
//!     fn open(&self) -> Stream {
//!         Stream
//!     }
//!
//!     fn reset(&self, _: &mut Stream) {} // the lease was dropped: a real one sends RST_STREAM
//!
//!     fn close(&self) {} // no longer needed: the task of a real one closes the socket
//! }
//!
//! type Shared = Pool<&'static str, Line, Mux>;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let pool: Shared = Pool::with_sessions(Limits::capped(64, 6), 1, None).expect("valid limits");
//!
//! let acquired = pool.acquire_shared(&"example.com:443").await;
//! let Ok(Acquired::Open(permit)) = acquired else { panic!("nothing is open yet") };
//! let announced = NonZeroU32::new(100).expect("not 0");
//! let (first, guard) = permit.install_session(Mux, announced); // the task of the socket gets the guard
//!
//! let acquired = pool.acquire_shared(&"example.com:443").await;
//! let Ok(Acquired::Stream(second)) = acquired else { panic!("the session has free slots") };
//! assert_eq!((pool.stats().active, pool.stats().streams), (1, 2));
//!
//! first.release(); // its response was read to the end
//! drop(second); // not released: reset
//! guard.go_away(); // the peer takes no more streams
//! drop(guard); // the socket is closed
//! assert_eq!(pool.stats().active, 0);
//! # }
//! ```
//!
//! # Guarantees
//!
//! - **The limits are exact.** [`Limits::max_total`] and [`Limits::max_per_origin`] count
//!   connections that are being opened, in use, idle and upgraded, over all shards. A permit is
//!   taken *before* the dial and returned after the connection is closed. A session is one of them;
//!   it never has more streams than its peer takes.
//! - **No waiter is blocked without need.** Waiters of one origin are served in order; origins take
//!   turns; an origin at its own limit does not block others; when the total is used up, an idle
//!   connection of another origin is closed. The queue has a length limit and a time limit.
//! - **A refused dial does not starve.** The holder of a permit whose dial the origin has refused can
//!   wait for a connection that another request of its client leaves ([`OpenPermit::next_idle`]).
//! - **A client cannot take an origin from the others.** With [`Pool::acquire_for`], a free permit
//!   goes to the waiting [`Client`] that holds least, and a full queue is shared between clients.
//!   A client that is alone may hold everything.
//! - **Dropping is safe.** A dropped acquire leaves the queue at once, and what it was granted goes
//!   to the next waiter. A dropped [`Lease`] closes its connection; only [`Lease::release`] with
//!   [`Release::Keep`] keeps it. A dropped [`StreamLease`] resets its stream, and frees its slot
//!   afterwards.
//! - **A dirty connection is not reused.** An idle connection is probed before it is reused
//!   ([`Conn::probe`]); one that has bytes to read, or has ended, is closed.
//! - **Unused origins leave no state.** What the pool knows of an origin is removed with its last
//!   connection and waiter.
//! - **No lock is held for long.** Acquiring and releasing a connection takes one lock, that of its
//!   shard, for a few dozen instructions; a stream takes the lock of the permits. No lock is held across an await, while a connection is
//!   dropped, or while an observer runs.
//!
//! # Operating it
//!
//! [`Pool::sharded`] makes a pool with a shard for each worker thread, whose limits are those of
//! all shards together. [`Pool::stats`] is a snapshot; an [`Observer`] receives events.
//! [`Pool::evict`], [`Pool::drain`] and [`Pool::shutdown`] are for the operator.
//!
//! The owner of the pool calls [`Pool::expire`] at [`Pool::next_expiry`] to close old idle
//! connections. This is not needed for safety, since age is also checked when a connection is
//! acquired; without it, idle sockets merely stay open longer.
//!
//! An acquire that has to wait, and a shutdown, need a tokio runtime with time.

#![cfg_attr(loom, allow(dead_code))] // the models run no unit tests

mod client;
mod conn;
mod core;
mod error;
mod event;
mod expiry;
mod hold;
mod idle;
mod lease;
mod limits;
mod list;
mod next_idle;
mod permits;
mod pool;
mod session;
mod session_guard;
mod shard;
mod slab;
mod stats;
mod stream_lease;
mod sync;
#[cfg(not(loom))]
#[cfg(test)]
mod tests;
mod wait;

pub use client::Client;
pub use conn::{Conn, Key, Probe};
pub use error::AcquireError;
pub use event::{Event, Observer, Reason};
pub use lease::{Detached, Lease, OpenPermit, Release};
pub use limits::{InvalidLimits, Limits, QueueOrder, Scheduling};
pub use next_idle::NextIdle;
pub use pool::{Acquired, Pool};
pub use session::{NoSession, Session};
pub use session_guard::SessionGuard;
pub use stats::{OriginStats, Stats};
pub use stream_lease::{Requeue, StreamLease};
