//! Out: frames that wait to be written, as contiguous bytes.
//!
//! In:    frames, in the order in which the peer is to read them.
//! Out:   bytes to write; how many have been written.
//! Never: changes a byte that was written. A frame that has not been written may still get a flag or
//!        more data.

use crate::frame::{FrameHeader, HEADER_BYTES, flag, kind};

/// Where the bytes begin in the buffer. Copies from addresses a little above a multiple of a page
/// are slow on some processors (`rep movsb`), and buffers begin at one.
const HEADROOM_BYTES: usize = 64;
/// Written bytes that are kept in front of others before those are moved.
const MOVE_BYTES: usize = 32 * 1024;
/// Memory that an idle connection may keep.
const IDLE_BYTES: usize = 1024;

/// A place in the bytes of a connection, counted from its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place(u64);

#[derive(Debug, Default)]
pub(crate) struct Out {
    /// Up to `start` there is nothing.
    buf: Vec<u8>,
    start: usize,
    /// Bytes that were written.
    written: u64,
}

impl Out {
    /// What waits.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.buf.get(self.start..).unwrap_or_default()
    }

    pub(crate) fn len(&self) -> usize {
        self.buf.len() - self.start
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes the first `n` bytes, or all.
    pub(crate) fn written(&mut self, n: usize) {
        let n = n.min(self.len());
        self.start += n;
        self.written += n as u64;
        if self.is_empty() {
            self.buf.truncate(HEADROOM_BYTES);
            self.start = self.buf.len();
        } else if self.start >= HEADROOM_BYTES + MOVE_BYTES {
            self.buf.copy_within(self.start.., HEADROOM_BYTES);
            self.buf
                .truncate(HEADROOM_BYTES + self.buf.len() - self.start);
            self.start = HEADROOM_BYTES;
        }
    }

    /// Frees what an idle connection does not need.
    pub(crate) fn trim(&mut self) {
        if self.is_empty() && self.buf.capacity() > IDLE_BYTES {
            (self.buf, self.start) = (Vec::new(), 0);
        }
    }

    /// The buffer, to append to.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        if self.buf.is_empty() {
            self.buf.resize(HEADROOM_BYTES, 0);
            self.start = HEADROOM_BYTES;
        }
        &mut self.buf
    }

    /// Where the next byte will be.
    pub(crate) fn end(&mut self) -> Place {
        self.buffer();
        Place(self.written + self.len() as u64)
    }

    /// Removes what was appended at this place and after it. Nothing of it may have been written.
    pub(crate) fn truncate(&mut self, end: Place) {
        if let Some(at) = self.index(end) {
            self.buf.truncate(at);
        }
    }

    /// Appends a whole frame.
    pub(crate) fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Place {
        let place = self.end();
        let header = FrameHeader {
            len: payload.len(),
            kind,
            flags,
            stream,
        };
        self.buf.reserve(HEADER_BYTES + payload.len());
        self.buf.extend_from_slice(&header.bytes());
        self.buf.extend_from_slice(payload);
        place
    }

    /// Begins a field block: the payload is appended to [`buffer`](Self::buffer), and
    /// [`end_block`](Self::end_block) ends it.
    pub(crate) fn begin_block(&mut self) -> Place {
        let place = self.end();
        self.buf.extend_from_slice(&[0; HEADER_BYTES]);
        place
    }

    /// Ends a field block: as HEADERS, and CONTINUATION if it is longer than a frame may be.
    pub(crate) fn end_block(&mut self, begin: Place, flags: u8, stream: u32, frame_bytes: usize) {
        let Some(at) = self.index(begin) else {
            return;
        };
        let mut header = FrameHeader {
            len: self.buf.len() - at - HEADER_BYTES,
            kind: kind::HEADERS,
            flags: flags | flag::END_HEADERS,
            stream,
        };
        if header.len <= frame_bytes {
            self.put(at, header.bytes());
            return;
        }
        let block = self.buf.split_off(at + HEADER_BYTES);
        self.buf.truncate(at);
        let mut rest = &block[..];
        (header.len, header.flags) = (frame_bytes, flags);
        while !rest.is_empty() {
            let (part, after) = rest.split_at(rest.len().min(frame_bytes));
            header.len = part.len();
            if after.is_empty() {
                header.flags |= flag::END_HEADERS;
            }
            self.buf.extend_from_slice(&header.bytes());
            self.buf.extend_from_slice(part);
            (header.kind, header.flags, rest) = (kind::CONTINUATION, 0, after);
        }
    }

    /// Sets flags of the frame that begins at this place. Returns false if a part of it has been
    /// written.
    pub(crate) fn add_flags(&mut self, frame: Place, flags: u8) -> bool {
        match self.index(frame).and_then(|at| self.buf.get_mut(at + 4)) {
            Some(byte) => {
                *byte |= flags;
                true
            }
            None => false,
        }
    }

    /// Appends data to the DATA frame that begins at this place, if it is the last frame, no byte of
    /// it has been written, and it stays within `frame_bytes`. Returns how much was appended.
    pub(crate) fn extend_last(&mut self, frame: Place, data: &[u8], frame_bytes: usize) -> usize {
        let Some(at) = self.index(frame) else {
            return 0;
        };
        let payload = self.buf.len().saturating_sub(at + HEADER_BYTES);
        let n = data.len().min(frame_bytes.saturating_sub(payload));
        let Some(header) = self.buf.get_mut(at..at + 3) else {
            return 0;
        };
        let [_, len @ ..] = ((payload + n) as u32).to_be_bytes();
        header.copy_from_slice(&len);
        self.buf.extend_from_slice(&data[..n]);
        n
    }

    fn put(&mut self, at: usize, bytes: [u8; HEADER_BYTES]) {
        if let Some(header) = self.buf.get_mut(at..at + HEADER_BYTES) {
            header.copy_from_slice(&bytes);
        }
    }

    /// The index of a place that has not been written.
    fn index(&self, place: Place) -> Option<usize> {
        let ahead = usize::try_from(place.0.checked_sub(self.written)?).ok()?;
        (ahead <= self.len()).then_some(self.start + ahead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_gets_a_flag_until_it_is_written() {
        let mut out = Out::default();
        let first = out.frame(kind::DATA, 0, 1, b"a");
        let second = out.frame(kind::DATA, 0, 3, b"b");
        assert!(out.add_flags(second, flag::END_STREAM));
        assert_eq!(
            out.bytes(),
            b"\0\0\x01\0\0\0\0\0\x01a\0\0\x01\0\x01\0\0\0\x03b"
        );
        out.written(1);
        assert!(!out.add_flags(first, flag::END_STREAM));
        assert!(out.add_flags(second, flag::END_STREAM));
        out.written(100);
        assert!(out.is_empty() && !out.add_flags(second, 1));
    }

    #[test]
    fn data_is_appended_to_the_last_frame_only_up_to_its_size() {
        let mut out = Out::default();
        out.frame(kind::PING, 0, 0, &[0; 8]);
        let frame = out.frame(kind::DATA, 0, 1, b"ab");
        out.written(17);
        assert_eq!(out.extend_last(frame, b"cdef", 4), 2);
        assert_eq!(out.bytes(), b"\0\0\x04\0\0\0\0\0\x01abcd");
        assert_eq!(out.extend_last(frame, b"ef", 4), 0);
        out.written(1);
        assert_eq!(out.extend_last(frame, b"ef", 100), 0);
    }

    #[test]
    fn a_long_block_continues_in_further_frames() {
        let mut out = Out::default();
        let begin = out.begin_block();
        out.buffer().extend_from_slice(b"abcdefg");
        out.end_block(begin, flag::END_STREAM, 1, 3);
        let mut expected = b"\0\0\x03\x01\x01\0\0\0\x01abc".to_vec();
        expected.extend(b"\0\0\x03\x09\0\0\0\0\x01def");
        expected.extend(b"\0\0\x01\x09\x04\0\0\0\x01g");
        assert_eq!(out.bytes(), expected);
    }

    #[test]
    fn a_place_stays_right_when_bytes_are_moved_and_memory_is_freed() {
        let mut out = Out::default();
        out.frame(kind::DATA, 0, 1, &[1; 40_000]);
        let last = out.frame(kind::DATA, 0, 3, b"x");
        out.written(39_000);
        assert!(out.add_flags(last, flag::END_STREAM));
        assert_eq!(&out.bytes()[1009..], b"\0\0\x01\0\x01\0\0\0\x03x");
        out.written(2000);
        out.trim();
        assert_eq!(out.buf.capacity(), 0);
        let next = out.frame(kind::DATA, 0, 5, b"y");
        assert!(next > last && out.add_flags(next, flag::END_STREAM));
        assert_eq!(out.bytes(), b"\0\0\x01\0\x01\0\0\0\x05y");
    }
}
