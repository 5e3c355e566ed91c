//! TLS: the handshake of a connection that was accepted on an `https` listener.
//!
//! In:    an accepted connection.
//! Out:   the same, encrypted, with what was negotiated; or a count and a line in the log.
//! Never: waits longer than `handshake_timeout`; answers what it cannot read, but plain HTTP.

use std::sync::Arc;

use byway_dial::Stream;
use byway_http::h1::Conn;
use byway_tls::{Accepted as TlsAccepted, HandshakeError, Session};
use tokio::time::timeout;

use super::context::{Accepted, ConnectionContext, ConnectionInfo};
use crate::config::FrontendPlan;
use crate::observe::log_limit::LogLimit;

/// Log limit for handshakes that have failed.
static FAILURES: LogLimit = LogLimit::new();

/// The answer to a plain HTTP request.
const PLAIN_HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 73\r\n\
    Connection: close\r\n\r\n\
    400: this port speaks HTTPS, and the request is plain HTTP: use https://\n";

/// Does the handshake. `None`: there is no session, and the connection was closed.
pub(super) async fn handshake(
    accepted: Accepted,
    context: &ConnectionContext,
    frontend: &FrontendPlan,
) -> Option<Accepted> {
    let Accepted { stream, info } = accepted;
    let tls = &context.node.tls;
    // A reload may have removed the last `https` listener.
    let server = tls.server().clone()?;
    let limit = frontend.limits.handshake_timeout;
    let error = match timeout(limit, server.accept(stream)).await {
        Ok(Ok(TlsAccepted::Session(stream, session))) => {
            tls.metrics.done(&session);
            return Some(encrypted(stream, info, session));
        }
        Ok(Ok(TlsAccepted::Challenge)) => return None,
        Ok(Err(error)) => error,
        Err(_) => {
            tls.metrics.failed("timeout");
            tracing::debug!(
                peer = info.peer.map(tracing::field::display), listener = %context.address,
                "the TLS handshake was not complete within handshake_timeout, {limit:?}"
            );
            return None;
        }
    };
    tls.metrics.failed(error.word());
    note(&error, &info, context);
    if let HandshakeError::PlainHttp(stream) = error {
        let mut downstream = Conn::new(*stream);
        downstream.queue().extend_from_slice(PLAIN_HTTP);
        downstream.lingering_close().await;
    }
    None
}

fn encrypted(stream: Stream, info: ConnectionInfo, session: Box<Session>) -> Accepted {
    let info = ConnectionInfo {
        tls: Some(Arc::from(session)),
        ..info
    };
    Accepted { stream, info }
}

/// Clients that leave or reset are not worth a line above `debug`.
fn note(error: &HandshakeError, info: &ConnectionInfo, context: &ConnectionContext) {
    let peer = info.peer.map(tracing::field::display);
    let (listener, class) = (&*context.address, error.word());
    let line = match error {
        HandshakeError::Closed | HandshakeError::Broken(_) => None,
        _ => FAILURES.count(),
    };
    match line {
        Some(line) => tracing::info!(
            peer, %listener, class, left_out = line.left_out, "no TLS session: {error}"
        ),
        None => tracing::debug!(peer, %listener, class, "no TLS session: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_plain_http_states_its_length() {
        let text = std::str::from_utf8(PLAIN_HTTP).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("Content-Length: {}\r\n", body.len())),
            "{}",
            body.len()
        );
    }
}
