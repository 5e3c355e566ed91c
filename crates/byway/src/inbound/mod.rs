//! Inbound: from an accepted connection to an `Inquiry`.
//!
//! `bind` creates sockets, `listener` accepts on them, and `dispatch` selects the protocol by the
//! role of the listener: `http` (edge), `mixed` (egress: `socks` or `http` by its first byte),
//! `tcp` (forward, exposed service), `link` or `metrics_listener`. `context` is what a connection may use.
//! `connect` is the CONNECT method, `credentials` authenticates users of an egress, `tunnel` starts
//! every relay, `tunnel_log` records them. `tls` is the handshake in front of `http` and `mixed`,
//! `http3_listener` the UDP port beside it.
//!
//! `admission` bounds what all listeners accept together, with `quota`, `dial_permits`,
//! `link_permits` and `pending_links`; `ip_limit` bounds an address, `worker_balance` selects the
//! worker. `public_ports` are the ports of exposed services.

pub mod admission;
pub mod bind;
pub mod connect;
pub mod context;
pub mod credentials;
pub mod dial_permits;
pub mod dispatch;
pub mod http;
pub mod http3_listener;
pub mod ip_limit;
pub mod link;
pub mod link_permits;
mod link_streams;
pub mod listener;
pub mod metrics_listener;
pub mod mixed;
pub mod pending_links;
pub mod public_ports;
pub mod quota;
pub mod socks;
pub mod tcp;
mod tls;
pub mod tunnel;
pub mod tunnel_log;
pub mod worker_balance;

#[cfg(test)]
mod tests;
