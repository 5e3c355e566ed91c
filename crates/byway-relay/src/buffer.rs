//! Buffer: memory for bytes in flight, from a free list of the thread, returned as soon as they
//! have left.
//!
//! Never: stays with an idle stream, and never lets a thread keep more than [`FREE_BYTES`] unused.

use std::cell::RefCell;
use std::mem;

/// The most free memory that one thread keeps for reuse.
pub const FREE_BYTES: usize = 8 * 1024 * 1024;

/// The most free buffers that one thread keeps for reuse.
pub const FREE_BUFFERS: usize = 64;

/// The three sizes of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Size {
    /// 8 KiB: the first size of every flow.
    Small,
    /// 64 KiB: for a flow that filled two small ones in a row.
    Medium,
    /// 256 KiB: for a flow that keeps filling them; a fifth fewer CPU-seconds per GB than 64 KiB.
    Large,
}

impl Size {
    const ALL: [Self; 3] = [Self::Small, Self::Medium, Self::Large];

    /// The size in bytes.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Small => 8 * 1024,
            Self::Medium => 64 * 1024,
            Self::Large => 256 * 1024,
        }
    }

    /// The smallest size that holds `bytes`, or the largest size.
    pub fn holding(bytes: usize) -> Self {
        Self::ALL
            .into_iter()
            .find(|size| size.bytes() >= bytes)
            .unwrap_or(Self::Large)
    }
}

/// Bytes at the front, room after them.
#[derive(Debug)]
pub struct Buffer {
    memory: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// An empty buffer, from this thread's free list if it has one.
    pub fn take(size: Size) -> Self {
        let recycled = FREE
            .try_with(|free| free.borrow_mut().take(size))
            .ok()
            .flatten();
        let memory = recycled.unwrap_or_else(|| vec![0; size.bytes()].into_boxed_slice());
        Self {
            memory,
            start: 0,
            end: 0,
        }
    }

    /// The room after the bytes. Its content is arbitrary.
    pub fn space(&mut self) -> &mut [u8] {
        &mut self.memory[self.end..]
    }

    /// The bytes.
    pub fn filled(&self) -> &[u8] {
        &self.memory[self.start..self.end]
    }

    /// Adds the first `n` bytes of the room to the bytes.
    pub fn advance(&mut self, n: usize) {
        self.end = self.memory.len().min(self.end + n);
    }

    /// Removes the first `n` bytes.
    pub fn consume(&mut self, n: usize) {
        self.start = self.end.min(self.start + n);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// The number of bytes.
    pub const fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether there are no bytes.
    pub const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// How many more bytes fit.
    pub const fn room(&self) -> usize {
        self.memory.len() - self.end
    }

    /// The size of its memory, in bytes.
    pub const fn capacity(&self) -> usize {
        self.memory.len()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let memory = mem::take(&mut self.memory);
        // A thread that is ending has no free list any more; the memory is simply freed.
        let _ = FREE.try_with(|free| free.borrow_mut().give(memory));
    }
}

/// Chooses the size of a flow's next buffer from how far it filled the last ones.
#[derive(Debug)]
pub struct Growth {
    size: Size,
    full_reads: u8,
    short_reads: u8,
}

impl Growth {
    /// Starts small.
    pub const fn new() -> Self {
        Self::at(Size::Small)
    }

    const fn at(size: Size) -> Self {
        Self {
            size,
            full_reads: 0,
            short_reads: 0,
        }
    }

    /// The size to take next.
    pub const fn size(&self) -> Size {
        self.size
    }

    /// A read put `read` bytes into room for `offered`.
    pub fn record(&mut self, read: usize, offered: usize) {
        if read >= offered {
            (self.full_reads, self.short_reads) = (self.full_reads + 1, 0);
        } else {
            self.full_reads = 0;
            self.short_reads = if read < offered / 4 {
                self.short_reads + 1
            } else {
                0
            };
        }
        let full_reads_needed = if self.size == Size::Small { 2 } else { 4 };
        if self.full_reads >= full_reads_needed {
            *self = Self::at(if self.size == Size::Small {
                Size::Medium
            } else {
                Size::Large
            });
        } else if self.short_reads >= 2 {
            *self = Self::at(if self.size == Size::Large {
                Size::Medium
            } else {
                Size::Small
            });
        }
    }

    /// The reader blocks the flow: it must not hold another buffer of the largest size.
    pub fn held_back(&mut self) {
        *self = Self::at(self.size.min(Size::Medium));
    }
}

impl Default for Growth {
    fn default() -> Self {
        Self::new()
    }
}

/// Buffers that the calling thread has on loan and keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accounting {
    /// Buffers on loan and not given back *to this thread*: one that another thread drops counts
    /// there, so only the sum is exact.
    pub on_loan: i64,
    /// Buffers kept for reuse.
    pub free: usize,
    /// Their memory, in bytes.
    pub free_bytes: usize,
}

/// The current numbers of the calling thread's free list.
pub fn accounting() -> Accounting {
    FREE.try_with(|free| free.borrow().accounting)
        .unwrap_or_default()
}

thread_local! {
    static FREE: RefCell<FreeList> = RefCell::new(FreeList::default());
}

#[derive(Default)]
struct FreeList {
    lists: [Vec<Box<[u8]>>; 3],
    accounting: Accounting,
}

impl FreeList {
    fn take(&mut self, size: Size) -> Option<Box<[u8]>> {
        self.accounting.on_loan += 1;
        let memory = self.lists[size as usize].pop()?;
        self.accounting.free -= 1;
        self.accounting.free_bytes -= memory.len();
        Some(memory)
    }

    fn give(&mut self, memory: Box<[u8]>) {
        self.accounting.on_loan -= 1;
        let room = self.accounting.free < FREE_BUFFERS
            && self.accounting.free_bytes + memory.len() <= FREE_BYTES;
        if room {
            self.accounting.free += 1;
            self.accounting.free_bytes += memory.len();
            self.lists[Size::holding(memory.len()) as usize].push(memory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_the_order_they_came() {
        let mut buffer = Buffer::take(Size::Small);
        buffer.space()[..5].copy_from_slice(b"hello");
        buffer.advance(5);
        buffer.consume(2);
        assert_eq!(buffer.filled(), b"llo");
        assert_eq!(buffer.room(), Size::Small.bytes() - 5);
        buffer.consume(3);
        assert!(buffer.is_empty());
        assert_eq!(buffer.room(), Size::Small.bytes());
    }

    #[test]
    fn a_dropped_buffer_is_reused() {
        let before = accounting();
        let buffer = Buffer::take(Size::Medium);
        assert_eq!(accounting().on_loan, before.on_loan + 1);
        drop(buffer);
        assert_eq!(accounting().on_loan, before.on_loan);
        let free = accounting().free;
        let again = Buffer::take(Size::Medium);
        assert_eq!(accounting().free, free - 1);
        assert_eq!(again.capacity(), Size::Medium.bytes());
    }

    #[test]
    fn a_thread_keeps_no_more_than_its_bound() {
        let many: Vec<_> = (0..200).map(|_| Buffer::take(Size::Small)).collect();
        drop(many);
        assert!(accounting().free <= FREE_BUFFERS);
        let large: Vec<_> = (0..100).map(|_| Buffer::take(Size::Large)).collect();
        drop(large);
        assert!(accounting().free_bytes <= FREE_BYTES);
    }

    #[test]
    fn a_flow_grows_after_two_full_reads_and_again_after_four() {
        let mut growth = Growth::new();
        growth.record(8, 8);
        assert_eq!(growth.size(), Size::Small);
        growth.record(8, 8);
        assert_eq!(growth.size(), Size::Medium);
        for _ in 0..4 {
            growth.record(8, 8);
        }
        assert_eq!(growth.size(), Size::Large);
        growth.held_back();
        assert_eq!(growth.size(), Size::Medium);
    }

    #[test]
    fn a_flow_that_reads_little_shrinks_again() {
        let mut growth = Growth::at(Size::Large);
        for (read, size) in [
            (100, Size::Large),
            (100, Size::Medium),
            (100, Size::Medium),
            (100, Size::Small),
        ] {
            growth.record(read, 8192);
            assert_eq!(growth.size(), size);
        }
    }

    #[test]
    fn a_short_read_starts_the_count_again() {
        let mut growth = Growth::new();
        growth.record(8, 8);
        growth.record(3, 8);
        growth.record(8, 8);
        assert_eq!(growth.size(), Size::Small);
    }
}
