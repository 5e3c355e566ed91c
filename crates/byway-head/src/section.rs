//! Section: the fields of a head or of a trailer section, as an index over their text.
//!
//! In:    names and values by their place in the text.
//! Out:   an index of names and values.
//! Never: copies bytes.

use crate::error::Malformed;
use crate::limits::Limits;

/// A range of a buffer, in 32-bit offsets from its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: u32,
}

/// One field line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) name: Span,
    pub(crate) value: Span,
}

/// The index of all field lines so far.
#[derive(Clone, Debug, Default)]
pub struct Section {
    entries: Vec<Entry>,
}

impl Span {
    /// Callers keep offsets below [`Limits::head_window`], which fits 32 bits.
    pub fn new(start: usize, end: usize) -> Self {
        Self {
            start: start as u32,
            end: end as u32,
        }
    }

    pub(crate) fn start(self) -> usize {
        self.start as usize
    }

    pub(crate) fn end(self) -> usize {
        self.end as usize
    }

    pub(crate) fn len(self) -> usize {
        self.end().saturating_sub(self.start())
    }

    pub(crate) fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// The bytes of the range; none if `buf` is too short, and so not the indexed buffer.
    pub fn of(self, buf: &[u8]) -> &[u8] {
        buf.get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }
}

impl Entry {
    /// From the name to the line end after the value, if nothing is between them.
    pub(crate) fn line(&self) -> Span {
        Span {
            start: self.name.start,
            end: self.value.end.saturating_add(2),
        }
    }
}

impl Section {
    /// Removes all fields, and keeps the memory.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Whether it has no field.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Fails if there is no room for another field.
    ///
    /// # Errors
    /// `TooManyFields`, at [`Limits::fields`].
    pub fn check_room(&self, limits: &Limits) -> Result<(), Malformed> {
        match self.entries.len() < limits.fields {
            true => Ok(()),
            false => Err(Malformed::TooManyFields {
                limit: limits.fields,
            }),
        }
    }

    /// Adds a field. The caller has checked that the name is a token and the value has no control
    /// bytes.
    pub fn push(&mut self, name: Span, value: Span) {
        self.entries.push(Entry { name, value });
    }

    /// The last field.
    pub(crate) fn last_mut(&mut self) -> Option<&mut Entry> {
        self.entries.last_mut()
    }

    /// Keeps the fields for which `keep` is true.
    pub(crate) fn retain(&mut self, keep: impl FnMut(&Entry) -> bool) {
        self.entries.retain(keep);
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }
}
