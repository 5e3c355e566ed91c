//! Spill log: the log lines about streams that cannot spill to disk.
//!
//! Never: writes more lines than a limit for each kind of event.

use byway_relay::{NoPermit, SpillEvent};

use crate::observe::log_limit::LogLimit;

static NO_PERMIT: LogLimit = LogLimit::new();
static NOT_NOW: LogLimit = LogLimit::new();
static DISK_FAILED: LogLimit = LogLimit::new();

/// Logs `event`.
pub(super) fn report(event: SpillEvent<'_>) {
    let limit = match event {
        SpillEvent::NoPermit(_) => &NO_PERMIT,
        SpillEvent::NotNow(_) => &NOT_NOW,
        SpillEvent::DiskFailed(_) => &DISK_FAILED,
    };
    let Some(line) = limit.count() else {
        return;
    };
    let left_out = line.left_out;
    match event {
        SpillEvent::NoPermit(NoPermit::Full) => tracing::warn!(
            left_out,
            "cannot spill to disk: all descriptors for spill files are in use; the stream goes on with back-pressure; raise the limit of open files of this node (ulimit -n, LimitNOFILE=)"
        ),
        SpillEvent::NoPermit(
            NoPermit::Share { own, most } | NoPermit::ClientShare { own, most },
        ) => tracing::warn!(
            left_out,
            "cannot spill to disk: {own} of {most} descriptors for spill files are in use by one user, and no more than remain free may be; the stream goes on with back-pressure; raise the limit of open files of this node (ulimit -n, LimitNOFILE=)"
        ),
        SpillEvent::NotNow(error) => {
            tracing::warn!(%error, left_out, "cannot spill to disk for now; the stream goes on with back-pressure");
        }
        SpillEvent::DiskFailed(error) => {
            tracing::warn!(%error, left_out, "cannot spill to disk; the stream goes on with back-pressure");
        }
    }
}
