//! Connect: what an egress does with an HTTP request before the exchange: authentication, the
//! target, and the CONNECT method.
//!
//! In:    a request on an egress listener.
//! Out:   the user, the target, and for CONNECT an open tunnel, with the success response queued
//!        after the far side connected.
//! Never: lets a CONNECT have a body, or compares a password byte by byte.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use byway_agent::Client;
use byway_dial::{Stream, Target};
use byway_h1::{Framed, Request, TargetForm};

use super::context::{ConnectionContext, ConnectionInfo};
use super::tunnel_log::TunnelLog;
use crate::config::{EgressPlan, FrontendPlan, LoginDigest, MOST_CREDENTIAL_BYTES};
use crate::exchange::client_gone::unless_gone;
use crate::exchange::forward::Switched;
use crate::fault::{Fault, FaultKind, Who};
use crate::http::conn::Conn;
use crate::observe::counters::Counters;
use crate::outbound;
use crate::outbound::Engine;
use crate::outbound::upgrades::UpgradeSlot;
use crate::relay::{
    self, Early, End, EndKind, EndPhase, Outflow, Rate, Relay, RelayOptions, Side, SpillOptions,
    StreamShaper,
};
use crate::route::Allowed;

/// The far side of a tunnel.
pub struct Tunnel {
    upstream: Stream,
    early: Vec<u8>,
    allowed: Allowed,
    user: Option<Arc<str>>,
    protocol: &'static str,
    slot: Option<UpgradeSlot>,
}

impl Tunnel {
    /// A tunnel opened by an upgrade.
    pub fn switched(switched: Switched) -> Self {
        let Switched {
            stream,
            early,
            allowed,
            slot,
        } = switched;
        Self {
            upstream: stream,
            early,
            allowed,
            user: None,
            protocol: "UPGRADE",
            slot,
        }
    }

    /// A tunnel to a stream that `allowed` permitted, requested by `protocol`.
    pub fn opened(upstream: Stream, allowed: Allowed, protocol: &'static str) -> Self {
        Self {
            upstream,
            early: Vec::new(),
            allowed,
            user: None,
            protocol,
            slot: None,
        }
    }

    /// The same, for an authenticated user.
    #[must_use]
    pub fn used_by(self, user: Option<Arc<str>>) -> Self {
        Self { user, ..self }
    }
}

/// The user of a request, by Proxy-Authorization, if the listener has users.
///
/// # Errors
/// `Unauthorized` (407) when credentials are missing or wrong.
pub fn authenticate(
    request: &Request<'_>,
    egress: &EgressPlan,
    counters: &Counters,
) -> Result<Option<Arc<str>>, Fault> {
    if egress.users.is_empty() {
        return Ok(None);
    }
    let given = match request.field("Proxy-Authorization") {
        Some(value) if value.len() > MOST_BASIC_BYTES => {
            counters.auth_failures.add(1);
            return Err(unauthorized(WRONG_CREDENTIALS));
        }
        value => value.and_then(basic_credentials),
    };
    let Some((name, password)) = given else {
        return Err(unauthorized(
            "this egress requires a user and a password (Proxy-Authorization: Basic)",
        ));
    };
    check_password(egress, &name, &password, counters).map(Some)
}

/// The longest field value that is decoded: twice the size of the longest name and password, for
/// padding and spaces.
const MOST_BASIC_BYTES: usize = 4 * MOST_CREDENTIAL_BYTES * 4 / 3;

fn basic_credentials(value: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (scheme, encoded) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return None;
    }
    let decoded = BASE64_STANDARD.decode(encoded.trim_ascii()).ok()?;
    let colon = decoded.iter().position(|b| *b == b':')?;
    Some((
        decoded.get(..colon)?.to_vec(),
        decoded.get(colon + 1..)?.to_vec(),
    ))
}

/// The user of that name, if the password is correct. The credentials are hashed once, whatever the
/// number of users, and the digest is compared with that of every user, which the Plan holds: the
/// time of an attempt reveals neither which names exist nor how much of a password was correct.
/// Names and passwords above the limit are refused without hashing.
///
/// # Errors
/// `Unauthorized`, the same for an unknown name and for a wrong password.
pub fn check_password(
    egress: &EgressPlan,
    name: &[u8],
    password: &[u8],
    counters: &Counters,
) -> Result<Arc<str>, Fault> {
    let mut found = None;
    if let Some(given) = LoginDigest::of(name, password) {
        for user in &egress.users {
            if user.accepts(&given) {
                found = Some(Arc::clone(&user.name));
            }
        }
    }
    found.ok_or_else(|| {
        counters.auth_failures.add(1);
        unauthorized(WRONG_CREDENTIALS)
    })
}

const WRONG_CREDENTIALS: &str = "the user or the password is wrong";

fn unauthorized(detail: &'static str) -> Fault {
    Fault::new(Who::Downstream, FaultKind::Unauthorized, detail)
}

/// The target of a request on an egress: the authority of CONNECT, or that of an absolute `http://`
/// target.
///
/// # Errors
/// `Malformed` with what to write instead.
pub fn target(request: &Request<'_>) -> Result<Target, Fault> {
    let bad = |class: &'static str, detail: String| {
        Fault::new(Who::Downstream, FaultKind::Malformed(class), detail)
    };
    let authority = match request.target_form() {
        TargetForm::Authority => request.target(),
        TargetForm::Absolute {
            scheme, authority, ..
        } if scheme.eq_ignore_ascii_case(b"http") => authority,
        TargetForm::Absolute { .. } => {
            return Err(bad(
                "absolute-scheme",
                "an egress forwards http:// itself; use CONNECT for other schemes".into(),
            ));
        }
        TargetForm::Origin | TargetForm::Asterisk => {
            let detail = "this is an egress: request http://HOST/PATH or CONNECT HOST:PORT, as a client does that has a \
                          proxy configured";
            return Err(bad("origin-form", detail.into()));
        }
    };
    let authority = String::from_utf8_lossy(authority);
    let host = super::http::guards::without_port(&authority);
    let port = match authority.get(host.len()..).unwrap_or_default() {
        "" | ":" => Ok(80),
        port => byway_dial::target::parse_port(port.trim_start_matches(':')),
    };
    port.and_then(|port| Target::from_host(host, port))
        .map_err(|error| bad("bad-target", error.to_string()))
}

/// CONNECT: opens the target and queues 200 once it is open.
///
/// # Errors
/// The fault to respond with; nothing was sent yet.
pub async fn open(
    engine: &Engine,
    downstream: &mut Conn,
    request: &Request<'_>,
    allowed: &Allowed,
) -> Result<Box<Tunnel>, Fault> {
    if request.framing() != Framed::None {
        let detail =
            "CONNECT has no body: Content-Length and Transfer-Encoding are refused with it";
        return Err(Fault::new(
            Who::Downstream,
            FaultKind::Malformed("connect-with-body"),
            detail,
        ));
    }
    let dialled = unless_gone(downstream.stream(), pin!(outbound::open(engine, allowed))).await?;
    downstream
        .queue()
        .extend_from_slice(b"HTTP/1.1 200 Connection established\r\n\r\n");
    Ok(Box::new(Tunnel::opened(
        dialled.stream,
        allowed.clone(),
        "HTTP/1.1",
    )))
}

/// Sends what is still queued and relays until both directions have ended.
pub async fn relay(
    mut downstream: Conn,
    tunnel: Tunnel,
    info: &ConnectionInfo,
    context: &ConnectionContext,
    listener: &FrontendPlan,
) {
    let deadline = listener.limits.handshake_timeout;
    let tunnel_log = TunnelLog::new(
        context,
        info,
        listener,
        tunnel.user.as_deref(),
        tunnel.protocol,
    );
    if !matches!(
        tokio::time::timeout(deadline, downstream.flush()).await,
        Ok(Ok(()))
    ) {
        return tunnel_log.through(&tunnel.allowed).client_left();
    }
    let (stream, from_downstream) = downstream.into_parts();
    let early = Early {
        from_downstream,
        from_upstream: tunnel.early,
    };
    let options = relay_options(context.engine(), &tunnel.allowed, listener);
    let tunnel_log = tunnel_log.through(&tunnel.allowed);
    let Some(slot) = tunnel.slot else {
        return relay_streams(stream, tunnel.upstream, early, &options, &tunnel_log).await;
    };
    let end = until_recalled(relay::relay(stream, tunnel.upstream, &options, early), slot).await;
    tunnel_log.ended(&end);
}

/// An upgraded connection, until it ends or is recalled: other clients wait for one, its client has
/// more than its share of them, and of those this one has been silent for longest.
async fn until_recalled(mut relay: Relay, mut slot: UpgradeSlot) -> End {
    poll_fn(|cx| {
        if let Poll::Ready(end) = Pin::new(&mut relay).poll(cx) {
            return Poll::Ready(end);
        }
        let bytes = relay.bytes();
        let shed = End {
            who: Side::Us,
            kind: EndKind::Shed,
            phase: EndPhase::Relay,
            bytes,
        };
        slot.poll_recalled(cx, Some(bytes.up + bytes.down))
            .map(|()| shed)
    })
    .await
}

/// Runs a relay. All relays start here.
pub async fn relay_streams(
    downstream: Stream,
    upstream: Stream,
    early: Early,
    options: &RelayOptions,
    tunnel_log: &TunnelLog<'_>,
) {
    let end = relay::relay(downstream, upstream, options, early).await;
    tunnel_log.ended(&end);
}

/// How long a relay may be half-closed and silent, where bytes for its client may be spilled, and
/// how fast they may be sent.
pub fn relay_options(engine: &Engine, allowed: &Allowed, listener: &FrontendPlan) -> RelayOptions {
    RelayOptions {
        half_closed_idle: listener.limits.half_closed_idle,
        idle: listener.limits.idle,
        spill: spill(engine, allowed),
        limit_up: None,
        limit_down: limit_down(allowed),
        counters: Some(Arc::clone(&engine.relay_counters)),
    }
}

/// What is placed between an egress exchange and its client: the spill, the speed limit, or
/// neither.
pub fn slow_reader_guard(engine: &Engine, allowed: &Allowed) -> Option<Outflow> {
    let counters = Some(Arc::clone(&engine.relay_counters));
    let shaper = limit_down(allowed).map(StreamShaper::new);
    let outflow = match (spill(engine, allowed), &shaper) {
        (None, None) => return None,
        (None, Some(_)) => Outflow::direct(counters),
        (Some(spill), _) => Outflow::spilling(spill, counters),
    };
    Some(match shaper {
        Some(shaper) => outflow.shaped(shaper),
        None => outflow,
    })
}

/// Where bytes for this client may be spilled, charged to the user of the request, or else to its
/// address.
fn spill(engine: &Engine, allowed: &Allowed) -> Option<SpillOptions> {
    if !allowed.spills() {
        return None;
    }
    let spill = engine.spill.clone()?;
    Some(SpillOptions {
        client: Client::of(allowed.asker()),
        ..spill
    })
}

/// How fast bytes may be sent to this client.
fn limit_down(allowed: &Allowed) -> Option<Arc<Rate>> {
    allowed
        .stream_limit()
        .map(|rate| Arc::new(Rate::new(rate.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Role, hashed};

    #[test]
    fn a_wrong_password_is_hashed_once_for_any_number_of_users_and_a_long_one_is_not_hashed() {
        for count in [1, 1000] {
            let users: Vec<_> = (0..count)
                .map(|n| format!("{{ name = \"u{n}\", password = \"p{n}\" }}"))
                .collect();
            let text = format!(
                "[[proxy]]\nlisten = \":1\"\nusers = [{}]\n",
                users.join(", ")
            );
            let plan = crate::testing::plan(&text);
            let Role::Egress(egress) = &plan.listeners[0].frontend.role else {
                panic!("no egress")
            };
            let counters = Counters::default();
            let try_login = |name: &[u8], password: &[u8]| {
                let before = hashed::so_far();
                let user = check_password(egress, name, password, &counters);
                (
                    user.ok().map(|user| user.to_string()),
                    hashed::so_far() - before,
                )
            };
            let last = format!("{}", count - 1);
            let right = try_login(format!("u{last}").as_bytes(), format!("p{last}").as_bytes());
            assert_eq!(right, (Some(format!("u{last}")), 1));
            assert_eq!(try_login(b"u0", b"p1"), (None, 1));
            assert_eq!(try_login(b"unknown", b"p0"), (None, 1));
            assert_eq!(try_login(b"u0", &[b'x'; 47_000]), (None, 0));
            assert_eq!(try_login(&[b'u'; 256], b"p0"), (None, 0));
            assert_eq!(counters.auth_failures.value(), 4);
        }
    }

    #[test]
    fn the_longest_credentials_of_a_configuration_fit_into_a_field_that_is_decoded() {
        let longest = BASE64_STANDARD.encode([&[b'u'; 255][..], b":", &[b'p'; 255]].concat());
        assert!("Basic ".len() + longest.len() <= MOST_BASIC_BYTES);
    }
}
