//! Redirect: where a plain request has to be made over HTTPS.
//!
//! In:    a request on a listener that redirects.
//! Out:   the URL: the host and the target of the request, the port of the `https` listener.
//! Never: names another host than the request does.

use byway_head::Request;

use super::guards;
use super::request::RequestContext;
use crate::config::{Bind, Plan, Transport};
use crate::fault::{Fault, Reason, Who};

/// The default port of HTTPS.
const HTTPS_PORT: u16 = 443;

/// The URL of `request` at the `https` listener of its section.
pub(super) fn to_https(
    cx: &RequestContext<'_>,
    request: &Request<'_>,
    https: &Bind,
) -> Result<Box<str>, Fault> {
    let host = guards::host(request)?;
    let bad = |detail: &'static str| Fault::new(Who::Downstream, Reason::BadHost, detail);
    if host.is_empty() {
        return Err(bad(
            "the request names no host, and has to be made over HTTPS",
        ));
    }
    let target = std::str::from_utf8(request.path_and_query());
    let target = target.map_err(|_| bad("the target is not ASCII"))?;
    // `OPTIONS *` has no URL.
    let target = if target.starts_with('/') { target } else { "/" };
    Ok(match port(cx, https) {
        HTTPS_PORT => format!("https://{host}{target}"),
        port => format!("https://{host}:{port}{target}"),
    }
    .into())
}

/// The port that the listener is bound to; the system has chosen it if the config says 0.
fn port(cx: &RequestContext<'_>, https: &Bind) -> u16 {
    let port_of = |bind: &Bind| bind.tcp().map_or(HTTPS_PORT, |address| address.port());
    match port_of(https) {
        0 => bound(cx, cx.plan).as_ref().map_or(HTTPS_PORT, port_of),
        port => port,
    }
}

/// The address of the first `https` listener that shares the routes of this one.
fn bound(cx: &RequestContext<'_>, plan: &Plan) -> Option<Bind> {
    let is_ours = |transport: &Transport| *transport == Transport::Tls;
    let mut listeners = plan.keyed_listeners();
    let (key, _) = listeners.find(|(_, listener)| {
        let frontend = &listener.frontend;
        is_ours(&frontend.transport) && frontend.role == cx.frontend.role
    })?;
    cx.connection
        .live()
        .address_of(&key)
        .map(|bind| Bind::clone(&bind))
}
