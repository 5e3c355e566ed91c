//! What a relay is told: limits, where to spill, what to count, and the bytes that a handshake had
//! read too far.
//!
//! In:    the Plan's limits.   Out:   plain values.   Never: acts.

use std::sync::Arc;
use std::time::Duration;

use super::counters::RelayCounters;
use super::shape::Rate;
use super::spill::SpillOptions;

/// How a relay shall behave. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RelayOptions {
    /// How long a flow lives without bytes once one direction has been finished and delivered.
    /// Default 10 minutes. One whose FIN still waits behind bytes for a slow reader is not
    /// half-closed yet.
    pub half_closed_idle: Duration,
    /// How long a flow lives without bytes in either direction, whatever has been finished.
    /// Default: no limit.
    pub idle: Option<Duration>,
    /// Where bytes for a slow downstream are parked; `None` means plain back-pressure. Default
    /// `None`.
    pub spill: Option<SpillOptions>,
    /// How fast bytes may leave for the upstream. Default: no limit.
    pub limit_up: Option<Arc<Rate>>,
    /// How fast bytes may leave for the downstream. Default: no limit.
    pub limit_down: Option<Arc<Rate>>,
    /// What is counted, if anything.
    pub counters: Option<Arc<RelayCounters>>,
}

impl Default for RelayOptions {
    fn default() -> Self {
        Self {
            half_closed_idle: Duration::from_secs(600),
            idle: None,
            spill: None,
            limit_up: None,
            limit_down: None,
            counters: None,
        }
    }
}

/// Bytes that a handshake had already read from each side. They go first.
#[derive(Debug, Default)]
pub struct Early {
    /// Read from the downstream, meant for the upstream.
    pub from_downstream: Vec<u8>,
    /// Read from the upstream, meant for the downstream.
    pub from_upstream: Vec<u8>,
}
