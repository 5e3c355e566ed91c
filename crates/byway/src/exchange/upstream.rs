//! Upstream: where a request is sent and its response comes from, in any version of HTTP.
//!
//! In:    a leased connection, or a stream of one.
//! Out:   a head, and the sink of the request's body; the response's head, and the source of its
//!        body; the connection back in the pool.
//! Never: keeps a connection that is not at a message boundary.

use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use byway_dial::{Broken, Pipe, Read, Stream};
use byway_h1::{HeadWriter, Parsed};
use byway_head::{Framed, Limits, Malformed, Response};
use byway_http::h1::{H1Reading, H1Response, H1Sink, H1Source, H1Writing};
use byway_http::scratch::Scratch;
use byway_http::{Part, Source};
use byway_pool::{Lease, Release};

use super::body::BodyTransfer;
#[cfg(test)]
use super::double::DoubleStream;
use super::head_out::Head;
use super::keep_alive::keep_upstream;
use super::other_protocol;
use super::retry::Outcome;
use crate::fault::Fault;
use crate::observe::request_report::Reports;
use crate::outbound::pooled::PoolKey;
use crate::outbound::upstream_conn::UpstreamConn;

/// Where a request is sent and its response comes from: a leased connection with one request on it.
/// Dropping it resets the connection, which does not return to the pool.
pub enum Upstream {
    /// A connection of HTTP/1.
    H1(H1Upstream),
    /// A stream in a test.
    #[cfg(test)]
    Double(Box<DoubleStream>),
}

/// A connection of HTTP/1 with one request on it.
pub struct H1Upstream {
    lease: Lease<PoolKey, UpstreamConn>,
    message: Scratch<H1Response>,
    /// The length of the response head that is the next unread bytes.
    head_bytes: usize,
    /// Bytes sent on the connection before this request.
    sent_before: u64,
    received: u64,
    /// How long the connection may be idle after the response; `None` closes it.
    keep: Option<Option<Duration>>,
    /// It closes after this response, as an interim response announced a body, so that the next
    /// bytes may not begin a message, or because no other request may use it.
    is_last: bool,
}

/// Why there is no response head.
pub enum HeadError {
    /// It is malformed.
    Malformed(Malformed),
    /// The upstream speaks another protocol, such as TLS.
    OtherProtocol(Fault),
    /// The upstream closed, or its connection broke.
    Closed(Option<Broken>),
}

impl H1Upstream {
    /// The source of the response's body.
    pub(super) fn source(&mut self) -> H1Source<'_> {
        H1Source {
            conn: &mut self.lease,
            reading: &mut self.message.reading,
        }
    }

    /// The sink of the request's body.
    pub(super) fn sink(&mut self) -> H1Sink<'_> {
        H1Sink {
            conn: &mut self.lease,
            writing: &mut self.message.writing,
        }
    }

    fn response(&self) -> Response<'_> {
        self.message.parser.view(self.lease.unread())
    }

    /// Continues where the last call stopped.
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        limits: &Limits,
        exposed: bool,
    ) -> Poll<Result<(), HeadError>> {
        loop {
            let unread = self.lease.unread();
            if !unread.is_empty() {
                let parsed = self.message.parser.parse(unread, limits);
                if let Ok(Parsed::Complete(n)) = parsed {
                    self.head_bytes = n;
                    return Poll::Ready(Ok(()));
                }
                // It fails at once if no head will come.
                if let Some(fault) = other_protocol::in_response(unread, exposed) {
                    return Poll::Ready(Err(HeadError::OtherProtocol(fault)));
                }
                parsed.map_err(HeadError::Malformed)?;
            }
            match ready!(self.lease.poll_fill(cx)) {
                Ok(Read::Data(n)) => self.received += n as u64,
                Ok(Read::Fin) => return Poll::Ready(Err(HeadError::Closed(None))),
                Err(broken) => return Poll::Ready(Err(HeadError::Closed(Some(broken)))),
            }
        }
    }

    fn begin_body(&mut self, framed: Framed, limits: &Limits) {
        self.keep = keep_upstream(&self.response(), framed).filter(|_| !self.is_last);
        self.lease.consume(self.head_bytes);
        self.message.reading = H1Reading::new(framed, limits);
    }

    /// Skips what has arrived of the body. Returns whether that was all of it.
    fn skip_body(&mut self) -> bool {
        let mut source = self.source();
        loop {
            match source.part() {
                Ok(Part::Data(n)) => source.taken(n),
                Ok(Part::End) => {
                    source.finish();
                    return true;
                }
                Ok(Part::More) | Err(_) => return false,
            }
        }
    }

    fn is_clean(&self) -> bool {
        self.lease.unread().is_empty() && !self.lease.has_queued()
    }
}

impl Upstream {
    /// A connection of HTTP/1, at a message boundary.
    pub fn h1(lease: Lease<PoolKey, UpstreamConn>) -> Self {
        let mut message = Scratch::<H1Response>::take();
        message.writing = H1Writing::after_head(&lease);
        Self::H1(H1Upstream {
            sent_before: lease.sent_bytes(),
            lease,
            message,
            head_bytes: 0,
            received: 0,
            keep: None,
            is_last: false,
        })
    }

    /// Whether an earlier request used the connection.
    pub fn reused(&self) -> bool {
        match self {
            Self::H1(h1) => h1.lease.reused(),
            #[cfg(test)]
            Self::Double(_) => false,
        }
    }

    /// Where its requests are reported.
    pub fn reports(&self) -> Option<&Arc<Reports>> {
        match self {
            Self::H1(h1) => h1.lease.reports.as_ref(),
            #[cfg(test)]
            Self::Double(_) => None,
        }
    }

    /// Queues the request head that `write` writes, or nothing of it if that fails. A body framed
    /// like this follows it.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn write_head<E>(
        &mut self,
        framed: Framed,
        write: impl FnOnce(&mut Head<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Self::H1(h1) => {
                h1.message.writing.begin(framed);
                h1.lease
                    .try_queue(|out| write(&mut Head::H1(HeadWriter(out))))
            }
            #[cfg(test)]
            Self::Double(stream) => stream.write_head(|head| write(&mut Head::Double(head))),
        }
    }

    /// Queues what other upstreams got of the request's body.
    ///
    /// # Errors
    /// If a trailer cannot be written.
    pub fn start_over(&mut self, upload: &mut BodyTransfer) -> Result<(), Malformed> {
        match self {
            Self::H1(h1) => upload.start_over(&mut h1.sink()),
            #[cfg(test)]
            Self::Double(stream) => upload.start_over(&mut **stream),
        }
    }

    /// Reads the next response head, interim or final. `exposed`: it is a service behind a link.
    /// Cancel safe.
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        limits: &Limits,
        exposed: bool,
    ) -> Poll<Result<(), HeadError>> {
        match self {
            Self::H1(h1) => h1.poll_head(cx, limits, exposed),
            #[cfg(test)]
            Self::Double(stream) => {
                let head = stream.poll_head(cx);
                head.map_err(|broken| HeadError::Closed(Some(broken)))
            }
        }
    }

    /// Whether a part of the next head has arrived.
    pub fn has_partial_head(&self) -> bool {
        match self {
            Self::H1(h1) => !h1.lease.unread().is_empty(),
            #[cfg(test)]
            Self::Double(_) => false,
        }
    }

    /// The response whose head was read last.
    pub fn response(&self) -> Response<'_> {
        match self {
            Self::H1(h1) => h1.response(),
            #[cfg(test)]
            Self::Double(stream) => stream.response(),
        }
    }

    /// Continues after an interim response: the next head follows it.
    pub fn pass_interim(&mut self) {
        match self {
            Self::H1(h1) => {
                h1.is_last |= h1.response().announces_impossible_body();
                h1.lease.consume(h1.head_bytes);
                h1.message.parser.clear();
            }
            #[cfg(test)]
            Self::Double(_) => {}
        }
    }

    /// Closes the connection after this response. The upstream is not told: a service that knows
    /// may close with unread bytes of the request, and such a reset overtakes its response.
    pub fn close_after_response(&mut self) {
        match self {
            Self::H1(h1) => h1.is_last = true,
            #[cfg(test)]
            Self::Double(_) => {}
        }
    }

    /// Continues after a final response head: a body framed like this follows it.
    pub fn begin_body(&mut self, framed: Framed, limits: &Limits) {
        match self {
            Self::H1(h1) => h1.begin_body(framed, limits),
            #[cfg(test)]
            Self::Double(stream) => stream.expect(framed),
        }
    }

    /// Bytes that the connection or stream has taken. Never decreases.
    pub fn sent_bytes(&self) -> u64 {
        match self {
            Self::H1(h1) => h1.lease.sent_bytes(),
            #[cfg(test)]
            Self::Double(stream) => stream.sent(),
        }
    }

    /// How far the request got. Compares byte counts, since an empty queue does not show what was
    /// sent: a chunk may be queued after a head that left long ago.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::H1(h1) if h1.received > 0 => Outcome::Partial,
            Self::H1(h1) if h1.lease.sent_bytes() == h1.sent_before => Outcome::Unsent,
            #[cfg(test)]
            Self::Double(stream) if stream.has_received() => Outcome::Partial,
            #[cfg(test)]
            Self::Double(stream) if stream.sent() == 0 => Outcome::Unsent,
            _ => Outcome::SentNoByteBack,
        }
    }

    /// Ready once the pool needs the connection for another client; `moved` is the progress of this
    /// one, if it is waited for.
    pub fn poll_recalled(&mut self, cx: &Context<'_>, moved: Option<u64>) -> Poll<()> {
        match self {
            Self::H1(h1) => h1.lease.poll_recalled(cx, moved),
            #[cfg(test)]
            Self::Double(_) => Poll::Pending,
        }
    }

    /// Returns the connection to the pool after a whole response; closes it if something of either
    /// message is left. `sent`: the whole request was sent. An incomplete one ends with a reset, so
    /// that it cannot be taken for a complete one.
    pub fn settle(self, sent: bool) {
        match self {
            Self::H1(mut h1) => match h1.keep {
                Some(idle) if sent && h1.is_clean() => h1.lease.release(Release::Keep { idle }),
                _ => {
                    if sent {
                        h1.lease.stream().close_on_drop();
                    }
                    h1.lease.release(Release::Close);
                }
            },
            #[cfg(test)]
            Self::Double(_) => {}
        }
    }

    /// Drops a response that is not passed on, after its head. Keeps the connection if the whole
    /// response came with its head, and never waits for the rest: a new connection costs less.
    pub fn discard(self, framed: Framed, limits: &Limits) {
        match self {
            Self::H1(mut h1) => {
                h1.begin_body(framed, limits);
                let whole = h1.skip_body();
                match h1.keep {
                    Some(idle) if whole && h1.is_clean() => {
                        h1.lease.release(Release::Keep { idle })
                    }
                    _ => h1.lease.release(Release::Close),
                }
            }
            #[cfg(test)]
            Self::Double(_) => {}
        }
    }

    /// The connection after a 101, which is no longer HTTP, and what was read after the head. It
    /// leaves the pool: from here on it counts only against the limit of upgraded connections.
    pub fn into_tunnel(self) -> (Stream, Vec<u8>) {
        match self {
            Self::H1(mut h1) => {
                h1.lease.consume(h1.head_bytes);
                let (conn, _) = h1.lease.detach();
                conn.http.into_parts()
            }
            #[cfg(test)]
            Self::Double(_) => panic!("no test upgrades a stream"),
        }
    }
}
