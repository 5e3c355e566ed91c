//! Egress: SOCKS and HTTP exits and plain forwards from end to end: the built program between real
//! sockets and curl.
//!
//! `handshakes` every dialect, whole and byte by byte · `no_handshake` connections without a valid
//! handshake · `policy` which targets are allowed · `names` how names are resolved · `parents`
//! through other proxies · `relaying` how streams end · `bulk` large transfers by curl · `slow`
//! readers that pause, and rate limits · `h2` the same over HTTP/2.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bulk;
mod h2;
mod handshakes;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod names;
mod no_handshake;
mod parents;
mod policy;
mod relaying;
mod slow;

use std::net::SocketAddr;

use byway_testkit::Program;
use byway_testkit::asking::{
    GREETING, connect, socks4, socks4a, socks5, socks5_name, socks5_reply, through_connect,
    through_socks5,
};

const BYWAY: &str = env!("CARGO_BIN_EXE_byway");

/// Opens loopback, where all origins of the tests are.
const OPEN: [&str; 2] = ["--allow", "127.0.0.0/8"];

/// `byway proxy` on a free loopback port.
#[track_caller]
fn egress(args: &[&str]) -> Program {
    Program::start(
        BYWAY,
        &[&["proxy", "--listen", "127.0.0.1:0"], args].concat(),
    )
}

/// `byway run` with one egress that opens loopback. `settings` are at the top of its config.
#[track_caller]
fn egress_with(settings: &str) -> Program {
    let rule = "[[proxy.rule]]\naction = \"allow\"\ncidr = \"127.0.0.0/8\"\n";
    Program::configured(
        BYWAY,
        &format!("{settings}\n[[proxy]]\nlisten = \"127.0.0.1:0\"\n{rule}"),
    )
}
