//! Tests from text to Plan, one file a concern.

mod acme;
mod diff;
mod flags;
mod form;
mod links;
mod meaning;
mod observed;
mod plan;
mod round_trip;
mod section;
mod warnings;

use std::path::Path;

use super::*;

/// The errors of `text`, each as `line:column message`; without a place `- message`.
fn errors(text: &str) -> Vec<String> {
    let around = Surroundings::without_files(Path::new("/state"));
    let errors = parse_with(text, "byway.toml", &around).expect_err("the text is wrong");
    let shown =
        errors
            .diagnostics()
            .iter()
            .map(|diagnostic| match errors.locate(&diagnostic.place) {
                Some(LineColumn { line, column }) => {
                    format!("{line}:{column} {}", diagnostic.message)
                }
                None => format!("- {}", diagnostic.message),
            });
    shown.collect()
}

/// The Plan of `text`, which is valid.
fn plan(text: &str) -> Plan {
    parse_with(
        text,
        "byway.toml",
        &Surroundings::without_files(Path::new("/state")),
    )
    .expect("the text is valid")
}

/// `text` and a listener, for tests of anything but listeners.
fn with_listener(text: &str) -> String {
    format!("{text}\n[[tcp]]\nlisten = \"127.0.0.1:1\"\nto = \"192.0.2.1:1\"\n")
}

/// An edge at `127.0.0.1:8080` with one route of `lines`, which begin in line 4.
fn with_route(lines: &str) -> String {
    format!("[[edge]]\nlisten = \"127.0.0.1:8080\"\n[[edge.route]]\n{lines}")
}

/// A proxy at `127.0.0.1:1080` with `lines`, which begin in line 3.
fn with_egress(lines: &str) -> String {
    format!("[[proxy]]\nlisten = \"127.0.0.1:1080\"\n{lines}")
}
