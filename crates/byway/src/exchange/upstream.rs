//! Upstream: where a request is sent and its response comes from, in any version of HTTP.
//!
//! In:    a leased connection, or a stream of one.
//! Out:   a head, and the sink of the request's body; the response's head, and the source of its
//!        body; the connection back in the pool.
//! Never: keeps a connection that is not at a message boundary.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use byway_dial::{Pipe, Stream};
use byway_head::{Framed, Limits, Malformed, Response};
use byway_http::h1::{ClientExchange, EndlessInterim, HeadError, HintLimits, Outcome};
use byway_http::{BodyError, Sink, Source};
use byway_pool::Release;

use super::body::BodyTransfer;
use super::h2_upstream::H2Upstream;
use super::head_out::Head;
use super::other_protocol;
use crate::fault::Fault;
use crate::observe::request_report::Reports;
use crate::outbound::pooled::{Leased, UpstreamLease};

/// Where a request is sent and its response comes from: a leased connection with one request on it.
/// Dropping it resets the connection, which does not return to the pool.
pub enum Upstream {
    /// A connection of HTTP/1.
    H1(H1Upstream),
    /// A stream of HTTP/2.
    H2(H2Upstream),
    /// A stream in a test.
    #[cfg(test)]
    Double(Box<super::double::DoubleStream>),
}

/// A connection of HTTP/1 with one request on it.
pub type H1Upstream = ClientExchange<UpstreamLease>;

impl Upstream {
    /// A connection at a message boundary, or a stream on which nothing was sent.
    pub fn new(leased: Leased) -> Self {
        match leased {
            Leased::Conn(lease) => Self::H1(ClientExchange::begin(lease)),
            Leased::Stream(lease) => Self::H2(H2Upstream::new(lease)),
        }
    }

    /// Whether an earlier request used the connection.
    pub fn reused(&self) -> bool {
        by_upstream_version!(self.reused(), h1 => h1.lease.reused())
    }

    /// Where its requests are reported.
    pub fn reports(&self) -> Option<&Arc<Reports>> {
        by_upstream_version!(self.reports(), h1 => h1.lease.reports.as_ref())
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
        by_upstream_version!(
            self.write_head(framed, write),
            h1 => h1.write_head(framed, |head| write(&mut Head::H1(head)))
        )
    }

    /// Queues what other upstreams got of the request's body.
    ///
    /// # Errors
    /// If a trailer cannot be written.
    pub fn start_over(&mut self, upload: &mut BodyTransfer) -> Result<(), Malformed> {
        by_upstream_version!(self.start_over(upload), h1 => upload.start_over(&mut h1.sink()))
    }

    /// Passes on the body of the request.
    pub fn poll_upload_from(
        &mut self,
        cx: &mut Context<'_>,
        transfer: &mut BodyTransfer,
        from: &mut impl Source,
    ) -> Poll<Result<(), BodyError>> {
        by_upstream_version!(
            self.poll_upload_from(cx, transfer, from),
            h1 => transfer.poll(cx, from, &mut h1.sink())
        )
    }

    /// Passes on the body of the response.
    pub fn poll_download_to(
        &mut self,
        cx: &mut Context<'_>,
        transfer: &mut BodyTransfer,
        to: &mut impl Sink,
    ) -> Poll<Result<(), BodyError>> {
        by_upstream_version!(
            self.poll_download_to(cx, transfer, to),
            h1 => transfer.poll(cx, &mut h1.source(), to)
        )
    }

    /// Reads the next response head, interim or final. `exposed`: it is a service behind a link.
    /// Cancel safe.
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        limits: &Limits,
        exposed: bool,
    ) -> Poll<Result<(), HeadError<Fault>>> {
        by_upstream_version!(
            self.poll_head(cx, limits, exposed),
            h1 => h1.poll_head(cx, limits, |unread| other_protocol::in_response(unread, exposed))
        )
    }

    /// Whether a part of the next head has arrived.
    pub fn has_partial_head(&self) -> bool {
        by_upstream_version!(self.has_partial_head())
    }

    /// The response whose head was read last.
    pub fn response(&self) -> Response<'_> {
        by_upstream_version!(self.response())
    }

    /// Continues after an interim response: the next head follows it.
    ///
    /// # Errors
    /// If there were too many.
    pub fn pass_interim(&mut self) -> Result<(), EndlessInterim> {
        by_upstream_version!(self.pass_interim())
    }

    /// Continues after a final response head: a body framed like this follows it.
    pub fn begin_body(&mut self, framed: Framed, limits: &Limits) {
        by_upstream_version!(self.begin_body(framed, limits), h1 => {
            let _ = h1.begin_body(framed, limits, Some(HintLimits::default()));
        })
    }

    /// Bytes that the connection or stream has taken. Never decreases.
    pub fn sent_bytes(&self) -> u64 {
        by_upstream_version!(self.sent_bytes(), h1 => h1.lease.sent_bytes())
    }

    /// How far the request got.
    pub fn outcome(&self) -> Outcome {
        by_upstream_version!(self.outcome())
    }

    /// Ready once the pool needs the connection for another client; `moved` is the progress of this
    /// one, if it is waited for.
    pub fn poll_recalled(&mut self, cx: &Context<'_>, moved: Option<u64>) -> Poll<()> {
        by_upstream_version!(self.poll_recalled(cx, moved), h1 => h1.lease.poll_recalled(cx, moved))
    }

    /// Gives back a stream whose request the upstream has not processed. Returns false for anything
    /// else, which is reset.
    pub fn refused(self) -> bool {
        match self {
            Self::H2(h2) => h2.refused(),
            _ => false,
        }
    }

    /// Returns the connection to the pool after a whole response; closes it if something of either
    /// message is left. `sent`: the whole request was sent. An incomplete one ends with a reset, so
    /// that it cannot be taken for a complete one.
    pub fn settle(self, sent: bool) {
        by_upstream_version!(self.settle(sent), mut h1 => match h1.kept() {
            Ok(idle) if sent => keep(h1.lease, idle),
            _ => {
                if sent {
                    h1.lease.stream().close_on_drop();
                }
                h1.lease.release(Release::Close);
            }
        })
    }

    /// The client has reset its stream within the response. Keeps the connection if the whole
    /// response is here and the whole request was `sent`: a client that resets one stream after the
    /// other would otherwise cost a connection each. Else resets it.
    pub fn abandon(self, sent: bool) {
        by_upstream_version!(self.abandon(sent), mut h1 => {
            if let (true, true, Ok(idle)) = (sent, h1.skip_body(), h1.kept()) {
                keep(h1.lease, idle);
            }
        })
    }

    /// Drops a response that is not passed on, after its head. Keeps the connection if the whole
    /// response came with its head, and never waits for the rest: a new connection costs less.
    pub fn discard(self, framed: Framed, limits: &Limits) {
        by_upstream_version!(self.discard(framed, limits), mut h1 => {
            let _ = h1.begin_body(framed, limits, Some(HintLimits::default()));
            match (h1.skip_body(), h1.kept()) {
                (true, Ok(idle)) => keep(h1.lease, idle),
                _ => h1.lease.release(Release::Close),
            }
        })
    }

    /// The connection after a 101, which is no longer HTTP, and what was read after the head. It
    /// leaves the pool: from here on it counts only against the limit of upgraded connections.
    pub fn into_tunnel(self) -> (Stream, Vec<u8>) {
        by_upstream_version!(self.into_tunnel(), h1 => h1.leave_http().detach().0.http.into_parts())
    }
}

/// Returns a connection to the pool, at a message boundary. A stream of a link that no other request
/// of this kind may use ends now, in order: idle ones would take the memory that the streams of a
/// link share.
fn keep(mut lease: UpstreamLease, idle: Option<Duration>) {
    lease.rests();
    let release = match lease.single_use {
        true => Release::Close,
        false => Release::Keep { idle },
    };
    lease.release(release);
}
