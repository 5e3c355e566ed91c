//! Expiry: alarms for idle connections, sorted by time and allowed to be out of date.
//!
//! In:    alarms.   Out:   the earliest.   Never: knows which alarms still matter; the slots do.
//!
//! A busy connection goes idle thousands of times a second, and almost none of those idle times
//! ends by itself. So a slot keeps its alarm while it is lent: an alarm that comes too early is
//! looked at, found early and set again, once per idle timeout instead of once per request.

use crate::pool::slab::Id;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::time::Instant;

pub(crate) struct Expiry<T> {
    alarms: BinaryHeap<Reverse<Alarm<T>>>,
    serial: u64,
}

/// Look at `of` at `at`. A slot knows the serial of its present alarm; any other one is void.
pub(crate) struct Alarm<T> {
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

    /// Adds an alarm and returns its serial.
    pub(crate) fn push(&mut self, at: Instant, of: Id<T>) -> u64 {
        self.serial += 1;
        self.alarms.push(Reverse(Alarm {
            at,
            serial: self.serial,
            of,
        }));
        self.serial
    }

    pub(crate) fn earliest(&self) -> Option<&Alarm<T>> {
        self.alarms.peek().map(|Reverse(alarm)| alarm)
    }

    pub(crate) fn pop(&mut self) {
        self.alarms.pop();
    }

    /// Drops void alarms once they outnumber `live` by far, so that memory follows the number of
    /// connections.
    pub(crate) fn tidy(&mut self, live: usize, mut valid: impl FnMut(&Alarm<T>) -> bool) {
        if self.alarms.len() > 64 + 2 * live {
            self.alarms.retain(|Reverse(alarm)| valid(alarm));
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.alarms.len()
    }
}

impl<T> Ord for Alarm<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.serial).cmp(&(other.at, other.serial))
    }
}

impl<T> PartialOrd for Alarm<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Alarm<T> {
    fn eq(&self, other: &Self) -> bool {
        self.serial == other.serial
    }
}

impl<T> Eq for Alarm<T> {}
