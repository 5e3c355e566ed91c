//! Body: a response's body as it arrives, or bytes for a request; decides about the connection at
//! the end of the response.
//!
//! In:    a connection or stream after a response's head.
//! Out:   frames; then the lease returned to the pool, or closed.
//! Never: returns the connection before its last frame was yielded and the request was written;
//!        reports a truncated body as complete.

use super::carrier::Carrier;
use super::error::{BoxError, Error, Unsuited, Which};
use super::event::CloseReason;
use super::h2_exchange::H2Exchange;
use super::in_flight::InFlight;
use super::keep_alive::Keep;
use super::pooled_conn::Exchange;
use super::upgrade::Upgraded;
use super::upload::{UploadError, Uploading};
use bytes::{Bytes, BytesMut};
use byway_http::{BodyError, Part};
use http_body::{Frame, SizeHint};
use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Instant;

/// The limit of [`Body::text`].
const TEXT_BYTES: usize = 16 * 1024 * 1024;
/// How long the end of a response waits for the rest of the request while the origin still takes
/// it.
const LINGER: Duration = Duration::from_secs(1);

/// The body of a response. It can also be the body of a request: empty, or from bytes or text.
///
/// Polling it drives its connection: the rest of the request's body is sent meanwhile, so that both
/// can stream at the same time.
///
/// The connection returns to the pool with the last frame. If the body is dropped earlier, the
/// connection is closed, unless the whole response had arrived.
pub struct Body {
    kind: BodyKind,
    about: Option<About>,
}

enum BodyKind {
    Empty,
    Whole(Bytes),
    Incoming(Box<Incoming<Exchange>>),
    /// Over HTTP/2.
    Stream(Box<Incoming<H2Exchange>>),
    Upgraded(Box<Upgraded>),
}

/// The connection that carried a response.
#[derive(Clone, Copy)]
pub(crate) struct About {
    pub(crate) requests: u64,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) local: Option<SocketAddr>,
}

/// The rest of an exchange, after the response's head.
pub(crate) struct Incoming<C: Carrier> {
    pub(crate) exchange: Option<C>,
    /// The rest of the request.
    pub(crate) upload: Option<Box<dyn Uploading<C>>>,
    pub(crate) keep: Keep,
    pub(crate) in_flight: InFlight,
    pub(crate) idempotent: bool,
    pub(crate) body_idle: Option<Duration>,
    /// When the origin must have sent or taken something, while it is waited for.
    pub(crate) due: Option<Instant>,
    /// Bytes sent when `due` was set.
    pub(crate) taken: u64,
    /// The response has ended; the request may not have.
    pub(crate) over: bool,
}

impl Body {
    /// An empty body.
    pub fn empty() -> Self {
        Self {
            kind: BodyKind::Empty,
            about: None,
        }
    }

    pub(crate) fn incoming(incoming: Incoming<Exchange>, about: About) -> Self {
        let kind = match incoming.begin() {
            Some(incoming) => BodyKind::Incoming(Box::new(incoming)),
            None => BodyKind::Empty,
        };
        Self {
            kind,
            about: Some(about),
        }
    }

    pub(crate) fn of_stream(incoming: Incoming<H2Exchange>, about: About) -> Self {
        let kind = match incoming.begin() {
            Some(incoming) => BodyKind::Stream(Box::new(incoming)),
            None => BodyKind::Empty,
        };
        Self {
            kind,
            about: Some(about),
        }
    }

    pub(crate) fn of_upgrade(upgraded: Upgraded, about: About) -> Self {
        Self {
            kind: BodyKind::Upgraded(Box::new(upgraded)),
            about: Some(about),
        }
    }

    /// The connection itself, after 101 or a 2xx to CONNECT. `None` for every other response.
    pub fn upgraded(self) -> Option<Upgraded> {
        match self.kind {
            BodyKind::Upgraded(upgraded) => Some(*upgraded),
            _ => None,
        }
    }

    /// Whether the connection had carried a request before this one. `false` for a body that is not
    /// a response's.
    #[doc(alias = "reusedSocket")]
    pub fn reused(&self) -> bool {
        self.about.is_some_and(|about| about.requests > 1)
    }

    /// Requests that the connection has carried, including this one; 0 for a body that is not a
    /// response's.
    pub fn requests(&self) -> u64 {
        self.about.map_or(0, |about| about.requests)
    }

    /// The address that the response came from; `None` for Unix sockets and connectors without
    /// addresses.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.about?.peer
    }

    /// The local address of that connection.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.about?.local
    }

    /// The next frame; `None` at the end. Cancel safe.
    ///
    /// # Errors
    /// As [`Body::bytes`], except for the length.
    pub async fn frame(&mut self) -> Option<Result<Frame<Bytes>, Error>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_incoming(cx)).await
    }

    /// The whole body, if it has at most `limit_bytes`; trailers are dropped.
    ///
    /// # Errors
    /// [`Error::Unsuited`] if it is longer; the connection is then closed.
    /// [`Error::ConnectionLost`] if the origin ended the body early, [`Error::Malformed`],
    /// [`Error::Timeout`], and [`Error::Body`] if the request's own body failed.
    pub async fn bytes(mut self, limit_bytes: usize) -> Result<Bytes, Error> {
        let too_long = Error::Unsuited(Unsuited::TooLong { limit: limit_bytes });
        if http_body::Body::size_hint(&self).lower() > limit_bytes as u64 {
            return Err(too_long);
        }
        let (mut first, mut all) = (Bytes::new(), BytesMut::new());
        while let Some(frame) = self.frame().await {
            let Ok(data) = frame?.into_data() else {
                continue;
            };
            if first.len() + all.len() + data.len() > limit_bytes {
                return Err(too_long);
            }
            if first.is_empty() && all.is_empty() {
                first = data;
            } else {
                all.extend_from_slice(&std::mem::take(&mut first));
                all.extend_from_slice(&data);
            }
        }
        Ok(if all.is_empty() { first } else { all.freeze() })
    }

    /// The whole body as text, if it is UTF-8 and at most 16 MiB long.
    ///
    /// # Errors
    /// As [`Body::bytes`], and [`Error::Unsuited`] if it is not UTF-8.
    pub async fn text(self) -> Result<String, Error> {
        let bytes = self.bytes(TEXT_BYTES).await?;
        String::from_utf8(bytes.into()).map_err(|_| Error::Unsuited(Unsuited::NotText))
    }

    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut self.kind {
            BodyKind::Empty | BodyKind::Upgraded(_) => Poll::Ready(None),
            BodyKind::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.kind = BodyKind::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            BodyKind::Incoming(incoming) => incoming.poll(cx),
            BodyKind::Stream(incoming) => incoming.poll(cx),
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.get_mut().poll_incoming(cx)
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            BodyKind::Empty | BodyKind::Upgraded(_) => true,
            BodyKind::Whole(_) => false,
            BodyKind::Incoming(incoming) => incoming.exchange.is_none(),
            BodyKind::Stream(incoming) => incoming.exchange.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            BodyKind::Empty | BodyKind::Upgraded(_) => SizeHint::with_exact(0),
            BodyKind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            BodyKind::Incoming(incoming) => size(incoming.left()),
            BodyKind::Stream(incoming) => size(incoming.left()),
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self {
            kind: if bytes.is_empty() {
                BodyKind::Empty
            } else {
                BodyKind::Whole(bytes)
            },
            about: None,
        }
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            BodyKind::Empty => "empty",
            BodyKind::Whole(_) => "whole",
            BodyKind::Incoming(_) | BodyKind::Stream(_) => "incoming",
            BodyKind::Upgraded(_) => "upgraded",
        };
        write!(
            f,
            "Body({kind}, request {} of its connection)",
            self.requests()
        )
    }
}

fn size(left: Option<u64>) -> SizeHint {
    left.map_or_else(SizeHint::new, SizeHint::with_exact)
}

impl<C: Carrier> Incoming<C> {
    /// Nothing, if the response has no body and the request has ended.
    fn begin(mut self) -> Option<Self> {
        self.over = self.left() == Some(0);
        if self.over && self.upload.is_none() {
            self.settle();
        }
        self.exchange.is_some().then_some(self)
    }

    /// How many bytes of data are missing, if known.
    fn left(&self) -> Option<u64> {
        self.exchange.as_ref().map_or(Some(0), C::body_left)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.exchange.is_none() {
            return Poll::Ready(None);
        }
        if let Err(error) = self.poll_upload(cx) {
            return Poll::Ready(Some(Err(self.fail(Error::Body(error)))));
        }
        if self.over {
            return self.poll_end(cx).map(|()| None);
        }
        match ready!(self.poll_data(cx)) {
            Ok(Some(frame)) => {
                if self.over && self.upload.is_none() {
                    self.settle();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Ok(None) => self.poll_end(cx).map(|()| None),
            Err(error) => Poll::Ready(Some(Err(self.fail(error)))),
        }
    }

    /// Data or trailers, or `None` when the response has ended.
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, Error>> {
        let Some(exchange) = &mut self.exchange else {
            return Poll::Ready(Ok(None));
        };
        loop {
            match exchange.part()? {
                Part::Data(n) => {
                    let data = exchange.take(n);
                    self.due = None;
                    // The last data ends the body, unless trailers are the next frame.
                    self.over = exchange.is_at_end()?;
                    return Poll::Ready(Ok(Some(Frame::data(data))));
                }
                Part::End => {
                    let trailers = exchange.finish();
                    (self.over, self.due) = (true, None);
                    return Poll::Ready(Ok(
                        (!trailers.is_empty()).then(|| Frame::trailers(trailers))
                    ));
                }
                Part::More => match exchange.poll_more(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => {
                        let broken = match error {
                            BodyError::Malformed(error) => return Poll::Ready(Err(error.into())),
                            BodyError::From(broken) => Some(broken),
                            _ => None,
                        };
                        return Poll::Ready(Err(exchange.lost(self.idempotent, broken)));
                    }
                    Poll::Pending => break,
                },
            }
        }
        ready!(self.poll_due(cx));
        let after = self.body_idle.unwrap_or_default();
        Poll::Ready(Err(Error::Timeout {
            which: Which::ResponseBody,
            after,
        }))
    }

    /// Ready when the origin has paused for too long: it has sent nothing, and taken nothing of the
    /// request. The time does not run while the caller's own body has nothing to send.
    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (Some(after), Some(exchange)) = (self.body_idle, &mut self.exchange) else {
            return Poll::Pending;
        };
        if self
            .upload
            .as_ref()
            .is_some_and(|upload| !upload.waits_for_origin(exchange))
        {
            self.due = None;
            return Poll::Pending;
        }
        let sent = exchange.sent_bytes();
        if self.taken != sent {
            (self.taken, self.due) = (sent, None);
        }
        let at = *self.due.get_or_insert_with(|| Instant::now() + after);
        exchange.timer().poll_at(cx, at)
    }

    /// Sends more of the request. Only a failure of the caller's own body is an error.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(), BoxError> {
        let (Some(upload), Some(exchange)) = (&mut self.upload, &mut self.exchange) else {
            return Ok(());
        };
        match upload.poll(cx, exchange) {
            Poll::Pending => Ok(()),
            Poll::Ready(Ok(())) => {
                self.upload = None;
                Ok(())
            }
            Poll::Ready(Err(UploadError::Broken(_))) => {
                (self.upload, self.keep) = (None, Err(CloseReason::EarlyResponse));
                Ok(())
            }
            Poll::Ready(Err(UploadError::Source(error))) => Err(error),
        }
    }

    /// The response has ended. The rest of the request may still be sent for up to [`LINGER`] while
    /// the origin takes it. A caller's body that has nothing ready is not waited for, since the
    /// caller may itself be waiting for this end.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (Some(upload), Some(exchange)) = (&self.upload, &mut self.exchange) else {
            self.settle();
            return Poll::Ready(());
        };
        if self.keep.is_ok() && upload.waits_for_origin(exchange) {
            let at = *self.due.get_or_insert_with(|| Instant::now() + LINGER);
            ready!(exchange.timer().poll_at(cx, at));
        }
        self.keep = self.keep.and(Err(CloseReason::EarlyResponse));
        self.settle();
        Poll::Ready(())
    }

    /// Returns the connection to the pool or closes it, according to `keep`.
    fn settle(&mut self) {
        if let Some(exchange) = self.exchange.take() {
            self.upload = None;
            exchange.settle(self.keep, &self.in_flight);
        }
    }

    fn fail(&mut self, error: Error) -> Error {
        self.keep = Err(CloseReason::Failed);
        self.settle();
        error
    }
}

impl<C: Carrier> Drop for Incoming<C> {
    fn drop(&mut self) {
        let is_whole = self
            .exchange
            .as_mut()
            .is_some_and(|exchange| self.over || exchange.skip_body());
        if is_whole && self.upload.is_none() {
            self.settle();
        }
    }
}
