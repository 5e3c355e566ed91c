//! Guards: requests that go no further, whatever their route.
//!
//! In:    the head of a request.
//! Out:   nothing, or the fault to respond with.
//! Never: reads a body.

use byway_dial::target::split_port;
use byway_head::{Request, TargetForm};
use byway_tls::Session;

use crate::exchange::head::PSEUDONYM;
use crate::fault::{Fault, Reason, Who};
use crate::tls::NodeTls;

/// An exit that leads to itself, or two that lead to each other, would use up all connections.
const MOST_HOPS: usize = 16;

/// Refuses CONNECT at an edge.
pub(super) fn refuse_connect(request: &Request<'_>) -> Result<(), Fault> {
    if matches!(request.target_form(), TargetForm::Authority) {
        let detail = "CONNECT is served by an egress (byway proxy), not by an edge";
        let reason = Reason::MethodNotAllowed;
        return Err(Fault::new(Who::Downstream, reason, detail));
    }
    Ok(())
}

/// Refuses a request that has passed through Byway too often.
pub(super) fn refuse_loop(request: &Request<'_>) -> Result<(), Fault> {
    let ours = |value: &[u8]| {
        value
            .split(|b| *b == b',')
            .filter(|hop| hop.trim_ascii_end().ends_with(PSEUDONYM.as_bytes()))
            .count()
    };
    let hops: usize = request.fields_named("Via").map(ours).sum();
    match hops < MOST_HOPS {
        true => Ok(()),
        false => Err(Fault::new(
            Who::Downstream,
            Reason::Loop,
            "the request has passed through here 16 times: a loop",
        )),
    }
}

/// A target in absolute form has a scheme. It must be that of the connection (RFC 9110 section 7.4);
/// a trusted proxy may have terminated TLS in front of this node.
pub(super) fn refuse_misdirected(
    request: &Request<'_>,
    trusted: bool,
    is_tls: bool,
) -> Result<(), Fault> {
    let own: &[u8] = if is_tls { b"https" } else { b"http" };
    match request.target_form() {
        TargetForm::Absolute { scheme, .. } if !scheme.eq_ignore_ascii_case(own) && !trusted => {
            let detail = match is_tls {
                true => {
                    "the target has a scheme other than https, and this connection is TLS: request it by its path"
                }
                false => {
                    "the target has a scheme other than http, and this connection is not TLS: request it by its path"
                }
            };
            Err(Fault::new(Who::Downstream, Reason::Misdirected, detail))
        }
        _ => Ok(()),
    }
}

/// Refuses a request for a host that its TLS session is not for: the client must connect anew, so
/// that it sees the certificate of that host, and shows its own if the host asks for one.
pub(super) fn refuse_other_host(tls: &NodeTls, session: &Session, host: &str) -> Result<(), Fault> {
    let server = tls.server();
    match &*server {
        Some(server) if !server.may_serve(session, host) => {
            let detail = "the TLS session of this connection is for another host: connect anew";
            Err(Fault::new(Who::Downstream, Reason::Misdirected, detail))
        }
        _ => Ok(()),
    }
}

/// Refuses a request without TLS for a host that requires a certificate of its clients.
pub(super) fn refuse_without_tls(tls: &NodeTls, host: &str) -> Result<(), Fault> {
    match &*tls.server() {
        Some(server) if server.requires_certificate(host) => {
            let detail = "this host requires a certificate of its clients, and this connection is not TLS: use https";
            Err(Fault::new(Who::Downstream, Reason::Misdirected, detail))
        }
        _ => Ok(()),
    }
}

/// Whether a trusted proxy has received the request over TLS.
pub(super) fn was_https(request: &Request<'_>) -> bool {
    let proto = request.field("X-Forwarded-Proto");
    proto.is_some_and(|proto| proto.eq_ignore_ascii_case(b"https"))
}

/// The host that the request is for, without its port.
pub(super) fn host<'r>(request: &Request<'r>) -> Result<&'r str, Fault> {
    let host = std::str::from_utf8(request.host().unwrap_or_default());
    host.map(|host| split_port(host).0).map_err(|_| {
        let reason = Reason::BadHost;
        Fault::new(Who::Downstream, reason, "the host is not ASCII")
    })
}
