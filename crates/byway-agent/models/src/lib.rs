//! Models: the source files of the pool of `byway-agent`, compiled with loom's locks and atomics.
//!
//! `tests/races.rs` runs this pool in every order of two or three threads. There is no other code
//! here.

#![allow(dead_code)] // the models use only a part of it

#[path = "../../src/pool/mod.rs"]
mod pool;

pub use pool::{
    AcquireError, Acquired, Client, Conn, Detached, Event, InvalidLimits, Key, Lease, Limits,
    Observer, OpenPermit,
};
pub use pool::{OriginStats, Pool, Probe, QueueOrder, Reason, Release, Scheduling, Stats};
