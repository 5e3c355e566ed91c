//! Byway forwards byte streams and HTTP requests: a reverse proxy, a reverse tunnel and an egress
//! proxy.
//!
//! ```text
//! listener ─▶ inbound ─▶ Inquiry ─▶ route + policy ─▶ Allowed ─▶ outbound ─▶ open stream ─▶ relay | exchange
//! ```
//!
//! The modules follow the order of that line; `ARCHITECTURE.md` explains them for each kind of
//! traffic.

pub mod calendar;
pub mod cli;
pub mod config;
pub mod drain;
pub mod exchange;
pub mod explain;
pub mod fault;
pub mod inbound;
pub mod link;
pub mod live;
pub mod node;
pub mod observe;
pub mod os;
pub mod outbound;
pub mod route;
pub mod runtime;
#[cfg(test)]
mod testing;
pub mod tls;
