//! The families of a node are those of the documents.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::fault::{Reason, Who};
use crate::observe::ending::Ending;
use crate::testing::Bench;

/// A row of `docs/metrics.md`.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    name: String,
    kind: String,
    labels: Vec<String>,
    meaning: String,
}

/// Values of labels, by family and label.
type LabelValues = BTreeMap<(String, String), BTreeSet<String>>;

/// The rows, and the values of those labels that have a fixed set of them.
fn documented() -> (Vec<Row>, LabelValues) {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let text = fs::read_to_string(document).unwrap();
    let (mut rows, mut fixed) = (Vec::new(), LabelValues::new());
    for line in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let name = cells[1].trim_matches('`').to_owned();
        let labels = cells[3].split("; ").filter(|label| !label.is_empty());
        let labels = labels.map(|label| {
            let (label, values) = label.split_once(": ").expect("the values of a label");
            let label = label.trim_matches('`').to_owned();
            if values.starts_with('`') {
                let values = values
                    .split(", ")
                    .map(|value| value.trim_matches('`').to_owned());
                fixed.insert((name.clone(), label.clone()), values.collect());
            }
            label
        });
        rows.push(Row {
            labels: labels.collect(),
            kind: cells[2].to_owned(),
            meaning: cells[4].to_owned(),
            name,
        });
    }
    (rows, fixed)
}

#[tokio::test]
async fn every_family_has_its_row_in_the_documents_and_every_row_its_family() {
    let families = Bench::edge("").context.node.metrics.families();
    let printed: Vec<Row> = families
        .iter()
        .map(|family| Row {
            name: family.name.to_owned(),
            kind: family.kind.to_owned(),
            labels: family
                .labels
                .iter()
                .map(|label| (*label).to_owned())
                .collect(),
            meaning: family.help.to_owned(),
        })
        .collect();
    let (rows, _) = documented();
    for row in &printed {
        assert!(
            rows.contains(row),
            "docs/metrics.md has no such row: {row:?}"
        );
    }
    for row in &rows {
        assert!(
            printed.contains(row),
            "docs/metrics.md has a row too many: {row:?}"
        );
    }
    let names: BTreeSet<_> = printed.iter().map(|row| &row.name).collect();
    assert_eq!(names.len(), printed.len(), "a family is printed twice");
}

#[tokio::test]
async fn a_label_with_a_fixed_set_of_values_has_exactly_those_of_the_documents() {
    let bench = Bench::edge("");
    let stats = &bench.context.worker_stats;
    stats.listener_metrics(&"site".into()).note(200, 0, 0);
    for who in Who::ALL {
        stats.metrics.outcomes.note(Ending {
            who: Some(who),
            reason: Reason::ClosedEarly,
            phase: "queue",
        });
    }
    let mut printed = LabelValues::new();
    for line in bench.context.node.metrics.text().lines() {
        let Some((name, labels)) = line.split_once('{') else {
            continue;
        };
        let (labels, _) = labels.rsplit_once("\"}").unwrap();
        for label in labels.split("\",") {
            let (label, value) = label.split_once("=\"").unwrap();
            let values = printed
                .entry((name.to_owned(), label.to_owned()))
                .or_default();
            values.insert(value.to_owned());
        }
    }
    for (label, values) in documented().1 {
        // The carriers of links: this node has no links.
        if label.1 != "carrier" {
            assert_eq!(printed.get(&label), Some(&values), "{label:?}");
        }
    }
}
