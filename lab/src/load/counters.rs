//! Counters: what a load has received, and in how many pieces.
//!
//! In:    responses and heads, counted by the connections of a load; their sockets.
//! Out:   sums at a moment; the difference of two moments.
//! Never: counts a wrong response: that ends the load.

use std::ops::Sub;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use anyhow::{Context, Result};
use parking_lot::Mutex;

use super::segments;

/// Shared by the connections of a load.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    answered: AtomicU64,
    head_bytes: AtomicU64,
    /// Duplicates, whose counters can be read while connections use the sockets.
    sockets: Mutex<Vec<OwnedFd>>,
}

/// Sums since the beginning of the load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Received {
    /// Right responses.
    pub(crate) answered: u64,
    /// Bytes of their heads as they were sent, trailers included: with HTTP/1 the text, with HTTP/2
    /// the header blocks.
    pub(crate) head_bytes: u64,
    /// TCP segments with data. A write of up to 64 KiB is one segment on loopback.
    pub(crate) segments: u64,
}

impl Sub for Received {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            answered: self.answered - earlier.answered,
            head_bytes: self.head_bytes - earlier.head_bytes,
            segments: self.segments.saturating_sub(earlier.segments),
        }
    }
}

impl Counters {
    /// Counts right responses and the bytes of their heads.
    pub(crate) fn add(&self, answered: u64, head_bytes: u64) {
        self.answered.fetch_add(answered, Relaxed);
        self.head_bytes.fetch_add(head_bytes, Relaxed);
    }

    /// Adds a connection whose segments count.
    pub(crate) fn watch(&self, connection: &impl AsFd) -> Result<()> {
        let socket = connection.as_fd().try_clone_to_owned();
        self.sockets
            .lock()
            .push(socket.context("duplicating a socket")?);
        Ok(())
    }

    /// Right responses so far.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Relaxed)
    }

    /// All sums so far.
    pub(crate) fn received(&self) -> Received {
        let sockets = self.sockets.lock();
        Received {
            answered: self.answered(),
            head_bytes: self.head_bytes.load(Relaxed),
            segments: sockets.iter().filter_map(segments::received).sum(),
        }
    }
}
