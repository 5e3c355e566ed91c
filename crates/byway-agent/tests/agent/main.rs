//! What an agent does, as seen from both ends of its connections: in memory under a paused clock
//! where time or order matters, over sockets elsewhere. The rows of Node's Agent are in the files
//! `node_*`; `docs/node.md` maps them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    unreachable_pub,
    missing_docs
)]

mod h2;
mod h2_ends;
mod h2_hostile;
mod h2_programs;
mod h2_storm;
mod hostile;
mod memory;
mod node_failure;
mod node_holes;
mod node_idle;
mod node_naming;
mod node_proxy;
mod node_release;
mod node_tls;
mod retry;
mod shutdown;
mod sockets;
mod storm;
mod streaming;
mod tcp;
mod upgrade;
mod watching;
