//! Link: the other side of a link opens the stream: an exit dials the target, an agent the service
//! behind a name.
//!
//! In:    a target and the link to the exit, or a public name.
//! Out:   an open stream, once the far side has connected.
//! Never: resolves the target's name, or sends a byte before the far side has responded.

use std::net::SocketAddr;
use std::time::Duration;

use byway_dial::{Dialled, Target};
use byway_link::wire::Open;
use byway_link::{ClientKey, Link, Name, OpenAttempts, OpenError};
use byway_pool::Client;
use tokio::time::{Instant, timeout_at};

use super::Engine;
use super::link_table::{Carries, ExitLink, OpenedOnLink};
use crate::fault::{Fault, Reason, Who};

/// How long a reachable exit may take to connect: its own deadlines are shorter.
const OPEN_TIMEOUT: Duration = Duration::from_secs(45);

/// Opens `target` through the exit of the link `id`, for `client`.
pub async fn open_exit(
    engine: &Engine,
    id: &str,
    target: &Target,
    client: Client,
    carries: Carries,
) -> Result<OpenedOnLink, Fault> {
    let exit = engine.link_table.exit(id).ok_or_else(|| {
        Fault::new(
            Who::Us,
            Reason::Internal,
            "this node no longer maintains the link to the exit",
        )
    })?;
    let (host, port) = match target {
        Target::Addr(addr) => (addr.ip().to_string(), addr.port()),
        Target::Host { name, port } => (name.to_string(), *port),
        Target::Unix(_) => {
            return Err(Fault::new(
                Who::Downstream,
                Reason::Denied,
                "an exit does not connect to Unix sockets",
            ));
        }
    };
    let open = Open {
        host,
        port: port.into(),
        ordered_end: carries == Carries::Requests,
        ..Open::default()
    };
    // A request that got no response is sent again on the next session.
    let (deadline, mut attempts) = (Instant::now() + SESSION_PATIENCE, OpenAttempts::default());
    let client = ClientKey::numbered(client.number());
    loop {
        let link = session(&*exit, deadline).await?;
        let opened = tokio::select! {
            opened = link.open_again(&open, client, OPEN_TIMEOUT, &mut attempts) => opened,
            () = link.silent_at(deadline) => return Err(away(&*exit)),
        };
        match opened {
            Ok(opened) => {
                let dialled = Dialled {
                    stream: opened.stream,
                    peer: None,
                    local: opened.local,
                };
                return Ok(OpenedOnLink {
                    dialled,
                    ordered_end: opened.ordered_end,
                    host: None,
                    reports: None,
                });
            }
            Err(OpenError::Lost) if !attempts.is_used_up() && Instant::now() < deadline => {
                // The session is ending, or has another carrier left.
                let _ = tokio::time::timeout(CARRIER_CHANGE, link.ended()).await;
            }
            Err(error) => return Err(Fault::from_link(error)),
        }
    }
}

/// Delay before the request is repeated on a session that lost a carrier but still exists.
const CARRIER_CHANGE: Duration = Duration::from_millis(20);

/// How long an inquiry waits for a session that is not there, from its arrival.
pub const SESSION_PATIENCE: Duration = Duration::from_secs(15);

/// The session of `exit`, waited for until `deadline` if the link is down.
async fn session(exit: &dyn ExitLink, deadline: Instant) -> Result<Link, Fault> {
    let mut session = exit.session();
    let up = session.wait_for(|session| session.as_ref().is_some_and(|link| !link.is_over()));
    match timeout_at(deadline, up).await {
        Ok(Ok(session)) => session.clone().ok_or_else(|| away(exit)),
        _ => Err(away(exit)),
    }
}

/// That the link is down, and where to look.
fn away(exit: &dyn ExitLink) -> Fault {
    let detail = format!(
        "the link to {} is down; the log of this node says why",
        exit.address()
    );
    Fault::new(Who::Link, Reason::Parked, detail)
}

/// Opens the service behind a public name, for `visitor` of `client`.
pub async fn open_service(
    engine: &Engine,
    name: &Name,
    visitor: Option<SocketAddr>,
    client: Client,
    carries: Carries,
) -> Result<OpenedOnLink, Fault> {
    let settings = engine.live.peek().link.clone();
    let services = engine.link_table.services();
    services
        .open(name, visitor, client, carries, &settings)
        .await
}
