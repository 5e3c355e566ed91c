//! Inherited sockets: a listener whose socket comes from a parent process serves that same socket.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};

/// Starts `byway edge` with the descriptor as its first inherited one. The shell is bash because it
/// redirects descriptors above 9.
fn start_with(listener: &TcpListener, from: &str) -> (Child, String) {
    rustix::io::fcntl_setfd(listener, rustix::io::FdFlags::empty()).unwrap();
    let script = format!(
        "exec 3<&{}; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\"",
        listener.as_raw_fd()
    );
    let mut child = Command::new("bash")
        .args([
            "-c",
            &script,
            env!("CARGO_BIN_EXE_byway"),
            "edge",
            "--from",
            from,
            "--to",
            "127.0.0.1:1",
        ])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut ready = String::new();
    while !ready.contains("ready: ") {
        ready.clear();
        assert_ne!(
            lines.read_line(&mut ready).unwrap(),
            0,
            "ended before it was ready"
        );
    }
    // Later log lines must not block the program.
    std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
    (child, ready)
}

#[test]
fn a_connection_from_before_the_start_of_the_process_is_served() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut early = TcpStream::connect(&address).unwrap();
    early
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .unwrap();

    let (mut child, ready) = start_with(&listener, &address);
    assert!(ready.contains(&address), "{ready}");
    let mut answer = String::new();
    early.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");

    child.kill().unwrap();
    child.wait().unwrap();
}

/// A program with the descriptor as its first inherited one, and the lines of its stderr.
fn serve_with(
    listener: &TcpListener,
    state: &std::path::Path,
) -> (Child, std::sync::mpsc::Receiver<String>) {
    rustix::io::fcntl_setfd(listener, rustix::io::FdFlags::empty()).unwrap();
    let script = format!(
        "exec 3<&{}; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\"",
        listener.as_raw_fd()
    );
    let address = listener.local_addr().unwrap().to_string();
    let mut child = Command::new("bash")
        .args([
            "-c",
            &script,
            env!("CARGO_BIN_EXE_byway"),
            "serve",
            "--listen",
            &address,
            "--state",
        ])
        .arg(state)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (line, lines) = std::sync::mpsc::channel();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    std::thread::spawn(move || {
        stderr
            .lines()
            .map_while(Result::ok)
            .try_for_each(|text| line.send(text))
    });
    (child, lines)
}

fn wait_for(lines: &std::sync::mpsc::Receiver<String>, text: &str) -> String {
    loop {
        let line = lines
            .recv_timeout(std::time::Duration::from_secs(60))
            .expect(text);
        if line.contains(text) {
            return line;
        }
    }
}

#[test]
fn the_next_process_of_a_server_starts_beside_the_old_one_and_writes_its_state_once_that_has_exited()
 {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (mut old, old_lines) = serve_with(&listener, folder.path());
    wait_for(&old_lines, "ready: ");
    let (mut new, new_lines) = serve_with(&listener, folder.path());
    wait_for(
        &new_lines,
        &format!("process {} (byway serve) still writes to", old.id()),
    );
    wait_for(&new_lines, "ready: ");
    // Without the sockets of the old process it is a different node, and is refused.
    let stranger = Command::new(env!("CARGO_BIN_EXE_byway"))
        .args(["serve", "--listen", "127.0.0.1:0", "--state"])
        .arg(folder.path())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&stranger.stderr);
    assert!(
        stderr.contains(&format!("in use by process {}", old.id())),
        "{stderr}"
    );
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&old),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    wait_for(&new_lines, "the earlier process has left");
    old.wait().unwrap();
    assert!(folder.path().join("names").exists());
    new.kill().unwrap();
    new.wait().unwrap();
}

#[test]
fn the_next_process_of_a_server_only_reads_its_state_until_the_old_one_has_exited() {
    let folder = tempfile::tempdir().unwrap();
    let (join, grants) = (
        folder.path().join("join-serve"),
        folder.path().join("grants"),
    );
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (mut old, old_lines) = serve_with(&listener, folder.path());
    wait_for(&old_lines, "ready: ");
    // With the file gone a new server would create another grant and write it.
    std::fs::remove_file(&join).unwrap();
    let (mut new, new_lines) = serve_with(&listener, folder.path());
    wait_for(&new_lines, "ready: ");
    assert!(
        !join.exists(),
        "it has written the join string of the process that still serves"
    );
    assert_eq!(
        std::fs::read_dir(&grants).unwrap().count(),
        1,
        "it has made a grant"
    );
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&old),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    wait_for(&new_lines, "the earlier process has left");
    assert!(
        join.exists(),
        "the process that serves now has no join string"
    );
    old.wait().unwrap();
    new.kill().unwrap();
    new.wait().unwrap();
}
