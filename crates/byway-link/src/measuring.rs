//! Measuring: what each carrier of a session moves and loses, and which one new streams prefer.
//!
//! In:    the carriers of a session, looked at once a window.
//! Out:   a figure of each for metrics; the preference of this side, which the other side is informed of.
//! Never: sends traffic of its own.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::carrier::{CarrierKind, Sent};
use crate::link::Link;
use crate::preference::{Preference, Window};
use crate::wire::Said;

/// A window while there is traffic.
const WINDOW: Duration = Duration::from_secs(1);

/// And while there is none.
const IDLE_WINDOW: Duration = Duration::from_secs(2);

/// Fewer bytes in a window than this are pings and the like.
const TRAFFIC_BYTES: u64 = 4096;

/// One carrier in the last window.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Which carrier.
    pub kind: CarrierKind,
    /// By the session's pings; none before the first reply.
    pub round_trip: Option<Duration>,
    /// The share of packets that was lost; none on TLS, and where hardly a packet was sent.
    pub loss: Option<f64>,
    /// Bytes sent per second, less those lost.
    pub rate: u64,
    /// Bytes that may be under way, where it is known.
    pub congestion_window: Option<u64>,
}

/// What was measured in one window.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) loss: Option<f64>,
    pub(crate) rate: u64,
}

/// Measures the carriers of `link` until it is over.
pub(crate) async fn measure(link: Link) {
    let measuring = async {
        let mut preference = Preference::default();
        let mut before: HashMap<u64, Sent> = HashMap::new();
        let (mut begun, mut wait) = (Instant::now(), WINDOW);
        loop {
            sleep(wait).await;
            let now = Instant::now();
            let mut window = Window { lasted: now - begun, ..Window::default() };
            begun = now;
            let mut after = HashMap::new();
            for (number, carrier, figures) in link.measurable() {
                let sent = carrier.sent();
                // A carrier that is new begins its first window now.
                let earlier = before.get(&number).copied().unwrap_or(sent);
                let bytes = sent.bytes.saturating_sub(earlier.bytes);
                let packets = sent.packets.saturating_sub(earlier.packets);
                let lost = sent.lost.saturating_sub(earlier.lost);
                match carrier.kind() {
                    CarrierKind::Tls => window.tls_bytes += bytes,
                    CarrierKind::Quic => {
                        window.quic_bytes += bytes;
                        window.quic_packets += packets;
                        window.quic_lost += lost;
                    }
                }
                let ms = u64::try_from(window.lasted.as_millis()).unwrap_or(u64::MAX).max(1);
                #[expect(clippy::cast_precision_loss, reason = "packets of a second are few")]
                let loss = (packets > 0).then(|| lost as f64 / packets as f64);
                *figures.lock() = Figures { loss, rate: bytes.saturating_mul(1000) / ms };
                after.insert(number, sent);
            }
            before = after;
            let moved = window.quic_bytes + window.tls_bytes;
            wait = if moved >= TRAFFIC_BYTES { WINDOW } else { IDLE_WINDOW };
            if let Some(change) = preference.measured(&window, now.into_std()) {
                tracing::info!(peer = link.peer().short(), "{change}");
            }
            if link.prefer_tls(preference.is_tls()) {
                // A session that ends meanwhile needs to know nothing.
                link.say(Said::PreferTls(u32::from(preference.is_tls())));
            }
        }
    };
    tokio::select! {
        () = measuring => {}
        _ = link.ended() => {}
    }
}
