//! Header blocks that other encoders wrote; see `stories/README.md`.

use std::path::{Path, PathBuf};

use byway_h2::hpack::{Decoder, Encoder, HeadWriter, TABLE_BYTES};
use byway_head::HeadOut;
use serde_json::Value;

use crate::{Collected, Field, bytes_of};

/// The largest table that any story uses.
const MOST_TABLE_BYTES: usize = 16_384;

fn stories(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(stories(&path));
        } else if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            found.push(path);
        }
    }
    found
}

/// The blocks of a story with their fields.
fn cases(path: &Path) -> Vec<(Option<usize>, Vec<u8>, Vec<Field>)> {
    let text = std::fs::read_to_string(path).unwrap();
    let story: Value = serde_json::from_str(&text).unwrap();
    let cases = story["cases"].as_array().unwrap();
    cases.iter().filter_map(case).collect()
}

/// `None` for fields without a block.
fn case(case: &Value) -> Option<(Option<usize>, Vec<u8>, Vec<Field>)> {
    let table_bytes = case["header_table_size"]
        .as_u64()
        .map(|bytes| bytes as usize);
    let fields = case["headers"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|field| {
            let field = field.as_object().unwrap().iter();
            field.map(|(name, value)| (latin_1(name), latin_1(value.as_str().unwrap())))
        });
    Some((
        table_bytes,
        bytes_of(case["wire"].as_str()?),
        fields.collect(),
    ))
}

/// Each character is one byte.
fn latin_1(text: &str) -> Vec<u8> {
    text.chars()
        .map(|char| u8::try_from(char).unwrap())
        .collect()
}

fn all_stories() -> Vec<PathBuf> {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hpack/stories");
    let mut all = stories(Path::new(own));
    assert!(all.len() >= 14, "{all:?}");
    if let Some(more) = std::env::var_os("BYWAY_HPACK_STORIES") {
        all.extend(stories(Path::new(&more)));
    }
    all
}

#[test]
fn each_story_is_decoded_as_its_encoder_meant_it() {
    for path in all_stories() {
        let mut decoder = Decoder::new(MOST_TABLE_BYTES);
        // The largest table of a story is announced by its encoder; until then it has 4,096 bytes.
        decoder
            .decode(&[0x3f, 0xe1, 0x1f], 0, &mut Collected::default())
            .unwrap();
        for (n, (_, block, fields)) in cases(&path).into_iter().enumerate() {
            let mut sink = Collected::default();
            let decoded = decoder.decode(&block, usize::MAX, &mut sink);
            assert_eq!(decoded, Ok(()), "{} {n}", path.display());
            assert_eq!(sink.fields, fields, "{} {n}", path.display());
        }
    }
}

#[test]
fn the_fields_of_each_story_are_encoded_so_that_they_are_decoded_again() {
    for path in all_stories() {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::new(TABLE_BYTES));
        for (table_bytes, _, fields) in cases(&path) {
            if let Some(table_bytes) = table_bytes {
                encoder.allow_table(table_bytes as u32);
            }
            let (mut block, mut written) = (Vec::new(), Vec::new());
            let mut out = HeadWriter::new(&mut encoder, &mut block);
            for (name, value) in fields {
                // A head never has pseudo-headers among its fields, nor control bytes.
                if out.field(&name, &value).is_ok() {
                    written.push((name, value.trim_ascii().to_vec()));
                }
            }
            out.end();
            // Left out in this version.
            written.retain(|(name, _)| {
                name != b"connection"
                    && name != b"keep-alive"
                    && name != b"host"
                    && name != b"transfer-encoding"
            });
            let mut sink = Collected::default();
            decoder.decode(&block, usize::MAX, &mut sink).unwrap();
            assert_eq!(sink.fields, written, "{}", path.display());
        }
    }
}
