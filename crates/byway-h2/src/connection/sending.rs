//! Sending: heads, data, trailers and resets of streams.

use byway_head::{Field, HeadOut, Malformed, Scheme};

use super::Connection;
use super::shutdown::Stage;
use super::turns::SENSIBLE_BYTES;
use crate::error::ErrorCode;
use crate::event::StreamId;
use crate::frame::{MAX_FRAME_BYTES, flag, kind};
use crate::head_writer::HeadWriter;
use crate::hpack;
use crate::role::Role;
use crate::stream::{Half, Method, ResetBy, Stream, Wait};

/// Streams that a client opens before it knows how many the peer allows.
const STREAMS_BEFORE_SETTINGS: u32 = 100;
/// The highest number of a stream.
const LAST_NUMBER: u32 = 0x7fff_ffff;

/// What a head begins with: for a request, what only HTTP/2 says.
#[derive(Clone, Copy)]
struct Block<'a> {
    scheme: Scheme,
    protocol: Option<&'a [u8]>,
}

impl Connection {
    /// Whether a client may open a stream now: the connection goes on, and neither side's limit of
    /// streams is reached.
    pub fn can_open(&self) -> bool {
        self.free_streams() > 0
    }

    /// How many streams a client may open now.
    pub fn free_streams(&self) -> usize {
        let goes_on = self.closing.stage == Stage::Open && self.closing.peer_last.is_none();
        if self.role != Role::Client || !goes_on || self.highest >= LAST_NUMBER {
            return 0;
        }
        let peer = match self.peer.arrived {
            true => self.peer.streams,
            false => STREAMS_BEFORE_SETTINGS,
        };
        (self.limits.streams.min(peer) as usize).saturating_sub(self.streams.len())
    }

    /// Opens a stream and queues the request head that `write` writes. Returns none and calls
    /// nothing if no stream [can be opened](Self::can_open). `end`: the request has no body; it may
    /// also end later. `protocol` makes it an extended CONNECT; the peer must
    /// [allow](crate::PeerSettings::extended_connect) that.
    ///
    /// # Errors
    /// Those of `write`; nothing is queued then.
    pub fn open<E>(
        &mut self,
        scheme: Scheme,
        protocol: Option<&[u8]>,
        end: bool,
        write: impl FnOnce(&mut HeadWriter<'_>) -> Result<(), E>,
    ) -> Result<Option<StreamId>, E> {
        if !self.can_open() {
            return Ok(None);
        }
        let number = if self.highest == 0 {
            1
        } else {
            self.highest + 2
        };
        let block = Block { scheme, protocol };
        let (method, place) = self.block(number, block, flag_of(end), write)?;
        self.highest = number;
        let mut stream = self.new_stream(number);
        stream.method = match protocol {
            Some(_) => Method::Connect,
            None => method,
        };
        stream.local = if end { Half::Ended } else { Half::Body };
        stream.last_frame = Some(place);
        Ok(Some(self.streams.insert(stream)))
    }

    /// Queues the head of a response that `write` writes. `interim`: another head follows it (1xx).
    /// That nothing follows a final head is said by an empty [`send`](Self::send) with `end`, which
    /// makes no frame of its own as long as the head has not been written. Queues nothing if the
    /// stream was reset or a final head was sent.
    ///
    /// The backlog does not limit heads: check [`is_congested`](Self::is_congested) before long ones
    /// that could wait.
    ///
    /// # Errors
    /// Those of `write`; nothing is queued then.
    pub fn head<E>(
        &mut self,
        id: StreamId,
        interim: bool,
        write: impl FnOnce(&mut HeadWriter<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if !self.can_send(id, Half::Head) {
            return Ok(());
        }
        let (_, place) = self.block(id.number, RESPONSE, 0, write)?;
        if let Some(stream) = self.streams.get_mut(id)
            && !interim
        {
            stream.local = Half::Body;
            stream.last_frame = Some(place);
        }
        Ok(())
    }

    /// Queues data of a body, as much as the windows, the backlog and the turns of other streams
    /// admit. Returns how much that was. If it was not all, the stream waits:
    /// [`next_turn`](Self::next_turn) returns it once it may send more. `end`: the message ends with
    /// this data; it does only if all of it was queued. Without data it always does.
    ///
    /// Returns 0 if the stream was reset or its message has ended; the head must have been sent.
    pub fn send(&mut self, id: StreamId, data: &[u8], end: bool) -> usize {
        if !self.can_send(id, Half::Body) {
            return 0;
        }
        let sent = match data {
            [] => 0,
            _ => self.admit(id, data.len()),
        };
        self.data_frames(id, data.get(..sent).unwrap_or_default());
        if end && sent == data.len() {
            self.end_message(id);
        }
        sent
    }

    /// Ends a message with trailers, or without if there are none. All data must have been sent.
    ///
    /// # Errors
    /// If a trailer cannot be written. Nothing is queued then.
    pub fn trailers<'t>(
        &mut self,
        id: StreamId,
        fields: impl IntoIterator<Item = Field<'t>>,
    ) -> Result<(), Malformed> {
        if !self.can_send(id, Half::Body) {
            return Ok(());
        }
        let mut fields = fields.into_iter().peekable();
        if fields.peek().is_none() {
            self.end_message(id);
            return Ok(());
        }
        self.block(id.number, RESPONSE, flag::END_STREAM, |out| {
            fields.try_for_each(|field| out.field(field.name, field.value))
        })?;
        self.note_end(id);
        Ok(())
    }

    /// Ends a stream before its end, in both directions. Does nothing if it has ended. The slot is
    /// freed by [`release`](Self::release).
    pub fn reset(&mut self, id: StreamId, code: ErrorCode) {
        if self.streams.get(id).is_none_or(Stream::is_closed) {
            return;
        }
        self.reset_frame(id.number, code);
        self.note_reset(id, ResetBy::Us);
    }

    /// The work for a stream has ended: its slot is free again. Resets it if it has not ended: with
    /// NO_ERROR if only the body of a request is missing whose response is complete, otherwise with
    /// CANCEL (client) or INTERNAL_ERROR (server).
    pub fn release(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get(id) else {
            return;
        };
        let code = match (self.role, stream.local) {
            (Role::Server, Half::Ended) => ErrorCode::NO_ERROR,
            (Role::Server, _) => ErrorCode::INTERNAL_ERROR,
            (Role::Client, _) => ErrorCode::CANCEL,
        };
        self.reset(id, code);
        self.stop_waiting(id);
        let Some(stream) = self.streams.remove(id) else {
            return;
        };
        if stream.reset.is_some() {
            self.streams.remember_reset(stream.number);
        }
        self.held_text -= stream.text;
        self.return_held(stream.receive.held());
    }

    /// Whether frames wait that are more than the backlog should have: nothing is read, and data is
    /// not admitted.
    pub fn is_congested(&self) -> bool {
        self.out.len() > self.limits.backlog_bytes
    }

    /// Whether this part of a message may follow on a stream.
    fn can_send(&self, id: StreamId, part: Half) -> bool {
        let may_follow = |stream: &Stream| stream.reset.is_none() && stream.local == part;
        self.closing.stage != Stage::Closed && self.streams.get(id).is_some_and(may_follow)
    }

    pub(super) fn new_stream(&self, number: u32) -> Stream {
        Stream::new(
            number,
            self.peer.window_bytes,
            self.limits.stream_window_bytes,
        )
    }

    /// The bytes of `len` that may be sent now. If not all, the stream waits.
    fn admit(&mut self, id: StreamId, len: usize) -> usize {
        let (free, room) = (self.free_room(), self.room());
        let nobody_waits = self.waiting.is_empty();
        let may_dribble = self.may_dribble;
        let Some(stream) = self.streams.get_mut(id) else {
            return 0;
        };
        let sensible = len.min(SENSIBLE_BYTES);
        let window = stream.window.bytes().min(len);
        let share = match stream.grant {
            0 if nobody_waits => free,
            0 => 0,
            grant => grant.min(room),
        };
        let had_turn = stream.grant > 0;
        let fits = |bytes: usize, small: bool| bytes >= sensible || (small && bytes > 0);
        let n = match fits(window, stream.may_dribble) && fits(share, may_dribble) {
            true => window.min(share),
            false => 0,
        };
        stream.window.sent(n);
        let used = stream.grant.min(n);
        stream.grant -= used;
        self.granted_bytes -= used;
        if n > 0 {
            stream.may_dribble = false;
            self.may_dribble = false;
            self.send_window.sent(n);
        }
        if n < len {
            self.wait(id, len - n, had_turn && n > 0);
        } else {
            self.end_turn(id);
            self.stop_waiting(id);
        }
        n
    }

    /// A stream waits to send `rest` bytes.
    fn wait(&mut self, id: StreamId, rest: usize, had_turn: bool) {
        self.end_turn(id);
        let connection_window = self.send_window.bytes();
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        let wanted = rest.min(SENSIBLE_BYTES);
        stream.wanted = wanted as u32;
        let is_tiny = |window: usize| window > 0 && window < wanted;
        let window = stream.window.bytes();
        if window < wanted && !(stream.may_dribble && window > 0) {
            let (was, priority) = (stream.wait, stream.priority);
            stream.wait = Wait::Window;
            if was == Wait::Turn {
                self.waiting.remove(id.slot, priority);
            }
            if is_tiny(window) {
                self.wait_for_window();
            }
            return;
        }
        if stream.wait != Wait::Turn {
            stream.wait = Wait::Turn;
            match had_turn && !stream.priority.incremental {
                true => self.waiting.push_first(id.slot, stream.priority),
                false => self.waiting.push(id.slot, stream.priority),
            }
        }
        if is_tiny(connection_window) {
            self.wait_for_window();
        }
    }

    /// A stream that waits for nothing any more.
    fn stop_waiting(&mut self, id: StreamId) {
        self.end_turn(id);
        if let Some(stream) = self.streams.get_mut(id) {
            if stream.wait == Wait::Turn {
                self.waiting.remove(id.slot, stream.priority);
            }
            stream.wait = Wait::No;
        }
    }

    /// Queues data that has been admitted.
    fn data_frames(&mut self, id: StreamId, mut data: &[u8]) {
        self.abuse.moved(data.len());
        if let Some((number, place)) = self.last_data
            && number == id.number
        {
            let n = self.out.extend_last(place, data, MAX_FRAME_BYTES);
            data = data.get(n..).unwrap_or_default();
        }
        while !data.is_empty() {
            let (part, rest) = data.split_at(data.len().min(MAX_FRAME_BYTES));
            let place = self.out.frame(kind::DATA, 0, id.number, part);
            self.last_data = Some((id.number, place));
            if let Some(stream) = self.streams.get_mut(id) {
                stream.last_frame = Some(place);
            }
            data = rest;
        }
    }

    /// Ends a message without trailers: by a flag of its last frame, if that has not been written.
    fn end_message(&mut self, id: StreamId) {
        let last = self.streams.get(id).and_then(|stream| stream.last_frame);
        if !last.is_some_and(|place| self.out.add_flags(place, flag::END_STREAM)) {
            self.frame(kind::DATA, flag::END_STREAM, id.number, &[]);
        }
        self.last_data = None;
        self.note_end(id);
    }

    fn note_end(&mut self, id: StreamId) {
        self.stop_waiting(id);
        if let Some(stream) = self.streams.get_mut(id) {
            stream.local = Half::Ended;
            if stream.has_earned() {
                self.abuse.completed();
            }
        }
    }

    /// Queues a field block.
    fn block<E>(
        &mut self,
        number: u32,
        begin: Block<'_>,
        flags: u8,
        write: impl FnOnce(&mut HeadWriter<'_>) -> Result<(), E>,
    ) -> Result<(Method, crate::out::Place), E> {
        let place = self.out.begin_block();
        let block = hpack::HeadWriter::new(&mut self.encoder, self.out.buffer())
            .scheme(begin.scheme)
            .protocol(begin.protocol);
        let mut head = HeadWriter::new(block);
        if let Err(error) = write(&mut head) {
            self.out.truncate(place);
            return Err(error);
        }
        let method = head.finish();
        self.last_data = None;
        self.out.end_block(place, flags, number, MAX_FRAME_BYTES);
        Ok((method, place))
    }

    pub(super) fn reset_frame(&mut self, number: u32, code: ErrorCode) {
        self.frame(kind::RST_STREAM, 0, number, &code.0.to_be_bytes());
    }

    /// Notes that a stream is over before its end.
    pub(super) fn note_reset(&mut self, id: StreamId, by: ResetBy) {
        self.stop_waiting(id);
        if let Some(stream) = self.streams.get_mut(id) {
            stream.reset = Some(by);
        }
    }
}

/// The block of a response or of trailers has nothing of its own.
const RESPONSE: Block<'static> = Block {
    scheme: Scheme::Http,
    protocol: None,
};

fn flag_of(end: bool) -> u8 {
    if end { flag::END_STREAM } else { 0 }
}
