//! Response: parses one request stream just enough to check that its response is right.
//!
//! In:    bytes as they arrive, and the end of the stream.
//! Out:   the bytes of the header block; an error if it is not a 200 of the expected length.
//! Never: keeps data, or a head of more than 16 KiB.

use anyhow::{Context, Result, ensure};

const DATA: u64 = 0;
const HEADERS: u64 = 1;
/// A type and a length, each of up to eight bytes.
const MAX_HEADER: usize = 16;
const MAX_HEAD: u64 = 16_384;

/// See the top of the file.
#[derive(Debug)]
pub(super) struct Response {
    /// The begin of a frame that has arrived in part.
    header: Vec<u8>,
    /// The type of the frame whose payload arrives, and how much of it is left.
    frame: Option<(u64, u64)>,
    head: Vec<u8>,
    has_head: bool,
    /// Bytes of data that are expected still.
    left: u64,
}

impl Response {
    /// A parser for a response whose body must have `expected` bytes.
    pub(super) const fn expecting(expected: u64) -> Self {
        Self {
            header: Vec::new(),
            frame: None,
            head: Vec::new(),
            has_head: false,
            left: expected,
        }
    }

    /// Takes the next bytes.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Result<()> {
        loop {
            let Some((kind, left)) = self.frame else {
                let Some((&first, rest)) = bytes.split_first() else {
                    return Ok(());
                };
                bytes = rest;
                self.header.push(first);
                self.begin()?;
                continue;
            };
            let n = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let (piece, rest) = bytes.split_at(n);
            bytes = rest;
            match kind {
                DATA => {
                    ensure!(self.has_head, "data was received before its head");
                    let after = self.left.checked_sub(n as u64);
                    self.left = after.context("more bytes were received than expected")?;
                }
                HEADERS => self.head.extend_from_slice(piece),
                // Unknown types are skipped.
                _ => {}
            }
            match left - n as u64 {
                0 => self.end_frame(kind)?,
                left if bytes.is_empty() => {
                    self.frame = Some((kind, left));
                    return Ok(());
                }
                left => self.frame = Some((kind, left)),
            }
        }
    }

    /// The stream has ended. Returns the bytes of the header block.
    pub(super) fn end(self) -> Result<u64> {
        ensure!(
            self.has_head && self.left == 0 && self.frame.is_none() && self.header.is_empty(),
            "the answer was {} bytes too short",
            self.left
        );
        Ok(self.head.len() as u64)
    }

    fn begin(&mut self) -> Result<()> {
        let Some((kind, at)) = varint(&self.header) else {
            return Ok(());
        };
        let Some((length, _)) = varint(self.header.get(at..).unwrap_or_default()) else {
            ensure!(self.header.len() < MAX_HEADER, "a frame does not begin");
            return Ok(());
        };
        self.header.clear();
        ensure!(
            kind != HEADERS || length <= MAX_HEAD,
            "a head of {length} bytes was received"
        );
        self.frame = Some((kind, length));
        if length == 0 {
            self.end_frame(kind)?;
        }
        Ok(())
    }

    fn end_frame(&mut self, kind: u64) -> Result<()> {
        self.frame = None;
        if kind == HEADERS {
            ensure!(!self.has_head, "a second head was received");
            ensure!(
                is_200(&self.head),
                "the answer was not 200: {:02x?}",
                self.head
            );
            self.has_head = true;
        }
        Ok(())
    }
}

/// Whether a header block begins with `:status: 200`, entry 25 of the static table of QPACK. Two
/// zero bytes come before: the generator allows no dynamic table.
fn is_200(block: &[u8]) -> bool {
    block.starts_with(&[0, 0, 0xd9])
}

/// A number of one to eight bytes and its length (RFC 9000 section 16); `None` if it is cut.
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let length = 1_usize << (first >> 6);
    let rest = bytes.get(1..length)?;
    let begin = u64::from(first & 0x3f);
    let value = rest
        .iter()
        .fold(begin, |value, byte| value << 8 | u64::from(*byte));
    Some((value, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A head, three bytes of data in two frames, and a frame of an unknown type before them.
    const WHOLE: &[u8] = b"\x21\x02xx\x01\x03\x00\x00\xd9\x00\x01a\x00\x40\x02bc";

    #[test]
    fn a_response_is_read_at_every_split_into_two() {
        for at in 0..=WHOLE.len() {
            let mut response = Response::expecting(3);
            response.feed(&WHOLE[..at]).unwrap();
            response.feed(&WHOLE[at..]).unwrap();
            assert_eq!(response.end().unwrap(), 3, "{at}");
        }
    }

    #[test]
    fn a_response_that_is_not_the_expected_one_is_an_error() {
        for wrong in [
            &b"\x01\x03\x00\x00\xda\x00\x03abc"[..],
            b"\x01\x03\x00\x00\xd9\x00\x02ab",
            b"\x01\x03\x00\x00\xd9\x00\x04abcd",
            b"\x00\x03abc\x01\x03\x00\x00\xd9",
            b"\x01\x03\x00\x00\xd9\x00\x03ab",
            b"\x01\x03\x00\x00\xd9\x01\x03\x00\x00\xd9\x00\x03abc",
            b"\x01\x80\x01\x00\x00",
            b"",
        ] {
            let mut response = Response::expecting(3);
            let fed = response.feed(wrong);
            assert!(fed.and_then(|()| response.end()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn numbers_of_every_length_are_read_and_cut_ones_are_not() {
        let number: &[u8] = b"\xc2\x19\x7c\x5e\xff\x14\xe8\x8c";
        assert_eq!(varint(number), Some((151_288_809_941_952_652, 8)));
        assert_eq!(varint(b"\x7b\xbd"), Some((15_293, 2)));
        assert!((0..8).all(|length| varint(&number[..length]).is_none()));
    }
}
