//! Table: the dynamic table of one direction (RFC 7541 sections 2.3.2 and 4).
//!
//! Never: has more bytes of fields than its size, or three times that in its buffer.

use std::collections::VecDeque;

/// What an entry counts beside its name and value (RFC 7541 section 4.1).
const ENTRY_OVERHEAD: usize = 32;

/// What a line has beside its name and value.
const LINE_OVERHEAD: usize = b": \r\n".len();

/// A first-in, first-out table of fields. It takes memory as it grows, and none at first.
#[derive(Debug)]
pub(super) struct Table {
    /// The newest first.
    entries: VecDeque<Entry>,
    /// Lines, `name: value CRLF`, the oldest first, and those of evicted entries before them.
    lines: Vec<u8>,
    /// Size of all entries by the rules of the RFC.
    size: usize,
    most: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    at: u32,
    name_len: u32,
    value_len: u32,
    /// What the owner of the table knows of the field.
    is_valid: bool,
}

impl Entry {
    fn line_len(&self) -> usize {
        (self.name_len + self.value_len) as usize + LINE_OVERHEAD
    }

    fn size(&self) -> usize {
        (self.name_len + self.value_len) as usize + ENTRY_OVERHEAD
    }
}

/// A field in the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct TableField<'a> {
    /// `name: value CRLF`.
    pub(super) line: &'a [u8],
    pub(super) name_len: usize,
    pub(super) value_len: usize,
    pub(super) is_valid: bool,
}

impl<'a> TableField<'a> {
    pub(super) fn name(&self) -> &'a [u8] {
        &self.line[..self.name_len]
    }

    pub(super) fn is(&self, name: &[u8], value: &[u8]) -> bool {
        let value_at = self.name_len + 2;
        self.name() == name && self.line[value_at..value_at + self.value_len] == *value
    }
}

impl Table {
    pub(super) fn new(most: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            lines: Vec::new(),
            size: 0,
            most,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// The field at a place, 0 for the newest.
    pub(super) fn get(&self, place: usize) -> Option<TableField<'_>> {
        self.entries.get(place).map(|entry| TableField {
            line: &self.lines[entry.at as usize..][..entry.line_len()],
            name_len: entry.name_len as usize,
            value_len: entry.value_len as usize,
            is_valid: entry.is_valid,
        })
    }

    /// Changes the size, and evicts what has no room.
    pub(super) fn resize(&mut self, most: usize) {
        self.most = most;
        self.evict(0);
    }

    /// Adds a field, whose line is `name: value CRLF`. Evicts as many of the oldest as need be; a
    /// field that is larger than the table empties it and is not added.
    pub(super) fn insert(&mut self, line: &[u8], name_len: usize, is_valid: bool) {
        let value_len = line.len() - name_len - LINE_OVERHEAD;
        let size = name_len + value_len + ENTRY_OVERHEAD;
        self.evict(size);
        if size > self.most {
            return;
        }
        let entry = Entry {
            at: self.make_room(line.len()) as u32,
            name_len: name_len as u32,
            value_len: value_len as u32,
            is_valid,
        };
        self.lines.extend_from_slice(line);
        self.entries.push_front(entry);
        self.size += size;
    }

    fn evict(&mut self, needed: usize) {
        while self.size + needed > self.most {
            let Some(oldest) = self.entries.pop_back() else {
                break;
            };
            self.size -= oldest.size();
        }
        if self.entries.is_empty() {
            self.lines.clear();
        }
    }

    /// Returns where the next line goes. When the buffer is full, it moves the lines to its start if
    /// the evicted ones before them are half as many, so that few bytes are moved for each line.
    fn make_room(&mut self, line_len: usize) -> usize {
        let first = self.entries.back().map_or(0, |oldest| oldest.at);
        let live = self.lines.len() - first as usize;
        if self.lines.len() + line_len > self.lines.capacity() {
            if first as usize >= live / 2 {
                self.lines.copy_within(first as usize.., 0);
                self.lines.truncate(live);
                for entry in &mut self.entries {
                    entry.at -= first;
                }
            }
            self.lines.reserve_exact(line_len.max(live / 2));
        }
        self.lines.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_never_exceeds_its_size_and_its_buffer_stays_small() {
        let mut table = Table::new(4096);
        for n in 0..100_000 {
            let line = format!("name-{n}: {}\r\n", "v".repeat(n % 200));
            table.insert(line.as_bytes(), line.find(':').unwrap(), true);
            assert_eq!(table.get(0).unwrap().line, line.as_bytes());
            assert!(table.size <= 4096);
            let buffer_bytes = table.lines.capacity();
            assert!(buffer_bytes <= 3 * 4096, "{buffer_bytes}");
            let size: usize = table.entries.iter().map(Entry::size).sum();
            assert_eq!(size, table.size);
        }
        let oldest = table.get(table.len() - 1).unwrap();
        assert!(oldest.line.starts_with(b"name-"));
        assert!(oldest.line.ends_with(b"\r\n"));
        assert!(table.get(table.len()).is_none());
    }

    #[test]
    fn a_field_larger_than_the_table_empties_it() {
        let mut table = Table::new(64);
        table.insert(b"a: b\r\n", 1, true);
        assert_eq!(table.len(), 1);
        table.insert(&[b"a: ", &[b'x'; 40][..], b"\r\n"].concat(), 1, true);
        assert_eq!((table.len(), table.size), (0, 0));
    }

    #[test]
    fn a_smaller_size_evicts_the_oldest() {
        let mut table = Table::new(200);
        for name in [&b"a: 1\r\n"[..], b"b: 2\r\n", b"c: 3\r\n"] {
            table.insert(name, 1, true);
        }
        table.resize(70);
        assert_eq!(table.len(), 2);
        assert!(table.get(1).unwrap().is(b"b", b"2"));
        table.resize(0);
        assert_eq!(table.len(), 0);
    }
}
