//! Body: passes one message body on, from its source to its sink.
//!
//! In:    a source and a sink, each with its own framing.
//! Out:   every byte of the body once, in order, then the trailers; or why it stopped and on which
//!        side.
//! Never: buffers a body, or ends one that its sender has not ended.

use std::task::{Context, Poll, ready};

use byway_dial::{Broken, Read};
use byway_head::{Field, Malformed, is_alias};
use byway_http::filter::{BodyFilter, FilterStage};
use byway_http::{BodyError, Part, Sink, Source};
use byway_relay::Splice;

use super::replay::Replay;

/// One body in transfer.
pub struct BodyTransfer {
    ended: bool,
    held_back: bool,
    moved: u64,
    most: Option<u64>,
    /// Bytes of the body in a kernel pipe, between two plain sockets.
    splice: Option<Splice>,
    replay: Replay,
    /// Drops trailers whose names applications may take for other names.
    drops_aliases: bool,
    /// What changes the data, if anything does.
    filter: Option<Box<FilterStage>>,
}

impl BodyTransfer {
    /// A body of which nothing has passed. `most` limits its bytes.
    pub fn new(most: Option<u64>) -> Self {
        Self {
            ended: false,
            held_back: false,
            moved: 0,
            most,
            splice: None,
            replay: Replay::Off,
            drops_aliases: false,
            filter: None,
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

    /// Passes its data through a filter. It has no limit then, and is not kept.
    #[must_use]
    pub fn filtered(self, filter: Option<Box<dyn BodyFilter>>) -> Self {
        let stage = |filter| Box::new(FilterStage::new(filter));
        Self {
            filter: filter.map(stage),
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
    ///
    /// # Errors
    /// If a trailer cannot be written for this receiver.
    pub fn start_over(&mut self, to: &mut impl Sink) -> Result<(), Malformed> {
        self.held_back = false;
        let (data, trailers) = self
            .replay
            .bytes()
            .split_at_checked(usize::try_from(self.moved).unwrap_or_default())
            .unwrap_or_default();
        to.queue_data(data);
        match self.ended {
            true => to.end(kept_fields(trailers)),
            false => Ok(()),
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
        from: &mut impl Source,
        to: &mut impl Sink,
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
            match from.part().map_err(BodyError::Malformed)? {
                Part::Data(n) if self.filter.is_none() => {
                    budget = budget.saturating_sub(ready!(self.poll_data(cx, from, to, n))?)
                }
                Part::End if self.filter.is_none() => self.end(from, to)?,
                Part::More if !self.has_filtered() => ready!(self.poll_more(cx, from, to))?,
                part => {
                    budget = budget.saturating_sub(ready!(self.poll_filtered(cx, from, to, part))?)
                }
            }
        }
    }

    /// Passes on some of the `n` body bytes at the front, in one write with what is queued before
    /// them.
    fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl Source,
        to: &mut impl Sink,
        n: usize,
    ) -> Poll<Result<usize, BodyError>> {
        if self.most.is_some_and(|most| self.moved + n as u64 > most) {
            return Poll::Ready(Err(BodyError::TooLarge));
        }
        let data = from.data().get(..n).unwrap_or_default();
        self.held_back = true;
        let sent = ready!(to.poll_data(cx, data)).map_err(BodyError::To)?;
        self.held_back = false;
        self.replay.note(data.get(..sent).unwrap_or_default());
        from.taken(sent);
        self.moved += sent as u64;
        Poll::Ready(Ok(sent))
    }

    fn has_filtered(&self) -> bool {
        let stage = self.filter.as_ref();
        stage.is_some_and(|stage| !stage.unsent().is_empty())
    }

    /// Sends what the filter has made, or else passes what follows through it.
    fn poll_filtered(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl Source,
        to: &mut impl Sink,
        part: Part,
    ) -> Poll<Result<usize, BodyError>> {
        let Some(stage) = &mut self.filter else {
            return Poll::Ready(Ok(0));
        };
        if !stage.unsent().is_empty() {
            self.held_back = true;
            let sent = ready!(to.poll_data(cx, stage.unsent())).map_err(BodyError::To)?;
            self.held_back = false;
            stage.sent(sent);
            self.moved += sent as u64;
            return Poll::Ready(Ok(sent));
        }
        match part {
            Part::Data(n) => {
                let data = from.data().get(..n).unwrap_or_default();
                let taken = stage.push(data).map_err(BodyError::Filter)?;
                from.taken(taken);
            }
            Part::End if stage.end().map_err(BodyError::Filter)? => self.end(from, to)?,
            Part::End | Part::More => {}
        }
        Poll::Ready(Ok(0))
    }

    fn end(&mut self, from: &mut impl Source, to: &mut impl Sink) -> Result<(), BodyError> {
        let drops_aliases = self.drops_aliases;
        let is_passed = |trailer: &Field<'_>| !(drops_aliases && is_alias(trailer.name));
        to.end(from.trailers().filter(is_passed))
            .map_err(BodyError::Malformed)?;
        for trailer in from.trailers().filter(is_passed) {
            for part in [trailer.name, b": ", trailer.value, b"\r\n"] {
                self.replay.note(part);
            }
        }
        from.finish();
        self.ended = true;
        Ok(())
    }

    /// Reads more of the body. Sends what is queued first, so that it never waits for bytes that
    /// may take long.
    fn poll_more(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl Source,
        to: &mut impl Sink,
    ) -> Poll<Result<(), BodyError>> {
        self.held_back = to.poll_push_out(cx).map_err(BodyError::To)?.is_pending();
        match self.take_pipe(from, to) {
            Some((splice, most)) => self.poll_splice(cx, from, splice, most),
            None => from.poll_more(cx),
        }
    }

    /// A kernel pipe, and how many bytes may go through it now. None unless both sides allow it, the
    /// body needs no counting against a limit and no copy, and is, or has proved to be, large.
    fn take_pipe(&self, from: &impl Source, to: &mut impl Sink) -> Option<(Splice, usize)> {
        let left = from.spliceable(self.moved)?;
        let counted = self
            .most
            .is_some_and(|most| self.moved.saturating_add(left) > most);
        let as_it_is = !self.is_kept() && self.filter.is_none();
        let clear = !counted && as_it_is && to.socket().is_some();
        let splice = clear.then(Splice::take).flatten()?;
        Some((splice, usize::try_from(left).unwrap_or(usize::MAX)))
    }

    /// Reads bytes of the body into a pipe.
    fn poll_splice(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl Source,
        mut splice: Splice,
        most: usize,
    ) -> Poll<Result<(), BodyError>> {
        let Some(socket) = from.socket() else {
            return from.poll_more(cx);
        };
        let read = ready!(splice.poll_fill(cx, socket, most)).map_err(BodyError::From)?;
        if matches!(read, Read::Data(_)) {
            self.replay.lose();
            self.splice = Some(splice);
        }
        Poll::Ready(from.spliced(&read))
    }

    /// Sends what is in the pipe, and returns the empty pipe.
    fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut impl Sink,
    ) -> Poll<Result<usize, BodyError>> {
        let Some(splice) = &mut self.splice else {
            return Poll::Ready(Ok(0));
        };
        let mut drained = 0;
        while !splice.is_empty() {
            self.held_back = true;
            let Some(socket) = to.socket() else {
                let lost = std::io::ErrorKind::NotConnected;
                return Poll::Ready(Err(BodyError::To(Broken::Io(lost.into()))));
            };
            let n = ready!(splice.poll_drain(cx, socket)).map_err(BodyError::To)?;
            to.spliced(n);
            self.moved += n as u64;
            drained += n;
        }
        self.held_back = false;
        self.splice = None;
        Poll::Ready(Ok(drained))
    }
}

/// The fields of lines that [`BodyTransfer::end`] has kept.
fn kept_fields(lines: &[u8]) -> impl Iterator<Item = Field<'_>> {
    let lines = lines.split_inclusive(|byte| *byte == b'\n');
    lines.filter_map(|line| {
        let line = line.strip_suffix(b"\r\n")?;
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = (line.get(..colon)?, line.get(colon + 2..)?);
        Some(Field { name, value })
    })
}

/// Bytes that one poll may move before other tasks of the worker run.
const BUDGET_BYTES: usize = 1024 * 1024;
