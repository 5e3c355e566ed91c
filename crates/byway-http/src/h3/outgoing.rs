//! Outgoing: what is sent on a request stream.
//!
//! In:    a head, data, the end with its trailers.
//! Out:   the same in frames, handed to quinn.
//! Never: ends the stream before everything was handed over; announces data that it does not have.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use byway_dial::Broken;
use byway_h3::{Cost, ErrorCode, write_data_header, write_head};
use byway_head::{HeadOut, Malformed};
use quinn::{SendStream, StoppedError, VarInt, WriteError};

use super::shared::{Shared, varint};
use crate::h2::KeptHead;
use crate::scratch::{Scratch, ScratchBytes};

/// The most data in one frame.
const FRAME_BYTES: usize = 16 * 1024;

/// Waits until the client stops reading, or has everything.
type Stopped = Pin<Box<dyn Future<Output = Result<Option<VarInt>, StoppedError>> + Send + Sync>>;

/// The sending side of a stream.
pub(super) struct Outgoing {
    shared: Arc<Shared>,
    /// `None` once it was given back.
    stream: Option<SendStream>,
    pub(super) head: Scratch<KeptHead>,
    /// Data behind the head.
    pub(super) queue: Scratch<ScratchBytes>,
    /// The message ends behind that, with these trailers if there are any.
    pub(super) trailers: Option<Box<KeptHead>>,
    pub(super) ends: bool,
    pub(super) has_ended: bool,
    /// Frames that quinn has no room for yet.
    wire: Bytes,
    /// Bytes of heads and bodies that were put into frames.
    pub(super) taken: u64,
    stopped: Option<Stopped>,
    is_broken: bool,
}

impl Outgoing {
    pub(super) fn new(shared: Arc<Shared>, stream: SendStream) -> Self {
        Self {
            shared,
            stream: Some(stream),
            head: Scratch::take(),
            queue: Scratch::take(),
            trailers: None,
            ends: false,
            has_ended: false,
            wire: Bytes::new(),
            taken: 0,
            stopped: None,
            is_broken: false,
        }
    }

    /// Whether something waits to be sent.
    pub(super) fn has_queued(&self) -> bool {
        !self.head.is_empty()
            || !self.queue.0.is_empty()
            || !self.wire.is_empty()
            || self.ends && !self.has_ended
    }

    /// Sends the head, what is queued, and then some of `tail`, or the end. Returns how much of
    /// `tail` was taken; 0 if it is empty and everything was handed over.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        tail: &[u8],
    ) -> Poll<Result<usize, Broken>> {
        ready!(self.poll_wire(cx))?;
        let tail = tail.get(..FRAME_BYTES).unwrap_or(tail);
        let frames = self.frames(tail).map_err(|_| {
            // What it has was checked when it was kept.
            Broken::Io(std::io::ErrorKind::InvalidData.into())
        });
        self.wire = frames?.into();
        match self.poll_wire(cx) {
            Poll::Pending if tail.is_empty() => return Poll::Pending,
            Poll::Ready(Err(broken)) => return Poll::Ready(Err(broken)),
            _ => {}
        }
        if tail.is_empty() && self.ends && !self.has_ended {
            self.has_ended = true;
            if let Some(stream) = &mut self.stream {
                let _ = stream.finish();
            }
        }
        Poll::Ready(Ok(tail.len()))
    }

    /// Everything that is to be sent now, in frames.
    fn frames(&mut self, tail: &[u8]) -> Result<Vec<u8>, Malformed> {
        let mut out = Vec::new();
        let is_last = tail.is_empty() && self.ends && !self.has_ended;
        if self.head.is_empty() && self.queue.0.is_empty() && tail.is_empty() && !is_last {
            return Ok(out);
        }
        out.reserve(self.head.bytes() + self.queue.0.len() + tail.len() + 32);
        if !self.head.is_empty() {
            let head = &*self.head;
            write_head(&mut out, |mut block| head.write(&mut block))?;
            self.taken += head.bytes() as u64;
            self.head.clear();
        }
        for data in [&self.queue.0[..], tail] {
            write_data_header(&mut out, data.len());
            out.extend_from_slice(data);
            self.taken += data.len() as u64;
        }
        self.queue.0.clear();
        if let (true, Some(trailers)) = (is_last, self.trailers.take()) {
            write_head(&mut out, |mut block| {
                for field in trailers.fields() {
                    block.field(field.name, field.value)?;
                }
                block.end();
                Ok(())
            })?;
        }
        Ok(out)
    }

    /// Hands over frames that wait.
    fn poll_wire(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let Some(stream) = self.stream.as_mut().filter(|_| !self.is_broken) else {
            return Poll::Ready(Err(Broken::Reset(0)));
        };
        while !self.wire.is_empty() {
            let chunks = std::slice::from_mut(&mut self.wire);
            let written = pin!(stream.write_chunks(chunks)).poll(cx);
            match ready!(written) {
                Ok(written) => self.shared.with(|state| state.core.moved(written.bytes)),
                Err(error) => return Poll::Ready(Err(self.note_error(&error))),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn note_error(&mut self, error: &WriteError) -> Broken {
        match error {
            WriteError::Stopped(code) => self.note_stopped(*code),
            _ => {
                self.is_broken = true;
                Broken::Reset(0)
            }
        }
    }

    fn note_stopped(&mut self, code: VarInt) -> Broken {
        if !self.is_broken {
            self.is_broken = true;
            self.shared.charge(Cost::Reset, 1);
        }
        Broken::Reset(u32::try_from(code.into_inner()).unwrap_or_default())
    }

    /// Ready once the client has stopped reading, or the connection is lost.
    pub(super) fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        let Some(stream) = self.stream.as_ref().filter(|_| !self.is_broken) else {
            return Poll::Ready(Broken::Reset(0));
        };
        if self.has_ended {
            return Poll::Pending;
        }
        let stopped = self
            .stopped
            .get_or_insert_with(|| Box::pin(stream.stopped()));
        match ready!(stopped.as_mut().poll(cx)) {
            Ok(Some(code)) => {
                self.stopped = None;
                Poll::Ready(self.note_stopped(code))
            }
            Ok(None) => Poll::Pending,
            Err(_) => {
                self.is_broken = true;
                Poll::Ready(Broken::Reset(0))
            }
        }
    }

    /// Ends the side before its end.
    pub(super) fn reset(&mut self, code: ErrorCode) {
        if let Some(stream) = &mut self.stream {
            let _ = stream.reset(varint(code));
        }
        self.is_broken = true;
    }

    /// Whether the message is complete, and was not stopped.
    pub(super) fn is_complete(&self) -> bool {
        self.has_ended && !self.is_broken
    }

    /// Gives quinn's stream back.
    pub(super) fn take_stream(&mut self) -> Option<SendStream> {
        self.stream.take()
    }
}
