//! Lookup: finds fields and names in the table of an encoder.

use super::table::{Table, TableField};

/// Slots of one bucket.
const WAYS: usize = 4;
/// Buckets; the fields and names of a full table leave half of the slots free.
const BUCKETS: usize = 128;

/// Numbers of entries, by hashes of names and of whole fields. A full bucket forgets its oldest
/// entry, which is then not found any more: a hash that a peer has forced costs bytes only.
#[derive(Debug, Default)]
pub(super) struct Lookup {
    /// The number of the newest entry. It wraps: what is found is compared.
    newest: u16,
    /// Empty until the first entry.
    buckets: Vec<[u16; WAYS]>,
}

/// The hashes of a field.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hashes {
    name: u64,
    field: u64,
}

impl Hashes {
    pub(super) fn of(name: &[u8], value: &[u8]) -> Self {
        let name = hash(0x9e37_79b9_7f4a_7c15, name);
        Self {
            name,
            field: hash(name, value),
        }
    }
}

impl Lookup {
    /// Notes the entry that was added to the table. A name is noted only if the static table does not
    /// have it.
    pub(super) fn note(&mut self, table: &Table, hashes: Hashes, with_name: bool) {
        if self.buckets.is_empty() {
            self.buckets = vec![[0; WAYS]; BUCKETS];
        }
        self.newest = self.newest.wrapping_add(1);
        self.set(table, hashes.field);
        if with_name {
            self.set(table, hashes.name);
        }
    }

    /// The place of a field in the table.
    pub(super) fn field(
        &self,
        table: &Table,
        hashes: Hashes,
        name: &[u8],
        value: &[u8],
    ) -> Option<usize> {
        self.find(table, hashes.field, |field| field.is(name, value))
    }

    /// The place of a field of this name in the table.
    pub(super) fn name(&self, table: &Table, hashes: Hashes, name: &[u8]) -> Option<usize> {
        self.find(table, hashes.name, |field| field.name() == name)
    }

    fn find(&self, table: &Table, hash: u64, is: impl Fn(TableField<'_>) -> bool) -> Option<usize> {
        let bucket = self.buckets.get(bucket(hash))?;
        bucket
            .iter()
            .map(|&number| self.place(number))
            .find(|&place| table.get(place).is_some_and(&is))
    }

    fn set(&mut self, table: &Table, hash: u64) {
        let newest = self.newest;
        let Some(bucket) = self.buckets.get_mut(bucket(hash)) else {
            return;
        };
        let age = |number: u16| usize::from(newest.wrapping_sub(number));
        let oldest = bucket
            .iter_mut()
            .max_by_key(|slot| age(**slot).min(table.len()));
        if let Some(slot) = oldest {
            *slot = newest;
        }
    }

    fn place(&self, number: u16) -> usize {
        usize::from(self.newest.wrapping_sub(number))
    }
}

fn bucket(hash: u64) -> usize {
    (hash >> 57) as usize % BUCKETS
}

/// A hash of the length and of some bytes: what is found is compared, so that a field with the same
/// bytes in these places costs bytes on the wire at most.
fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let word = |at: usize| {
        bytes[at..]
            .first_chunk::<8>()
            .map_or(0, |word| u64::from_le_bytes(*word))
    };
    let (first, middle, last) = match bytes.len() {
        len @ 8.. => (word(0), word((len - 8) / 2), word(len - 8)),
        _ => {
            let mut short = [0; 8];
            short[..bytes.len()].copy_from_slice(bytes);
            (u64::from_le_bytes(short), 0, 0)
        }
    };
    let mixed = u128::from(seed ^ first ^ middle.rotate_left(21) ^ last.rotate_left(42))
        * u128::from(0x2d35_8dcc_aa6c_78a5 ^ bytes.len() as u64);
    mixed as u64 ^ (mixed >> 64) as u64
}
