//! Models: the pool of `byway-agent`, file for file, with loom's locks and atomics in the place of
//! real ones.
//!
//! In:    `byway-agent/src/pool`.
//! Out:   the same pool, to be run by `tests/races.rs` in every order that two or three threads can
//!        run in.
//! Never: code of its own.

#![allow(dead_code)] // the models use a part of it

#[path = "../../src/pool/mod.rs"]
mod pool;

pub use pool::{
    AcquireError, Acquired, Client, Conn, Detached, Event, InvalidLimits, Key, Lease, Limits,
    Observer, OpenPermit,
};
pub use pool::{OriginStats, Pool, Probe, QueueOrder, Reason, Release, Scheduling, Stats};
