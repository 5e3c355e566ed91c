//! Bulk: large transfers by curl in every dialect.

use byway_testkit::pattern::{MIB, Pattern};
use byway_testkit::{Origin, curl};

use super::*;

const DOWN: u64 = 256 * MIB;
const UP: u64 = 64 * MIB;

/// Downloads 256 MiB and uploads 64 MiB with these arguments. `PROXY` in them is replaced by the
/// address of the egress.
#[track_caller]
fn moves_all(program_args: &[&str], args: &[&str], host: &str) {
    let origin = Origin::useful();
    let program = egress(&[program_args, &OPEN].concat());
    let args: Vec<_> = args
        .iter()
        .map(|arg| arg.replace("PROXY", &program.address().to_string()))
        .collect();
    let fetch = |more: &[&str]| {
        let all: Vec<&str> = args
            .iter()
            .map(String::as_str)
            .chain(more.iter().copied())
            .collect();
        curl(&all)
    };
    let url = |path: &str| format!("http://{host}:{}{path}", origin.address().port());

    let down = fetch(&[&url(&format!("/bytes/{DOWN}"))]);
    assert_eq!(
        (down.exit, down.status, down.bytes),
        (0, 200, DOWN),
        "{}",
        down.said
    );
    assert_eq!(down.sha256, Pattern::sha256(DOWN));

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), Pattern::whole(UP)).unwrap();
    let up = fetch(&[
        "-X",
        "POST",
        "-T",
        &file.path().display().to_string(),
        &url("/sum"),
    ]);
    assert_eq!(
        (up.exit, up.text()),
        (0, format!("{UP} {}", Pattern::sha256(UP))),
        "{}",
        up.said
    );
}

#[test]
fn curl_through_socks5() {
    moves_all(&[], &["--socks5", "PROXY"], "127.0.0.1");
}

#[test]
fn curl_through_socks5h_with_a_password() {
    moves_all(
        &["--user", "alice:secret"],
        &["-x", "socks5h://alice:secret@PROXY"],
        "localhost",
    );
}

#[test]
fn curl_through_socks4a() {
    moves_all(&[], &["-x", "socks4a://PROXY"], "localhost");
}

#[test]
fn curl_through_connect() {
    moves_all(&[], &["-p", "-x", "http://PROXY"], "localhost");
}

#[test]
fn curl_by_absolute_form() {
    moves_all(&[], &["-x", "http://PROXY"], "localhost");
}
