//! Frame: the head of a frame, as bytes and as a type (RFC 6455 section 5.2).
//!
//! In:    the first bytes of a frame.
//! Out:   a head and its length, a request for more bytes, or an error as soon as it shows.
//! Never: looks at the payload.

use crate::error::Malformed;

/// The longest head of a frame: two bytes, a length of eight bytes, a mask of four.
pub const HEAD_BYTES: usize = 14;

/// The longest payload of a control frame (RFC 6455 section 5.5).
pub const CONTROL_BYTES: usize = 125;

/// The type of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// The next fragment of a message.
    Continuation = 0,
    /// A text, or its first fragment.
    Text = 1,
    /// A binary message, or its first fragment.
    Binary = 2,
    /// The last frame of its sender.
    Close = 8,
    /// A request for a [`Pong`](Self::Pong) with the same payload.
    Ping = 9,
    /// The answer to a [`Ping`](Self::Ping).
    Pong = 10,
}

/// The type of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// UTF-8.
    Text,
    /// Any bytes.
    Binary,
}

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// Whether the frame is the last of its message.
    pub fin: bool,
    /// The type of the frame.
    pub opcode: Opcode,
    /// The masking key, if the payload is masked.
    pub mask: Option<[u8; 4]>,
    /// The length of the payload, at most 2^63-1.
    pub payload_bytes: u64,
}

impl Opcode {
    fn parse(bits: u8) -> Result<Self, Malformed> {
        Ok(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            other => return Err(Malformed::Opcode(other)),
        })
    }

    /// Whether it is a control frame: short, never fragmented, and allowed between the fragments of
    /// a message.
    pub fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

impl From<Kind> for Opcode {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Text => Self::Text,
            Kind::Binary => Self::Binary,
        }
    }
}

impl FrameHead {
    /// Parses a head from the front of `bytes`: the head and its length, or `None` if it is
    /// incomplete.
    ///
    /// ```
    /// use byway_ws::{FrameHead, Opcode};
    ///
    /// let (head, len) = FrameHead::parse(b"\x81\x05Hello")?.expect("complete");
    /// assert_eq!((head.opcode, head.payload_bytes, len), (Opcode::Text, 5, 2));
    /// # Ok::<(), byway_ws::Malformed>(())
    /// ```
    ///
    /// # Errors
    /// A reserved bit, an unknown opcode, a control frame that is fragmented or too long, or a
    /// length that is not minimal or has its highest bit set.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, Malformed> {
        let Some((&first, rest)) = bytes.split_first() else {
            return Ok(None);
        };
        if first & 0x70 != 0 {
            return Err(Malformed::ReservedBit);
        }
        let (fin, opcode) = (first & 0x80 != 0, Opcode::parse(first & 0x0f)?);
        if opcode.is_control() && !fin {
            return Err(Malformed::ControlFragmented);
        }
        let Some((&second, rest)) = rest.split_first() else {
            return Ok(None);
        };
        if opcode.is_control() && usize::from(second & 0x7f) > CONTROL_BYTES {
            return Err(Malformed::ControlTooLong);
        }
        let Some((payload_bytes, rest)) = parse_length(second & 0x7f, rest)? else {
            return Ok(None);
        };
        let (mask, rest) = match second & 0x80 {
            0 => (None, rest),
            _ => match rest.split_first_chunk::<4>() {
                Some((mask, rest)) => (Some(*mask), rest),
                None => return Ok(None),
            },
        };
        let head = Self {
            fin,
            opcode,
            mask,
            payload_bytes,
        };
        Ok(Some((head, bytes.len() - rest.len())))
    }

    /// Appends the head.
    pub fn write(&self, out: &mut Vec<u8>) {
        let masked = if self.mask.is_some() { 0x80 } else { 0 };
        out.push(if self.fin { 0x80 } else { 0 } | self.opcode as u8);
        match (
            u8::try_from(self.payload_bytes),
            u16::try_from(self.payload_bytes),
        ) {
            (Ok(short @ ..=125), _) => out.push(masked | short),
            (_, Ok(medium)) => {
                out.push(masked | 126);
                out.extend_from_slice(&medium.to_be_bytes());
            }
            _ => {
                out.push(masked | 127);
                out.extend_from_slice(&self.payload_bytes.to_be_bytes());
            }
        }
        out.extend_from_slice(self.mask.as_ref().map_or(&[], |mask| &mask[..]));
    }
}

/// The length of the payload, and the bytes after it.
fn parse_length(short: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, Malformed> {
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
    if length > i64::MAX as u64 {
        return Err(Malformed::LengthInvalid);
    }
    if length < least {
        return Err(Malformed::LengthNotMinimal);
    }
    Ok(Some((length, rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heads_of_the_examples_in_rfc_6455_section_5_7_are_parsed() {
        let mask = Some([0x37, 0xfa, 0x21, 0x3d]);
        for (bytes, fin, opcode, mask, payload_bytes) in [
            (&[0x81, 0x05][..], true, Opcode::Text, None, 5),
            (
                &[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d],
                true,
                Opcode::Text,
                mask,
                5,
            ),
            (&[0x01, 0x03], false, Opcode::Text, None, 3),
            (&[0x80, 0x02], true, Opcode::Continuation, None, 2),
            (&[0x89, 0x05], true, Opcode::Ping, None, 5),
            (
                &[0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d],
                true,
                Opcode::Pong,
                mask,
                5,
            ),
            (&[0x82, 0x7e, 0x01, 0x00], true, Opcode::Binary, None, 256),
            (
                &[0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0],
                true,
                Opcode::Binary,
                None,
                65_536,
            ),
        ] {
            let head = FrameHead {
                fin,
                opcode,
                mask,
                payload_bytes,
            };
            assert_eq!(FrameHead::parse(bytes), Ok(Some((head, bytes.len()))));
            let mut written = Vec::new();
            head.write(&mut written);
            assert_eq!(written, bytes);
        }
    }

    #[test]
    fn a_forbidden_head_is_refused_at_the_first_byte_that_shows_it() {
        for (bytes, error) in [
            (&[0xc1][..], Malformed::ReservedBit),
            (&[0xa1], Malformed::ReservedBit),
            (&[0x91], Malformed::ReservedBit),
            (&[0x83], Malformed::Opcode(3)),
            (&[0x8f], Malformed::Opcode(15)),
            (&[0x09], Malformed::ControlFragmented),
            (&[0x89, 0xfe], Malformed::ControlTooLong),
            (&[0x88, 0x7f], Malformed::ControlTooLong),
            (&[0x82, 0xfe, 0, 125], Malformed::LengthNotMinimal),
            (
                &[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
                Malformed::LengthNotMinimal,
            ),
            (
                &[0x82, 0x7f, 0x80, 0, 0, 0, 0, 0, 0, 0],
                Malformed::LengthInvalid,
            ),
        ] {
            assert_eq!(FrameHead::parse(bytes), Err(error), "{bytes:x?}");
            let before = &bytes[..bytes.len() - 1];
            assert_eq!(FrameHead::parse(before), Ok(None), "{before:x?}");
        }
    }
}
