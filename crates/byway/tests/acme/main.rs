//! Certificates that the program obtains by itself: from an ACME authority (pebble), and from the
//! local authority. Each test has a network of its own, without a way out.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod authority;
mod local;

const BYWAY: &str = env!("CARGO_BIN_EXE_byway");

/// Runs the rest of the test in a network of its own, with these folders beside that of the program.
macro_rules! alone {
    ($($folder:expr),*) => {
        let program = std::path::Path::new(crate::BYWAY).parent().unwrap();
        byway_testkit::isolated!(&[program, $($folder),*]);
    };
}
use alone;

/// Runs curl and returns what it printed; fails if it does.
#[track_caller]
fn curl(arguments: &[&str]) -> String {
    let ran = std::process::Command::new("curl")
        .args(["-sS", "--max-time", "60"])
        .args(arguments)
        .output()
        .unwrap();
    let (out, err) = (ran.stdout, ran.stderr);
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&err));
    String::from_utf8(out).unwrap()
}

/// Runs the program to its end and returns its output.
#[track_caller]
fn byway(arguments: &[&str]) -> String {
    let ran = std::process::Command::new(BYWAY)
        .args(arguments)
        .output()
        .unwrap();
    let err = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(ran.status.success(), "{err}");
    String::from_utf8(ran.stdout).unwrap() + &err
}
