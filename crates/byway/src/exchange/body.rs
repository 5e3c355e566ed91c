//! Body: passes one message body from one connection to the other, decoded and framed again.
//!
//! In:    the framing of each side, and both connections.
//! Out:   every byte of the body once, in order, then the trailers; or why it stopped and on which
//!        side.
//! Never: buffers a body, or ends one that its sender has not ended.

use std::task::{Context, Poll, ready};

use byway_dial::{Broken, Read};
use byway_h1::{BodyDecoder, Step, write};
use byway_head::{Framed, Malformed, is_alias};
use byway_relay::Splice;

use super::replay::Replay;
use crate::http::conn::Conn;

/// One body in transfer.
pub struct BodyTransfer {
    decoder: BodyDecoder,
    chunked: bool,
    /// Bytes of the current outgoing chunk that are still to be passed on.
    chunk_left: usize,
    ended: bool,
    held_back: bool,
    moved: u64,
    most: Option<u64>,
    /// Once the receiver's connection has sent this many bytes, short data is appended to the
    /// queue, so that one plain write sends both.
    joins_from: u64,
    /// Bytes of the body in a kernel pipe, between two plain sockets.
    splice: Option<Splice>,
    replay: Replay,
    /// Drops trailers whose names applications may take for other names.
    drops_aliases: bool,
}

/// Why a transfer stopped before its end.
#[derive(Debug)]
pub enum BodyError {
    /// The sender's connection broke.
    From(Broken),
    /// The sender finished in the middle of the body.
    Truncated,
    /// The sender broke the framing.
    Malformed(Malformed),
    /// The sender sent more than the limit.
    TooLarge,
    /// The receiver's connection broke.
    To(Broken),
}

impl BodyTransfer {
    /// A body framed as `from` that is sent framed as `to`. `most` limits its bytes.
    pub fn new(from: Framed, to: Framed, limits: &byway_head::Limits, most: Option<u64>) -> Self {
        let decoder = BodyDecoder::new(from, limits);
        let chunked = to == Framed::Chunked;
        Self {
            decoder,
            chunked,
            chunk_left: 0,
            ended: false,
            held_back: false,
            moved: 0,
            most,
            joins_from: u64::MAX,
            splice: None,
            replay: Replay::Off,
            drops_aliases: false,
        }
    }

    /// Appends short data to what is queued before it. Data counts as moved once it is queued. A
    /// request body does this from the moment that a byte of its head has been sent
    /// ([`start_over`](Self::start_over)): before that the body must stay unread, since the whole
    /// request may still go to another upstream.
    #[must_use]
    pub fn gathering(self) -> Self {
        Self {
            joins_from: 0,
            ..self
        }
    }

    /// Drops the trailers that an edge drops from a head: those with `_` or `.` in their names.
    #[must_use]
    pub fn without_aliases(self, drops_aliases: bool) -> Self {
        Self {
            drops_aliases,
            ..self
        }
    }

    /// Keeps up to `bytes` of what is sent, so that it can start over at another receiver.
    #[must_use]
    pub fn keeping(self, bytes: usize) -> Self {
        Self {
            replay: Replay::keeping(bytes),
            ..self
        }
    }

    /// Whether what is sent is kept, which rules out splicing.
    pub fn is_kept(&self) -> bool {
        matches!(self.replay, Replay::Keeping { .. })
    }

    /// Whether it can start over: nothing was sent, or all of it was kept.
    pub fn can_start_over(&self) -> bool {
        self.replay.is_whole()
    }

    /// Releases what was kept: it will not start over.
    pub fn settle(&mut self) {
        self.replay.forget();
    }

    /// Starts at a receiver whose queue holds the head, with what was sent to another receiver
    /// before. Call it only if [`can_start_over`](Self::can_start_over) is true.
    pub fn start_over(&mut self, to: &mut Conn) {
        (self.chunk_left, self.held_back) = (0, false);
        self.joins_from = to.sent_bytes() + 1;
        let kept = self.replay.bytes();
        let (data, trailers) = kept
            .split_at_checked(usize::try_from(self.moved).unwrap_or_default())
            .unwrap_or_default();
        let out = to.queue();
        if !self.chunked {
            return out.extend_from_slice(data);
        }
        if !data.is_empty() {
            write::chunk_prefix(out, data.len());
            out.extend_from_slice(data);
            out.extend_from_slice(write::CHUNK_SUFFIX);
        }
        if self.ended {
            out.extend_from_slice(if trailers.is_empty() {
                NO_TRAILERS
            } else {
                trailers
            });
        }
    }

    /// Whether the whole body has been read from its sender (it may still be queued for its
    /// receiver).
    pub fn is_read(&self) -> bool {
        self.ended
    }

    /// Whether it waits for the receiver rather than for the sender.
    pub fn is_held_back(&self) -> bool {
        self.held_back
    }

    /// Bytes of body passed on so far.
    pub fn moved(&self) -> u64 {
        self.moved
    }

    /// Moves what can be moved. Ready once the body has been read to its end and was sent to `to`,
    /// or is in its outflow. Cancel safe.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Conn,
        to: &mut Conn,
    ) -> Poll<Result<(), BodyError>> {
        let mut budget = BUDGET_BYTES;
        loop {
            if self.ended {
                self.held_back = true;
                return to.poll_push_out(cx).map_err(BodyError::To);
            }
            if budget == 0 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if self.splice.is_some() {
                budget = budget.saturating_sub(ready!(self.poll_drain(cx, to))?);
            }
            match self
                .decoder
                .step(from.unread())
                .map_err(BodyError::Malformed)?
            {
                Step::Data(n) => {
                    budget = budget.saturating_sub(ready!(self.poll_data(cx, from, to, n))?)
                }
                Step::Skip(n) => from.consume(n),
                Step::End(n) => self.end(from, to, n)?,
                Step::More => ready!(self.poll_more(cx, from, to))?,
            }
        }
    }

    /// Passes on some of the `n` body bytes at the front, in one write with what is queued before
    /// them.
    fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Conn,
        to: &mut Conn,
        n: usize,
    ) -> Poll<Result<usize, BodyError>> {
        if self.most.is_some_and(|most| self.moved + n as u64 > most) {
            return Poll::Ready(Err(BodyError::TooLarge));
        }
        if self.chunked && self.chunk_left == 0 {
            write::chunk_prefix(to.queue(), n);
            self.chunk_left = n;
        }
        let n = if self.chunked {
            n.min(self.chunk_left)
        } else {
            n
        };
        let data = from.unread().get(..n).unwrap_or_default();
        let may_join = to.sent_bytes() >= self.joins_from && !to.has_outflow();
        let joins = may_join && to.has_queued() && to.queued_bytes() + n <= JOIN_BYTES;
        let sent = if joins {
            to.queue().extend_from_slice(data);
            n
        } else {
            self.held_back = true;
            let sent = ready!(to.poll_send(cx, data)).map_err(BodyError::To)?;
            self.held_back = false;
            sent
        };
        self.decoder.taken(sent);
        self.replay.note(data.get(..sent).unwrap_or_default());
        from.consume(sent);
        self.moved += sent as u64;
        if self.chunked {
            self.chunk_left -= sent;
            if self.chunk_left == 0 {
                to.queue().extend_from_slice(write::CHUNK_SUFFIX);
            }
        }
        Poll::Ready(Ok(sent))
    }

    fn end(&mut self, from: &mut Conn, to: &mut Conn, n: usize) -> Result<(), BodyError> {
        if self.chunked {
            let out = to.queue();
            let before = out.len();
            let trailers = self.decoder.trailers(from.unread());
            let passing =
                trailers.filter(|trailer| !(self.drops_aliases && is_alias(trailer.name)));
            write::last_chunk(out, passing).map_err(BodyError::Malformed)?;
            let end = out.get(before..).unwrap_or_default();
            if end != NO_TRAILERS {
                self.replay.note(end);
            }
        }
        from.consume(n);
        self.ended = true;
        Ok(())
    }

    /// Reads more of the body. Sends what is queued first, so that it never waits for bytes that
    /// may take long.
    fn poll_more(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Conn,
        to: &mut Conn,
    ) -> Poll<Result<(), BodyError>> {
        self.held_back = to.poll_push_out(cx).map_err(BodyError::To)?.is_pending();
        let read = match self.spliceable_bytes(from, to) {
            Some(most) => self.poll_splice(cx, from, most),
            None => from.poll_fill(cx),
        };
        match ready!(read).map_err(BodyError::From)? {
            Read::Data(_) => Poll::Ready(Ok(())),
            Read::Fin => self.eof(from, to),
        }
    }

    /// How many bytes may go through a kernel pipe now. None unless both sides are plain sockets,
    /// all that was read or queued has been sent, the body needs no new framing, no counting
    /// against a limit and no copy, and is, or has proved to be, large.
    fn spliceable_bytes(&self, from: &Conn, to: &Conn) -> Option<usize> {
        let left = match (self.decoder.remaining(), self.decoder.is_until_close()) {
            (Some(left), _) if left >= SPLICE_FROM_BYTES => left,
            (None, true) if self.moved >= SPLICE_FROM_BYTES => u64::MAX,
            _ => return None,
        };
        let counted = self
            .most
            .is_some_and(|most| self.moved.saturating_add(left) > most);
        let clear = !self.chunked
            && !counted
            && !self.is_kept()
            && !to.has_queued()
            && from.unread().is_empty();
        (clear && from.is_plain() && to.is_plain())
            .then(|| usize::try_from(left).unwrap_or(usize::MAX))
    }

    /// Reads bytes of the body into a pipe; without a pipe, into the buffer.
    fn poll_splice(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Conn,
        most: usize,
    ) -> Poll<Result<Read, Broken>> {
        let Some(mut splice) = Splice::take() else {
            return from.poll_fill(cx);
        };
        let read = ready!(splice.poll_fill(cx, from.stream(), most))?;
        if let Read::Data(n) = read {
            from.read_small();
            self.decoder.taken(n);
            self.replay.lose();
            self.splice = Some(splice);
        }
        Poll::Ready(Ok(read))
    }

    /// Sends what is in the pipe, and returns the empty pipe.
    fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut Conn,
    ) -> Poll<Result<usize, BodyError>> {
        let Some(splice) = &mut self.splice else {
            return Poll::Ready(Ok(0));
        };
        let mut drained = 0;
        while !splice.is_empty() {
            self.held_back = true;
            let n = ready!(splice.poll_drain(cx, to.stream())).map_err(BodyError::To)?;
            to.count_sent(n);
            self.moved += n as u64;
            drained += n;
        }
        self.held_back = false;
        self.splice = None;
        Poll::Ready(Ok(drained))
    }

    fn eof(&mut self, from: &mut Conn, to: &mut Conn) -> Poll<Result<(), BodyError>> {
        Poll::Ready(match self.decoder.eof() {
            Ok(()) => self.end(from, to, 0),
            Err(_truncated) => Err(BodyError::Truncated),
        })
    }
}

/// Up to this size, a copy costs less than `writev` costs over `write`.
const JOIN_BYTES: usize = 8 * 1024;

/// Splices a body, or the rest of one, from this size: below it the two additional system calls
/// cost more than the copy.
const SPLICE_FROM_BYTES: u64 = 32 * 1024;

/// Bytes that one poll may move before other tasks of the worker run.
const BUDGET_BYTES: usize = 1024 * 1024;

/// The end of a chunked body without trailers (RFC 9112 section 7.1).
const NO_TRAILERS: &[u8] = b"0\r\n\r\n";
