//! Carrier: what one request and its response pass over, in any version of HTTP.
//!
//! In:    a leased connection of HTTP/1, or a leased stream of HTTP/2.
//! Out:   the steps of an exchange, which are the same for both.
//! Never: decides about timeouts, retries or limits: its users do.

use super::body::About;
use super::checked_request::CheckedRequest;
use super::error::Error;
use super::event::CloseReason;
use super::in_flight::InFlight;
use super::keep_alive::{self, Keep};
use super::pooled_conn::Exchange;
use super::request_head;
use super::response_head;
use super::{Config, HEAD_LIMITS};
use bytes::Bytes;
use byway_dial::Broken;
use byway_head::{Field, Malformed, Trailers};
use byway_http::h1::{EndlessInterim, HeadError};
use byway_http::{BodyError, LazyTimer, Part, Sink, Source};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use std::convert::Infallible;
use std::task::{Context, Poll};

/// One request and its response, on what carries them. Dropping it ends both: it closes the
/// connection, or resets the stream.
pub(crate) trait Carrier: Send + Sized + 'static {
    /// Keeps the request's head until something is sent; on an error nothing is kept.
    fn queue_head(&mut self, checked: &CheckedRequest, keep_alive: bool) -> Result<(), Error>;

    /// Reads the next head of a response. Cancel safe.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), HeadError<Infallible>>>;

    /// The status of that head.
    fn status(&self) -> u16;

    /// That head.
    fn read_response(&self) -> Result<Response<()>, Error>;

    /// Continues after an interim response.
    fn pass_interim(&mut self) -> Result<(), EndlessInterim>;

    /// Continues after the final head. Returns what may become of the connection after the body.
    fn begin_body(&mut self, checked: &CheckedRequest, config: &Config) -> Result<Keep, Error>;

    /// The connection, for the user of the response.
    fn about(&self) -> About;

    /// The timer of the exchange.
    fn timer(&mut self) -> &mut LazyTimer;

    /// Bytes of the request that were taken.
    fn sent_bytes(&self) -> u64;

    /// Whether something of the request waits to be taken.
    fn has_queued(&self) -> bool;

    /// How many bytes of the request's body are queued.
    fn queued_bytes(&mut self) -> usize;

    /// Queues data of the request's body.
    fn queue_data(&mut self, data: &[u8]);

    /// As [`Sink::poll_data`].
    fn poll_data(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, Broken>>;

    /// Queues the end of a body whose length was not announced.
    fn end<'t>(&mut self, trailers: impl Iterator<Item = Field<'t>>) -> Result<(), Malformed>;

    /// The body, whose length was announced, is complete.
    fn end_by_length(&mut self);

    /// As [`Sink::poll_push_out`].
    fn poll_push_out(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>>;

    /// As [`Source::part`].
    fn part(&mut self) -> Result<Part, Malformed>;

    /// Takes the first `n` bytes of the data that has arrived.
    fn take(&mut self, n: usize) -> Bytes;

    /// As [`Source::poll_more`].
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>>;

    /// Whether the response has ended, without trailers; its end is then used.
    fn is_at_end(&mut self) -> Result<bool, Malformed>;

    /// The trailers after the end of the body, which is then used.
    fn finish(&mut self) -> HeaderMap;

    /// How many bytes of the response's body are missing, if known.
    fn body_left(&self) -> Option<u64>;

    /// Skips what has arrived of the response's body. Returns whether that was all of it.
    fn skip_body(&mut self) -> bool;

    /// The error of an exchange that has ended before its response.
    fn lost(&self, idempotent: bool, broken: Option<Broken>) -> Error;

    /// The reason to report if it is dropped now.
    fn closes_for(&mut self, reason: CloseReason);

    /// The exchange is over: gives back what carried it, or closes it.
    fn settle(self, keep: Keep, in_flight: &InFlight);
}

impl Carrier for Exchange {
    fn queue_head(&mut self, checked: &CheckedRequest, keep_alive: bool) -> Result<(), Error> {
        self.lease.begin();
        request_head::queue(checked, self, keep_alive)
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), HeadError<Infallible>>> {
        Self::poll_head(self, cx, &HEAD_LIMITS, |_| None::<Infallible>)
    }

    fn status(&self) -> u16 {
        self.response().status()
    }

    fn read_response(&self) -> Result<Response<()>, Error> {
        let head = Bytes::copy_from_slice(self.head());
        response_head::read(&self.response_in(&head), |value| {
            HeaderValue::from_maybe_shared(head.slice_ref(value)).ok()
        })
    }

    fn pass_interim(&mut self) -> Result<(), EndlessInterim> {
        Self::pass_interim(self)
    }

    fn begin_body(&mut self, checked: &CheckedRequest, config: &Config) -> Result<Keep, Error> {
        let method = checked.parts.method.as_str();
        let framed = self.response().framing(method.as_bytes())?;
        let kept = Self::begin_body(self, framed, &HEAD_LIMITS, config.hint.limits());
        Ok(keep_alive::keep(kept))
    }

    fn about(&self) -> About {
        About {
            requests: self.lease.requests(),
            peer: self.lease.peer,
            local: self.lease.local,
        }
    }

    #[inline]
    fn timer(&mut self) -> &mut LazyTimer {
        &mut self.lease.timer
    }

    #[inline]
    fn sent_bytes(&self) -> u64 {
        Self::sent_bytes(self)
    }

    #[inline]
    fn has_queued(&self) -> bool {
        Self::has_queued(self)
    }

    #[inline]
    fn queued_bytes(&mut self) -> usize {
        self.sink().conn.queued_bytes()
    }

    #[inline]
    fn queue_data(&mut self, data: &[u8]) {
        self.sink().queue_data(data);
    }

    #[inline]
    fn poll_data(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, Broken>> {
        self.sink().poll_data(cx, data)
    }

    fn end<'t>(&mut self, trailers: impl Iterator<Item = Field<'t>>) -> Result<(), Malformed> {
        self.sink().end(trailers)
    }

    #[inline]
    fn end_by_length(&mut self) {}

    #[inline]
    fn poll_push_out(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.sink().poll_push_out(cx)
    }

    #[inline]
    fn part(&mut self) -> Result<Part, Malformed> {
        self.source().part()
    }

    fn take(&mut self, n: usize) -> Bytes {
        let mut source = self.source();
        let data = Bytes::copy_from_slice(source.data().get(..n).unwrap_or_default());
        source.taken(n);
        data
    }

    #[inline]
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        self.source().poll_more(cx)
    }

    fn is_at_end(&mut self) -> Result<bool, Malformed> {
        let mut source = self.source();
        let is_over = source.part()? == Part::End && source.trailers().next().is_none();
        if is_over {
            source.finish();
        }
        Ok(is_over)
    }

    fn finish(&mut self) -> HeaderMap {
        let mut source = self.source();
        let trailers = trailers(source.trailers());
        source.finish();
        trailers
    }

    fn body_left(&self) -> Option<u64> {
        Self::body_left(self)
    }

    fn skip_body(&mut self) -> bool {
        Self::skip_body(self)
    }

    fn lost(&self, idempotent: bool, source: Option<Broken>) -> Error {
        Error::ConnectionLost {
            reused: self.lease.requests() > 1,
            bytes_written: Self::sent_bytes(self),
            bytes_read: self.received_bytes(),
            idempotent,
            source,
        }
    }

    fn closes_for(&mut self, reason: CloseReason) {
        self.lease.close_reason = Some(reason);
    }

    fn settle(self, keep: Keep, in_flight: &InFlight) {
        in_flight.settle(self, keep);
    }
}

/// A section of trailers.
pub(super) fn trailers(fields: Trailers<'_>) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    for field in fields {
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(field.name),
            HeaderValue::from_bytes(field.value),
        ) {
            trailers.append(name, value);
        }
    }
    trailers
}
