//! Block: heads and trailers that arrive (RFC 9113 sections 4.3 and 8.1).

use byway_head::{
    FieldSink, Framed, Malformed, RequestBuilder, RequestHead, Response, ResponseBuilder,
    ResponseHead, Section, Span, TrailersBuilder, Version,
};

use super::Connection;
use crate::abuse::Cost;
use crate::error::{ConnectionError, ErrorCode};
use crate::event::{Event, StreamId};
use crate::frame::{FrameHeader, MAX_FRAME_BYTES, flag, split_number, without_padding};
use crate::hpack::HpackError;
use crate::priority::Priority;
use crate::role::Role;
use crate::stream::{Half, Method, ResetBy};

/// How much larger than its limit the text of a head may be until the connection ends.
const DECODED: usize = 4;

/// Trailers of at most this length are taken however much text the connection holds.
const SPARED_TRAILERS_BYTES: usize = 1024;

/// A field block that continues in other frames.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// Its stream; 0 if there is none.
    number: u32,
    bytes: Vec<u8>,
    continuations: u32,
    end: bool,
    depends_on_itself: bool,
}

impl Block {
    pub(super) fn is_open(&self) -> bool {
        self.number != 0
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    pub(super) fn trim(&mut self) {
        if !self.is_open() {
            self.bytes = Vec::new();
        }
    }
}

/// What a block says beside its fields.
#[derive(Clone, Copy)]
struct Meta {
    number: u32,
    end: bool,
    depends_on_itself: bool,
}

/// Fields that nobody reads: they are decoded for the table's sake.
struct Discard<'a>(&'a mut Vec<u8>);

impl FieldSink for Discard<'_> {
    fn text(&mut self) -> &mut Vec<u8> {
        self.0
    }

    fn field(&mut self, _name: Span, _value: Span) {
        self.0.clear();
    }
}

impl Connection {
    /// The request of the last [`Event::Head`], by exchange: `head` and `text` get it, and what they
    /// were is memory for the next one.
    pub fn take_request(&mut self, head: &mut RequestHead, text: &mut Vec<u8>) {
        std::mem::swap(&mut self.request, head);
        std::mem::swap(&mut self.text, text);
    }

    /// The response of the last [`Event::Head`], by exchange as in
    /// [`take_request`](Self::take_request).
    pub fn take_response(&mut self, head: &mut ResponseHead, text: &mut Vec<u8>) {
        std::mem::swap(&mut self.response, head);
        std::mem::swap(&mut self.text, text);
    }

    /// The trailers of the last [`Event::Trailers`], by exchange as in
    /// [`take_request`](Self::take_request). [`byway_head::Trailers::new`] reads them.
    pub fn take_trailers(&mut self, section: &mut Section, text: &mut Vec<u8>) {
        std::mem::swap(&mut self.trailers, section);
        std::mem::swap(&mut self.text, text);
    }

    /// The response of the last [`Event::Head`].
    pub fn response(&self) -> Response<'_> {
        self.response.view(&self.text)
    }

    pub(super) fn receive_headers(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
    ) -> Result<Option<Event>, ConnectionError> {
        if header.stream == 0 {
            return Err(ConnectionError::protocol("HEADERS without a stream"));
        }
        let mut fragment = without_padding(header, payload)
            .ok_or(ConnectionError::protocol("more padding than payload"))?;
        let mut parent = None;
        if header.has(flag::PRIORITY) {
            let Some((number, [_weight, rest @ ..])) = split_number(fragment) else {
                return Err(ConnectionError::frame_size("HEADERS of a wrong length"));
            };
            (parent, fragment) = (Some(number), rest);
        }
        let meta = Meta {
            number: header.stream,
            end: header.has(flag::END_STREAM),
            depends_on_itself: parent == Some(header.stream),
        };
        if header.has(flag::END_HEADERS) {
            return self.decode(meta, fragment);
        }
        self.block.number = meta.number;
        (self.block.end, self.block.depends_on_itself) = (meta.end, meta.depends_on_itself);
        self.block.continuations = 0;
        self.block.bytes.clear();
        self.block.bytes.extend_from_slice(fragment);
        Ok(None)
    }

    pub(super) fn receive_continuation(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
    ) -> Result<Option<Event>, ConnectionError> {
        let calm = |reason| Err(ConnectionError::new(ErrorCode::ENHANCE_YOUR_CALM, reason));
        self.abuse.charge(Cost::Continuation, self.now)?;
        self.block.continuations += 1;
        if payload.is_empty() {
            return calm("an empty CONTINUATION");
        }
        if self.block.continuations > self.limits.continuation_frames {
            return calm("too many CONTINUATION frames");
        }
        let most = self.limits.head.head_bytes.max(MAX_FRAME_BYTES);
        if self.block.bytes.len() + payload.len() > most {
            return calm("a field block that is too long");
        }
        self.block.bytes.extend_from_slice(payload);
        if !header.has(flag::END_HEADERS) {
            return Ok(None);
        }
        let meta = Meta {
            number: std::mem::take(&mut self.block.number),
            end: self.block.end,
            depends_on_itself: self.block.depends_on_itself,
        };
        let bytes = std::mem::take(&mut self.block.bytes);
        let event = self.decode(meta, &bytes);
        self.block.bytes = bytes;
        event
    }

    /// A whole block.
    fn decode(&mut self, meta: Meta, block: &[u8]) -> Result<Option<Event>, ConnectionError> {
        self.text.clear();
        if let Some(id) = self.streams.find(meta.number) {
            return self.decode_on_stream(id, meta, block);
        }
        if self.role == Role::Server && !self.is_idle(meta.number) {
            // Its stream has ended, or was never used.
            self.discard(block)?;
            self.check_ended(meta.number)?;
            return Ok(None);
        }
        match self.role {
            Role::Server if meta.number.is_multiple_of(2) => Err(ConnectionError::protocol(
                "HEADERS on a stream with an even number",
            )),
            Role::Server => self.decode_request(meta, block),
            Role::Client => {
                self.discard(block)?;
                self.check_ended(meta.number)?;
                Ok(None)
            }
        }
    }

    /// The head of a new stream.
    fn decode_request(
        &mut self,
        meta: Meta,
        block: &[u8],
    ) -> Result<Option<Event>, ConnectionError> {
        if self.excludes(meta.number) {
            self.discard(block)?;
            self.abuse.charge(Cost::Late, self.now)?;
            return Ok(None);
        }
        self.highest = meta.number;
        let early = self.take_early_priority(meta.number);
        if self.streams.len() >= self.limits.streams as usize {
            self.discard(block)?;
            // Until the settings are acknowledged, the client cannot know the limit.
            match self.free_refusals.checked_sub(1) {
                Some(left) if self.settings_due.is_some() => self.free_refusals = left,
                _ => self.abuse.charge(Cost::Refused, self.now)?,
            }
            self.refuse(meta.number, ErrorCode::REFUSED_STREAM);
            return Ok(None);
        }
        if let Some(cost) = self.excess() {
            self.discard(block)?;
            self.abuse.charge(cost, self.now)?;
            self.refuse(meta.number, ErrorCode::REFUSED_STREAM);
            return Ok(None);
        }
        if meta.depends_on_itself {
            self.discard(block)?;
            self.abuse.charge(Cost::Violation, self.now)?;
            self.refuse(meta.number, ErrorCode::PROTOCOL_ERROR);
            return Ok(None);
        }
        let limits = &self.limits.head;
        let mut builder =
            RequestBuilder::new(Version::Http2, &mut self.request, &mut self.text, limits)
                .allow_protocol(self.limits.extended_connect);
        let decoded = self.decoder.decode(
            block,
            limits.head_bytes.saturating_mul(DECODED),
            &mut builder,
        );
        decoded.map_err(block_error)?;
        let built = builder.finish(meta.end);
        if built.is_err() {
            self.abuse.charge(Cost::Malformed, self.now)?;
        }
        if let Err(error) = &built
            && !is_answered(error)
        {
            self.refuse(meta.number, ErrorCode::PROTOCOL_ERROR);
            let error = error.clone();
            return Ok(Some(Event::Malformed { id: None, error }));
        }
        let mut stream = self.new_stream(meta.number);
        stream.is_unacceptable = built.is_err();
        stream.remote = if meta.end { Half::Ended } else { Half::Body };
        if built.is_ok() {
            stream.text = self.text.len();
            self.held_text += stream.text;
            let request = self.request.view(&self.text);
            stream.method = Method::of(request.method());
            if let (Framed::Length(length), false) = (request.framing(), meta.end) {
                stream.expected = Some(length);
            }
            // A PRIORITY_UPDATE is newer than the field.
            let said = early.or_else(|| request.field("priority").map(Priority::parse));
            stream.priority = said.unwrap_or_default();
        }
        let (id, end) = (self.streams.insert(stream), meta.end);
        Ok(Some(match built {
            Ok(()) => Event::Head { id, end },
            Err(error) => Event::Unacceptable { id, error, end },
        }))
    }

    /// A block on a stream that has begun: the head of a response, or trailers.
    fn decode_on_stream(
        &mut self,
        id: StreamId,
        meta: Meta,
        block: &[u8],
    ) -> Result<Option<Event>, ConnectionError> {
        let state = self
            .streams
            .get(id)
            .map(|stream| (stream.reset, stream.remote));
        let fault = match state {
            None => return self.discard(block).map(|()| None),
            Some((Some(ResetBy::Us), _)) => {
                self.discard(block)?;
                self.abuse.charge(Cost::Late, self.now)?;
                return Ok(None);
            }
            Some((Some(ResetBy::Peer), _)) => Some("HEADERS after RST_STREAM"),
            Some((None, Half::Ended)) => Some("HEADERS after END_STREAM"),
            Some((None, _)) => None,
        };
        if let Some(reason) = fault {
            self.discard(block)?;
            return self.stream_error(id, ErrorCode::STREAM_CLOSED, reason);
        }
        match state {
            Some((None, Half::Head)) => self.decode_response(id, meta, block),
            _ => self.decode_trailers(id, meta, block),
        }
    }

    fn decode_response(
        &mut self,
        id: StreamId,
        meta: Meta,
        block: &[u8],
    ) -> Result<Option<Event>, ConnectionError> {
        let limits = &self.limits.head;
        let mut builder =
            ResponseBuilder::new(Version::Http2, &mut self.response, &mut self.text, limits);
        let decoded = self.decoder.decode(
            block,
            limits.head_bytes.saturating_mul(DECODED),
            &mut builder,
        );
        decoded.map_err(block_error)?;
        if let Err(error) = builder.finish(meta.end) {
            return self.malformed(id, error);
        }
        let response = self.response.view(&self.text);
        let Some(stream) = self.streams.get_mut(id) else {
            return Ok(None);
        };
        let status = response.status();
        if status >= 200 {
            let is_tunnel = stream.method == Method::Connect && status < 300;
            let framed = response.framing(stream.method.name());
            stream.expected = match framed {
                _ if is_tunnel => None,
                Ok(Framed::None) => Some(0),
                Ok(Framed::Length(length)) => Some(length),
                Ok(_) => None,
                Err(error) => return self.malformed(id, error),
            };
            stream.remote = Half::Body;
        }
        if meta.end {
            if stream.expected.is_some_and(|length| length > 0) {
                return self.malformed(id, Malformed::LengthInvalid);
            }
            self.note_remote_end(id);
        }
        let end = meta.end;
        Ok(Some(Event::Head { id, end }))
    }

    fn decode_trailers(
        &mut self,
        id: StreamId,
        meta: Meta,
        block: &[u8],
    ) -> Result<Option<Event>, ConnectionError> {
        let limits = &self.limits.head;
        let mut builder = TrailersBuilder::new(&mut self.trailers, &mut self.text, limits);
        let decoded = self.decoder.decode(
            block,
            limits.head_bytes.saturating_mul(DECODED),
            &mut builder,
        );
        decoded.map_err(block_error)?;
        let built = builder.finish();
        if !meta.end {
            let reason = "a second head, or trailers without END_STREAM";
            return self.stream_error(id, ErrorCode::PROTOCOL_ERROR, reason);
        }
        if let Err(error) = built {
            return self.malformed(id, error);
        }
        let expected = self.streams.get(id).and_then(|stream| stream.expected);
        if expected.is_some_and(|rest| rest > 0) {
            let reason = "a body of another length than its head says";
            return self.stream_error(id, ErrorCode::PROTOCOL_ERROR, reason);
        }
        if self.text.len() > SPARED_TRAILERS_BYTES && self.excess().is_some() {
            let reason = "trailers beyond what a connection may hold";
            return self.stream_error(id, ErrorCode::ENHANCE_YOUR_CALM, reason);
        }
        if let Some(stream) = self.streams.get_mut(id) {
            stream.text += self.text.len();
            self.held_text += self.text.len();
        }
        self.note_remote_end(id);
        Ok(Some(Event::Trailers { id }))
    }

    /// What a further head costs while the connection holds too much for it.
    fn excess(&self) -> Option<Cost> {
        if self.role == Role::Client {
            return None;
        }
        if self.held_text > self.limits.text_bytes {
            return Some(Cost::Refused);
        }
        // The peer cannot know what the node holds of others.
        let held = self.held_text + self.held as usize;
        (self.text_allowance.is_some_and(|most| held > most)).then_some(Cost::Late)
    }

    /// Resets a stream whose message is malformed.
    fn malformed(
        &mut self,
        id: StreamId,
        error: Malformed,
    ) -> Result<Option<Event>, ConnectionError> {
        self.abuse.charge(Cost::Malformed, self.now)?;
        self.reset_frame(id.number, ErrorCode::PROTOCOL_ERROR);
        self.note_reset(id, ResetBy::Us);
        let id = Some(id);
        Ok(Some(Event::Malformed { id, error }))
    }

    /// Decodes a block that is not used.
    fn discard(&mut self, block: &[u8]) -> Result<(), ConnectionError> {
        let most = self.limits.head.head_bytes.saturating_mul(DECODED);
        self.decoder
            .decode(block, most, &mut Discard(&mut self.text))
            .map_err(block_error)
    }
}

/// Whether a request with this error is answered with its status. Others are reset (RFC 9113 section
/// 8.1.1).
fn is_answered(error: &Malformed) -> bool {
    error.status() != 400
}

/// The table is lost.
fn block_error(error: HpackError) -> ConnectionError {
    match error {
        HpackError::TooLarge { .. } => ConnectionError::new(
            ErrorCode::ENHANCE_YOUR_CALM,
            "a field block that is too large when it is decoded",
        ),
        _ => ConnectionError::new(
            ErrorCode::COMPRESSION_ERROR,
            "a field block that cannot be decoded",
        ),
    }
}
