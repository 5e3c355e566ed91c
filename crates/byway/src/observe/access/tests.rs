//! The access log from an entry to its sink: formats, hostile bytes, blocked sinks, renames.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use byway_head::Version;
use byway_testkit::eventually;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::clock::Dates;
use super::line::{Entry, EntrySubject, MOST_LINE_BYTES, TlsEntry};
use super::log_buffer::PAGE_BYTES;
use super::*;
use crate::config::{AccessFormat, AccessPlace, LogPlan};
use crate::fault::{Reason, Who};
use crate::observe::ending::Ending;
use crate::observe::timing::Timers;
use crate::observe::worker_stats::WorkerStats;

const NOW: Duration = Duration::from_millis(1_795_633_699_123);

pub(super) fn entry() -> Entry<'static> {
    Entry {
        connection: 7,
        request_id: "00000000000000ab",
        listener: "site",
        peer: Some("192.0.2.1:4711".parse().unwrap()),
        user: None,
        tls: None,
        subject: EntrySubject::Request {
            method: b"GET",
            target: b"/a?b=c",
            version: Version::Http11,
            host: Some(b"a.example"),
            referer: None,
            agent: Some(b"curl/8"),
        },
        status: 200,
        bytes_in: 0,
        bytes_out: 1234,
        timers: Timers {
            queue_us: 1,
            connect_us: 20,
            first_byte_us: 300,
            transfer_us: 4000,
        },
        upstream: Some("http://127.0.0.1:9001"),
        reused: false,
        retried: false,
        not_retried: None,
        ending: Ending::done("transfer"),
    }
}

fn combined(entry: &Entry<'_>) -> String {
    let mut out = Vec::new();
    entry.combined(&mut out, &mut Dates::default(), NOW);
    String::from_utf8(out).unwrap()
}

fn json(entry: &Entry<'_>) -> String {
    let mut out = Vec::new();
    entry.json(&mut out, &mut Dates::default(), NOW);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_request_is_one_line_in_each_form() {
    let line = "192.0.2.1 - - [25/Nov/2026:19:08:19 +0000] \"GET /a?b=c HTTP/1.1\" 200 1234 \"-\" \"curl/8\"\n";
    assert_eq!(combined(&entry()), line);
    let line = concat!(
        r#"{"time":"2026-11-25T19:08:19.123Z","kind":"request","connection":7,"request":"00000000000000ab","#,
        r#""listener":"site","peer":"192.0.2.1:4711","user":null,"method":"GET","target":"/a?b=c","#,
        r#""version":"HTTP/1.1","tls_version":null,"tls_cipher":null,"tls_name":null,"tls_resumed":false,"#,
        r#""tls_client":null,"host":"a.example","referer":null,"user_agent":"curl/8","status":200,"in_bytes":0,"#,
        r#""out_bytes":1234,"queue_us":1,"connect_us":20,"first_byte_us":300,"transfer_us":4000,"total_us":4321,"#,
        r#""upstream":"http://127.0.0.1:9001","reused":false,"retried":false,"not_retried":null,"end":"done","#,
        r#""end_who":null,"end_phase":"transfer"}"#,
        "\n"
    );
    assert_eq!(json(&entry()), line);
}

#[test]
fn a_missing_value_is_a_dash_or_null() {
    let ending = Ending {
        who: Some(Who::Downstream),
        reason: Reason::BareLf,
        phase: "queue",
    };
    let entry = Entry {
        peer: None,
        request_id: "",
        subject: EntrySubject::Unreadable,
        status: 400,
        bytes_out: 0,
        upstream: None,
        ending,
        ..entry()
    };
    assert_eq!(
        combined(&entry),
        "unix: - - [25/Nov/2026:19:08:19 +0000] \"\" 400 0 \"-\" \"-\"\n"
    );
    let line = json(&entry);
    for part in [
        r#""request":null"#,
        r#""peer":null"#,
        r#""method":null"#,
        r#""end":"bare-lf","end_who":"downstream""#,
    ] {
        assert!(line.contains(part), "{line}");
    }
    assert!(json(&Entry { status: 0, ..entry }).contains(r#""status":null"#));
    assert!(combined(&Entry { status: 0, ..entry }).contains("\"\" 000 0 "));
}

#[test]
fn a_tunnel_has_a_line_in_each_form() {
    let entry = Entry {
        subject: EntrySubject::Tunnel {
            target: "a.example:443",
            protocol: "SOCKS5",
            status: 200,
        },
        status: 0,
        ..entry()
    };
    let line = "192.0.2.1 - - [25/Nov/2026:19:08:19 +0000] \"CONNECT a.example:443 SOCKS5\" 200 1234 \"-\" \"-\"\n";
    assert_eq!(combined(&entry), line);
    let nowhere = Entry {
        subject: EntrySubject::Tunnel {
            target: "",
            protocol: "SOCKS",
            status: 408,
        },
        ..entry
    };
    assert!(
        combined(&nowhere).contains("\"CONNECT - SOCKS\" 408 "),
        "{}",
        combined(&nowhere)
    );
    let line = json(&entry);
    assert!(
        line.contains(r#""kind":"tunnel""#) && line.contains(r#""target":"a.example:443""#),
        "{line}"
    );
}

#[test]
fn addresses_of_both_families_are_written_in_the_usual_form() {
    for (peer, shown) in [
        ("[2001:db8::1]:5", "2001:db8::1"),
        ("[::ffff:192.0.2.9]:5", "192.0.2.9"),
    ] {
        let entry = Entry {
            peer: Some(peer.parse().unwrap()),
            ..entry()
        };
        assert!(
            combined(&entry).starts_with(&format!("{shown} - ")),
            "{}",
            combined(&entry)
        );
        let bracketed = if shown.contains(':') {
            format!("[{shown}]:5")
        } else {
            format!("{shown}:5")
        };
        assert!(
            json(&entry).contains(&format!(r#""peer":"{bracketed}""#)),
            "{}",
            json(&entry)
        );
    }
}

/// CVE class: log injection. What a client sends ends neither its field nor its line.
#[test]
fn no_client_can_forge_a_line_or_a_field() {
    let forged = b"x\" 200 1 \"-\" \"-\"\r\n6.6.6.6 - admin [now] \"GET / HTTP/1.1\" 200 1 \"-\" \"\x1b]0;owned\x07\\";
    let EntrySubject::Request { version, .. } = entry().subject else {
        unreachable!()
    };
    let subject = EntrySubject::Request {
        method: forged,
        target: forged,
        version,
        host: Some(forged),
        referer: Some(forged),
        agent: Some(forged),
    };
    let entry = Entry {
        subject,
        user: Some("a b\"\n"),
        upstream: Some("c\nd"),
        listener: "e\"f",
        ..entry()
    };
    for line in [combined(&entry), json(&entry)] {
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        assert!(
            line.trim_end_matches('\n')
                .bytes()
                .all(|byte| matches!(byte, b' '..=b'~')),
            "{line}"
        );
    }
    // Three quoted fields, none of them ended from inside.
    assert_eq!(combined(&entry).matches('"').count(), 6);
    assert!(
        combined(&entry).starts_with("192.0.2.1 - a_b\\x22\\x0a ["),
        "{}",
        combined(&entry)
    );
}

/// Calls `then` with an entry that makes the longest possible line.
pub(super) fn longest_entry(then: impl FnOnce(&Entry<'_>)) {
    let bytes = vec![0xff; 100_000];
    let text = "\u{1}".repeat(100_000);
    let subject = EntrySubject::Request {
        method: &bytes,
        target: &bytes,
        version: Version::Http11,
        host: Some(&bytes),
        referer: Some(&bytes),
        agent: Some(&bytes),
    };
    let most = u64::MAX / 4;
    let tls = TlsEntry {
        version: "TLSv1.3",
        cipher: "TLS13_CHACHA20_POLY1305_SHA256",
        name: Some(&text),
        resumed: false,
        client: Some(&text),
    };
    then(&Entry {
        connection: u64::MAX,
        tls: Some(tls),
        subject,
        listener: &text,
        user: Some(&text),
        upstream: Some(&text),
        peer: Some(
            "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"
                .parse()
                .unwrap(),
        ),
        bytes_in: u64::MAX,
        bytes_out: u64::MAX,
        timers: Timers {
            queue_us: most,
            connect_us: most,
            first_byte_us: most,
            transfer_us: most,
        },
        not_retried: Some("as long as any reason of Byway may be"),
        ..entry()
    });
}

#[test]
fn the_longest_line_is_within_its_bound() {
    longest_entry(|entry| {
        for line in [combined(entry), json(entry)] {
            assert!(
                line.len() <= MOST_LINE_BYTES && line.ends_with('\n'),
                "{}",
                line.len()
            );
        }
        assert!(json(entry).len() > MOST_LINE_BYTES - 2048);
    });
}

/// A log of one worker that writes to `place`.
fn log_to(place: AccessPlace, format: AccessFormat) -> (AccessLog, Arc<WorkerStats>) {
    let (log, worker_stats) = (AccessLog::default(), Arc::new(WorkerStats::default()));
    let ready = log
        .prepare(&LogPlan {
            access: place,
            access_format: format,
        })
        .unwrap();
    log.begin(ready, &[Arc::clone(&worker_stats)]).unwrap();
    (log, worker_stats)
}

fn file(path: &Path) -> AccessPlace {
    AccessPlace::File(path.to_owned())
}

/// Writes lines until some are dropped: the caller is never blocked.
fn overfill(worker_stats: &WorkerStats) {
    let before = worker_stats.log_buffer.dropped();
    let mut noted = 0;
    while worker_stats.log_buffer.dropped() == before {
        worker_stats.log_buffer.note(&entry());
        noted += 1;
        assert!(noted < 100 * PAGE_BYTES, "no line is dropped");
    }
}

#[test]
fn all_lines_are_in_the_file_when_the_log_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let (log, worker_stats) = log_to(file(&path), AccessFormat::Combined);
    for _ in 0..5_000 {
        worker_stats.log_buffer.note(&entry());
    }
    log.close();
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(
        (
            text.lines().count() as u64,
            worker_stats.log_buffer.dropped(),
            log.lost()
        ),
        (5_000, 0, 0)
    );
    assert!(
        text.lines()
            .all(|line| line.ends_with("\"GET /a?b=c HTTP/1.1\" 200 1234 \"-\" \"curl/8\""))
    );
    worker_stats.log_buffer.note(&entry());
    assert_eq!(
        worker_stats.log_buffer.lines(),
        5_000,
        "nothing is written after the end"
    );
}

#[test]
fn a_line_is_written_to_the_file_without_a_flush() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let (_log, worker_stats) = log_to(file(&path), AccessFormat::Json);
    for count in 1..=3 {
        worker_stats.log_buffer.note(&entry());
        eventually("the line is written", || {
            fs::read_to_string(&path).unwrap().lines().count() == count
        });
    }
}

#[test]
fn a_file_that_was_renamed_is_left_alone_and_a_new_one_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let (path, moved) = (
        folder.path().join("access.log"),
        folder.path().join("access.log.1"),
    );
    let (log, worker_stats) = log_to(file(&path), AccessFormat::Combined);
    worker_stats.log_buffer.note(&entry());
    eventually("the first line", || {
        fs::read_to_string(&path).unwrap().lines().count() == 1
    });
    fs::rename(&path, &moved).unwrap();
    log.reopen();
    eventually("the new file", || path.exists());
    worker_stats.log_buffer.note(&entry());
    log.close();
    assert_eq!(
        [path, moved].map(|path| fs::read_to_string(path).unwrap().lines().count()),
        [1, 1]
    );
}

#[test]
fn a_fifo_without_a_reader_loses_lines_and_blocks_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fifo");
    mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let (log, worker_stats) = log_to(file(&path), AccessFormat::Combined);
    overfill(&worker_stats);
    // A reader opens it: lines arrive again, each of them whole.
    let mut reader = fs::File::open(&path).unwrap();
    let mut received = vec![0; 1 << 16];
    reader.read_exact(&mut received).unwrap();
    let whole = received.rsplitn(2, |byte| *byte == b'\n').nth(1).unwrap();
    assert!(
        whole
            .split(|byte| *byte == b'\n')
            .all(|line| line.ends_with(b"\"curl/8\""))
    );
    // It stops reading: the log can still be closed.
    overfill(&worker_stats);
    log.close();
    assert!(log.lost() > 0);
}

#[test]
fn a_full_disk_loses_lines_and_counts_them() {
    let (log, worker_stats) = log_to(file(Path::new("/dev/full")), AccessFormat::Combined);
    for _ in 0..100 {
        worker_stats.log_buffer.note(&entry());
    }
    eventually("all of them are counted", || log.lost() == 100);
    worker_stats.log_buffer.note(&entry());
    log.close();
    assert_eq!((log.lost(), worker_stats.log_buffer.dropped()), (101, 0));
}

#[test]
fn a_log_switches_to_another_file_and_format_without_mixing_them() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    let (log, worker_stats) = log_to(file(&old), AccessFormat::Combined);
    worker_stats.log_buffer.note(&entry());
    let ready = log
        .prepare(&LogPlan {
            access: file(&new),
            access_format: AccessFormat::Json,
        })
        .unwrap();
    log.begin(ready, &[]).unwrap();
    worker_stats.log_buffer.note(&entry());
    let ready = log
        .prepare(&LogPlan {
            access: AccessPlace::Off,
            access_format: AccessFormat::Json,
        })
        .unwrap();
    log.begin(ready, &[]).unwrap();
    worker_stats.log_buffer.note(&entry());
    log.close();
    let (old, new) = (
        fs::read_to_string(old).unwrap(),
        fs::read_to_string(new).unwrap(),
    );
    assert!(
        old.starts_with("192.0.2.1 ") && new.starts_with('{'),
        "{old}{new}"
    );
    assert_eq!((old.lines().count(), new.lines().count()), (1, 1));
}

#[test]
fn a_blocked_sink_does_not_keep_the_log_from_switching_to_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let (fifo, path) = (folder.path().join("fifo"), folder.path().join("file"));
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let (log, worker_stats) = log_to(file(&fifo), AccessFormat::Combined);
    overfill(&worker_stats);
    let ready = log
        .prepare(&LogPlan {
            access: file(&path),
            access_format: AccessFormat::Combined,
        })
        .unwrap();
    log.begin(ready, &[]).unwrap();
    eventually("lines in the new file", || {
        worker_stats.log_buffer.note(&entry());
        fs::metadata(&path).is_ok_and(|file| file.len() > 0)
    });
}

#[test]
fn a_log_that_cannot_be_opened_is_refused_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let place = file(&folder.path().join("missing/access.log"));
    let error = AccessLog::default()
        .prepare(&LogPlan {
            access: place,
            access_format: AccessFormat::Json,
        })
        .err()
        .unwrap();
    assert!(
        error
            .to_string()
            .contains("missing/access.log: No such file"),
        "{error}"
    );
}

#[test]
fn a_file_that_was_emptied_after_a_line_was_cut_does_not_begin_with_an_empty_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let mut sink = sink::Sink::open(&file(&path)).unwrap().unwrap();
    sink.write(b"half a li", Duration::ZERO).unwrap();
    sink.tear();
    // The operator truncates the log because the disk is full.
    fs::write(&path, b"").unwrap();
    sink.write(b"whole\n", Duration::ZERO).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "whole\n");
}

#[test]
fn a_line_that_was_cut_does_not_spoil_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let mut sink = sink::Sink::open(&file(&path)).unwrap().unwrap();
    assert_eq!(sink.write(b"half a li", Duration::ZERO).unwrap(), 9);
    sink.tear();
    assert_eq!(sink.write(b"whole\n", Duration::ZERO).unwrap(), 6);
    assert_eq!(fs::read_to_string(&path).unwrap(), "half a li\nwhole\n");
}
