//! Frame: the WebSocket frame (RFC 6455 section 5), as bytes and as a type.
//!
//! In:    the bytes that have arrived.
//! Out:   a frame and how many bytes it took, a request for more, or an error and its close code.
//! Never: takes a payload over [`MOST_PAYLOAD_BYTES`], or a frame without the masking that its
//!        sender's side requires.

/// The longest payload of one frame. A whole frame must fit the largest buffer of a connection.
pub(super) const MOST_PAYLOAD_BYTES: u64 = 128 * 1024;

/// The longest payload of a control frame (RFC 6455 section 5.5).
const MOST_CONTROL_BYTES: u64 = 125;

/// The type of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Opcode {
    fn read(bits: u8) -> Result<Self, BadFrame> {
        Ok(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            other => return Err(BadFrame::Opcode(other)),
        })
    }

    /// Whether it is a control frame: short, whole, and allowed between the fragments of a message.
    pub(super) fn is_control(self) -> bool {
        self as u8 >= Self::Close as u8
    }
}

/// Which side sent a frame. The side that connected masks all of its frames, the other none (RFC
/// 6455 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    Visitor,
    Origin,
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// Whether it is the last of its message.
    pub(super) fin: bool,
    pub(super) opcode: Opcode,
    pub(super) payload: Vec<u8>,
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadFrame {
    #[error("a reserved bit is set, and no extension was negotiated")]
    Reserved,
    #[error("opcode {0} is unknown")]
    Opcode(u8),
    #[error("a control frame is fragmented or longer than 125 bytes")]
    Control,
    #[error("a frame from the side that connected is not masked, or one from the other side is")]
    Mask,
    #[error("a length is not written in its shortest form")]
    Length,
    #[error("a frame of {0} bytes is longer than {MOST_PAYLOAD_BYTES}")]
    TooLarge(u64),
}

impl BadFrame {
    /// Its close code (RFC 6455 section 7.4.1).
    pub(super) fn close_code(self) -> u16 {
        match self {
            Self::TooLarge(_) => 1009,
            _ => 1002,
        }
    }
}

impl Frame {
    /// A message in one frame, or a control frame.
    pub(super) fn whole(opcode: Opcode, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            fin: true,
            opcode,
            payload: payload.into(),
        }
    }

    /// Reads one from the front of `buf`; `None`: there is not enough yet.
    ///
    /// # Errors
    /// [`BadFrame`], as soon as the bytes show it.
    pub(super) fn parse(buf: &[u8], from: Sender) -> Result<Option<(Self, usize)>, BadFrame> {
        let [first, second, rest @ ..] = buf else {
            return Ok(None);
        };
        if first & 0x70 != 0 {
            return Err(BadFrame::Reserved);
        }
        let (fin, opcode) = (first & 0x80 != 0, Opcode::read(first & 0x0f)?);
        if (second & 0x80 != 0) != (from == Sender::Visitor) {
            return Err(BadFrame::Mask);
        }
        let Some((length, rest)) = length(second & 0x7f, rest)? else {
            return Ok(None);
        };
        if opcode.is_control() && (length > MOST_CONTROL_BYTES || !fin) {
            return Err(BadFrame::Control);
        }
        if length > MOST_PAYLOAD_BYTES {
            return Err(BadFrame::TooLarge(length));
        }
        let (mask, rest) = match from {
            Sender::Origin => ([0; 4], rest),
            Sender::Visitor => match rest.split_first_chunk::<4>() {
                Some((mask, rest)) => (*mask, rest),
                None => return Ok(None),
            },
        };
        let Some(masked) = usize::try_from(length)
            .ok()
            .and_then(|length| rest.get(..length))
        else {
            return Ok(None);
        };
        let taken = buf.len() - rest.len() + masked.len();
        Ok(Some((
            Self {
                fin,
                opcode,
                payload: mask_with(mask, masked).collect(),
            },
            taken,
        )))
    }

    /// Appends its bytes. What the visitor sends is masked with a fresh mask.
    pub(super) fn encode(&self, from: Sender, out: &mut Vec<u8>) {
        let masked = if from == Sender::Visitor { 0x80 } else { 0 };
        out.push(if self.fin { 0x80 } else { 0 } | self.opcode as u8);
        let length = self.payload.len();
        match (u8::try_from(length), u16::try_from(length)) {
            (Ok(short @ ..=125), _) => out.push(masked | short),
            (_, Ok(medium)) => {
                out.push(masked | 126);
                out.extend(medium.to_be_bytes());
            }
            _ => {
                out.push(masked | 127);
                out.extend((length as u64).to_be_bytes());
            }
        }
        match from {
            Sender::Origin => out.extend_from_slice(&self.payload),
            Sender::Visitor => {
                let mask = fastrand::u32(..).to_be_bytes();
                out.extend(mask);
                out.extend(mask_with(mask, &self.payload));
            }
        }
    }
}

/// The payload length, and the bytes after it.
fn length(short: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, BadFrame> {
    let (length, rest, least) = match short {
        126 => match rest.split_first_chunk::<2>() {
            Some((bytes, rest)) => (u64::from(u16::from_be_bytes(*bytes)), rest, 126),
            None => return Ok(None),
        },
        127 => match rest.split_first_chunk::<8>() {
            Some((bytes, rest)) => (u64::from_be_bytes(*bytes), rest, 0x1_0000),
            None => return Ok(None),
        },
        short => (u64::from(short), rest, 0),
    };
    if length < least {
        return Err(BadFrame::Length);
    }
    Ok(Some((length, rest)))
}

/// Masks or unmasks (RFC 6455 section 5.3).
fn mask_with(mask: [u8; 4], bytes: &[u8]) -> impl Iterator<Item = u8> {
    bytes
        .iter()
        .zip(mask.into_iter().cycle())
        .map(|(byte, mask)| byte ^ mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames() -> Vec<Frame> {
        let mut frames = vec![
            Frame::whole(Opcode::Text, "Hello"),
            Frame {
                fin: false,
                opcode: Opcode::Binary,
                payload: vec![7; 125],
            },
            Frame::whole(Opcode::Continuation, vec![8; 126]),
            Frame::whole(Opcode::Ping, vec![]),
            Frame::whole(Opcode::Close, [3, 232]),
        ];
        frames
            .extend([65_535, 65_536, 128 * 1024].map(|n| Frame::whole(Opcode::Binary, vec![9; n])));
        frames
    }

    #[test]
    fn every_frame_is_read_as_it_was_written_by_either_side() {
        for from in [Sender::Visitor, Sender::Origin] {
            for frame in frames() {
                let mut bytes = Vec::new();
                frame.encode(from, &mut bytes);
                let length = bytes.len();
                bytes.extend(b"behind");
                assert_eq!(Frame::parse(&bytes, from), Ok(Some((frame, length))));
            }
        }
    }

    #[test]
    fn every_prefix_of_a_frame_requests_more() {
        for from in [Sender::Visitor, Sender::Origin] {
            for frame in frames()
                .into_iter()
                .filter(|frame| frame.payload.len() < 1000)
            {
                let mut bytes = Vec::new();
                frame.encode(from, &mut bytes);
                for split in 0..bytes.len() {
                    assert_eq!(
                        Frame::parse(&bytes[..split], from),
                        Ok(None),
                        "{frame:?} cut at {split}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_examples_of_rfc_6455_section_5_7_are_read() {
        let unmasked = [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
        let masked = [
            0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
        ];
        let hello = Frame::whole(Opcode::Text, "Hello");
        assert_eq!(
            Frame::parse(&unmasked, Sender::Origin),
            Ok(Some((hello.clone(), 7)))
        );
        assert_eq!(
            Frame::parse(&masked, Sender::Visitor),
            Ok(Some((hello, 11)))
        );
    }

    #[test]
    fn forbidden_frames_are_refused_with_their_close_code() {
        let too_large = [0x82, 0xff, 0, 0, 0, 0, 0, 2, 0, 1];
        for (bytes, bad, code) in [
            (&[0xc1, 0x80][..], BadFrame::Reserved, 1002),
            (&[0x83, 0x80], BadFrame::Opcode(3), 1002),
            (&[0x81, 0x05], BadFrame::Mask, 1002),
            (&[0x09, 0x80], BadFrame::Control, 1002),
            (&[0x89, 0xfe, 0, 126], BadFrame::Control, 1002),
            (&[0x82, 0xfe, 0, 125], BadFrame::Length, 1002),
            (
                &[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
                BadFrame::Length,
                1002,
            ),
            (&too_large, BadFrame::TooLarge(131_073), 1009),
        ] {
            assert_eq!(Frame::parse(bytes, Sender::Visitor), Err(bad));
            assert_eq!(bad.close_code(), code);
        }
        assert_eq!(
            Frame::parse(&[0x81, 0x85], Sender::Origin),
            Err(BadFrame::Mask)
        );
    }
}
