//! Stream lease: a guard for one stream of a shared session.
//!
//! In:    a slot of a session.
//! Out:   the same slot, exactly once, after the stream has ended.
//! Never: frees a slot while the work of its stream goes on.

use crate::client::Client;
use crate::conn::{Conn, Key};
use crate::event::{Event, notify};
use crate::hold::Waiting;
use crate::permits::{Ending, LeasedStream};
use crate::pool::now;
use crate::session::{NoSession, Session};
use crate::session_guard::SharedConn;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A leased stream of a shared session. Dropping it resets the stream ([`Session::reset`]);
/// [`StreamLease::release`] returns it in order.
///
/// Its slot counts against the peer's limit until then: keep the lease until all work for the
/// stream has ended, not only until its last byte.
pub struct StreamLease<K: Key, C: Conn, S: Session = NoSession> {
    /// The stream.
    pub stream: S::Stream,
    /// In a box, so that the result of an acquire is as small in a pool without sessions.
    slot: Box<StreamSlot<K, C, S>>,
}

/// The position in the queue of a request whose stream was refused unprocessed: see
/// [`Pool::acquire_again`](crate::Pool::acquire_again).
#[derive(Debug, Clone, Copy)]
#[must_use = "acquire again with it"]
pub struct Requeue {
    pub(crate) client: Client,
    pub(crate) arrival: usize,
}

/// A slot of a session; freed on drop.
pub(crate) struct StreamSlot<K: Key, C: Conn, S: Session> {
    leased: LeasedStream<K, C, S>,
    ending: Ending,
    /// Set while its user waits for its own client.
    waiting: Option<Waiting>,
}

impl<K: Key, C: Conn, S: Session> StreamLease<K, C, S> {
    pub(crate) fn new(stream: S::Stream, mut slot: StreamSlot<K, C, S>) -> Self {
        slot.ending = Ending::Reset;
        let slot = Box::new(slot);
        Self { stream, slot }
    }

    /// The origin.
    pub fn key(&self) -> &K {
        self.slot.shared().permit.key()
    }

    /// The session.
    pub fn session(&self) -> &S {
        &self.slot.shared().session
    }

    /// Whether the session has carried a stream before this one.
    pub fn reused(&self) -> bool {
        self.requests() > 1
    }

    /// Streams leased from the session until this one, including it: 1 on a new session.
    pub fn requests(&self) -> u64 {
        self.slot.leased.requests
    }

    /// Returns the stream, whose work has ended in order: its request was sent and its response
    /// was read to the end, or it was reset by the peer. Its slot goes to the next waiter of its
    /// origin.
    pub fn release(mut self) {
        self.slot.ending = Ending::Released;
    }

    /// Gives back a stream that the peer refused without processing its request (`REFUSED_STREAM`,
    /// or a GOAWAY with a lower last stream), or on which nothing was sent because the session has
    /// ended. [`Pool::acquire_again`](crate::Pool::acquire_again) then gets another one.
    ///
    /// The session gets no more streams at once than are in use now, until one of them is released
    /// or the peer announces a limit: a peer that refuses takes fewer than it has announced. If
    /// none is in use, it gets no more at all. Limit how often one request is repeated.
    pub fn refused(mut self) -> Requeue {
        self.slot.ending = Ending::Refused;
        self.slot.requeue()
    }

    /// Reports whether the user of this stream waits for its own client, as
    /// [`Lease::poll_recalled`](crate::Lease::poll_recalled). Ready when the pool recalls the slot
    /// for another client: end the exchange then, and drop the lease.
    pub fn poll_recalled(&mut self, cx: &Context<'_>, moved: Option<u64>) -> Poll<()> {
        let StreamSlot {
            leased, waiting, ..
        } = &mut *self.slot;
        if moved.is_none() && waiting.is_none() {
            return Poll::Pending;
        }
        leased.hold.poll_recalled(waiting, cx, moved)
    }
}

impl<K: Key, C: Conn, S: Session> StreamSlot<K, C, S> {
    /// A slot whose stream is not open yet.
    pub(crate) fn new(leased: LeasedStream<K, C, S>) -> Self {
        Self {
            leased,
            ending: Ending::Unused,
            waiting: None,
        }
    }

    /// Opens its stream. If the session takes no more, the slot is given up, and the acquire
    /// continues at its position.
    pub(crate) fn open(mut self) -> Result<StreamLease<K, C, S>, Requeue> {
        if !self.shared().session.is_open() {
            self.ending = Ending::GoneAway;
            return Err(self.requeue());
        }
        let (shared, requests) = (self.shared(), self.leased.requests);
        if requests > 1 {
            notify(&shared.permit.core().watch, || Event::Reused {
                key: shared.permit.key(),
                requests,
            });
        }
        let stream = shared.session.open();
        Ok(StreamLease::new(stream, self))
    }

    fn requeue(&self) -> Requeue {
        Requeue {
            client: self.leased.hold.client(),
            arrival: self.leased.arrival,
        }
    }

    fn shared(&self) -> &Arc<SharedConn<K, C, S>> {
        &self.leased.shared
    }
}

impl<K: Key, C: Conn, S: Session> Drop for StreamLease<K, C, S> {
    fn drop(&mut self) {
        if self.slot.ending == Ending::Reset {
            self.slot.leased.shared.session.reset(&mut self.stream);
        }
        // Then the stream is dropped, and after it its slot.
    }
}

impl<K: Key, C: Conn, S: Session> Drop for StreamSlot<K, C, S> {
    fn drop(&mut self) {
        self.leased.hold.rest(&mut self.waiting);
        let shared = &self.leased.shared;
        let (place, ending, now) = (self.leased.place, self.ending, now());
        shared
            .permit
            .core()
            .after(|permits, after| permits.end_stream(shared, place, ending, now, after));
    }
}

impl<K: Key, C: Conn, S: Session> fmt::Debug for StreamLease<K, C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamLease")
            .field("requests", &self.requests())
            .finish_non_exhaustive()
    }
}
