//! Encoder: fields into header blocks (RFC 7541 section 6).

use byway_head::{prefix_int, string_literal};

use super::TABLE_BYTES;
use super::indexing::Indexing;
use super::lookup::{Hashes, Lookup};
use super::static_table::{STATIC, index};
use super::table::Table;

/// Encodes the header blocks of one connection, in their order. A block is written by a
/// [`HeadWriter`](super::HeadWriter).
///
/// Its table has at most [`TABLE_BYTES`], whatever the peer allows. Fields with secrets
/// ([`byway_head::is_secret`]) are never indexed, and fields whose values rarely repeat are not indexed.
#[derive(Debug)]
pub struct Encoder {
    table: Table,
    lookup: Lookup,
    /// The smallest size of the table since the last block that has ended, if it was changed.
    resized_to: Option<usize>,
    /// A block was begun and has not ended, so the peer does not know its entries.
    is_open: bool,
    /// A line for the table.
    line: Vec<u8>,
    /// The value of a list.
    list: Vec<u8>,
}

impl Default for Encoder {
    fn default() -> Self {
        Self {
            table: Table::new(TABLE_BYTES),
            lookup: Lookup::default(),
            resized_to: None,
            is_open: false,
            line: Vec::new(),
            list: Vec::new(),
        }
    }
}

impl Encoder {
    /// Sets the largest table that the peer allows: its SETTINGS_HEADER_TABLE_SIZE. The next block
    /// announces a change.
    pub fn allow_table(&mut self, bytes: u32) {
        self.resize((bytes as usize).min(TABLE_BYTES));
    }

    fn resize(&mut self, bytes: usize) {
        if bytes == self.table.most() {
            return;
        }
        let smallest = self.resized_to.unwrap_or(bytes).min(bytes);
        self.resized_to = Some(smallest);
        self.table.resize(bytes);
    }

    /// Begins a block. If the last one was not ended, the peer has not received it, and both sides
    /// empty their tables.
    pub(super) fn begin(&mut self, out: &mut Vec<u8>) {
        if self.is_open {
            let most = self.table.most();
            self.table.resize(0);
            self.table.resize(most);
            self.resized_to = Some(0);
        }
        self.is_open = true;
        if let Some(smallest) = self.resized_to {
            for bytes in [smallest, self.table.most()] {
                prefix_int::write(out, 0b0010_0000, 5, bytes as u64);
            }
        }
    }

    /// Ends a block, which the peer will receive.
    pub(super) fn end(&mut self) {
        (self.is_open, self.resized_to) = (false, None);
    }

    /// Memory for the value of a list; [`keep_list`](Self::keep_list) gives it back.
    pub(super) fn take_list(&mut self) -> Vec<u8> {
        self.list.clear();
        std::mem::take(&mut self.list)
    }

    pub(super) fn keep_list(&mut self, list: Vec<u8>) {
        self.list = list;
    }

    /// Writes a field of the static table.
    pub(super) fn indexed(out: &mut Vec<u8>, index: u64) {
        prefix_int::write(out, 0b1000_0000, 7, index);
    }

    /// Writes a field that is not indexed, whose name is in the static table.
    pub(super) fn literal(out: &mut Vec<u8>, name_index: u64, value: &[u8]) {
        prefix_int::write(out, 0b0000_0000, 4, name_index);
        string_literal::write(out, 0, 7, value);
    }

    /// Writes a field. The caller has checked it; the name is in lower case, and `known` is its index
    /// in the static table.
    pub(super) fn field(
        &mut self,
        out: &mut Vec<u8>,
        known: Option<u64>,
        name: &[u8],
        value: &[u8],
    ) {
        match Indexing::of(known, name, value) {
            Indexing::Added => self.indexed_field(out, known, name, value),
            Indexing::Without => name_and_value(out, 0b0000_0000, 4, known, name, value),
            Indexing::Never => name_and_value(out, 0b0001_0000, 4, known, name, value),
        }
    }

    /// Writes a field by its index, or as a literal that gets one. `known` is the index of its name
    /// in the static table.
    pub(super) fn indexed_field(
        &mut self,
        out: &mut Vec<u8>,
        known: Option<u64>,
        name: &[u8],
        value: &[u8],
    ) {
        if known == Some(index::ACCEPT_ENCODING) && value == b"gzip, deflate" {
            return Self::indexed(out, index::ACCEPT_ENCODING);
        }
        let hashes = Hashes::of(name, value);
        let index_at = |place: usize| (STATIC.len() + 1 + place) as u64;
        if let Some(place) = self.lookup.field(&self.table, hashes, name, value) {
            return Self::indexed(out, index_at(place));
        }
        let name_index = known.or_else(|| {
            let place = self.lookup.name(&self.table, hashes, name);
            place.map(index_at)
        });
        // One field must not evict most of the others.
        if 2 * (name.len() + value.len()) > self.table.most() {
            return name_and_value(out, 0b0000_0000, 4, name_index, name, value);
        }
        name_and_value(out, 0b0100_0000, 6, name_index, name, value);
        self.line.clear();
        for part in [name, b": ", value, b"\r\n"] {
            self.line.extend_from_slice(part);
        }
        self.table.insert(&self.line, name.len(), true);
        self.lookup.note(&self.table, hashes, known.is_none());
    }
}

fn name_and_value(
    out: &mut Vec<u8>,
    first: u8,
    prefix_bits: u32,
    name_index: Option<u64>,
    name: &[u8],
    value: &[u8],
) {
    prefix_int::write(out, first, prefix_bits, name_index.unwrap_or(0));
    if name_index.is_none() {
        string_literal::write(out, 0, 7, name);
    }
    string_literal::write(out, 0, 7, value);
}
