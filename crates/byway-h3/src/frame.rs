//! Frame: types and heads of frames (RFC 9114 section 7).

use crate::varint;

/// Types of frames.
pub(crate) mod kind {
    pub(crate) const DATA: u64 = 0x0;
    pub(crate) const HEADERS: u64 = 0x1;
    pub(crate) const CANCEL_PUSH: u64 = 0x3;
    pub(crate) const SETTINGS: u64 = 0x4;
    pub(crate) const PUSH_PROMISE: u64 = 0x5;
    pub(crate) const GOAWAY: u64 = 0x7;
    pub(crate) const MAX_PUSH_ID: u64 = 0xd;
    pub(crate) const PRIORITY_UPDATE: u64 = 0xf0700;
    pub(crate) const PRIORITY_UPDATE_PUSH: u64 = 0xf0701;
}

/// Whether it is a type of HTTP/2 that HTTP/3 has reserved, so that it is an error everywhere
/// (section 7.2.8).
pub(crate) const fn is_of_http2(kind: u64) -> bool {
    matches!(kind, 0x2 | 0x6 | 0x8 | 0x9)
}

/// Type and length of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) kind: u64,
    pub(crate) len: u64,
}

/// The longest head: two numbers of 8 bytes.
const MOST_BYTES: usize = 16;

/// Reads heads of frames that may be split anywhere.
#[derive(Debug, Default)]
pub(crate) struct HeaderReader {
    start: [u8; MOST_BYTES],
    len: usize,
}

impl HeaderReader {
    /// Whether nothing of a head has been read.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Reads a head. Returns how many bytes were used, which is all if it has not ended.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> (usize, Option<FrameHeader>) {
        if self.len == 0
            && let Some((header, len)) = parse(bytes)
        {
            return (len, Some(header));
        }
        for (n, &byte) in bytes.iter().enumerate() {
            let Some(room) = self.start.get_mut(self.len) else {
                break;
            };
            *room = byte;
            self.len += 1;
            let read = self.start.get(..self.len).and_then(parse);
            if let Some((header, _)) = read {
                self.len = 0;
                return (n + 1, Some(header));
            }
        }
        (bytes.len(), None)
    }
}

fn parse(bytes: &[u8]) -> Option<(FrameHeader, usize)> {
    let (kind, kind_len) = varint::read(bytes)?;
    let (len, len_len) = varint::read(bytes.get(kind_len..)?)?;
    Some((FrameHeader { kind, len }, kind_len + len_len))
}

/// Appends the head of a frame.
pub(crate) fn write_header(out: &mut Vec<u8>, kind: u64, len: u64) {
    varint::write(out, kind);
    varint::write(out, len);
}
