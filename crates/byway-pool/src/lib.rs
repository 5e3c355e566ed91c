//! A bounded pool of connections: exact limits per origin and in total, and a bounded and fair
//! queue.
//!
//! The pool opens nothing itself: it returns an idle connection or the permission to open one. It
//! is generic over the key of an origin ([`Key`]) and the connection ([`Conn`]), uses no sockets
//! and starts no tasks.

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
mod permits;
mod pool;
mod shard;
mod slab;
mod stats;
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
pub use pool::{Acquired, Pool};
pub use stats::{OriginStats, Stats};
