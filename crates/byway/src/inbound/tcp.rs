//! Tcp: a plain forward: every connection of the listener goes to one target.
//!
//! In:    an accepted connection.
//! Out:   a relay to the listener's target.
//! Never: reads a byte before the target is open.

use std::pin::pin;
use std::sync::Arc;

use byway_dial::Pipe;
use byway_relay::Early;

use super::context::{Accepted, ConnectionContext};
use super::tunnel::{relay_options, relay_streams};
use super::tunnel_log::TunnelLog;
use crate::config::{FrontendPlan, Plan};
use crate::exchange::client_gone::unless_gone;
use crate::fault::Fault;
use crate::outbound;
use crate::route::{Ask, Inquiry, policy};

/// Serves one connection of a forward.
pub async fn serve(
    accepted: Accepted,
    context: Arc<ConnectionContext>,
    plan: Arc<Plan>,
    frontend: Arc<FrontendPlan>,
) {
    let Accepted { mut stream, info } = accepted;
    let opening = async {
        let own = context.live().own_addresses();
        let inquiry = Inquiry {
            plan: &plan,
            role: &frontend.role,
            peer: info.peer,
            user: None,
            client: info.tls_client(),
            own: &own,
            ask: Ask::Fixed,
        };
        let allowed = policy::decide(&inquiry)?;
        let dialled = outbound::open(context.engine(), &allowed).await?;
        Ok::<_, Fault>((dialled, allowed))
    };
    let opened = unless_gone(|cx| stream.poll_broken(cx), pin!(opening)).await;
    match opened {
        // Plain TCP cannot carry an error message: the client gets a reset.
        Err(fault) => {
            TunnelLog::new(&context, &info, &frontend, None, "TCP").refused(None, &fault);
            let Some(line) = context.counters().log_limits.fault(&fault) else {
                return;
            };
            tracing::info!(
                peer = info.peer.map(display), listener = %context.address, class = fault.reason.word(), left_out = line.left_out, "{fault}"
            );
        }
        Ok::<_, Fault>((dialled, allowed)) => {
            let options = relay_options(context.engine(), &allowed, &frontend);
            // Boxed to keep idle forwards small.
            let tunnel_log =
                Box::new(TunnelLog::new(&context, &info, &frontend, None, "TCP").through(&allowed));
            relay_streams(
                stream,
                dialled.stream,
                Early::default(),
                &options,
                &tunnel_log,
            )
            .await;
        }
    }
}
