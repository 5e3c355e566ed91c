//! Tunnel: two open streams, and the relay between them. All relays of the program start here.
//!
//! In:    the streams, what was read of them, the permission, the settings of the listener.
//! Out:   a relay until both directions have ended; its end, recorded.
//! Never: opens a stream.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use byway_dial::Stream;
use byway_http::h1::Conn;
use byway_relay::{Early, End, Outflow, Rate, Relay, RelayOptions, RelayedBytes, SpillOptions};

use super::context::{ConnectionContext, ConnectionInfo};
use super::tunnel_log::TunnelLog;
use crate::config::FrontendPlan;
use crate::outbound::Engine;
use crate::outbound::tunnel::Tunnel;
use crate::outbound::upgrades::UpgradeSlot;
use crate::route::Allowed;

/// Sends what is still queued on a whole connection, and relays until both directions have ended.
pub async fn relay_conn(
    mut downstream: Conn,
    tunnel: Tunnel,
    info: &ConnectionInfo,
    context: &ConnectionContext,
    frontend: &FrontendPlan,
) {
    let flushed = tokio::time::timeout(frontend.limits.handshake_timeout, downstream.flush());
    let is_flushed = matches!(flushed.await, Ok(Ok(())));
    if !is_flushed {
        let (user, protocol) = (tunnel.user.as_deref(), tunnel.protocol);
        let tunnel_log = TunnelLog::new(context, info, frontend, user, protocol);
        return tunnel_log.through(&tunnel.allowed).client_left();
    }
    let (stream, early) = downstream.into_parts();
    relay(stream, early, tunnel, info, context, frontend).await;
}

/// Relays until both directions have ended. Nothing is queued for the client any more, and `early`
/// is what was read of it.
pub async fn relay(
    downstream: Stream,
    early: Vec<u8>,
    tunnel: Tunnel,
    info: &ConnectionInfo,
    context: &ConnectionContext,
    frontend: &FrontendPlan,
) {
    let (user, protocol) = (tunnel.user.as_deref(), tunnel.protocol);
    let tunnel_log = TunnelLog::new(context, info, frontend, user, protocol);
    let tunnel_log = tunnel_log.through(&tunnel.allowed);
    let early = Early {
        from_downstream: early,
        from_upstream: tunnel.early,
    };
    let options = relay_options(context.engine(), &tunnel.allowed, frontend);
    let relay = byway_relay::relay(downstream, tunnel.upstream, &options, early);
    let (mut slot, permit) = (tunnel.slot, tunnel.permit);
    let ended = match &mut slot {
        None => Ok(relay.await),
        Some(slot) => until_recalled(relay, slot).await,
    };
    // Both streams are closed. In this order, as the next owner of the slot needs a permit, too.
    drop(permit);
    drop(slot);
    match ended {
        Ok(end) => tunnel_log.ended(&end),
        Err(bytes) => tunnel_log.shed(bytes),
    }
}

/// Runs an upgraded relay until it ends, or until the pool recalls its slot for another client:
/// this client has more than its share, and of its relays this one has been silent for longest.
/// Then it is dropped, and the error has the bytes that it had delivered.
async fn until_recalled(mut relay: Relay, slot: &mut UpgradeSlot) -> Result<End, RelayedBytes> {
    poll_fn(|cx| {
        if let Poll::Ready(end) = Pin::new(&mut relay).poll(cx) {
            return Poll::Ready(Ok(end));
        }
        let bytes = relay.bytes();
        slot.poll_recalled(cx, Some(bytes.up + bytes.down))
            .map(|()| Err(bytes))
    })
    .await
}

/// Runs a relay between two open streams.
pub async fn relay_streams(
    downstream: Stream,
    upstream: Stream,
    early: Early,
    options: &RelayOptions,
    tunnel_log: &TunnelLog<'_>,
) {
    let end = byway_relay::relay(downstream, upstream, options, early).await;
    tunnel_log.ended(&end);
}

/// How long a relay may be half-closed and silent, where bytes for its client may be spilled, and
/// how fast they may be sent.
pub fn relay_options(engine: &Engine, allowed: &Allowed, frontend: &FrontendPlan) -> RelayOptions {
    RelayOptions {
        half_closed_idle: frontend.limits.half_closed_idle,
        idle: frontend.limits.idle,
        spill: spill(engine, allowed),
        limit_up: None,
        limit_down: limit_down(allowed),
        ordered_end: None,
        counters: Some(Arc::clone(&engine.relay_counters)),
    }
}

/// What is placed between an exchange and its client: the spill and the speed limit of an egress;
/// nothing where neither applies.
pub fn slow_reader_guard(engine: &Engine, allowed: &Allowed) -> Option<Outflow> {
    let counters = Some(Arc::clone(&engine.relay_counters));
    let rate = limit_down(allowed);
    let outflow = match (spill(engine, allowed), &rate) {
        (None, None) => return None,
        (None, Some(_)) => Outflow::direct(counters),
        (Some(spill), _) => Outflow::spilling(spill, counters),
    };
    Some(match rate {
        Some(rate) => outflow.shaped(rate),
        None => outflow,
    })
}

/// Where bytes for this client may be spilled, charged to the user of the request, or else to its
/// address.
fn spill(engine: &Engine, allowed: &Allowed) -> Option<SpillOptions> {
    if !allowed.spills() {
        return None;
    }
    let spill = engine.spill.clone()?;
    Some(SpillOptions {
        user: allowed.client().clone(),
        ..spill
    })
}

/// How fast bytes may be sent to this client.
fn limit_down(allowed: &Allowed) -> Option<Arc<Rate>> {
    allowed
        .stream_limit()
        .map(|rate| Arc::new(Rate::new(rate.0)))
}
