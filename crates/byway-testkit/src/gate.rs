//! Gate: lets one side wait for a signal of the other.
//!
//! In:    `open`.
//! Out:   the end of every `wait`, past and future.
//! Never: closes again.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use crate::PATIENCE;

/// Lets threads wait until it is opened. It never closes again; a wait that is longer than
/// `PATIENCE` panics. Clones are the same gate.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends all waits, including later ones.
    pub fn open(&self) {
        *self.0.0.lock() = true;
        self.0.1.notify_all();
    }

    /// Waits until the gate is open.
    #[track_caller]
    pub fn wait(&self) {
        let deadline = Instant::now() + PATIENCE;
        let mut open = self.0.0.lock();
        while !*open {
            let late = self.0.1.wait_until(&mut open, deadline).timed_out();
            assert!(!late || *open, "a gate was not opened within {PATIENCE:?}");
        }
    }
}
