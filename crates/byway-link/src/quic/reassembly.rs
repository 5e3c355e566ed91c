//! Reassembly: takes pieces of a stream in any order, and returns their bytes in order.
//!
//! In:    pieces with their offsets, each byte once.
//! Out:   bytes in order.
//! Never: more than [`MOST_PIECES`] pieces behind gaps, or more than [`SLICES`] pieces that keep a
//!        larger buffer alive.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};

/// The most pieces that wait for an earlier one. The largest window has fewer packets of 1,200
/// bytes.
pub(super) const MOST_PIECES: usize = 16 * 1024;

/// Smaller pieces are always copied into a shared buffer.
const SMALL_BYTES: usize = 1024;

/// Pieces that wait for the reader without being copied. Each may be a slice of all datagrams that
/// one system call has received, 64 KiB. If a slow reader leaves more, they are copied.
const SLICES: usize = 16;

/// The size of the buffer that pieces are copied into.
const TAIL_BYTES: usize = 16 * 1024;

/// Puts the pieces of a stream, which arrive in any order, in order again. Holds at most
/// `MOST_PIECES` pieces behind gaps.
#[derive(Debug, Default)]
pub(super) struct Reassembly {
    /// In order, with nothing missing before or between.
    ready: VecDeque<Bytes>,
    /// Copied pieces that follow `ready`.
    tail: BytesMut,
    /// Pieces behind a gap, by offset; copied.
    apart: BTreeMap<u64, Bytes>,
    /// The offset of the first byte that has not arrived.
    next: u64,
    bytes: usize,
}

/// Too many pieces are behind gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooManyPieces;

impl Reassembly {
    /// Bytes before `next` were read by other means.
    pub(super) fn new(next: u64) -> Self {
        Self {
            next,
            ..Self::default()
        }
    }

    /// Bytes that are held, in order or not.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether bytes can be read.
    pub(super) fn is_ready(&self) -> bool {
        !self.ready.is_empty() || !self.tail.is_empty()
    }

    /// Adds a piece.
    pub(super) fn insert(&mut self, offset: u64, piece: Bytes) -> Result<(), TooManyPieces> {
        if piece.is_empty() {
            return Ok(());
        }
        self.bytes += piece.len();
        if offset != self.next {
            return self.put_apart(offset, piece);
        }
        self.append(piece);
        while let Some(entry) = self
            .apart
            .first_entry()
            .filter(|entry| *entry.key() == self.next)
        {
            let piece = entry.remove();
            self.append(piece);
        }
        Ok(())
    }

    fn append(&mut self, piece: Bytes) {
        self.next += piece.len() as u64;
        if piece.len() < SMALL_BYTES || self.ready.len() >= SLICES {
            if self.tail.len() + piece.len() > TAIL_BYTES {
                self.close_tail();
            }
            self.tail.extend_from_slice(&piece);
        } else {
            self.close_tail();
            self.ready.push_back(piece);
        }
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.ready.push_back(self.tail.split().freeze());
        }
    }

    fn put_apart(&mut self, offset: u64, piece: Bytes) -> Result<(), TooManyPieces> {
        let before = self.apart.range_mut(..offset).next_back();
        let touching = before.filter(|(at, before)| {
            **at + before.len() as u64 == offset
                && before.len() < SMALL_BYTES
                && piece.len() < SMALL_BYTES
        });
        if let Some((_, before)) = touching {
            let mut joined = BytesMut::with_capacity(before.len() + piece.len());
            joined.extend_from_slice(before);
            joined.extend_from_slice(&piece);
            *before = joined.freeze();
            return Ok(());
        }
        if self.apart.len() >= MOST_PIECES {
            return Err(TooManyPieces);
        }
        self.apart.insert(offset, Bytes::copy_from_slice(&piece));
        Ok(())
    }

    /// Copies bytes that are in order into `buf`, as many as fit.
    pub(super) fn read(&mut self, buf: &mut [u8]) -> usize {
        let mut filled = 0;
        while filled < buf.len() {
            if self.ready.is_empty() {
                self.close_tail();
            }
            let Some(first) = self.ready.front_mut() else {
                break;
            };
            let part = first.split_to(first.len().min(buf.len() - filled));
            if let Some(to) = buf.get_mut(filled..filled + part.len()) {
                to.copy_from_slice(&part);
            }
            filled += part.len();
            if first.is_empty() {
                self.ready.pop_front();
            }
        }
        self.bytes -= filled;
        filled
    }

    /// Discards everything.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.next);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn byte(offset: u64) -> u8 {
        (offset * 131 % 251) as u8
    }

    fn piece(from: u64, to: u64) -> Bytes {
        (from..to).map(byte).collect()
    }

    #[test]
    fn thousands_of_gaps_are_allowed_up_to_a_limit() {
        let mut reassembly = Reassembly::new(0);
        for number in 0..MOST_PIECES as u64 {
            reassembly
                .insert(2 + number * 4, piece(2 + number * 4, 4 + number * 4))
                .unwrap();
        }
        assert!(!reassembly.is_ready());
        let beyond = 2 + MOST_PIECES as u64 * 4;
        assert_eq!(
            reassembly.insert(beyond, piece(beyond, beyond + 2)),
            Err(TooManyPieces)
        );
    }

    #[test]
    fn small_pieces_that_touch_share_a_buffer() {
        let mut reassembly = Reassembly::new(0);
        for at in 10..500 {
            reassembly.insert(at, piece(at, at + 1)).unwrap();
        }
        assert_eq!(reassembly.apart.len(), 1);
        reassembly.insert(0, piece(0, 10)).unwrap();
        let mut buf = [0; 600];
        assert_eq!(reassembly.read(&mut buf), 500);
        assert!(
            buf.iter()
                .take(500)
                .zip(0..)
                .all(|(got, at)| *got == byte(at))
        );
    }

    #[test]
    fn pieces_behind_a_gap_or_for_a_slow_reader_keep_no_larger_buffer_alive() {
        let batch = piece(0, 64 * 1024);
        let mut reassembly = Reassembly::new(0);
        let is_of_batch = |kept: &Bytes| batch.as_ptr_range().contains(&kept.as_ptr());
        for at in (2000..64 * 1024).step_by(1500) {
            reassembly
                .insert(at as u64, batch.slice(at..(at + 1200).min(batch.len())))
                .unwrap();
        }
        assert!(!reassembly.apart.values().any(is_of_batch));
        let mut reassembly = Reassembly::new(0);
        for at in (0..60_000).step_by(1500) {
            reassembly
                .insert(at as u64, batch.slice(at..at + 1500))
                .unwrap();
        }
        assert_eq!(
            reassembly
                .ready
                .iter()
                .filter(|kept| is_of_batch(kept))
                .count(),
            SLICES
        );
    }

    proptest! {
        #[test]
        fn pieces_that_arrive_in_any_order_are_read_in_order(
            sizes in prop::collection::vec(1_u64..3000, 1..60),
            order in any::<u64>(),
            reads in prop::collection::vec(1_usize..5000, 1..20),
        ) {
            let mut from = 7;
            let mut pieces: Vec<(u64, u64)> = sizes.iter().map(|size| { from += size; (from - size, from) }).collect();
            let end = from;
            fastrand::Rng::with_seed(order).shuffle(&mut pieces);
            let mut reassembly = Reassembly::new(7);
            let (mut read, mut sizes, mut held) = (7, reads.iter().cycle(), 0);
            for (from, to) in pieces {
                reassembly.insert(from, piece(from, to)).unwrap();
                held += (to - from) as usize;
                let mut buf = vec![0; *sizes.next().unwrap()];
                let n = reassembly.read(&mut buf);
                held -= n;
                prop_assert_eq!(reassembly.bytes(), held);
                for got in &buf[..n] {
                    prop_assert_eq!(*got, byte(read));
                    read += 1;
                }
            }
            let mut rest = vec![0; 200_000];
            let n = reassembly.read(&mut rest);
            prop_assert_eq!(read + n as u64, end);
            prop_assert!(rest[..n].iter().zip(read..).all(|(got, at)| *got == byte(at)));
        }
    }
}
