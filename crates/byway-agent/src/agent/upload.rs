//! Upload: sends the body of a request, and keeps part of it for a retry.
//!
//! In:    an `http_body::Body` and its framing.
//! Out:   bytes on the connection after the head, until all are flushed.
//! Never: sends more or less than the head announced; keeps more than [`REPLAY_BYTES`] for a retry;
//!        waits for the caller's body while bytes of it could be sent.

use super::carrier::Carrier;
use super::error::BoxError;
use bytes::{Buf, Bytes};
use byway_dial::Broken;
use byway_head::{Field, Framed, may_be_trailer};
use http::HeaderMap;
use http_body::Body;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// How much of a body is kept for a retry.
const REPLAY_BYTES: usize = 64 * 1024;
/// A piece of this size or less is copied into the queue, so that it is sent with its framing in
/// one write.
const COPIED_BYTES: usize = 8 * 1024;
/// At this many queued bytes nothing more is pulled.
const QUEUE_BYTES: usize = 64 * 1024;

/// What one poll sends before it yields, on a stream that is always writable.
const WORK_BYTES: usize = 1024 * 1024;

/// Why an upload stopped.
#[derive(Debug)]
pub(crate) enum UploadError {
    /// The caller's body failed, or did not have the announced length.
    Source(BoxError),
    /// The origin takes no more; its response may still come.
    Broken(Broken),
}

/// Sends the body of one request in the framing that its head has announced, and keeps up to
/// `REPLAY_BYTES` of it, so that a retry can send it again.
pub(crate) struct Upload<B> {
    /// `None` if there was no body from the start.
    body: Option<Pin<Box<B>>>,
    framed: Framed,
    /// Bytes not yet pulled, with [`Framed::Length`].
    left: u64,
    data: Bytes,
    ended: bool,
    flushed: bool,
    /// The body has ended and must not be polled again.
    source_ended: bool,
    /// The last poll stopped because of its work limit, not because it had to wait.
    paused: bool,
    replay: Replay,
}

/// The body so far, for a retry; `None` after it exceeded the limit.
struct Replay {
    kept: Option<Vec<Bytes>>,
    kept_bytes: usize,
    trailers: Option<HeaderMap>,
    /// The next piece to send again.
    next: usize,
}

/// An upload, without its body type.
pub(crate) trait Uploading<C>: Send {
    /// Makes progress. Ready(Ok) when all is written and flushed.
    fn poll(&mut self, cx: &mut Context<'_>, carrier: &mut C) -> Poll<Result<(), UploadError>>;

    /// Whether bytes wait for the origin to take them (not for the caller to produce them).
    fn waits_for_origin(&self, carrier: &C) -> bool;
}

enum Pulled {
    Data(Bytes),
    Trailers(HeaderMap),
    End,
}

impl<B> Upload<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    pub(crate) fn new(body: B, framed: Framed) -> Self {
        let left = if let Framed::Length(length) = framed {
            length
        } else {
            0
        };
        let none = framed == Framed::None || framed == Framed::Length(0);
        let body = (!none).then(|| Box::pin(body));
        let replay = Replay {
            kept: Some(Vec::new()),
            kept_bytes: 0,
            trailers: None,
            next: 0,
        };
        let data = Bytes::new();
        Self {
            body,
            framed,
            left,
            data,
            ended: none,
            flushed: false,
            source_ended: false,
            paused: false,
            replay,
        }
    }

    /// Whether all is written and flushed.
    pub(crate) fn is_over(&self) -> bool {
        self.flushed
    }

    /// No retry will follow: stops keeping the body (unless a replay is in progress).
    pub(crate) fn keep_nothing(&mut self) {
        if self
            .replay
            .kept
            .as_ref()
            .is_some_and(|kept| kept.len() == self.replay.next)
        {
            self.replay.kept = None;
        }
    }

    /// Rewinds to the first byte, for a retry. False if too much was sent to keep.
    pub(crate) fn rewind(&mut self) -> bool {
        if self.replay.kept.is_none() && self.body.is_some() {
            return false;
        }
        self.replay.next = 0;
        self.left = if let Framed::Length(length) = self.framed {
            length
        } else {
            0
        };
        self.data = Bytes::new();
        self.flushed = false;
        self.ended = self.body.is_none();
        true
    }

    /// Pulls until enough is queued, or the caller's body has nothing ready, which is `Pending`.
    fn poll_pull(
        &mut self,
        cx: &mut Context<'_>,
        carrier: &mut impl Carrier,
    ) -> Poll<Result<(), BoxError>> {
        while !self.ended && self.data.is_empty() && carrier.queued_bytes() < QUEUE_BYTES {
            match ready!(self.poll_next(cx))? {
                Pulled::Data(data) => self.take(data, carrier)?,
                Pulled::Trailers(trailers) => self.end(Some(&trailers), carrier)?,
                Pulled::End => self.end(None, carrier)?,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The next piece: first the replayed ones, then new ones.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Pulled, BoxError>> {
        if let Some(again) = self.replay.again() {
            return Poll::Ready(Ok(again));
        }
        let Some(body) = self.body.as_mut().filter(|_| !self.source_ended) else {
            return Poll::Ready(Ok(Pulled::End));
        };
        let Some(frame) = ready!(body.as_mut().poll_frame(cx)) else {
            self.source_ended = true;
            return Poll::Ready(Ok(Pulled::End));
        };
        Poll::Ready(match frame.map_err(Into::into)?.into_data() {
            Ok(mut data) => {
                let data = data.copy_to_bytes(data.remaining());
                self.replay.keep(&data);
                Ok(Pulled::Data(data))
            }
            Err(frame) => match frame.into_trailers() {
                Ok(trailers) => {
                    self.source_ended = true;
                    self.replay.trailers = Some(trailers.clone());
                    Ok(Pulled::Trailers(trailers))
                }
                Err(_) => Err("a frame that is neither data nor trailers".into()),
            },
        })
    }

    fn take(&mut self, data: Bytes, carrier: &mut impl Carrier) -> Result<(), BoxError> {
        if self.framed != Framed::Chunked {
            self.left = self
                .left
                .checked_sub(data.len() as u64)
                .ok_or("it is longer than its Content-Length")?;
            // With a known length the end needs no further poll, which could wait for a body that
            // ends late.
            self.ended = self.left == 0;
        }
        if data.len() <= COPIED_BYTES {
            carrier.queue_data(&data);
        } else {
            self.data = data;
        }
        Ok(())
    }

    fn end(
        &mut self,
        trailers: Option<&HeaderMap>,
        carrier: &mut impl Carrier,
    ) -> Result<(), BoxError> {
        if self.left > 0 {
            return Err(format!("it ended {} bytes before its Content-Length", self.left).into());
        }
        if self.framed == Framed::Chunked {
            let names = trailers.into_iter().flat_map(HeaderMap::keys);
            if let Some(bad) = names
                .into_iter()
                .find(|name| !may_be_trailer(name.as_str().as_bytes()))
            {
                return Err(format!("`{bad}` may not be a trailer").into());
            }
            let fields = trailers.into_iter().flatten();
            let fields = fields.map(|(name, value)| Field {
                name: name.as_str().as_bytes(),
                value: value.as_bytes(),
            });
            carrier.end(fields)?;
        } else if trailers.is_some() {
            return Err("it has trailers, which need a body without Content-Length".into());
        }
        self.ended = true;
        Ok(())
    }
}

impl<B, C: Carrier> Uploading<C> for Upload<B>
where
    B: Body + Send,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    fn poll(&mut self, cx: &mut Context<'_>, carrier: &mut C) -> Poll<Result<(), UploadError>> {
        self.paused = false;
        let enough = carrier.sent_bytes() + WORK_BYTES as u64;
        while !self.flushed {
            if carrier.sent_bytes() >= enough {
                self.paused = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let pulled = self.poll_pull(cx, carrier).map_err(UploadError::Source)?;
            if !self.data.is_empty() {
                let taken =
                    ready!(carrier.poll_data(cx, &self.data)).map_err(UploadError::Broken)?;
                self.data.advance(taken);
                continue;
            }
            // Everything so far is sent and flushed (TLS buffers) before a slow body is waited for.
            if self.ended && self.framed != Framed::Chunked {
                carrier.end_by_length();
            }
            ready!(carrier.poll_push_out(cx)).map_err(UploadError::Broken)?;
            ready!(pulled);
            self.flushed = self.ended;
        }
        Poll::Ready(Ok(()))
    }

    fn waits_for_origin(&self, carrier: &C) -> bool {
        self.paused
            || carrier.has_queued()
            || !self.data.is_empty()
            || (self.ended && !self.flushed)
    }
}

impl Replay {
    fn keep(&mut self, data: &Bytes) {
        let Some(kept) = &mut self.kept else { return };
        self.kept_bytes += data.len();
        if self.kept_bytes > REPLAY_BYTES {
            self.kept = None;
            return;
        }
        kept.push(data.clone());
        self.next = kept.len();
    }

    fn again(&mut self) -> Option<Pulled> {
        let kept = self.kept.as_ref()?;
        if let Some(data) = kept.get(self.next) {
            self.next += 1;
            return Some(Pulled::Data(data.clone()));
        }
        self.trailers.take().map(Pulled::Trailers)
    }
}
