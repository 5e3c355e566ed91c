//! Attempt: one try of a request on one borrowed connection.
//!
//! In:    a request that was decided about, a connection on loan, and the downstream connection.
//! Out:   what becomes of the downstream connection; or why the try failed before anything was sent
//!        downstream, and whether another connection may be tried.
//! Never: presents a truncated response as complete, keeps a connection that is not at a message
//!        boundary, or opens a tunnel before the upstream has said 101.

mod waiting;

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use byway_agent::{Lease, Release};
use byway_dial::{Broken, Pipe, Read};
use byway_h1::{Framed, Parsed, Request, ResponseHead, Version};

use self::waiting::Ended;
use super::alarm::Alarm;
use super::body::{Passage, Stop};
use super::conn::Conn;
use super::deadline::{Deadlines, Exceeded};
use super::discard::discard;
use super::failure::{Failure, downstream_left, no_answer, not_read};
use super::foreign;
use super::forward::{After, Asked, Moved, Switched, body_too_large, codec_limits};
use super::head::{self, ResponseRules};
use super::keep::keep_upstream;
use super::recycled::Recycled;
use super::retry::{Failed, Outcome, Tries, is_repeatable};
use crate::fault::{Deadline, Fault, Kind, Who, malformed};
use crate::observe::course::Stage;
use crate::outbound::pooled::{Borrowed, Origin};
use crate::outbound::upgrades::Slot;
use crate::route::Outbound;

/// One try on one connection.
pub(super) struct Attempt<'a> {
    asked: &'a Asked<'a>,
    codec: byway_h1::Limits,
    upload: &'a mut Passage,
    /// The upstream stopped taking the request's body; its answer may still be read.
    upload_broken: bool,
    uploaded: bool,
    response: Recycled<ResponseHead>,
    reused: bool,
    /// What the connection had sent before this attempt.
    sent_before: u64,
    heard: u64,
    /// What had left for the client before this attempt.
    left_before: u64,
    /// The upstream has said 100: the client sends its body from now on.
    continued: bool,
    /// An interim answer announced a body: what comes next on the connection is not certain to
    /// begin a message.
    lost_boundary: bool,
    deadlines: Deadlines,
}

impl<'a> Attempt<'a> {
    pub(super) fn new(
        asked: &'a Asked<'a>,
        upload: &'a mut Passage,
        lease: &Lease<Origin, Conn>,
        downstream: &Conn,
    ) -> Self {
        let codec = codec_limits(asked.limits);
        Self {
            asked,
            upload,
            upload_broken: false,
            uploaded: false,
            response: Recycled::take(),
            reused: lease.reused(),
            sent_before: lease.sent_bytes(),
            heard: 0,
            left_before: downstream.left_bytes(),
            continued: false,
            lost_boundary: false,
            // An outflow between us and the reader of an egress may be shaped, and the reader may
            // pause.
            deadlines: Deadlines::new(asked.limits, downstream.has_outflow()),
            codec,
        }
    }

    pub(super) async fn run(
        &mut self,
        borrowed: Borrowed,
        downstream: &mut Conn,
        tries: &mut Tries<'_>,
        alarm: &mut Alarm,
        moved: &mut Moved,
    ) -> Result<After, Failure> {
        let Borrowed {
            mut lease,
            authority,
            slot,
        } = borrowed;
        self.asked.queue_request(lease.queue(), &authority)?;
        self.upload.start_over(&mut lease);
        for _ in 0..MOST_HEADS {
            let head_bytes = self.response_head(downstream, &mut lease, alarm).await?;
            moved.up = self.upload.moved();
            let status = self.response.view(lease.unread()).status();
            if self.goes_elsewhere(status, tries, moved) {
                self.discard(lease, head_bytes)?;
                return Err(Failure::declined(status));
            }
            match status {
                100 | 102..=199 => {
                    self.interim(&mut lease, head_bytes, downstream, alarm)
                        .await?
                }
                _ => {
                    moved.status = status;
                    moved.course.turn(Stage::Transfer);
                }
            }
            match status {
                101 => return self.switch(lease, slot, head_bytes, downstream).await,
                200.. => {
                    return self
                        .finish(lease, head_bytes, downstream, alarm, moved)
                        .await;
                }
                _ => {}
            }
        }
        let detail = format!("the upstream sent {MOST_HEADS} interim answers and no final one");
        Err(Fault::new(Who::Upstream, Kind::Malformed("endless-interim"), detail).into())
    }

    /// Whether another upstream is asked instead of passing on what this one has said. If not, what
    /// was kept for it goes.
    fn goes_elsewhere(&mut self, status: u16, tries: &mut Tries<'_>, moved: &mut Moved) -> bool {
        let on = self.asked.allowed.plan().retry.on;
        if on.contains(status) && self.uploaded {
            let failed = Failed {
                outcome: Outcome::SentNoByteBack,
                on_kept: self.reused,
                gave_up: false,
                repeatable: is_repeatable(&self.asked.request),
                body_kept: self.upload.can_start_over(),
            };
            if self.asked.goes_again(tries, failed, moved) {
                return true;
            }
        }
        if on.is_empty() || status >= 200 {
            self.upload.settle();
        }
        false
    }

    fn discard(&self, mut lease: Lease<Origin, Conn>, head_bytes: usize) -> Result<(), Failure> {
        let response = self.response.view(lease.unread());
        let method = self.asked.request.method();
        let framed = response
            .framing(method)
            .map_err(|error| self.malformed_response(&error))?;
        let keep = keep_upstream(&response, framed).filter(|_| !self.lost_boundary);
        lease.consume(head_bytes);
        discard(lease, framed, &self.codec, keep);
        Ok(())
    }

    /// Sends the request and reads the next response head, interim or final. Uploading goes on
    /// meanwhile.
    async fn response_head(
        &mut self,
        downstream: &mut Conn,
        upstream: &mut Lease<Origin, Conn>,
        alarm: &mut Alarm,
    ) -> Result<usize, Failure> {
        self.deadlines.begin_phase();
        let ended = poll_fn(|cx| -> Poll<Result<_, Failure>> {
            self.poll_upload(cx, downstream, upstream)?;
            if let Poll::Ready(head_bytes) = self.poll_head(cx, upstream)? {
                return Poll::Ready(Ok(Ok(head_bytes)));
            }
            let waiting = self.waiting_for_head(downstream, upstream);
            self.poll_ended(cx, downstream, upstream, alarm, &waiting)
                .map(|ended| Ok(Err(ended)))
        });
        match ended.await? {
            Ok(head_bytes) => Ok(head_bytes),
            Err(Ended::Fault(fault)) => Err(fault.into()),
            Err(Ended::Exceeded(Exceeded::UploadRate)) => Err(self.slow_upload().into()),
            Err(Ended::Exceeded(Exceeded::DownloadRate)) => Err(self.slow_reader().into()),
            Err(Ended::Exceeded(Exceeded::Progress)) => {
                Err(self.failed(self.stalled_upload(), upstream))
            }
            Err(Ended::Exceeded(Exceeded::Head)) => {
                Err(self.failed(no_answer(self.asked.limits.first_byte), upstream))
            }
        }
    }

    fn poll_upload(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Conn,
        to: &mut Conn,
    ) -> Result<(), Failure> {
        if self.uploaded || self.upload_broken {
            return Ok(());
        }
        match self.upload.poll(cx, from, to) {
            Poll::Pending => Ok(()),
            Poll::Ready(Ok(())) => {
                self.uploaded = true;
                self.deadlines.end_upload();
                Ok(())
            }
            Poll::Ready(Err(Stop::To(_))) => {
                // It may have answered before it closed; reading says.
                self.upload_broken = true;
                self.deadlines.end_upload();
                Ok(())
            }
            Poll::Ready(Err(stop)) => Err(self.stopped_by_downstream(stop).into()),
        }
    }

    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        upstream: &mut Conn,
    ) -> Poll<Result<usize, Failure>> {
        loop {
            if !upstream.unread().is_empty() {
                let parsed = self.response.parse(upstream.unread(), &self.codec);
                if let Ok(Parsed::Complete(n)) = parsed {
                    return Poll::Ready(Ok(n));
                }
                self.refuse_foreign(upstream.unread())?;
                parsed.map_err(|error| self.malformed_response(&error))?;
            }
            match ready!(upstream.poll_fill(cx)) {
                Ok(Read::Data(n)) => self.heard += n as u64,
                Ok(Read::Fin) => return Poll::Ready(Err(self.closed_early(upstream, None))),
                Err(broken) => return Poll::Ready(Err(self.closed_early(upstream, Some(&broken)))),
            }
        }
    }

    /// TLS and the like have no head to wait for.
    fn refuse_foreign(&self, unread: &[u8]) -> Result<(), Failure> {
        let exposed = matches!(self.asked.allowed.outbound(), Outbound::Service(_));
        let Some(fault) = foreign::in_response(unread, exposed) else {
            return Ok(());
        };
        self.asked.shared.counters.malformed_responses.add(1);
        Err(fault.into())
    }

    fn malformed_response(&self, error: &byway_h1::Malformed) -> Failure {
        self.asked.shared.counters.malformed_responses.add(1);
        malformed(Who::Upstream, error).into()
    }

    /// The upstream went away without a complete head.
    fn closed_early(&self, upstream: &Conn, broken: Option<&Broken>) -> Failure {
        let how = broken.map_or_else(|| "it closed the connection".into(), ToString::to_string);
        // TLS servers on OpenSSL hang up on plain HTTP without an alert.
        let hint = match self.asked.allowed.outbound() {
            Outbound::Pooled(route)
                if self.heard == 0
                    && !self.reused
                    && route.upstreams.iter().all(|upstream| !upstream.tls) =>
            {
                "; if it speaks TLS, write https:// in front of it"
            }
            _ => "",
        };
        let detail = format!("the upstream gave no whole answer: {how}{hint}");
        self.failed(
            Fault::new(Who::Upstream, Kind::ClosedEarly, detail),
            upstream,
        )
    }

    /// An empty queue says nothing of what has left: a chunk may be queued behind a head that has
    /// left long ago.
    fn failed(&self, fault: Fault, upstream: &Conn) -> Failure {
        let outcome = match () {
            () if self.heard > 0 => Outcome::Partial,
            () if upstream.sent_bytes() == self.sent_before => Outcome::Unsent,
            () => Outcome::SentNoByteBack,
        };
        Failure {
            outcome,
            on_kept: self.reused,
            ..fault.into()
        }
    }

    fn stopped_by_downstream(&self, stop: Stop) -> Fault {
        match stop {
            Stop::Malformed(error) => {
                self.asked.shared.counters.malformed_requests.add(1);
                malformed(Who::Downstream, &error)
            }
            Stop::TooLarge => body_too_large(self.asked.max_body.unwrap_or_default()),
            Stop::Truncated => Fault::new(
                Who::Downstream,
                Kind::ClosedEarly,
                "the client closed within its request body",
            ),
            Stop::From(broken) | Stop::To(broken) => downstream_left(&broken),
        }
    }

    /// Passes an interim response on, to a downstream that can read one.
    async fn interim(
        &mut self,
        upstream: &mut Lease<Origin, Conn>,
        head_bytes: usize,
        downstream: &mut Conn,
        alarm: &mut Alarm,
    ) -> Result<(), Failure> {
        if self.asked.request.version() == Version::Http11 {
            let response = self.response.view(upstream.unread());
            downstream
                .try_queue(|out| head::forward_interim(out, &response))
                .map_err(|error| self.malformed_response(&error))?;
        }
        self.continued |= self.response.view(upstream.unread()).status() == 100;
        self.lost_boundary |= self
            .response
            .view(upstream.unread())
            .announces_impossible_body();
        upstream.consume(head_bytes);
        self.response.clear();
        self.push_down(downstream, upstream, alarm).await
    }

    /// Sends what is queued for the client, and its request's body up meanwhile: it may send all of
    /// that before it reads.
    async fn push_down(
        &mut self,
        downstream: &mut Conn,
        upstream: &mut Lease<Origin, Conn>,
        alarm: &mut Alarm,
    ) -> Result<(), Failure> {
        self.deadlines.begin_phase();
        let pushed = poll_fn(|cx| -> Poll<Result<_, Failure>> {
            self.poll_upload(cx, downstream, upstream)?;
            if let Poll::Ready(flushed) = downstream.poll_flush(cx) {
                return Poll::Ready(
                    flushed
                        .map(|()| None)
                        .map_err(|broken| downstream_left(&broken).into()),
                );
            }
            let waiting = self.waiting_for_bodies(downstream, upstream, 0, true);
            self.poll_ended(cx, downstream, upstream, alarm, &waiting)
                .map(|ended| Ok(Some(ended)))
        });
        match pushed.await? {
            None => Ok(()),
            Some(Ended::Fault(fault)) => Err(fault.into()),
            Some(Ended::Exceeded(Exceeded::UploadRate)) => Err(self.slow_upload().into()),
            Some(Ended::Exceeded(Exceeded::DownloadRate)) => Err(self.slow_reader().into()),
            Some(Ended::Exceeded(Exceeded::Progress | Exceeded::Head)) => {
                Err(not_read(self.asked.limits.body_progress).into())
            }
        }
    }

    /// 101: the connection is no longer HTTP. Whatever the client sent behind its request has
    /// waited for this.
    async fn switch(
        &self,
        mut lease: Lease<Origin, Conn>,
        slot: Option<Slot>,
        head_bytes: usize,
        downstream: &mut Conn,
    ) -> Result<After, Failure> {
        let response = self.response.view(lease.unread());
        let switched = response
            .field("Upgrade")
            .filter(|protocol| self.asked.asks_to_upgrade_to(protocol));
        let Some(protocol) = switched else {
            let detail = "the upstream answered 101 to a request that asked for no such upgrade";
            return Err(
                Fault::new(Who::Upstream, Kind::Malformed("unasked-upgrade"), detail).into(),
            );
        };
        if !self.uploaded {
            let detail = "the upstream answered 101 before it had taken the whole request";
            return Err(
                Fault::new(Who::Upstream, Kind::Malformed("premature-upgrade"), detail).into(),
            );
        }
        downstream
            .try_queue(|out| head::forward_switch(out, &response, protocol))
            .map_err(|error| self.malformed_response(&error))?;
        lease.consume(head_bytes);
        // From here on it counts against the limit of upgraded connections alone.
        let (conn, _) = lease.detach();
        let (stream, early) = conn.into_parts();
        Ok(After::Switch(Box::new(Switched {
            stream,
            early,
            allowed: self.asked.allowed.clone(),
            slot,
        })))
    }

    /// The final response: its head, its body, and what becomes of both connections.
    async fn finish(
        &mut self,
        mut lease: Lease<Origin, Conn>,
        head_bytes: usize,
        downstream: &mut Conn,
        alarm: &mut Alarm,
        moved: &mut Moved,
    ) -> Result<After, Failure> {
        let request = &self.asked.request;
        let response = self.response.view(lease.unread());
        let framed = response
            .framing(request.method())
            .map_err(|error| self.malformed_response(&error))?;
        let sent_as = head::framed_downstream(framed, request.version());
        // An upload that is not over by now may never be: the client could wait for our 100, or
        // send gigabytes.
        let close = self.asked.is_last
            || self.asked.scope.is_draining()
            || !request.keep_alive()
            || sent_as == Framed::UntilClose
            || !self.upload.is_read();
        let rules = ResponseRules {
            framed: sent_as,
            close,
            downstream: request.version(),
            length_describes: request.method() == b"HEAD" || response.status() == 304,
        };
        let before = downstream.mark();
        downstream
            .try_queue(|out| head::forward_response(out, &response, &rules))
            .map_err(|error| self.malformed_response(&error))?;
        let keep = keep_upstream(&response, framed).filter(|_| !self.lost_boundary);
        lease.consume(head_bytes);

        let mut download = Passage::new(framed, sent_as, &self.codec, None).gathering();
        let passed = self
            .pass_bodies(&mut download, &mut lease, downstream, alarm)
            .await;
        (moved.up, moved.down) = (self.upload.moved(), download.moved());
        if let Err(fault) = passed {
            if fault.who == Who::Upstream && downstream.take_back(before) {
                // The client has seen nothing of this answer yet: it gets one that says what
                // happened.
                moved.down = 0;
                return Err(fault.into());
            }
            return Ok(After::Abort(fault));
        }
        let at_boundary = self.uploaded && lease.unread().is_empty() && !lease.has_queued();
        match keep {
            Some(idle) if at_boundary => lease.release(Release::Keep { idle }),
            _ => {
                // Half a request ends with a reset, which nobody takes for its end.
                if self.uploaded {
                    lease.stream().close_on_drop();
                }
                lease.release(Release::Close);
            }
        }
        Ok(match self.flush(downstream, alarm).await {
            Err(fault) => After::Abort(fault),
            Ok(()) if close && is_last_word(request, downstream) => After::Leave,
            Ok(()) if close => After::Close,
            Ok(()) => After::KeepAlive,
        })
    }

    /// Moves the response's body down and, if it is not over, the request's body up, until the
    /// response has ended.
    async fn pass_bodies(
        &mut self,
        download: &mut Passage,
        upstream: &mut Lease<Origin, Conn>,
        downstream: &mut Conn,
        alarm: &mut Alarm,
    ) -> Result<(), Fault> {
        self.deadlines.begin_phase();
        let passed = poll_fn(|cx| {
            // Once the head is out, a request body that goes wrong only ends its own upload.
            if self.poll_upload(cx, downstream, upstream).is_err() {
                self.upload_broken = true;
                self.deadlines.end_upload();
            }
            if let Poll::Ready(passed) = download.poll(cx, upstream, downstream) {
                return Poll::Ready(Ok(passed));
            }
            let waiting = self.waiting_for_bodies(
                downstream,
                upstream,
                download.moved(),
                download.is_held_back(),
            );
            self.poll_ended(cx, downstream, upstream, alarm, &waiting)
                .map(Err)
        });
        match passed.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(stop)) => Err(self.cut_response(stop)),
            Err(Ended::Fault(fault)) => Err(fault),
            Err(Ended::Exceeded(Exceeded::UploadRate)) => Err(self.slow_upload()),
            Err(Ended::Exceeded(Exceeded::DownloadRate)) => Err(self.slow_reader()),
            Err(Ended::Exceeded(Exceeded::Progress | Exceeded::Head)) => Err(Fault::new(
                if download.is_held_back() {
                    Who::Downstream
                } else {
                    Who::Upstream
                },
                Kind::Deadline(Deadline::ResponseBody),
                format!(
                    "the response body stood still for {:?}",
                    self.asked.limits.body_progress
                ),
            )),
        }
    }

    fn cut_response(&self, stop: Stop) -> Fault {
        match stop {
            Stop::To(broken) => downstream_left(&broken),
            Stop::Malformed(error) => {
                self.asked.shared.counters.malformed_responses.add(1);
                malformed(Who::Upstream, &error)
            }
            Stop::From(broken) => Fault::new(
                Who::Upstream,
                Kind::ClosedEarly,
                format!("the upstream broke off within the response body: {broken}"),
            ),
            Stop::Truncated | Stop::TooLarge => Fault::new(
                Who::Upstream,
                Kind::ClosedEarly,
                "the upstream closed within the response body",
            ),
        }
    }
}

/// Heads of answers to one request, interim ones and the final one: more are no progress but a way
/// to hold us.
const MOST_HEADS: usize = 64;

/// Whether the client has promised to send nothing behind its request (RFC 9112 section 9.6), and
/// has sent nothing. Behind a body, promise or not, some clients send an empty line, for which the
/// answer shall not be lost.
fn is_last_word(request: &Request<'_>, downstream: &Conn) -> bool {
    !request.keep_alive() && !request.framing().has_body() && downstream.unread().is_empty()
}
