//! Expiry: alarms for idle connections, sorted by time and allowed to be out of date.
//!
//! In:    alarms.   Out:   the earliest.   Never: knows which alarms still matter; the slots do.
//!
//! A busy connection goes idle thousands of times a second, and almost none of those idle times
//! ends by itself. So a slot keeps its expiry entry while it is lent: an expiry entry that comes
//! too early is looked at, found early and set again, once per idle timeout instead of once per
//! request.

use crate::pool::slab::Id;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::time::Instant;

pub(crate) struct Expiry<T> {
    alarms: BinaryHeap<Reverse<ExpiryEntry<T>>>,
    serial: u64,
}

/// Look at `of` at `at`. A slot knows the serial of its present expiry entry; any other one is
/// void.
pub(crate) struct ExpiryEntry<T> {
    pub(crate) at: Instant,
    pub(crate) serial: u64,
    pub(crate) of: Id<T>,
}

impl<T> Expiry<T> {
    pub(crate) fn new() -> Self {
        Self {
            alarms: BinaryHeap::new(),
            serial: 0,
        }
    }

    /// Adds an expiry entry and returns its serial.
    pub(crate) fn push(&mut self, at: Instant, of: Id<T>) -> u64 {
        self.serial += 1;
        self.alarms.push(Reverse(ExpiryEntry {
            at,
            serial: self.serial,
            of,
        }));
        self.serial
    }

    pub(crate) fn earliest(&self) -> Option<&ExpiryEntry<T>> {
        self.alarms.peek().map(|Reverse(expiry_entry)| expiry_entry)
    }

    pub(crate) fn pop(&mut self) {
        self.alarms.pop();
    }

    /// Drops void alarms once they outnumber `live` by far, so that memory follows the number of
    /// connections.
    pub(crate) fn tidy(&mut self, live: usize, mut valid: impl FnMut(&ExpiryEntry<T>) -> bool) {
        if self.alarms.len() > 64 + 2 * live {
            self.alarms
                .retain(|Reverse(expiry_entry)| valid(expiry_entry));
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.alarms.len()
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
