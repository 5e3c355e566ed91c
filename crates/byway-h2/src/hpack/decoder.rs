//! Decoder: a header block into lines of fields (RFC 7541 section 6).

use byway_head::{FieldSink, Span, is_valid_field, prefix_int, string_literal};

use super::error::HpackError;
use super::static_table::STATIC;
use super::table::Table;

/// Decodes the header blocks of one connection, in their order.
#[derive(Debug)]
pub struct Decoder {
    table: Table,
    /// The largest table that the peer may choose.
    most_table_bytes: usize,
}

/// A line that was appended to the text.
#[derive(Clone, Copy)]
struct Appended {
    name_len: usize,
    value_len: usize,
    /// Whether its bytes were checked.
    is_valid: bool,
}

impl Decoder {
    /// A decoder whose peer may use a table of this size: SETTINGS_HEADER_TABLE_SIZE of this side,
    /// or [`TABLE_BYTES`](super::TABLE_BYTES) if that is not sent. A table begins with this size and
    /// without memory.
    pub fn new(table_bytes: usize) -> Self {
        Self {
            table: Table::new(table_bytes),
            most_table_bytes: table_bytes,
        }
    }

    /// Decodes a whole block (HEADERS with its CONTINUATION frames), of at most 4 GiB, and reports
    /// its fields to `sink`. Stops at `most_bytes` of fields, each counted as a line of HTTP/1, since
    /// a block of references may be thousands of times as large as its bytes. Let the sink have a
    /// lower limit, so that a head beyond it is refused and the connection goes on.
    ///
    /// # Errors
    /// If the block is invalid or too large. The connection must then end.
    pub fn decode(
        &mut self,
        mut block: &[u8],
        most_bytes: usize,
        sink: &mut impl FieldSink,
    ) -> Result<(), HpackError> {
        let mut left = most_bytes;
        while let Some(&first) = block.first()
            && first >> 5 == 0b001
        {
            self.resize(prefix_int::take(&mut block, 5)?)?;
        }
        while let Some(&first) = block.first() {
            let at = sink.text().len();
            let appended = match first {
                0b1000_0000.. => {
                    let index = prefix_int::take(&mut block, 7)?;
                    self.indexed(index, sink.text())?
                }
                0b0100_0000.. => {
                    let field = self.literal(&mut block, 6, sink.text())?;
                    self.add(&sink.text()[at..], field)
                }
                0b0010_0000.. => return Err(HpackError::ResizeLate),
                // Never indexed, and not indexed this time.
                _ => self.literal(&mut block, 4, sink.text())?,
            };
            let name = Span::new(at, at + appended.name_len);
            let value_at = at + appended.name_len + 2;
            let value = Span::new(value_at, value_at + appended.value_len);
            let line_len = appended.name_len + appended.value_len + b": \r\n".len();
            left = left
                .checked_sub(line_len)
                .ok_or(HpackError::TooLarge { limit: most_bytes })?;
            match appended.is_valid {
                true => sink.valid_field(name, value),
                false => sink.field(name, value),
            }
        }
        Ok(())
    }

    fn resize(&mut self, bytes: u64) -> Result<(), HpackError> {
        let chosen = usize::try_from(bytes).ok();
        let allowed = chosen.filter(|&chosen| chosen <= self.most_table_bytes);
        self.table.resize(allowed.ok_or(HpackError::ResizeTooLarge {
            bytes,
            limit: self.most_table_bytes,
        })?);
        Ok(())
    }

    /// Adds a field to the table. It is checked here, once for all references to it.
    fn add(&mut self, line: &[u8], field: Appended) -> Appended {
        let (name, rest) = line.split_at(field.name_len);
        let is_valid = is_valid_field(name, &rest[2..][..field.value_len]);
        self.table.insert(line, field.name_len, is_valid);
        Appended { is_valid, ..field }
    }

    /// Appends the line of an entry.
    #[inline]
    fn indexed(&self, index: u64, text: &mut Vec<u8>) -> Result<Appended, HpackError> {
        let place = place(index);
        if let Some(field) = STATIC.get(place) {
            text.extend_from_slice(field.line);
            return Ok(Appended {
                name_len: field.name_len,
                value_len: field.value_len(),
                is_valid: true,
            });
        }
        match self.table.get(place.wrapping_sub(STATIC.len())) {
            Some(field) => {
                text.extend_from_slice(field.line);
                Ok(Appended {
                    name_len: field.name_len,
                    value_len: field.value_len,
                    is_valid: field.is_valid,
                })
            }
            None => Err(self.unknown(index)),
        }
    }

    /// Appends the line of a literal, whose name may be an index of `prefix_bits`.
    fn literal(
        &self,
        block: &mut &[u8],
        prefix_bits: u32,
        text: &mut Vec<u8>,
    ) -> Result<Appended, HpackError> {
        let at = text.len();
        match prefix_int::take(block, prefix_bits)? {
            0 => string_literal::take(block, 7, text)?,
            index => text.extend_from_slice(self.name(index)?),
        }
        let name_len = text.len() - at;
        text.extend_from_slice(b": ");
        string_literal::take(block, 7, text)?;
        let value_len = text.len() - at - name_len - 2;
        text.extend_from_slice(b"\r\n");
        Ok(Appended {
            name_len,
            value_len,
            is_valid: false,
        })
    }

    fn name(&self, index: u64) -> Result<&[u8], HpackError> {
        let place = place(index);
        if let Some(field) = STATIC.get(place) {
            return Ok(field.name());
        }
        match self.table.get(place.wrapping_sub(STATIC.len())) {
            Some(field) => Ok(field.name()),
            None => Err(self.unknown(index)),
        }
    }

    fn unknown(&self, index: u64) -> HpackError {
        HpackError::IndexUnknown {
            index,
            entries: STATIC.len() + self.table.len(),
        }
    }
}

/// The place in both tables together; beyond them for the index 0.
fn place(index: u64) -> usize {
    usize::try_from(index).unwrap_or(0).wrapping_sub(1)
}
