//! Every reason has its label in the metrics and its line in the documents.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::*;

/// The sources of this crate and of message heads, without tests.
fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![
        Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../byway-head/src"),
    ];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => found.push((path.clone(), fs::read_to_string(path).unwrap())),
            }
        }
    }
    let without_tests = |(path, text): (PathBuf, String)| {
        let text = text
            .split("#[cfg(test)]\nmod tests {")
            .next()
            .unwrap_or_default()
            .to_owned();
        (!path.ends_with("tests.rs") && !path.iter().any(|part| part == "tests"))
            .then_some((path, text))
    };
    found.into_iter().filter_map(without_tests).collect()
}

/// The quoted words between `before` and `after` in `text`.
fn words_between(text: &str, before: &str, after: &str) -> Vec<String> {
    let is_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let found = text
        .split(before)
        .skip(1)
        .filter_map(|rest| rest.split_once(after).map(|(word, _)| word));
    found
        .filter(|word| is_word(word))
        .map(str::to_owned)
        .collect()
}

/// Every reason that a fault or the end of a relay can have, according to the sources.
fn words_in_use() -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    for (path, text) in sources() {
        for kind in [
            "Malformed(\"",
            "Unsupported(\"",
            "Overloaded(\"",
            "bad(\"",
            "bad(\n                \"",
        ] {
            words.extend(words_between(&text, kind, "\""));
        }
        // The tables: `FaultKind::NoRoute => "no-route",` and similar.
        let tables: &[&str] = match path.file_name().and_then(|name| name.to_str()) {
            Some("fault.rs") => &["pub fn name(self)", "pub fn class(&self)"],
            Some("error.rs") if path.iter().any(|part| part == "byway-head") => {
                &["pub fn class(&self)"]
            }
            Some("end.rs") => &["impl EndKind {"],
            _ => &[],
        };
        for table in tables {
            let body = text.split_once(table).expect("the table must exist").1;
            let body = body.split_once("\n    }\n").expect("the table must end").0;
            words.extend(words_between(body, "=> \"", "\""));
        }
    }
    words.remove(DONE);
    words
}

#[test]
fn every_reason_in_the_sources_has_its_label_and_every_label_a_reason() {
    let in_use = words_in_use();
    assert!(
        in_use.contains("first-byte")
            && in_use.contains("chunk-size-byte")
            && in_use.contains("queue-full")
    );
    let labels: BTreeSet<String> = REASONS.iter().map(|word| (*word).to_owned()).collect();
    assert_eq!(in_use, labels);
}

#[test]
fn every_reason_is_explained_in_the_documents() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reasons.md");
    let text = fs::read_to_string(document).unwrap();
    let explained: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(word, _)| word)
        .collect();
    let words: BTreeSet<&str> = REASONS.iter().copied().chain([DONE, OTHER]).collect();
    assert_eq!(explained, words);
}

#[test]
fn the_reasons_are_sorted_for_the_binary_search() {
    assert!(REASONS.is_sorted());
}

#[test]
fn each_ending_is_counted_under_its_side_and_reason() {
    let outcomes = Outcomes::default();
    let note = |who, class| {
        outcomes.note(Ending {
            who,
            class,
            phase: "queue",
        })
    };
    note(None, DONE);
    note(Some(Who::Us), "queue-full");
    note(Some(Who::Us), "queue-full");
    note(Some(Who::Upstream), "first-byte");
    note(Some(Who::Downstream), "unknown-reason");
    let mut sum = Outcomes::room();
    outcomes.add_to(&mut sum);
    let counted: Vec<_> = Outcomes::labels()
        .zip(sum)
        .filter(|(_, count)| *count > 0)
        .collect();
    assert_eq!(outcomes.done(), 1);
    assert_eq!(
        counted,
        [
            ((Who::Downstream, OTHER), 1),
            ((Who::Upstream, "first-byte"), 1),
            ((Who::Us, "queue-full"), 2)
        ]
    );
}
