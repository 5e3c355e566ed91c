//! Silence: watches a TLS carrier that does not answer while other carriers of its session do.
//!
//! In:    the carrier; whether it and the others answer.
//! Out:   that packets of full size seem to be lost on its path, at most once per carrier.
//! Never: mistakes an outage for that: during an outage no other connection is established, and
//!        after it the old one resumes.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::Link;
use super::carriers::AttachedCarrier;
use crate::large_packets::{may_be_silence, note_loss};

/// Another carrier must answer within this time. If none does, the path has an outage.
const SOON: Duration = Duration::from_secs(3);

/// The carrier must stay silent for this much longer. After an outage of [`SOON`], TCP retransmits
/// within this time.
const STILL: Duration = Duration::from_secs(4);

/// Watches `watched` until it ends, or until a loss is noted.
pub(super) async fn watch(link: Link, watched: AttachedCarrier) {
    let AttachedCarrier {
        number,
        carrier,
        ping_control,
        ..
    } = &watched;
    loop {
        tokio::select! {
            () = link.until(|_| ping_control.is_overdue()) => {}
            () = carrier.ended() => return,
        }
        let mut unacknowledged = carrier.unacknowledged_bytes();
        let is_path_well = timeout(SOON, link.until(|link| link.answers_beside(*number)))
            .await
            .is_ok();
        if is_path_well {
            let deadline = Instant::now() + STILL;
            while ping_control.is_overdue() && !carrier.is_over() && Instant::now() < deadline {
                unacknowledged = carrier.unacknowledged_bytes().or(unacknowledged);
                tokio::select! {
                    () = sleep(STILL / 4) => {}
                    () = link.until(|_| !ping_control.is_overdue()) => {}
                    () = carrier.ended() => {}
                }
            }
            let is_silent = ping_control.is_overdue()
                && (!carrier.is_over() || may_be_silence(&carrier.reason()));
            if is_silent && let Some(bytes) = unacknowledged {
                return note_loss(carrier, bytes);
            }
        }
        tokio::select! {
            () = link.until(|_| !ping_control.is_overdue()) => {}
            () = carrier.ended() => return,
        }
    }
}
