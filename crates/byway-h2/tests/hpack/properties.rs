//! What holds for all fields and all bytes.

use byway_h2::hpack::{Decoder, Encoder, HeadWriter, TABLE_BYTES};
use byway_head::{HeadOut, Limits, RequestBuilder, RequestHead, Version};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::{Collected, Field};

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(b"server".to_vec()),
        Just(b"accept-encoding".to_vec()),
        Just(b"set-cookie".to_vec()),
        "[a-z0-9!#$%&'*+.^_`|~-]{1,80}".prop_map(String::into_bytes),
        // Few names, so that they repeat.
        "x-[a-e]".prop_map(String::into_bytes),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    let any_value = vec(prop_oneof![32u8..127, 128u8..=255], 0..200);
    prop_oneof![
        "[a-c]{0,3}".prop_map(String::into_bytes),
        any_value.prop_map(|value| value.trim_ascii().to_vec()),
    ]
}

proptest! {
    #[test]
    fn fields_are_decoded_as_they_were_written(
        blocks in vec((proptest::option::of(0u32..5000), vec((name(), value()), 0..20), any::<bool>()), 0..20),
    ) {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::new(TABLE_BYTES));
        for (table_bytes, fields, is_sent) in blocks {
            if let Some(table_bytes) = table_bytes {
                encoder.allow_table(table_bytes);
            }
            let mut block = Vec::new();
            let mut out = HeadWriter::new(&mut encoder, &mut block);
            for (name, value) in &fields {
                out.field(name, value).unwrap();
            }
            if !is_sent {
                continue;
            }
            out.end();
            let mut sink = Collected::default();
            decoder.decode(&block, usize::MAX, &mut sink).unwrap();
            let fields: Vec<Field> = fields.into_iter().filter(|(name, _)| name != b"te").collect();
            prop_assert_eq!(sink.fields, fields);
        }
    }

    #[test]
    fn garbage_is_decoded_or_refused_within_the_limit(
        blocks in vec(vec(any::<u8>(), 0..300), 1..8),
    ) {
        let (mut decoder, limits) = (Decoder::new(TABLE_BYTES), Limits::default());
        for block in blocks {
            let (mut head, mut text) = (RequestHead::default(), Vec::new());
            let mut builder = RequestBuilder::new(Version::Http2, &mut head, &mut text, &limits);
            if decoder.decode(&block, 1 << 16, &mut builder).is_err() {
                break;
            }
            if builder.finish(true).is_ok() {
                let _ = format!("{:?}", head.view(&text));
            }
        }
    }

    #[test]
    fn a_block_that_is_cut_or_changed_is_decoded_or_refused(
        fields in vec((name(), value()), 1..20),
        cut in any::<prop::sample::Index>(),
        change in any::<u8>(),
    ) {
        let (mut encoder, mut block) = (Encoder::default(), Vec::new());
        let mut out = HeadWriter::new(&mut encoder, &mut block);
        for (name, value) in &fields {
            out.field(name, value).unwrap();
        }
        out.end();
        prop_assume!(!block.is_empty());
        let at = cut.index(block.len());
        let _ = Decoder::new(TABLE_BYTES).decode(&block[..at], 1 << 16, &mut Collected::default());
        block[at] ^= change;
        let _ = Decoder::new(TABLE_BYTES).decode(&block, 1 << 16, &mut Collected::default());
    }
}
