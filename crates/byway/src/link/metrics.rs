//! Metrics: what the links of a node are like, for Prometheus.
//!
//! In:    the links that this node dials, those that it has accepted, its public names.
//! Out:   families of the exposition.
//! Never: a label that a peer chooses.

use byway_link::Measured;

use super::Links;
use super::carriers::{self, Series};
use super::services::ServiceCount;
use crate::observe::exposition::{Collect, Exposition, MetricKind};

impl Collect for Links {
    fn collect(&self, out: &mut Exposition) {
        let outgoing = self.all_outgoing();
        let help =
            "1 while a link that this node dials is up and the other side answers on it, else 0.";
        let mut family = out.family("byway_link_up", MetricKind::Gauge, ["link"], help);
        let mut services = ServiceCount::default();
        for link in &outgoing {
            family.sample([&link.plan().id], u8::from(link.answers()));
            services += link.count_services();
        }
        let mut series = carriers::of_dialled(&outgoing);
        series.extend(carriers::of_accepted(&self.registry));
        link_carriers(out, &series);
        let help = "Services that this node exposes: public, refused, or not confirmed yet.";
        let mut family = out.family("byway_services", MetricKind::Gauge, ["state"], help);
        for (state, count) in [
            ("public", services.public),
            ("refused", services.refused),
            ("waiting", services.waiting),
        ] {
            family.sample([state], count);
        }
        let help = "Visitors that wait for the agent of a name.";
        out.single(
            "byway_parked",
            MetricKind::Gauge,
            help,
            self.registry.parked_visitors(),
        );
        let help =
            "1 while names could not be written to the state folder, else 0; the write is retried.";
        out.single(
            "byway_state_unwritten",
            MetricKind::Gauge,
            help,
            u8::from(self.registry.is_unwritten()),
        );
    }
}

/// The carriers of the links that this node dials and of those that it has accepted.
fn link_carriers(out: &mut Exposition, carriers: &[Series]) {
    let mut family = |name, help, value: &dyn Fn(u32, &Measured) -> Option<f64>| {
        let mut family = out.family(name, MetricKind::Gauge, ["link", "carrier"], help);
        for Series {
            link,
            preferring,
            measured,
        } in carriers
        {
            if let Some(value) = value(*preferring, measured) {
                family.sample([link, &measured.kind.to_string()], value);
            }
        }
    };
    let help = "1 for the carrier that new streams of a link use, else 0; for a grant, how many of its links use it.";
    family("byway_link_carrier_preferred", help, &|preferring, _| {
        Some(f64::from(preferring))
    });
    let help = "1 while a carrier answers the pings of its link, 0 while a reply is overdue; for a grant, 0 if any reply is.";
    family("byway_link_carrier_answers", help, &|_, measured| {
        Some(f64::from(u8::from(measured.answers)))
    });
    let help =
        "Round trip of a carrier, by the pings of its link, including the queue of the sender.";
    family("byway_link_carrier_rtt_seconds", help, &|_, measured| {
        measured.round_trip.map(|rtt| rtt.as_secs_f64())
    });
    let help = "Share of packets lost in the last seconds; for TLS, of TCP segments, where the kernel reports it.";
    family("byway_link_carrier_loss_ratio", help, &|_, measured| {
        measured.loss
    });
    let help = "Bytes sent per second in the last seconds, without those lost.";
    family("byway_link_carrier_goodput_bytes", help, &|_, measured| {
        Some(number(measured.rate))
    });
    let help = "Congestion window in bytes; for TLS, that of TCP, where the kernel reports it.";
    family(
        "byway_link_carrier_congestion_window_bytes",
        help,
        &|_, measured| measured.congestion_window.map(number),
    );
    let help = "TCP connections of a TLS carrier: several if the path loses packets and the kernel has no BBR.";
    family("byway_link_carrier_connections", help, &|_, measured| {
        (measured.connections > 0).then(|| number(measured.connections as u64))
    });
}

#[expect(
    clippy::cast_precision_loss,
    reason = "no figure of a link is near 2^53"
)]
const fn number(value: u64) -> f64 {
    value as f64
}
