//! Buffer: bytes that were read and not yet consumed; idle connections own no memory for it.
//!
//! In:    reads after the unread bytes.   Out:   the unread bytes, as one slice.
//! Never: grows past [`MOST_BYTES`]; holds memory while it is empty and at rest.

use super::HEAD_BYTES;
use std::cell::RefCell;

/// The size of a read, at first.
const SMALL_BYTES: usize = 16 * 1024;
/// The size of a read when reads fill the buffer they get.
const LARGE_BYTES: usize = 64 * 1024;
/// Holds a head or trailer section of the largest size, and more.
const MOST_BYTES: usize = 2 * HEAD_BYTES;
/// How many spare buffers a thread keeps: small ones, large ones.
const SPARE_MAX: [usize; 2] = [32, 4];
/// After this many full reads in a row the buffer grows.
const FULL_READS: u8 = 2;

thread_local! {
    static SPARE: [RefCell<Vec<Vec<u8>>>; 2] = const { [const { RefCell::new(Vec::new()) }; 2] };
}

/// The read buffer of a connection: bytes that were read and not consumed yet, at most
/// `MOST_BYTES`. Dropping it returns its memory to the thread, which keeps some for the next
/// buffer. The memory is initialised only once: `memory.len()` is the capacity.
#[derive(Default)]
pub(crate) struct Buffer {
    memory: Vec<u8>,
    start: usize,
    end: usize,
    full_reads: u8,
}

impl Buffer {
    pub(crate) fn unread(&self) -> &[u8] {
        self.memory.get(self.start..self.end).unwrap_or_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Marks the first `n` unread bytes as consumed.
    pub(crate) fn consume(&mut self, n: usize) {
        self.start = (self.start + n).min(self.end);
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Free space after the unread bytes, at least one byte; empty only if [`MOST_BYTES`] are
    /// unread.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        if self.memory.is_empty() {
            self.memory = take_spare(SMALL_BYTES);
        } else if self.is_empty()
            && self.full_reads >= FULL_READS
            && self.memory.len() < LARGE_BYTES
        {
            give_spare(std::mem::replace(&mut self.memory, take_spare(LARGE_BYTES)));
        }
        if self.end == self.memory.len() {
            self.make_room();
        }
        self.memory.get_mut(self.end..).unwrap_or_default()
    }

    /// Records that `n` bytes were read into the free space. Full reads make later ones larger.
    pub(crate) fn advance(&mut self, n: usize) {
        self.end = (self.end + n).min(self.memory.len());
        let full = self.end == self.memory.len();
        self.full_reads = if full {
            self.full_reads.saturating_add(1)
        } else {
            0
        };
    }

    fn make_room(&mut self) {
        if self.start > 0 {
            self.memory.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let held = self.end;
        let wanted = if held < SMALL_BYTES {
            LARGE_BYTES
        } else {
            (2 * held).clamp(LARGE_BYTES, MOST_BYTES)
        };
        if wanted > self.memory.len() {
            let mut roomier = vec![0; wanted];
            roomier[..held].copy_from_slice(&self.memory[..held]);
            give_spare(std::mem::replace(&mut self.memory, roomier));
        }
    }

    /// Releases the memory if nothing is unread.
    pub(crate) fn rest(&mut self) {
        if self.is_empty() {
            give_spare(std::mem::take(&mut self.memory));
            self.full_reads = 0;
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        give_spare(std::mem::take(&mut self.memory));
    }
}

fn size_class(size: usize) -> Option<usize> {
    [SMALL_BYTES, LARGE_BYTES]
        .iter()
        .position(|known| *known == size)
}

fn take_spare(size: usize) -> Vec<u8> {
    let spare = size_class(size).and_then(|n| {
        SPARE
            .try_with(|spare| spare[n].borrow_mut().pop())
            .ok()
            .flatten()
    });
    spare.unwrap_or_else(|| vec![0; size])
}

/// A thread that is ending keeps nothing.
fn give_spare(memory: Vec<u8>) {
    let Some(n) = size_class(memory.len()) else {
        return;
    };
    let _ = SPARE.try_with(|spare| {
        let mut spare = spare[n].borrow_mut();
        if spare.len() < SPARE_MAX[n] {
            spare.push(memory);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(buffer: &mut Buffer, bytes: &[u8]) -> usize {
        let room = buffer.room();
        let n = room.len().min(bytes.len());
        room[..n].copy_from_slice(&bytes[..n]);
        buffer.advance(n);
        n
    }

    #[test]
    fn bytes_come_out_as_they_went_in_for_any_pattern_of_use() {
        let mut buffer = Buffer::default();
        let bytes: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
        let (mut given, mut taken) = (0, Vec::new());
        while taken.len() < bytes.len() {
            given += put(&mut buffer, &bytes[given..]);
            let use_now = buffer.unread().len().div_ceil(2);
            taken.extend_from_slice(&buffer.unread()[..use_now]);
            buffer.consume(use_now);
        }
        assert_eq!(taken, bytes);
    }

    #[test]
    fn unread_bytes_are_bounded() {
        let mut buffer = Buffer::default();
        while put(&mut buffer, &[7; 4096]) > 0 {}
        assert_eq!(buffer.unread().len(), MOST_BYTES);
    }

    #[test]
    fn full_reads_make_the_buffer_larger() {
        let mut buffer = Buffer::default();
        for _ in 0..FULL_READS {
            assert_eq!(put(&mut buffer, &[7; LARGE_BYTES]), SMALL_BYTES);
            buffer.consume(SMALL_BYTES);
        }
        assert_eq!(put(&mut buffer, &[7; LARGE_BYTES]), LARGE_BYTES);
    }

    #[test]
    fn at_rest_it_owns_no_memory() {
        let mut buffer = Buffer::default();
        put(&mut buffer, b"abc");
        buffer.rest();
        assert_eq!(buffer.unread(), b"abc");
        buffer.consume(3);
        buffer.rest();
        assert!(buffer.memory.is_empty());
    }
}
