//! Ring: a byte queue in memory, made of buffers that are allocated and freed one by one.
//!
//! Never: owns a buffer while it is empty.

use std::collections::VecDeque;
use std::io::IoSlice;

use crate::buffer::{Buffer, Size};

/// The smallest room at the end of a buffer that is worth a separate read.
pub(super) const WORTH_A_READ_BYTES: usize = 2 * 1024;

/// The most slices that one gathering write takes.
pub(super) const PIECES_A_WRITE: usize = 8;

/// A byte queue in memory.
#[derive(Debug, Default)]
pub(super) struct Ring {
    buffers: VecDeque<Buffer>,
    bytes: usize,
    allocated: usize,
}

impl Ring {
    pub(super) const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The memory of all buffers, in bytes.
    pub(super) const fn allocated_bytes(&self) -> usize {
        self.allocated
    }

    /// The room in its last buffer.
    pub(super) fn tail_room(&self) -> usize {
        self.buffers.back().map_or(0, Buffer::room)
    }

    /// Room for at most `most` bytes, in the last buffer or in a new one of `size`.
    pub(super) fn space(&mut self, size: Size, most: usize) -> &mut [u8] {
        if self.tail_room() < most.min(WORTH_A_READ_BYTES) {
            self.put_buffer(Buffer::take(size));
        }
        let space = self.buffers.back_mut().map_or(&mut [][..], Buffer::space);
        let room = most.min(space.len());
        &mut space[..room]
    }

    /// Adds the first `n` bytes of the last [`Ring::space`].
    pub(super) fn advance(&mut self, n: usize) {
        if let Some(buffer) = self.buffers.back_mut() {
            buffer.advance(n);
            self.bytes += n;
        }
    }

    /// Gives back a last buffer that was taken for a read that returned nothing.
    pub(super) fn release_unused(&mut self) {
        if let Some(unused) = self.buffers.pop_back_if(|buffer| buffer.is_empty()) {
            self.allocated -= unused.capacity();
        }
    }

    /// Puts the first bytes, at most `most`, into `slices`; returns the number of slices.
    pub(super) fn slices<'a>(&'a self, most: usize, slices: &mut [IoSlice<'a>]) -> usize {
        let mut left = most;
        let mut used = 0;
        for (slice, buffer) in slices.iter_mut().zip(&self.buffers) {
            if left == 0 {
                break;
            }
            let filled = buffer.filled();
            let part = &filled[..filled.len().min(left)];
            *slice = IoSlice::new(part);
            left -= part.len();
            used += 1;
        }
        used
    }

    /// Removes the first `n` bytes.
    pub(super) fn consume(&mut self, mut n: usize) {
        self.bytes -= n;
        while let Some(buffer) = self.buffers.front_mut() {
            let part = n.min(buffer.len());
            buffer.consume(part);
            n -= part;
            if !buffer.is_empty() {
                break;
            }
            let capacity = buffer.capacity();
            self.buffers.pop_front();
            self.allocated -= capacity;
        }
    }

    /// Removes all buffers.
    pub(super) fn take_all(&mut self) -> Vec<Buffer> {
        (self.bytes, self.allocated) = (0, 0);
        self.buffers.drain(..).collect()
    }

    /// Puts buffers back at the front, in order.
    pub(super) fn put_back(&mut self, buffers: Vec<Buffer>) {
        for buffer in buffers
            .into_iter()
            .rev()
            .filter(|buffer| !buffer.is_empty())
        {
            self.bytes += buffer.len();
            self.allocated += buffer.capacity();
            self.buffers.push_front(buffer);
        }
    }

    fn put_buffer(&mut self, buffer: Buffer) {
        self.bytes += buffer.len();
        self.allocated += buffer.capacity();
        self.buffers.push_back(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(ring: &mut Ring, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let space = ring.space(Size::Small, bytes.len());
            let n = space.len().min(bytes.len());
            space[..n].copy_from_slice(&bytes[..n]);
            ring.advance(n);
            bytes = &bytes[n..];
        }
    }

    #[test]
    fn an_empty_ring_owns_no_buffer() {
        let mut ring = Ring::default();
        assert!(!ring.space(Size::Small, usize::MAX).is_empty());
        assert_eq!(ring.allocated_bytes(), Size::Small.bytes());
        ring.release_unused();
        assert_eq!(ring.allocated_bytes(), 0);
        push(&mut ring, b"some bytes");
        ring.consume(10);
        assert_eq!((ring.bytes(), ring.allocated_bytes()), (0, 0));
    }

    #[test]
    fn slices_end_at_the_given_length() {
        let mut ring = Ring::default();
        push(&mut ring, &[7; 20_000]);
        let mut slices = [IoSlice::new(&[]); PIECES_A_WRITE];
        let n = ring.slices(9_000, &mut slices);
        assert_eq!(
            slices[..n].iter().map(|slice| slice.len()).sum::<usize>(),
            9_000
        );
        let n = ring.slices(usize::MAX, &mut slices);
        assert_eq!(
            slices[..n].iter().map(|slice| slice.len()).sum::<usize>(),
            20_000
        );
    }

    #[test]
    fn buffers_that_were_taken_are_put_back_at_the_front_in_order() {
        let mut ring = Ring::default();
        push(&mut ring, b"first");
        let mut taken = ring.take_all();
        taken[0].consume(2);
        push(&mut ring, b"second");
        ring.put_back(taken);
        let mut slices = [IoSlice::new(&[]); PIECES_A_WRITE];
        let n = ring.slices(usize::MAX, &mut slices);
        let bytes: Vec<u8> = slices[..n]
            .iter()
            .flat_map(|slice| slice.iter().copied())
            .collect();
        assert_eq!(bytes, b"rstsecond");
    }
}
