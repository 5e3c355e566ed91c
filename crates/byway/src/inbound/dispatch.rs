//! Dispatch: which protocol a connection is served by.
//!
//! In:    an accepted connection, the role that the Plan in force gives its listener, and the
//!        application protocol of its TLS session.
//! Out:   the connection, handed to the inbound of that role.
//! Never: reads from it, other than for TLS.

use std::sync::Arc;

use super::context::Accepted;
use super::http::{h1, h2};
use super::listener::ListenerContext;
use super::{link, metrics_listener, mixed, tcp, tls};
use crate::config::{Role, Transport};
use crate::observe::counters::GaugeGuard;

/// Serves one connection. Boxed, so that it has the room of its own role only.
pub async fn dispatch(accepted: Accepted, listener: Arc<ListenerContext>) {
    let context = Arc::clone(&listener.connection_context);
    let _open = GaugeGuard::new(&context.counters().connections);
    let Some((plan, frontend)) = context.plan() else {
        return;
    };
    let accepted = match frontend.transport {
        Transport::Tls => match Box::pin(tls::handshake(accepted, &context, &frontend)).await {
            Some(accepted) => accepted,
            None => return,
        },
        Transport::Plain | Transport::Redirect(_) => accepted,
    };
    let is_http2 = accepted.stream.alpn() == Some(b"h2");
    match &frontend.role {
        Role::Edge(_) | Role::Egress(_) if is_http2 => {
            Box::pin(h2::serve(accepted, Arc::clone(&context))).await
        }
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
