//! Large packets: finds paths that lose packets of full size, from TLS carriers that do not answer.
//!
//! In:    how many bytes of a carrier are unacknowledged while other connections come up.
//! Out:   smaller segments for the next connections if this side dials, and a warning.
//! Never: warns more than once an hour about connections that were accepted.
//!
//! A router that drops packets above its MTU without an ICMP error lets every handshake through and
//! then nothing (an MTU hole). The dialling side requests smaller segments, which limits both
//! directions. The accepting side cannot.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::carrier::Carrier;
use crate::segments::{SegmentSize, Segments};

/// The reason of a carrier that ended because no ping was answered.
pub(crate) const NO_ANSWER: &str = "the other side does not answer any more";

/// The reason of a carrier that was replaced, which may happen to a silent one before it is given
/// up.
pub(crate) const REPLACED: &str = "a newer connection has replaced it";

/// The reason of a silent carrier that was ended to free its slot.
pub(crate) const MADE_ROOM: &str = "it did not answer, and a newer connection needed its place";

/// Whether a carrier that has ended for this reason may have been silent.
pub(crate) fn may_be_silence(reason: &str) -> bool {
    [NO_ANSWER, REPLACED, MADE_ROOM].contains(&reason)
}

/// With fewer unacknowledged bytes, no large packet is missing.
const LARGE_BYTES: u64 = 1_000;

/// The least time between two warnings about accepted connections.
const QUIET: Duration = Duration::from_secs(3600);

/// How a connection was dialled.
#[derive(Clone, Debug)]
pub(crate) struct Dialled {
    pub(crate) address: Arc<str>,
    pub(crate) size: SegmentSize,
    pub(crate) segments: Arc<Segments>,
}

/// The segment size that may be too large, if this carrier is silent: when a large packet is
/// unacknowledged, or when no byte is: then the other side has received everything, and its own
/// packets may be lost.
pub(crate) fn suspected(carrier: &Carrier) -> Option<SegmentSize> {
    is_large_or_none(carrier.unacknowledged_bytes()?).then_some(carrier.dialled()?.size)
}

/// Records that a carrier over TLS is silent with `unacknowledged` bytes in flight, while another
/// one of the same session answers.
pub(crate) fn note_loss(carrier: &Carrier, unacknowledged: u64) {
    match carrier.dialled() {
        Some(dialled) if is_large_or_none(unacknowledged) => dialled.note_loss(unacknowledged),
        None if unacknowledged >= LARGE_BYTES => {
            warn_where_accepted(carrier.peer().map(|peer| peer.ip()))
        }
        _ => {}
    }
}

const fn is_large_or_none(unacknowledged: u64) -> bool {
    unacknowledged == 0 || unacknowledged >= LARGE_BYTES
}

impl Dialled {
    fn note_loss(&self, unacknowledged: u64) {
        let Some((size, kept)) = self.segments.lost(&self.address, self.size, Instant::now())
        else {
            return;
        };
        let (address, bytes, hours) = (
            &self.address,
            size.bytes().unwrap_or_default(),
            kept.as_secs() / 3600,
        );
        let how = match unacknowledged {
            0 => "received nothing more".to_owned(),
            bytes => format!("stopped with {bytes} bytes unacknowledged"),
        };
        tracing::warn!(
            "{address}: a connection over TLS {how} while others are answered: packets of full size seem to be lost on the \
             path (MTU). For {hours} h new connections over TLS use segments of at most {bytes} bytes. A lower MTU of the \
             interface or of the route avoids the loss, and so does QUIC, which finds the MTU by itself"
        );
    }
}

static WARNED: Mutex<Option<Instant>> = Mutex::new(None);

fn warn_where_accepted(peer: Option<IpAddr>) {
    if is_due(&mut WARNED.lock(), Instant::now()) {
        let peer = peer.map_or_else(|| "a peer".to_owned(), |peer| peer.to_string());
        tracing::warn!(
            "{peer}: a connection over TLS stopped with more than {LARGE_BYTES} bytes unacknowledged while others are \
             answered: packets of full size seem to be lost on the path (MTU). If the other end does not use smaller \
             segments by itself, lower the MTU of the interface or of the route here, or set net.ipv4.tcp_mtu_probing = 1; or \
             use QUIC, which finds the MTU by itself"
        );
    }
}

fn is_due(warned: &mut Option<Instant>, now: Instant) -> bool {
    let is_due = warned.is_none_or(|warned| now.saturating_duration_since(warned) >= QUIET);
    if is_due {
        *warned = Some(now);
    }
    is_due
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_connections_are_accepted_there_is_one_warning_an_hour() {
        let (mut warned, start) = (None, Instant::now());
        let due: Vec<u32> = (0..300)
            .filter(|n| is_due(&mut warned, start + Duration::from_secs(20) * *n))
            .collect();
        assert_eq!(due, [0, 180]);
    }

    #[test]
    fn a_large_packet_or_none_that_is_unacknowledged_may_be_a_loss_and_a_ping_is_not() {
        let all = [0, 1, 40, 999, 1_000, 1_000_000].map(is_large_or_none);
        assert_eq!(all, [true, false, false, false, true, true]);
    }
}
