//! H2spec: the conformance suite of HTTP/2 against an edge (`cargo xtask test h2spec`).

use std::process::Command;

use byway_testkit::Origin;

use super::edge;

/// The only case that may fail: a connection that begins with neither version of HTTP is answered
/// as one of HTTP/1, since both are served on a plain port.
const EXPECTED: [&str; 1] = ["Sends invalid connection preface"];

#[test]
#[ignore = "needs h2spec: cargo xtask test h2spec"]
fn an_edge_passes_h2spec() {
    let h2spec = std::env::var_os("BYWAY_H2SPEC").expect("BYWAY_H2SPEC is the path of h2spec");
    let origin = Origin::useful();
    let program = edge(&origin);
    let port = program.address().port().to_string();
    let output = Command::new(h2spec)
        .args([
            "--strict",
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-P",
            "/bytes/100",
            "-o",
            "5",
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let failures = said.split("Failures:").nth(1).unwrap_or_default();
    let failed: Vec<&str> = failures
        .lines()
        .filter_map(|line| line.trim().strip_prefix('×'))
        .filter(|case| !EXPECTED.iter().any(|expected| case.contains(expected)))
        .collect();
    assert!(said.contains("tests, ") && failed.is_empty(), "{said}");
    eprintln!("{}", said.lines().last().unwrap_or_default());
}
