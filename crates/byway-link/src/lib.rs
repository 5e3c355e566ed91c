//! Link: one authenticated, multiplexed session between two Byways, on which either side opens
//! streams.
//!
//! ```text
//! join string ─▶ Dialler ─▶ carrier (QUIC | mux over TLS) ─▶ hello ⇄ welcome ─▶ Link ⇄ streams, messages
//!                Acceptor ◀─ carrier                          Pending ──────────▶ Link
//! ```
//!
//! In the order of that diagram: [`join`] and [`key`] hold the address and the keys, [`dialler`]
//! and [`acceptor`] make sessions over the carriers [`quic`] and [`mux`], which both use [`tls`];
//! [`link`] is the session, [`stream`] is one stream of it, and [`wire`] has the messages.
//! [`lease`] assigns public names to sessions. Decisions that need no socket are pure code that
//! takes the time as an argument: [`mux`]'s core, [`window`], [`liveness`], [`backoff`],
//! [`preference`], [`lease`].

pub mod acceptor;
mod allowance;
mod authenticated;
pub mod backoff;
mod budget;
mod bundle;
pub mod carrier;
mod client_key;
mod closed_early;
pub mod congestion;
mod connections;
mod control;
mod credit;
pub mod dialler;
pub mod epoch;
pub mod error;
pub mod fair_budget;
mod gathering;
pub mod join;
pub mod key;
mod large_packets;
pub mod lease;
pub mod link;
pub mod liveness;
pub mod log_limit;
mod lossy_path;
mod measuring;
pub mod mux;
pub mod node_budget;
mod open_streams;
pub mod pending;
pub mod preference;
pub mod quic;
pub mod segments;
pub mod stream;
pub mod tls;
pub mod traffic;
pub mod window;
pub mod wire;

pub use acceptor::{Acceptor, Arrival, Progress, QuicIncoming, QuicListener};
pub use backoff::{Backoff, Failure};
pub use carrier::CarrierKind;
pub use client_key::ClientKey;
pub use congestion::Congestion;
pub use dialler::{Carriers, Dialler};
pub use error::LinkError;
pub use join::{BadJoin, GrantId, GrantSecret, JoinString};
pub use key::{Fingerprint, Key, KeyError};
pub use lease::{Claimant, Conflict, Denied, Leases, Name, SessionKey};
pub use link::{
    Inbox, IncomingStream, Link, OpenAttempts, OpenError, OpenedStream, PendingOpen, Settings,
};
pub use measuring::Measured;
pub use node_budget::NodeBudget;
pub use pending::{Attached, Attaching, Pending};
pub use segments::Segments;
pub use wire::{Code, Purpose, Refusal, ServiceKind};

/// Internals for the fuzz targets alone.
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::mux::carrier::fuzzing::mux;
}

#[cfg(test)]
extern crate self as byway_link; // tests/common uses this crate by its name

#[cfg(test)]
#[path = "../tests/common/mod.rs"]
mod common;
