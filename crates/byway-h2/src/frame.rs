//! Frame: the header that each frame begins with (RFC 9113 section 4.1), and the types and flags.

/// Bytes of a frame's header.
pub(crate) const HEADER_BYTES: usize = 9;
/// The longest payload that every peer accepts, and that this side accepts.
pub(crate) const MAX_FRAME_BYTES: usize = 16_384;
/// What a client sends first (RFC 9113 section 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames.
pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0x0;
    pub(crate) const HEADERS: u8 = 0x1;
    pub(crate) const PRIORITY: u8 = 0x2;
    pub(crate) const RST_STREAM: u8 = 0x3;
    pub(crate) const SETTINGS: u8 = 0x4;
    pub(crate) const PUSH_PROMISE: u8 = 0x5;
    pub(crate) const PING: u8 = 0x6;
    pub(crate) const GOAWAY: u8 = 0x7;
    pub(crate) const WINDOW_UPDATE: u8 = 0x8;
    pub(crate) const CONTINUATION: u8 = 0x9;
    /// RFC 9218 section 7.1.
    pub(crate) const PRIORITY_UPDATE: u8 = 0x10;
}

/// Flags, whose meaning depends on the type.
pub(crate) mod flag {
    pub(crate) const ACK: u8 = 0x1;
    pub(crate) const END_STREAM: u8 = 0x1;
    pub(crate) const END_HEADERS: u8 = 0x4;
    pub(crate) const PADDED: u8 = 0x8;
    pub(crate) const PRIORITY: u8 = 0x20;
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    /// Bytes of the payload, below 2^24.
    pub(crate) len: usize,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    /// The stream, without the reserved bit; 0 is the connection.
    pub(crate) stream: u32,
}

impl FrameHeader {
    pub(crate) fn parse(bytes: [u8; HEADER_BYTES]) -> Self {
        let [a, b, c, kind, flags, stream @ ..] = bytes;
        Self {
            len: u32::from_be_bytes([0, a, b, c]) as usize,
            kind,
            flags,
            stream: number(stream),
        }
    }

    pub(crate) fn bytes(self) -> [u8; HEADER_BYTES] {
        let [_, a, b, c] = (self.len as u32).to_be_bytes();
        let [s, t, u, v] = self.stream.to_be_bytes();
        [a, b, c, self.kind, self.flags, s, t, u, v]
    }

    pub(crate) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// 31 bits; the first bit is reserved and ignored.
pub(crate) fn number(bytes: [u8; 4]) -> u32 {
    u32::from_be_bytes(bytes) & 0x7fff_ffff
}

/// The first four bytes as such a number, and the rest.
pub(crate) fn split_number(payload: &[u8]) -> Option<(u32, &[u8])> {
    let (first, rest) = payload.split_first_chunk::<4>()?;
    Some((number(*first), rest))
}

/// The payload of a frame that may be padded, without the padding. None if that is too long.
pub(crate) fn without_padding(header: FrameHeader, payload: &[u8]) -> Option<&[u8]> {
    if !header.has(flag::PADDED) {
        return Some(payload);
    }
    let (padding, rest) = payload.split_first()?;
    rest.get(..rest.len().checked_sub(usize::from(*padding))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_is_written_without_the_reserved_bit() {
        let header = FrameHeader {
            len: 0x01_02_03,
            kind: kind::HEADERS,
            flags: flag::END_HEADERS | flag::PADDED,
            stream: 0x7f00_0001,
        };
        let mut bytes = header.bytes();
        assert_eq!(FrameHeader::parse(bytes), header);
        bytes[5] |= 0x80;
        assert_eq!(FrameHeader::parse(bytes), header);
        assert!(header.has(flag::PADDED) && !header.has(flag::END_STREAM));
    }

    #[test]
    fn padding_is_removed_and_may_not_be_longer_than_the_frame() {
        let padded = |payload: &'static [u8]| {
            let header = FrameHeader {
                len: payload.len(),
                kind: kind::HEADERS,
                flags: flag::PADDED,
                stream: 1,
            };
            without_padding(header, payload)
        };
        assert_eq!(padded(b"\x02ab\0\0"), Some(&b"ab"[..]));
        assert_eq!(padded(b"\x02\0\0"), Some(&b""[..]));
        assert_eq!(padded(b"\x03\0\0"), None);
        assert_eq!(padded(b""), None);
    }
}
