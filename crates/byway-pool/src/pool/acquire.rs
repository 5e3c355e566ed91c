//! Acquire: how an acquire gets a connection, a stream or a permit, at once or after a wait.
//!
//! In:    keys and clients.
//! Out:   leases, and permits to open.
//! Never: dials, or holds a lock while it waits.

use super::{Acquired, Pool, now};
use crate::client::Client;
use crate::conn::{Conn, Key};
use crate::error::AcquireError;
use crate::event::{Event, Reason, notify};
use crate::lease::{OpenPermit, Permit, PooledConn};
use crate::permits::{AcquireRequest, Admit, Grant, Reach, Want};
use crate::session::Session;
use crate::shard::Shard;
use crate::stream_lease::{Requeue, StreamSlot};
use crate::wait::{Wait, Waited};
use std::sync::Arc;
use std::time::Instant;

enum Entered<K: Key, C: Conn, S: Session> {
    Served(Acquired<K, C, S>),
    Waits(Wait<K, C, S>),
}

/// What closing an idle connection has yielded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Room {
    None,
    /// A free permit.
    Free,
    /// A session that is being closed: its permit is freed when its owner has closed it.
    Closing,
}

/// Acquiring.
impl<K: Key, C: Conn, S: Session> Pool<K, C, S> {
    /// An idle connection of this origin in this shard, or else the permission to open one; waits
    /// in the queue if neither is available.
    ///
    /// At the total limit, the least recently used idle connection of any origin and shard is
    /// closed to make room; at the origin's limit, an idle one of the same origin in another shard.
    /// Fails if the queue is full, the wait takes longer than
    /// [`Limits::queue_wait`](crate::Limits::queue_wait), or the pool is closed.
    ///
    /// Cancel safe: a dropped acquire leaves the queue at once, and what it was just granted goes
    /// to the next waiter or becomes idle again. Needs a tokio runtime with time if it has to wait.
    pub async fn acquire(&self, key: &K) -> Result<Acquired<K, C, S>, AcquireError> {
        self.acquire_for(key, Client::ANYONE).await
    }

    /// As [`Pool::acquire`], for one of several clients that share the pool.
    ///
    /// A single client may hold all permits of an origin, and all places in the queue. When the
    /// queue is full, a newcomer takes the place of the newest waiter of the client with the most
    /// waiters, if its own client would still have fewer; the displaced waiter gets
    /// [`AcquireError::ClientShare`]. The same rule holds between origins, where it never displaces
    /// a client with fewer waiters. When several clients wait for an origin, a free permit goes to
    /// the one that holds least. If a client below its share (the limit divided by the clients that
    /// hold or wait) has waited for a quarter of [`Limits::queue_wait`](crate::Limits::queue_wait),
    /// at most 1 s, an exchange of a client above its share that is waiting for its own client is
    /// recalled: see
    /// [`Lease::poll_recalled`](crate::Lease::poll_recalled).
    pub async fn acquire_for(
        &self,
        key: &K,
        client: Client,
    ) -> Result<Acquired<K, C, S>, AcquireError> {
        let now = now();
        match self.shard.check_out(key, client, now) {
            Some(acquired) => Ok(acquired),
            None => {
                self.admit(key, self.request(Want::Any, client, None, now))
                    .await
            }
        }
    }

    /// As [`Pool::acquire`], but never an idle connection: for the one retry after a reused
    /// connection proved stale. At the origin's cap its oldest idle connection is closed to make
    /// room.
    ///
    /// Errors and cancel safety as for [`Pool::acquire`]; `Acquired::Lease` is never returned.
    pub async fn acquire_fresh(&self, key: &K) -> Result<Acquired<K, C, S>, AcquireError> {
        self.acquire_fresh_for(key, Client::ANYONE).await
    }

    /// As [`Pool::acquire_fresh`], for one of several clients: see [`Pool::acquire_for`].
    pub async fn acquire_fresh_for(
        &self,
        key: &K,
        client: Client,
    ) -> Result<Acquired<K, C, S>, AcquireError> {
        self.admit(key, self.request(Want::Fresh, client, None, now()))
            .await
    }

    /// As [`Pool::acquire`], for a request that a stream of a shared session can carry as well.
    ///
    /// Returns, in this order: an idle connection of this shard; a stream of a session that has a
    /// free slot; the permission to open a connection, whose result may be either
    /// ([`OpenPermit::install`], [`OpenPermit::install_session`]). A stream comes from a session of
    /// this shard, or from one of another shard if this shard has opened one already and its slots
    /// are used up, or if there is no permit.
    ///
    /// While a dial is under way that may yield a session, other acquires wait for its streams
    /// instead of dialling themselves: all of them if nothing is known of the origin, as many as
    /// the last session had streams otherwise. They dial as soon as it has yielded an exclusive
    /// connection, and two, four and more at once when it has failed. They wait in the same queue
    /// as all acquires. What is known of an origin is forgotten with its last connection; for one
    /// that is known to have exclusive connections only, use [`Pool::acquire`].
    ///
    /// Errors and cancel safety as for [`Pool::acquire`]: the slot that a dropped acquire was just
    /// granted goes to the next waiter.
    pub async fn acquire_shared(&self, key: &K) -> Result<Acquired<K, C, S>, AcquireError> {
        self.acquire_shared_for(key, Client::ANYONE).await
    }

    /// As [`Pool::acquire_shared`], for one of several clients: see [`Pool::acquire_for`]. A free
    /// slot goes to the waiting client that holds least, in connections and streams of the origin.
    /// If a client below its share waits, a stream of a client above its share may be recalled:
    /// see [`StreamLease::poll_recalled`](crate::StreamLease::poll_recalled).
    pub async fn acquire_shared_for(
        &self,
        key: &K,
        client: Client,
    ) -> Result<Acquired<K, C, S>, AcquireError> {
        if S::IS_NONE {
            return self.acquire_for(key, client).await;
        }
        let now = now();
        match self.shard.check_out(key, client, now) {
            Some(acquired) => Ok(acquired),
            None => {
                self.admit(key, self.request(Want::Shared, client, None, now))
                    .await
            }
        }
    }

    /// As [`Pool::acquire_shared_for`], for a request whose stream was refused unprocessed
    /// ([`StreamLease::refused`](crate::StreamLease::refused)): if it has to wait, it does so before
    /// every waiter that arrived after the refused acquire. Its time limit begins anew, and a full
    /// queue may refuse it.
    pub async fn acquire_again(
        &self,
        key: &K,
        requeue: Requeue,
    ) -> Result<Acquired<K, C, S>, AcquireError> {
        let Requeue { client, arrival } = requeue;
        let now = now();
        match self.shard.check_out(key, client, now) {
            Some(acquired) => Ok(acquired),
            None => {
                self.admit(key, self.request(Want::Shared, client, Some(arrival), now))
                    .await
            }
        }
    }
}

impl<K: Key, C: Conn, S: Session> Pool<K, C, S> {
    async fn admit(
        &self,
        key: &K,
        request: AcquireRequest,
    ) -> Result<Acquired<K, C, S>, AcquireError> {
        let mut wait = match self.enter(key, request)? {
            Entered::Served(acquired) => return Ok(acquired),
            Entered::Waits(wait) => wait,
        };
        loop {
            let waited = match (&mut wait).await {
                Ok(waited) => waited,
                Err(error) => {
                    self.notify_failed(key, &error);
                    return Err(error);
                }
            };
            let grant = match waited {
                Waited::Granted(grant) => grant,
                Waited::MakeRoom(reach) => {
                    self.make_room(key, reach, true);
                    continue;
                }
            };
            let request = AcquireRequest {
                since: now(),
                ..*wait.request()
            };
            let request = match self.accept(key, grant, request) {
                Ok(acquired) => return Ok(acquired),
                Err(request) => request,
            };
            wait = match self.enter(key, request)? {
                Entered::Served(acquired) => return Ok(acquired),
                Entered::Waits(wait) => wait,
            };
        }
    }

    /// Turns a grant into its guard; or returns the request, if the session of a stream takes no
    /// more.
    fn accept(
        &self,
        key: &K,
        grant: Grant<K, C, S>,
        request: AcquireRequest,
    ) -> Result<Acquired<K, C, S>, AcquireRequest> {
        let AcquireRequest { client, since, .. } = request;
        match grant {
            Grant::Reuse(pooled) => Ok(self.shard.receive(pooled, client, since)),
            Grant::Open(ticket, phase) => {
                let shard = Arc::clone(&self.shard);
                let permit = Permit::new(shard, key.clone(), ticket, phase, since);
                Ok(Acquired::Open(OpenPermit::new(permit)))
            }
            Grant::Stream(leased) => match StreamSlot::new(leased).open() {
                Ok(lease) => Ok(Acquired::Stream(lease)),
                Err(Requeue { arrival, .. }) => Err(AcquireRequest {
                    arrival: Some(arrival),
                    ..request
                }),
            },
        }
    }

    fn notify_failed(&self, key: &K, error: &AcquireError) {
        match *error {
            AcquireError::QueueTimeout { waited } => {
                notify(&self.core().watch, || Event::QueueTimeout { key, waited });
            }
            AcquireError::ClientShare { .. } | AcquireError::QueueFull { .. } => {
                notify(&self.core().watch, || Event::QueueRejected { key });
            }
            AcquireError::Closed => {}
        }
    }

    /// Takes what is free or a place in the queue; may close an idle connection to make room.
    fn enter(
        &self,
        key: &K,
        mut request: AcquireRequest,
    ) -> Result<Entered<K, C, S>, AcquireError> {
        let core = self.core();
        // Displaces another waiter only after no idle connection could be closed.
        let (mut is_second_try, mut may_close_session) = (false, true);
        loop {
            let admit =
                core.after(|permits, after| permits.admit(key, &request, is_second_try, after));
            let reach = match admit {
                Admit::Granted(grant) => match self.accept(key, grant, request) {
                    Ok(acquired) => return Ok(Entered::Served(acquired)),
                    Err(again) => {
                        request = again;
                        continue;
                    }
                },
                Admit::Queued { waiter, reach } => {
                    let wait = Wait::new(Arc::clone(&self.shard), waiter, request);
                    let room = reach.map_or(Room::None, |reach| self.make_room(key, reach, true));
                    if room != Room::Free {
                        notify(&core.watch, || Event::Queued { key });
                    }
                    return Ok(Entered::Waits(wait));
                }
                Admit::Full(reach) => reach,
                Admit::Closed => return Err(AcquireError::Closed),
            };
            match self.make_room(key, reach, may_close_session) {
                Room::Free => continue,
                // Its permit may be free already; if not, another one would not help either.
                Room::Closing => {
                    may_close_session = false;
                    continue;
                }
                Room::None => {}
            }
            if is_second_try {
                core.permits(|permits| permits.totals.queue_full += 1);
                let error = AcquireError::QueueFull {
                    limit: core.limits.queue_len,
                };
                self.notify_failed(key, &error);
                return Err(error);
            }
            is_second_try = true;
        }
    }

    fn request(
        &self,
        want: Want,
        client: Client,
        arrival: Option<usize>,
        since: Instant,
    ) -> AcquireRequest {
        AcquireRequest {
            shard: self.shard.number,
            want,
            client,
            since,
            arrival,
        }
    }

    /// Closes the least recently used idle connection within this reach, whose permit then serves
    /// the next waiter.
    fn make_room(&self, key: &K, reach: Reach, may_close_session: bool) -> Room {
        let own = |of| self.close_oldest(of, may_close_session);
        match reach {
            Reach::Own => own(Some(key)),
            Reach::OwnFirst => match own(Some(key)) {
                Room::None => own(None),
                room => room,
            },
            Reach::All => own(None),
        }
    }

    fn close_oldest(&self, of: Option<&K>, may_close_session: bool) -> Room {
        if !S::IS_NONE && may_close_session {
            let session = self
                .core()
                .permits(|permits| permits.session_idle_since(of));
            let is_older = |since: Instant| self.oldest(of).is_none_or(|(other, _)| since < other);
            if session.is_some_and(is_older)
                && self
                    .core()
                    .after(|permits, after| permits.retire_oldest_idle(of, after))
            {
                return Room::Closing;
            }
        }
        match self.take_oldest(of) {
            Some(victim) => {
                drop(victim.closed_for(Reason::Reclaimed));
                Room::Free
            }
            None => Room::None,
        }
    }

    /// The shard that has the least recently used idle connection, of one origin or of all.
    fn oldest(&self, of: Option<&K>) -> Option<(Instant, &Shard<K, C, S>)> {
        let shards = self.handle.shards.iter();
        let ages = shards.filter_map(|shard| Some((shard.idle_store.lock().oldest(of)?, &**shard)));
        ages.min_by_key(|(idle_since, _)| *idle_since)
    }

    /// The least recently used idle connection, of one origin or of all, in any shard.
    fn take_oldest(&self, of: Option<&K>) -> Option<Box<PooledConn<K, C, S>>> {
        loop {
            let (_, shard) = self.oldest(of)?;
            let taken = shard.idle_store.lock().take_oldest(of);
            if taken.is_some() {
                return taken; // else another thread took it: try the next one
            }
        }
    }
}
