//! Large packets: whether those to a peer seem to be lost on the path while small ones arrive (an MTU hole).
//!
//! In:    TLS carriers whose peer did not answer any more, how long they had lasted, and how many bytes were unacknowledged.
//! Out:   a warning after several of them in a row, once an hour.
//! Never: changes anything: what helps is a setting of the machine.
//!
//! A router that drops packets above its MTU without an ICMP error lets every handshake through and then nothing. A mere
//! outage lets no handshake through, so it gives one such carrier and not several in a row.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The reason of a carrier that ended because no ping was answered.
pub(crate) const NO_ANSWER: &str = "the other side does not answer any more";

/// The reason of a carrier that was replaced, which may happen to a silent one before it is given up.
pub(crate) const REPLACED: &str = "a newer connection has replaced it";

/// Whether a carrier that has ended for this reason may have been silent.
pub(crate) fn may_be_silence(reason: &str) -> bool {
    [NO_ANSWER, REPLACED].contains(&reason)
}

/// As many carriers in a row are no coincidence.
const ENOUGH: u32 = 3;

/// A carrier that lasted longer had carried large packets, or had none to carry.
const SHORT: Duration = Duration::from_secs(120);

/// Fewer unacknowledged bytes are not a large packet.
const LARGE_BYTES: u64 = 1_000;

/// The least time between two warnings.
const QUIET: Duration = Duration::from_secs(3600);

static SEEN: Mutex<Seen> = Mutex::new(Seen { row: None, warned: None });

/// The last row of such carriers. One peer is remembered, which is what a node that dials has.
struct Seen {
    row: Option<Row>,
    warned: Option<Instant>,
}

struct Row {
    peer: IpAddr,
    carriers: u32,
    at: Instant,
}

/// A TLS carrier to `peer` that started at `started` has ended without answers, with `unacknowledged` bytes on the way.
pub(crate) fn note_silence(peer: IpAddr, started: Instant, unacknowledged: u64) {
    if SEEN.lock().is_to_be_warned_of(peer, started, unacknowledged, Instant::now()) {
        tracing::warn!(
            "{peer}: connections come up, and then packets of more than {LARGE_BYTES} bytes are not acknowledged: they \
             seem to be lost on the path (MTU). Lower the MTU of the interface or of the route, or set \
             net.ipv4.tcp_mtu_probing = 1, at the end that sends; or use QUIC, which finds the MTU by itself"
        );
    }
}

impl Seen {
    fn is_to_be_warned_of(&mut self, peer: IpAddr, started: Instant, unacknowledged: u64, now: Instant) -> bool {
        let lasted = now.saturating_duration_since(started);
        if unacknowledged < LARGE_BYTES || lasted > SHORT {
            return false;
        }
        let before =
            self.row.take().filter(|row| row.peer == peer && now.saturating_duration_since(row.at) <= 2 * SHORT);
        let carriers = before.map_or(0, |row| row.carriers).saturating_add(1);
        self.row = Some(Row { peer, carriers, at: now });
        let is_quiet = self.warned.is_some_and(|warned| now.saturating_duration_since(warned) < QUIET);
        if carriers < ENOUGH || is_quiet {
            return false;
        }
        self.warned = Some(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn peer(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    fn nothing_seen() -> Seen {
        Seen { row: None, warned: None }
    }

    #[test]
    fn a_path_that_lets_handshakes_through_and_loses_large_packets_is_named_once_an_hour() {
        let (mut seen, start) = (nothing_seen(), Instant::now());
        let warned: Vec<u32> = (0..300_u32)
            .filter(|n| {
                let started = start + 20 * SECOND * *n;
                seen.is_to_be_warned_of(peer(1), started, 14_000, started + 15 * SECOND)
            })
            .collect();
        assert_eq!(warned, [2, 182]);
    }

    #[test]
    fn an_outage_a_long_lived_carrier_and_small_packets_are_no_sign_of_it() {
        let (mut seen, start) = (nothing_seen(), Instant::now());
        for n in 0..100 {
            let started = start + 1000 * SECOND * n;
            assert!(!seen.is_to_be_warned_of(peer(1), started, 14_000, started + 15 * SECOND), "far apart");
        }
        let mut seen = nothing_seen();
        for n in 0..100 {
            let started = start + 20 * SECOND * n;
            assert!(!seen.is_to_be_warned_of(peer(1), started, 300, started + 15 * SECOND), "small packets");
            assert!(!seen.is_to_be_warned_of(peer(1), started, 14_000, started + 500 * SECOND), "a long-lived carrier");
            assert!(!seen.is_to_be_warned_of(peer(n as u8), started, 14_000, started + 15 * SECOND), "other peers");
        }
    }
}
