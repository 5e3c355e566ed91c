//! The program's log: standard error that is not read, floods of errors, and the last line.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::*;

/// A node whose standard error is read up to the line `ready:`, and later only on demand.
struct Unread {
    child: Child,
    stderr: BufReader<ChildStderr>,
    addresses: Vec<SocketAddr>,
    _folder: tempfile::TempDir,
}

impl Unread {
    /// One worker. `/dead` leads to `dead`, everything else to `origin`.
    fn start(origin: &Origin, dead: SocketAddr, level: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("byway.toml");
        let text = format!(
            "workers = 1\n[metrics]\nlisten = \"127.0.0.1:0\"\n[[edge]]\nlisten = \"127.0.0.1:0\"\n\
             [[edge.route]]\npath = \"^/dead\"\nto = \"{dead}\"\n[[edge.route]]\nto = \"{}\"\n",
            origin.address()
        );
        fs::write(&config, text).unwrap();
        let mut child = Command::new(BYWAY)
            .args(["run", "--log-level", level, "-c", config.to_str().unwrap()])
            .env("BYWAY_STATE", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.starts_with("ready: ") {
            line.clear();
            assert!(
                stderr.read_line(&mut line).unwrap() > 0,
                "the program has ended"
            );
        }
        let addresses = line
            .split([' ', ',', '\n'])
            .filter_map(|word| word.parse().ok())
            .collect();
        Self {
            child,
            stderr,
            addresses,
            _folder: folder,
        }
    }

    /// One sample of the metrics.
    fn sample(&self, name: &str) -> f64 {
        let ask = "GET /metrics HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n";
        parsed(
            &Visitor::connect(*self.addresses.last().unwrap())
                .ask(ask)
                .text(),
        )[name]
    }

    /// Sends SIGTERM, waits for the exit, and returns the unread rest.
    fn stop(mut self) -> String {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        let mut rest = String::new();
        self.stderr.read_to_string(&mut rest).unwrap();
        rest
    }
}

#[test]
fn failed_requests_with_long_targets_and_an_unread_standard_error_delay_no_other_request() {
    let (origin, (refusing, _socket)) = (Origin::useful(), Origin::refusing());
    let node = Unread::start(&origin, refusing, "info");
    let target = format!("/dead/{}", "x".repeat(8000));
    for _ in 0..50 {
        assert_eq!(
            Visitor::connect(node.addresses[0]).get(&target).status(),
            502
        );
        assert_eq!(Visitor::connect(node.addresses[0]).get("/").status(), 200);
    }
    let rest = node.stop();
    assert!(
        rest.len() < 50 * 1000,
        "{} bytes for 50 lines: targets are cut",
        rest.len()
    );
}

#[test]
fn unread_lines_are_dropped_and_counted_and_delay_neither_requests_nor_the_exit() {
    let (origin, (refusing, _socket)) = (Origin::useful(), Origin::refusing());
    let mut node = Unread::start(&origin, refusing, "debug");
    let mut visitor = Visitor::connect(node.addresses[0]);
    let target = format!("/{}", "x".repeat(300));
    let dropped = "byway_log_dropped_total{reason=\"full\"}";
    for round in 0.. {
        assert_eq!(visitor.get(&target).status(), 200);
        if round % 500 == 0 && node.sample(dropped) > 0.0 {
            break;
        }
        assert!(round < 50_000, "no line is dropped");
    }
    // Once it is read again, the log goes on and reports how many lines are missing.
    let mut line = String::new();
    while !line.contains("lines of this log were dropped") {
        line.clear();
        assert!(node.stderr.read_line(&mut line).unwrap() > 0);
    }
    let (_, fields) = line.split_once("WARN").unwrap();
    let reported: f64 = fields.split_whitespace().next().unwrap().parse().unwrap();
    assert!(reported > 0.0 && reported <= node.sample(dropped), "{line}");
    // It is no longer read: the program ends anyway.
    for _ in 0..1000 {
        assert_eq!(visitor.get(&target).status(), 200);
    }
    drop(visitor);
    node.stop();
}

#[test]
fn five_thousand_failed_requests_have_a_hundred_lines_and_a_few_with_the_number_left_out() {
    let (refusing, _socket) = Origin::refusing();
    let program = edge(&refusing.to_string(), &[]);
    let mut visitor = Visitor::connect(program.address());
    for _ in 0..5000 {
        assert_eq!(visitor.get("/").status(), 502);
    }
    drop(visitor);
    let stderr = program.stop().stderr;
    let lines: Vec<_> = stderr
        .lines()
        .filter(|line| line.contains("class=\"refused\""))
        .collect();
    // After the first 100: failures 128, 256, 512, 1024, 2048 and 4096.
    assert_eq!(lines.len(), 106, "{stderr}");
    assert!(lines[105].contains("left_out=2047"), "{}", lines[105]);
    assert!(
        !lines[99].contains("left_out") && lines[100].contains("left_out=27"),
        "{}",
        lines[100]
    );
    assert!(
        stderr.ends_with("drained\n") || stderr.ends_with("drained"),
        "the last line is there: {stderr}"
    );
}
