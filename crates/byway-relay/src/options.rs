//! Options of a relay: limits, spilling, counters, and bytes that a handshake read ahead.

use std::sync::Arc;
use std::time::Duration;

use crate::counters::RelayCounters;
use crate::shape::Rate;
use crate::spill::SpillOptions;

/// The options of a relay. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RelayOptions {
    /// How long a flow may be silent once one direction has been finished and delivered. Default 10
    /// minutes: the other side may still compute its response, but without a limit connections
    /// would leak. A flow whose FIN still waits after bytes for a slow reader is not half-closed
    /// yet.
    pub half_closed_idle: Duration,
    /// How long a flow may be silent in both directions, half-closed or not. Default: no limit, as
    /// many protocols are silent for hours.
    pub idle: Option<Duration>,
    /// Where bytes for a slow downstream are kept; `None`, the default, means plain back-pressure.
    pub spill: Option<SpillOptions>,
    /// The rate limit towards the upstream, of each stream: relays that share a [`Rate`] share its
    /// value and not its bytes. Default: no limit.
    pub limit_up: Option<Arc<Rate>>,
    /// The rate limit towards the downstream. Default: no limit.
    pub limit_down: Option<Arc<Rate>>,
    /// The FIN of the downstream ends the flow, and is not forwarded: once the upstream has
    /// acknowledged everything before it, or after this time, both streams are reset. So neither
    /// side keeps a port for the connection (TIME_WAIT), and no byte is lost that the upstream takes
    /// in time. If the upstream cannot tell what was acknowledged, the FIN is forwarded after all.
    /// Default: none, the FIN is forwarded and the other direction continues.
    pub ordered_end: Option<Duration>,
    /// The counters to update. Default: none.
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
            ordered_end: None,
            counters: None,
        }
    }
}

/// Bytes that a handshake had already read from each side. They are sent first.
#[derive(Debug, Default)]
pub struct Early {
    /// Read from the downstream, meant for the upstream.
    pub from_downstream: Vec<u8>,
    /// Read from the upstream, meant for the downstream.
    pub from_upstream: Vec<u8>,
}
