//! Outbound: from `Allowed` to an open stream.
//!
//! In:    the permission given by the policy.
//! Out:   a stream, or a leased HTTP connection of the pool.
//! Never: opens anything without an `Allowed`.

pub mod balance;
pub mod busy;
pub mod direct;
pub mod engine;
pub mod link;
pub mod link_table;
mod metrics;
mod multiplexed;
pub mod pooled;
pub mod retry_budget;
pub mod route_states;
mod spill_log;
pub mod tunnel;
pub mod tunnel_permits;
pub mod upgrades;
pub mod upstream_conn;
pub mod upstream_session;
pub mod upstream_tls;
pub mod via;

use byway_dial::{ClientId, Dialled};
use byway_pool::Client;

pub use self::engine::Engine;
use self::link_table::Carries;
use self::tunnel_permits::TunnelPermit;
use crate::fault::{Fault, Reason, Who};
use crate::route::{Allowed, Outbound};

/// Opens the stream that `allowed` permits.
///
/// # Errors
/// `who = Upstream` for refusal, time-outs and unknown names, `Downstream` when an address is
/// denied, `Us` when out of sockets.
///
/// # Cancel safety
/// Safe: a connection that is not complete is closed.
pub async fn open(engine: &Engine, allowed: &Allowed) -> Result<Dialled, Fault> {
    let client = client(allowed);
    // Boxed: a dial is short, and the stream that it opens may live for days and would keep its
    // memory.
    Box::pin(busy::open_tunnel(engine, allowed, client)).await
}

/// The permit that a tunnel to what `allowed` permits needs, if it is on a stream beside others: see
/// [`tunnel_permits::TunnelPermits::take`].
///
/// # Errors
/// 503 if there is none.
pub fn tunnel_permit(
    engine: &Engine,
    allowed: &Allowed,
) -> Result<Option<Box<TunnelPermit>>, Fault> {
    engine.tunnel_permits.take(allowed, client(allowed))
}

/// The same as [`open`], once: without waiting for a far side that is busy.
async fn open_once(engine: &Engine, allowed: &Allowed, client: Client) -> Result<Dialled, Fault> {
    match allowed.outbound() {
        Outbound::Direct(target) => Box::pin(direct::open(engine, target, allowed)).await,
        Outbound::Via(parent, target) => Box::pin(via::open(engine, parent, target)).await,
        Outbound::Exit(id, target) => {
            let open = link::open_exit(engine, id, target, client, Carries::Anything);
            Box::pin(open).await.map(|opened| opened.dialled)
        }
        Outbound::Service(name) => {
            // A byte stream has no Host, and no requests to report.
            let open =
                link::open_service(engine, name, allowed.visitor(), client, Carries::Anything);
            Box::pin(open).await.map(|opened| opened.dialled)
        }
        Outbound::Pooled(_) => Err(Fault::new(
            Who::Us,
            Reason::Internal,
            "a route is served by exchanges, not by streams",
        )),
    }
}

/// The client that a stream is for: the user, otherwise the address.
fn client(allowed: &Allowed) -> Client {
    match (allowed.client(), allowed.visitor()) {
        (ClientId::Own, visitor) => visitor.map_or(Client::ANYONE, |peer| {
            Client::of(&ClientId::peer(peer.ip()))
        }),
        (client, _) => Client::of(client),
    }
}
