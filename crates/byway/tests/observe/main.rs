//! Observe: logs and metrics of the built program.
//!
//! `access` lines and their content · `sinks` where they go, and sinks that fail · `exposition` a
//! strict parser of what Prometheus scrapes · `metrics` what is counted · `program_log` standard
//! error.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod access;
mod exposition;
mod metrics;
mod program_log;
mod sinks;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use byway_testkit::{Origin, Program, Visitor, eventually};

use self::exposition::parsed;

const BYWAY: &str = env!("CARGO_BIN_EXE_byway");

/// `byway edge` in front of `to` with `flags`.
#[track_caller]
fn edge(to: &str, flags: &[&str]) -> Program {
    let args = [
        &[
            "edge",
            "--from",
            "127.0.0.1:0",
            "--to",
            to,
            "--metrics",
            "127.0.0.1:0",
        ],
        flags,
    ]
    .concat();
    Program::start(BYWAY, &args)
}

fn to(origin: &Origin) -> String {
    origin.address().to_string()
}

/// Waits until `path` has `count` whole lines.
#[track_caller]
fn wait_for_lines(path: &Path, count: usize) -> Vec<String> {
    let mut lines = Vec::new();
    eventually("the lines are there", || {
        let text = fs::read_to_string(path).unwrap_or_default();
        lines = text
            .split_inclusive('\n')
            .filter_map(|line| line.strip_suffix('\n'))
            .map(str::to_owned)
            .collect();
        lines.len() >= count
    });
    assert_eq!(lines.len(), count, "{lines:#?}");
    lines
}

/// The value of `"name":` in a log line, without quotes.
fn field<'l>(line: &'l str, name: &str) -> &'l str {
    let rest = line
        .split_once(&format!("\"{name}\":"))
        .unwrap_or_else(|| panic!("no {name} in {line}"))
        .1;
    match rest.strip_prefix('"') {
        Some(text) => text.split('"').next().unwrap(),
        None => rest.split([',', '}']).next().unwrap(),
    }
}

fn number(line: &str, name: &str) -> u64 {
    field(line, name)
        .parse()
        .unwrap_or_else(|_| panic!("{name} in {line}"))
}

/// An access log in a new folder.
fn log_file() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    (folder, path)
}

/// All samples of `GET /metrics`, by name and labels. Any violation of the format fails the test.
#[track_caller]
fn scrape(program: &Program) -> BTreeMap<String, f64> {
    let address = *program.addresses().last().unwrap();
    let answer = Visitor::connect(address)
        .ask("GET /metrics HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n");
    assert_eq!(
        answer.field("Content-Type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    parsed(&answer.text())
}
