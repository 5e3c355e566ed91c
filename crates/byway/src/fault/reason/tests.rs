//! Every reason is used, has its line in the documents, and a word of its own.

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

/// The classes of message heads that [`malformed`](crate::fault::malformed) translates to a
/// reason of another name.
const RENAMED: [&str; 3] = [
    "target-too-long",
    "trailers-too-large",
    "version-unsupported",
];

#[test]
fn every_class_of_the_parser_is_a_reason_and_every_reason_is_used() {
    let (mut classes, mut used) = (BTreeSet::new(), BTreeSet::new());
    for (path, text) in sources() {
        if path.ends_with("error.rs") && path.iter().any(|part| part == "byway-head") {
            let table = text.split_once("pub fn class(&self)").expect("the table").1;
            let table = table.split_once("\n    }\n").expect("its end").0;
            classes.extend(words_between(table, "=> \"", "\""));
        }
        used.extend(
            text.split("Reason::")
                .skip(1)
                .filter_map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric()).next())
                .map(str::to_owned),
        );
    }
    assert!(classes.contains("chunk-size-byte"), "{classes:?}");
    for class in classes.iter().filter(|class| !RENAMED.contains(&&***class)) {
        assert!(Reason::from_word(class).is_some(), "{class}");
    }
    for reason in Reason::ALL {
        assert!(
            used.contains(&format!("{reason:?}")) || classes.contains(reason.word()),
            "{reason:?} is never used"
        );
    }
}

#[test]
fn every_word_is_that_of_one_reason() {
    for (number, reason) in Reason::ALL.iter().enumerate() {
        assert_eq!(Reason::from_word(reason.word()), Some(*reason));
        assert_eq!(*reason as usize, number);
    }
}

/// The row of a reason in `docs/reasons.md`.
fn row(reason: Reason) -> String {
    let mut statuses: Vec<(u16, Who)> = Vec::new();
    for (who, answer) in reason.answers() {
        if statuses.iter().all(|(status, _)| *status != answer.status) {
            statuses.push((answer.status, *who));
        }
    }
    let status: Vec<String> = match &*statuses {
        [(status, _)] => vec![status.to_string()],
        several => several
            .iter()
            .map(|(status, who)| format!("{status} {}", who.word()))
            .collect(),
    };
    format!(
        "| `{}` | {} | {} |",
        reason.word(),
        reason.meaning(),
        status.join(", ")
    )
    .replace("|  |", "| |")
}

#[test]
fn every_reason_is_explained_in_the_documents_with_its_meaning_and_its_status() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reasons.md");
    let text = fs::read_to_string(document).unwrap();
    let rows: Vec<String> = text
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(str::to_owned)
        .collect();
    let expected: Vec<String> = Reason::ALL.iter().map(|reason| row(*reason)).collect();
    for row in &expected {
        assert!(rows.contains(row), "docs/reasons.md needs this row:\n{row}");
    }
    for row in &rows {
        assert!(
            expected.contains(row),
            "docs/reasons.md has a row too many:\n{row}"
        );
    }
}
