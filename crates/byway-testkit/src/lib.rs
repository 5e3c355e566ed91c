//! Testkit: what the tests of the program stand on: origins that misbehave, visitors that send any
//! bytes, the built program itself, programs of others, and pipes of eight bytes.
//!
//! In:    what a test wants to happen.
//! Out:   what happened, or a panic that says what was waited for; a failed expectation is a failed
//!        test.
//! Never: published, never a part of the program, and never a sleep: every wait is for a signal,
//!        with a limit.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc)]

pub mod asking;
pub mod cases;
pub mod dns;
pub mod fetch;
pub mod gate;
pub mod message;
pub mod netns;
pub mod origin;
pub mod pattern;
pub mod pipe;
pub mod program;
pub mod visitor;
pub mod wire;

use std::time::{Duration, Instant};

pub use cases::cases;
pub use dns::DnsServer;
pub use fetch::{Fetched, curl};
pub use gate::Gate;
pub use message::Message;
pub use netns::{Block, Network};
pub use origin::{Origin, Served};
pub use program::{Finished, Launch, Program};
pub use visitor::Visitor;
pub use wire::{Ending, Wire};

/// How long anything that must happen may take before the test says that it did not. No test passes
/// by waiting it out.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Looks at a condition that gives no signal (a refused connect, a number in /proc) until it holds.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(
            Instant::now() < deadline,
            "within {PATIENCE:?} it never held that {what}"
        );
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
