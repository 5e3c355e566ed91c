//! Upstream: where a request is sent and its response comes from, in any version of HTTP.
//!
//! In:    a leased connection, or a stream of one.
//! Out:   a head, and the sink of the request's body; the response's head, and the source of its
//!        body; the connection back in the pool.
//! Never: keeps a connection that is not at a message boundary.

use std::sync::Arc;
use std::task::{Context, Poll};

use byway_dial::{Pipe, Stream};
use byway_head::{Framed, Limits, Malformed, Response};
use byway_http::h1::{ClientExchange, EndlessInterim, HeadError, HintLimits, Outcome};
use byway_pool::{Lease, Release};

use super::body::BodyTransfer;
#[cfg(test)]
use super::double::DoubleStream;
use super::head_out::Head;
use super::other_protocol;
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
pub type H1Upstream = ClientExchange<Lease<PoolKey, UpstreamConn>>;

impl Upstream {
    /// A connection of HTTP/1, at a message boundary.
    pub fn h1(lease: Lease<PoolKey, UpstreamConn>) -> Self {
        Self::H1(ClientExchange::begin(lease))
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
            Self::H1(h1) => h1.write_head(framed, |head| write(&mut Head::H1(head))),
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
    ) -> Poll<Result<(), HeadError<Fault>>> {
        match self {
            Self::H1(h1) => h1.poll_head(cx, limits, |unread| {
                other_protocol::in_response(unread, exposed)
            }),
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
            Self::H1(h1) => h1.has_partial_head(),
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
    ///
    /// # Errors
    /// If there were too many.
    pub fn pass_interim(&mut self) -> Result<(), EndlessInterim> {
        match self {
            Self::H1(h1) => h1.pass_interim(),
            #[cfg(test)]
            Self::Double(_) => Ok(()),
        }
    }

    /// Closes the connection after this response. Nothing announces that: a service that knows
    /// may close with unread bytes of the request, and such a reset overtakes its response.
    pub fn close_after_response(&mut self) {
        match self {
            Self::H1(h1) => h1.close_after_response(),
            #[cfg(test)]
            Self::Double(_) => {}
        }
    }

    /// Continues after a final response head: a body framed like this follows it.
    pub fn begin_body(&mut self, framed: Framed, limits: &Limits) {
        match self {
            Self::H1(h1) => {
                let _ = h1.begin_body(framed, limits, Some(HintLimits::default()));
            }
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

    /// How far the request got.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::H1(h1) => h1.outcome(),
            #[cfg(test)]
            Self::Double(stream) if stream.has_received() => Outcome::Partial,
            #[cfg(test)]
            Self::Double(stream) if stream.sent() == 0 => Outcome::Unsent,
            #[cfg(test)]
            Self::Double(_) => Outcome::SentNoByteBack,
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
            Self::H1(mut h1) => match h1.kept() {
                Ok(idle) if sent => h1.lease.release(Release::Keep { idle }),
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
                let _ = h1.begin_body(framed, limits, Some(HintLimits::default()));
                let release = match (h1.skip_body(), h1.kept()) {
                    (true, Ok(idle)) => Release::Keep { idle },
                    _ => Release::Close,
                };
                h1.lease.release(release);
            }
            #[cfg(test)]
            Self::Double(_) => {}
        }
    }

    /// The connection after a 101, which is no longer HTTP, and what was read after the head. It
    /// leaves the pool: from here on it counts only against the limit of upgraded connections.
    pub fn into_tunnel(self) -> (Stream, Vec<u8>) {
        match self {
            Self::H1(h1) => h1.leave_http().detach().0.http.into_parts(),
            #[cfg(test)]
            Self::Double(_) => panic!("no test upgrades a stream"),
        }
    }
}
