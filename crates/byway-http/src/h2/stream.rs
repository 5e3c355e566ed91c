//! Stream: one stream of a connection, as the source and the sink of bodies.
//!
//! In:    heads, data and ends to send; what the connection's task has received.
//! Out:   frames in the output of the connection, which its task writes; data, ends and resets.
//! Never: ends a direction because it was dropped: that resets the stream. Takes its slot longer
//!        than its work lasts.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use byway_dial::Broken;
use byway_h2::{ErrorCode, StreamId};
use byway_head::{Field, Framed, HeadOut, Malformed, Scheme, Trailers};
use byway_relay::{Buffer, Outflow};

use super::kept_head::KeptHead;
use super::outlet::Outlet;
use super::shared::{Shared, State, TrailersText};
use super::text::ResponseText;
use crate::body::{BodyError, Part, Sink, Source};
use crate::h1::Mark;
use crate::scratch::{Scratch, ScratchBytes};

/// One stream. Dropping it resets what has not ended, and frees its slot.
pub struct H2Stream {
    pub(super) shared: Arc<Shared>,
    /// `None` on a client until its request is sent.
    pub(super) id: Option<StreamId>,
    pub(super) incoming: Incoming,
    pub(super) outgoing: Outgoing,
    /// Client: the head of the response that was taken last.
    pub(super) response: Option<ResponseText>,
    /// Client: how many heads of responses were taken.
    pub(super) received_heads: u8,
    /// The code of a reset; without it the drop chooses.
    code: Option<ErrorCode>,
}

/// What was received.
#[derive(Default)]
pub(super) struct Incoming {
    /// The piece that is being used.
    front: Option<Buffer>,
    /// Bytes of it that were used and not reported.
    uncredited: usize,
    /// The message has no body, or all of it was used.
    pub(super) has_ended: bool,
    trailers: Option<Box<TrailersText>>,
}

/// What is to be sent.
pub(super) struct Outgoing {
    head: Scratch<KeptHead>,
    /// Data behind the head.
    queue: Scratch<ScratchBytes>,
    queue_sent: usize,
    /// The message ends behind that, with these trailers if there are any.
    trailers: Option<Box<KeptHead>>,
    ends: bool,
    pub(super) has_ended: bool,
    /// Ends in order when it is dropped.
    closes: bool,
    /// Between the data and the stream.
    outlet: Option<Box<Outlet>>,
    /// Bytes that the connection, or the outlet, has taken.
    pub(super) taken: u64,
    /// The scheme of a request.
    pub(super) scheme: Scheme,
    /// The connection took no further stream for a request.
    pub(super) is_refused: bool,
}

impl Default for Outgoing {
    fn default() -> Self {
        Self {
            head: Scratch::take(),
            queue: Scratch::take(),
            queue_sent: 0,
            trailers: None,
            ends: false,
            has_ended: false,
            closes: false,
            outlet: None,
            taken: 0,
            scheme: Scheme::Https,
            is_refused: false,
        }
    }
}

impl H2Stream {
    /// A stream that has begun; or on a client one that begins with its request.
    pub(super) fn new(shared: Arc<Shared>, id: Option<StreamId>) -> Self {
        Self {
            shared,
            id,
            incoming: Incoming::default(),
            outgoing: Outgoing::default(),
            response: None,
            received_heads: 0,
            code: None,
        }
    }

    /// The number of the stream on the wire; 0 before a client has sent its request.
    pub fn number(&self) -> u32 {
        self.id.map_or(0, StreamId::number)
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
        if !self.outgoing.head.is_empty() {
            // An interim response that the client has no room for: it may do without.
            self.outgoing.head.clear();
        }
        let written = write(&mut self.outgoing.head);
        if written.is_err() {
            self.outgoing.head.clear();
        }
        written
    }

    /// Whether something waits to be sent.
    pub fn has_queued(&self) -> bool {
        let out = &self.outgoing;
        !out.head.is_empty() || out.queue_sent < out.queue.0.len() || out.ends && !out.has_ended
    }

    /// Bytes that the connection has taken. Never decreases.
    pub fn sent_bytes(&self) -> u64 {
        self.outgoing.taken
    }

    /// Bytes that have left: an outflow may still hold what it has taken.
    pub fn left_bytes(&self) -> u64 {
        let outlet = self.outgoing.outlet.as_ref();
        outlet.map_or(self.outgoing.taken, |outlet| outlet.delivered_bytes())
    }

    /// Sends data through `outflow` (spilled and shaped) from now on, unless there is one. Only for a
    /// stream that has begun.
    pub fn send_through(&mut self, outflow: impl FnOnce() -> Option<Outflow>) {
        if self.outgoing.outlet.is_none()
            && let Some(id) = self.id
            && let Some(outflow) = outflow()
        {
            let outlet = Outlet::new(outflow, Arc::clone(&self.shared), id);
            self.outgoing.outlet = Some(Box::new(outlet));
        }
    }

    /// Whether it sends through an outflow.
    pub fn has_outflow(&self) -> bool {
        self.outgoing.outlet.is_some()
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

    /// Reads until this many bytes of the body have arrived.
    pub fn poll_gathered(
        &mut self,
        cx: &mut Context<'_>,
        enough: usize,
    ) -> Poll<Result<(), BodyError>> {
        let front = self.incoming.front.as_ref().map_or(0, Buffer::len);
        let Some(id) = self.id else {
            return Poll::Ready(Ok(()));
        };
        self.shared.with(|state| {
            let is_lost = state.is_lost;
            let Some(stream) = state.stream(id) else {
                return Poll::Ready(Err(BodyError::From(Broken::Reset(0))));
            };
            if front + stream.inbox.len() >= enough {
                return Poll::Ready(Ok(()));
            }
            match stream.reset {
                Some(reset) => Poll::Ready(Err(BodyError::From(Broken::Reset(reset.code.0)))),
                None if is_lost => Poll::Ready(Err(BodyError::From(Broken::Reset(0)))),
                None if stream.has_ended => Poll::Ready(Err(BodyError::Truncated)),
                None => {
                    stream.wait_to_read(cx);
                    Poll::Pending
                }
            }
        })
    }

    /// Ready once the peer has reset the stream, or the connection is lost.
    pub fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        let Some(id) = self.id else {
            return Poll::Pending;
        };
        self.shared.with(|state| match state.broken(id) {
            Some(broken) => Poll::Ready(broken),
            None => {
                if let Some(stream) = state.stream(id) {
                    stream.wait_to_read(cx);
                }
                Poll::Pending
            }
        })
    }

    /// Hands everything that is queued to the connection, through the outflow to its end if there is
    /// one. Cancel safe.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        if self.outgoing.outlet.is_some() {
            let ends = std::mem::take(&mut self.outgoing.ends);
            let drained = self.poll_outlet(cx);
            self.outgoing.ends = ends;
            ready!(drained)?;
        }
        self.poll_send(cx, &[]).map_ok(|_| ())
    }

    /// Hands over the head and what is queued behind it, and empties the outlet.
    fn poll_outlet(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        ready!(self.poll_send(cx, &[]))?;
        match &mut self.outgoing.outlet {
            Some(outlet) => outlet.poll_drain(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Hands everything that is queued to the connection. Cancel safe.
    ///
    /// # Errors
    /// If the peer has reset the stream, or the connection is lost.
    pub async fn flush(&mut self) -> Result<(), Broken> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Ends both directions with this code, and drops what is queued.
    pub fn reset(&mut self, code: ErrorCode) {
        self.code = Some(code);
        self.outgoing.has_ended = true;
        if let Some(id) = self.id {
            self.shared.with(|state| {
                state.core.reset(id, code);
                state.reset(id, code.into());
                state.wake_task();
            });
        }
    }

    /// What was wrong with the message of the peer, if the stream was reset for it.
    pub(super) fn take_malformed(&self) -> Option<Malformed> {
        let id = self.id?;
        self.shared
            .with(|state| state.stream(id)?.malformed.take())
            .map(|error| *error)
    }

    /// The stream is a tunnel from here on: what is received is read as bytes, whatever the framing
    /// of the request was.
    pub fn begin_tunnel(&mut self) {
        self.incoming.has_ended = false;
    }

    /// Makes the coming drop end the message that is sent, behind what is queued.
    pub fn close_on_drop(&mut self) {
        self.outgoing.closes = true;
    }

    /// Hands over the head, what is queued, and then some of `tail`, or the end. Returns how much of
    /// `tail` was taken; 0 if it is empty and everything was handed over.
    pub(super) fn poll_send(
        &mut self,
        cx: &Context<'_>,
        tail: &[u8],
    ) -> Poll<Result<usize, Broken>> {
        if tail.is_empty() && !self.has_queued() {
            return Poll::Ready(Ok(0));
        }
        let Self {
            shared,
            id,
            outgoing,
            ..
        } = self;
        shared.with(|state| {
            let sent = outgoing.send(state, id, tail);
            if let (Poll::Pending, Some(id)) = (&sent, *id)
                && let Some(stream) = state.stream(id)
            {
                stream.wait_to_write(cx);
            }
            state.wake_task();
            sent
        })
    }
}

impl Outgoing {
    fn send(
        &mut self,
        state: &mut State,
        id: &mut Option<StreamId>,
        tail: &[u8],
    ) -> Poll<Result<usize, Broken>> {
        if let Some(broken) = id.and_then(|id| state.broken(id)) {
            return Poll::Ready(Err(broken));
        }
        if !self.head.is_empty() {
            ready!(self.send_head(state, id, tail.is_empty()))?;
        }
        let Some(id) = *id else {
            return Poll::Ready(Err(Broken::Reset(ErrorCode::REFUSED_STREAM.0)));
        };
        let queue = self.queue.0.get(self.queue_sent..).unwrap_or_default();
        if !queue.is_empty() {
            let n = state.core.send(id, queue, false);
            self.taken += n as u64;
            let is_all = n == queue.len();
            self.queue_sent += n;
            if !is_all {
                return Poll::Pending;
            }
            self.queue.0.clear();
            self.queue_sent = 0;
        }
        if !tail.is_empty() {
            let n = state.core.send(id, tail, false);
            self.taken += n as u64;
            return match n {
                0 => Poll::Pending,
                n => Poll::Ready(Ok(n)),
            };
        }
        if self.ends && !self.has_ended {
            self.has_ended = true;
            let trailers = self.trailers.take();
            let fields = trailers.iter().flat_map(|trailers| trailers.fields());
            if state.core.trailers(id, fields).is_err() {
                state.core.reset(id, ErrorCode::INTERNAL_ERROR);
            }
        }
        Poll::Ready(Ok(0))
    }

    /// Hands over the head. The end follows at once if nothing is between them, and then needs no
    /// frame of its own; a client says it with the head.
    fn send_head(
        &mut self,
        state: &mut State,
        id: &mut Option<StreamId>,
        is_alone: bool,
    ) -> Poll<Result<(), Broken>> {
        let head = &*self.head;
        let written = match *id {
            Some(id) if !state.has_room_for_head(id) => return Poll::Pending,
            Some(id) => (state.core).head(id, head.is_interim(), |out| head.write(out)),
            None if state.is_lost || state.is_going_away => Ok(()),
            None => {
                let ends =
                    is_alone && self.ends && self.queue.0.is_empty() && self.trailers.is_none();
                let (scheme, protocol) = (self.scheme, head.protocol());
                let opened = (state.core).open(scheme, protocol, ends, |out| head.write(out));
                self.has_ended |= ends;
                opened.map(|opened| *id = opened)
            }
        };
        let Some(id) = *id else {
            self.is_refused = true;
            return Poll::Ready(Err(Broken::Reset(ErrorCode::REFUSED_STREAM.0)));
        };
        if written.is_err() {
            // What it has was checked when it was kept.
            return Poll::Ready(Err(Broken::Io(std::io::ErrorKind::InvalidData.into())));
        }
        state.begin(id);
        self.taken += head.bytes() as u64;
        self.head.clear();
        Poll::Ready(Ok(()))
    }
}

impl Incoming {
    /// Reports what was used, so that the peer may send more.
    fn credit(&mut self, state: &mut State, id: StreamId) {
        state.credit(id, std::mem::take(&mut self.uncredited));
        state.wake_task();
    }
}

impl H2Stream {
    /// The next piece of data, or the end.
    pub(super) fn poll_piece(&mut self, cx: &Context<'_>) -> Poll<Result<(), Broken>> {
        let Some(id) = self.id else {
            return Poll::Ready(Err(Broken::Reset(0)));
        };
        let incoming = &mut self.incoming;
        self.shared.with(|state| {
            if incoming.uncredited > 0 {
                incoming.credit(state, id);
            }
            let broken = state.broken(id);
            let Some(stream) = state.stream(id) else {
                return Poll::Ready(Err(Broken::Reset(0)));
            };
            if let Some(piece) = stream.inbox.pop() {
                incoming.front = Some(piece);
                return Poll::Ready(Ok(()));
            }
            if stream.has_ended {
                incoming.has_ended = true;
                incoming.trailers = stream.trailers.take();
                return Poll::Ready(Ok(()));
            }
            if let Some(broken) = broken {
                return Poll::Ready(Err(broken));
            }
            stream.wait_to_read(cx);
            Poll::Pending
        })
    }

    /// What is at the front of the data.
    pub(super) fn front(&self) -> &[u8] {
        self.incoming.front.as_ref().map_or(&[], Buffer::filled)
    }

    /// Uses the first `n` bytes of it.
    pub(super) fn use_front(&mut self, n: usize) {
        let incoming = &mut self.incoming;
        let Some(front) = &mut incoming.front else {
            return;
        };
        let n = n.min(front.len());
        front.consume(n);
        incoming.uncredited += n;
        if front.is_empty() {
            incoming.front = None;
        }
        // The receiver may be slow with the rest of a large piece.
        if incoming.front.is_some()
            && incoming.uncredited >= CREDIT_BYTES
            && let Some(id) = self.id
        {
            let incoming = &mut self.incoming;
            self.shared.with(|state| incoming.credit(state, id));
        }
    }
}

/// Used bytes are reported at the end of a piece, and for each of this many before.
const CREDIT_BYTES: usize = 16 * 1024;

impl Source for H2Stream {
    #[inline]
    fn part(&mut self) -> Result<Part, Malformed> {
        Ok(match (self.front().len(), self.incoming.has_ended) {
            (0, true) => Part::End,
            (0, false) => Part::More,
            (n, _) => Part::Data(n),
        })
    }

    #[inline]
    fn data(&self) -> &[u8] {
        self.front()
    }

    fn taken(&mut self, n: usize) {
        self.use_front(n);
    }

    fn trailers(&self) -> Trailers<'_> {
        match &self.incoming.trailers {
            Some(trailers) => Trailers::new(&trailers.section, &trailers.text),
            None => Trailers::none(),
        }
    }

    fn finish(&mut self) {}

    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        let more = ready!(self.poll_piece(cx));
        Poll::Ready(more.map_err(|broken| match self.take_malformed() {
            Some(error) => BodyError::Malformed(error),
            None => BodyError::From(broken),
        }))
    }
}

impl Sink for H2Stream {
    fn queue_data(&mut self, data: &[u8]) {
        self.outgoing.queue.0.extend_from_slice(data);
    }

    fn poll_data(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, Broken>> {
        if self.outgoing.outlet.is_none() {
            return self.poll_send(cx, data);
        }
        ready!(self.poll_send(cx, &[]))?;
        let Some(outlet) = &mut self.outgoing.outlet else {
            return Poll::Ready(Ok(0));
        };
        let pushed = outlet.poll_push(cx, data);
        if let Poll::Ready(Ok(n)) = pushed {
            self.outgoing.taken += n as u64;
        }
        pushed
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

    /// What an outflow holds is sent when possible and is not waited for.
    fn poll_push_out(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        if self.outgoing.outlet.is_none() {
            return self.poll_flush(cx);
        }
        match self.poll_flush(cx) {
            Poll::Ready(Err(broken)) => Poll::Ready(Err(broken)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(())),
        }
    }
}

impl Drop for H2Stream {
    fn drop(&mut self) {
        let Some(id) = self.id else {
            return;
        };
        let Self {
            shared,
            incoming,
            outgoing,
            code,
            ..
        } = self;
        incoming.front = None;
        shared.with(|state| {
            if outgoing.closes && !outgoing.has_ended {
                outgoing.ends = true;
                let _ = outgoing.send(state, &mut Some(id), &[]);
            }
            if let Some(code) = *code {
                state.core.reset(id, code);
            }
            state.release(id);
        });
    }
}
