//! Pooled conn: an HTTP/1 connection to an origin, as the pool keeps it.
//!
//! In:    an open stream.
//! Out:   the connection for one exchange after the other; a close event.
//! Never: counts as clean while a byte is left over, in or out.

use super::connector::Connected;
use super::event::{CloseReason, Event, Observer};
use super::group::Group;
use super::h2_session::H2Session;
use byway_dial::{Pipe, Stream};
use byway_http::LazyTimer;
use byway_http::h1::{ClientExchange, Conn};
use byway_pool::{Lease, Probe};
use http::{HeaderName, HeaderValue};
use std::borrow::{Borrow, BorrowMut};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::Instant;

/// A request and its response on a connection of the pool.
pub(crate) type Exchange = ClientExchange<Lease<Group, PooledConn, H2Session>>;

/// An HTTP/1 connection to an origin, as the pool keeps it. Dropping it closes the connection, by a
/// FIN or a reset depending on `close_reason`, and reports that reason if it is set.
pub(crate) struct PooledConn {
    /// `None` after it was taken for an upgrade.
    http: Option<Conn>,
    pub(crate) timer: LazyTimer,
    /// The reason to report on drop; `None` if the pool reports it.
    pub(crate) close_reason: Option<CloseReason>,
    pub(crate) absolute_form: bool,
    pub(crate) fields: Vec<(HeaderName, HeaderValue)>,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) local: Option<SocketAddr>,
    opened: Instant,
    requests: u64,
    group: Group,
    observer: Observer,
}

impl PooledConn {
    pub(crate) fn new(connected: Connected, group: Group, observer: Observer) -> Self {
        let Connected {
            stream,
            absolute_form,
            fields,
            ..
        } = connected;
        Self {
            peer: stream.peer_addr(),
            local: stream.local_addr(),
            http: Some(Conn::new(stream)),
            timer: LazyTimer::default(),
            close_reason: Some(CloseReason::Dropped),
            absolute_form,
            fields,
            opened: Instant::now(),
            requests: 0,
            group,
            observer,
        }
    }

    /// A new exchange begins.
    pub(crate) fn begin(&mut self) {
        self.requests += 1;
        self.close_reason = Some(CloseReason::Dropped);
    }

    /// Whether no byte is left over in either direction.
    pub(crate) fn is_clean(&self) -> bool {
        self.http.as_ref().is_some_and(Conn::is_clean)
    }

    /// Takes the stream and the bytes read after the head, for an upgrade. Nothing else may follow.
    pub(crate) fn take(&mut self) -> Option<(Stream, Vec<u8>)> {
        self.http.take().map(Conn::into_parts)
    }

    /// The facts for the filter of [`crate::Agent::evict`].
    pub(crate) fn facts<'a>(&'a self, group: &'a Group) -> ConnFacts<'a> {
        ConnFacts {
            group,
            peer: self.peer,
            local: self.local,
            requests: self.requests,
            age: self.age(),
        }
    }

    pub(crate) fn age(&self) -> Duration {
        self.opened.elapsed()
    }
}

/// An idle connection, as [`Agent::evict`](crate::Agent::evict) shows it.
#[derive(Clone, Copy)]
pub struct ConnFacts<'a> {
    group: &'a Group,
    peer: Option<SocketAddr>,
    local: Option<SocketAddr>,
    requests: u64,
    age: Duration,
}

impl<'a> ConnFacts<'a> {
    /// The facts of a connection of HTTP/2.
    pub(crate) fn of_session(session: &H2Session, group: &'a Group) -> Self {
        Self {
            group,
            peer: session.peer,
            local: session.local,
            requests: session.requests(),
            age: session.age(),
        }
    }
}

impl ConnFacts<'_> {
    /// Its group.
    pub fn group(&self) -> &Group {
        self.group
    }

    /// The peer's address; `None` for Unix sockets and connectors whose connections have none.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Its local address.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local
    }

    /// Requests that it has carried.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Time since it was opened.
    pub fn age(&self) -> Duration {
        self.age
    }
}

impl std::fmt::Debug for ConnFacts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnFacts")
            .field("group", self.group)
            .field("remote_addr", &self.remote_addr())
            .field("requests", &self.requests())
            .finish_non_exhaustive()
    }
}

const TAKEN: &str = "only an upgrade takes it, which ends its exchange";

#[allow(clippy::expect_used, reason = "an exchange is over once it is taken")]
impl Borrow<Conn> for PooledConn {
    #[inline]
    fn borrow(&self) -> &Conn {
        self.http.as_ref().expect(TAKEN)
    }
}

#[allow(clippy::expect_used, reason = "an exchange is over once it is taken")]
impl BorrowMut<Conn> for PooledConn {
    #[inline]
    fn borrow_mut(&mut self) -> &mut Conn {
        self.http.as_mut().expect(TAKEN)
    }
}

impl byway_pool::Conn for PooledConn {
    fn probe(&mut self) -> Probe {
        match self.http.as_mut().is_some_and(Conn::is_reusable) {
            true => Probe::Clean,
            false => Probe::Dirty,
        }
    }
}

impl Drop for PooledConn {
    fn drop(&mut self) {
        let Some(http) = &mut self.http else {
            return;
        };
        if matches!(
            self.close_reason,
            None | Some(CloseReason::LastResponse | CloseReason::Hint | CloseReason::Unpooled)
        ) {
            http.stream().close_on_drop(); // both directions are complete: a FIN, not a reset
        }
        if let Some(reason) = self.close_reason {
            let (age, requests) = (self.age(), self.requests);
            self.observer.notify(&Event::Closed {
                group: &self.group,
                reason,
                age,
                requests,
            });
        }
    }
}
