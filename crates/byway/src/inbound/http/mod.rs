//! Http: requests of clients, at an edge and at an egress.
//!
//! `h1` reads requests from a connection; `request` is the one pipeline that each of them passes,
//! with the checks of `guards`; `respond` generates Byway's own responses, `request_log` records
//! what has ended. `client` is the key of a client in the pool, `future_pool` memory for the future
//! of a request; `multiplexed` is what requests on the streams of one connection have in common.

pub mod client;
mod future_pool;
mod guards;
pub mod h1;
pub mod h2;
pub mod h3;
mod multiplexed;
mod redirect;
mod request;
pub mod request_log;
mod respond;
#[cfg(test)]
mod streams;
