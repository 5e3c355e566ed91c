//! Decoder: a header block into lines of fields (RFC 9204 section 4.5).

use byway_head::{FieldSink, Span, prefix_int, string_literal};

use super::error::QpackError;
use super::static_table::{STATIC, StaticField};

/// Decodes a whole block (the payload of HEADERS), of at most 4 GiB, and reports its fields to
/// `sink`. Stops at `most_bytes` of fields, each counted as a line of HTTP/1. Let the sink have a
/// lower limit, so that a head beyond it is refused and the connection goes on.
///
/// # Errors
/// If the block is invalid, uses a dynamic table, or is too large. The connection must then end.
pub fn decode(
    mut block: &[u8],
    most_bytes: usize,
    sink: &mut impl FieldSink,
) -> Result<(), QpackError> {
    take_prefix(&mut block)?;
    let mut left = most_bytes;
    while let Some(&first) = block.first() {
        let text = sink.text();
        let at = text.len();
        let (name_len, value_len, is_valid) = match first {
            0b1100_0000.. => {
                let field = static_field(prefix_int::take(&mut block, 6)?)?;
                text.extend_from_slice(field.line);
                (field.name_len, field.value_len(), true)
            }
            0b0101_0000..=0b0101_1111 | 0b0111_0000..=0b0111_1111 => {
                let field = static_field(prefix_int::take(&mut block, 4)?)?;
                text.extend_from_slice(field.name());
                let value_len = take_value(&mut block, text)?;
                (field.name_len, value_len, false)
            }
            0b0010_0000..=0b0011_1111 => {
                string_literal::take(&mut block, 3, text)?;
                let name_len = text.len() - at;
                let value_len = take_value(&mut block, text)?;
                (name_len, value_len, false)
            }
            // Indexes of the dynamic table.
            _ => return Err(QpackError::Dynamic),
        };
        let value_at = at + name_len + 2;
        let (name, value) = (
            Span::new(at, at + name_len),
            Span::new(value_at, value_at + value_len),
        );
        left = left
            .checked_sub(name_len + value_len + b": \r\n".len())
            .ok_or(QpackError::TooLarge { limit: most_bytes })?;
        match is_valid {
            true => sink.valid_field(name, value),
            false => sink.field(name, value),
        }
    }
    Ok(())
}

/// The required insert count, which is 0, and a base, which is then not used (RFC 9204 section
/// 4.5.1).
fn take_prefix(block: &mut &[u8]) -> Result<(), QpackError> {
    if prefix_int::take(block, 8)? != 0 {
        return Err(QpackError::Dynamic);
    }
    let is_negative = block.first().is_some_and(|first| first & 0x80 != 0);
    prefix_int::take(block, 7)?;
    match is_negative {
        true => Err(QpackError::Dynamic),
        false => Ok(()),
    }
}

/// Appends the rest of a line behind its name. Returns the length of the value.
fn take_value(block: &mut &[u8], text: &mut Vec<u8>) -> Result<usize, QpackError> {
    text.extend_from_slice(b": ");
    let at = text.len();
    string_literal::take(block, 7, text)?;
    let value_len = text.len() - at;
    text.extend_from_slice(b"\r\n");
    Ok(value_len)
}

fn static_field(index: u64) -> Result<StaticField, QpackError> {
    usize::try_from(index)
        .ok()
        .and_then(|place| STATIC.get(place).copied())
        .ok_or(QpackError::IndexUnknown { index })
}
