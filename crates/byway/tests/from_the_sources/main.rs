//! The scenarios of the source documents, run against the built program with the configs in
//! `examples/from-the-sources/`.
//!
//! In:    the example configs as they are, with free ports in place of theirs.
//! Out:   what a user who tries the examples by hand would see. `docs/from-the-sources.md` lists
//!        the passages.
//! Never: a config of its own. The tests run what is printed.
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

/// Both carriers must behave the same.
const CARRIERS: [&str; 2] = ["quic", "tls"];

/// The example as written.
#[track_caller]
fn written(name: &str) -> String {
    std::fs::read_to_string(format!("{EXAMPLES}/from-the-sources/{name}.toml")).unwrap()
}

/// The example with port 0 for every listener, any public port for what it exposes, and `given` in
/// place of its addresses and files. Each listener gets its own loopback address, as each has its
/// own port in the example.
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

/// The file into which a node writes its join string.
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

/// A join string as `byway serve` prints it, for a grant that does not exist.
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
        // The nodes that an example joins do not run here.
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
