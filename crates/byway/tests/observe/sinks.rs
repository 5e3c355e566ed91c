//! Sinks: where the lines of the access log go, and what happens when they cannot.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use byway_testkit::Launch;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Signal, kill_process};

use super::*;

#[test]
fn a_log_on_standard_output_is_whole_when_the_program_has_ended() {
    let origin = Origin::useful();
    let program = edge(&to(&origin), &["--access-log", "stdout"]);
    let mut visitor = Visitor::connect(program.address());
    for _ in 0..100 {
        visitor.get("/bytes/0");
    }
    drop(visitor);
    let ended = program.stop();
    assert_eq!(
        (ended.code, ended.stdout.lines().count()),
        (Some(0), 100),
        "{}",
        ended.stderr
    );
    assert!(
        ended
            .stdout
            .lines()
            .all(|line| line.contains("\"GET /bytes/0 HTTP/1.1\" 200 0 ")),
        "{}",
        ended.stdout
    );
}

#[test]
fn after_a_rename_and_sigusr1_lines_go_on_in_a_new_file() {
    let (origin, (folder, path)) = (Origin::useful(), log_file());
    let program = edge(&to(&origin), &["--access-log", path.to_str().unwrap()]);
    let mut visitor = Visitor::connect(program.address());
    visitor.get("/first");
    assert!(wait_for_lines(&path, 1)[0].contains("GET /first "));
    let rotated = folder.path().join("access.log.1");
    fs::rename(&path, &rotated).unwrap();
    program.signal(Signal::USR1);
    program.wait_for_log("the access log was opened again");
    visitor.get("/second");
    assert!(wait_for_lines(&path, 1)[0].contains("GET /second "));
    assert!(wait_for_lines(&rotated, 1)[0].contains("GET /first "));
}

#[test]
fn sigusr1_ends_no_program_that_has_no_access_log() {
    let origin = Origin::useful();
    let program = edge(&to(&origin), &[]);
    program.signal(Signal::USR1);
    assert_eq!(Visitor::connect(program.address()).get("/").status(), 200);
    assert_eq!(program.stop().code, Some(0));
}

#[test]
fn a_fifo_that_nobody_reads_drops_lines_and_serves_on() {
    let (origin, (_folder, path)) = (Origin::useful(), log_file());
    mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let config = format!(
        "workers = 1\n[log]\naccess = \"{}\"\naccess_format = \"json\"\n[metrics]\nlisten = \"127.0.0.1:0\"\n\
         [[edge]]\nlisten = \"127.0.0.1:0\"\n[[edge.route]]\nto = \"{}\"\n",
        path.display(),
        origin.address()
    );
    let program = Program::configured(BYWAY, &config);
    // A long target makes long lines.
    let long = format!("/{}", "x".repeat(4000));
    let mut visitor = Visitor::connect(program.address());
    let dropped =
        |program: &Program| scrape(program)["byway_access_log_dropped_total{reason=\"full\"}"];
    for _ in 0..800 {
        assert_eq!(visitor.get(&long).status(), 200);
    }
    assert!(dropped(&program) > 0.0);
    program.wait_for_log("the access log does not keep up");
    // A reader that comes late gets what there was room for.
    let mut reader = fs::File::open(&path).unwrap();
    let mut begin = vec![0; 4000];
    reader.read_exact(&mut begin).unwrap();
    assert!(begin.starts_with(b"{\"time\":\""));
    assert_eq!(visitor.get("/").status(), 200);
    drop(visitor);
    assert_eq!(program.stop().code, Some(0));
}

#[test]
fn a_full_disk_drops_lines_and_serves_on() {
    let origin = Origin::useful();
    let program = edge(&to(&origin), &["--access-log", "/dev/full"]);
    let mut visitor = Visitor::connect(program.address());
    for _ in 0..10 {
        assert_eq!(visitor.get("/").status(), 200);
    }
    eventually("all ten are counted", || {
        scrape(&program)["byway_access_log_dropped_total{reason=\"sink\"}"] == 10.0
    });
    let line = program.wait_for_log("the access log does not keep up");
    assert!(line.contains("No space left on device"), "{line}");
    assert_eq!(visitor.get("/").status(), 200);
    drop(visitor);
    let log = program.stop().stderr;
    assert!(
        !log.contains("the end came before them"),
        "the cause at the end is the full disk, too: {log}"
    );
    assert!(log.matches("No space left on device").count() > 1, "{log}");
}

/// A disk of 64 KiB, in a mount namespace of its own.
#[test]
fn a_disk_that_fills_up_on_the_way_drops_lines_and_serves_on() {
    let (origin, folder) = (Origin::useful(), tempfile::tempdir().unwrap());
    let path = folder.path().to_str().unwrap();
    let mount = "mount -t tmpfs -o size=64k none \"$0\" && exec \"$@\"";
    let may_mount = Command::new("unshare")
        .args(["-m", "sh", "-c", mount, path, "true"])
        .status();
    if !may_mount.is_ok_and(|status| status.success()) {
        // Not by eprintln: a test that passes shows nothing of that.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: a_disk_that_fills_up_on_the_way: no mounts of one's own here"
        );
        return;
    }
    let log = format!("{path}/access.log");
    let byway = [
        BYWAY,
        "edge",
        "--from",
        "127.0.0.1:0",
        "--to",
        &to(&origin),
        "--metrics",
        "127.0.0.1:0",
        "--access-log",
        &log,
    ];
    let args = [&["-m", "sh", "-c", mount, path], &byway[..]].concat();
    let program = Program::start("unshare", &args);
    let mut visitor = Visitor::connect(program.address());
    let long = format!("/{}", "x".repeat(4000));
    let lost =
        |program: &Program| scrape(program)["byway_access_log_dropped_total{reason=\"sink\"}"];
    for _ in 0..20 {
        assert_eq!(visitor.get(&long).status(), 200);
    }
    assert_eq!(visitor.get("/").status(), 200);
    eventually("the disk is full", || {
        assert_eq!(visitor.get(&long).status(), 200);
        lost(&program) > 0.0
    });
    program.wait_for_log("No space left on device");
    assert_eq!(visitor.get("/").status(), 200);
    let taken = scrape(&program)["byway_access_log_lines_total"] - lost(&program);
    assert!(taken >= 10.0, "{taken} lines fit");
    drop(visitor);
    assert_eq!(program.stop().code, Some(0));
}

/// A standard output that belongs to somebody who does not read it: it may not be made
/// non-blocking.
#[test]
fn a_pipe_that_nobody_reads_holds_up_neither_requests_nor_the_end() {
    let (origin, folder) = (Origin::useful(), tempfile::tempdir().unwrap());
    let mut child = Command::new(BYWAY)
        .args([
            "edge",
            "--from",
            "127.0.0.1:0",
            "--to",
            &to(&origin),
            "--access-log",
            "stdout",
        ])
        .env("BYWAY_STATE", folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut ready = String::new();
    said.read_line(&mut ready).unwrap();
    let address: SocketAddr = ready.trim().rsplit(' ').next().unwrap().parse().unwrap();
    let mut visitor = Visitor::connect(address);
    // The pipe takes 64 KiB, and the page of a worker 854 KiB twice.
    let long = format!("/{}", "x".repeat(4000));
    for _ in 0..800 {
        assert_eq!(visitor.get(&long).status(), 200);
    }
    drop(visitor);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let (mut heard, mut log) = (String::new(), String::new());
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut heard)
        .unwrap();
    said.read_to_string(&mut log).unwrap();
    assert!(
        heard.len() >= 4096 && heard.starts_with("127.0.0.1 - - ["),
        "{} bytes",
        heard.len()
    );
    assert!(log.contains("the access log does not keep up"), "{log}");
}

#[test]
fn a_log_that_cannot_be_opened_is_an_error_at_the_start() {
    let finished = Launch::new(
        BYWAY,
        &[
            "edge",
            "--from",
            "127.0.0.1:0",
            "--to",
            "127.0.0.1:1",
            "--access-log",
            "/no/such/a",
        ],
    )
    .run();
    assert_eq!(finished.code, Some(1));
    assert!(
        finished
            .stderr
            .contains("cannot write the access log /no/such/a: No such file or directory"),
        "{}",
        finished.stderr
    );
}

#[test]
fn a_reload_turns_the_log_over_and_refuses_a_file_that_cannot_be_written() {
    let (origin, (_folder, path)) = (Origin::useful(), log_file());
    let config = |log: &str| {
        format!(
            "{log}\n[[edge]]\nlisten = \"127.0.0.1:0\"\n[[edge.route]]\nto = \"{}\"\n",
            origin.address()
        )
    };
    let program = Program::configured(BYWAY, &config(""));
    let mut visitor = Visitor::connect(program.address());
    let said = program.reload(&config(&format!("[log]\naccess = \"{}\"", path.display())));
    assert!(said.contains("reloaded"), "{said}");
    visitor.get("/written");
    assert!(wait_for_lines(&path, 1)[0].contains("GET /written "));
    let said = program.reload(&config("[log]\naccess = \"/no/such/a\""));
    assert!(said.contains("refused"), "{said}");
    visitor.get("/still");
    assert!(wait_for_lines(&path, 2)[1].contains("GET /still "));
}
