//! Section: the field lines of a head or of a trailer section, parsed line by line as they arrive.
//!
//! In:    a buffer that only grows at its end.
//! Out:   an index of names and values.
//! Never: copies bytes, searches a byte twice for a line end, or keeps an index entry for a refused
//!        line.

use byway_head::octets::{first_non_token, first_non_value, is_ows, trim_ows};
use byway_head::{Limits, Malformed, Section, Span};
use memchr::{memchr, memrchr};

/// The position of the parser.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cursor {
    /// Start of the current line.
    line: usize,
    /// No line ends between `line` and here.
    seen: usize,
}

impl Cursor {
    /// Start of the current line.
    pub(crate) fn line(self) -> usize {
        self.line
    }

    /// Position of the LF that ends the current line, if it is within `window`.
    pub(crate) fn find_end(&mut self, window: &[u8]) -> Option<usize> {
        let unseen = window.get(self.seen..)?;
        let found = memchr(b'\n', unseen).map(|n| self.seen + n);
        self.seen = found.unwrap_or(window.len());
        found
    }

    /// Advances to the line after the one that ends at `lf`.
    pub(crate) fn pass(&mut self, lf: usize) {
        *self = Self {
            line: lf + 1,
            seen: lf + 1,
        };
    }
}

/// Parses field lines up to the empty one; returns the position of its LF, with the cursor
/// still before it.
pub(crate) fn read_fields(
    section: &mut Section,
    cursor: &mut Cursor,
    window: &[u8],
    limits: &Limits,
) -> Result<Option<usize>, Malformed> {
    while let Some(lf) = cursor.find_end(window) {
        let start = cursor.line();
        let line = &window[start..lf];
        if line == b"\r" {
            return Ok(Some(lf));
        }
        refuse_indent(section, line, start)?;
        section.check_room(limits)?;
        let (name, value) = field_line(line, start)?;
        section.push(name, value);
        cursor.pass(lf);
    }
    refuse_indent(
        section,
        window.get(cursor.line()..).unwrap_or_default(),
        cursor.line(),
    )?;
    Ok(None)
}

fn refuse_indent(section: &Section, line: &[u8], at: usize) -> Result<(), Malformed> {
    match line.first() {
        Some(&byte) if is_ows(byte) && section.is_empty() => {
            Err(Malformed::LeadingWhitespace { at })
        }
        Some(&byte) if is_ows(byte) => Err(Malformed::ObsFold { at }),
        _ => Ok(()),
    }
}

/// Removes the CR of a line whose LF is removed already.
pub(crate) fn without_cr(line: &[u8], at: usize) -> Result<&[u8], Malformed> {
    line.strip_suffix(b"\r").ok_or(Malformed::BareLf {
        at: at + line.len(),
    })
}

/// `line` still has its CR; `at` is its position in the buffer.
fn field_line(line: &[u8], at: usize) -> Result<(Span, Span), Malformed> {
    let line = without_cr(line, at)?;
    let colon = match first_non_token(line) {
        Some(n) if n > 0 && line[n] == b':' => n,
        Some(n) => return Err(bad_name(line, n, at)),
        None => return Err(Malformed::ColonMissing { at }),
    };
    let raw = &line[colon + 1..];
    if let Some(n) = first_non_value(raw) {
        return Err(bad_value(raw[n], at + colon + 1 + n));
    }
    let value_end = raw
        .iter()
        .rposition(|&byte| !is_ows(byte))
        .map_or(0, |n| n + 1);
    let value_len = trim_ows(&raw[..value_end]).len();
    let value_at = at + colon + 1 + value_end;
    Ok((
        Span::new(at, at + colon),
        Span::new(value_at - value_len, value_at),
    ))
}

/// The error for a line whose byte `n` is neither a token character nor a colon in its place.
#[cold]
fn bad_name(line: &[u8], n: usize, at: usize) -> Malformed {
    let byte = line[n];
    if byte == b':' {
        return Malformed::NameEmpty { at };
    }
    if memrchr(b':', line).is_none() {
        return Malformed::ColonMissing { at };
    }
    match line[n..].iter().find(|&&next| !is_ows(next)) {
        Some(b':') => Malformed::SpaceBeforeColon { at: at + n },
        _ if byte == b'\r' => Malformed::BareCr { at: at + n },
        _ => Malformed::NameByte { at: at + n, byte },
    }
}

#[cold]
fn bad_value(byte: u8, at: usize) -> Malformed {
    match byte {
        b'\r' => Malformed::BareCr { at },
        _ => Malformed::ValueByte { at, byte },
    }
}
