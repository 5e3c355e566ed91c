//! Cubic: a simulated controller that follows losses, as a competitor in tests.
//!
//! In:    what was acknowledged and found lost, from the simulator.
//! Out:   the congestion window.

use std::time::{Duration, Instant};

use super::simulator::PACKET;

/// The part of RFC 9438 that determines its share of a queue.
pub(super) struct Cubic {
    window: f64,
    threshold: f64,
    most: f64,
    epoch: Option<Instant>,
    k: f64,
    reno: f64,
    recovery: Option<Instant>,
}

impl Cubic {
    pub(super) fn new() -> Self {
        let (window, threshold) = (10.0 * PACKET as f64, f64::MAX);
        Self {
            window,
            threshold,
            most: 0.0,
            epoch: None,
            k: 0.0,
            reno: 0.0,
            recovery: None,
        }
    }

    pub(super) fn window(&self) -> u64 {
        self.window as u64
    }

    pub(super) fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        round_trip: Duration,
        limited: bool,
    ) {
        if limited || self.recovery.is_some_and(|recovery| sent <= recovery) {
            return;
        }
        if self.window < self.threshold {
            self.window += bytes as f64;
            return;
        }
        let packet = PACKET as f64;
        let epoch = *self.epoch.get_or_insert_with(|| {
            self.most = self.most.max(self.window);
            self.k = ((self.most - self.window) / packet / 0.4).max(0.0).cbrt();
            self.reno = self.window;
            now
        });
        let t = (now - epoch + round_trip).as_secs_f64();
        let target =
            (0.4 * (t - self.k).powi(3) * packet + self.most).clamp(self.window, 1.5 * self.window);
        self.reno += 0.53 * packet * bytes as f64 / self.window;
        let grown = self.window + (target - self.window) / self.window * bytes as f64;
        self.window = grown.max(self.reno);
    }

    pub(super) fn on_lost(&mut self, now: Instant, sent: Instant) {
        if self.recovery.is_some_and(|recovery| sent <= recovery) {
            return;
        }
        self.recovery = Some(now);
        self.most = if self.window < self.most {
            self.window * 0.85
        } else {
            self.window
        };
        self.window = (self.window * 0.7).max(2.0 * PACKET as f64);
        (self.threshold, self.epoch) = (self.window, None);
    }
}
