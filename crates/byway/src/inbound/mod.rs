//! Inbound: from an accepted connection to an `Inquiry`.
//!
//! `bind` creates sockets, `listener` accepts on them, and the role of the listener selects `http`
//! (edge), `mixed` (egress: `socks` or `http` by its first byte), `tcp` (forward, exposed
//! service), `link` or `metrics`. `connect` is the CONNECT method.

pub mod admission;
pub mod bind;
pub mod connect;
pub mod context;
pub mod dial_permits;
pub mod dispatch;
pub mod http;
pub mod ip_limit;
pub mod link;
pub mod link_permits;
pub mod listener;
pub mod metrics;
pub mod mixed;
pub mod pending_links;
pub mod public_ports;
pub mod quota;
pub mod socks;
pub mod tcp;
pub mod tunnel_log;
pub mod worker_balance;

#[cfg(test)]
mod tests;
