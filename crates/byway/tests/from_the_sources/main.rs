//! The scenarios of the source documents, run against the built program with the configs in
//! `examples/from-the-sources/`.
//!
//! In:    the example configs as they stand, with free ports in the place of theirs.
//! Out:   what a person would see who tried the examples by hand; `docs/from-the-sources.md` says
//!        which passage is meant.
//! Never: a config of its own. What is tested is what is printed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod hawkey;
mod http_agent;
mod natrp;
mod node;
mod udpack;

use std::net::SocketAddr;

use byway_testkit::{Launch, Origin, Program, Visitor, Wire, curl};

const BYWAY: &str = env!("CARGO_BIN_EXE_byway");
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples");

/// Whatever holds on one holds on the other.
const CARRIERS: [&str; 2] = ["quic", "tls"];

/// The example as it stands.
#[track_caller]
fn written(name: &str) -> String {
    std::fs::read_to_string(format!("{EXAMPLES}/from-the-sources/{name}.toml")).unwrap()
}

/// The example with port 0 for every listener, any public port for what it exposes, and `given` in
/// the place of the addresses and files that stand in it. Each listener gets a loopback address of
/// its own, as they have ports of their own in the example.
#[track_caller]
fn example(name: &str, given: &[(&str, String)]) -> String {
    let text = written(name);
    let mut listeners = 0;
    let mut any_port = |line: &str| {
        if line.starts_with("port = ") {
            return String::new();
        }
        if !line.starts_with("listen = \"127.0.0.1:") {
            return line.to_owned();
        }
        listeners += 1;
        format!("listen = \"127.0.0.{listeners}:0\"")
    };
    let text: Vec<_> = text.lines().map(&mut any_port).collect();
    given
        .iter()
        .fold(text.join("\n"), |text, (written, actual)| {
            let written = format!("\"{written}\"");
            assert!(text.contains(&written), "{name} has no {written}");
            text.replace(&written, &format!("\"{actual}\""))
        })
}

/// Where a node that others join writes how to.
fn join_file(program: &Program) -> String {
    program
        .folder()
        .join("state/join-exit")
        .display()
        .to_string()
}

fn at(origin: &Origin) -> String {
    origin.address().to_string()
}

/// A join string as `byway serve` prints them, of a grant that never was.
const JOIN: &str = "by1.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAqcn-2@t.example.com:7000";

#[test]
fn every_example_is_a_valid_config() {
    let folders = [EXAMPLES.to_owned(), format!("{EXAMPLES}/from-the-sources")];
    let files = folders
        .iter()
        .flat_map(|folder| std::fs::read_dir(folder).unwrap())
        .map(|file| file.unwrap().path());
    let mut checked = 0;
    for file in files.filter(|file| {
        file.extension()
            .is_some_and(|extension| extension == "toml")
    }) {
        let launch = Launch::new(BYWAY, &["check"]);
        // What an example joins does not run here.
        let join = launch.folder().join("join");
        std::fs::write(&join, JOIN).unwrap();
        let with_join = |line: &str| match line.starts_with("join_file = ") {
            true => format!("join_file = \"{}\"", join.display()),
            false => line.to_owned(),
        };
        let text: Vec<_> = std::fs::read_to_string(&file)
            .unwrap()
            .lines()
            .map(with_join)
            .collect();
        std::fs::write(launch.config(), text.join("\n")).unwrap();
        let check = launch.run();
        assert_eq!(check.code, Some(0), "{}: {}", file.display(), check.stderr);
        checked += 1;
    }
    assert!(checked >= 8, "only {checked} examples found");
}
