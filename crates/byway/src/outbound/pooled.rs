//! Pooled: leases an HTTP connection, an idle one or a new one.
//!
//! In:    `Allowed` (a route with its upstreams, or one egress target).
//! Out:   a lease on a connection that was silent while it was idle.
//! Never: dials without a permit of the pool, or leases one user's egress connection to another.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use byway_dial::{DialError, ServerName, Stream, Target, TlsError};
use byway_pool::{AcquireError, Acquired, Client, Lease, OpenPermit, Pool};

use super::balance::Walk;
use super::busy::{self, BusyWait};
use super::link_table::Carries;
use super::tunnel_permits::TunnelPermit;
use super::upgrades::UpgradeSlot;
use super::upstream_conn::UpstreamConn;
use super::upstream_session::{UpstreamSession, UpstreamStream};
use super::{Engine, direct, link, multiplexed};
use crate::config::{Http2Mode, ListenerKey, UpstreamPlan};
use crate::fault::{Fault, Reason, Who};
use crate::observe::timing::{Phase, Timing};
use crate::route::{Allowed, Outbound};
use crate::runtime::scope::Scope;

/// The identity of an upstream in the pool: connections are shared within one key only.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PoolKey {
    /// An upstream of an edge, by its canonical URL.
    Upstream(Arc<str>),
    /// An exposed service, behind a link.
    Service(byway_link::Name),
    /// A target of an egress. Policy may differ by listener, user, client certificate and Plan, so
    /// those are part of the identity.
    Egress {
        /// The number of the Plan.
        generation: u64,
        /// The listener, if a Plan has it.
        listener: Option<Arc<ListenerKey>>,
        /// The authenticated user.
        user: Option<Arc<str>>,
        /// The SHA-256 of the certificate of the client.
        certificate: Option<Arc<str>>,
        /// The destination.
        target: Target,
    },
}

impl fmt::Display for PoolKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Upstream(id) => f.write_str(id),
            Self::Service(name) => write!(f, "the service {name}"),
            Self::Egress { target, .. } => target.fmt(f),
        }
    }
}

/// HTTP connections to upstreams: those of HTTP/1, and sessions of HTTP/2.
pub type UpstreamPool = Pool<PoolKey, UpstreamConn, UpstreamSession>;

/// A leased connection of HTTP/1.
pub type UpstreamLease = Lease<PoolKey, UpstreamConn, UpstreamSession>;

/// What a request is sent on.
pub enum Leased {
    /// A connection of HTTP/1.
    Conn(UpstreamLease),
    /// A stream of HTTP/2.
    Stream(Box<UpstreamStream>),
}

/// A leased connection or stream, and where it leads.
pub struct Borrowed {
    /// The lease.
    pub lease: Leased,
    /// Where it leads.
    pub destination: Destination,
}

/// Where a request goes.
pub struct Destination {
    /// The upstream's authority; for an exposed service the Host that its agent requests, if any.
    pub authority: Option<Arc<str>>,
    /// For a request with an upgrade.
    pub upgrade: Option<Box<UpgradeHold>>,
}

/// What an upgraded connection holds. Boxed where it is kept: most requests have none.
pub struct UpgradeHold {
    /// Counts against the upgraded connections of its origin.
    pub slot: UpgradeSlot,
    /// Its descriptor, if the request is on a stream beside others.
    pub permit: Option<Box<TunnelPermit>>,
}

/// What is required of a connection.
pub struct Want<'a> {
    /// Whether an idle one is acceptable.
    pub fresh: Freshness,
    /// Whether it may be upgraded, which requires a slot before the request is sent.
    pub upgrade: bool,
    /// Whether the request is on a stream beside others: then an upgrade takes a permit, too.
    pub on_stream: bool,
    /// The client that it is for, where clients share the upstream.
    pub client: Client,
    /// The owner of the task of a new session.
    pub scope: &'a Scope,
}

/// Whether an idle connection is acceptable.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Idle or new.
    Any,
    /// New: for a retry, after an idle one may have been stale.
    New,
}

/// Leases a connection to the next upstream of the walk.
///
/// # Errors
/// Why that upstream cannot be reached; 503 when the pool's queue is full or its wait is over.
///
/// # Cancel safety
/// Safe: a place in the queue is released, a connection that is not complete is closed, a permit is
/// returned.
pub async fn lease(
    engine: &Engine,
    pool: &UpstreamPool,
    walk: &mut Walk<'_>,
    allowed: &Allowed,
    want: &Want<'_>,
    timing: &mut Timing,
) -> Result<Borrowed, Fault> {
    let Some(upstream) = walk.step() else {
        return Err(Fault::new(
            Who::Us,
            Reason::NoRoute,
            "the route has no upstream",
        ));
    };
    let origin = PoolKey::Upstream(Arc::clone(&upstream.id));
    timing.upstream = Some(Arc::clone(&upstream.id));
    let is_shared = match upstream.http2 {
        Http2Mode::Never => false,
        // An upgrade has a connection of its own.
        Http2Mode::Auto => !want.upgrade,
        Http2Mode::Always => true,
    };
    if is_shared {
        let leasing = multiplexed::lease(engine, pool, upstream, allowed, want, timing);
        // Boxed, so that the futures of other requests stay small.
        return Ok(Borrowed {
            lease: Box::pin(leasing).await?,
            destination: Destination {
                authority: Some(Arc::clone(&upstream.authority)),
                upgrade: None,
            },
        });
    }
    let open = |permit: PoolPermit| async {
        let stream = open_upstream(engine, upstream, Http2Mode::Never, allowed).await?;
        Ok(permit.install(UpstreamConn::new(stream)))
    };
    let upgrade = match want.upgrade {
        true => Some(Box::pin(before_upgrade(engine, &origin, allowed, want)).await?),
        false => None,
    };
    let lease = lease_from(
        engine,
        pool,
        &origin,
        (want, want.fresh),
        timing,
        |permit| Box::pin(open(permit)),
    )
    .await?;
    Ok(Borrowed {
        lease: Leased::Conn(lease),
        destination: Destination {
            authority: Some(Arc::clone(&upstream.authority)),
            upgrade,
        },
    })
}

/// Leases a connection to the only destination: the target of an absolute-form request, or an
/// exposed service.
///
/// # Errors
/// As [`lease`], and `Denied` when every address of the target is denied.
pub async fn lease_single(
    engine: &Engine,
    pool: &UpstreamPool,
    origin: &PoolKey,
    allowed: &Allowed,
    want: &Want<'_>,
    timing: &mut Timing,
) -> Result<Borrowed, Fault> {
    let client = want.client;
    let mut fresh = want.fresh;
    let service = allowed.outbound().service();
    if let Some(name) = service {
        // A request that waits for an agent does not hold a place in the pool meanwhile.
        let settings = engine.live.peek().link.clone();
        let services = engine.link_table.services();
        let holders = services.until_held(name, client, &settings).await?;
        if holders > 1 {
            // An idle connection belongs to one of them: requests are distributed over all.
            fresh = Freshness::New;
        }
    }
    // No other request may use the stream of such a request once it is idle.
    let single_use = fresh == Freshness::New && !want.upgrade;
    let carries = match want.upgrade {
        false => Carries::Requests,
        true => Carries::Anything,
    };
    if want.upgrade && allowed.outbound().is_behind_link() {
        // Idle ones carry requests only, so a FIN within them would end both directions.
        fresh = Freshness::New;
    }
    let authority: Option<Arc<str>> = match allowed.outbound() {
        Outbound::Direct(target) | Outbound::Via(_, target) | Outbound::Exit(_, target) => {
            Some(target.to_string().into())
        }
        Outbound::Pooled(_) | Outbound::Service(_) => None,
    };
    timing.upstream = match service {
        Some(name) => Some(name.to_string().into()),
        None => authority.clone(),
    };
    let open = || async {
        let opened = match allowed.outbound() {
            Outbound::Service(name) => {
                link::open_service(engine, name, allowed.visitor(), client, carries).await?
            }
            Outbound::Exit(id, target) => {
                link::open_exit(engine, id, target, client, carries).await?
            }
            _ => {
                let dialled = super::open_once(engine, allowed, client).await?;
                return Ok(UpstreamConn::new(dialled.stream));
            }
        };
        Ok(UpstreamConn {
            host: opened.host,
            reports: opened.reports,
            ordered_end: opened.ordered_end,
            single_use: single_use && opened.ordered_end,
            ..UpstreamConn::new(opened.dialled.stream)
        })
    };
    let reuses = fresh == Freshness::Any;
    let open = |mut permit: PoolPermit| async move {
        let patience = engine.live.peek().pool.queue_wait;
        let mut waiting = BusyWait::new(engine, allowed, client, patience);
        let mut reuse = None;
        loop {
            let fault = match busy::or_reuse(&mut reuse, open()).await {
                Ok(Ok(opened)) => return Ok(permit.install(opened)),
                Ok(Err(fault)) => fault,
                Err(lease) => return Ok(lease),
            };
            if reuses && busy::is_busy(&fault) {
                reuse.get_or_insert_with(|| permit.next_idle());
            }
            let paused = waiting.pause_with(&mut permit, fault);
            match busy::or_reuse(&mut reuse, paused).await {
                Ok(paused) => paused?,
                Err(lease) => return Ok(lease),
            }
        }
    };
    let upgrade = match want.upgrade {
        true => Some(Box::pin(before_upgrade(engine, origin, allowed, want)).await?),
        false => None,
    };
    let lease = lease_from(engine, pool, origin, (want, fresh), timing, |permit| {
        Box::pin(open(permit))
    })
    .await?;
    let authority = lease.host.clone().or(authority);
    Ok(Borrowed {
        lease: Leased::Conn(lease),
        destination: Destination { authority, upgrade },
    })
}

/// The permission to dial.
type PoolPermit = OpenPermit<PoolKey, UpstreamConn, UpstreamSession>;

/// A dial in progress, with its permit. Boxed: most requests need none, and their futures stay
/// small.
type Dialling<'a> = Pin<Box<dyn Future<Output = Result<UpstreamLease, Fault>> + Send + 'a>>;

/// What a request with an upgrade takes before its connection: once upgraded, that leaves the pool
/// and no longer counts there.
async fn before_upgrade(
    engine: &Engine,
    origin: &PoolKey,
    allowed: &Allowed,
    want: &Want<'_>,
) -> Result<Box<UpgradeHold>, Fault> {
    let slot = engine.upgrades.slot(origin, want.client).await?;
    // Second, as it does not wait: the slot may be that of a tunnel that has just returned its own.
    let permit = match want.on_stream {
        true => engine.tunnel_permits.take(allowed, want.client)?,
        false => None,
    };
    Ok(Box::new(UpgradeHold { slot, permit }))
}

async fn lease_from<'a>(
    engine: &Engine,
    pool: &UpstreamPool,
    origin: &PoolKey,
    (want, fresh): (&Want<'_>, Freshness),
    timing: &mut Timing,
    open: impl FnOnce(PoolPermit) -> Dialling<'a>,
) -> Result<UpstreamLease, Fault> {
    let acquired = match fresh {
        Freshness::Any => pool.acquire_for(origin, want.client).await,
        Freshness::New => pool.acquire_fresh_for(origin, want.client).await,
    };
    let mut lease = match acquired.map_err(|error| limit_reached(engine, origin, &error))? {
        Acquired::Lease(lease) => lease,
        Acquired::Open(permit) => {
            timing.enter(Phase::Connect);
            let lease = open(permit).await?;
            timing.enter(Phase::Queue);
            lease
        }
        Acquired::Stream(_) => {
            let detail = "the pool has leased a stream where a connection was required";
            return Err(Fault::new(Who::Us, Reason::Internal, detail));
        }
    };
    if lease.reused() {
        lease.is_used_again(want.client.number());
    }
    Ok(lease)
}

/// Opens a connection to an upstream. With TLS it offers the versions of HTTP that `http2` says.
pub(super) async fn open_upstream(
    engine: &Engine,
    upstream: &UpstreamPlan,
    http2: Http2Mode,
    allowed: &Allowed,
) -> Result<Stream, Fault> {
    let mut stream = direct::open(engine, &upstream.target, allowed)
        .await?
        .stream;
    if upstream.tls {
        let connected = engine
            .upstream_tls
            .client(upstream.options.as_deref(), http2)?
            .connect(stream, &server_name(upstream))
            .await;
        stream = connected.map_err(|error| match error {
            DialError::Tls(TlsError::NotTls(_)) => {
                Fault::new(Who::Upstream, Reason::Tls, not_tls(&upstream.target))
            }
            error => error.into(),
        })?;
    }
    Ok(stream)
}

fn not_tls(target: &Target) -> String {
    format!("{target} does not speak TLS; if it speaks plain HTTP there, write http://{target}")
}

/// The name that the upstream's certificate must have. A Unix socket counts as this machine.
fn server_name(upstream: &UpstreamPlan) -> ServerName {
    let chosen = upstream
        .options
        .as_ref()
        .and_then(|options| options.server_name.clone());
    if let Some(name) = chosen {
        return ServerName::Host(name);
    }
    match &upstream.target {
        Target::Host { name, .. } => ServerName::Host(name.clone()),
        Target::Addr(addr) => ServerName::Ip(addr.ip()),
        Target::Unix(_) => ServerName::Ip(std::net::Ipv4Addr::LOCALHOST.into()),
    }
}

/// The fault for the limit of `[pool]` that keeps a request from a connection. Every waiter is
/// served or has timed out within `queue_wait`, which is therefore the time to wait before a retry.
pub(super) fn limit_reached(engine: &Engine, origin: &PoolKey, error: &AcquireError) -> Fault {
    let plan = engine.live.peek();
    let fault = match error {
        AcquireError::QueueFull { limit } => {
            let detail = format!("pool.queue: {limit} requests wait for a connection already");
            Fault::new(Who::Us, Reason::QueueFull, detail)
        }
        AcquireError::ClientShare { limit } => {
            let detail = format!(
                "pool.queue: {limit} requests wait for a connection, and this client held more places in the queue \
                 than another client that needed one"
            );
            Fault::new(Who::Us, Reason::ClientShare, detail)
        }
        AcquireError::QueueTimeout { .. } => {
            // One pass over the pool for each wait without success, of which the queue permits few.
            let stats = engine.pool.stats();
            let all = stats.connecting + stats.active + stats.idle + stats.upgraded;
            let own = stats.origins.iter().find(|of| of.key == *origin);
            let own = own.map_or(0, |of| of.connecting + of.active + of.idle + of.upgraded);
            let (reason, reached) =
                match own < plan.pool.max_per_origin && all >= plan.pool.max_total {
                    true => (
                        Reason::MaxTotal,
                        format!("pool.max_total: {all} connections are open to all upstreams"),
                    ),
                    false => (
                        Reason::MaxPerOrigin,
                        format!("pool.max_per_origin: {own} connections are open to {origin}"),
                    ),
                };
            let detail = format!(
                "{reached}, and none came free within pool.queue_wait, {:?}",
                plan.pool.queue_wait
            );
            Fault::new(Who::Us, reason, detail)
        }
        AcquireError::Closed => return Fault::new(Who::Us, Reason::Draining, error.to_string()),
    };
    fault.retry_after(plan.pool.queue_wait)
}

/// Whether another upstream may succeed: the fault is that of this upstream and its connection.
pub fn is_worth_another_upstream(fault: &Fault) -> bool {
    let connecting = matches!(
        fault.reason,
        Reason::Refused
            | Reason::Unreachable
            | Reason::NameNotFound
            | Reason::Tls
            | Reason::ClosedEarly
            | Reason::Connect
            | Reason::Resolve
    );
    fault.who == Who::Upstream && connecting
}
