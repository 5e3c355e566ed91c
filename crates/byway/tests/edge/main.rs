//! Edge: the reverse proxy from end to end: the built program between real sockets and third-party
//! programs.
//!
//! `routing` which origin gets a request · `heads` which fields are forwarded · `bodies` how
//! messages are framed and end · `interim` 100, 103 and early answers · `refusals` what is never
//! forwarded · `pool` connections to origins · `fairness` between clients · `retries` what is sent
//! again · `deliveries` how often it arrives · `rates` slow clients · `upgrade` tunnels · `foreign`
//! other protocols · `h2` `h2_upstreams` `h2_mixtures` `h2_programs` `h2spec` HTTP/2 · `grpc` Python's grpcio · `leaving` drain and reload ·
//! `programs` curl, nginx, Node, Python.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bodies;
mod deliveries;
mod fairness;
mod foreign;
mod grpc;
mod h2;
mod h2_mixtures;
mod h2_programs;
mod h2_upstreams;
mod h2spec;
mod heads;
mod interim;
mod leaving;
mod pool;
mod programs;
mod rates;
mod refusals;
mod retries;
mod routing;
mod upgrade;

use byway_testkit::{Origin, Program};

const BYWAY: &str = env!("CARGO_BIN_EXE_byway");

/// `byway edge` on a free port in front of one origin.
#[track_caller]
fn edge(origin: &Origin) -> Program {
    Program::start(
        BYWAY,
        &[
            "edge",
            "--from",
            "127.0.0.1:0",
            "--to",
            &origin.address().to_string(),
        ],
    )
}

/// `byway run` with one edge in front of one origin, and `settings` at the top of its config.
#[track_caller]
fn edge_with(settings: &str, origin: &Origin) -> Program {
    Program::configured(BYWAY, &config(settings, &[&to(origin)]))
}

/// A config with one edge. Each of `routes` is the content of an `[[edge.route]]`.
fn config(settings: &str, routes: &[&str]) -> String {
    let routes: String = routes
        .iter()
        .map(|route| format!("[[edge.route]]\n{route}\n"))
        .collect();
    format!("{settings}\n[[edge]]\nlisten = \"127.0.0.1:0\"\n{routes}")
}

/// The `to` line for an origin.
fn to(origin: &Origin) -> String {
    format!("to = \"{}\"", origin.address())
}
