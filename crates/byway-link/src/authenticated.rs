//! Authenticated: a carrier whose peer has proven its key, from what it travels over; it belongs to
//! no session yet.
//!
//! In:    a TLS session, a bundle of them, or a QUIC connection.
//! Out:   a carrier with its control stream, driven by tasks of its own; handed to a session, or
//!        refused in words.
//! Never: lets the other side open a stream.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use byway_dial::Stream;
use byway_dial::stream::meter::TcpMeter;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::bundle::Bundle;
use crate::carrier::{CarrierHandle, PendingCarrier};
use crate::congestion::Congestion;
use crate::connections::Connections;
use crate::control::{ControlError, ControlStream};
use crate::error::LinkError;
use crate::gathering::Tls;
use crate::key::Fingerprint;
use crate::link::{CarrierSlot, Link, Settings};
use crate::mux::carrier::MuxCarrier;
use crate::mux::core::Side;
use crate::node_budget::NodeBudget;
use crate::pending::Attached;
use crate::quic::Quic;
use crate::stream::LinkStream;
use crate::window::{Budget, SESSION_BYTES};
use crate::wire::{Control, Refusal, Refused};

/// How long a peer that was refused may take to read why.
const REFUSAL_LINGERS: Duration = Duration::from_secs(2);

/// How long the end of a carrier over TLS may take to be said.
const GOODBYE: Duration = Duration::from_millis(500);

/// Bytes that were sent and are not acknowledged for this long end the connection, whatever the
/// kernel's own patience is. Longer than the pings of a session give it, see
/// [`liveness`](crate::liveness::STREAMS_SURVIVE).
const USER_TIMEOUT: Duration = Duration::from_secs(40);

/// A carrier that is authenticated and belongs to no session yet.
pub(crate) struct Authenticated {
    pub(crate) identity: Fingerprint,
    pub(crate) carrier: PendingCarrier,
    pub(crate) control: ControlStream,
    /// Streams that the peer may have open once the carrier belongs to a session.
    streams: u32,
    /// What windows of its streams may grow by, of the share that its session has of the node's.
    pub(crate) budget: Arc<Budget>,
    node_budget: NodeBudget,
}

impl Authenticated {
    /// Why no message came: what ended the carrier says more than the end of its control stream.
    pub(crate) fn why(
        &self,
        error: ControlError,
    ) -> impl Future<Output = LinkError> + Send + use<> {
        let carrier = self.carrier.watch();
        async move { LinkError::Unreachable(error.with_reason_of(&carrier).await) }
    }
}

/// Hands a carrier to its session.
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

fn over_streams<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    io: T,
    connections: Connections,
    peer: Option<SocketAddr>,
    identity: Fingerprint,
    side: Side,
    settings: &Settings,
    runtime: &Handle,
) -> Authenticated {
    let (budget, tasks) = (Budget::unassigned(SESSION_BYTES), TaskTracker::new());
    let (mux, control, driver) = MuxCarrier::new(io, side, Arc::clone(&budget));
    let carrier = PendingCarrier::mux(mux, connections, peer, &tasks);
    let driven = carrier.watch();
    let mut driver = driver;
    let driving = async move {
        tokio::select! {
            error = &mut driver => driven.end(error.to_string()),
            // So the other side sees an end, and not a failure of the network.
            () = driven.ended() => drop(timeout(GOODBYE, driver.close()).await),
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

/// A meter of the TCP connection that a TLS session travels over.
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
    let (budget, node_budget) = (Budget::unassigned(SESSION_BYTES), settings.budget.clone());
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

/// What the kernel holds unsent of a carrier's bytes: what is written later waits behind it.
#[cfg(target_os = "linux")]
const UNSENT_BYTES: u32 = 32 * 1024;

/// The same for each connection of a bundle, of which there are several.
const PART_UNSENT_BYTES: u32 = 16 * 1024;

/// Sets what a connection needs to be a carrier.
pub(crate) fn tune(stream: &Stream, congestion: Congestion) {
    #[cfg(target_os = "linux")]
    if let Some(tcp) = stream.as_tcp() {
        // A control message waits for what the kernel holds unsent. If it takes more, control is
        // slower, not wrong.
        let _ = byway_dial::unsent::bound(tcp, UNSENT_BYTES);
        let socket = SockRef::from(tcp);
        let _ = socket.set_tcp_user_timeout(Some(USER_TIMEOUT));
        congestion.apply(&socket);
    }
}

/// Says why not, and gives the other side the time to read it.
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
        arrived.control.linger(REFUSAL_LINGERS).await;
    }
    arrived.carrier.end(detail.clone());
    LinkError::Refused { why, detail }
}
