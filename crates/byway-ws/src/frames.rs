//! Frames: the state machine that both decoders share: heads, masks, the order of fragments and
//! limits.
//!
//! In:    unread bytes, which are unmasked in place.
//! Out:   ranges of payload, and control frames.
//! Never: stores more than an incomplete head and the payload of one control frame.

use std::ops::Range;

use crate::close::Close;
use crate::error::Malformed;
use crate::frame::{CONTROL_BYTES, FrameHead, HEAD_BYTES, Kind, Opcode};
use crate::limits::Limits;
use crate::mask::Mask;
use crate::role::Role;

#[derive(Clone, Debug)]
pub(crate) struct Frames {
    role: Role,
    limits: Limits,
    state: State,
    /// The head that is incomplete, if `head_len` is not 0.
    head: [u8; HEAD_BYTES],
    head_len: usize,
    /// The payload of the last control frame.
    control: [u8; CONTROL_BYTES],
    control_len: usize,
    /// The message that has started and not ended.
    message: Option<Open>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Head,
    /// In the payload of a data frame.
    Data {
        left: u64,
        fin: bool,
        mask: Option<Mask>,
    },
    /// In the payload of a control frame of this length.
    Control {
        control: Control,
        len: usize,
        mask: Option<Mask>,
    },
    /// After a close frame. What follows is ignored.
    Closed,
    Failed(Malformed),
}

#[derive(Clone, Copy, Debug)]
struct Open {
    kind: Kind,
    /// Bytes of the frames so far, as announced.
    bytes: u64,
    fragments: u32,
}

/// The opcodes of control frames.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Control {
    Ping,
    Pong,
    Close,
}

/// What a step found.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    /// Payload of the current message, now unmasked, as a range of the passed bytes. Empty only if
    /// it is the last.
    Data {
        kind: Kind,
        range: Range<usize>,
        is_last: bool,
    },
    /// A control frame, whose payload is in [`Frames::control`].
    Control(Control),
}

impl Frames {
    pub(crate) fn new(role: Role, limits: Limits) -> Self {
        Self {
            role,
            limits,
            state: State::Head,
            head: [0; HEAD_BYTES],
            head_len: 0,
            control: [0; CONTROL_BYTES],
            control_len: 0,
            message: None,
        }
    }

    /// Whether a close frame was read.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Whether the bytes so far end between two messages.
    pub(crate) fn is_between_messages(&self) -> bool {
        let is_between_frames = matches!(self.state, State::Head) && self.head_len == 0;
        self.is_closed() || is_between_frames && self.message.is_none()
    }

    /// The payload of the last control frame.
    pub(crate) fn control(&self) -> &[u8] {
        self.control.get(..self.control_len).unwrap_or_default()
    }

    /// The payload of the last control frame as that of a close frame.
    pub(crate) fn close(&mut self) -> Result<Option<Close<'_>>, Malformed> {
        let payload = self.control.get(..self.control_len).unwrap_or_default();
        Close::parse(payload).inspect_err(|error| self.state = State::Failed(*error))
    }

    /// Refuses what was read; every later step fails likewise.
    pub(crate) fn fail(&mut self, error: Malformed) -> Malformed {
        self.state = State::Failed(error);
        error
    }

    /// Reads up to the next part. Without a part, all bytes were read.
    pub(crate) fn step(&mut self, unread: &mut [u8]) -> Result<(usize, Option<Part>), Malformed> {
        self.step_once(unread).map_err(|error| self.fail(error))
    }

    fn step_once(&mut self, unread: &mut [u8]) -> Result<(usize, Option<Part>), Malformed> {
        let mut taken = 0;
        loop {
            let rest = unread.get_mut(taken..).unwrap_or_default();
            match self.state {
                State::Head => match self.read_head(rest)? {
                    (read, Some(head)) => {
                        taken += read;
                        self.state = self.start(&head)?;
                    }
                    (read, None) => return Ok((taken + read, None)),
                },
                State::Data { left, fin, mask } => {
                    let read = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    if read == 0 && left > 0 {
                        return Ok((taken, None));
                    }
                    let range = taken..taken + read;
                    taken += read;
                    let bytes = unread.get_mut(range.clone()).unwrap_or_default();
                    let part = self.read_data(bytes, left, fin, mask);
                    if let Some((kind, is_last)) = part {
                        let part = Part::Data {
                            kind,
                            range,
                            is_last,
                        };
                        return Ok((taken, Some(part)));
                    }
                }
                State::Control { control, len, mask } => {
                    let (read, is_whole) = self.read_control(rest, len, mask);
                    taken += read;
                    if !is_whole {
                        return Ok((taken, None));
                    }
                    self.state = match control {
                        Control::Close => State::Closed,
                        Control::Ping | Control::Pong => State::Head,
                    };
                    return Ok((taken, Some(Part::Control(control))));
                }
                State::Closed => return Ok((unread.len(), None)),
                State::Failed(error) => return Err(error),
            }
        }
    }

    /// Reads a head, from the stored start of it if it came in pieces.
    fn read_head(&mut self, bytes: &[u8]) -> Result<(usize, Option<FrameHead>), Malformed> {
        if self.head_len == 0
            && let Some((head, len)) = FrameHead::parse(bytes)?
        {
            return Ok((len, Some(head)));
        }
        let room = self.head.get_mut(self.head_len..).unwrap_or_default();
        let added = room.len().min(bytes.len());
        for (room, byte) in room.iter_mut().zip(bytes) {
            *room = *byte;
        }
        let stored = self.head.get(..self.head_len + added).unwrap_or_default();
        match FrameHead::parse(stored)? {
            Some((head, len)) => {
                let read = len.saturating_sub(self.head_len);
                self.head_len = 0;
                Ok((read, Some(head)))
            }
            None => {
                self.head_len += added;
                Ok((added, None))
            }
        }
    }

    /// Checks a head against the role, the message so far and the limits.
    fn start(&mut self, head: &FrameHead) -> Result<State, Malformed> {
        match (head.mask, self.role.peer().masks()) {
            (None, true) => return Err(Malformed::MaskMissing),
            (Some(_), false) => return Err(Malformed::MaskUnexpected),
            _ => {}
        }
        let mask = head.mask.map(Mask::new);
        let kind = match (head.opcode, &self.message) {
            (Opcode::Ping, _) => return Ok(self.start_control(Control::Ping, head, mask)),
            (Opcode::Pong, _) => return Ok(self.start_control(Control::Pong, head, mask)),
            (Opcode::Close, _) => return Ok(self.start_control(Control::Close, head, mask)),
            (Opcode::Continuation, Some(message)) => message.kind,
            (Opcode::Continuation, None) => return Err(Malformed::ContinuationUnexpected),
            (Opcode::Text | Opcode::Binary, Some(_)) => return Err(Malformed::MessageUnfinished),
            (Opcode::Text, None) => Kind::Text,
            (Opcode::Binary, None) => Kind::Binary,
        };
        self.message = Some(self.extended(kind, head.payload_bytes)?);
        Ok(State::Data {
            left: head.payload_bytes,
            fin: head.fin,
            mask,
        })
    }

    fn start_control(&mut self, control: Control, head: &FrameHead, mask: Option<Mask>) -> State {
        self.control_len = 0;
        State::Control {
            control,
            len: usize::try_from(head.payload_bytes).unwrap_or(CONTROL_BYTES),
            mask,
        }
    }

    /// The message with one more frame, if the limits allow it.
    fn extended(&self, kind: Kind, frame_bytes: u64) -> Result<Open, Malformed> {
        let limits = &self.limits;
        let (bytes, fragments) = self
            .message
            .map_or((0, 0), |open| (open.bytes, open.fragments));
        let bytes = bytes.saturating_add(frame_bytes);
        let fragments = fragments.saturating_add(1);
        if frame_bytes > limits.frame_bytes {
            let limit = limits.frame_bytes;
            return Err(Malformed::FrameTooLarge { limit });
        }
        if bytes > limits.message_bytes {
            let limit = limits.message_bytes;
            return Err(Malformed::MessageTooLarge { limit });
        }
        if fragments > limits.fragments {
            let limit = limits.fragments;
            return Err(Malformed::TooManyFragments { limit });
        }
        Ok(Open {
            kind,
            bytes,
            fragments,
        })
    }

    /// Unmasks `bytes` of a data frame. Returns the kind of the message and whether it ends here,
    /// or `None` if there is nothing to pass on.
    fn read_data(
        &mut self,
        bytes: &mut [u8],
        left: u64,
        fin: bool,
        mut mask: Option<Mask>,
    ) -> Option<(Kind, bool)> {
        if let Some(mask) = &mut mask {
            mask.apply(bytes);
        }
        let left = left.saturating_sub(bytes.len() as u64);
        self.state = match left {
            0 => State::Head,
            _ => State::Data { left, fin, mask },
        };
        let is_last = fin && left == 0;
        let kind = self.message.as_ref()?.kind;
        if is_last {
            self.message = None;
        }
        (is_last || !bytes.is_empty()).then_some((kind, is_last))
    }

    /// Stores payload of a control frame; the number of bytes read, and whether it is whole.
    fn read_control(&mut self, bytes: &[u8], len: usize, mask: Option<Mask>) -> (usize, bool) {
        let room = self
            .control
            .get_mut(self.control_len..len)
            .unwrap_or_default();
        let read = room.len().min(bytes.len());
        for (room, byte) in room.iter_mut().zip(bytes) {
            *room = *byte;
        }
        self.control_len += read;
        let is_whole = self.control_len >= len;
        if let (true, Some(mut mask)) = (is_whole, mask) {
            mask.apply(self.control.get_mut(..len).unwrap_or_default());
        }
        (read, is_whole)
    }
}
