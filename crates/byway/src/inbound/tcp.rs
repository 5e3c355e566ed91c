//! Tcp: a plain forward: every connection of the listener leads to one target.
//!
//! In:    an accepted connection.
//! Out:   a relay to the listener's target.
//! Never: reads a byte before the target is open.

use std::pin::pin;
use std::sync::Arc;

use super::connect::{relay_options, relay_streams};
use super::listener::{Accepted, Door};
use super::passage::Passage;
use crate::config::{ListenerPlan, Plan};
use crate::exchange::departure::unless_gone;
use crate::fault::Fault;
use crate::outbound;
use crate::relay::Early;
use crate::route::{Ask, Inquiry, policy};

/// Serves one connection of a forward.
pub async fn serve(
    accepted: Accepted,
    door: Arc<Door>,
    plan: Arc<Plan>,
    listener: Arc<ListenerPlan>,
) {
    let Accepted { mut stream, visit } = accepted;
    let opening = async {
        let own = door.shared.own.load();
        let inquiry = Inquiry {
            plan: &plan,
            role: &listener.role,
            peer: visit.peer,
            user: None,
            own: &own,
            ask: Ask::Fixed,
        };
        let allowed = policy::decide(&inquiry)?;
        let dialled = outbound::open(&door.shared, &allowed).await?;
        Ok::<_, Fault>((dialled, allowed))
    };
    let opened = unless_gone(&mut stream, pin!(opening)).await;
    match opened {
        // Plain TCP has no words for a fault: the visitor sees a reset.
        Err(fault) => {
            door.shared.counters.faults.add(1);
            Passage::new(&door, &visit, &listener, None, "TCP").refused(None, &fault);
            let Some(line) = door.shared.counters.repeats.fault(&fault) else {
                return;
            };
            tracing::info!(
                peer = visit.peer.map(display), listener = %door.address, class = fault.class(), left_out = line.left_out, "{fault}"
            );
        }
        Ok::<_, Fault>((dialled, allowed)) => {
            let options = relay_options(&door.shared, &allowed, &listener);
            // Boxed: idle forwards shall stay small.
            let passage =
                Box::new(Passage::new(&door, &visit, &listener, None, "TCP").through(&allowed));
            relay_streams(stream, dialled.stream, Early::default(), &options, &passage).await;
        }
    }
}
