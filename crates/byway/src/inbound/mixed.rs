//! Mixed: SOCKS5, SOCKS4, SOCKS4a and HTTP on one egress port, distinguished by the first byte.
//!
//! In:    an accepted connection of an egress.
//! Out:   the connection, passed on with its first bytes still unread.
//! Never: guesses: a byte that begins none of these protocols closes the connection and is logged.

use std::sync::Arc;

use byway_dial::Read;
use byway_http::h1::Conn;
use tokio::time::timeout;

use super::context::{Accepted, ConnectionContext};
use super::http::h1;
use super::socks;
use crate::config::{FrontendPlan, Plan};

/// Serves one connection of an egress.
pub async fn serve(
    accepted: Accepted,
    context: Arc<ConnectionContext>,
    plan: Arc<Plan>,
    frontend: Arc<FrontendPlan>,
) {
    let Accepted { stream, info } = accepted;
    let mut downstream = Conn::new(stream);
    let first = timeout(frontend.limits.handshake_timeout, downstream.fill()).await;
    if !matches!(first, Ok(Ok(Read::Data(_)))) {
        return downstream.fin_on_drop();
    }
    match downstream.unread().first() {
        Some(4 | 5) => Box::pin(socks::serve(downstream, info, context, plan, frontend)).await,
        Some(b'A'..=b'Z' | b'a'..=b'z' | b'\r') => {
            Box::pin(h1::serve_egress(downstream, info, context)).await
        }
        first => {
            let counters = context.counters();
            counters.malformed_handshakes.add(1);
            let Some(line) = counters.log_limits.malformed_handshakes.count() else {
                return downstream.fin_on_drop();
            };
            let guess = if first == Some(&0x16) {
                " (TLS? this address speaks SOCKS and plain HTTP; addresses of `https` speak TLS)"
            } else {
                ""
            };
            tracing::info!(
                peer = info.peer.map(display), listener = %context.address, left_out = line.left_out,
                "neither SOCKS nor HTTP: the connection began with byte {:#04x}{guess}", first.copied().unwrap_or_default()
            );
            downstream.fin_on_drop();
        }
    }
}
