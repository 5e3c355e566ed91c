//! Probing: a controller that lets a ping out on a path that has become silent.
//!
//! In:    the controller of a path; the fact that a ping waits.
//! Out:   the window of that controller, or room for [`PACKETS`] more than are in flight.
//! Never: changes what the controller learns, or its window on a path that answers.
//!
//! On a silent path the window is full of unacknowledged packets, and QUIC's own probes are sent at
//! intervals that double each time (RFC 9002 section 6.2.1), 10 s after a silence of 10 s. A ping
//! that is sent before that detects at once that the path works again, and its acknowledgement
//! shows what was lost.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use quinn_proto::RttEstimator;
use quinn_proto::congestion::{Controller, ControllerFactory};

use super::BASE_PACKET_BYTES;

/// Packets beyond the window for one ping: the ping, and one in case it is lost.
const PACKETS: u64 = 2;

/// Wraps the controllers of another factory.
pub(super) struct ProbingFactory(pub(super) Arc<dyn ControllerFactory + Send + Sync>);

impl ControllerFactory for ProbingFactory {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Probing::new(Arc::clone(&self.0).build(now, current_mtu)))
    }
}

/// A congestion controller that passes everything to another one. After `let_out`, `PACKETS`
/// packets may be sent beyond its window, until the next acknowledgement. Clones share their
/// number.
pub(super) struct Probing {
    inner: Box<dyn Controller>,
    /// Packets that may be sent beyond the window. Shared by clones.
    packets: Arc<AtomicU64>,
    /// Bytes in flight after the last acknowledgement, plus those sent since.
    in_flight: u64,
}

impl Probing {
    fn new(inner: Box<dyn Controller>) -> Self {
        Self {
            inner,
            packets: Arc::default(),
            in_flight: 0,
        }
    }

    #[cfg(test)]
    pub(super) fn runs_over<C: Controller + 'static>(self) -> bool {
        self.inner.into_any().is::<C>()
    }

    /// Lets [`PACKETS`] out. Only a clone of a connection's controller can be obtained, which is
    /// enough.
    pub(super) fn let_out(&self) {
        self.packets.store(PACKETS, Relaxed);
    }
}

impl Controller for Probing {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.in_flight += bytes;
        let one_less = |packets: u64| packets.checked_sub(1);
        let _ = self.packets.fetch_update(Relaxed, Relaxed, one_less);
        self.inner.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &RttEstimator,
    ) {
        self.inner.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest: Option<u64>,
    ) {
        self.in_flight = in_flight;
        self.packets.store(0, Relaxed);
        self.inner.on_end_acks(now, in_flight, app_limited, largest);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        self.in_flight = self.in_flight.saturating_sub(lost_bytes);
        self.inner
            .on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.inner.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        let window = self.inner.window();
        match self.packets.load(Relaxed) {
            0 => window,
            // Room for one more packet of any MTU.
            _ => window.max(self.in_flight + 2 * BASE_PACKET_BYTES),
        }
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        let inner = self.inner.clone_box();
        Box::new(Self {
            inner,
            packets: Arc::clone(&self.packets),
            in_flight: self.in_flight,
        })
    }

    fn initial_window(&self) -> u64 {
        self.inner.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::congestion::Congestion;

    #[test]
    fn a_full_window_kept_the_ping_of_a_silent_path_from_being_sent() {
        for congestion in [Congestion::Bbr, Congestion::Cubic] {
            let now = Instant::now();
            let mut controller = congestion.factory().build(now, 1200);
            let window = controller.window();
            let mut sent = 0;
            while sent + 1200 <= window {
                controller.on_sent(now, 1200, sent / 1200);
                sent += 1200;
            }
            let fits = |controller: &dyn Controller, sent| sent + 1200 < controller.window();
            assert!(!fits(&*controller, sent));
            super::super::let_question_out(controller.clone_box());
            for _ in 0..PACKETS {
                assert!(fits(&*controller, sent), "{congestion}");
                controller.on_sent(now, 1200, sent / 1200);
                sent += 1200;
            }
            assert!(
                !fits(&*controller, sent),
                "{congestion}: more than the ping needs"
            );
        }
    }
}
