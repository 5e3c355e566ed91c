//! H2 upstream: a request on a stream of HTTP/2 to an upstream.
//!
//! In:    a leased stream, on which nothing was sent.
//! Out:   what [`Upstream`](super::upstream::Upstream) does, on that stream.
//! Never: frees the slot of a stream before it is over, or resets one that is.

use std::io::IoSlice;
use std::sync::Arc;
use std::task::{Context, Poll};

use byway_dial::{Broken, Pipe, Read, Stream};
use byway_head::{Framed, Limits, Malformed, Response};
use byway_http::h1::{EndlessInterim, HeadError, Outcome};
use byway_http::{BodyError, Sink, Source};

use super::body::BodyTransfer;
use super::head_out::Head;
use crate::fault::Fault;
use crate::observe::request_report::Reports;
use crate::outbound::upstream_session::UpstreamStream;

/// A stream with one request on it. Dropping it resets the stream.
pub struct H2Upstream(Box<UpstreamStream>);

impl H2Upstream {
    /// On a stream on which nothing was sent.
    pub(super) fn new(lease: Box<UpstreamStream>) -> Self {
        Self(lease)
    }

    pub(super) fn reused(&self) -> bool {
        self.0.reused()
    }

    /// Only exposed services report, which are behind a link.
    pub(super) fn reports(&self) -> Option<&Arc<Reports>> {
        None
    }

    pub(super) fn write_head<E>(
        &mut self,
        _framed: Framed,
        write: impl FnOnce(&mut Head<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        (self.0.stream).write_head(|head| write(&mut Head::H2(head)))
    }

    pub(super) fn start_over(&mut self, upload: &mut BodyTransfer) -> Result<(), Malformed> {
        upload.start_over(&mut self.0.stream)
    }

    pub(super) fn poll_upload_from(
        &mut self,
        cx: &mut Context<'_>,
        transfer: &mut BodyTransfer,
        from: &mut impl Source,
    ) -> Poll<Result<(), BodyError>> {
        transfer.poll(cx, from, &mut self.0.stream)
    }

    pub(super) fn poll_download_to(
        &mut self,
        cx: &mut Context<'_>,
        transfer: &mut BodyTransfer,
        to: &mut impl Sink,
    ) -> Poll<Result<(), BodyError>> {
        transfer.poll(cx, &mut self.0.stream, to)
    }

    pub(super) fn poll_head(
        &mut self,
        cx: &Context<'_>,
        _limits: &Limits,
        _exposed: bool,
    ) -> Poll<Result<(), HeadError<Fault>>> {
        self.0.stream.poll_head(cx)
    }

    /// Heads come whole.
    pub(super) fn has_partial_head(&self) -> bool {
        false
    }

    pub(super) fn response(&self) -> Response<'_> {
        self.0.stream.response()
    }

    pub(super) fn pass_interim(&mut self) -> Result<(), EndlessInterim> {
        self.0.stream.pass_interim()
    }

    pub(super) fn begin_body(&mut self, framed: Framed, _limits: &Limits) {
        self.0.stream.expect(framed);
    }

    pub(super) fn sent_bytes(&self) -> u64 {
        self.0.stream.sent_bytes()
    }

    pub(super) fn outcome(&self) -> Outcome {
        self.0.stream.outcome()
    }

    pub(super) fn poll_recalled(&mut self, cx: &Context<'_>, moved: Option<u64>) -> Poll<()> {
        self.0.poll_recalled(cx, moved)
    }

    /// Gives the stream back if the upstream has not processed its request.
    pub(super) fn refused(self) -> bool {
        let is_refused = self.0.stream.is_refused();
        if is_refused {
            // The request waits anew, behind others.
            let _ = self.0.refused();
        }
        is_refused
    }

    /// A response that is whole before its request was sent ends the stream by a reset (RFC 9113
    /// section 8.1).
    pub(super) fn settle(self, _sent: bool) {
        if self.0.stream.is_over() {
            self.0.release();
        }
    }

    pub(super) fn abandon(self, sent: bool) {
        self.settle(sent);
    }

    /// The rest of its body is not read: the reset costs a frame.
    pub(super) fn discard(self, _framed: Framed, _limits: &Limits) {
        self.settle(true);
    }

    pub(super) fn into_tunnel(mut self) -> (Stream, Vec<u8>) {
        self.0.stream.begin_tunnel();
        (Stream::other(Box::new(self)), Vec::new())
    }
}

/// After an extended CONNECT: the stream, which keeps its slot until the tunnel has ended.
impl Pipe for H2Upstream {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<Result<Read, Broken>> {
        self.0.stream.poll_read(cx, buf)
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize, Broken>> {
        self.0.stream.poll_write(cx, bufs)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Pipe::poll_flush(&mut self.0.stream, cx)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.0.stream.poll_finish(cx)
    }

    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        Pipe::poll_broken(&mut self.0.stream, cx)
    }

    fn reset(&mut self, code: u32) {
        Pipe::reset(&mut self.0.stream, code);
    }

    fn close_on_drop(&mut self) {
        Pipe::close_on_drop(&mut self.0.stream);
    }

    fn is_still_readable(&self) -> bool {
        self.0.stream.is_still_readable()
    }
}
