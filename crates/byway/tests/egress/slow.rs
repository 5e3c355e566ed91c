//! Slow: paused readers do not block their origin and cost the egress little memory. Rate limits
//! hold.

#[cfg(target_os = "linux")]
use std::path::Path;
use std::time::{Duration, Instant};

use byway_testkit::pattern::{MIB, Pattern, Sum};
use byway_testkit::{Launch, Origin, Visitor, curl};
#[cfg(target_os = "linux")]
use byway_testkit::{eventually, isolated};
use rustix::process::{Resource, Rlimit};

use super::*;

const EACH: u64 = 64 * MIB;
const READERS: usize = 10;

/// A client that requested `EACH` bytes, read the head of the answer, and paused.
#[track_caller]
fn paused_reader(number: usize, egress: SocketAddr, origin: SocketAddr) -> Visitor {
    let mut visitor = Visitor::connect(egress);
    let path = format!("/bytes/{EACH}");
    if number.is_multiple_of(2) {
        visitor
            .send(GREETING)
            .expect([5, 0])
            .send(socks5(origin))
            .expect([5, 0, 0, 1])
            .exactly(6);
        visitor.send(format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        ));
    } else {
        visitor.send(format!(
            "GET http://{origin}{path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        ));
    }
    assert_eq!(visitor.head().expect("an answer").status(), 200);
    visitor
}

#[test]
fn paused_readers_let_the_origin_finish_keep_memory_bounded_and_get_every_byte() {
    let origin = Origin::scripted(|visitor| {
        visitor.request_head();
        visitor.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {EACH}\r\nConnection: close\r\n\r\n"
        ));
        let mut pattern = Pattern::new(EACH);
        while let Some(block) = pattern.next_block() {
            visitor.send(block);
        }
    });
    let program = egress(&OPEN);
    let mut readers: Vec<_> = (0..READERS)
        .map(|number| paused_reader(number, program.address(), origin.address()))
        .collect();
    origin.wait_for_ended(READERS);
    let rss = program.rss_kib();
    eprintln!(
        "{READERS} paused readers of {} MiB each: {rss} KiB resident",
        EACH / MIB
    );
    assert!(rss < 96 * 1024, "{rss} KiB for {READERS} paused readers");
    let expected = Pattern::sha256(EACH);
    for (number, reader) in readers.iter_mut().enumerate() {
        let mut sum = Sum::new();
        reader.exactly_each(EACH, |bytes| sum.add(bytes));
        assert_eq!(sum.hex(), expected, "reader {number}");
        reader.ended();
    }
    let left =
        std::fs::read_dir(program.folder().join("state").join("spill")).map_or(0, Iterator::count);
    assert_eq!(
        left, 0,
        "spill files have no name that could be left behind"
    );
}

#[test]
fn a_stream_limit_slows_each_reader_and_not_the_origin() {
    const BYTES: u64 = 8 * MIB;
    let origin = Origin::scripted(|visitor| {
        visitor.request_head();
        visitor.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\nConnection: close\r\n\r\n"
        ));
        visitor.send(Pattern::whole(BYTES));
    });
    let program = egress(&["--stream-limit", "128KiB/s", OPEN[0], OPEN[1]]);
    let started = Instant::now();
    let mut readers: Vec<_> = (0..4)
        .map(|number| paused_reader(number, program.address(), origin.address()))
        .collect();
    // At this rate the transfer takes a minute. The origin finishes long before.
    origin.wait_for_ended(4);
    for reader in &mut readers {
        reader.exactly(384 * 1024);
    }
    // The bucket starts with 64 KiB, so 384 KiB at 128 KiB/s take at least 2.5 s.
    assert!(
        started.elapsed() > Duration::from_millis(2400),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn a_stream_limit_does_not_apply_to_uploads() {
    let origin = Origin::useful();
    let program = egress(&["--stream-limit", "64KiB/s", OPEN[0], OPEN[1]]);
    let proxy = format!("socks5h://{}", program.address());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), Pattern::whole(8 * MIB)).unwrap();
    // At 64 KiB/s this would take two minutes.
    let path = file.path().display().to_string();
    let up = curl(&[
        "-x",
        &proxy,
        "-X",
        "POST",
        "-T",
        &path,
        &format!("http://{}/sum", origin.address()),
    ]);
    assert!(up.text().starts_with(&format!("{} ", 8 * MIB)), "{up:?}");
}

#[test]
fn with_the_spill_off_a_paused_reader_blocks_its_origin() {
    let origin = Origin::useful();
    let program = egress_with("[spill]\nmode = \"off\"");
    let mut reader = paused_reader(0, program.address(), origin.address());
    reader.exactly(1000);
    let rss = program.rss_kib();
    assert!(rss < 64 * 1024, "{rss} KiB");
    drop(reader);
    origin.wait_for_ended(1);
}

#[test]
fn an_exhausted_spill_budget_blocks_the_origin_and_loses_nothing() {
    let origin = Origin::useful();
    let program = egress_with("[spill]\nper_stream = \"1MiB\"");
    let mut reader = paused_reader(0, program.address(), origin.address());
    let mut sum = Sum::new();
    reader.exactly_each(EACH, |bytes| sum.add(bytes));
    assert_eq!(sum.hex(), Pattern::sha256(EACH));
}

/// The state folder is a disk of its own, which takes no bytes when the node starts, and takes some
/// after `repair`. Then a paused reader's bytes are written to it.
#[cfg(target_os = "linux")]
#[track_caller]
fn starts_while_its_disk_takes_nothing(
    settings: &str,
    spoil: fn(&Path),
    repair: fn(&Path),
    advice: &str,
) {
    let origin = Origin::useful();
    let launch = Launch::configured(
        BYWAY,
        &format!(
            "{settings}metrics.listen = \"127.0.0.1:0\"\n[[proxy]]\nlisten = \"127.0.0.1:0\"\n\
             [[proxy.rule]]\naction = \"allow\"\ncidr = \"127.0.0.0/8\"\n"
        ),
    );
    let state = launch.folder().join("state");
    std::fs::create_dir(&state).unwrap();
    mount(&["-t", "tmpfs", "-o", "size=16m", "none"], &state);
    spoil(&state);
    let program = launch.start();
    let warning = program.wait_for_log("the spill directory");
    assert!(warning.contains(advice), "{warning}");
    assert!(warning.contains("spill.mode") && warning.contains("--state"));

    let mut reader = paused_reader(0, program.address(), origin.address());
    let metric = |name: &str| -> u64 {
        let text = Visitor::connect(program.address_of("metrics"))
            .get("/metrics")
            .text();
        let value = text.lines().find_map(|line| line.strip_prefix(name));
        value.unwrap().trim().parse().unwrap()
    };
    eventually("the memory for the paused reader is full", || {
        metric("byway_spill_memory_bytes ") >= 256 * 1024
    });
    assert_eq!(metric("byway_spilled_bytes "), 0);
    repair(&state);
    eventually("the paused reader's bytes are on the disk", || {
        metric("byway_spilled_bytes ") > 0
    });
    let mut sum = Sum::new();
    reader.exactly_each(EACH, |bytes| sum.add(bytes));
    assert_eq!(sum.hex(), Pattern::sha256(EACH));
}

#[cfg(target_os = "linux")]
#[track_caller]
fn mount(options: &[&str], folder: &Path) {
    let mut command = std::process::Command::new("mount");
    assert!(
        command
            .args(options)
            .arg(folder)
            .status()
            .unwrap()
            .success()
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_state_disk_stopped_the_start_of_a_node_with_a_proxy_and_ended_its_spill_for_good() {
    isolated!(&[Path::new(BYWAY).parent().unwrap()]);
    // The default of `per_node` follows from the free space, of which there is none at first.
    for settings in ["", "spill.per_node = \"8MiB\"\n"] {
        starts_while_its_disk_takes_nothing(
            settings,
            |state| {
                std::fs::create_dir(state.join("spill")).unwrap();
                let filled = std::fs::write(state.join("rest"), vec![1; 17 << 20]);
                assert_eq!(filled.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
            },
            |state| std::fs::remove_file(state.join("rest")).unwrap(),
            "free some space",
        );
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_read_only_state_disk_stopped_the_start_of_a_proxy() {
    isolated!(&[Path::new(BYWAY).parent().unwrap()]);
    starts_while_its_disk_takes_nothing(
        "",
        |state| mount(&["-o", "remount,ro"], state),
        |state| mount(&["-o", "remount,rw"], state),
        "mount its file system for writing",
    );
}

/// With the descriptors of look-ups, pipes and attempts in use, too, each reader has the socket of
/// its own and that of its target; the rest is for spill files, the metrics and a reserve.
#[test]
fn paused_readers_took_a_third_descriptor_each_for_a_spill_file_and_left_none_for_the_metrics() {
    const BYTES: u64 = 2 * MIB;
    const PAUSED: usize = 140;
    let origin = Origin::scripted(|visitor| {
        let mut pattern = Pattern::new(BYTES);
        while let Some(block) = pattern.next_block() {
            visitor.send(block);
        }
    });
    let any = "\"127.0.0.1:0\"";
    let config = format!(
        "workers = 2\npool.max_total = 4\nspill.memory = \"4KiB\"\nmetrics.listen = {any}\n\
         [[proxy]]\nname = \"out\"\nlisten = [{any}, {any}, {any}]\n\
         [[proxy.rule]]\naction = \"allow\"\ncidr = \"127.0.0.0/8\"\n"
    );
    let program = Launch::configured(BYWAY, &config)
        .with_descriptors(512)
        .start();
    let most = Some(420);
    let limit = Rlimit {
        current: most,
        maximum: most,
    };
    rustix::process::prlimit(Some(program.pid()), Resource::Nofile, limit).unwrap();
    let metrics = program.address_of("metrics");
    let egresses: Vec<_> = program
        .addresses()
        .into_iter()
        .filter(|address| *address != metrics)
        .collect();
    let mut paused: Vec<_> = (0..PAUSED)
        .map(|number| {
            // One address has half of a listener.
            let egress = egresses[number % egresses.len()];
            let mut visitor = Visitor::connect_with_buffer(egress, 16 * 1024);
            visitor.send(connect(origin.address()));
            visitor
        })
        .collect();
    for visitor in &mut paused {
        assert_eq!(visitor.head().expect("an answer").status(), 200);
    }
    program.wait_for_log("goes on with back-pressure");
    for _ in 0..10 {
        assert_eq!(Visitor::connect(metrics).get("/metrics").status(), 200);
    }
    // Those without a file wait, and nothing of theirs is lost.
    let expected = Pattern::sha256(BYTES);
    for visitor in paused.iter_mut().step_by(10) {
        let mut sum = Sum::new();
        visitor.exactly_each(BYTES, |bytes| sum.add(bytes));
        assert_eq!(sum.hex(), expected);
        visitor.ended();
    }
    let log = program.stderr();
    assert!(!log.contains("cannot accept"), "{log}");
}
