//! Fetch: runs curl as a user would.
//!
//! In:    curl's arguments.
//! Out:   its exit code, the status, the body, and the SHA-256 of the body.
//! Never: stores more of a body than its beginning.

use std::io::Read;
use std::process::{Command, Stdio};

use crate::pattern::Sum;

/// The result of curl.
#[derive(Debug)]
pub struct Fetched {
    /// curl's exit code; 0 on success.
    pub exit: i32,
    /// The status of the last response; 0 if there was none.
    pub status: u16,
    /// The status with which a proxy answered CONNECT; 0 if there was none.
    pub connect_status: u16,
    /// The first megabyte of the body.
    pub body: Vec<u8>,
    /// The length of the whole body.
    pub bytes: u64,
    /// The SHA-256 of the whole body in hex.
    pub sha256: String,
    /// The stderr of curl.
    pub said: String,
}

/// Runs curl without its config file, proxies from the environment and progress meter.
pub fn curl(args: &[&str]) -> Fetched {
    const TAIL: &str = "%{stderr}\n%{http_code} %{http_connect}";
    let mut child = Command::new("curl")
        .args([
            "--disable",
            "--silent",
            "--show-error",
            "--max-time",
            "120",
            "--write-out",
            TAIL,
        ])
        .args(args)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("curl is needed for this test");
    let (body, sum) = drain(&mut child.stdout.take().unwrap());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let mut codes = said
        .lines()
        .last()
        .unwrap_or_default()
        .split(' ')
        .map(|code| code.parse().unwrap_or_default());
    Fetched {
        exit: output.status.code().unwrap_or(-1),
        status: codes.next().unwrap_or_default(),
        connect_status: codes.next().unwrap_or_default(),
        body,
        bytes: sum.bytes(),
        sha256: sum.hex(),
        said,
    }
}

fn drain(stdout: &mut impl Read) -> (Vec<u8>, Sum) {
    let (mut kept, mut sum, mut buffer) = (Vec::new(), Sum::new(), vec![0; 256 * 1024]);
    loop {
        match stdout.read(&mut buffer).unwrap() {
            0 => return (kept, sum),
            n => {
                sum.add(&buffer[..n]);
                if kept.len() < 1024 * 1024 {
                    kept.extend_from_slice(&buffer[..n]);
                }
            }
        }
    }
}

impl Fetched {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}
