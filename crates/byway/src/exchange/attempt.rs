//! Attempt: one try of a request on one borrowed connection.
//!
//! In:    an allowed request, a leased connection, and the downstream connection.
//! Out:   what to do with the downstream connection; or why the try failed before anything was sent
//!        downstream, and whether another connection may be tried.
//! Never: presents a truncated response as complete, keeps a connection that is not at a message
//!        boundary, or opens a tunnel before the upstream has sent 101.

mod waiting;

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use byway_dial::Broken;
use byway_head::{Framed, Request, Version};
use byway_http::h1::{EndlessInterim, HeadError, MOST_INTERIM, Outcome};
use byway_http::{BodyError, LazyTimer};

use self::waiting::WaitEnd;
use super::body::BodyTransfer;
use super::deadline::{Deadlines, Exceeded};
use super::downstream::Downstream;
use super::exchange_request::{ExchangeRequest, RequestRecord};
use super::failure::{
    AttemptFailure, body_too_large, client_left, filter_failed, link_lost, no_answer, not_read,
};
use super::head::{self, ResponseRules};
use super::next::Next;
use super::retry::{Failed, Tries, is_repeatable};
use super::upstream::Upstream;
use super::websocket;
use crate::fault::{Fault, Reason, Who, malformed};
use crate::observe::timing::Phase;
use crate::outbound::pooled::{Destination, UpgradeHold};
use crate::outbound::tunnel::Tunnel;

/// One try on one connection.
pub(super) struct Attempt<'a> {
    exchange: &'a ExchangeRequest<'a>,
    upload: &'a mut BodyTransfer,
    /// The upstream stopped reading the request body. Its response may still be read.
    upload_broken: bool,
    uploaded: bool,
    reused: bool,
    /// Bytes delivered to the client before this attempt.
    left_before: u64,
    /// The upstream has sent 100: the client sends its body from now on.
    continued: bool,
    deadlines: Deadlines<'a>,
}

impl<'a> Attempt<'a> {
    pub(super) fn new(
        exchange: &'a ExchangeRequest<'a>,
        upload: &'a mut BodyTransfer,
        upstream: &Upstream,
        downstream: &Downstream<'_>,
    ) -> Self {
        Self {
            exchange,
            upload,
            upload_broken: false,
            uploaded: false,
            reused: upstream.reused(),
            left_before: downstream.left_bytes(),
            continued: false,
            // At an egress the outflow in front of the client may be shaped, and the client may
            // pause.
            deadlines: Deadlines::new(exchange.limits, downstream.has_outflow()),
        }
    }

    pub(super) async fn run(
        &mut self,
        mut upstream: Upstream,
        destination: Destination,
        downstream: &mut Downstream<'_>,
        tries: &mut Tries<'_>,
        timer: &mut LazyTimer,
        record: &mut RequestRecord,
    ) -> Result<Next, AttemptFailure> {
        let Destination { authority, upgrade } = destination;
        upstream.write_head(self.exchange.request.framing(), |out| {
            self.exchange.write_request(out, authority.as_deref())
        })?;
        upstream
            .start_over(self.upload)
            .map_err(|error| malformed(Who::Downstream, &error))?;
        loop {
            if let Err(mut failure) = self.response_head(downstream, &mut upstream, timer).await {
                if failure.outcome == Outcome::Unsent {
                    failure.refused = upstream.refused();
                }
                return Err(failure);
            }
            record.up = self.upload.moved();
            let status = upstream.response().status();
            if self.tries_another_upstream(status, tries, record) {
                let framed = self.framing(&upstream)?;
                upstream.discard(framed, &self.exchange.limits.head_limits());
                return Err(AttemptFailure::declined(status));
            }
            match status {
                100 | 102..=199 => self.interim(&mut upstream, downstream, timer).await?,
                _ => {
                    record.status = status;
                    record.timing.enter(Phase::Transfer);
                }
            }
            if matches!(status, 200..=299) && self.exchange.is_extended_connect() {
                let detail = "the upstream did not change to the protocol of an extended CONNECT";
                return Err(Fault::new(Who::Upstream, Reason::UpgradeIgnored, detail).into());
            }
            match status {
                101 => return self.switch(upstream, upgrade, downstream),
                200.. => return self.finish(upstream, downstream, timer, record).await,
                _ => {}
            }
        }
    }

    /// Whether another upstream is tried instead of passing this response on. If not, the bytes
    /// kept for replay are released.
    fn tries_another_upstream(
        &mut self,
        status: u16,
        tries: &mut Tries<'_>,
        record: &mut RequestRecord,
    ) -> bool {
        let on = self.exchange.allowed.plan().retry.on;
        if on.contains(status) && self.uploaded {
            let failed = Failed {
                outcome: Outcome::SentNoByteBack,
                reused: self.reused,
                refused: false,
                gave_up: false,
                repeatable: is_repeatable(&self.exchange.request),
                body_kept: self.upload.can_start_over(),
            };
            if self.exchange.decide_retry(tries, failed, record) {
                return true;
            }
        }
        if on.is_empty() || status >= 200 {
            self.upload.settle();
        }
        false
    }

    /// How the body of the final response is delimited.
    fn framing(&self, upstream: &Upstream) -> Result<Framed, AttemptFailure> {
        let method = self.exchange.request.method();
        let framed = upstream.response().framing(method);
        framed.map_err(|error| self.malformed_response(&error))
    }

    /// Sends the request and reads the next response head, interim or final. The upload continues
    /// meanwhile.
    async fn response_head(
        &mut self,
        downstream: &mut Downstream<'_>,
        upstream: &mut Upstream,
        timer: &mut LazyTimer,
    ) -> Result<(), AttemptFailure> {
        self.deadlines.begin_phase();
        let ended = poll_fn(|cx| -> Poll<Result<_, AttemptFailure>> {
            self.poll_upload(cx, downstream, upstream)?;
            if self.poll_head(cx, upstream)?.is_ready() {
                return Poll::Ready(Ok(Ok(())));
            }
            let waiting = self.waiting_for_head(downstream, upstream);
            self.poll_ended(cx, downstream, upstream, timer, &waiting)
                .map(|ended| Ok(Err(ended)))
        });
        match ended.await? {
            Ok(()) => Ok(()),
            Err(WaitEnd::Fault(fault)) => Err(fault.into()),
            Err(WaitEnd::Exceeded(Exceeded::UploadRate)) => Err(self.slow_upload().into()),
            Err(WaitEnd::Exceeded(Exceeded::DownloadRate)) => Err(self.slow_reader().into()),
            Err(WaitEnd::Exceeded(Exceeded::Progress)) => {
                Err(self.failed(self.stalled_upload(), upstream))
            }
            Err(WaitEnd::Exceeded(Exceeded::Head)) => {
                Err(self.failed(no_answer(self.exchange.limits.first_byte), upstream))
            }
        }
    }

    fn poll_upload(
        &mut self,
        cx: &mut Context<'_>,
        downstream: &mut Downstream<'_>,
        upstream: &mut Upstream,
    ) -> Result<(), AttemptFailure> {
        if self.uploaded || self.upload_broken {
            return Ok(());
        }
        match downstream.poll_upload(cx, self.upload, upstream) {
            Poll::Pending => Ok(()),
            Poll::Ready(Ok(())) => {
                self.uploaded = true;
                self.deadlines.end_upload();
                Ok(())
            }
            Poll::Ready(Err(BodyError::To(_))) => {
                // The upstream may have responded before it closed; the next read shows it.
                self.upload_broken = true;
                self.deadlines.end_upload();
                Ok(())
            }
            Poll::Ready(Err(stop)) => Err(self.stopped_by_downstream(stop).into()),
        }
    }

    fn poll_head(
        &self,
        cx: &mut Context<'_>,
        upstream: &mut Upstream,
    ) -> Poll<Result<(), AttemptFailure>> {
        let exposed = self.exchange.allowed.outbound().service().is_some();
        let head = ready!(upstream.poll_head(cx, &self.exchange.limits.head_limits(), exposed));
        Poll::Ready(head.map_err(|error| match error {
            HeadError::Malformed(error) => self.malformed_response(&error),
            HeadError::OtherProtocol(fault) => {
                self.exchange.counters().malformed_responses.add(1);
                fault.into()
            }
            HeadError::Closed(broken) => self.closed_early(upstream, broken.as_ref()),
        }))
    }

    fn malformed_response(&self, error: &byway_head::Malformed) -> AttemptFailure {
        self.exchange.counters().malformed_responses.add(1);
        malformed(Who::Upstream, error).into()
    }

    /// The upstream closed without a complete head.
    fn closed_early(&self, upstream: &Upstream, broken: Option<&Broken>) -> AttemptFailure {
        if let Some(Broken::SessionLost) = broken {
            return self.failed(link_lost("before the response was complete"), upstream);
        }
        let how = broken.map_or_else(|| "it closed the connection".into(), ToString::to_string);
        // TLS servers that use OpenSSL close on plain HTTP without an alert.
        let hint = match self.exchange.allowed.outbound().route() {
            Some(route)
                if upstream.outcome() != Outcome::Partial
                    && !self.reused
                    && route.upstreams.iter().all(|upstream| !upstream.tls) =>
            {
                "; if it speaks TLS, write https:// in front of it"
            }
            _ => "",
        };
        let detail = format!("the upstream sent no complete response: {how}{hint}");
        self.failed(
            Fault::new(Who::Upstream, Reason::ClosedEarly, detail),
            upstream,
        )
    }

    fn failed(&self, fault: Fault, upstream: &Upstream) -> AttemptFailure {
        AttemptFailure {
            outcome: upstream.outcome(),
            reused: self.reused,
            ..fault.into()
        }
    }

    fn stopped_by_downstream(&self, stop: BodyError) -> Fault {
        match stop {
            BodyError::Malformed(error) => {
                self.exchange.counters().malformed_requests.add(1);
                malformed(Who::Downstream, &error)
            }
            BodyError::TooLarge => body_too_large(self.exchange.max_body.unwrap_or_default()),
            BodyError::Truncated => Fault::new(
                Who::Downstream,
                Reason::ClosedEarly,
                "the client closed within its request body",
            ),
            BodyError::From(broken) | BodyError::To(broken) => client_left(&broken),
            BodyError::Filter(error) => filter_failed(&error),
        }
    }

    /// Passes an interim response on to a client that can read one.
    async fn interim(
        &mut self,
        upstream: &mut Upstream,
        downstream: &mut Downstream<'_>,
        timer: &mut LazyTimer,
    ) -> Result<(), AttemptFailure> {
        let response = upstream.response();
        if self.exchange.request.version() >= Version::Http11 {
            downstream
                .write_head(Framed::None, |out| head::forward_interim(out, &response))
                .map_err(|error| self.malformed_response(&error))?;
        }
        self.continued |= response.status() == 100;
        let passed = upstream.pass_interim();
        self.push_down(downstream, upstream, timer).await?;
        passed.map_err(|EndlessInterim| {
            let detail =
                format!("the upstream sent {MOST_INTERIM} interim responses and no final one");
            Fault::new(Who::Upstream, Reason::EndlessInterim, detail).into()
        })
    }

    /// Sends what is queued for the client, and uploads its request body meanwhile: it may send all
    /// of that before it reads.
    async fn push_down(
        &mut self,
        downstream: &mut Downstream<'_>,
        upstream: &mut Upstream,
        timer: &mut LazyTimer,
    ) -> Result<(), AttemptFailure> {
        self.deadlines.begin_phase();
        let pushed = poll_fn(|cx| -> Poll<Result<_, AttemptFailure>> {
            self.poll_upload(cx, downstream, upstream)?;
            if let Poll::Ready(flushed) = downstream.poll_flush(cx) {
                return Poll::Ready(
                    flushed
                        .map(|()| None)
                        .map_err(|broken| client_left(&broken).into()),
                );
            }
            let waiting = self.waiting_for_bodies(downstream, upstream, 0, true);
            self.poll_ended(cx, downstream, upstream, timer, &waiting)
                .map(|ended| Ok(Some(ended)))
        });
        match pushed.await? {
            None => Ok(()),
            Some(WaitEnd::Fault(fault)) => Err(fault.into()),
            Some(WaitEnd::Exceeded(Exceeded::UploadRate)) => Err(self.slow_upload().into()),
            Some(WaitEnd::Exceeded(Exceeded::DownloadRate)) => Err(self.slow_reader().into()),
            Some(WaitEnd::Exceeded(Exceeded::Progress | Exceeded::Head)) => {
                Err(not_read(self.exchange.limits.body_progress).into())
            }
        }
    }

    /// 101: the connection is no longer HTTP. Bytes that the client sent after its request have
    /// waited for this.
    fn switch(
        &self,
        upstream: Upstream,
        upgrade: Option<Box<UpgradeHold>>,
        downstream: &mut Downstream<'_>,
    ) -> Result<Next, AttemptFailure> {
        let response = upstream.response();
        let switched = response
            .field("Upgrade")
            .filter(|protocol| self.exchange.asks_to_upgrade_to(protocol));
        let Some(protocol) = switched else {
            let detail = "the upstream answered 101 to a request that did not ask for this upgrade";
            return Err(Fault::new(Who::Upstream, Reason::UnaskedUpgrade, detail).into());
        };
        if let Some(handshake) = self.exchange.websocket()
            && !websocket::accepts(&handshake, &response)
        {
            let detail =
                "the upstream answered 101 with a Sec-WebSocket-Accept of another handshake";
            return Err(Fault::new(Who::Upstream, Reason::UnaskedUpgrade, detail).into());
        }
        if !self.uploaded {
            let detail = "the upstream answered 101 before it had taken the whole request";
            return Err(Fault::new(Who::Upstream, Reason::PrematureUpgrade, detail).into());
        }
        downstream
            .write_head(Framed::None, |out| {
                let version = self.exchange.request.version();
                head::forward_switch(out, &response, protocol, version)
            })
            .map_err(|error| self.malformed_response(&error))?;
        let (stream, early) = upstream.into_tunnel();
        let (slot, permit) = upgrade.map_or((None, None), |held| (Some(held.slot), held.permit));
        let allowed = self.exchange.allowed.clone();
        Ok(Next::Tunnel(Box::new(Tunnel {
            early,
            slot,
            permit,
            ..Tunnel::opened(stream, allowed, "UPGRADE")
        })))
    }

    /// Queues the head of the final response. Returns its body, and whether the downstream
    /// connection closes after it.
    fn pass_head(
        &self,
        upstream: &mut Upstream,
        downstream: &mut Downstream<'_>,
    ) -> Result<(BodyTransfer, bool), AttemptFailure> {
        let request = &self.exchange.request;
        let framed = self.framing(upstream)?;
        let response = upstream.response();
        let filter = self.exchange.filter.map(|make| make());
        let sent_as = head::framed_downstream(framed, filter.as_deref(), request.version());
        // An upload that is unfinished now may never finish: the client may wait for a 100, or send
        // gigabytes.
        let close = self.exchange.is_last
            || self.exchange.scope.is_draining()
            || !request.keep_alive()
            || sent_as == Framed::UntilClose
            || !self.upload.is_read();
        let rules = ResponseRules {
            framed: sent_as,
            close,
            downstream: request.version(),
            length_describes: (request.method() == b"HEAD" || response.status() == 304)
                && filter.is_none(),
            hsts_seconds: self
                .exchange
                .forwarded
                .map_or(0, |about| about.hsts_seconds),
            alt_svc: self.exchange.forwarded.and_then(|about| about.alt_svc),
        };
        downstream
            .write_head(sent_as, |out| {
                head::forward_response(out, &response, &rules)
            })
            .map_err(|error| self.malformed_response(&error))?;
        upstream.begin_body(framed, &self.exchange.limits.head_limits());
        let filter = filter.filter(|_| framed.has_body());
        Ok((BodyTransfer::new(None).filtered(filter), close))
    }

    /// Passes the final response on: its head, its body, and the decision about both connections.
    async fn finish(
        &mut self,
        mut upstream: Upstream,
        downstream: &mut Downstream<'_>,
        timer: &mut LazyTimer,
        record: &mut RequestRecord,
    ) -> Result<Next, AttemptFailure> {
        let before = downstream.mark();
        let (mut download, close) = self.pass_head(&mut upstream, downstream)?;
        let passed = self
            .pass_bodies(&mut download, &mut upstream, downstream, timer)
            .await;
        (record.up, record.down) = (self.upload.moved(), download.moved());
        if let Err(fault) = passed {
            if fault.is_of_far_side() && downstream.take_back(before) {
                // The client has received nothing of this response yet: it gets an error response
                // instead.
                record.down = 0;
                return Err(fault.into());
            }
            if fault.who == Who::Downstream && self.exchange.request.version().has_streams() {
                upstream.abandon(self.uploaded);
            }
            return Ok(Next::Reset(fault));
        }
        upstream.settle(self.uploaded);
        Ok(match self.flush(downstream, timer).await {
            Err(fault) => Next::Reset(fault),
            Ok(()) if close && is_last_request(&self.exchange.request, downstream) => Next::Leave,
            Ok(()) if close => Next::Close,
            Ok(()) => Next::KeepAlive,
        })
    }

    /// Moves the response body down and, if it is unfinished, the request body up, until the
    /// response has ended.
    async fn pass_bodies(
        &mut self,
        download: &mut BodyTransfer,
        upstream: &mut Upstream,
        downstream: &mut Downstream<'_>,
        timer: &mut LazyTimer,
    ) -> Result<(), Fault> {
        self.deadlines.begin_phase();
        let passed = poll_fn(|cx| {
            // After the head was sent, an error in the request body only ends the upload.
            if self.poll_upload(cx, downstream, upstream).is_err() {
                self.upload_broken = true;
                self.deadlines.end_upload();
            }
            if let Poll::Ready(passed) = downstream.poll_download(cx, download, upstream) {
                return Poll::Ready(Ok(passed));
            }
            let waiting = self.waiting_for_bodies(
                downstream,
                upstream,
                download.moved(),
                download.is_held_back(),
            );
            self.poll_ended(cx, downstream, upstream, timer, &waiting)
                .map(Err)
        });
        match passed.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(stop)) => Err(self.cut_response(stop)),
            Err(WaitEnd::Fault(fault)) => Err(fault),
            Err(WaitEnd::Exceeded(Exceeded::UploadRate)) => Err(self.slow_upload()),
            Err(WaitEnd::Exceeded(Exceeded::DownloadRate)) => Err(self.slow_reader()),
            Err(WaitEnd::Exceeded(Exceeded::Progress | Exceeded::Head)) => Err(Fault::new(
                if download.is_held_back() {
                    Who::Downstream
                } else {
                    Who::Upstream
                },
                Reason::ResponseBody,
                format!(
                    "the response body made no progress for {:?}",
                    self.exchange.limits.body_progress
                ),
            )),
        }
    }

    fn cut_response(&self, stop: BodyError) -> Fault {
        match stop {
            BodyError::To(broken) => client_left(&broken),
            BodyError::Filter(error) => filter_failed(&error),
            BodyError::Malformed(error) => {
                self.exchange.counters().malformed_responses.add(1);
                malformed(Who::Upstream, &error)
            }
            BodyError::From(Broken::SessionLost) => link_lost("within the response body"),
            BodyError::From(broken) => Fault::new(
                Who::Upstream,
                Reason::ClosedEarly,
                format!("the upstream broke off within the response body: {broken}"),
            ),
            BodyError::Truncated | BodyError::TooLarge => Fault::new(
                Who::Upstream,
                Reason::ClosedEarly,
                "the upstream closed within the response body",
            ),
        }
    }
}

/// Whether the client has announced that this is its last request (RFC 9112 section 9.6) and has
/// sent nothing more. Never true after a request body: some clients send an empty line after it,
/// and a reset caused by it must not destroy the response.
fn is_last_request(request: &Request<'_>, downstream: &Downstream<'_>) -> bool {
    !request.keep_alive() && !request.framing().has_body() && !downstream.has_unread()
}
