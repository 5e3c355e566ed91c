//! Lease: guards for a permit in use: to open, to use, to keep counted.
//!
//! In:    a permit.
//! Out:   the same permit, exactly once, after its connection is closed.
//! Never: keeps a connection that was not released with [`Release::Keep`].

use crate::client::Client;
use crate::conn::{Conn, Key};
use crate::core::PoolCore;
use crate::event::{Event, Reason, notify};
use crate::hold::{Hold, Waiting};
use crate::idle::Slot;
use crate::next_idle::NextIdle;
use crate::permits::{NewSession, OriginState, Ticket};
use crate::pool::now;
use crate::session::{NoSession, Session};
use crate::session_guard::{SessionGuard, SharedConn};
use crate::shard::Shard;
use crate::slab::Id;
use crate::stats::ConnPhase;
use crate::stream_lease::{StreamLease, StreamSlot};
use std::fmt;
use std::num::NonZeroU32;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// A leased connection. Dropping it closes the connection; [`Lease::release`] can keep it.
///
/// This is the safe default: a request that was cancelled, failed or dropped before its end leaves
/// bytes behind that the next user must not read.
pub struct Lease<K: Key, C: Conn, S: Session = NoSession> {
    pooled: Box<PooledConn<K, C, S>>,
}

/// The permission to open one connection, taken before the dial. Dropping it gives it to the next
/// waiter.
#[must_use = "dial, then install the connection; dropping it returns the permit"]
pub struct OpenPermit<K: Key, C: Conn, S: Session = NoSession> {
    /// Boxed, so that what may hold one, such as the future of an acquire, stays small.
    permit: Box<Permit<K, C, S>>,
}

/// Keeps an upgraded connection, which has left the pool, counted. Drop it after the connection.
///
/// Without [`Limits::count_upgraded`](crate::Limits::count_upgraded) it counts nothing, and may be
/// dropped at any time.
#[must_use = "keep it for as long as the connection, which counts against the limits until this is dropped"]
pub struct Detached<K: Key, C: Conn, S: Session = NoSession> {
    key: K,
    _permit: Option<Permit<K, C, S>>,
}

/// What to do with a released connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// Reuse it. Only for a connection at a message boundary: the request was written to its end,
    /// the response was read to its end, and no byte is left in a read buffer.
    Keep {
        /// How long it may stay idle. From the origin's `Keep-Alive: timeout=N`, already reduced by
        /// a margin for the transit time and limited by the caller; not changed here. Zero closes.
        /// `None`: [`Limits::idle_timeout`](crate::Limits::idle_timeout).
        idle: Option<Duration>,
    },
    /// Close it.
    Close,
}

/// A connection and its permit. On drop, the connection is closed first, then its permit is freed,
/// even if the close panics: fields are dropped in order. So it must not be dropped under a lock.
pub(crate) struct PooledConn<K: Key, C: Conn, S: Session> {
    conn: C,
    permit: Permit<K, C, S>,
}

/// One of the connections that the limits allow. Freed on drop.
pub(crate) struct Permit<K: Key, C: Conn, S: Session> {
    card: Card<K, C, S>,
    key: K,
    phase: ConnPhase,
    opened: Instant,
    /// Set while its user waits for its own client.
    waiting: Option<Waiting>,
}

/// What each lease reads and writes. A separate type, so that it is contiguous in memory.
struct Card<K: Key, C: Conn, S: Session> {
    shard: Arc<Shard<K, C, S>>,
    ticket: Ticket<K, C, S>,
    /// The current client, or the last one.
    client: Client,
    /// The client that it was opened for.
    opener: Client,
    /// Set when the connection is installed.
    slot: Option<Id<Slot<K, C, S>>>,
    /// The reason to report if it is dropped now.
    reason: Reason,
    requests: u64,
    /// While it is idle or handed over: from this time on it must not be reused.
    good_until: Instant,
    /// While it is idle.
    idle_since: Instant,
    /// The end of its lifetime.
    ends: Option<Instant>,
}

impl<K: Key, C: Conn, S: Session> Lease<K, C, S> {
    pub(crate) fn new(pooled: Box<PooledConn<K, C, S>>) -> Self {
        Self { pooled }
    }

    /// The origin.
    pub fn key(&self) -> &K {
        &self.pooled.permit.key
    }

    /// Whether the connection has carried a request before this lease. The origin may have closed
    /// it meanwhile; a request that got no byte back can then be retried once with
    /// [`Pool::acquire_fresh`](crate::Pool::acquire_fresh).
    pub fn reused(&self) -> bool {
        self.pooled.permit.card.requests > 1
    }

    /// Leases of this connection, including this one: 1 on a new connection.
    pub fn requests(&self) -> u64 {
        self.pooled.permit.card.requests
    }

    /// Returns the connection. With [`Release::Keep`] it goes to the oldest waiter of its origin in
    /// its shard, or becomes idle. It is closed nevertheless if it is too old, has served its
    /// number of requests, was evicted, if another waiter has waited too long for its permit, or if
    /// the pool is closed.
    pub fn release(self, release: Release) {
        match release {
            Release::Keep { idle } => Shard::take_back(self.pooled, idle),
            Release::Close => drop(self),
        }
    }

    /// Reports whether the user of this lease waits for its own client (for bytes, or for a slow
    /// reader) and how many bytes it has `moved` so far; `None` if it does not wait, or waits for
    /// the origin. Call it whenever the user is polled and has to wait.
    ///
    /// Ready when the pool recalls the permit: another client waits for this origin and holds less
    /// than its share, this one holds more, and of its leases this one has waited longest. End the
    /// exchange then, and drop the lease. Only leases for a [`Client`] are recalled, and only while
    /// they wait for it.
    pub fn poll_recalled(&mut self, cx: &Context<'_>, moved: Option<u64>) -> Poll<()> {
        self.pooled.permit.poll_recalled(cx, moved)
    }

    /// Takes the connection out of the pool, for an upgrade or a CONNECT. It counts against the
    /// limits until the second value is dropped: keep both together. With
    /// [`Limits::count_upgraded`](crate::Limits::count_upgraded) off it stops counting now.
    pub fn detach(self) -> (C, Detached<K, C, S>) {
        let PooledConn { conn, mut permit } = *self.pooled;
        permit.card.reason = Reason::Upgraded;
        permit.free_slot();
        let key = permit.key.clone();
        let core = Arc::clone(&permit.card.shard.core);
        if !core.limits.count_upgraded {
            drop(permit);
            return (conn, Detached { key, _permit: None });
        }
        core.permits(|permits| permits.detach(permit.card.ticket.origin));
        permit.phase = ConnPhase::Upgraded;
        (
            conn,
            Detached {
                key,
                _permit: Some(permit),
            },
        )
    }
}

impl<K: Key, C: Conn, S: Session> OpenPermit<K, C, S> {
    pub(crate) fn new(permit: Permit<K, C, S>) -> Self {
        Self {
            permit: Box::new(permit),
        }
    }

    /// The origin to dial.
    pub fn key(&self) -> &K {
        &self.permit.key
    }

    /// As [`Lease::poll_recalled`], for a permit without a connection of the pool.
    pub fn poll_recalled(&mut self, cx: &Context<'_>, moved: Option<u64>) -> Poll<()> {
        self.permit.poll_recalled(cx, moved)
    }

    /// Waits for a connection of the origin that others of this shard release, while this permit
    /// cannot be used for a dial: for an origin that refuses more connections than it has. A
    /// connection that is idle now is returned at once. Later only those that were opened for the
    /// same client are, as the origin may count them for it; they go to those that wait in the order
    /// in which they began, and before acquires and the idle list. The permit stays in use: drop it
    /// when the wait has ended.
    ///
    /// Never resolves if no connection becomes idle: limit the wait. After the pool was closed or
    /// drained none does. Cancel safe: dropped, it leaves its place, and what it was given goes to
    /// the next one.
    pub fn next_idle(&self) -> NextIdle<K, C, S> {
        let shard = Arc::clone(&self.permit.card.shard);
        NextIdle::new(shard, self.permit.key.clone(), self.permit.card.client)
    }

    /// The dial succeeded: the connection now belongs to the pool and is leased. Its lifetime
    /// begins.
    pub fn install(self, conn: C) -> Lease<K, C, S> {
        let mut permit = *self.permit;
        let now = now();
        let phase = std::mem::replace(&mut permit.phase, ConnPhase::Installed);
        let core = &permit.card.shard.core;
        let (origin, shard) = (permit.card.ticket.origin, permit.card.shard.number);
        core.after(|permits, after| permits.install(origin, phase, shard, after));
        permit.opened = now;
        permit.card.ends = core.lifetime().map(|lifetime| now + lifetime);
        permit.card.requests = 1;
        permit.card.opener = permit.card.client;
        permit.card.slot = Some(permit.card.shard.idle_store.lock().add_slot(&permit.key));
        notify(&core.watch, || Event::Opened { key: &permit.key });
        Lease {
            pooled: Box::new(PooledConn { conn, permit }),
        }
    }

    /// The dial succeeded, and its connection carries many streams: it now belongs to the pool, its
    /// first stream is leased, and others go to the waiters of the origin that accept one. Its
    /// lifetime begins.
    ///
    /// `max_streams` is how many streams the peer takes at once, as far as is known. The guard goes
    /// to the owner of the socket. If the pool was closed or the origin evicted meanwhile, the
    /// session gets no other stream than the first.
    pub fn install_session(
        self,
        session: S,
        max_streams: NonZeroU32,
    ) -> (StreamLease<K, C, S>, SessionGuard<K, C, S>) {
        let Self { mut permit } = self;
        let now = now();
        let core = Arc::clone(&permit.card.shard.core);
        let phase = std::mem::replace(&mut permit.phase, ConnPhase::Installed);
        permit.opened = now;
        permit.settle();
        let leased = core.after(|permits, after| {
            let new = NewSession {
                origin: permit.card.ticket.origin,
                shard: permit.card.shard.number,
                phase,
                client: permit.card.client,
                max_streams: max_streams.get() as usize,
                idle_timeout: core.limits.idle_timeout.min(crate::pool::LONGEST),
                ends: core.lifetime().map(|lifetime| now + lifetime),
                is_evicted: permit.card.ticket.is_evicted(&core.evictions),
            };
            permits.install_session(&new, now, after, |entry| {
                Arc::new(SharedConn {
                    session,
                    permit: *permit,
                    entry,
                })
            })
        });
        let shared = Arc::clone(&leased.shared);
        notify(&core.watch, || Event::Opened {
            key: shared.permit.key(),
        });
        // Both guards exist before foreign code runs.
        let (slot, guard) = (StreamSlot::new(leased), SessionGuard::new(shared));
        let stream = guard.session().open();
        (StreamLease::new(stream, slot), guard)
    }
}

impl<K: Key, C: Conn, S: Session> Detached<K, C, S> {
    /// The origin that the connection counts for.
    pub fn key(&self) -> &K {
        &self.key
    }
}

impl<K: Key, C: Conn, S: Session> PooledConn<K, C, S> {
    pub(crate) fn key(&self) -> &K {
        &self.permit.key
    }

    pub(crate) fn conn(&self) -> &C {
        &self.conn
    }

    pub(crate) fn conn_mut(&mut self) -> &mut C {
        &mut self.conn
    }

    pub(crate) fn permit(&mut self) -> &mut Permit<K, C, S> {
        &mut self.permit
    }

    pub(crate) fn hold(&self) -> &Hold {
        &self.permit.card.ticket.hold
    }

    pub(crate) fn origin(&self) -> Id<OriginState<K, C, S>> {
        self.permit.card.ticket.origin
    }

    pub(crate) fn shard(&self) -> &Arc<Shard<K, C, S>> {
        &self.permit.card.shard
    }

    pub(crate) fn slot(&self) -> Option<Id<Slot<K, C, S>>> {
        self.permit.card.slot
    }

    pub(crate) fn requests(&self) -> u64 {
        self.permit.card.requests
    }

    pub(crate) fn opener(&self) -> Client {
        self.permit.card.opener
    }

    pub(crate) fn good_until(&self) -> Instant {
        self.permit.card.good_until
    }

    pub(crate) fn idle_since(&self) -> Instant {
        self.permit.card.idle_since
    }

    pub(crate) fn is_evicted(&mut self) -> bool {
        let Card { shard, ticket, .. } = &mut self.permit.card;
        ticket.is_evicted(&shard.core.evictions)
    }

    /// Sets the reason of a close; the caller drops the result.
    pub(crate) fn closed_for(mut self: Box<Self>, reason: Reason) -> Box<Self> {
        self.permit.card.reason = reason;
        self
    }

    pub(crate) fn closed_for_age(self: Box<Self>, now: Instant) -> Box<Self> {
        let reason = if self.permit.is_past_lifetime(now) {
            Reason::Lifetime
        } else {
            Reason::IdleTimeout
        };
        self.closed_for(reason)
    }

    /// Closes the connection and keeps its permit, for `client` to open another one.
    pub(crate) fn into_permit(self, client: Client) -> Permit<K, C, S> {
        let Self { conn, mut permit } = self;
        drop(conn);
        permit.free_slot();
        permit.notify_closed();
        permit.card.ticket = permit
            .card
            .shard
            .core
            .permits(|permits| permits.reopen(&permit.card.ticket));
        permit.phase = ConnPhase::Connecting;
        permit.card.reason = Reason::NotKept;
        permit.belongs_to(client);
        permit
    }
}

impl<K: Key, C: Conn, S: Session> Permit<K, C, S> {
    pub(crate) fn new(
        shard: Arc<Shard<K, C, S>>,
        key: K,
        ticket: Ticket<K, C, S>,
        phase: ConnPhase,
        now: Instant,
    ) -> Self {
        let (slot, reason, requests) = (None, Reason::NotKept, 0);
        let client = ticket.hold.client();
        let card = Card {
            shard,
            ticket,
            client,
            opener: client,
            slot,
            reason,
            requests,
            good_until: now,
            idle_since: now,
            ends: None,
        };
        Self {
            card,
            key,
            phase,
            opened: now,
            waiting: None,
        }
    }

    pub(crate) fn key(&self) -> &K {
        &self.key
    }

    pub(crate) fn core(&self) -> &Arc<PoolCore<K, C, S>> {
        &self.card.shard.core
    }

    pub(crate) fn hold(&self) -> &Hold {
        &self.card.ticket.hold
    }

    /// What to report when it is dropped, for a session.
    pub(crate) fn closes_for(&mut self, reason: Reason, requests: u64) {
        (self.card.reason, self.card.requests) = (reason, requests);
    }

    /// A new lease, for `client`. If it is not kept, its user did not release it with `Keep`.
    pub(crate) fn assign_to(&mut self, client: Client) {
        self.card.requests += 1;
        self.card.reason = Reason::NotKept;
        self.belongs_to(client);
    }

    fn belongs_to(&mut self, client: Client) {
        // The shared `Hold` is elsewhere in memory: it is written only when the client changes.
        if self.card.client != client {
            self.card.client = client;
            self.card.ticket.hold.belongs_to(client);
        }
    }

    /// Its user no longer waits for its client.
    pub(crate) fn settle(&mut self) {
        if self.waiting.is_some() {
            self.card.ticket.hold.rest(&mut self.waiting);
        }
    }

    fn poll_recalled(&mut self, cx: &Context<'_>, moved: Option<u64>) -> Poll<()> {
        if moved.is_none() && self.waiting.is_none() {
            return Poll::Pending;
        }
        self.card
            .ticket
            .hold
            .poll_recalled(&mut self.waiting, cx, moved)
    }

    /// Sets how long it may be idle; an error is the reason why it must be closed.
    pub(crate) fn rest(&mut self, now: Instant, idle: Duration) -> Result<(), Reason> {
        let max_requests = self.card.shard.core.limits.max_requests;
        if max_requests.is_some_and(|max| self.card.requests >= max) {
            return Err(Reason::MaxRequests);
        }
        if self.is_past_lifetime(now) {
            return Err(Reason::Lifetime);
        }
        if idle.is_zero() {
            return Err(Reason::IdleTimeout);
        }
        let until = now + idle;
        self.card.good_until = self.card.ends.map_or(until, |ends| ends.min(until));
        self.rests_since(now);
        Ok(())
    }

    /// Marks it as the most recently used.
    pub(crate) fn rests_since(&mut self, now: Instant) {
        self.card.idle_since = now;
    }

    fn is_past_lifetime(&self, now: Instant) -> bool {
        self.card.ends.is_some_and(|ends| ends <= now)
    }

    /// Its connection has left the shard.
    fn free_slot(&mut self) {
        if let Some(slot) = self.card.slot.take() {
            self.card.shard.idle_store.lock().leave(&self.key, slot);
        }
    }

    fn notify_closed(&self) {
        notify(&self.card.shard.core.watch, || Event::Closed {
            key: &self.key,
            reason: self.card.reason,
            age: now().saturating_duration_since(self.opened),
            requests: self.card.requests,
        });
    }
}

impl<K: Key, C: Conn, S: Session> Drop for Permit<K, C, S> {
    fn drop(&mut self) {
        self.free_slot();
        let Shard { core, number, .. } = &*self.card.shard;
        core.free(&self.card.ticket, self.phase, *number);
        if !self.phase.is_connecting() {
            self.notify_closed();
        }
    }
}

impl<K: Key, C: Conn, S: Session> Deref for Lease<K, C, S> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.pooled.conn
    }
}

impl<K: Key, C: Conn, S: Session> DerefMut for Lease<K, C, S> {
    fn deref_mut(&mut self) -> &mut C {
        &mut self.pooled.conn
    }
}

impl<K: Key, C: Conn, S: Session> fmt::Debug for Lease<K, C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("requests", &self.pooled.permit.card.requests)
            .finish_non_exhaustive()
    }
}

impl<K: Key, C: Conn, S: Session> fmt::Debug for OpenPermit<K, C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenPermit").finish_non_exhaustive()
    }
}

impl<K: Key, C: Conn, S: Session> fmt::Debug for Detached<K, C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Detached").finish_non_exhaustive()
    }
}
