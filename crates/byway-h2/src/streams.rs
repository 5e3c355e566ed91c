//! Streams: those whose work has not ended, and those that this side has reset lately.

use std::collections::VecDeque;

use crate::event::StreamId;
use crate::stream::Stream;

/// Streams that were reset by this side, of which frames of the peer may be on their way.
const LATELY_RESET: usize = 256;

/// Numbers that are compared at once.
const GROUP: usize = 16;

/// A slab. A slot is taken from the head of a request until its user releases the stream, whatever
/// becomes of the stream meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    slots: Vec<Option<Stream>>,
    /// The number of each slot's stream, 0 if it is free: what a search reads.
    numbers: Vec<u32>,
    free: Vec<u32>,
    /// Numbers of streams that were reset and released, the last ones.
    reset: VecDeque<u32>,
    /// Streams up to this number may have been reset.
    forgotten: u32,
}

impl Streams {
    /// Slots in use.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Takes a slot.
    pub(crate) fn insert(&mut self, stream: Stream) -> StreamId {
        let number = stream.number;
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(stream);
                self.numbers[slot as usize] = number;
                slot
            }
            None => {
                self.slots.push(Some(stream));
                self.numbers.push(number);
                self.slots.len() as u32 - 1
            }
        };
        StreamId { slot, number }
    }

    /// Frees a slot.
    pub(crate) fn remove(&mut self, id: StreamId) -> Option<Stream> {
        self.get(id)?;
        let stream = self.slots.get_mut(id.slot())?.take()?;
        self.numbers[id.slot()] = 0;
        self.free.push(id.slot);
        Some(stream)
    }

    pub(crate) fn get(&self, id: StreamId) -> Option<&Stream> {
        let stream = self.slots.get(id.slot())?.as_ref()?;
        (stream.number == id.number).then_some(stream)
    }

    pub(crate) fn get_mut(&mut self, id: StreamId) -> Option<&mut Stream> {
        let stream = self.slots.get_mut(id.slot())?.as_mut()?;
        (stream.number == id.number).then_some(stream)
    }

    /// The stream in a slot.
    pub(crate) fn at(&mut self, slot: u32) -> Option<(StreamId, &mut Stream)> {
        let stream = self.slots.get_mut(slot as usize)?.as_mut()?;
        let number = stream.number;
        Some((StreamId { slot, number }, stream))
    }

    /// The stream of a number that is not 0. There are few, and a search of numbers side by side
    /// cannot be slowed down by the numbers that a peer chooses, as that of a hash table can.
    pub(crate) fn find(&self, number: u32) -> Option<StreamId> {
        // Whole groups at once: the compiler makes few instructions of it.
        let is_in = |group: &[u32]| {
            group
                .iter()
                .fold(false, |hit, other| hit | (*other == number))
        };
        let group = self.numbers.chunks(GROUP).position(is_in)?;
        let at = group * GROUP;
        let slot = at
            + self.numbers[at..]
                .iter()
                .position(|other| *other == number)?;
        Some(StreamId {
            slot: slot as u32,
            number,
        })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (StreamId, &Stream)> {
        self.slots.iter().zip(0..).filter_map(|(stream, slot)| {
            let stream = stream.as_ref()?;
            let number = stream.number;
            Some((StreamId { slot, number }, stream))
        })
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (StreamId, &mut Stream)> {
        self.slots.iter_mut().zip(0..).filter_map(|(stream, slot)| {
            let stream = stream.as_mut()?;
            let number = stream.number;
            Some((StreamId { slot, number }, stream))
        })
    }

    /// Remembers a stream without a slot that this side has reset.
    pub(crate) fn remember_reset(&mut self, number: u32) {
        if self.reset.len() == LATELY_RESET
            && let Some(oldest) = self.reset.pop_front()
        {
            self.forgotten = self.forgotten.max(oldest);
        }
        self.reset.push_back(number);
    }

    /// Whether this side has reset a stream without a slot, so that frames on it mean nothing.
    pub(crate) fn was_reset(&self, number: u32) -> bool {
        number <= self.forgotten || self.reset.contains(&number)
    }

    /// Frees what an idle connection does not need.
    pub(crate) fn trim(&mut self) {
        if self.len() == 0 {
            (self.slots, self.numbers, self.free) = Default::default();
            self.reset.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_a_released_stream_finds_nothing() {
        let mut streams = Streams::default();
        let one = streams.insert(Stream::new(1, 0, 0));
        let three = streams.insert(Stream::new(3, 0, 0));
        assert_eq!((one.slot(), three.slot()), (0, 1));
        assert!(streams.remove(one).is_some() && streams.remove(one).is_none());
        let five = streams.insert(Stream::new(5, 0, 0));
        assert_eq!(five.slot(), 0);
        assert!(streams.get(one).is_none() && streams.get_mut(one).is_none());
        assert!(streams.find(1).is_none());
        assert_eq!(streams.find(5), Some(five));
        assert_eq!(streams.len(), 2);
    }

    #[test]
    fn streams_that_were_reset_long_ago_count_as_possibly_reset() {
        let mut streams = Streams::default();
        for number in (101..).step_by(2).take(LATELY_RESET) {
            streams.remember_reset(number);
        }
        assert!(streams.was_reset(101) && !streams.was_reset(99) && !streams.was_reset(1001));
        streams.remember_reset(1001);
        assert!(streams.was_reset(1001) && streams.was_reset(99) && streams.was_reset(101));
    }
}
