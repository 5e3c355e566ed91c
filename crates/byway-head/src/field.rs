//! Field: one name with its value, and iterators over many.
//!
//! In:    the index of a section and its bytes.
//! Out:   names and values as they were sent.
//! Never: copies or joins values.

use std::fmt;
use std::slice;

use crate::octets::trim_ows;
use crate::section::{Entry, Section};

/// One field line as it was sent: the name in its original case, the value without surrounding
/// white space.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name; a token, never empty. Compare it with [`Field::is`].
    pub name: &'a [u8],
    /// The value; may be empty and may have bytes from 0x80 up.
    pub value: &'a [u8],
}

/// All fields of a section in their original order. Created by
/// [`Request::fields`](crate::Request::fields) and [`Response::fields`](crate::Response::fields).
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    entries: slice::Iter<'a, Entry>,
    buf: &'a [u8],
}

/// A field together with its original bytes. Only the parser creates one, so that the bytes are a
/// valid line, and [`HeadOut::line`](crate::HeadOut::line) may pass them on by one copy.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    field: Field<'a>,
    /// `name: value CRLF`; empty if the line had other white space.
    sent: &'a [u8],
}

impl<'a> Line<'a> {
    /// The field.
    pub fn field(self) -> Field<'a> {
        self.field
    }

    /// The original line, if it has the form in which it would be written.
    pub fn sent(self) -> Option<&'a [u8]> {
        (!self.sent.is_empty()).then_some(self.sent)
    }
}

/// All field lines of a section in their original order. Created by
/// [`Request::lines`](crate::Request::lines) and [`Response::lines`](crate::Response::lines).
#[derive(Clone, Debug)]
pub struct Lines<'a>(Fields<'a>);

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        let entry = self.0.entries.next()?;
        let buf = self.0.buf;
        let field = Field {
            name: entry.name.of(buf),
            value: entry.value.of(buf),
        };
        let sent = entry.line().of(buf);
        let is_plain = sent.len() == field.name.len() + field.value.len() + b": \r\n".len()
            && sent
                .get(field.name.len()..)
                .is_some_and(|rest| rest.starts_with(b": "))
            && sent.ends_with(b"\r\n");
        Some(Line {
            field,
            sent: if is_plain { sent } else { &[] },
        })
    }
}

/// The values of all fields of one name, in their original order.
#[derive(Clone, Debug)]
pub struct FieldsNamed<'a, 'n> {
    fields: Fields<'a>,
    name: &'n str,
}

/// The elements of a comma-separated list, possibly in several fields, without surrounding white
/// space and without empty elements.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    fields: FieldsNamed<'a, 'static>,
    rest: &'a [u8],
}

impl Field<'_> {
    /// Whether this is the field `name`; field names are case-insensitive.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

impl fmt::Debug for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}",
            self.name.escape_ascii(),
            self.value.escape_ascii()
        )
    }
}

impl<'a> Fields<'a> {
    pub(crate) fn new(section: &'a Section, buf: &'a [u8]) -> Self {
        Self {
            entries: section.entries().iter(),
            buf,
        }
    }

    pub(crate) fn lines(self) -> Lines<'a> {
        Lines(self)
    }

    /// The value of the first field of this name.
    pub(crate) fn first(mut self, name: &str) -> Option<&'a [u8]> {
        self.find(|field| field.is(name)).map(|field| field.value)
    }

    pub(crate) fn named<'n>(self, name: &'n str) -> FieldsNamed<'a, 'n> {
        FieldsNamed { fields: self, name }
    }

    pub(crate) fn options(self, name: &'static str) -> Options<'a> {
        Options {
            fields: self.named(name),
            rest: &[],
        }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let entry = self.entries.next()?;
        Some(Field {
            name: entry.name.of(self.buf),
            value: entry.value.of(self.buf),
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.entries.size_hint()
    }
}

impl ExactSizeIterator for Fields<'_> {}

impl<'a> Iterator for FieldsNamed<'a, '_> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let name = self.name;
        self.fields
            .find(|field| field.is(name))
            .map(|field| field.value)
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            while !self.rest.is_empty() {
                let (element, rest) = split_list(self.rest);
                self.rest = rest;
                if !element.is_empty() {
                    return Some(element);
                }
            }
            self.rest = self.fields.next()?;
        }
    }
}

/// The first element of a comma-separated list, trimmed, and the rest after its comma.
pub(crate) fn split_list(list: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b',', list) {
        Some(comma) => (trim_ows(&list[..comma]), &list[comma + 1..]),
        None => (trim_ows(list), &[]),
    }
}
