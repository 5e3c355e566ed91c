//! Mux core: the streams of one carrier over TCP, as a state machine.
//!
//! In:    frames that were received; calls of the streams' owners; room on the carrier.
//! Out:   frames to send: control first, then one chunk of a stream after another, see
//!        `send_order`; and the wakers to wake.
//! Never: I/O, a clock or a task of its own; nothing that a peer can make grow beyond the bounds
//!        below.
//!
//! The contract of a stream: data precedes FIN; a reset may overtake data and voids what is in
//! transit; credit is granted when bytes are consumed; one stalled stream stalls no other.

use std::collections::{HashMap, VecDeque};
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use byway_dial::{Broken, Read};

use self::send_order::{Next, SendOrder};
use super::frame::{
    CONTROL, FrameKind, HEADER_BYTES, Header, MOST_PAYLOAD_BYTES, Violation, with_number,
};
use crate::client_key::ClientKey;
use crate::fair_budget::FairBudget;
use crate::window::{INITIAL_BYTES, LONG_ROUND_TRIP, Window};

/// The most bytes of one stream that wait for the carrier.
const STREAM_QUEUE_BYTES: usize = 256 * 1024;

/// The most bytes of all streams that wait for the carrier; beyond that, each stream may queue one
/// chunk of [`SMALL_CHUNK_BYTES`].
const SESSION_QUEUE_BYTES: usize = 4 * 1024 * 1024;

/// See [`SESSION_QUEUE_BYTES`].
const SMALL_CHUNK_BYTES: usize = 16 * 1024;

/// The longest payload of a DATA frame on a long path: a stream with little data waits for one
/// frame of each other stream.
const MOST_LONG_PAYLOAD_BYTES: usize = 16 * 1024;

/// The most bytes of resets, credits and opens that wait for the carrier. At this limit no more
/// frames are read until the peer has read some of them.
const URGENT_BYTES: usize = 256 * 1024;

/// Streams that were closed in order here and that the peer has not finished. When there are twice
/// as many, STOP is sent for the oldest until this many are left.
pub(crate) const LINGERING_STREAMS: usize = 1024;

/// How long such a stream is kept. Then STOP is sent for it: what was written to it still arrives,
/// and it costs the peer no descriptor any more.
pub(crate) const LINGER: Duration = Duration::from_secs(5);

/// The most bytes that all streams hold together that the peer has opened and that are not accepted
/// yet. A stream beyond it is refused as [`Busy`](crate::wire::Code::Busy). Enough for 8,192
/// streams with a first message of 500 bytes.
const WAITING_BYTES: usize = 4 * 1024 * 1024;

/// The round-trip time before one was measured.
const ROUND_TRIP_GUESS: Duration = Duration::from_millis(100);

/// Which end of the carrier this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Opens odd streams.
    Dialler,
    /// Opens even streams.
    Acceptor,
}

impl Side {
    const fn first(self) -> u32 {
        match self {
            Self::Dialler => 1,
            Self::Acceptor => 2,
        }
    }

    const fn opens(self, stream: u32) -> bool {
        stream != CONTROL && stream % 2 == self.first() % 2
    }

    const fn peer(self) -> Self {
        match self {
            Self::Dialler => Self::Acceptor,
            Self::Acceptor => Self::Dialler,
        }
    }
}

/// Why a stream was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MuxOpenError {
    /// The carrier is lost.
    Lost,
    /// All stream numbers are used up: the carrier must be replaced.
    Exhausted,
}

/// The state of all streams of one carrier over TCP. It takes received frames and calls of the
/// streams' owners, and queues the frames to send; it does no I/O and reads no clock.
pub(crate) struct MuxCore {
    side: Side,
    streams: HashMap<u32, Entry>,
    next: u32,
    /// The highest stream that the peer has opened.
    newest: u32,
    /// How many streams of the peer exist, and how many may exist.
    theirs: u32,
    most: u32,
    /// The session is not established: only [`CONTROL`] exists.
    pending: bool,
    /// Pending only: the reader of [`CONTROL`] has read all of it and waits for more.
    wanted: bool,
    /// Frames may be read again, and the driver was not woken yet.
    resumed: bool,
    /// Opened by the peer, not accepted yet.
    waiting: VecDeque<u32>,
    /// See [`WAITING_BYTES`].
    waiting_bytes: usize,
    acceptor: Option<Waker>,
    /// Streams that were closed in order here, oldest first; some may have ended since.
    /// With the time when they began to, the oldest first.
    lingering: VecDeque<(u32, Instant)>,
    /// Frames without stream data, in order; they overtake data.
    urgent: Vec<u8>,
    /// Streams with data or a FIN to send.
    send_order: SendOrder,
    queued_bytes: usize,
    /// Streams whose writer waits for the session's queue.
    starved: Vec<u32>,
    budget: Arc<FairBudget>,
    round_trip: Duration,
    /// The last measurement, if there is one.
    measured: Option<Duration>,
    lost: bool,
    driver: Option<Waker>,
}

struct Entry {
    send: Outgoing,
    recv: Incoming,
    watcher: Option<Waker>,
    /// Whether the stream has an owner.
    held: bool,
    /// Its share of [`WAITING_BYTES`]: 0 once it was accepted.
    waiting_bytes: usize,
    waiting: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sending {
    Open,
    /// FIN follows what is queued.
    Finishing,
    /// FIN was sent.
    Finished,
    /// Reset by us, or stopped by the peer.
    Over,
}

struct Outgoing {
    /// Each has [`HEADER_BYTES`] of room at its front.
    chunks: VecDeque<Vec<u8>>,
    queued_bytes: usize,
    credit: u64,
    state: Sending,
    stopped: Option<u32>,
    writer: Option<Waker>,
    /// Is in `send_order`.
    listed: bool,
    /// Is in `starved`.
    starved: bool,
}

struct Incoming {
    chunks: VecDeque<Vec<u8>>,
    /// Bytes of the first chunk that were read.
    read: usize,
    window: Window,
    fin: bool,
    reset: Option<u32>,
    /// STOP was sent.
    stopped: bool,
    reader: Option<Waker>,
}

/// What to do with the payload that follows a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Payload {
    /// Receive it.
    Keep,
    /// Skip it: its stream has ended.
    Skip,
}

impl MuxCore {
    /// A carrier that has just been authenticated. Until [`Self::admit`] it has only the control
    /// stream, and reads no further than the reader of that stream: the frames after a welcome are
    /// checked once the welcome was handled.
    pub(crate) fn new(side: Side, budget: Arc<FairBudget>) -> Self {
        let mut core = Self {
            side,
            streams: HashMap::new(),
            next: side.first(),
            newest: 0,
            theirs: 0,
            most: 0,
            pending: true,
            wanted: false,
            resumed: false,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            acceptor: None,
            lingering: VecDeque::new(),
            urgent: Vec::new(),
            send_order: SendOrder::default(),
            queued_bytes: 0,
            starved: Vec::new(),
            budget,
            round_trip: ROUND_TRIP_GUESS,
            measured: None,
            lost: false,
            driver: None,
        };
        let control = core.entry();
        core.streams.insert(CONTROL, control);
        core
    }

    fn entry(&self) -> Entry {
        Entry {
            send: Outgoing {
                chunks: VecDeque::new(),
                queued_bytes: 0,
                credit: INITIAL_BYTES.into(),
                state: Sending::Open,
                stopped: None,
                writer: None,
                listed: false,
                starved: false,
            },
            recv: Incoming {
                chunks: VecDeque::new(),
                read: 0,
                window: Window::new(Arc::clone(&self.budget)),
                fin: false,
                reset: None,
                stopped: false,
                reader: None,
            },
            watcher: None,
            held: true,
            waiting_bytes: 0,
            waiting: false,
        }
    }

    /// Marks the session as established: the peer may have `most` streams open at once.
    pub(crate) fn admit(&mut self, most: u32) {
        self.most = most;
        self.pending = false;
        self.resumed = true;
    }

    /// Sets the last measured round-trip time.
    pub(crate) fn set_round_trip(&mut self, round_trip: Duration) {
        self.round_trip = round_trip;
        self.measured = Some(round_trip);
    }

    /// The number of streams, without the control stream.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.streams.len().saturating_sub(1)
    }

    /// Uses up all numbers but one.
    #[cfg(test)]
    pub(crate) fn leave_one_number(&mut self) {
        self.next = u32::MAX - 1 - self.side.first();
    }

    // ---- calls of the streams' owners ----

    /// Opens a stream. `first` are its first bytes, which must fit into a window.
    pub(crate) fn open(&mut self, first: &[u8]) -> Result<u32, MuxOpenError> {
        if self.lost {
            return Err(MuxOpenError::Lost);
        }
        let stream = self.next;
        self.next = stream.checked_add(2).ok_or(MuxOpenError::Exhausted)?;
        let mut entry = self.entry();
        entry.send.credit = entry.send.credit.saturating_sub(first.len() as u64);
        self.streams.insert(stream, entry);
        let header = Header {
            kind: FrameKind::Open,
            stream,
            length: first.len(),
        };
        self.urgent.extend_from_slice(&header.encode());
        self.urgent.extend_from_slice(first);
        Ok(stream)
    }

    /// The next stream that the peer has opened.
    pub(crate) fn poll_accept(&mut self, cx: &Context<'_>) -> Poll<Option<u32>> {
        match self.waiting.pop_front() {
            Some(stream) => {
                if let Some(entry) = self.streams.get_mut(&stream) {
                    entry.waiting = false;
                    self.waiting_bytes -= std::mem::take(&mut entry.waiting_bytes);
                }
                Poll::Ready(Some(stream))
            }
            None if self.lost => Poll::Ready(None),
            None => {
                self.acceptor = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    pub(crate) fn poll_read(
        &mut self,
        stream: u32,
        cx: &Context<'_>,
        buf: &mut [u8],
        now: Instant,
    ) -> Poll<Result<Read, Broken>> {
        let Some(entry) = self.streams.get_mut(&stream) else {
            return Poll::Ready(Err(Broken::SessionLost));
        };
        if let Some(broken) = entry.broken() {
            return Poll::Ready(Err(broken));
        }
        let n = entry.recv.copy_out(buf);
        if n == 0 && !buf.is_empty() {
            // Bytes that arrived before the session was lost have been read by now.
            if entry.recv.fin {
                // Nothing more can arrive.
                entry.recv.window.settle();
                return Poll::Ready(Ok(Read::Fin));
            }
            if self.lost {
                return Poll::Ready(Err(Broken::SessionLost));
            }
            entry.recv.reader = Some(cx.waker().clone());
            if self.pending && stream == CONTROL {
                (self.wanted, self.resumed) = (true, true);
            }
            return Poll::Pending;
        }
        if let Some(grant) = entry
            .recv
            .window
            .consume(n, now, self.round_trip)
            .filter(|_| !entry.recv.fin && !self.lost)
        {
            self.urgent
                .extend_from_slice(&with_number(FrameKind::Credit, stream, grant));
        }
        Poll::Ready(Ok(Read::Data(n)))
    }

    pub(crate) fn poll_write(
        &mut self,
        stream: u32,
        cx: &Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize, Broken>> {
        let is_long = self.is_long_path();
        let Some(entry) = self.streams.get_mut(&stream) else {
            return Poll::Ready(Err(Broken::SessionLost));
        };
        if let Some(broken) = entry.broken() {
            return Poll::Ready(Err(broken));
        }
        if self.lost {
            return Poll::Ready(Err(Broken::SessionLost));
        }
        if entry.send.state != Sending::Open {
            return Poll::Ready(Err(Broken::Io(io::ErrorKind::BrokenPipe.into())));
        }
        let scarce = self.queued_bytes >= SESSION_QUEUE_BYTES;
        let most = if scarce {
            SMALL_CHUNK_BYTES
        } else {
            STREAM_QUEUE_BYTES
        };
        let room = most.saturating_sub(entry.send.queued_bytes);
        let room = room.min(usize::try_from(entry.send.credit).unwrap_or(usize::MAX));
        if room == 0 {
            entry.send.writer = Some(cx.waker().clone());
            if scarce && entry.send.credit > 0 && !std::mem::replace(&mut entry.send.starved, true)
            {
                self.starved.push(stream);
            }
            return Poll::Pending;
        }
        let most_payload = if is_long {
            MOST_LONG_PAYLOAD_BYTES
        } else {
            MOST_PAYLOAD_BYTES
        };
        let n = entry.send.copy_in(bufs, room, most_payload);
        entry.send.credit -= n as u64;
        self.queued_bytes += n;
        if n > 0 {
            self.list(stream);
        }
        Poll::Ready(Ok(n))
    }

    /// Bytes of all streams that wait for the carrier.
    pub(crate) const fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Whether the measured round trip is long: bytes may wait for others that were sent before.
    pub(crate) fn is_long_path(&self) -> bool {
        self.measured
            .is_some_and(|round_trip| round_trip >= LONG_ROUND_TRIP)
    }

    /// See [`LinkStream::set_client`](crate::stream::LinkStream::set_client).
    pub(crate) fn set_client(&mut self, stream: u32, client: ClientKey) {
        if let Some(entry) = self.streams.get_mut(&stream) {
            entry.recv.window.set_client(client);
        }
    }

    /// See [`LinkStream::widen`](crate::stream::LinkStream::widen).
    pub(crate) fn widen(&mut self, stream: u32, is_used: bool) {
        let Some(round_trip) = self.measured else {
            return;
        };
        let Some(entry) = self
            .streams
            .get_mut(&stream)
            .filter(|entry| !entry.recv.is_over())
        else {
            return;
        };
        if let Some(grant) = entry
            .recv
            .window
            .widen(round_trip, is_used)
            .filter(|_| !self.lost)
        {
            self.urgent
                .extend_from_slice(&with_number(FrameKind::Credit, stream, grant));
        }
    }

    /// Queues FIN after everything written.
    pub(crate) fn finish(&mut self, stream: u32) -> Result<(), Broken> {
        let Some(entry) = self.streams.get_mut(&stream) else {
            return Err(Broken::SessionLost);
        };
        if let Some(broken) = entry.broken() {
            return Err(broken);
        }
        if self.lost {
            return Err(Broken::SessionLost);
        }
        if entry.send.state == Sending::Open {
            entry.send.state = Sending::Finishing;
            self.list(stream);
        }
        Ok(())
    }

    pub(crate) fn poll_broken(&mut self, stream: u32, cx: &Context<'_>) -> Poll<Broken> {
        let Some(entry) = self.streams.get_mut(&stream) else {
            return Poll::Ready(Broken::SessionLost);
        };
        if let Some(broken) = entry.broken() {
            return Poll::Ready(broken);
        }
        if self.lost {
            return Poll::Ready(Broken::SessionLost);
        }
        entry.watcher = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Resets the stream in both directions.
    pub(crate) fn reset(&mut self, stream: u32, code: u32) {
        let Some(entry) = self.streams.get_mut(&stream) else {
            return;
        };
        let void = entry.send.drop_queue();
        let sends_reset = matches!(entry.send.state, Sending::Open | Sending::Finishing);
        entry.send.state = Sending::Over;
        let sends_stop = !entry.recv.is_over() && !entry.recv.stopped;
        entry.recv.stopped = true;
        entry.recv.chunks.clear();
        self.waiting_bytes -= std::mem::take(&mut entry.waiting_bytes);
        // A task that waits on it gets the same reset as the peer, and never an orderly end.
        entry.recv.reset.get_or_insert(code);
        entry.wake_all();
        self.queued_bytes -= void;
        if self.lost {
            return;
        }
        // Before all data: after a reset, data in transit is useless.
        if sends_reset {
            self.urgent
                .extend_from_slice(&with_number(FrameKind::Reset, stream, code));
        }
        if sends_stop {
            self.urgent
                .extend_from_slice(&with_number(FrameKind::Stop, stream, code));
        }
    }

    /// Releases the stream. `orderly`: what was written is sent, then FIN; otherwise a stream that
    /// was not finished is reset.
    pub(crate) fn release(&mut self, stream: u32, orderly: bool, now: Instant) {
        let Some(entry) = self.streams.get_mut(&stream) else {
            return;
        };
        entry.held = false;
        (entry.send.writer, entry.recv.reader, entry.watcher) = (None, None, None);
        if entry.broken().is_some() || (entry.send.state == Sending::Open && !orderly) {
            self.reset(stream, 0);
        } else {
            // As with TCP, the peer learns that nothing is read any more only if it goes on
            // sending: a STOP now would overtake what was written. Unread bytes are void. Their
            // room is granted again, or a peer whose window is full would wait forever. If FIN
            // cannot be sent, none is required.
            entry.recv.chunks.clear();
            if let Some(grant) = entry
                .recv
                .window
                .forgo()
                .filter(|_| !entry.recv.is_over() && !self.lost)
            {
                self.urgent
                    .extend_from_slice(&with_number(FrameKind::Credit, stream, grant));
            }
            // The peer may take its time to finish: that costs the others nothing.
            entry.recv.window.settle();
            let _ = self.finish(stream);
        }
        self.forget_if_over(stream);
        if self.streams.contains_key(&stream) {
            self.linger(stream, now);
        }
    }

    /// Keeps a stream for a peer that has not finished it yet.
    fn linger(&mut self, stream: u32, now: Instant) {
        self.lingering.push_back((stream, now));
        if self.lingering.len() >= 2 * LINGERING_STREAMS {
            let streams = &self.streams;
            self.lingering
                .retain(|(stream, _)| streams.get(stream).is_some_and(Entry::may_be_stopped));
            while self.lingering.len() > LINGERING_STREAMS {
                self.stop_oldest();
            }
        }
    }

    /// Whether [`stop_lingering`](Self::stop_lingering) may have something to do, now or later.
    pub(crate) fn has_lingering(&self) -> bool {
        !self.lingering.is_empty()
    }

    /// Stops the streams that have lingered for too long. The carrier calls it whenever it runs,
    /// which is at each ping at the latest.
    pub(crate) fn stop_lingering(&mut self, now: Instant) {
        while self
            .lingering
            .front()
            .is_some_and(|(_, since)| now.saturating_duration_since(*since) >= LINGER)
        {
            self.stop_oldest();
        }
    }

    fn stop_oldest(&mut self) {
        let Some((oldest, _)) = self.lingering.pop_front() else {
            return;
        };
        if let Some(entry) = self
            .streams
            .get_mut(&oldest)
            .filter(|entry| entry.may_be_stopped())
        {
            entry.recv.stopped = true;
            self.urgent
                .extend_from_slice(&with_number(FrameKind::Stop, oldest, 0));
        }
        self.forget_if_over(oldest);
    }

    // ---- calls of the carrier ----

    /// Whether another frame may be read now.
    pub(crate) fn may_receive(&self) -> bool {
        self.urgent.len() < URGENT_BYTES && (!self.pending || self.wanted)
    }

    /// Checks a header. Returns whether its payload is wanted.
    pub(crate) fn judge(&mut self, header: &Header) -> Result<Payload, Violation> {
        let Header {
            kind,
            stream,
            length,
        } = *header;
        if kind == FrameKind::Open {
            if self.pending {
                return Err(Violation::Early);
            }
            let in_order = self.side.peer().opens(stream) && stream > self.newest;
            if !in_order {
                return Err(Violation::Stream(kind));
            }
            if length > INITIAL_BYTES as usize {
                return Err(Violation::Credit);
            }
            self.newest = stream;
            if self.theirs >= self.most || self.waiting_bytes + length > WAITING_BYTES {
                self.refuse(stream);
                return Ok(Payload::Skip);
            }
            return Ok(Payload::Keep);
        }
        let Some(entry) = self.streams.get_mut(&stream) else {
            let was_there = if self.side.opens(stream) {
                stream < self.next
            } else {
                stream <= self.newest
            };
            return if was_there {
                Ok(Payload::Skip)
            } else {
                Err(Violation::Stream(kind))
            };
        };
        if matches!(kind, FrameKind::Data | FrameKind::Fin) && entry.recv.fin {
            return Err(Violation::BehindFin);
        }
        if kind != FrameKind::Data || entry.recv.stopped || entry.recv.reset.is_some() {
            let skip = kind == FrameKind::Data;
            return Ok(if skip { Payload::Skip } else { Payload::Keep });
        }
        if !entry.recv.window.receive(length) {
            return Err(Violation::Credit);
        }
        if entry.waiting && self.waiting_bytes + length > WAITING_BYTES {
            self.reset(stream, crate::wire::Code::Busy.number());
            return Ok(Payload::Skip);
        }
        Ok(Payload::Keep)
    }

    fn refuse(&mut self, stream: u32) {
        let busy = crate::wire::Code::Busy.number();
        self.urgent
            .extend_from_slice(&with_number(FrameKind::Reset, stream, busy));
        self.urgent
            .extend_from_slice(&with_number(FrameKind::Stop, stream, busy));
    }

    /// Handles a complete frame whose payload was wanted.
    pub(crate) fn receive(&mut self, header: &Header, payload: Vec<u8>) -> Result<(), Violation> {
        let Header { kind, stream, .. } = *header;
        if kind == FrameKind::Open {
            return self.receive_open(stream, payload);
        }
        // The stream may have been released while its payload arrived.
        let Some(entry) = self.streams.get_mut(&stream) else {
            return Ok(());
        };
        let number = payload
            .first_chunk::<4>()
            .map_or(0, |bytes| u32::from_be_bytes(*bytes));
        match kind {
            FrameKind::Data if entry.recv.stopped || payload.is_empty() => {}
            FrameKind::Data if !entry.held => {
                entry.recv.stopped = true;
                self.urgent
                    .extend_from_slice(&with_number(FrameKind::Stop, stream, 0));
            }
            FrameKind::Data => {
                self.wanted &= stream != CONTROL;
                if entry.waiting {
                    entry.waiting_bytes += payload.len();
                    self.waiting_bytes += payload.len();
                }
                entry.recv.keep(payload);
                wake(&mut entry.recv.reader);
            }
            FrameKind::Fin => {
                entry.recv.fin = true;
                wake(&mut entry.recv.reader);
            }
            FrameKind::Reset => {
                entry.recv.reset.get_or_insert(number);
                entry.recv.chunks.clear();
                self.waiting_bytes -= std::mem::take(&mut entry.waiting_bytes);
                entry.wake_all();
            }
            FrameKind::Stop => {
                entry.send.stopped.get_or_insert(number);
                let void = entry.send.drop_queue();
                let needs_reset = matches!(entry.send.state, Sending::Open | Sending::Finishing);
                entry.send.state = Sending::Over;
                entry.wake_all();
                self.queued_bytes -= void;
                if needs_reset {
                    self.urgent
                        .extend_from_slice(&with_number(FrameKind::Reset, stream, number));
                }
            }
            FrameKind::Credit => {
                entry.send.credit += u64::from(number);
                if entry.send.credit > u64::from(u32::MAX) {
                    return Err(Violation::Overflow);
                }
                wake(&mut entry.send.writer);
            }
            FrameKind::Open => {}
        }
        self.forget_if_over(stream);
        Ok(())
    }

    fn receive_open(&mut self, stream: u32, first: Vec<u8>) -> Result<(), Violation> {
        let mut entry = self.entry();
        if !entry.recv.window.receive(first.len()) {
            return Err(Violation::Credit);
        }
        (entry.waiting, entry.waiting_bytes) = (true, first.len());
        self.waiting_bytes += first.len();
        entry.recv.keep(first);
        self.streams.insert(stream, entry);
        self.theirs += 1;
        self.waiting.push_back(stream);
        wake(&mut self.acceptor);
        Ok(())
    }

    /// Appends frames to send to `out`, about `most_bytes` bytes.
    pub(crate) fn take(&mut self, most_bytes: usize, out: &mut VecDeque<Vec<u8>>) {
        let mut taken = 0;
        // Control messages go first: no OPEN may arrive before the welcome that allows it.
        while self.send_order.control() {
            taken += self.take_from(CONTROL, out);
        }
        if !self.urgent.is_empty() {
            taken += self.urgent.len();
            out.push_back(std::mem::take(&mut self.urgent));
        }
        let mut fresh_bytes = 0;
        while taken < most_bytes {
            let Some(Next { stream, is_fresh }) =
                self.send_order.next(fresh_bytes <= most_bytes / 2)
            else {
                break;
            };
            let bytes = self.take_from(stream, out);
            taken += bytes;
            if is_fresh {
                fresh_bytes += bytes;
                self.list_again(stream);
            }
        }
        if self.queued_bytes < SESSION_QUEUE_BYTES {
            for stream in std::mem::take(&mut self.starved) {
                if let Some(entry) = self.streams.get_mut(&stream) {
                    entry.send.starved = false;
                    wake(&mut entry.send.writer);
                }
            }
        }
    }

    /// Takes one chunk of a stream, and its FIN if that was the last.
    fn take_from(&mut self, stream: u32, out: &mut VecDeque<Vec<u8>>) -> usize {
        let Some(entry) = self.streams.get_mut(&stream) else {
            return 0;
        };
        entry.send.listed = false;
        let mut taken = 0;
        if let Some(mut chunk) = entry.send.chunks.pop_front() {
            let length = chunk.len() - HEADER_BYTES;
            let header = Header {
                kind: FrameKind::Data,
                stream,
                length,
            }
            .encode();
            if let Some(room) = chunk.first_chunk_mut::<HEADER_BYTES>() {
                *room = header;
            }
            entry.send.queued_bytes -= length;
            self.queued_bytes -= length;
            taken = chunk.len();
            out.push_back(chunk);
            if entry.send.queued_bytes <= STREAM_QUEUE_BYTES / 2 {
                wake(&mut entry.send.writer);
            }
        }
        if !entry.send.chunks.is_empty() {
            self.list_again(stream);
        } else if entry.send.state == Sending::Finishing {
            entry.send.state = Sending::Finished;
            out.push_back(
                Header {
                    kind: FrameKind::Fin,
                    stream,
                    length: 0,
                }
                .encode()
                .to_vec(),
            );
            taken += HEADER_BYTES;
            self.forget_if_over(stream);
        }
        taken
    }

    /// Whether there is anything to send.
    pub(crate) fn has_output(&self) -> bool {
        !self.urgent.is_empty() || !self.send_order.is_empty()
    }

    /// Sets the driver's waker, for when there is something to send.
    pub(crate) fn set_driver(&mut self, waker: &Waker) {
        match &mut self.driver {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    /// The driver's waker, if the driver must be woken. Wake it after the lock is released.
    #[must_use]
    pub(crate) fn driver_to_wake(&mut self) -> Option<Waker> {
        let resumed = std::mem::take(&mut self.resumed);
        if self.has_output() || self.lost || resumed {
            self.driver.take()
        } else {
            None
        }
    }

    /// Ends the carrier and all of its streams. Data that has arrived can still be read.
    pub(crate) fn lose(&mut self) {
        self.lost = true;
        self.urgent = Vec::new();
        self.send_order.clear();
        self.starved.clear();
        self.queued_bytes = 0;
        wake(&mut self.acceptor);
        self.streams.retain(|_, entry| entry.held);
        for entry in self.streams.values_mut() {
            entry.send.drop_queue();
            entry.wake_all();
        }
    }

    pub(crate) const fn is_lost(&self) -> bool {
        self.lost
    }

    fn list(&mut self, stream: u32) {
        let Some(entry) = self.streams.get_mut(&stream) else {
            return;
        };
        if !std::mem::replace(&mut entry.send.listed, true) {
            self.send_order.begin(stream);
        }
    }

    /// Lists a stream that was just served, behind the others.
    fn list_again(&mut self, stream: u32) {
        let Some(entry) = self.streams.get_mut(&stream) else {
            return;
        };
        if !std::mem::replace(&mut entry.send.listed, true) {
            self.send_order.again(stream);
        }
    }

    fn forget_if_over(&mut self, stream: u32) {
        let over = self.streams.get(&stream).is_some_and(|entry| {
            let sent = matches!(entry.send.state, Sending::Finished | Sending::Over);
            !entry.held && (self.lost || (sent && (entry.recv.is_over() || entry.recv.stopped)))
        });
        if over && self.streams.remove(&stream).is_some() && self.side.peer().opens(stream) {
            self.theirs -= 1;
        }
    }
}

impl Entry {
    /// How the stream was reset or stopped, if it was.
    fn broken(&self) -> Option<Broken> {
        self.recv.reset.or(self.send.stopped).map(Broken::Reset)
    }

    /// Whether the peer has not finished it, and was not asked to.
    fn may_be_stopped(&self) -> bool {
        !self.recv.is_over() && !self.recv.stopped
    }

    fn wake_all(&mut self) {
        wake(&mut self.recv.reader);
        wake(&mut self.send.writer);
        wake(&mut self.watcher);
    }
}

impl Outgoing {
    /// Appends at most `room` bytes to the queue.
    fn copy_in(&mut self, bufs: &[IoSlice<'_>], room: usize, most_payload: usize) -> usize {
        let mut left = room;
        for buf in bufs {
            let mut bytes = buf.get(..buf.len().min(left)).unwrap_or_default();
            left -= bytes.len();
            while !bytes.is_empty() {
                let tail = self.tail(bytes.len(), most_payload);
                let fits = bytes
                    .len()
                    .min((HEADER_BYTES + most_payload).saturating_sub(tail.len()));
                let (part, rest) = bytes.split_at(fits);
                tail.extend_from_slice(part);
                bytes = rest;
            }
        }
        self.queued_bytes += room - left;
        room - left
    }

    /// The chunk to append to.
    fn tail(&mut self, wanted: usize, most_payload: usize) -> &mut Vec<u8> {
        let full = self
            .chunks
            .back()
            .is_none_or(|tail| tail.len() >= HEADER_BYTES + most_payload);
        if full {
            let mut chunk = Vec::with_capacity(HEADER_BYTES + wanted.min(most_payload));
            chunk.resize(HEADER_BYTES, 0);
            self.chunks.push_back(chunk);
        }
        let last = self.chunks.len() - 1;
        &mut self.chunks[last]
    }

    /// Discards what is queued, and returns how many bytes that was.
    fn drop_queue(&mut self) -> usize {
        self.chunks.clear();
        std::mem::take(&mut self.queued_bytes)
    }
}

impl Incoming {
    /// Whether nothing more can arrive.
    const fn is_over(&self) -> bool {
        self.fin || self.reset.is_some()
    }

    /// Small payloads share a chunk, so that the peer's frame sizes do not decide how much memory
    /// they take.
    fn keep(&mut self, payload: Vec<u8>) {
        match self.chunks.back_mut() {
            _ if payload.is_empty() => {}
            Some(tail) if tail.len() + payload.len() <= SMALL_CHUNK_BYTES => {
                tail.extend_from_slice(&payload)
            }
            _ => self.chunks.push_back(payload),
        }
    }

    /// Bytes that have arrived and were not read.
    fn unread(&self) -> usize {
        let held: usize = self.chunks.iter().map(Vec::len).sum();
        if held == 0 { 0 } else { held - self.read }
    }

    fn copy_out(&mut self, buf: &mut [u8]) -> usize {
        let mut filled = 0;
        while let Some(chunk) = self.chunks.front().filter(|_| filled < buf.len()) {
            let bytes = chunk.get(self.read..).unwrap_or_default();
            let n = bytes.len().min(buf.len() - filled);
            if let (Some(to), Some(from)) = (buf.get_mut(filled..filled + n), bytes.get(..n)) {
                to.copy_from_slice(from);
            }
            filled += n;
            if n == bytes.len() {
                self.chunks.pop_front();
                self.read = 0;
            } else {
                self.read += n;
            }
        }
        filled
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

mod invariants;
mod send_order;
#[cfg(test)]
mod tests;
