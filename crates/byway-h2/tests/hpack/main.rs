//! HPACK: vectors of others, properties, and memory.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod allocations;
mod decoding;
mod encoding;
mod other_crate;
mod properties;
mod rfc;
mod stories;

use byway_head::{FieldSink, Span};

type Field = (Vec<u8>, Vec<u8>);

/// Collects fields as they are.
#[derive(Default)]
struct Collected {
    text: Vec<u8>,
    fields: Vec<Field>,
}

impl FieldSink for Collected {
    fn text(&mut self) -> &mut Vec<u8> {
        &mut self.text
    }

    fn field(&mut self, name: Span, value: Span) {
        let field = (name.of(&self.text).to_vec(), value.of(&self.text).to_vec());
        let line = [&field.0[..], b": ", &field.1, b"\r\n"].concat();
        assert_eq!(self.text, line);
        self.text.clear();
        self.fields.push(field);
    }
}

fn owned(fields: &[(&str, &str)]) -> Vec<Field> {
    let own = |(name, value): &(&str, &str)| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
    fields.iter().map(own).collect()
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .bytes()
        .filter(|digit| !digit.is_ascii_whitespace())
        .map(|digit| char::from(digit).to_digit(16).unwrap() as u8)
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}
