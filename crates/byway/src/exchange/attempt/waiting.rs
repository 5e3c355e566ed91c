//! Waiting: what an attempt waits for in each of its phases, and the fault of a wait that took too
//! long.
//!
//! In:    an attempt that has to wait.
//! Out:   the input of `deadline.rs`; why a wait has to end.
//! Never: counts bytes of one direction as progress of the other while only one of them is waited
//!        for.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use byway_http::LazyTimer;

use super::Attempt;
use crate::exchange::deadline::{Exceeded, Flow, Waiting};
use crate::exchange::downstream::Downstream;
use crate::exchange::failure::{client_left, not_read, too_slow};
use crate::exchange::recall::recalled;
use crate::exchange::upstream::Upstream;
use crate::fault::{Fault, Reason, Who};

/// Why a wait of an exchange ended.
pub(super) enum WaitEnd {
    /// A limit was exceeded.
    Exceeded(Exceeded),
    /// The client has left, or the pool needs the connection for another client.
    Fault(Fault),
}

impl Attempt<'_> {
    /// Call it whenever the exchange has to wait: a limit may be exceeded, the client may have
    /// left, and the pool may need the connection for another client.
    pub(super) fn poll_ended(
        &mut self,
        cx: &mut Context<'_>,
        downstream: &mut Downstream<'_>,
        upstream: &mut Upstream,
        timer: &mut LazyTimer,
        waiting: &Waiting,
    ) -> Poll<WaitEnd> {
        let awaits_client = waiting.upload.awaits_client
            || waiting.download.awaits_client
            || self.awaits_continue(waiting);
        if let Some(fault) = recalled(
            cx,
            upstream,
            awaits_client,
            waiting.progress.unwrap_or_default(),
        ) {
            return Poll::Ready(WaitEnd::Fault(fault));
        }
        if let Poll::Ready(exceeded) = self.deadlines.poll_exceeded(cx, timer, waiting) {
            return Poll::Ready(WaitEnd::Exceeded(exceeded));
        }
        if !self.deadlines.watches_client() {
            return Poll::Pending;
        }
        let broken = ready!(downstream.poll_broken(cx));
        Poll::Ready(WaitEnd::Fault(client_left(&broken)))
    }

    pub(super) fn upload_is_over(&self) -> bool {
        self.uploaded || self.upload_broken
    }

    /// Whether the client has received 100, or sends its body already: one that expects 100 need
    /// not send anything before that.
    fn may_send_body(&self) -> bool {
        self.continued || self.upload.moved() > 0 || !self.exchange.request.expects_continue()
    }

    /// Whether the client may be waiting for a 100 from an upstream that has the request head.
    fn awaits_continue(&self, waiting: &Waiting) -> bool {
        waiting.awaits_head && !self.may_send_body() && !self.upload_is_over()
    }

    /// The state of the upload.
    fn upload_flow(&self) -> Flow {
        let awaits_client =
            self.may_send_body() && !self.upload_is_over() && !self.upload.is_held_back();
        Flow {
            bytes: self.upload.moved(),
            awaits_client,
        }
    }

    /// The state of the response. Heads count: everything delivered since the attempt began.
    fn download_flow(&self, downstream: &Downstream<'_>, awaits_client: bool) -> Flow {
        Flow {
            bytes: downstream.left_bytes().saturating_sub(self.left_before),
            awaits_client,
        }
    }

    /// What the exchange waits for until a response head is complete. Bytes that were only queued
    /// do not count as moved.
    pub(super) fn waiting_for_head(
        &self,
        downstream: &Downstream<'_>,
        upstream: &Upstream,
    ) -> Waiting {
        let (over, held_back) = (self.upload_is_over(), self.upload.is_held_back());
        let uploads = !over && (held_back || self.may_send_body());
        Waiting {
            progress: uploads.then(|| upstream.sent_bytes()),
            upload: self.upload_flow(),
            download: self.download_flow(downstream, false),
            response_bytes: 0,
            awaits_head: !uploads || upstream.has_partial_head(),
            is_silent: over || held_back,
        }
    }

    /// What the exchange waits for while bytes of a response pass, of which `response_bytes` are
    /// its body. Bytes that an outflow has taken are progress, and so are those it has delivered.
    pub(super) fn waiting_for_bodies(
        &self,
        downstream: &Downstream<'_>,
        upstream: &Upstream,
        response_bytes: u64,
        awaits_reader: bool,
    ) -> Waiting {
        let down = downstream.sent_bytes() + downstream.left_bytes();
        Waiting {
            progress: Some(upstream.sent_bytes() + down),
            upload: self.upload_flow(),
            download: self.download_flow(downstream, awaits_reader),
            response_bytes,
            awaits_head: false,
            is_silent: !awaits_reader && (self.upload_is_over() || self.upload.is_held_back()),
        }
    }

    pub(super) fn stalled_upload(&self) -> Fault {
        let limit = self.exchange.limits.body_progress;
        match self.upload.is_held_back() {
            true => Fault::new(
                Who::Upstream,
                Reason::RequestBody,
                format!("the upstream took no byte of the request body for {limit:?}"),
            ),
            false => Fault::new(
                Who::Downstream,
                Reason::RequestBody,
                format!("the client sent no byte of its request body for {limit:?}"),
            ),
        }
    }

    pub(super) fn slow_reader(&self) -> Fault {
        self.exchange.counters().slow_responses.add(1);
        too_slow(
            self.exchange.limits,
            Reason::ResponseRate,
            "the client read the response",
        )
    }

    pub(super) fn slow_upload(&self) -> Fault {
        self.exchange.counters().slow_requests.add(1);
        too_slow(
            self.exchange.limits,
            Reason::RequestRate,
            "the client sent its request body",
        )
    }

    /// Sends what is queued, or what an outflow holds, while the client reads any of it.
    pub(super) async fn flush(
        &mut self,
        downstream: &mut Downstream<'_>,
        timer: &mut LazyTimer,
    ) -> Result<(), Fault> {
        self.deadlines.end_upload();
        self.deadlines.begin_phase();
        let flushed = poll_fn(|cx| {
            if let Poll::Ready(flushed) = downstream.poll_flush(cx) {
                return Poll::Ready(Ok(flushed));
            }
            let download = self.download_flow(downstream, true);
            let upload = Flow {
                bytes: self.upload.moved(),
                awaits_client: false,
            };
            let waiting = Waiting {
                progress: Some(download.bytes),
                upload,
                download,
                ..Waiting::default()
            };
            self.deadlines.poll_exceeded(cx, timer, &waiting).map(Err)
        });
        match flushed.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(broken)) => Err(client_left(&broken)),
            Err(Exceeded::DownloadRate) => Err(self.slow_reader()),
            Err(Exceeded::UploadRate) => Err(self.slow_upload()),
            Err(Exceeded::Progress | Exceeded::Head) => {
                Err(not_read(self.exchange.limits.body_progress))
            }
        }
    }
}
