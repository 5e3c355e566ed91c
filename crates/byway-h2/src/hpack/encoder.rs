//! Encoder: fields into header blocks (RFC 7541 section 6).

use byway_head::{BlockEncoder, prefix_int, string_literal};

use super::TABLE_BYTES;
use super::indexing::Indexing;
use super::lookup::{Hashes, Lookup};
use super::static_table::{STATIC, index, index_of};
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
}

impl Default for Encoder {
    fn default() -> Self {
        Self {
            table: Table::new(TABLE_BYTES),
            lookup: Lookup::default(),
            resized_to: None,
            is_open: false,
            line: Vec::new(),
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

    /// Writes a field by its index, or as a literal that gets one. `known` is the index of its name
    /// in the static table.
    fn indexed_field(&mut self, out: &mut Vec<u8>, known: Option<u64>, name: &[u8], value: &[u8]) {
        if known == Some(index::ACCEPT_ENCODING) && value == b"gzip, deflate" {
            return indexed(out, index::ACCEPT_ENCODING);
        }
        let hashes = Hashes::of(name, value);
        let index_at = |place: usize| (STATIC.len() + 1 + place) as u64;
        if let Some(place) = self.lookup.field(&self.table, hashes, name, value) {
            return indexed(out, index_at(place));
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

impl BlockEncoder for &mut Encoder {
    /// If the last block was not ended, the peer has not received it, and both sides empty their
    /// tables.
    fn begin(&mut self, out: &mut Vec<u8>) {
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

    fn pseudo(&mut self, out: &mut Vec<u8>, name: &'static [u8], value: &[u8]) {
        let index = match (name, value) {
            (b":method", b"GET") => index::METHOD_GET,
            (b":method", b"POST") => index::METHOD_POST,
            (b":scheme", b"http") => index::SCHEME_HTTP,
            (b":scheme", b"https") => index::SCHEME_HTTPS,
            (b":path", b"/") => index::PATH_ROOT,
            (b":path", _) => {
                return name_and_value(out, 0, 4, Some(index::PATH_ROOT), name, value);
            }
            (b":status", _) => match STATUSES.iter().position(|known| *known == value) {
                Some(place) => index::STATUS_200 + place as u64,
                None => return self.indexed_field(out, Some(index::STATUS_200), name, value),
            },
            (b":method", _) => {
                return self.indexed_field(out, Some(index::METHOD_GET), name, value);
            }
            (b":authority", _) => {
                return self.indexed_field(out, Some(index::AUTHORITY), name, value);
            }
            _ => return self.indexed_field(out, None, name, value),
        };
        indexed(out, index);
    }

    fn field(&mut self, out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
        let known = index_of(name);
        match Indexing::of(known, name, value) {
            Indexing::Added => self.indexed_field(out, known, name, value),
            Indexing::Without => name_and_value(out, 0b0000_0000, 4, known, name, value),
            Indexing::Never => name_and_value(out, 0b0001_0000, 4, known, name, value),
        }
    }

    fn end(&mut self) {
        (self.is_open, self.resized_to) = (false, None);
    }
}

/// The statuses of the static table, in its order.
const STATUSES: [&[u8]; 7] = [b"200", b"204", b"206", b"304", b"400", b"404", b"500"];

/// Writes an entry of the tables.
fn indexed(out: &mut Vec<u8>, index: u64) {
    prefix_int::write(out, 0b1000_0000, 7, index);
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
