//! Dispatch: which protocol a connection is served by.
//!
//! In:    an accepted connection, and the role that the Plan in force gives its listener.
//! Out:   the connection, handed to the inbound of that role.
//! Never: reads from it.

use std::sync::Arc;

use super::context::Accepted;
use super::http::h1;
use super::listener::ListenerContext;
use super::{link, metrics_listener, mixed, tcp};
use crate::config::Role;
use crate::observe::counters::GaugeGuard;

/// Serves one connection. Boxed, so that it has the room of its own role only.
pub async fn dispatch(accepted: Accepted, listener: Arc<ListenerContext>) {
    let context = Arc::clone(&listener.connection_context);
    let _open = GaugeGuard::new(&context.counters().connections);
    let Some((plan, frontend)) = context.plan() else {
        return;
    };
    match &frontend.role {
        Role::Edge(_) => Box::pin(h1::serve_edge(accepted, Arc::clone(&context))).await,
        Role::Egress(_) => {
            Box::pin(mixed::serve(accepted, Arc::clone(&context), plan, frontend)).await
        }
        Role::Forward(_) | Role::PublicPort(_) => {
            Box::pin(tcp::serve(accepted, Arc::clone(&context), plan, frontend)).await
        }
        Role::Link(_) => Box::pin(link::serve_tcp(accepted, listener, plan)).await,
        Role::Metrics => {
            Box::pin(metrics_listener::serve(
                accepted,
                Arc::clone(&context),
                frontend,
            ))
            .await
        }
        // Its streams come over a link, not from a listener.
        Role::Agent(_) => {}
    }
}
