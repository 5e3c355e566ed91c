//! Expiry: a heap of expiry entries for idle connections, sorted by time; entries may be outdated,
//! which the slots know.
//!
//! A busy connection becomes idle thousands of times a second, and almost none of those idle times
//! runs out. So a slot keeps its expiry entry while its connection is in use: an entry that is
//! reached too early is replaced, once per idle timeout instead of once per request.

use crate::slab::Id;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::time::Instant;

pub(crate) struct Expiry<T> {
    entries: BinaryHeap<Reverse<ExpiryEntry<T>>>,
    serial: u64,
}

/// Check `of` at `at`. A slot knows the serial of its current expiry entry; any other one is stale.
pub(crate) struct ExpiryEntry<T> {
    pub(crate) at: Instant,
    pub(crate) serial: u64,
    pub(crate) of: Id<T>,
}

impl<T> Expiry<T> {
    pub(crate) fn new() -> Self {
        Self {
            entries: BinaryHeap::new(),
            serial: 0,
        }
    }

    /// Adds an expiry entry and returns its serial.
    pub(crate) fn push(&mut self, at: Instant, of: Id<T>) -> u64 {
        self.serial += 1;
        self.entries.push(Reverse(ExpiryEntry {
            at,
            serial: self.serial,
            of,
        }));
        self.serial
    }

    pub(crate) fn earliest(&self) -> Option<&ExpiryEntry<T>> {
        self.entries
            .peek()
            .map(|Reverse(expiry_entry)| expiry_entry)
    }

    pub(crate) fn pop(&mut self) {
        self.entries.pop();
    }

    /// Drops stale entries when they outnumber `live` by far, so that memory follows the number of
    /// connections.
    pub(crate) fn tidy(&mut self, live: usize, mut valid: impl FnMut(&ExpiryEntry<T>) -> bool) {
        if self.entries.len() > 64 + 2 * live {
            self.entries
                .retain(|Reverse(expiry_entry)| valid(expiry_entry));
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

impl<T> Ord for ExpiryEntry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.serial).cmp(&(other.at, other.serial))
    }
}

impl<T> PartialOrd for ExpiryEntry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for ExpiryEntry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.serial == other.serial
    }
}

impl<T> Eq for ExpiryEntry<T> {}
