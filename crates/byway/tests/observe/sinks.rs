//! Sinks: where the lines of the access log go, and what happens when they cannot be written.

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
    program.wait_for_log("the access log was reopened");
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
fn an_unread_fifo_drops_lines_and_blocks_no_request() {
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
    // A late reader gets what fitted into the pipe.
    let mut reader = fs::File::open(&path).unwrap();
    let mut begin = vec![0; 4000];
    reader.read_exact(&mut begin).unwrap();
    assert!(begin.starts_with(b"{\"time\":\""));
    assert_eq!(visitor.get("/").status(), 200);
    drop(visitor);
    assert_eq!(program.stop().code, Some(0));
}

#[test]
fn a_full_disk_drops_lines_and_blocks_no_request() {
    let origin = Origin::useful();
    let program = edge(&to(&origin), &["--access-log", "/dev/full"]);
    let mut visitor = Visitor::connect(program.address());
    for _ in 0..10 {
        assert_eq!(visitor.get("/").status(), 200);
    }
    eventually("all ten are counted", || {
        scrape(&program)["byway_access_log_dropped_total{reason=\"sink\"}"] == 10.0
    });
    let line = program.wait_for_log("the access log cannot be written");
    assert!(line.contains("No space left on device"), "{line}");
    assert_eq!(visitor.get("/").status(), 200);
    drop(visitor);
    let log = program.stop().stderr;
    assert!(
        !log.contains("the log was closed before they were written"),
        "at the end the cause is the full disk, too: {log}"
    );
    assert!(log.matches("No space left on device").count() > 1, "{log}");
}

/// A disk of 64 KiB, in its own mount namespace.
#[test]
fn a_disk_that_fills_up_later_drops_lines_and_blocks_no_request() {
    let (origin, folder) = (Origin::useful(), tempfile::tempdir().unwrap());
    let path = folder.path().to_str().unwrap();
    let mount = "mount -t tmpfs -o size=64k none \"$0\" && exec \"$@\"";
    let may_mount = Command::new("unshare")
        .args(["-m", "sh", "-c", mount, path, "true"])
        .status();
    if !may_mount.is_ok_and(|status| status.success()) {
        // Not with eprintln: its output is hidden when a test passes.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: a_disk_that_fills_up_later: this machine does not allow mounts"
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

/// Lines that the sink refused after the first report, and before it took some again, were
/// reported at the end as if the end had been their cause.
#[test]
fn lines_lost_to_a_full_disk_that_has_room_again_are_not_blamed_on_the_end() {
    let (origin, folder) = (Origin::useful(), tempfile::tempdir().unwrap());
    let log = folder.path().join("access.log");
    std::os::unix::fs::symlink("/dev/full", &log).unwrap();
    let program = edge(&to(&origin), &["--access-log", log.to_str().unwrap()]);
    let mut visitor = Visitor::connect(program.address());
    assert_eq!(visitor.get("/").status(), 200);
    program.wait_for_log("the access log cannot be written");
    for _ in 0..5 {
        assert_eq!(visitor.get("/").status(), 200);
    }
    eventually("all six are counted", || {
        scrape(&program)["byway_access_log_dropped_total{reason=\"sink\"}"] == 6.0
    });
    fs::remove_file(&log).unwrap();
    program.signal(Signal::USR1);
    program.wait_for_log("the access log was reopened");
    assert_eq!(visitor.get("/").status(), 200);
    eventually("the last one is written", || {
        fs::read_to_string(&log).is_ok_and(|lines| lines.lines().count() == 1)
    });
    drop(visitor);
    let log = program.stop().stderr;
    assert!(!log.contains("the log was closed before"), "{log}");
    assert_eq!(log.matches("No space left on device").count(), 2, "{log}");
}

/// A standard output that another process owns and does not read: it must not be made non-blocking.
#[test]
fn an_unread_pipe_delays_neither_requests_nor_the_exit() {
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
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut ready = String::new();
    stderr.read_line(&mut ready).unwrap();
    let address: SocketAddr = ready.trim().rsplit(' ').next().unwrap().parse().unwrap();
    let mut visitor = Visitor::connect(address);
    // The pipe takes 64 KiB, and the log buffer of a worker twice 854 KiB.
    let long = format!("/{}", "x".repeat(4000));
    for _ in 0..800 {
        assert_eq!(visitor.get(&long).status(), 200);
    }
    drop(visitor);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let (mut stdout, mut log) = (String::new(), String::new());
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut stdout)
        .unwrap();
    stderr.read_to_string(&mut log).unwrap();
    assert!(
        stdout.len() >= 4096 && stdout.starts_with("127.0.0.1 - - ["),
        "{} bytes",
        stdout.len()
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
fn a_reload_opens_the_log_and_refuses_a_file_that_cannot_be_written() {
    let (origin, (_folder, path)) = (Origin::useful(), log_file());
    let config = |log: &str| {
        format!(
            "{log}\n[[edge]]\nlisten = \"127.0.0.1:0\"\n[[edge.route]]\nto = \"{}\"\n",
            origin.address()
        )
    };
    let program = Program::configured(BYWAY, &config(""));
    let mut visitor = Visitor::connect(program.address());
    let log = program.reload(&config(&format!("[log]\naccess = \"{}\"", path.display())));
    assert!(log.contains("reloaded"), "{log}");
    visitor.get("/written");
    assert!(wait_for_lines(&path, 1)[0].contains("GET /written "));
    let log = program.reload(&config("[log]\naccess = \"/no/such/a\""));
    assert!(log.contains("refused"), "{log}");
    visitor.get("/still");
    assert!(wait_for_lines(&path, 2)[1].contains("GET /still "));
}
