//! Inbound: from an accepted connection to an `Inquiry`.
//!
//! `bind` makes sockets, `listener` accepts on them, and by the listener's role a connection goes
//! to `http1` (edge), `mixed` (egress: `socks` or `http1` by its first byte), `tcp` (forward,
//! exposed service), `link` or `metrics`. `connect` is the CONNECT method.

pub mod admission;
pub mod bind;
pub mod client;
pub mod connect;
pub mod crew;
pub mod dialled;
pub mod http1;
pub mod link;
pub mod link_permits;
pub mod listener;
pub mod lobby;
pub mod metrics;
pub mod mixed;
pub mod passage;
pub mod peers;
pub mod quota;
pub mod record;
mod room;
pub mod socks;
pub mod tcp;

#[cfg(test)]
mod tests;
