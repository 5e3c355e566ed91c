//! Multiplexed: leases a stream of a shared connection, or a connection that the upstream wants to
//! have for one request at a time.
//!
//! In:    an upstream that HTTP/2 is spoken to.
//! Out:   a stream of a session; or a connection of HTTP/1, if the upstream has chosen that.
//! Never: decides for an upstream that may choose (ALPN), or dials while a dial is under way whose
//!        session has streams for all who wait.

use byway_head::Scheme;
use byway_pool::{Acquired, Release};

use super::pooled::{Freshness, Leased, PoolKey, UpstreamPool, Want, limit_reached, open_upstream};
use super::upstream_conn::UpstreamConn;
use super::{Engine, upstream_session};
use crate::config::{Http2Mode, UpstreamPlan};
use crate::fault::{Fault, Reason, Who};
use crate::observe::timing::{Phase, Timing};
use crate::route::Allowed;

/// Leases a stream of a session with `upstream`, or a connection of HTTP/1 to it.
///
/// # Errors
/// Why it cannot be reached; 503 when the pool's queue is full or its wait is over.
///
/// # Cancel safety
/// Safe: a place in the queue is released, and a dial is ended; the permit for it goes to the next
/// request that waits.
pub(super) async fn lease(
    engine: &Engine,
    pool: &UpstreamPool,
    upstream: &UpstreamPlan,
    allowed: &Allowed,
    want: &Want<'_>,
    timing: &mut Timing,
) -> Result<Leased, Fault> {
    if want.upgrade {
        let detail = format!(
            "{} is an upstream with h2 = true, to which no protocol is upgraded; with h2 = \"auto\" upgrades use a \
             connection of HTTP/1.1",
            upstream.target
        );
        return Err(Fault::new(Who::Upstream, Reason::UpgradeIgnored, detail));
    }
    let origin = PoolKey::Upstream(upstream.id.clone());
    let failed = |error| limit_reached(engine, &origin, &error);
    let acquired = pool.acquire_shared_for(&origin, want.client).await;
    let acquired = match acquired.map_err(failed)? {
        Acquired::Lease(stale) if want.fresh == Freshness::New => {
            stale.release(Release::Close);
            let fresh = pool.acquire_fresh_for(&origin, want.client).await;
            fresh.map_err(failed)?
        }
        acquired => acquired,
    };
    let permit = match acquired {
        Acquired::Lease(mut lease) => {
            lease.is_used_again(want.client.number());
            return Ok(Leased::Conn(lease));
        }
        Acquired::Stream(stream) => return Ok(Leased::Stream(Box::new(stream))),
        Acquired::Open(permit) => permit,
    };
    timing.enter(Phase::Connect);
    let stream = open_upstream(engine, upstream, upstream.http2, allowed).await?;
    let (scheme, is_http2) = match upstream.tls {
        true => (Scheme::Https, stream.alpn() == Some(b"h2")),
        false => (Scheme::Http, true),
    };
    if is_http2 {
        let begun = upstream_session::begin(engine, stream, scheme, permit, want.scope).await?;
        timing.enter(Phase::Queue);
        return Ok(Leased::Stream(Box::new(begun)));
    }
    if upstream.http2 == Http2Mode::Always {
        let detail = format!(
            "{} does not choose h2 in its TLS handshake (ALPN); with h2 = \"auto\" it may choose HTTP/1.1",
            upstream.target
        );
        return Err(Fault::new(Who::Upstream, Reason::Tls, detail));
    }
    timing.enter(Phase::Queue);
    Ok(Leased::Conn(permit.install(UpstreamConn::new(stream))))
}
