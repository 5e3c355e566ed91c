//! Stream: one request stream, as the source and the sink of bodies.
//!
//! In:    heads, data and ends to send; what the client sends.
//! Out:   frames on a stream of quinn; the head, data, ends and resets.
//! Never: ends a direction because it was dropped: that resets the stream. Takes its slot longer
//!        than its work lasts.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use byway_dial::Broken;
use byway_h3::{Cost, ErrorCode, MessageError};
use byway_head::{Field, Framed, HeadOut, Malformed, Trailers};
use quinn::{RecvStream, SendStream};

use super::incoming::{Head, Incoming, Stop};
use super::outgoing::Outgoing;
use super::shared::Shared;
use crate::body::{BodyError, Part, Sink, Source};
use crate::h1::Mark;
use crate::h2::{KeptHead, RequestText};

/// One stream with a request. Dropping it resets what has not ended, and frees its slot.
pub struct H3Stream {
    shared: Arc<Shared>,
    pub(super) incoming: Incoming,
    outgoing: Outgoing,
    /// The code of a reset; without it the drop chooses.
    code: Option<ErrorCode>,
    /// Ends in order when it is dropped.
    closes: bool,
    /// The head was over a limit: the answer to it is no useful work.
    is_unacceptable: bool,
    /// Bytes of text that the connection counts for it.
    text: usize,
}

/// Trailers of at most this length are taken however much text the connection holds.
const SPARED_TRAILERS_BYTES: usize = 1024;

/// Why a stream has no request.
#[derive(Debug)]
pub enum NoHead {
    /// The head is over a limit: answer it, with [`Malformed::status`].
    Unacceptable(Malformed),
    /// The request is malformed. The stream was reset already.
    Malformed(Malformed),
    /// The client has left, has reset the stream, or broke the protocol, which has ended the
    /// connection.
    Gone,
}

impl H3Stream {
    pub(super) fn new(shared: Arc<Shared>, send: SendStream, recv: RecvStream) -> Self {
        Self {
            incoming: Incoming::new(Arc::clone(&shared), recv),
            outgoing: Outgoing::new(Arc::clone(&shared), send),
            shared,
            code: None,
            closes: false,
            is_unacceptable: false,
            text: 0,
        }
    }

    /// Reads the head of the request.
    ///
    /// # Errors
    /// [`NoHead`].
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<RequestText, NoHead>> {
        let mut text = RequestText::take();
        let read = ready!(self.incoming.poll_head(cx, &mut text));
        Poll::Ready(match read {
            Ok(Head::Request) if self.hold_text(text.text.0.len()) => Ok(text),
            Ok(Head::Request) => {
                self.reset(ErrorCode::REQUEST_REJECTED);
                Err(NoHead::Gone)
            }
            Ok(Head::Unacceptable(error)) => {
                self.is_unacceptable = true;
                Err(NoHead::Unacceptable(error))
            }
            Err(Stop::Broken(_)) => Err(NoHead::Gone),
            Err(Stop::Message(error)) => {
                self.refuse(&error);
                Err(match error {
                    MessageError::Malformed(error) => NoHead::Malformed(error),
                    _ => NoHead::Gone,
                })
            }
        })
    }

    /// Counts text until the work has ended. Returns false if there is too much.
    fn hold_text(&mut self, bytes: usize) -> bool {
        let is_held = self.shared.hold_text(bytes);
        if is_held {
            self.text += bytes;
        }
        is_held
    }

    /// Counts trailers that have arrived.
    fn hold_trailers(&mut self) -> Result<(), Broken> {
        let bytes = (self.incoming.trailers())
            .map(|field| field.name.len() + field.value.len())
            .sum();
        if bytes == 0 || self.hold_text(bytes) || bytes <= SPARED_TRAILERS_BYTES {
            return Ok(());
        }
        self.reset(ErrorCode::EXCESSIVE_LOAD);
        Err(Broken::Reset(0))
    }

    /// Ends the stream, or the connection, because of a message that cannot be read.
    fn refuse(&mut self, error: &MessageError) {
        match error {
            MessageError::Connection(error) => self.shared.fail(*error),
            _ => self.shared.charge(Cost::Malformed, 1),
        }
        self.reset(error.code());
    }

    fn broken(&mut self, stop: Stop) -> Broken {
        match stop {
            Stop::Broken(broken) => broken,
            Stop::Message(error) => {
                self.refuse(&error);
                Broken::Reset(u32::try_from(error.code().0).unwrap_or_default())
            }
        }
    }

    /// The message that is received has a body that is framed like this. Without a body its source
    /// has ended, whatever else arrives.
    pub fn expect(&mut self, framed: Framed) {
        self.incoming.has_ended |= framed == Framed::None;
    }

    /// Keeps the head that `write` writes, or nothing of it if that fails. It is sent with what
    /// follows it, and may be taken back until then.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn write_head<E>(
        &mut self,
        write: impl FnOnce(&mut KeptHead) -> Result<(), E>,
    ) -> Result<(), E> {
        // An interim response that the client has no room for: it may do without.
        self.outgoing.head.clear();
        let written = write(&mut self.outgoing.head);
        if written.is_err() {
            self.outgoing.head.clear();
        }
        written
    }

    /// Whether something waits to be sent.
    pub fn has_queued(&self) -> bool {
        self.outgoing.has_queued()
    }

    /// Bytes that were handed over to be sent. Never decreases.
    pub fn sent_bytes(&self) -> u64 {
        self.outgoing.taken
    }

    /// The end of what is queued now.
    pub fn mark(&self) -> Mark {
        Mark {
            queued: self.outgoing.queue.0.len(),
            sent: self.outgoing.taken,
        }
    }

    /// Takes back what was queued after `mark`, with its head. Returns false and changes nothing if
    /// anything was sent since.
    pub fn take_back(&mut self, mark: Mark) -> bool {
        let out = &mut self.outgoing;
        let is_unsent = out.taken == mark.sent;
        if is_unsent {
            out.head.clear();
            out.queue.0.truncate(mark.queued);
            (out.ends, out.trailers) = (false, None);
        }
        is_unsent
    }

    /// Reads until about this many bytes of the body have arrived, or all that fits into a buffer.
    pub fn poll_gathered(
        &mut self,
        cx: &mut Context<'_>,
        enough: usize,
    ) -> Poll<Result<(), BodyError>> {
        let gathered = ready!(self.incoming.poll_gathered(cx, enough));
        Poll::Ready(gathered.map_err(|stop| BodyError::From(self.broken(stop))))
    }

    /// Ready once the client has reset the stream, or the connection is lost.
    pub fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        if let Poll::Ready(broken) = self.incoming.poll_broken(cx) {
            return Poll::Ready(broken);
        }
        self.outgoing.poll_broken(cx)
    }

    /// Hands everything that is queued to the connection. Cancel safe.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        match self.has_queued() {
            true => self.outgoing.poll_send(cx, &[]).map_ok(|_| ()),
            false => Poll::Ready(Ok(())),
        }
    }

    /// Hands everything that is queued to the connection. Cancel safe.
    ///
    /// # Errors
    /// If the client has reset the stream, or the connection is lost.
    pub async fn flush(&mut self) -> Result<(), Broken> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Ends both directions with this code, and drops what is queued.
    pub fn reset(&mut self, code: ErrorCode) {
        self.code = Some(code);
        self.outgoing.reset(code);
        self.incoming.stop(code);
    }

    /// The stream is a tunnel from here on: what is received is read as bytes, whatever the framing
    /// of the request was.
    pub fn begin_tunnel(&mut self) {
        self.incoming.has_ended = false;
    }

    /// Makes the coming drop end the message that is sent, behind what is queued.
    pub fn close_on_drop(&mut self) {
        self.closes = true;
    }

    /// Data, or the end, at the front of what is received.
    pub(super) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let had_ended = self.incoming.has_ended;
        let piece = ready!(self.incoming.poll_piece(cx));
        if let Err(stop) = piece {
            return Poll::Ready(Err(self.broken(stop)));
        }
        if self.incoming.has_ended && !had_ended {
            self.hold_trailers()?;
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what is queued, then some of `data`.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<Result<usize, Broken>> {
        self.outgoing.poll_send(cx, data)
    }
}

impl Source for H3Stream {
    #[inline]
    fn part(&mut self) -> Result<Part, Malformed> {
        Ok(
            match (self.incoming.data().len(), self.incoming.has_ended) {
                (0, true) => Part::End,
                (0, false) => Part::More,
                (n, _) => Part::Data(n),
            },
        )
    }

    #[inline]
    fn data(&self) -> &[u8] {
        self.incoming.data()
    }

    fn taken(&mut self, n: usize) {
        self.incoming.use_data(n);
    }

    fn trailers(&self) -> Trailers<'_> {
        self.incoming.trailers()
    }

    fn finish(&mut self) {}

    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        self.poll_piece(cx).map_err(BodyError::From)
    }
}

impl Sink for H3Stream {
    fn queue_data(&mut self, data: &[u8]) {
        self.outgoing.queue.0.extend_from_slice(data);
    }

    fn poll_data(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, Broken>> {
        self.poll_send(cx, data)
    }

    fn end<'t>(&mut self, trailers: impl Iterator<Item = Field<'t>>) -> Result<(), Malformed> {
        let mut kept = None;
        for trailer in trailers {
            kept.get_or_insert_with(Box::<KeptHead>::default)
                .field(trailer.name, trailer.value)?;
        }
        (self.outgoing.ends, self.outgoing.trailers) = (true, kept);
        Ok(())
    }

    fn poll_push_out(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.poll_flush(cx)
    }
}

impl Drop for H3Stream {
    fn drop(&mut self) {
        if self.closes && !self.outgoing.has_ended {
            self.outgoing.ends = true;
            // What quinn has no room for is lost, and the stream is reset.
            let _ = self.poll_flush(&mut Context::from_waker(Waker::noop()));
        }
        let is_complete = self.outgoing.is_complete();
        if !is_complete {
            self.outgoing
                .reset(self.code.unwrap_or(ErrorCode::INTERNAL_ERROR));
        }
        // A client may go on sending a request that was answered already: it need not.
        self.incoming.stop(self.code.unwrap_or(ErrorCode::NO_ERROR));
        let stream = self.outgoing.take_stream();
        let stream = stream.filter(|_| is_complete);
        self.shared
            .release(stream, !self.is_unacceptable, self.text);
    }
}
