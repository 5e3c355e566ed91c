//! The fields are those of the documents, and lines of tunnels have no more than they should.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::super::line::EntrySubject;
use super::super::tests::entry;
use super::*;
use crate::observe::timing::Timers;

/// The row of a field in `docs/access-log.md`.
fn row(field: &Field) -> String {
    let kind = match field.kind {
        "Flag" => "true or false".to_owned(),
        kind => kind.to_lowercase(),
    };
    let lines = match field.lines {
        Lines::All => "all",
        Lines::Requests => "requests",
    };
    format!(
        "| `{}` | {kind} | {lines} | {} |",
        field.name, field.meaning
    )
}

#[test]
fn every_field_has_its_row_in_the_documents_and_every_row_its_field() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/access-log.md");
    let text = fs::read_to_string(document).unwrap();
    let rows: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    let expected: Vec<String> = FIELDS.iter().map(row).collect();
    assert_eq!(rows, expected, "{}", expected.join("\n"));
    let names: BTreeSet<&str> = FIELDS.iter().map(|field| field.name).collect();
    assert_eq!(names.len(), FIELDS.len());
}

#[test]
fn a_tunnel_has_no_value_in_a_field_of_requests() {
    let subject = EntrySubject::Tunnel {
        target: "a.example:443",
        protocol: "SOCKS5",
        status: 200,
    };
    let tunnel = Entry {
        request_id: "",
        subject,
        status: 0,
        upstream: None,
        timers: Timers {
            transfer_us: 9,
            ..Timers::default()
        },
        ..entry()
    };
    let mut written = Written::default();
    write(&tunnel, &mut written);
    let names: Vec<_> = written.0.iter().map(|(name, _)| *name).collect();
    let listed: Vec<_> = FIELDS.iter().map(|field| field.name).collect();
    assert_eq!(names, listed);
    for (field, (name, has_value)) in FIELDS.iter().zip(written.0) {
        assert!(!has_value || field.lines == Lines::All, "{name}");
    }
}

/// The names of fields, and whether they have a value.
#[derive(Default)]
struct Written(Vec<(&'static str, bool)>);

impl FieldWriter for Written {
    fn field(&mut self, name: &'static str, value: Value<'_>) {
        let has_value = match value {
            Value::Time => true,
            Value::Text(value) => value.is_some(),
            Value::Number(value) => value.is_some_and(|value| value > 0),
            Value::Flag(value) => value,
            Value::Address(value) => value.is_some(),
        };
        self.0.push((name, has_value));
    }
}
