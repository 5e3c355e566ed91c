//! Connections: the TCP connections of one carrier over TLS, as the kernel sees them.
//!
//! In:    a meter of each; the configured congestion control.
//! Out:   what they have sent and lost in total; whether the kernel refuses BBR.
//! Never: keeps a connection open.

use std::net::SocketAddr;
use std::time::Duration;

use byway_dial::stream::meter::{TcpFigures, TcpMeter};

use crate::carrier::Sent;
use crate::congestion::Congestion;

/// The meters of the TCP connections of one carrier over TLS: what they have sent and lost in
/// total. They keep no connection open.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connections {
    count: usize,
    meters: Vec<TcpMeter>,
    congestion: Congestion,
}

/// If a round trip is longer than the shortest one by a quarter and this, packets wait in a queue.
const QUEUED: Duration = Duration::from_millis(10);

impl Connections {
    /// Takes the meter of each connection, if it has one.
    pub(crate) fn new(
        meters: impl IntoIterator<Item = Option<TcpMeter>>,
        congestion: Congestion,
    ) -> Self {
        let meters: Vec<_> = meters.into_iter().collect();
        Self {
            count: meters.len(),
            meters: meters.into_iter().flatten().collect(),
            congestion,
        }
    }

    /// The number of connections.
    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    /// Makes the kernel accept no more bytes of a connection while `bytes` bytes wait to be sent.
    pub(crate) fn bound_unsent(&self, bytes: u32) {
        for meter in &self.meters {
            // If this fails, later writes wait longer behind the bytes in the kernel.
            let _ = meter.with_socket(|socket| byway_dial::unsent::bound(&*socket, bytes));
        }
    }

    /// The remedy if BBR is configured and the kernel refuses it.
    pub(crate) fn lacks_bbr(&self) -> Option<String> {
        let missing = |meter: &TcpMeter| {
            meter
                .with_socket(|socket| Congestion::Bbr.missing(&socket))
                .flatten()
        };
        (self.congestion == Congestion::Bbr)
            .then(|| self.meters.first().and_then(missing))
            .flatten()
    }

    #[cfg(test)]
    pub(crate) fn break_one(&self) {
        let meter = self.meters.last().unwrap();
        meter
            .with_socket(|socket| socket.shutdown(std::net::Shutdown::Both))
            .unwrap()
            .unwrap();
    }

    /// The counters of all connections together, with the bytes that streams have written, of which
    /// the kernel does not have `queued` yet. What is unknown for one is unknown for all.
    pub(crate) fn sent(&self, written: u64, queued: u64) -> Sent {
        let figures: Option<Vec<TcpFigures>> = self.meters.iter().map(TcpMeter::figures).collect();
        let Some(figures) = figures.filter(|figures| figures.len() == self.count.max(1)) else {
            return Sent {
                bytes: written.saturating_sub(queued),
                written,
                queued,
                ..Sent::default()
            };
        };
        let sum = |of: fn(&TcpFigures) -> u64| figures.iter().map(of).sum();
        let is_queued = |one: &TcpFigures| one.round_trip > one.least_round_trip * 5 / 4 + QUEUED;
        Sent {
            packets: sum(|one| one.segments),
            lost: sum(|one| one.lost),
            bytes: sum(|one| one.acknowledged),
            written,
            queued,
            stream_frames: None,
            // The connections share the work: all are about as busy as the busiest.
            busy: figures.iter().filter_map(|one| one.busy).max(),
            round_trip: figures.iter().map(|one| one.round_trip).max(),
            congestion_window: Some(sum(|one| one.congestion_window)),
            is_queued: figures.iter().any(is_queued),
        }
    }

    /// The local address, which is the same for all of them.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        self.meters
            .first()?
            .with_socket(|socket| socket.local_addr().ok()?.as_socket())?
    }

    /// The bytes that were written and are not acknowledged; `None` once all are closed, or where
    /// the system does not report it.
    pub(crate) fn unacknowledged_bytes(&self) -> Option<u64> {
        self.meters
            .iter()
            .filter_map(TcpMeter::unacknowledged_bytes)
            .reduce(|sum, more| sum + more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_cubic_configured_bbr_is_not_reported_as_missing() {
        let none = |congestion| Connections::new([None, None], congestion);
        assert_eq!(none(Congestion::Cubic).lacks_bbr(), None);
        assert_eq!(
            (
                none(Congestion::Bbr).lacks_bbr(),
                none(Congestion::Bbr).count()
            ),
            (None, 2),
            "no socket is known"
        );
        assert_eq!(none(Congestion::Bbr).sent(7, 0).congestion_window, None);
    }
}
