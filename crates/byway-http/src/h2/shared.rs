//! Shared: what the task of a connection and the handles of its streams have in common.
//!
//! In:    events of the connection; what the handles send, return and wait for.
//! Out:   wakes, after the lock was released.
//! Never: is locked while anything is awaited.

use std::collections::VecDeque;
use std::task::{Context, Waker};

use byway_dial::Broken;
use byway_h2::{Connection, ErrorCode, Event, Role, StreamId};
use byway_head::{Malformed, Section};
use parking_lot::Mutex;

use super::inbox::Inbox;
use super::text::ResponseText;

/// The state of one connection.
pub(super) struct Shared(Mutex<State>);

/// What is behind the lock.
pub(super) struct State {
    /// The protocol.
    pub(super) core: Connection,
    /// By the slot of the stream.
    streams: Vec<StreamState>,
    /// The task of the connection, while it rests.
    task: Option<Waker>,
    /// Streams whose head waits until some of the output was written.
    heads_waiting: Vec<StreamId>,
    /// The connection is lost, and all streams with it.
    pub(super) is_lost: bool,
    /// The peer sends nothing more.
    pub(super) has_ended: bool,
    /// The peer, or this side, has said that the connection ends.
    pub(super) is_going_away: bool,
    /// Woken once the lock is released.
    wakes: Vec<Waker>,
    /// Bytes of bodies that were received so far.
    pub(super) received_bytes: u64,
}

/// One stream, apart from its protocol.
#[derive(Default)]
pub(super) struct StreamState {
    id: Option<StreamId>,
    pub(super) inbox: Inbox,
    /// Everything of the peer's message is here.
    pub(super) has_ended: bool,
    pub(super) trailers: Option<Box<TrailersText>>,
    /// The stream is over before its end.
    pub(super) reset: Option<StreamReset>,
    /// What was wrong with the peer's message, if that is why.
    pub(super) malformed: Option<Box<Malformed>>,
    /// Client: heads of responses that were not taken, interim ones and the final one.
    pub(super) responses: VecDeque<ResponseText>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// A section of trailers and its text.
#[derive(Debug, Default)]
pub(super) struct TrailersText {
    pub(super) section: Section,
    pub(super) text: Vec<u8>,
}

/// Why a stream is over before its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamReset {
    pub(super) code: ErrorCode,
    /// The peer has not processed the request at all.
    pub(super) is_unsent: bool,
}

/// The peer has left.
const CANCELLED: StreamReset = StreamReset {
    code: ErrorCode::CANCEL,
    is_unsent: false,
};

impl From<ErrorCode> for StreamReset {
    fn from(code: ErrorCode) -> Self {
        Self {
            code,
            is_unsent: false,
        }
    }
}

impl Shared {
    pub(super) fn new(core: Connection) -> Self {
        Self(Mutex::new(State {
            core,
            streams: Vec::new(),
            task: None,
            heads_waiting: Vec::new(),
            is_lost: false,
            has_ended: false,
            is_going_away: false,
            wakes: Vec::new(),
            received_bytes: 0,
        }))
    }

    /// Does something with the state, then wakes what has to be woken for it.
    pub(super) fn with<R>(&self, work: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.0.lock();
        let result = work(&mut state);
        if state.wakes.is_empty() {
            return result;
        }
        let mut wakes = std::mem::take(&mut state.wakes);
        drop(state);
        wakes.drain(..).for_each(Waker::wake);
        let mut state = self.0.lock();
        if state.wakes.capacity() < wakes.capacity() && state.wakes.is_empty() {
            state.wakes = wakes;
        }
        result
    }
}

impl State {
    /// A stream has begun.
    pub(super) fn begin(&mut self, id: StreamId) {
        if self.stream(id).is_some() {
            return;
        }
        if self.streams.len() <= id.slot() {
            self.streams
                .resize_with(id.slot() + 1, StreamState::default);
        }
        if let Some(stream) = self.streams.get_mut(id.slot()) {
            stream.id = Some(id);
        }
    }

    /// A stream that was not released.
    pub(super) fn stream(&mut self, id: StreamId) -> Option<&mut StreamState> {
        let stream = self.streams.get_mut(id.slot())?;
        (stream.id == Some(id)).then_some(stream)
    }

    /// Why nothing passes on a stream any more, if that is so.
    pub(super) fn broken(&self, id: StreamId) -> Option<Broken> {
        if self.is_lost {
            return Some(Broken::Reset(0));
        }
        match self.streams.get(id.slot()) {
            Some(stream) if stream.id == Some(id) => {
                stream.reset.map(|reset| Broken::Reset(reset.code.0))
            }
            _ => Some(Broken::Reset(0)),
        }
    }

    /// Its work has ended: returns what it holds, and frees its slot.
    pub(super) fn release(&mut self, id: StreamId) {
        if let Some(stream) = self.stream(id) {
            stream.inbox.clear();
            // The list of pieces is kept for the next stream.
            let inbox = std::mem::take(&mut stream.inbox);
            *stream = StreamState {
                inbox,
                ..StreamState::default()
            };
        }
        self.core.release(id);
        self.wake_task();
    }

    /// Data was taken.
    pub(super) fn credit(&mut self, id: StreamId, bytes: usize) {
        if bytes > 0 {
            self.core.credit(id, bytes);
        }
    }

    /// Handles an event of a stream. The head of a request, and what concerns the whole connection,
    /// is returned instead.
    pub(super) fn note(&mut self, event: Event, received: &[u8]) -> Option<Event> {
        match event {
            Event::Data { id, range, end } => {
                let data = received.get(range).unwrap_or_default();
                let Some(stream) = self.stream(id) else {
                    self.core.credit(id, data.len());
                    return None;
                };
                stream.inbox.push(data);
                stream.has_ended |= end;
                let reader = stream.reader.take();
                self.received_bytes += data.len() as u64;
                self.wakes.extend(reader);
            }
            Event::Trailers { id } => {
                let mut trailers = Box::<TrailersText>::default();
                self.core
                    .take_trailers(&mut trailers.section, &mut trailers.text);
                if let Some(stream) = self.stream(id) {
                    (stream.trailers, stream.has_ended) = (Some(trailers), true);
                    let reader = stream.reader.take();
                    self.wakes.extend(reader);
                }
            }
            Event::Reset { id, code, .. } => {
                let is_unsent = event.is_unsent();
                self.reset(id, StreamReset { code, is_unsent });
            }
            Event::Malformed {
                id: Some(id),
                ref error,
            } => {
                if let Some(stream) = self.stream(id) {
                    stream.malformed = Some(Box::new(error.clone()));
                }
                self.reset(id, ErrorCode::PROTOCOL_ERROR.into());
                return Some(event);
            }
            Event::Head { id, end } if self.core.role() == Role::Client => {
                let mut text = ResponseText::take();
                self.core.take_response(&mut text.index, &mut text.text.0);
                if let Some(stream) = self.stream(id) {
                    stream.has_ended |= end;
                    stream.responses.push_back(text);
                    let is_flooded = stream.responses.len() > MOST_RESPONSES;
                    let reader = stream.reader.take();
                    self.wakes.extend(reader);
                    if is_flooded {
                        self.core.reset(id, ErrorCode::ENHANCE_YOUR_CALM);
                        self.reset(id, ErrorCode::ENHANCE_YOUR_CALM.into());
                    }
                }
            }
            Event::GoAway { .. } => {
                self.is_going_away = true;
                return Some(event);
            }
            other => return Some(other),
        }
        None
    }

    /// The stream is over.
    pub(super) fn reset(&mut self, id: StreamId, reset: StreamReset) {
        if let Some(stream) = self.stream(id) {
            stream.reset.get_or_insert(reset);
            let wakers = [stream.reader.take(), stream.writer.take()];
            self.wakes.extend(wakers.into_iter().flatten());
        }
    }

    /// The connection is lost: so are its streams.
    pub(super) fn lose(&mut self) {
        self.is_lost = true;
        for stream in &mut self.streams {
            let wakers = [stream.reader.take(), stream.writer.take()];
            self.wakes.extend(wakers.into_iter().flatten());
        }
        self.wake_task();
    }

    /// The peer sends nothing more: messages that have not ended never will.
    pub(super) fn end_reading(&mut self) {
        self.has_ended = true;
        for stream in &mut self.streams {
            if stream.id.is_some() && !stream.has_ended {
                stream.reset.get_or_insert(CANCELLED);
                let wakers = [stream.reader.take(), stream.writer.take()];
                self.wakes.extend(wakers.into_iter().flatten());
            }
        }
    }

    /// Wakes the streams whose turn it is to send.
    pub(super) fn give_turns(&mut self) {
        while let Some(id) = self.core.next_turn() {
            self.wake_writer(id);
        }
        if self.core.out().len() < HEADS_BACKLOG_BYTES {
            while let Some(id) = self.heads_waiting.pop() {
                self.wake_writer(id);
            }
        }
    }

    fn wake_writer(&mut self, id: StreamId) {
        if let Some(stream) = self.stream(id) {
            let writer = stream.writer.take();
            self.wakes.extend(writer);
        }
    }

    /// Whether a head may be queued. If not, the stream's writer is woken once it may.
    pub(super) fn has_room_for_head(&mut self, id: StreamId) -> bool {
        if self.core.out().len() < HEADS_BACKLOG_BYTES {
            return true;
        }
        if !self.heads_waiting.contains(&id) {
            self.heads_waiting.push(id);
        }
        false
    }

    /// Something waits to be written: wakes the task, unless it runs.
    pub(super) fn wake_task(&mut self) {
        self.wakes.extend(self.task.take());
    }

    /// Frees what an idle connection does not need.
    pub(super) fn trim(&mut self) {
        self.core.trim();
        if self.core.open_streams() == 0 {
            self.streams = Vec::new();
            self.heads_waiting = Vec::new();
            self.wakes.shrink_to_fit();
        }
    }

    /// The task runs.
    pub(super) fn begin_turn(&mut self) {
        self.task = None;
    }

    /// The task waits for something to do.
    pub(super) fn rest(&mut self, cx: &Context<'_>) {
        self.task = Some(cx.waker().clone());
    }
}

/// Heads of responses to one request that wait to be taken: interim ones that come in one read, and
/// the final one.
const MOST_RESPONSES: usize = 16;

/// Heads wait while more output than this does: that of data, and some heads.
const HEADS_BACKLOG_BYTES: usize = 128 * 1024;

impl StreamState {
    /// Wakes the task of `cx` with the next event that a reader waits for.
    pub(super) fn wait_to_read(&mut self, cx: &Context<'_>) {
        keep(&mut self.reader, cx);
    }

    /// Wakes the task of `cx` when more can be sent, or nothing any more.
    pub(super) fn wait_to_write(&mut self, cx: &Context<'_>) {
        keep(&mut self.writer, cx);
    }
}

fn keep(place: &mut Option<Waker>, cx: &Context<'_>) {
    match place {
        Some(waker) if waker.will_wake(cx.waker()) => {}
        _ => *place = Some(cx.waker().clone()),
    }
}
