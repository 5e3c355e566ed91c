//! H1 conn: one HTTP/1 connection to an origin, as the pool keeps it: a stream, a read buffer, a
//! write queue.
//!
//! In:    an open stream.
//! Out:   unread bytes to parse; queued bytes, sent in one write with those of the body; a close
//!        event.
//! Never: parses; owns a buffer while idle; counts as clean while a byte is left over, in or out.

use super::buffer::Buffer;
use super::connector::Connected;
use super::event::{CloseReason, Event, Observer};
use super::group::Group;
use super::lazy_timer::LazyTimer;
use byway_dial::{Broken, Pipe, Read, Stream};
use byway_h1::ResponseParser;
use byway_pool::{Conn, Probe};
use http::{HeaderName, HeaderValue};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Instant;

/// A queue that grew larger for a head is shrunk to this after the exchange.
const KEPT_QUEUE_BYTES: usize = 4 * 1024;

/// An HTTP/1 connection to an origin, as the pool keeps it: the stream, the bytes read and not
/// parsed yet, and the bytes queued to be sent. Dropping it closes the connection, by a FIN or a
/// reset depending on `close_reason`, and reports that reason if it is set.
pub(crate) struct H1Conn {
    /// `None` after it was taken for an upgrade.
    stream: Option<Stream>,
    pub(crate) buffer: Buffer,
    queue: Vec<u8>,
    queue_sent: usize,
    pub(crate) timer: LazyTimer,
    /// The index of the response's head; kept to reuse its memory.
    pub(crate) head: ResponseParser,
    /// Bytes of this exchange that the stream has taken and returned.
    pub(crate) written: u64,
    pub(crate) read: u64,
    /// Requests that the origin will still take, if it announced a number.
    pub(crate) requests_left: Option<u64>,
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

impl H1Conn {
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
            stream: Some(stream),
            buffer: Buffer::default(),
            queue: Vec::new(),
            queue_sent: 0,
            timer: LazyTimer::default(),
            head: ResponseParser::default(),
            written: 0,
            read: 0,
            requests_left: None,
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
        (self.written, self.read) = (0, 0);
        self.requests += 1;
        self.requests_left = self.requests_left.map(|left| left.saturating_sub(1));
        self.close_reason = Some(CloseReason::Dropped);
        self.head.clear();
    }

    /// The exchange is over and the connection may be reused.
    pub(crate) fn rest(&mut self) {
        self.buffer.rest();
        self.queue.shrink_to(KEPT_QUEUE_BYTES);
        self.close_reason = None;
    }

    /// Whether no byte is left over in either direction.
    pub(crate) fn is_at_boundary(&self) -> bool {
        self.buffer.is_empty() && !self.has_queued()
    }

    /// Bytes to send before anything else.
    pub(crate) fn queue(&mut self) -> &mut Vec<u8> {
        &mut self.queue
    }

    pub(crate) fn has_queued(&self) -> bool {
        self.queue_sent < self.queue.len()
    }

    /// Reads more after the unread bytes. Cancel safe.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<Read, Broken>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Err(not_connected()));
        };
        let room = self.buffer.room();
        if room.is_empty() {
            // Data that must be complete here has a smaller limit; other data is consumed at once.
            return Poll::Ready(Err(Broken::Io(io::ErrorKind::FileTooLarge.into())));
        }
        let read = ready!(stream.poll_read(cx, room))?;
        if let Read::Data(n) = read {
            self.buffer.advance(n);
            self.read += n as u64;
        }
        Poll::Ready(Ok(read))
    }

    /// Sends the queue, then some of `tail`; returns how much of `tail` was taken. Ready(0): the
    /// queue is sent and `tail` is empty. Cancel safe.
    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        tail: &[u8],
    ) -> Poll<Result<usize, Broken>> {
        loop {
            if !self.has_queued() && tail.is_empty() {
                return Poll::Ready(Ok(0));
            }
            let Some(stream) = &mut self.stream else {
                return Poll::Ready(Err(not_connected()));
            };
            let queued = self.queue.get(self.queue_sent..).unwrap_or_default();
            let taken = ready!(stream.poll_write(cx, &[IoSlice::new(queued), IoSlice::new(tail)]))?;
            if taken == 0 {
                return Poll::Ready(Err(Broken::Io(io::ErrorKind::WriteZero.into())));
            }
            self.written += taken as u64;
            let of_queue = taken.min(queued.len());
            self.queue_sent += of_queue;
            if !self.has_queued() {
                self.queue.clear();
                self.queue_sent = 0;
            }
            if taken > of_queue {
                return Poll::Ready(Ok(taken - of_queue));
            }
        }
    }

    /// Flushes what the stream itself buffers (TLS does).
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        match &mut self.stream {
            Some(stream) => stream.poll_flush(cx),
            None => Poll::Ready(Err(not_connected())),
        }
    }

    /// Takes the stream and the bytes read after the head, for an upgrade.
    pub(crate) fn take(&mut self) -> Option<(Stream, Vec<u8>)> {
        let stream = self.stream.take()?;
        Some((stream, self.buffer.unread().to_vec()))
    }

    /// The facts for the filter of [`crate::Agent::evict`].
    pub(crate) fn facts<'a>(&'a self, group: &'a Group) -> ConnFacts<'a> {
        ConnFacts { conn: self, group }
    }

    /// Requests that it has carried, including the current one.
    pub(crate) fn requests(&self) -> u64 {
        self.requests
    }

    pub(crate) fn age(&self) -> Duration {
        self.opened.elapsed()
    }
}

/// An idle connection, as [`Agent::evict`](crate::Agent::evict) shows it.
#[derive(Clone, Copy)]
pub struct ConnFacts<'a> {
    conn: &'a H1Conn,
    group: &'a Group,
}

impl ConnFacts<'_> {
    /// Its group.
    pub fn group(&self) -> &Group {
        self.group
    }

    /// The peer's address; `None` for Unix sockets and connectors whose connections have none.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.conn.peer
    }

    /// Its local address.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.conn.local
    }

    /// Requests that it has carried.
    pub fn requests(&self) -> u64 {
        self.conn.requests
    }

    /// Time since it was opened.
    pub fn age(&self) -> Duration {
        self.conn.age()
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

fn not_connected() -> Broken {
    Broken::Io(io::ErrorKind::NotConnected.into())
}

impl Conn for H1Conn {
    /// Any application byte on an idle connection ends it: it would be read as the next response
    /// (CVE-2026-48931).
    fn probe(&mut self) -> Probe {
        let silent = self
            .stream
            .as_mut()
            .is_some_and(|stream| !stream.is_readable_or_closed());
        if silent && self.is_at_boundary() {
            Probe::Clean
        } else {
            Probe::Dirty
        }
    }
}

impl Drop for H1Conn {
    fn drop(&mut self) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        if matches!(
            self.close_reason,
            None | Some(CloseReason::LastResponse | CloseReason::Hint | CloseReason::Unpooled)
        ) {
            stream.close_on_drop(); // both directions are complete: a FIN, not a reset
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
