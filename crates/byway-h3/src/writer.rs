//! Writer: frames of a message (RFC 9114 section 4.1).

use crate::frame::{kind, write_header};
use crate::qpack::{Encoder, HeadWriter};

/// The longest block whose length has two bytes.
const MOST_SHORT: usize = 0x3fff;

/// Appends a head or trailers as a HEADERS frame; `write` calls the functions of
/// [`HeadOut`](byway_head::HeadOut).
///
/// # Errors
/// Those of `write`; nothing is appended then.
pub fn write_head<E>(
    out: &mut Vec<u8>,
    write: impl FnOnce(HeadWriter<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let start = out.len();
    // A length of two bytes, which nearly all blocks fit; it is known at the end.
    out.extend_from_slice(&[kind::HEADERS as u8, 0, 0]);
    let block = out.len();
    if let Err(error) = write(HeadWriter::new(Encoder, out)) {
        out.truncate(start);
        return Err(error);
    }
    let len = out.len() - block;
    if len <= MOST_SHORT {
        let len = (len as u16 | 0x4000).to_be_bytes();
        out[start + 1..block].copy_from_slice(&len);
    } else {
        let mut header = Vec::new();
        write_header(&mut header, kind::HEADERS, len as u64);
        out.splice(start..block, header);
    }
    Ok(())
}

/// Appends the head of a DATA frame; `len` bytes of a body must follow. A length of 0 writes nothing,
/// as an empty frame has no use.
pub fn write_data_header(out: &mut Vec<u8>, len: usize) {
    if len > 0 {
        write_header(out, kind::DATA, len as u64);
    }
}
