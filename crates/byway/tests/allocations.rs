//! Allocations: on a warm worker a request allocates nothing.
//!
//! The node, its origin and its client run in this process. Origin and client read and write within
//! fixed memory, so that every counted allocation is the node's.
#![allow(clippy::unwrap_used)]

use std::alloc::System;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Barrier;
use std::time::Duration;

use byway::config::{Bind, parse};
use byway::node::Node;
use byway::observe::access::log_buffer::PAGE_BYTES;
use byway::os::inherit::Inherited;
use byway_testkit::eventually;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const WARM_UP: usize = 1_000;
const REQUESTS: usize = 100_000;

/// Lines that may wait for the writer of the access log: fewer than a buffer holds.
const MOST_UNWRITTEN: usize = 1_000;

const REQUEST: &[u8] = b"GET /some/path?with=query HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: visitor/1.0\r\n\
    Accept: text/html,application/xhtml+xml\r\nAccept-Language: en\r\nAccept-Encoding: gzip\r\nCookie: session=0123456789\r\n\r\n";

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 14\r\nCache-Control: no-store\r\n\
    X-Something: else\r\n\r\nHello, world!\n";

#[test]
fn a_hundred_thousand_requests_on_a_warm_worker_allocate_nothing_with_the_access_log_on() {
    let (origin, folder) = (answer_always(), tempfile::tempdir().unwrap());
    let log = folder.path().join("access.log");
    let text = format!(
        "workers = 1\nlimits.requests_per_connection = 1_000_000\nlog.access = {log:?}\nlog.access_format = \"json\"\n\
         [[edge]]\nlisten = \"127.0.0.1:0\"\n[[edge.route]]\nto = \"{origin}\"\n"
    );
    let node = Node::start(
        parse(&text, "byway.toml", Path::new("/nowhere")).unwrap(),
        &mut Inherited::default(),
    )
    .unwrap();
    let Bind::Tcp(edge) = node.listening()[0].address else {
        panic!("a TCP listener")
    };

    make_parking_lot_ready();
    let mut visitor = Visitor::new(edge);
    (0..WARM_UP).for_each(|_| visitor.ask());
    let mut written = Written {
        file: File::open(&log).unwrap(),
        lines: 0,
        buffer: [0; 4096],
    };
    let region = Region::new(ALLOCATOR);
    for sent in WARM_UP + 1..=WARM_UP + REQUESTS {
        visitor.ask();
        written.wait_for(sent.saturating_sub(MOST_UNWRITTEN));
    }
    let change = region.change();
    assert_eq!(
        (change.allocations, change.reallocations),
        (0, 0),
        "{change:?}"
    );
    written.wait_for(WARM_UP + REQUESTS);
    node.cut();
    node.join();
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(
        text.len() / text.lines().count() * MOST_UNWRITTEN < PAGE_BYTES / 4 * 3,
        "a log buffer has no room for that many"
    );
    assert_eq!(
        text.lines().count(),
        WARM_UP + REQUESTS,
        "every request has its line"
    );
}

/// What the access log contains so far. The log buffer of a worker drops lines while the writer is
/// held up, so a test that needs every line has to wait for it.
struct Written {
    file: File,
    lines: usize,
    buffer: [u8; 4096],
}

impl Written {
    fn wait_for(&mut self, lines: usize) {
        if self.lines < lines {
            eventually("the lines are written", || self.count_lines() >= lines);
        }
    }

    fn count_lines(&mut self) -> usize {
        while let n @ 1.. = self.file.read(&mut self.buffer).unwrap() {
            self.lines += self.buffer[..n]
                .iter()
                .filter(|byte| **byte == b'\n')
                .count();
        }
        self.lines
    }
}

/// The first wait for a contended lock allocates a table for the whole process, and the first wait
/// of each thread may grow it, at any time. This makes it large enough beforehand, for more threads
/// than there are. It never shrinks.
fn make_parking_lot_ready() {
    const THREADS: usize = 64;
    let all_have_waited = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let lock = parking_lot::Mutex::new(());
                parking_lot::Condvar::new().wait_for(&mut lock.lock(), Duration::from_millis(1));
                all_have_waited.wait();
            });
        }
    });
}

/// A client that keeps its connection open.
struct Visitor {
    connection: TcpStream,
    buffer: [u8; 4096],
}

impl Visitor {
    fn new(edge: SocketAddr) -> Self {
        Self {
            connection: TcpStream::connect(edge).unwrap(),
            buffer: [0; 4096],
        }
    }

    fn ask(&mut self) {
        self.connection.write_all(REQUEST).unwrap();
        let mut len = 0;
        while !self.buffer[..len].ends_with(b"Hello, world!\n") {
            let n = self.connection.read(&mut self.buffer[len..]).unwrap();
            assert!(
                n > 0,
                "closed: {}",
                String::from_utf8_lossy(&self.buffer[..len])
            );
            len += n;
        }
        assert!(self.buffer.starts_with(b"HTTP/1.1 200 "));
    }
}

/// An origin that sends the same answer to every request. It serves one connection at a time.
fn answer_always() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((mut connection, _)) = listener.accept() {
            let mut len = 0;
            while let Ok(n @ 1..) = connection.read(&mut buffer[len..]) {
                len += n;
                if buffer[..len].ends_with(b"\r\n\r\n") {
                    len = 0;
                    if connection.write_all(ANSWER).is_err() {
                        break;
                    }
                }
            }
        }
    });
    address
}
