//! Inherited sockets: a listener whose socket a parent process hands over serves that very socket.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};

/// Starts `byway edge` with the descriptor as its first inherited one; bash, as it redirects descriptors above 9.
fn start_with(listener: &TcpListener, from: &str) -> (Child, String) {
    rustix::io::fcntl_setfd(listener, rustix::io::FdFlags::empty()).unwrap();
    let script = format!("exec 3<&{}; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\"", listener.as_raw_fd());
    let mut child = Command::new("bash")
        .args(["-c", &script, env!("CARGO_BIN_EXE_byway"), "edge", "--from", from, "--to", "127.0.0.1:1"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut ready = String::new();
    while !ready.contains("ready: ") {
        ready.clear();
        assert_ne!(lines.read_line(&mut ready).unwrap(), 0, "ended before it was ready");
    }
    // Whatever it logs later shall not block it.
    std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
    (child, ready)
}

#[test]
fn a_visitor_that_came_before_the_process_is_served_by_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut early = TcpStream::connect(&address).unwrap();
    early.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();

    let (mut child, ready) = start_with(&listener, &address);
    assert!(ready.contains(&address), "{ready}");
    let mut answer = String::new();
    early.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");

    child.kill().unwrap();
    child.wait().unwrap();
}
