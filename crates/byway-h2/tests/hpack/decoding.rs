//! Blocks that a decoder refuses, and tables that change their size.

use byway_h2::hpack::{Decoder, HpackError, TABLE_BYTES};
use byway_head::{Limits, Malformed, RequestBuilder, RequestHead, Version};

use crate::{Collected, owned};

fn decoded(blocks: &[&[u8]]) -> Result<Collected, HpackError> {
    let (mut decoder, mut sink) = (Decoder::new(TABLE_BYTES), Collected::default());
    for block in blocks {
        decoder.decode(block, usize::MAX, &mut sink)?;
    }
    Ok(sink)
}

fn refused(blocks: &[&[u8]]) -> HpackError {
    decoded(blocks).err().unwrap()
}

#[test]
fn an_index_of_zero_or_beyond_the_tables_is_refused() {
    let unknown = |index| HpackError::IndexUnknown { index, entries: 61 };
    assert_eq!(refused(&[&[0x80]]), unknown(0));
    assert_eq!(refused(&[&[0x80 | 62]]), unknown(62));
    assert_eq!(
        refused(&[&[0xff, 0xff, 0xff, 0xff, 0xff, 0x0f]]),
        unknown(127 + u64::from(u32::MAX))
    );
    // The name of a literal.
    assert_eq!(refused(&[&[0x40 | 62, 0]]), unknown(62));
    // One entry is there.
    let added = &[0x40, 1, b'a', 1, b'b'][..];
    assert_eq!(
        decoded(&[added, &[0x80 | 62]]).unwrap().fields,
        owned(&[("a", "b"); 2])
    );
    assert_eq!(
        refused(&[added, &[0x80 | 63]]),
        HpackError::IndexUnknown {
            index: 63,
            entries: 62
        }
    );
}

#[test]
fn a_block_that_ends_within_a_field_is_refused() {
    let block = [0x40, 1, b'a', 1, b'b'];
    for len in 1..block.len() {
        assert_eq!(refused(&[&block[..len]]), HpackError::Truncated, "{len}");
    }
    assert!(decoded(&[&[]]).is_ok());
    assert_eq!(refused(&[&[0x3f]]), HpackError::Truncated);
    assert_eq!(refused(&[&[0xff, 0x80]]), HpackError::Truncated);
}

#[test]
fn a_number_without_end_is_refused() {
    assert_eq!(refused(&[&[0xff; 20]]), HpackError::NumberTooLarge);
    assert_eq!(
        refused(&[&[0x00, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f]]),
        HpackError::Truncated
    );
}

#[test]
fn a_huffman_code_with_wrong_padding_is_refused() {
    assert!(matches!(
        refused(&[&[0x00, 0x81, 0xff, 0]]),
        HpackError::Huffman(_)
    ));
    assert!(matches!(
        refused(&[&[0x01, 0x81, 0b0000_0000]]),
        HpackError::Huffman(_)
    ));
}

#[test]
fn a_table_changes_its_size_at_the_start_of_a_block_and_within_the_limit() {
    let to_limit = [0x3f, 0xe1, 0x1f];
    assert!(decoded(&[&to_limit]).is_ok());
    assert!(decoded(&[&[0x20, 0x3f, 0xe1, 0x1f, 0x82]]).is_ok());
    assert_eq!(refused(&[&[0x82, 0x20]]), HpackError::ResizeLate);
    assert_eq!(
        refused(&[&[0x3f, 0xe2, 0x1f]]),
        HpackError::ResizeTooLarge {
            bytes: 4097,
            limit: 4096
        }
    );
}

#[test]
fn a_table_of_size_0_forgets_its_entries() {
    let added = &[0x40, 1, b'a', 1, b'b'][..];
    let unknown = HpackError::IndexUnknown {
        index: 62,
        entries: 61,
    };
    assert_eq!(refused(&[added, &[0x20, 0x80 | 62]]), unknown);
    assert_eq!(refused(&[added, &[0x20], added, &[0x80 | 62]]), unknown);
}

#[test]
fn a_name_may_refer_to_the_entry_that_its_field_evicts() {
    // A table of 70 bytes has room for one of these.
    let resize = [0x3f, 70 - 31];
    let first = [&[0x40, 4][..], b"name", &[4], b"long"].concat();
    let second = [&[0x40 | 62, 5][..], b"other"].concat();
    let block = [&resize[..], &first, &second, &[0x80 | 62]].concat();
    assert_eq!(
        decoded(&[&block]).unwrap().fields,
        owned(&[("name", "long"), ("name", "other"), ("name", "other")])
    );
}

/// A large field, and references to it.
fn bomb(references: usize) -> Vec<u8> {
    let mut block = vec![0x40, 1, b'a', 0x7f, 0x81, 0x1e];
    block.extend([b'v'; 127 + 0xf01]);
    block.extend(vec![0x80 | 62; references]);
    block
}

#[test]
fn a_block_of_references_to_a_large_field_stops_at_the_limit() {
    let limits = Limits::default();
    let (mut head, mut text) = (RequestHead::default(), Vec::new());
    let mut builder = RequestBuilder::new(Version::Http2, &mut head, &mut text, &limits);
    let limit = 4 * limits.head_bytes;
    let mut decoder = Decoder::new(TABLE_BYTES);
    let decoded = decoder.decode(&bomb(16_000), limit, &mut builder);
    assert_eq!(decoded, Err(HpackError::TooLarge { limit }));
    assert!(
        text.capacity() <= 4 * limits.head_bytes,
        "{}",
        text.capacity()
    );
}

#[test]
fn a_head_over_its_limit_is_refused_and_the_table_stays_right() {
    let limits = Limits::default();
    let (mut head, mut text) = (RequestHead::default(), Vec::new());
    let mut builder = RequestBuilder::new(Version::Http2, &mut head, &mut text, &limits);
    let mut decoder = Decoder::new(TABLE_BYTES);
    // The last field is added to the table behind the limit.
    let block = [bomb(30), vec![0x40, 1, b'b', 1, b'c']].concat();
    decoder
        .decode(&block, 4 * limits.head_bytes, &mut builder)
        .unwrap();
    let error = builder.finish(true).unwrap_err();
    assert_eq!(
        error,
        Malformed::HeadTooLarge {
            limit: limits.head_bytes
        }
    );
    let mut sink = Collected::default();
    decoder.decode(&[0x80 | 62], usize::MAX, &mut sink).unwrap();
    assert_eq!(sink.fields, owned(&[("b", "c")]));
}
