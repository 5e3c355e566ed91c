//! Errors in field blocks.

use byway_h2::ErrorCode;

use crate::Case;
use crate::common::*;

fn refused(before: &[u8], after: &[u8]) {
    let mut peer = Peer::of_answering_server(100);
    let block = [before, &block(&GET), after].concat();
    peer.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block));
    peer.expect_connection_error(ErrorCode::COMPRESSION_ERROR);
}

pub(crate) const CASES: &[Case] = &[
    ("2.3.3", "an index beyond both tables", || {
        refused(b"", b"\xc6")
    }),
    ("2.3.3", "a name with an index beyond both tables", || {
        refused(b"", b"\x7f\x07\x00")
    }),
    ("4.2", "a change of the table's size behind a field", || {
        refused(b"", b"\x21")
    }),
    ("5.2", "Huffman code padded by more than 7 bits", || {
        refused(b"", b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff");
    }),
    ("5.2", "Huffman code padded by zeroes", || {
        refused(b"", b"\x00\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90");
    }),
    ("5.2", "Huffman code with the symbol of its end", || {
        refused(
            b"",
            b"\x00\x85\xf2\xb2\x4a\x84\xff\x87\x49\x51\xff\xff\xff\xfa\x7f",
        );
    }),
    ("6.1", "the index 0", || refused(b"", b"\x80")),
    ("6.3", "a table larger than the settings allow", || {
        refused(b"\x3f\xe2\x1f", b"")
    }),
];
