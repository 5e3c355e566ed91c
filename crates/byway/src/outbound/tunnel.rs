//! Tunnel: the far side of a tunnel, open, with what the relay and its log need.
//!
//! In:    a stream that was opened for a CONNECT or SOCKS request, or that an upgrade has left.
//! Out:   what `inbound/tunnel.rs` relays to.
//! Never: exists without the permission that the stream was opened with.

use std::sync::Arc;

use byway_dial::Stream;

use super::tunnel_permits::TunnelPermit;
use super::upgrades::UpgradeSlot;
use crate::route::Allowed;

/// The far side of a tunnel.
pub struct Tunnel {
    /// Its stream.
    pub upstream: Stream,
    /// What was read of it already.
    pub early: Vec<u8>,
    /// The permission that it was opened with: the tunnel has its limits.
    pub allowed: Allowed,
    /// The authenticated user.
    pub user: Option<Arc<str>>,
    /// The protocol that requested it, as the access log calls it.
    pub protocol: &'static str,
    /// Counts against the upstream's limit of upgraded connections until the relay has ended.
    pub slot: Option<UpgradeSlot>,
    /// The descriptor of `upstream`, if the tunnel is on a stream beside others.
    pub permit: Option<Box<TunnelPermit>>,
}

impl Tunnel {
    /// A tunnel to a stream that `allowed` permitted, requested by `protocol`.
    pub fn opened(upstream: Stream, allowed: Allowed, protocol: &'static str) -> Self {
        Self {
            upstream,
            early: Vec::new(),
            allowed,
            user: None,
            protocol,
            slot: None,
            permit: None,
        }
    }

    /// The same, for an authenticated user.
    #[must_use]
    pub fn used_by(self, user: Option<Arc<str>>) -> Self {
        Self { user, ..self }
    }
}
