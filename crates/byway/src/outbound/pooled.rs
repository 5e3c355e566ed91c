//! Pooled: an HTTP connection on loan, an idle one or a new one.
//!
//! In:    `Allowed` (a route with its upstreams, or one egress target).
//! Out:   a lease on a connection that was silent while it was idle.
//! Never: dials without the pool's permit, and never lends one user's egress connection to another.

use std::pin::Pin;
use std::sync::Arc;

use byway_agent::{Acquired, Lease};
use byway_dial::{Dialled, ServerName, Target};

use super::{balance, direct};
use crate::config::{ListenerKey, RoutePlan, UpstreamPlan};
use crate::exchange::conn::Conn;
use crate::fault::{Deadline, Fault, Kind, Who};
use crate::observe::course::{Course, Stage};
use crate::route::{Allowed, Outbound};
use crate::shared::Shared;

/// The identity of an upstream in the pool: connections are lent within one origin only.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// An upstream of an edge, by its canonical URL.
    Upstream(Arc<str>),
    /// An exposed service, behind a link.
    Service(byway_link::Name),
    /// A target of an egress. Policy may differ by listener, user and Plan, so those are part of the identity.
    Egress {
        /// The Plan's number.
        generation: u64,
        /// The listener.
        listener: Arc<ListenerKey>,
        /// Who logged in.
        user: Option<Arc<str>>,
        /// Where to.
        target: Target,
    },
}

/// A connection on loan, and what its Host field should say if the route wants the upstream's own.
pub struct Borrowed {
    /// The loan.
    pub lease: Lease<Origin, Conn>,
    /// The upstream's authority.
    pub authority: Arc<str>,
}

/// Whether an idle connection will do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Idle or new.
    Any,
    /// New: the one retry after an idle one proved stale.
    New,
}

/// Borrows a connection to the next upstream of the route; one that refuses or cannot be reached is skipped.
///
/// # Errors
/// The last upstream's fault; 503 when the pool's queue is full or its wait is over.
///
/// # Cancel safety
/// Safe: a place in the queue is given up, a half-made connection is closed, a permit goes back.
pub async fn lease(
    shared: &Shared,
    route: &RoutePlan,
    allowed: &Allowed,
    fresh: Freshness,
    course: &mut Course,
) -> Result<Borrowed, Fault> {
    let mut last = Fault::new(Who::Us, Kind::NoRoute, "the route has no upstream");
    for upstream in balance::in_turn(route) {
        let origin = Origin::Upstream(Arc::clone(&upstream.id));
        course.upstream = Some(Arc::clone(&upstream.id));
        match lease_from(shared, &origin, fresh, course, || Box::pin(open_upstream(shared, upstream, allowed))).await {
            Ok(lease) => return Ok(Borrowed { lease, authority: Arc::clone(&upstream.authority) }),
            Err(fault) if is_worth_another_upstream(&fault) => {
                tracing::debug!(upstream = %upstream.id, "skipped: {fault}");
                last = fault;
            }
            Err(fault) => return Err(fault),
        }
    }
    Err(last)
}

/// Borrows a connection to the target of an absolute-form request, or to an exposed service.
///
/// # Errors
/// As [`lease`], and `Denied` when every address of the target is.
pub async fn lease_egress(
    shared: &Shared,
    origin: &Origin,
    allowed: &Allowed,
    mut fresh: Freshness,
    course: &mut Course,
) -> Result<Borrowed, Fault> {
    if let Outbound::Service(name) = allowed.outbound() {
        // Whoever waits for an agent shall not hold a place in the pool meanwhile.
        let holders = Box::pin(shared.links.names.until_held(name, &shared.plan.load_full().link)).await?;
        if holders > 1 {
            // A kept connection leads to one of them: visitors go to all in turn.
            fresh = Freshness::New;
        }
    }
    let authority: Arc<str> = match allowed.outbound() {
        Outbound::Direct(target) | Outbound::Via(_, target) | Outbound::Exit(_, target) => target.to_string().into(),
        Outbound::Pooled(_) | Outbound::Service(_) => "".into(),
    };
    course.upstream = Some(match allowed.outbound() {
        Outbound::Service(name) => name.to_string().into(),
        _ => Arc::clone(&authority),
    });
    let lease = lease_from(shared, origin, fresh, course, || Box::pin(super::open(shared, allowed))).await?;
    Ok(Borrowed { lease, authority })
}

/// A dial under way. It is boxed: most requests need none, and none shall carry the room for one.
type Dialling<'a> = Pin<Box<dyn Future<Output = Result<Dialled, Fault>> + Send + 'a>>;

async fn lease_from<'a>(
    shared: &Shared,
    origin: &Origin,
    fresh: Freshness,
    course: &mut Course,
    open: impl FnOnce() -> Dialling<'a>,
) -> Result<Lease<Origin, Conn>, Fault> {
    let acquired = match fresh {
        Freshness::Any => shared.pool.acquire(origin).await?,
        Freshness::New => shared.pool.acquire_fresh(origin).await?,
    };
    match acquired {
        Acquired::Lease(lease) => Ok(lease),
        Acquired::Open(permit) => {
            course.turn(Stage::Connect);
            let opened = open().await;
            course.turn(Stage::Queue);
            Ok(permit.install(Conn::new(opened?.stream)))
        }
    }
}

async fn open_upstream(shared: &Shared, upstream: &UpstreamPlan, allowed: &Allowed) -> Result<Dialled, Fault> {
    let mut dialled = direct::open(shared, &upstream.target, allowed.rules()).await?;
    if upstream.tls {
        dialled.stream = shared.tls()?.connect(dialled.stream, &server_name(&upstream.target)).await?;
    }
    Ok(dialled)
}

/// Whom the upstream's certificate must name. A Unix socket stands for this machine.
fn server_name(target: &Target) -> ServerName {
    match target {
        Target::Host { name, .. } => ServerName::Host(name.clone()),
        Target::Addr(addr) => ServerName::Ip(addr.ip()),
        Target::Unix(_) => ServerName::Ip(std::net::Ipv4Addr::LOCALHOST.into()),
    }
}

/// Nothing was sent yet, so the next upstream may be asked whatever the method.
fn is_worth_another_upstream(fault: &Fault) -> bool {
    let connecting =
        matches!(fault.kind, Kind::Refused | Kind::Unreachable | Kind::NameNotFound | Kind::Tls | Kind::ClosedEarly);
    fault.who == Who::Upstream
        && (connecting || matches!(fault.kind, Kind::Deadline(Deadline::Connect | Deadline::Resolve)))
}
