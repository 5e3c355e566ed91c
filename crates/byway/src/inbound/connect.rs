//! Connect: the target of an HTTP request at an egress, and the CONNECT method.
//!
//! In:    a request on an egress listener.
//! Out:   the target; for CONNECT an open tunnel, with the success response queued after the far
//!        side connected.
//! Never: lets a CONNECT have a body.

use std::pin::pin;
use std::sync::Arc;

use byway_dial::Target;
use byway_dial::target::{parse_port, split_port};
use byway_head::{Framed, Request, Scheme, TargetForm};

use crate::exchange::answer;
use crate::exchange::client_gone::unless_gone;
use crate::exchange::downstream::Downstream;
use crate::fault::{Fault, Reason, Who};
use crate::observe::access::line::version_text;
use crate::outbound::tunnel::Tunnel;
use crate::outbound::{self, Engine};
use crate::route::Allowed;

/// The target of a request on an egress: the authority of CONNECT, or that of an absolute `http://`
/// target.
///
/// # Errors
/// What to write instead.
pub fn target(request: &Request<'_>) -> Result<Target, Fault> {
    let bad = |reason, detail: String| Fault::new(Who::Downstream, reason, detail);
    let authority = match request.target_form() {
        TargetForm::Authority => request.target(),
        TargetForm::Absolute {
            scheme, authority, ..
        } if scheme.eq_ignore_ascii_case(b"http") => authority,
        // With pseudo-headers an absolute target is in parts.
        TargetForm::Origin | TargetForm::Asterisk if request.scheme() == Some(Scheme::Http) => {
            request.host().unwrap_or_default()
        }
        TargetForm::Absolute { .. } => {
            return Err(bad(
                Reason::AbsoluteScheme,
                "an egress forwards http:// itself; use CONNECT for other schemes".into(),
            ));
        }
        TargetForm::Origin | TargetForm::Asterisk => {
            let detail = "this is an egress: request http://HOST/PATH or CONNECT HOST:PORT, as a client does that has a \
                          proxy configured";
            return Err(bad(Reason::OriginForm, detail.into()));
        }
    };
    let authority = String::from_utf8_lossy(authority);
    let (host, port) = split_port(&authority);
    let port = match port {
        None | Some("") => Ok(80),
        Some(port) => parse_port(port),
    };
    port.and_then(|port| Target::from_host(host, port))
        .map_err(|error| bad(Reason::BadTarget, error.to_string()))
}

/// CONNECT: opens the target and queues 200 once it is open.
///
/// # Errors
/// The fault to respond with; nothing was sent yet.
pub async fn open(
    engine: &Engine,
    downstream: &mut Downstream<'_>,
    request: &Request<'_>,
    allowed: &Allowed,
    user: Option<Arc<str>>,
) -> Result<Box<Tunnel>, Fault> {
    if request.framing() != Framed::None {
        let detail =
            "CONNECT has no body: Content-Length and Transfer-Encoding are refused with it";
        return Err(Fault::new(Who::Downstream, Reason::ConnectWithBody, detail));
    }
    // Its connection has one descriptor for all its streams.
    let permit = match request.version().has_streams() {
        true => outbound::tunnel_permit(engine, allowed)?,
        false => None,
    };
    let dialled = unless_gone(
        |cx| downstream.poll_broken(cx),
        pin!(outbound::open(engine, allowed)),
    )
    .await?;
    answer::queue_connected(downstream);
    let protocol = version_text(request.version());
    let tunnel = Tunnel::opened(dialled.stream, allowed.clone(), protocol).used_by(user);
    Ok(Box::new(Tunnel { permit, ..tunnel }))
}
