//! Encoder: fields into header blocks, by the static table and Huffman code (RFC 9204 section 4.5).

use byway_head::{BlockEncoder, is_secret, prefix_int, string_literal};

use super::static_table::{Known, find};

/// Encodes header blocks; it has no state. A block is written by a
/// [`HeadWriter`](super::HeadWriter). Secrets ([`byway_head::is_secret`]) are marked, so that no later
/// hop indexes them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Encoder;

impl BlockEncoder for Encoder {
    fn begin(&mut self, out: &mut Vec<u8>) {
        // No dynamic table: the required insert count and the base are 0.
        out.extend_from_slice(&[0, 0]);
    }

    fn pseudo(&mut self, out: &mut Vec<u8>, name: &'static [u8], value: &[u8]) {
        write(out, name, value, false);
    }

    fn field(&mut self, out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
        write(out, name, value, is_secret(name, value));
    }

    fn end(&mut self) {}
}

fn write(out: &mut Vec<u8>, name: &[u8], value: &[u8], is_secret: bool) {
    match find(name, value) {
        Known::Field(index) if !is_secret => {
            prefix_int::write(out, 0b1100_0000, 6, index);
            return;
        }
        Known::Field(index) | Known::Name(index) => {
            let first = 0b0101_0000 | u8::from(is_secret) << 5;
            prefix_int::write(out, first, 4, index);
        }
        Known::Nothing => {
            let first = 0b0010_0000 | u8::from(is_secret) << 4;
            string_literal::write(out, first, 3, name);
        }
    }
    string_literal::write(out, 0, 7, value);
}
