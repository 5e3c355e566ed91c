//! Authenticated: makes a carrier from a connection whose peer has proven its key; the carrier
//! belongs to no session yet.
//!
//! In:    a TLS session, a bundle of them, or a QUIC connection.
//! Out:   a carrier with its control stream, driven by its own tasks; attached to a session, or
//!        refused with a message.
//! Never: lets the other side open a stream.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use byway_dial::Stream;
use byway_dial::stream::meter::TcpMeter;
use socket2::SockRef;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::bundle::Bundle;
use crate::carrier::{CarrierHandle, PendingCarrier};
use crate::congestion::Congestion;
use crate::connections::Connections;
use crate::control::{ControlError, ControlStream};
use crate::error::LinkError;
use crate::fair_budget::FairBudget;
use crate::gathering::Tls;
use crate::key::Fingerprint;
use crate::link::{CarrierSlot, Link, Settings};
use crate::mux::carrier::{MuxCarrier, Transport};
use crate::mux::core::Side;
use crate::node_budget::NodeBudget;
use crate::pending::Attached;
use crate::quic::Quic;
use crate::stream::LinkStream;
use crate::window::CARRIER_BYTES;
use crate::wire::{Control, Refusal, Refused};

/// How long a refused peer may take to read the refusal.
const REFUSAL_LINGER: Duration = Duration::from_secs(2);

/// How long sending the end of a carrier over TLS may take.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// Sent bytes that are not acknowledged for this long end the connection, whatever the kernel's
/// default is. It is longer than the pings of a session allow, see
/// [`liveness`](crate::liveness::STREAMS_SURVIVE).
const USER_TIMEOUT: Duration = Duration::from_secs(40);

/// An authenticated carrier that belongs to no session yet.
pub(crate) struct Authenticated {
    pub(crate) identity: Fingerprint,
    pub(crate) carrier: PendingCarrier,
    pub(crate) control: ControlStream,
    /// The most streams that the peer may have open once the carrier belongs to a session.
    streams: u32,
    /// The bytes by which windows of its streams may grow, from its session's share of the node's
    /// budget.
    pub(crate) budget: Arc<FairBudget>,
    node_budget: NodeBudget,
}

impl Authenticated {
    /// Why no message came. The reason for the end of the carrier is more precise than the end of
    /// its control stream.
    pub(crate) fn why(
        &self,
        error: ControlError,
    ) -> impl Future<Output = LinkError> + Send + use<> {
        let carrier = self.carrier.watch();
        async move { LinkError::Unreachable(error.with_reason_of(&carrier).await) }
    }
}

/// Attaches a carrier to its session.
pub(crate) fn adopt(link: &Link, place: CarrierSlot, arrived: Authenticated) -> Attached {
    let (kind, watch) = (arrived.carrier.kind(), arrived.carrier.watch());
    let share = arrived.node_budget.share(link.holder());
    arrived.budget.assign(&share.streams);
    arrived.carrier.assign(&share.connections);
    link.attach(
        place,
        arrived.carrier.admit(arrived.streams),
        arrived.control,
    );
    Attached { kind, watch }
}

/// A mux over `tls`, driven on `runtime`.
pub(crate) fn over_tls(
    tls: Tls,
    peer: Option<SocketAddr>,
    identity: Fingerprint,
    side: Side,
    settings: &Settings,
    runtime: &Handle,
) -> Authenticated {
    let connections = Connections::new([meter(&tls)], settings.congestion);
    over_streams(tls, connections, peer, identity, side, settings, runtime)
}

/// A mux over a bundle of TLS sessions, driven on `runtime`.
pub(crate) fn over_bundle(
    parts: Vec<Tls>,
    peer: Option<SocketAddr>,
    identity: Fingerprint,
    side: Side,
    settings: &Settings,
    runtime: &Handle,
) -> Authenticated {
    let connections = Connections::new(parts.iter().map(meter), settings.congestion);
    connections.bound_unsent(PART_UNSENT_BYTES);
    over_streams(
        Bundle::new(parts),
        connections,
        peer,
        identity,
        side,
        settings,
        runtime,
    )
}

fn over_streams<T: Transport + Send + 'static>(
    io: T,
    connections: Connections,
    peer: Option<SocketAddr>,
    identity: Fingerprint,
    side: Side,
    settings: &Settings,
    runtime: &Handle,
) -> Authenticated {
    let (budget, tasks) = (FairBudget::carrier(CARRIER_BYTES), TaskTracker::new());
    let (mux, control, driver) = MuxCarrier::new(io, side, Arc::clone(&budget));
    let carrier = PendingCarrier::mux(mux, connections, peer, &tasks);
    let driven = carrier.watch();
    let mut driver = driver;
    let driving = async move {
        tokio::select! {
            error = &mut driver => driven.end(error.to_string()),
            // The other side sees a regular close instead of a network failure.
            () = driven.ended() => drop(timeout(CLOSE_TIMEOUT, driver.close()).await),
        }
    };
    tasks.spawn_on(driving, runtime);
    let control = ControlStream::new(LinkStream::mux(control));
    let node_budget = settings.budget.clone();
    Authenticated {
        identity,
        carrier,
        control,
        streams: settings.streams,
        budget,
        node_budget,
    }
}

/// A meter of the TCP connection under a TLS session.
fn meter(tls: &Tls) -> Option<TcpMeter> {
    tls.get_ref().0.0.tcp_meter()
}

/// A QUIC connection whose first stream is `control`.
pub(crate) fn over_quic(
    quic: Quic,
    control: LinkStream,
    identity: Fingerprint,
    tasks: TaskTracker,
    settings: &Settings,
    runtime: &Handle,
) -> Authenticated {
    let (budget, node_budget) = (FairBudget::carrier(CARRIER_BYTES), settings.budget.clone());
    let carrier = PendingCarrier::quic(quic.clone(), &budget, &tasks);
    let watched: CarrierHandle = carrier.watch();
    tasks.spawn_on(
        async move { watched.end(quic.closed().await.to_string()) },
        runtime,
    );
    let (control, streams) = (ControlStream::new(control), settings.streams);
    Authenticated {
        identity,
        carrier,
        control,
        streams,
        budget,
        node_budget,
    }
}

/// The unsent bytes of a carrier that the kernel may hold: later writes wait behind them.
#[cfg(target_os = "linux")]
const UNSENT_BYTES: u32 = 32 * 1024;

/// The same for each connection of a bundle, which has several.
const PART_UNSENT_BYTES: u32 = 16 * 1024;

/// Sets the socket options of a carrier.
pub(crate) fn tune(stream: &Stream, congestion: Congestion) {
    #[cfg(target_os = "linux")]
    if let Some(tcp) = stream.as_tcp() {
        // A control message waits for the unsent bytes in the kernel. If the kernel holds more,
        // control messages are slower, but still correct.
        let _ = byway_dial::unsent::bound(tcp, UNSENT_BYTES);
        let socket = SockRef::from(tcp);
        let _ = socket.set_tcp_user_timeout(Some(USER_TIMEOUT));
        congestion.apply(&socket);
    }
}

/// Sends the refusal and gives the other side time to read it.
pub(crate) async fn refuse_with(
    mut arrived: Authenticated,
    why: Refusal,
    detail: String,
) -> LinkError {
    if arrived
        .control
        .send(Control::Refused(Refused::cut(why, detail.clone())))
        .await
        .is_ok()
    {
        arrived.control.linger(REFUSAL_LINGER).await;
    }
    arrived.carrier.end(detail.clone());
    LinkError::Refused { why, detail }
}
