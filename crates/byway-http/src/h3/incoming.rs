//! Incoming: what is received on a request stream.
//!
//! In:    bytes of quinn's stream.
//! Out:   the head, data, trailers, the end; or why there is no more.
//! Never: holds a buffer while nothing has arrived.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use byway_dial::Broken;
use byway_h3::{Cost, ErrorCode, Event, MessageError, RequestReader};
use byway_head::{Malformed, RequestHead, Trailers};
use byway_relay::{Buffer, Size};
use quinn::{ReadError, RecvStream};

use super::shared::{Shared, varint};
use crate::h2::RequestText;

/// The receiving side of a stream.
pub(super) struct Incoming {
    shared: Arc<Shared>,
    stream: RecvStream,
    reader: RequestReader,
    buffer: Option<Buffer>,
    /// Of the next buffer: larger for a client that has filled one.
    size: Size,
    /// How many bytes at the front of the buffer are data.
    data: usize,
    /// The client has ended its side, and all bytes are in the buffer.
    fin: bool,
    /// The message has no body, or all of it was used.
    pub(super) has_ended: bool,
    /// The client has reset its side, or it was stopped.
    is_closed: bool,
}

/// What was read at the start of a stream.
pub(super) enum Head {
    Request,
    Unacceptable(Malformed),
}

/// Why no more can be read.
pub(super) enum Stop {
    Broken(Broken),
    Message(MessageError),
}

impl Incoming {
    pub(super) fn new(shared: Arc<Shared>, stream: RecvStream) -> Self {
        Self {
            reader: RequestReader::new(&shared.limits),
            shared,
            stream,
            buffer: None,
            size: Size::Small,
            data: 0,
            fin: false,
            has_ended: false,
            is_closed: false,
        }
    }

    /// Reads the head of the request.
    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        text: &mut RequestText,
    ) -> Poll<Result<Head, Stop>> {
        loop {
            // All that has arrived: a request whose end comes with its head has no body.
            while !self.fin && self.has_room() {
                match self.poll_fill(cx) {
                    Poll::Ready(filled) => filled.map_err(Stop::Broken)?,
                    Poll::Pending if self.front_len() == 0 => return Poll::Pending,
                    Poll::Pending => break,
                }
            }
            let event = self.step(&mut text.index, &mut text.text.0);
            match event.map_err(Stop::Message)? {
                Some(Event::Head { .. }) => return Poll::Ready(Ok(Head::Request)),
                Some(Event::Unacceptable { error }) => {
                    self.shared.charge(Cost::Malformed, 1);
                    return Poll::Ready(Ok(Head::Unacceptable(error)));
                }
                Some(_) => {}
                None if self.fin => {
                    return Poll::Ready(match self.reader.finish() {
                        Err(error) => Err(Stop::Message(error)),
                        Ok(()) => Err(Stop::Broken(Broken::Reset(0))),
                    });
                }
                None => {}
            }
        }
    }

    /// Reads until there is data at the front, or the message has ended.
    pub(super) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stop>> {
        // Only heads are written to them.
        let (mut head, mut text) = (RequestHead::default(), Vec::new());
        loop {
            if self.data > 0 || self.has_ended {
                return Poll::Ready(Ok(()));
            }
            if self.front_len() > 0 {
                self.step(&mut head, &mut text).map_err(Stop::Message)?;
            } else if self.fin {
                self.reader.finish().map_err(Stop::Message)?;
                self.has_ended = true;
            } else {
                ready!(self.poll_fill(cx)).map_err(Stop::Broken)?;
            }
        }
    }

    /// Reads until about this many bytes have arrived, or the buffer is full.
    pub(super) fn poll_gathered(
        &mut self,
        cx: &mut Context<'_>,
        enough: usize,
    ) -> Poll<Result<(), Stop>> {
        while !self.has_ended && !self.fin && self.front_len() < enough && self.has_room() {
            self.size = self.size.max(Size::holding(enough).min(Size::Medium));
            ready!(self.poll_fill(cx)).map_err(Stop::Broken)?;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads one piece of the message from the buffer.
    fn step(
        &mut self,
        head: &mut RequestHead,
        text: &mut Vec<u8>,
    ) -> Result<Option<Event>, MessageError> {
        let bytes = self.buffer.as_ref().map_or(&[][..], Buffer::filled);
        let limits = &self.shared.limits;
        let step = self.reader.step(bytes, self.fin, head, text, limits)?;
        self.shared.charge(Cost::Waste, step.waste);
        match &step.event {
            Some(Event::Data(range)) => {
                self.use_front(range.start);
                self.data = range.len();
            }
            _ => self.use_front(step.taken),
        }
        Ok(step.event)
    }

    /// Reads what has arrived on the stream.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        if self.is_closed {
            return Poll::Ready(Err(Broken::Reset(0)));
        }
        let buffer = self.buffer.get_or_insert_with(|| Buffer::take(self.size));
        let read = self.stream.poll_read(cx, buffer.space());
        let filled = match read {
            Poll::Ready(Ok(0)) => {
                self.fin = true;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Ok(n)) => {
                buffer.advance(n);
                if buffer.room() == 0 {
                    self.size = Size::Medium;
                }
                self.shared.with(|state| state.core.moved(n));
                return Poll::Ready(Ok(()));
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(self.note_error(&error))),
            Poll::Pending => Poll::Pending,
        };
        if self.front_len() == 0 {
            self.buffer = None;
        }
        filled
    }

    fn note_error(&mut self, error: &ReadError) -> Broken {
        match error {
            ReadError::Reset(code) => self.note_reset(code.into_inner()),
            _ => {
                self.is_closed = true;
                Broken::Reset(0)
            }
        }
    }

    fn note_reset(&mut self, code: u64) -> Broken {
        if !self.is_closed {
            self.is_closed = true;
            self.shared.charge(Cost::Reset, 1);
        }
        Broken::Reset(u32::try_from(code).unwrap_or_default())
    }

    /// Ready once the client has reset its side, or the connection is lost. Reads ahead to learn of
    /// it, as far as the buffer has room.
    ///
    /// quinn's `received_reset` is not used: where the end of the stream has arrived and was not read
    /// yet, it leaves a waker in the connection that no later read removes.
    pub(super) fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        if self.is_closed {
            return Poll::Ready(Broken::Reset(0));
        }
        while !self.fin && self.has_room() {
            if let Err(broken) = ready!(self.poll_fill(cx)) {
                return Poll::Ready(broken);
            }
        }
        Poll::Pending
    }

    /// Whether everything that the client sends was received.
    pub(super) fn is_over(&self) -> bool {
        self.fin || self.is_closed
    }

    /// Wants no more.
    pub(super) fn stop(&mut self, code: ErrorCode) {
        if !self.is_over() {
            let _ = self.stream.stop(varint(code));
        }
        self.is_closed = true;
    }

    fn has_room(&self) -> bool {
        self.buffer.as_ref().is_none_or(|buffer| buffer.room() > 0)
    }

    fn front_len(&self) -> usize {
        self.buffer.as_ref().map_or(0, Buffer::len)
    }

    fn use_front(&mut self, n: usize) {
        if let Some(buffer) = &mut self.buffer {
            buffer.consume(n);
            if buffer.is_empty() {
                self.buffer = None;
            }
        }
    }

    /// Data that was read and not used.
    pub(super) fn data(&self) -> &[u8] {
        let front = self.buffer.as_ref().map_or(&[][..], Buffer::filled);
        front.get(..self.data).unwrap_or_default()
    }

    /// Uses the first `n` bytes of it.
    pub(super) fn use_data(&mut self, n: usize) {
        let n = n.min(self.data);
        self.data -= n;
        self.use_front(n);
    }

    pub(super) fn trailers(&self) -> Trailers<'_> {
        self.reader.trailers()
    }
}
