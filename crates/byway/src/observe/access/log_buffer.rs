//! Log buffer: the lines of one worker for the access log; and those of all threads for the
//! program's log.
//!
//! In:    entries, from the worker; or lines of text.
//! Out:   whole lines, taken by the writer all at once.
//! Never: holds more than [`PAGE_BYTES`]; a line for which there is no room is dropped and counted,
//!        at no other cost.

#![expect(
    clippy::disallowed_types,
    reason = "a thread that waits for parking_lot's lock allocates, once, on a worker"
)]

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::clock::{self, Dates};
use super::line::{Entry, MOST_LINE_BYTES};
use super::log_waker::LogWaker;
use crate::config::AccessFormat;
use crate::observe::counters::LocalCounter;

/// The most bytes of lines that wait for the writer in one buffer.
pub const PAGE_BYTES: usize = 1 << 20;

/// No line begins after this position, so that the longest one still fits.
const ROOM_BYTES: usize = PAGE_BYTES - MOST_LINE_BYTES;

/// From this length on the writer is woken at once.
const WAKE_NOW_BYTES: usize = ROOM_BYTES / 2;

/// The lines of one worker that wait to be written to the access log; of the program's log, those
/// of all threads. Holds at most `PAGE_BYTES`: a line that does not fit is dropped and counted.
#[derive(Debug, Default)]
pub struct LogBuffer {
    is_on: AtomicBool,
    inner: Mutex<Inner>,
    /// All three are changed only under the lock.
    lines: LocalCounter,
    dropped: LocalCounter,
    too_long: LocalCounter,
}

#[derive(Debug, Default)]
struct Inner {
    /// `None` while the log is off.
    writing: Option<Writing>,
    lines: Vec<u8>,
    dates: Dates,
}

#[derive(Debug)]
struct Writing {
    form: Form,
    waker: Arc<LogWaker>,
}

/// What a buffer contains.
#[derive(Clone, Copy, Debug)]
pub(in crate::observe) enum Form {
    /// Entries of the access log.
    Access(AccessFormat),
    /// Lines that were formatted elsewhere.
    Text,
}

impl LogBuffer {
    /// Whether the log is on: check it before preparing a line.
    pub fn is_on(&self) -> bool {
        self.is_on.load(Relaxed)
    }

    /// Lines written, including those that were dropped later.
    pub fn lines(&self) -> u64 {
        self.lines.value()
    }

    /// Lines dropped because the buffer was full, or too small for them.
    pub fn dropped(&self) -> u64 {
        self.dropped.value()
    }

    /// Those of them that are longer than the buffer.
    pub(super) fn too_long(&self) -> u64 {
        self.too_long.value()
    }

    /// Writes a line, if the log is on and there is room.
    pub fn note(&self, entry: &Entry<'_>) {
        if !self.is_on() {
            return;
        }
        let mut inner = self.inner();
        let Inner {
            writing: Some(writing),
            lines,
            dates,
        } = &mut *inner
        else {
            return;
        };
        let before = lines.len();
        if before > ROOM_BYTES {
            return self.dropped.add(1);
        }
        match writing.form {
            Form::Access(AccessFormat::Combined) => entry.combined(lines, dates, clock::now()),
            Form::Access(AccessFormat::Json) => entry.json(lines, dates, clock::now()),
            Form::Text => return,
        }
        writing.wake_if_idle(before, lines.len());
        self.lines.add(1);
    }

    /// Adds a line, with its line end, if all of it fits.
    pub(in crate::observe) fn push(&self, line: &[u8]) {
        let mut inner = self.inner();
        let Inner {
            writing: Some(writing),
            lines,
            ..
        } = &mut *inner
        else {
            return;
        };
        let before = lines.len();
        if line.len() > PAGE_BYTES - before.min(PAGE_BYTES) {
            if line.len() > PAGE_BYTES {
                self.too_long.add(1);
            }
            return self.dropped.add(1);
        }
        lines.extend_from_slice(line);
        writing.wake_if_idle(before, lines.len());
        self.lines.add(1);
    }

    /// Takes all lines. From now on lines are written in the given form, and wake the given waker;
    /// with `None` the log is off.
    pub(in crate::observe) fn switch(
        &self,
        empty: &mut Vec<u8>,
        how: Option<(Form, Arc<LogWaker>)>,
    ) {
        let mut inner = self.inner();
        inner.swap(empty);
        inner.writing = how.map(|(form, waker)| Writing { form, waker });
        match inner.writing {
            Some(_) if inner.lines.capacity() < PAGE_BYTES => inner.lines.reserve_exact(PAGE_BYTES),
            Some(_) => {}
            None => inner.lines = Vec::new(),
        }
        self.is_on.store(inner.writing.is_some(), Relaxed);
    }

    /// A thread that panicked while it held the lock leaves at worst a partial line.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it has no lines.
    pub(super) fn is_empty(&self) -> bool {
        self.inner().lines.is_empty()
    }

    /// Takes all lines, and replaces them by `empty`, which must have the capacity of a buffer.
    pub(super) fn swap(&self, empty: &mut Vec<u8>) {
        self.inner().swap(empty);
    }
}

impl Writing {
    /// Wakes the writer, if the buffer was empty or has become half full.
    fn wake_if_idle(&self, bytes_before: usize, bytes_now: usize) {
        if bytes_before == 0 {
            self.waker.wake_if_idle();
        }
        if bytes_before < WAKE_NOW_BYTES && bytes_now >= WAKE_NOW_BYTES {
            self.waker.wake_now();
        }
    }
}

impl AsRef<Self> for LogBuffer {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl Inner {
    fn swap(&mut self, empty: &mut Vec<u8>) {
        if !self.lines.is_empty() {
            std::mem::swap(&mut self.lines, empty);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::longest_entry;
    use super::*;

    /// A buffer without a writer.
    fn new_buffer(format: AccessFormat) -> LogBuffer {
        let log_buffer = LogBuffer::default();
        log_buffer.switch(
            &mut Vec::new(),
            Some((Form::Access(format), Arc::default())),
        );
        log_buffer
    }

    #[test]
    fn a_log_buffer_never_grows_whatever_clients_send_and_counts_dropped_lines() {
        for format in [AccessFormat::Combined, AccessFormat::Json] {
            let log_buffer = new_buffer(format);
            let room = log_buffer.inner().lines.capacity();
            for _ in 0..1000 {
                longest_entry(|entry| log_buffer.note(entry));
            }
            let inner = log_buffer.inner();
            assert!(
                inner.lines.len() <= PAGE_BYTES && inner.lines.capacity() == room,
                "{}",
                inner.lines.len()
            );
            assert!(log_buffer.lines.value() > 0 && log_buffer.dropped.value() > 0);
            assert_eq!(log_buffer.lines.value() + log_buffer.dropped.value(), 1000);
        }
    }

    #[test]
    fn a_log_buffer_that_was_taken_has_room_again_and_one_that_is_off_holds_no_memory() {
        let log_buffer = new_buffer(AccessFormat::Json);
        let mut taken = Vec::with_capacity(PAGE_BYTES);
        longest_entry(|entry| log_buffer.note(entry));
        log_buffer.swap(&mut taken);
        assert!(log_buffer.is_empty() && !taken.is_empty());
        longest_entry(|entry| log_buffer.note(entry));
        let mut left = Vec::new();
        log_buffer.switch(&mut left, None);
        assert_eq!(
            (left.len(), log_buffer.inner().lines.capacity()),
            (taken.len(), 0)
        );
        longest_entry(|entry| log_buffer.note(entry));
        assert!(log_buffer.is_empty() && !log_buffer.is_on());
    }

    #[test]
    fn a_line_that_is_longer_than_the_buffer_is_not_counted_as_unread() {
        let log_buffer = LogBuffer::default();
        log_buffer.switch(&mut Vec::new(), Some((Form::Text, Arc::default())));
        log_buffer.push(&[b'x'; PAGE_BYTES + 1]);
        assert_eq!((log_buffer.dropped(), log_buffer.too_long()), (1, 1));
        log_buffer.push(&[b'x'; PAGE_BYTES]);
        log_buffer.push(b"one more\n");
        assert_eq!((log_buffer.dropped(), log_buffer.too_long()), (2, 1));
    }
}
