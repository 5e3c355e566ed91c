//! The scenarios of the source documents, run against the built program with the configs in
//! `examples/from-the-sources/`.
//!
//! In:    the example configs, unchanged, by their paths, with the commands of their README. Each
//!        test has a network and a `/tmp` of its own, in which the addresses and paths of the
//!        examples are free.
//! Out:   what a user who tries the examples by hand would see. `docs/from-the-sources.md` lists
//!        the passages.
//! Never: a config of its own. A test that needs another value, such as a shorter timeout, derives
//!        it from the example with [`with`], and its name or comment states that.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod documents;
mod hawkey;
mod http_agent;
mod natrp;
mod node;
mod udpack;

use std::net::SocketAddr;
use std::path::Path;

use byway_testkit::{Launch, NoUdp, Origin, Program, Visitor, Wire, curl};

const BYWAY: &str = env!("CARGO_BIN_EXE_byway");
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples");

/// The first statement of a test that runs an example: its addresses and paths are free there.
macro_rules! isolated {
    () => {
        byway_testkit::isolated!(&[Path::new(ROOT), Path::new(BYWAY).parent().unwrap()])
    };
}
use isolated;

/// The example as written.
#[track_caller]
fn written(name: &str) -> String {
    std::fs::read_to_string(format!("{EXAMPLES}/from-the-sources/{name}.toml")).unwrap()
}

/// The command that the README gives for an example, without `byway`.
#[track_caller]
fn command(name: &str) -> Vec<String> {
    let readme = std::fs::read_to_string(format!("{EXAMPLES}/from-the-sources/README.md")).unwrap();
    let start = format!("byway run -c examples/from-the-sources/{name}.toml");
    let command = readme.split('`').find(|text| text.starts_with(&start));
    let command = command.unwrap_or_else(|| panic!("the README has no `{start}`"));
    command.split(' ').skip(1).map(ToOwned::to_owned).collect()
}

/// The program, started with the unchanged example.
#[track_caller]
fn shipped(name: &str) -> Program {
    let at_root = |arg: String| match arg.strip_prefix("examples/") {
        Some(file) => format!("{EXAMPLES}/{file}"),
        None => arg,
    };
    let args: Vec<_> = command(name).into_iter().map(at_root).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    Program::start(BYWAY, &args)
}

/// The text of the example with other values in place of some, for what it would take too long to
/// show with the shipped ones.
#[track_caller]
fn with(name: &str, values: &[(&str, &str)]) -> String {
    values.iter().fold(written(name), |text, (written, other)| {
        assert!(text.contains(written), "{name} has no {written}");
        text.replace(written, other)
    })
}

/// Runs `check` with UDP, and in a network without it: both ends of the examples have
/// `carrier = "auto"`, and both carriers must behave the same.
fn over_each_carrier(check: impl Fn(&str)) {
    for carrier in ["quic", "tls"] {
        for state in ["/tmp/byway-udpack", "/tmp/byway-natrp"] {
            let _ = std::fs::remove_dir_all(state);
        }
        let _no_udp = (carrier == "tls").then(NoUdp::new);
        check(carrier);
    }
}

/// A join string as `byway serve` prints it, for a grant that does not exist.
const JOIN: &str = "by1.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAqcn-2@t.example.com:7000";

#[test]
fn every_example_is_a_valid_config() {
    isolated!();
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
        // The nodes that an example joins do not run here.
        let text = std::fs::read_to_string(&file).unwrap();
        let join_files = text
            .lines()
            .filter_map(|line| line.strip_prefix("join_file = \""));
        for join_file in join_files {
            let join_file = Path::new(join_file.split('"').next().unwrap());
            std::fs::create_dir_all(join_file.parent().unwrap()).unwrap();
            std::fs::write(join_file, JOIN).unwrap();
        }
        let check = Launch::new(BYWAY, &["check", "-c", file.to_str().unwrap()]).run();
        assert_eq!(check.code, Some(0), "{}: {}", file.display(), check.stderr);
        checked += 1;
    }
    assert!(checked >= 8, "only {checked} examples found");
}
