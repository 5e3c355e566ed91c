//! The spill queue: the place of each byte, and the next operation. It uses no file, clock or task.
//!
//! In:    bytes, the end, results of operations, the time and whether memory is short.
//! Out:   bytes from the front, and at most one operation at a time for the caller to run.
//! Never: loses or reorders a byte, whatever the result of an operation; only a failed *read* is
//!        fatal.
//!
//! The bytes are in this order: `head` (read back from the file), the file, pieces on their way to
//! the file, `ring`.

use std::io::{self, IoSlice};
use std::time::{Duration, Instant};

use crate::buffer::{Buffer, Size};
use crate::fair_permits::NoPermit;
use crate::ring::Ring;

/// A hole is punched once this many bytes before its end have been read.
const PUNCH_BYTES: u64 = 8 * 1024 * 1024;

/// The capacity of a ring while memory is short.
const SHORT_RING_BYTES: usize = 32 * 1024;

/// A write that was refused is tried again after this time, so that a reader that has stopped gets
/// its file once there is room.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The next operation, to be run on a spill thread.
#[derive(Debug)]
pub(super) enum Op {
    /// Write all pieces at an offset, one after the other, and consume what was written.
    Write { at: u64, pieces: Vec<Buffer> },
    /// Read `len` bytes at an offset into the piece.
    Read { at: u64, len: usize, piece: Buffer },
    /// Free the blocks of a range that will not be read again.
    Punch { from: u64, len: u64 },
    /// Free all blocks; there is nothing left to read. The file may be closed: the next write opens
    /// another one then.
    Empty,
}

/// The result of an operation.
#[derive(Debug)]
pub(super) enum OpResult {
    /// The number of bytes written, and consumed from the pieces; a failure if that was not all.
    Written {
        pieces: Vec<Buffer>,
        written: u64,
        failure: Option<WriteFailure>,
    },
    /// The bytes.
    Read(io::Result<Buffer>),
    /// Whether it succeeded.
    Punched(bool),
    /// It is done.
    Emptied,
}

/// Why bytes were not written.
#[derive(Debug)]
pub(super) enum WriteFailure {
    /// It is refused for now.
    Refused(Refusal),
    /// The disk failed: this stream does not write again.
    Disk(io::Error),
}

/// What is lacking for a write. It may come free, so the write is tried again.
#[derive(Debug)]
pub(super) enum Refusal {
    /// A budget is used up, or the disk is down to its reserve.
    NoRoom,
    /// There is no permit for a file.
    NoPermit(NoPermit),
    /// The disk is full or read-only, or the system is short of descriptors or memory.
    NotNow(io::Error),
}

/// The bytes of one stream, wherever they are, and the state of its file.
#[derive(Debug)]
pub(super) struct SpillQueue {
    /// What the ring may hold while memory is not short.
    ring_bytes: usize,
    /// How long the ring must have been full before the first write to the file.
    engage_after: Duration,
    /// What was read back from the file: the front of the bytes.
    head: Option<Buffer>,
    file: Span,
    /// How many bytes are on their way to the file.
    writing: Option<u64>,
    /// Whether an operation runs whose result has not come yet.
    busy: bool,
    /// The last bytes; with nothing in the file or on its way there, also the first.
    ring: Ring,
    /// Whether no more bytes will come.
    ended: bool,
    short_of_memory: bool,
    disk: Disk,
    /// Whether the file system can free the blocks of a range; assumed until it has refused.
    can_punch: bool,
    /// Since when the ring is full; until it is written, or down to half.
    full_since: Option<Instant>,
    /// The operation that runs next if both could.
    preferred: PreferredOp,
    /// The size of the next `head`: small for a reader that takes nothing.
    head_size: Size,
}

/// Offsets of the file: `punched <= read <= written`.
#[derive(Debug, Default)]
struct Span {
    punched: u64,
    read: u64,
    written: u64,
}

impl Span {
    const fn unread(&self) -> u64 {
        self.written - self.read
    }
}

/// Whether the stream may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disk {
    Open,
    /// Refused: tried again after [`RETRY_AFTER`], and before that once the stream has freed disk
    /// space or its ring is down to half.
    Refused {
        since: Instant,
    },
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PreferredOp {
    Read,
    Write,
}

impl SpillQueue {
    /// A queue whose ring holds `ring_bytes`, and that uses the disk once the ring has been full
    /// for `engage_after`.
    pub(super) fn new(ring_bytes: usize, engage_after: Duration) -> Self {
        Self {
            ring_bytes: ring_bytes.max(1),
            engage_after,
            head: None,
            file: Span::default(),
            writing: None,
            busy: false,
            ring: Ring::default(),
            ended: false,
            short_of_memory: false,
            disk: Disk::Open,
            can_punch: true,
            full_since: None,
            preferred: PreferredOp::Write,
            head_size: Size::Medium,
        }
    }

    /// Keeps the queue short while memory is short.
    pub(super) const fn set_short_of_memory(&mut self, short: bool) {
        self.short_of_memory = short;
    }

    /// How many more bytes it takes now. Too little room counts as none.
    pub(super) fn room(&self) -> usize {
        let capacity = self.capacity();
        // A write that is refused puts its bytes back into the ring. However often that happens,
        // the stream holds two rings at most.
        let writing = usize::try_from(self.writing.unwrap_or(0)).unwrap_or(usize::MAX);
        let most = capacity.min((2 * capacity).saturating_sub(writing));
        let room = most.saturating_sub(self.ring.bytes());
        if room < (capacity / 4).clamp(1, 4096) {
            0
        } else {
            room
        }
    }

    /// Room for the next bytes; empty if there is none. `size` is the buffer size for a flow that
    /// is not blocked.
    pub(super) fn space(&mut self, size: Size) -> &mut [u8] {
        let room = self.room();
        if room == 0 {
            return &mut [];
        }
        let size = if self.short_of_memory {
            Size::Small
        } else if self.ring.is_empty() && !self.is_spilling() {
            size
        } else {
            size.min(Size::Medium)
        };
        self.ring.space(size.min(Size::holding(room)), room)
    }

    /// Adds the first `n` bytes of the last [`SpillQueue::space`].
    pub(super) fn advance(&mut self, n: usize) {
        self.ring.advance(n);
    }

    /// Gives back unused room.
    pub(super) fn release_unused(&mut self) {
        self.ring.release_unused();
    }

    /// No more bytes will come.
    pub(super) const fn end(&mut self) {
        self.ended = true;
    }

    /// Whether no bytes are left anywhere.
    pub(super) fn is_empty(&self) -> bool {
        self.queued_bytes() == 0
    }

    /// All queued bytes.
    pub(super) fn queued_bytes(&self) -> u64 {
        self.spilled_bytes() + self.memory_bytes()
    }

    /// The bytes that are only in the file.
    pub(super) const fn spilled_bytes(&self) -> u64 {
        self.file.unread()
    }

    /// The bytes in memory, including those on their way to the file.
    pub(super) fn memory_bytes(&self) -> u64 {
        (self.head.as_ref().map_or(0, Buffer::len) + self.ring.bytes()) as u64
            + self.writing.unwrap_or(0)
    }

    /// The memory of its buffers, in bytes; pieces on their way are counted by their bytes.
    pub(super) fn allocated_memory_bytes(&self) -> u64 {
        (self.head.as_ref().map_or(0, Buffer::capacity) + self.ring.allocated_bytes()) as u64
            + self.writing.unwrap_or(0)
    }

    /// The bytes of the file that take up blocks.
    pub(super) const fn allocated_disk_bytes(&self) -> u64 {
        self.file.written - self.file.punched
    }

    /// How many bytes are ready at the front.
    pub(super) fn ready_bytes(&self) -> usize {
        match &self.head {
            Some(head) => head.len(),
            None if self.ring_is_front() => self.ring.bytes(),
            None => 0,
        }
    }

    /// Puts the first bytes, at most `most`, into `slices`; returns the number of slices.
    pub(super) fn slices<'a>(&'a self, most: usize, slices: &mut [IoSlice<'a>]) -> usize {
        match (&self.head, slices) {
            (Some(head), [first, ..]) => {
                let filled = head.filled();
                *first = IoSlice::new(&filled[..filled.len().min(most)]);
                1
            }
            (None, slices) if self.ring_is_front() => self.ring.slices(most, slices),
            _ => 0,
        }
    }

    /// Removes the first `n` bytes.
    pub(super) fn consume(&mut self, n: usize) {
        let Some(head) = &mut self.head else {
            self.ring.consume(n);
            return;
        };
        head.consume(n);
        if head.is_empty() {
            self.head = None;
            // The reader took a whole piece, so it is active; the next one may have the full size.
            self.head_size = Size::Large;
        }
    }

    /// The reader takes nothing now: the next piece must be small, since it may stay in memory for
    /// long.
    pub(super) const fn held_back(&mut self) {
        self.head_size = Size::Medium;
    }

    /// Whether there is nothing to do: all bytes are in memory, and there is room.
    pub(super) fn is_at_rest(&self) -> bool {
        !self.busy && !self.is_spilling() && self.full_since.is_none() && self.room() > 0
    }

    /// When to call [`SpillQueue::next_op`] even if nothing else happens.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        if self.busy || !(self.room() == 0 || self.has_tail()) {
            return None;
        }
        match self.disk {
            Disk::Open if self.is_spilling() => None,
            Disk::Open => self.full_since.map(|since| since + self.engage_after),
            Disk::Refused { since } => Some(since + RETRY_AFTER),
            Disk::Failed => None,
        }
    }

    /// The next operation, if one is due at `now`. Its result must be reported by
    /// [`SpillQueue::done`] before the next one.
    pub(super) fn next_op(&mut self, now: Instant) -> Option<Op> {
        self.note_fullness(now);
        if matches!(self.disk, Disk::Refused { since } if now >= since + RETRY_AFTER) {
            self.disk = Disk::Open;
        }
        let op = if self.busy { None } else { self.choose(now) };
        self.busy |= op.is_some();
        op
    }

    /// Takes the result of the running operation at `now`.
    ///
    /// # Errors
    /// When bytes could not be read back: they are lost, and the stream must be reset.
    pub(super) fn done(&mut self, outcome: OpResult, now: Instant) -> io::Result<()> {
        self.busy = false;
        match outcome {
            OpResult::Written {
                pieces,
                written,
                failure,
            } => self.wrote(pieces, written, failure, now),
            OpResult::Read(piece) => {
                let piece = piece?;
                self.file.read += piece.len() as u64;
                self.head = Some(piece);
            }
            OpResult::Punched(true) => {
                self.file.punched = self.punch_end();
                self.allow_write();
            }
            OpResult::Punched(false) => self.can_punch = false,
            OpResult::Emptied => {
                self.file = Span::default();
                self.allow_write();
            }
        }
        Ok(())
    }

    fn wrote(
        &mut self,
        pieces: Vec<Buffer>,
        written: u64,
        failure: Option<WriteFailure>,
        now: Instant,
    ) {
        self.writing = None;
        self.file.written += written;
        self.ring.put_back(pieces);
        match failure {
            None => {}
            Some(WriteFailure::Refused(_)) => self.disk = Disk::Refused { since: now },
            Some(WriteFailure::Disk(_)) => self.disk = Disk::Failed,
        }
    }

    fn note_fullness(&mut self, now: Instant) {
        if self.room() == 0 {
            self.full_since.get_or_insert(now);
        } else if self.ring.bytes() <= self.capacity() / 2 {
            self.full_since = None;
            self.allow_write();
        }
    }

    /// Room was freed; a write that was refused may be granted now.
    fn allow_write(&mut self) {
        if matches!(self.disk, Disk::Refused { .. }) {
            self.disk = Disk::Open;
        }
    }

    fn choose(&mut self, now: Instant) -> Option<Op> {
        if self.is_drained() {
            return Some(Op::Empty);
        }
        if let Some(hole) = self.hole() {
            return Some(hole);
        }
        let (read, write) = (self.wants_read(), self.wants_write(now));
        match (read, write) {
            (true, true) if self.preferred == PreferredOp::Write => Some(self.write()),
            (true, _) => Some(self.read()),
            (false, true) => Some(self.write()),
            (false, false) => None,
        }
    }

    fn wants_read(&self) -> bool {
        self.head.is_none() && self.file.unread() > 0
    }

    fn wants_write(&self, now: Instant) -> bool {
        if self.disk != Disk::Open || self.ring.is_empty() {
            return false;
        }
        let is_full = self.room() == 0;
        let is_patient = !self.is_spilling()
            && self
                .full_since
                .is_none_or(|since| now.saturating_duration_since(since) < self.engage_after);
        self.has_tail() || (is_full && !is_patient)
    }

    /// Whether the last bytes of a stream that has ended wait in the ring. They are written to disk
    /// too, so that a paused reader holds no memory.
    fn has_tail(&self) -> bool {
        self.ended && self.file.unread() > 0 && !self.ring.is_empty()
    }

    fn read(&mut self) -> Op {
        self.preferred = PreferredOp::Write;
        let most = if self.short_of_memory {
            Size::Small
        } else {
            self.head_size
        };
        let unread = usize::try_from(self.file.unread()).unwrap_or(usize::MAX);
        let size = most.min(Size::holding(unread));
        Op::Read {
            at: self.file.read,
            len: unread.min(size.bytes()),
            piece: Buffer::take(size),
        }
    }

    fn write(&mut self) -> Op {
        self.preferred = PreferredOp::Read;
        self.writing = Some(self.ring.bytes() as u64);
        self.full_since = None;
        Op::Write {
            at: self.file.written,
            pieces: self.ring.take_all(),
        }
    }

    fn hole(&self) -> Option<Op> {
        let len = self.punch_end() - self.file.punched;
        (self.can_punch && len >= PUNCH_BYTES).then_some(Op::Punch {
            from: self.file.punched,
            len,
        })
    }

    /// The end of the whole MiBs that have been read: file systems free whole blocks only.
    const fn punch_end(&self) -> u64 {
        let whole = self.file.read / (1024 * 1024) * (1024 * 1024);
        if whole > self.file.punched {
            whole
        } else {
            self.file.punched
        }
    }

    /// Whether the file has been written and read to its end.
    const fn is_drained(&self) -> bool {
        self.file.written > 0 && self.file.unread() == 0
    }

    const fn is_spilling(&self) -> bool {
        self.file.written > 0
    }

    const fn ring_is_front(&self) -> bool {
        self.file.unread() == 0 && self.writing.is_none()
    }

    fn capacity(&self) -> usize {
        if self.short_of_memory {
            self.ring_bytes.min(SHORT_RING_BYTES)
        } else {
            self.ring_bytes
        }
    }
}

#[cfg(test)]
mod tests;
