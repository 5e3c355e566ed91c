//! Congestion control of carriers: the available controllers, behind the interface of quinn.
//!
//! In:    the setting of the node.
//! Out:   a factory of controllers for quinn.
//!
//! `bbr` is the controller. `delivery` samples the delivery rate, `min_round_trip` and `filter`
//! keep the path's recent extremes, `round` collects the measurements of a round trip, `loss` and
//! `aggregation` evaluate it, and `bounds` and `cycle` hold the controller's conclusions. `probing`
//! lets a ping out on a silent path. None of them reads a clock, so tests drive them through a
//! simulated network. `tcp` sets the kernel's controller on carriers over TCP.

mod aggregation;
mod arithmetic;
mod bbr;
mod bounds;
#[cfg(test)]
mod cubic;
mod cycle;
mod delivery;
mod filter;
mod loss;
mod min_round_trip;
mod probing;
mod round;
#[cfg(test)]
mod simulator;
mod tcp;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use quinn_proto::RttEstimator;
use quinn_proto::congestion::{Controller, ControllerFactory, CubicConfig};

use self::bbr::{Bbr, INITIAL_PACKETS};
use self::probing::{Probing, ProbingFactory};

/// The congestion control of the senders of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Congestion {
    /// Follows the rate and the delay of the path; keeps its rate on paths that lose packets.
    #[default]
    Bbr,
    /// Follows losses, as most TCP senders do.
    Cubic,
}

impl fmt::Display for Congestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bbr => "bbr",
            Self::Cubic => "cubic",
        })
    }
}

/// Bytes of a packet before the path's MTU is known.
const BASE_PACKET_BYTES: u64 = 1200;

impl Congestion {
    /// The factory that makes a controller of this kind for each path.
    pub(crate) fn factory(self) -> Arc<dyn ControllerFactory + Send + Sync> {
        let factory: Arc<dyn ControllerFactory + Send + Sync> = match self {
            Self::Bbr => Arc::new(BbrFactory),
            Self::Cubic => {
                let mut cubic = CubicConfig::default();
                cubic.initial_window(INITIAL_PACKETS * BASE_PACKET_BYTES);
                Arc::new(cubic)
            }
        };
        Arc::new(ProbingFactory(factory))
    }
}

/// Lets a ping out although the window of `controller`, or of the one that it is a clone of, is
/// full.
pub(crate) fn let_question_out(controller: Box<dyn Controller>) {
    if let Ok(probing) = controller.into_any().downcast::<Probing>() {
        probing.let_out();
    }
}

/// Whether a connection uses quinn's cubic.
#[cfg(test)]
pub(crate) fn is_cubic(controller: Box<dyn Controller>) -> bool {
    controller
        .into_any()
        .downcast::<Probing>()
        .is_ok_and(|probing| probing.runs_over::<quinn_proto::congestion::Cubic>())
}

struct BbrFactory;

impl ControllerFactory for BbrFactory {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Bbr::new(now, current_mtu, fastrand::u64(..)))
    }
}

impl Controller for Bbr {
    fn on_sent(&mut self, now: Instant, bytes: u64, _last_packet_number: u64) {
        Self::on_sent(self, now, bytes);
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        _app_limited: bool,
        _rtt: &RttEstimator,
    ) {
        Self::on_ack(self, now, sent, bytes);
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        _largest: Option<u64>,
    ) {
        Self::on_end_acks(self, now, in_flight, app_limited);
    }

    fn on_congestion_event(
        &mut self,
        _now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        self.on_lost(sent, lost_bytes, is_persistent_congestion);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.on_mtu(new_mtu);
    }

    fn window(&self) -> u64 {
        Self::window(self)
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        Self::initial_window(self)
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
