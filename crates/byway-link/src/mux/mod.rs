//! Mux: many streams over one connection that keeps bytes in order, such as TLS over TCP.
//!
//! `frame` is the wire, `core` the state machine, `carrier` drives a core over a TLS session.

pub(crate) mod carrier;
pub(crate) mod core;
pub mod frame;
