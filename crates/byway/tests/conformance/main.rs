//! Conformance: the MUST-level requirements of HTTP/1.1 (RFC 9110, RFC 9112) as a table, tested on
//! the built program or on any proxy in front of the same origin.
//!
//! `BYWAY_CONFORMANCE_PEER=host:port` names the proxy and `BYWAY_CONFORMANCE_ORIGIN=host:port` the
//! address that it forwards to, where this test then listens. Without them the subject is the built
//! program. Failures of another proxy are printed and do not fail the test. `docs/conformance.md`
//! has the numbers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod case;
mod forwarding;
mod framing;
mod lines;
mod responses;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use byway_testkit::Program;
use case::{Case, Seen};
use parking_lot::Mutex;

/// How long another proxy may be silent before its row is over.
const SILENCE: Duration = Duration::from_secs(3);

/// Our own rows all end without a timeout, only later on a slow machine.
const PATIENCE: Duration = byway_testkit::PATIENCE;

const USUAL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nusual answer";
const NEXT: &str = "GET /next HTTP/1.1\r\nHost: next.example\r\nConnection: close\r\n\r\n";

#[derive(Default)]
struct Recorded {
    requests: Mutex<Vec<String>>,
    response: Mutex<&'static str>,
}

#[test]
fn every_must_of_the_table_holds() {
    let peer = std::env::var("BYWAY_CONFORMANCE_PEER").ok();
    let at = std::env::var("BYWAY_CONFORMANCE_ORIGIN").unwrap_or_else(|_| "127.0.0.1:0".into());
    let listener = TcpListener::bind(at).expect("the origin's address is free");
    let origin = listener.local_addr().unwrap();
    let recorded = Arc::new(Recorded::default());
    let served = Arc::clone(&recorded);
    std::thread::spawn(move || accept(&listener, &served));

    let program = peer.is_none().then(|| {
        let args = ["edge", "--from", "127.0.0.1:0", "--to", &origin.to_string()];
        Program::start(env!("CARGO_BIN_EXE_byway"), &args)
    });
    let subject = match (&program, &peer) {
        (Some(program), _) => program.address(),
        (None, peer) => peer
            .as_deref()
            .unwrap_or_default()
            .parse()
            .expect("host:port"),
    };

    let cases: Vec<&Case> = [
        lines::CASES,
        framing::CASES,
        forwarding::CASES,
        responses::CASES,
    ]
    .concat_refs();
    assert!(cases.len() >= 120, "the table has {} rows", cases.len());
    let mut failed = Vec::new();
    for case in &cases {
        let seen = run(
            case,
            subject,
            if peer.is_some() { SILENCE } else { PATIENCE },
            &recorded,
        );
        let verdict = case.judge(&seen);
        let (word, why) = match &verdict {
            Ok(()) => ("ok", String::new()),
            Err(why) => ("FAIL", format!(" | {why}")),
        };
        println!("{word:4} | {:10} | {}{why}", case.section, case.name);
        if let Err(why) = verdict {
            failed.push(format!(
                "{}: {why}: {:?} answered {:?}",
                case.name, case.request, seen.answer
            ));
        }
    }
    println!("{} of {} hold", cases.len() - failed.len(), cases.len());
    assert!(peer.is_some() || failed.is_empty(), "{}", failed.join("\n"));
}

trait ConcatRefs {
    fn concat_refs(self) -> Vec<&'static Case>;
}

impl ConcatRefs for [&'static [Case]; 4] {
    fn concat_refs(self) -> Vec<&'static Case> {
        self.into_iter().flatten().collect()
    }
}

/// Sends the row's request and one more behind it, then reads until the connection ends.
fn run(case: &Case, subject: SocketAddr, silence: Duration, recorded: &Recorded) -> Seen {
    recorded.requests.lock().clear();
    *recorded.response.lock() = if case.response.is_empty() {
        USUAL
    } else {
        case.response
    };
    let mut client = TcpStream::connect(subject).unwrap();
    client.set_read_timeout(Some(silence)).unwrap();
    // A subject may refuse and reset during either write.
    let _ = client
        .write_all(case.request.as_bytes())
        .and_then(|()| client.write_all(NEXT.as_bytes()));
    let mut answer = Vec::new();
    let mut buffer = [0; 16 * 1024];
    while let Ok(n @ 1..) = client.read(&mut buffer) {
        answer.extend_from_slice(&buffer[..n]);
    }
    let _ = client.shutdown(Shutdown::Both);
    let requests = std::mem::take(&mut *recorded.requests.lock());
    let is_next = |request: &String| request.starts_with("GET /next ");
    let went_on = requests.iter().any(is_next);
    let forwarded = requests
        .into_iter()
        .filter(|request| !is_next(request))
        .collect();
    Seen {
        answer: String::from_utf8_lossy(&answer).into_owned(),
        forwarded,
        went_on,
    }
}

fn accept(listener: &TcpListener, recorded: &Arc<Recorded>) {
    for stream in listener.incoming() {
        let recorded = Arc::clone(recorded);
        std::thread::spawn(move || serve(stream.unwrap(), &recorded));
    }
}

/// Reads one request after the other, leniently enough to record whatever came, and sends the row's
/// response.
fn serve(mut stream: TcpStream, recorded: &Recorded) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        while let Some(len) = whole_request(&bytes) {
            let request: Vec<u8> = bytes.drain(..len).collect();
            let text = String::from_utf8_lossy(&request).into_owned();
            let is_next = text.starts_with("GET /next ");
            recorded.requests.lock().push(text);
            let response = if is_next {
                USUAL
            } else {
                *recorded.response.lock()
            };
            if stream.write_all(response.as_bytes()).is_err() {
                return;
            }
            // A response that is cut or ends with its connection ends here.
            if response.contains("x-origin: closes") {
                return;
            }
        }
        match stream.read(&mut buffer) {
            Ok(n @ 1..) => bytes.extend_from_slice(&buffer[..n]),
            _ => return,
        }
    }
}

/// The length of the first request including its body, if it is complete.
fn whole_request(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    if text.contains("transfer-encoding: chunked") {
        let end = bytes[head..]
            .windows(5)
            .position(|window| window == b"0\r\n\r\n");
        // Trailers: the line of the last chunk, then lines up to an empty one.
        let trailers = || {
            let last = bytes[head..]
                .windows(5)
                .position(|window| window == b"\r\n0\r\n")?
                + 3;
            bytes[head + last..]
                .windows(4)
                .position(|window| window == b"\r\n\r\n")
                .map(|at| last + at + 4)
        };
        return end
            .map(|at| at + 5)
            .or_else(trailers)
            .map(|body| head + body);
    }
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())
        .unwrap_or(0);
    (bytes.len() >= head + length).then_some(head + length)
}
