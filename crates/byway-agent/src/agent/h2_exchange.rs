//! HTTP/2 exchange: one request and its response on one stream of a shared connection.
//!
//! In:    a leased stream; a checked request.
//! Out:   the steps of an exchange; the stream back to its session.
//! Never: frees the slot of a stream before its work has ended; returns a stream that has not
//!        ended in order, which is reset.

use super::body::About;
use super::carrier::{self, Carrier};
use super::checked_request::CheckedRequest;
use super::error::{BadAnswer, Error};
use super::event::{CloseReason, Event};
use super::h2_session::H2Lease;
use super::in_flight::InFlight;
use super::keep_alive::Keep;
use super::request_head;
use super::response_head;
use super::{Config, Inner, reaper};
use bytes::{Bytes, BytesMut};
use byway_dial::Broken;
use byway_head::{Field, Framed, Malformed};
use byway_http::h1::{EndlessInterim, HeadError};
use byway_http::h2::{ErrorCode, H2Stream};
use byway_http::{BodyError, LazyTimer, Part, Sink, Source};
use byway_pool::Requeue;
use http::{HeaderMap, HeaderValue, Response};
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// A request and its response on a stream of HTTP/2. Dropping it resets the stream.
pub(crate) struct H2Exchange {
    /// `None` after it was given back.
    lease: Option<H2Lease>,
    agent: Arc<Inner>,
    timer: LazyTimer,
    requests: u64,
    /// Bytes of the response that arrived.
    received: u64,
    /// Bytes of the response's body that are missing, if its length is known.
    left: Option<u64>,
    /// The error that the next read returns.
    failed: Option<BodyError>,
}

impl H2Exchange {
    pub(crate) fn new(lease: H2Lease, agent: Arc<Inner>) -> Self {
        let requests = lease.requests();
        Self {
            lease: Some(lease),
            agent,
            timer: LazyTimer::default(),
            requests,
            received: 0,
            left: None,
            failed: None,
        }
    }

    /// Gives back a stream on which nothing was processed, so that the request can have another
    /// one.
    pub(crate) fn refused(mut self) -> Option<Requeue> {
        let lease = self.lease.take()?;
        let requeue = self.give_back(lease, H2Lease::refused);
        Some(requeue)
    }

    fn stream(&mut self) -> &mut H2Stream {
        &mut self.lease_mut().stream
    }

    #[allow(clippy::expect_used, reason = "what takes it takes the exchange, too")]
    fn lease(&self) -> &H2Lease {
        self.lease.as_ref().expect(GIVEN_BACK)
    }

    #[allow(clippy::expect_used, reason = "what takes it takes the exchange, too")]
    fn lease_mut(&mut self) -> &mut H2Lease {
        self.lease.as_mut().expect(GIVEN_BACK)
    }

    /// Gives the lease back by `how`; a session that is idle then is closed after a while.
    fn give_back<T>(&self, lease: H2Lease, how: impl FnOnce(H2Lease) -> T) -> T {
        let is_last = lease.session().ends_stream();
        let group = is_last.then(|| lease.key().clone());
        let result = how(lease);
        if let Some(group) = group {
            self.agent.observer.notify(&Event::Idle { group: &group });
            reaper::wake(&self.agent);
        }
        result
    }

    /// Reads what has arrived, so that an end that is there is noticed.
    fn look_ahead(&mut self, cx: &mut Context<'_>) {
        if self.failed.is_none()
            && matches!(Source::part(self.stream()), Ok(Part::More))
            && let Poll::Ready(Err(error)) = self.stream().poll_more(cx)
        {
            self.failed = Some(error);
        }
    }
}

const GIVEN_BACK: &str = "the lease is given back with its exchange";

impl Drop for H2Exchange {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            self.give_back(lease, drop);
        }
    }
}

impl Carrier for H2Exchange {
    fn queue_head(&mut self, checked: &CheckedRequest, _keep_alive: bool) -> Result<(), Error> {
        self.stream()
            .write_head(|head| request_head::write_h2(checked, head))
            .map_err(|error| Error::invalid(format!("{error}")))
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), HeadError<Infallible>>> {
        let head = self.stream().poll_head(cx);
        if let Poll::Ready(Ok(())) = head {
            let response = self.stream().response();
            let bytes: usize = response
                .fields()
                .map(|field| field.name.len() + field.value.len())
                .sum();
            self.received += bytes as u64 + 1;
        }
        head
    }

    fn status(&self) -> u16 {
        self.lease().stream.response().status()
    }

    /// The values share one allocation.
    fn read_response(&self) -> Result<Response<()>, Error> {
        let view = self.lease().stream.response();
        let bytes = view.fields().map(|field| field.value.len()).sum();
        let mut values = BytesMut::with_capacity(bytes);
        response_head::read(&view, |value| {
            values.extend_from_slice(value);
            HeaderValue::from_maybe_shared(values.split().freeze()).ok()
        })
    }

    fn pass_interim(&mut self) -> Result<(), EndlessInterim> {
        self.stream().pass_interim()
    }

    fn begin_body(&mut self, checked: &CheckedRequest, _config: &Config) -> Result<Keep, Error> {
        let method = checked.parts.method.as_str();
        let framed = self.stream().response().framing(method.as_bytes())?;
        self.stream().expect(framed);
        self.left = match framed {
            Framed::None => Some(0),
            Framed::Length(length) => Some(length),
            Framed::Chunked | Framed::UntilClose => None,
        };
        self.look_ahead(&mut Context::from_waker(Waker::noop()));
        let has_ended = matches!(Source::part(self.stream()), Ok(Part::End));
        if has_ended && self.stream().trailers().next().is_none() {
            self.left = Some(0);
        } else if self.left == Some(0) {
            self.left = None; // the end is yet to come
        }
        Ok(Ok(None))
    }

    fn about(&self) -> About {
        let session = self.lease().session();
        About {
            requests: self.requests,
            peer: session.peer,
            local: session.local,
        }
    }

    fn timer(&mut self) -> &mut LazyTimer {
        &mut self.timer
    }

    fn sent_bytes(&self) -> u64 {
        self.lease().stream.sent_bytes()
    }

    fn has_queued(&self) -> bool {
        self.lease().stream.has_queued()
    }

    fn queued_bytes(&mut self) -> usize {
        self.stream().mark().queued
    }

    fn queue_data(&mut self, data: &[u8]) {
        self.stream().queue_data(data);
    }

    fn poll_data(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, Broken>> {
        self.stream().poll_data(cx, data)
    }

    fn end<'t>(&mut self, trailers: impl Iterator<Item = Field<'t>>) -> Result<(), Malformed> {
        self.stream().end(trailers)
    }

    fn end_by_length(&mut self) {
        // Without trailers there is nothing that cannot be written.
        let _ = self.stream().end(std::iter::empty());
    }

    fn poll_push_out(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.stream().poll_push_out(cx)
    }

    fn part(&mut self) -> Result<Part, Malformed> {
        Source::part(self.stream())
    }

    fn take(&mut self, n: usize) -> Bytes {
        let stream = self.stream();
        let data = Bytes::copy_from_slice(Source::data(stream).get(..n).unwrap_or_default());
        stream.taken(n);
        self.received += n as u64;
        self.left = self.left.map(|left| left.saturating_sub(n as u64));
        self.look_ahead(&mut Context::from_waker(Waker::noop()));
        data
    }

    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        match self.failed.take() {
            Some(error) => Poll::Ready(Err(error)),
            None => self.stream().poll_more(cx),
        }
    }

    fn is_at_end(&mut self) -> Result<bool, Malformed> {
        let stream = self.stream();
        Ok(Source::part(stream)? == Part::End && stream.trailers().next().is_none())
    }

    fn finish(&mut self) -> HeaderMap {
        carrier::trailers(self.stream().trailers())
    }

    fn body_left(&self) -> Option<u64> {
        self.left
    }

    fn skip_body(&mut self) -> bool {
        loop {
            match self.part() {
                Ok(Part::Data(n)) => drop(self.take(n)),
                Ok(Part::End) => return true,
                Ok(Part::More) | Err(_) => {
                    let mut cx = Context::from_waker(Waker::noop());
                    if !matches!(self.poll_more(&mut cx), Poll::Ready(Ok(()))) {
                        return false;
                    }
                }
            }
        }
    }

    fn lost(&self, idempotent: bool, broken: Option<Broken>) -> Error {
        let lease = self.lease();
        if lease.stream.is_refused() {
            return Error::StreamReset {
                code: ErrorCode::REFUSED_STREAM.0,
                unprocessed: true,
            };
        }
        match broken {
            Some(Broken::Reset(code)) if !lease.session().is_lost() => Error::StreamReset {
                code,
                unprocessed: false,
            },
            broken => Error::ConnectionLost {
                reused: self.requests > 1,
                bytes_written: lease.stream.sent_bytes(),
                bytes_read: self.received,
                idempotent,
                source: broken.filter(|broken| !matches!(broken, Broken::Reset(_))),
            },
        }
    }

    fn closes_for(&mut self, _reason: CloseReason) {}

    fn settle(mut self, keep: Keep, _in_flight: &InFlight) {
        if keep.is_ok()
            && let Some(lease) = self.lease.take()
        {
            self.give_back(lease, H2Lease::release);
        }
    }
}

impl From<EndlessInterim> for Error {
    fn from(EndlessInterim: EndlessInterim) -> Self {
        let limit = byway_http::h1::MOST_INTERIM.into();
        Self::Malformed(BadAnswer::EndlessInterim { limit })
    }
}
