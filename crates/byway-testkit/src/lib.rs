//! Testkit: the tools of the program's tests: misbehaving origins, clients that send any bytes, the
//! built program itself, other programs, and pipes of eight bytes.
//!
//! In:    what a test wants to happen.
//! Out:   what happened, or a panic with what was expected: a failed expectation is a failed test.
//! Never: published, never a part of the program, and never a sleep: every wait is for a signal,
//!        with a limit.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc)]

pub mod asking;
pub mod cases;
pub mod dns;
pub mod fetch;
pub mod gate;
pub mod http2;
pub mod http3;
pub mod isolated;
pub mod message;
pub mod netns;
pub mod origin;
pub mod pattern;
pub mod pebble;
pub mod pipe;
pub mod program;
pub mod visitor;
pub mod wire;

use std::time::{Duration, Instant};

pub use cases::cases;
pub use dns::DnsServer;
pub use fetch::{Fetched, curl};
pub use gate::Gate;
pub use http2::Http2Visitor;
pub use isolated::{NoUdp, is_isolated};
pub use message::Message;
pub use netns::{Block, Network};
pub use origin::{Origin, Served};
pub use pebble::{Pebble, PebbleOptions, RecordServer};
pub use program::{Finished, Launch, Program};
pub use visitor::Visitor;
pub use wire::{Ending, Wire};

/// How long anything that must happen may take before the test fails. No test passes by waiting
/// this long.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Polls a condition that gives no signal (a refused connect, a number in /proc) until it holds.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(
            Instant::now() < deadline,
            "within {PATIENCE:?} it was never true that {what}"
        );
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
