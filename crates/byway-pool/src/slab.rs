//! Slab: values with stable indexes; free entries are reused.
//!
//! In:    values.   Out:   typed ids, valid until the value is removed.
//! Never: moves a value or shrinks.

use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::ops::{Index, IndexMut};

/// The index of a `T` in its [`Slab`]. The holder must know that its value still exists: the entry
/// of a removed value is reused.
pub(crate) struct Id<T> {
    /// The index plus one, in 32 bits: links are small, as there may be a hundred thousand of them.
    number: NonZeroU32,
    of: PhantomData<fn() -> T>,
}

pub(crate) struct Slab<T> {
    entries: Vec<Entry<T>>,
    vacant: Option<usize>,
    len: usize,
}

enum Entry<T> {
    Full(T),
    Vacant { next: Option<usize> },
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self {
            entries: Vec::new(),
            vacant: None,
            len: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The number of entries, full or vacant.
    #[cfg(test)]
    pub(crate) fn places(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn insert(&mut self, value: T) -> Id<T> {
        self.len += 1;
        let Some(place) = self.vacant else {
            self.entries.push(Entry::Full(value));
            return Id::at(self.entries.len() - 1);
        };
        if let Entry::Vacant { next } =
            std::mem::replace(&mut self.entries[place], Entry::Full(value))
        {
            self.vacant = next;
        }
        Id::at(place)
    }

    /// Removes a value; the id must belong to a value that still exists.
    pub(crate) fn remove(&mut self, id: Id<T>) -> T {
        match std::mem::replace(
            &mut self.entries[id.place()],
            Entry::Vacant { next: self.vacant },
        ) {
            Entry::Full(value) => {
                self.vacant = Some(id.place());
                self.len -= 1;
                value
            }
            Entry::Vacant { .. } => unreachable!("a slab value is removed once"),
        }
    }

    /// For ids whose value may have been removed.
    pub(crate) fn get(&self, id: Id<T>) -> Option<&T> {
        match self.entries.get(id.place()) {
            Some(Entry::Full(value)) => Some(value),
            _ => None,
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Id<T>, &T)> {
        self.entries
            .iter()
            .enumerate()
            .filter_map(|(place, entry)| match entry {
                Entry::Full(value) => Some((Id::at(place), value)),
                Entry::Vacant { .. } => None,
            })
    }
}

impl<T> Index<Id<T>> for Slab<T> {
    type Output = T;

    fn index(&self, id: Id<T>) -> &T {
        match &self.entries[id.place()] {
            Entry::Full(value) => value,
            Entry::Vacant { .. } => unreachable!("a slab id is used while its value is there"),
        }
    }
}

impl<T> IndexMut<Id<T>> for Slab<T> {
    fn index_mut(&mut self, id: Id<T>) -> &mut T {
        match &mut self.entries[id.place()] {
            Entry::Full(value) => value,
            Entry::Vacant { .. } => unreachable!("a slab id is used while its value is there"),
        }
    }
}

impl<T> Id<T> {
    #[allow(clippy::cast_possible_truncation)] // memory runs out long before u32
    fn at(place: usize) -> Self {
        Self {
            number: NonZeroU32::MIN.saturating_add(place as u32),
            of: PhantomData,
        }
    }

    fn place(self) -> usize {
        self.number.get() as usize - 1
    }
}

impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Id<T> {}

impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<T> Eq for Id<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_entries_are_reused_before_new_ones() {
        let mut slab = Slab::new();
        let ids: Vec<_> = (0..4).map(|n| slab.insert(n)).collect();
        assert_eq!((slab.remove(ids[1]), slab.remove(ids[2])), (1, 2));
        assert!(slab.get(ids[1]).is_none());
        slab.insert(7);
        slab.insert(8);
        assert_eq!((slab.len(), slab.entries.len()), (4, 4));
        assert_eq!(
            slab.iter().map(|(_, n)| *n).collect::<Vec<_>>(),
            [0, 8, 7, 3]
        );
    }
}
