//! Exchange: what a request costs in the core of a connection.
//!
//! In:    nothing; `cargo bench -p byway-h2 --bench exchange`.
//! Out:   microseconds for a request and its response, the median and the best of some rounds, and
//!        how many bytes the response has on the wire.
//! Never: uses sockets; fails on a slow result: numbers of a shared machine are noisy.

#![allow(clippy::print_stdout, clippy::expect_used)] // a program that prints and may panic

use std::hint::black_box;
use std::time::Instant;

use byway_h2::hpack::{Encoder, HeadWriter};
use byway_h2::{Connection, Event, Limits, PREFACE};
use byway_head::{Framed, HeadOut, Malformed, RequestHead, ResponseHead, Scheme};

const ROUNDS: usize = 31;
/// Requests of a round.
const REQUESTS: usize = 3200;

/// What a browser sends.
const FIELDS: [(&[u8], &[u8]); 8] = [
    (
        b"user-agent",
        b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
    ),
    (b"accept", b"text/html,application/xhtml+xml,*/*;q=0.8"),
    (b"accept-encoding", b"gzip, deflate, br"),
    (b"accept-language", b"en-US,en;q=0.9"),
    (b"cache-control", b"no-cache"),
    (b"referer", b"https://example.com/"),
    (b"sec-fetch-mode", b"navigate"),
    (b"priority", b"u=0, i"),
];

fn main() {
    println!("{:<52} {:>9} {:>9}", "us for a request", "median", "best");
    for (batch, body) in [(1, 1024), (32, 1024), (32, 64 * 1024), (32, 0)] {
        serve(batch, body);
    }
    request(32, 1024);
}

/// Frames of a client, written by hand.
struct Client {
    encoder: Encoder,
    next: u32,
}

impl Client {
    fn requests(&mut self, count: usize, body_len: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..count {
            let at = bytes.len();
            bytes.extend([0, 0, 0, 1, 5]);
            bytes.extend(self.next.to_be_bytes());
            let mut head = HeadWriter::new(&mut self.encoder, &mut bytes).scheme(Scheme::Https);
            let path = format!("/a/path/{}", self.next);
            head.request(b"GET", path.as_bytes(), b"example.com")
                .expect("valid");
            for (name, value) in FIELDS {
                head.field(name, value).expect("valid");
            }
            head.end();
            let len = ((bytes.len() - at - 9) as u32).to_be_bytes();
            bytes[at..at + 3].copy_from_slice(&len[1..]);
            self.next += 2;
        }
        // The responses to as many were read.
        let read = (count * body_len) as u32;
        if read > 0 {
            bytes.extend(b"\0\0\x04\x08\0\0\0\0\0");
            bytes.extend(read.to_be_bytes());
        }
        bytes
    }
}

/// A server: `batch` requests in each read, all responses in one write.
fn serve(batch: usize, body_len: usize) {
    let now = Instant::now();
    let mut server = Connection::server(Limits::default(), now);
    let mut begin = PREFACE.to_vec();
    begin.extend(b"\0\0\x06\x04\0\0\0\0\0\0\x04\0\x20\0\0"); // windows of 2 MiB
    begin.extend(b"\0\0\0\x04\x01\0\0\0\0");
    begin.extend(b"\0\0\x04\x08\0\0\0\0\0\x20\0\0\0");
    read_all(&mut server, &begin, now, |_, _| {});
    server.written(usize::MAX);
    let mut client = Client {
        encoder: Encoder::default(),
        next: 1,
    };
    let (mut head, mut text) = (RequestHead::default(), Vec::new());
    let body = vec![7; body_len];
    let (mut rounds, mut written, mut writes) = (Vec::new(), 0, 0);
    for _ in 0..ROUNDS {
        let reads: Vec<_> = (0..REQUESTS / batch)
            .map(|_| client.requests(batch, body_len))
            .collect();
        let start = Instant::now();
        for bytes in &reads {
            read_all(&mut server, bytes, now, |server, event| {
                let Event::Head { id, .. } = event else {
                    return;
                };
                server.take_request(&mut head, &mut text);
                black_box(head.view(&text).path());
                server
                    .head(id, false, |out| {
                        out.response(200, b"OK")?;
                        out.field(b"server", b"origin")?;
                        out.field(b"date", b"Mon, 30 Nov 2026 21:00:00 GMT")?;
                        out.field(b"content-type", b"text/html; charset=utf-8")?;
                        out.field(b"etag", b"\"5f5e-1a2b3c4d\"")?;
                        out.field(b"via", b"1.1 byway")?;
                        out.framing(Framed::Length(body_len as u64));
                        Ok::<_, Malformed>(())
                    })
                    .expect("valid");
                let mut rest = &body[..];
                loop {
                    let sent = server.send(id, rest, true);
                    rest = &rest[sent..];
                    if rest.is_empty() {
                        break;
                    }
                    written += black_box(server.out()).len();
                    writes += 1;
                    server.written(usize::MAX);
                    assert_eq!(server.next_turn(), Some(id));
                    assert_eq!(server.next_turn(), None);
                }
                server.release(id);
            });
            written += black_box(server.out()).len();
            writes += 1;
            server.written(usize::MAX);
        }
        rounds.push(start.elapsed().as_secs_f64());
    }
    let all = (ROUNDS * REQUESTS) as f64;
    let label = format!("server, {batch} in a read, {body_len} bytes");
    print(
        &label,
        rounds,
        written as f64 / all,
        all / f64::from(writes),
    );
}

/// A client and a server: requests and their responses.
fn request(batch: usize, body_len: usize) {
    let now = Instant::now();
    let mut client = Connection::client(Limits::default(), now);
    let mut server = Connection::server(Limits::default(), now);
    let body = vec![7; body_len];
    let (mut head, mut text) = (RequestHead::default(), Vec::new());
    let (mut response, mut response_text) = (ResponseHead::default(), Vec::new());
    let (mut rounds, mut written, mut writes) = (Vec::new(), 0, 0);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..REQUESTS / batch {
            for _ in 0..batch {
                let opened = client.open(Scheme::Https, None, true, |out| {
                    out.request(b"GET", b"/a/path", b"example.com")?;
                    FIELDS
                        .iter()
                        .try_for_each(|(name, value)| out.field(name, value))
                });
                black_box(opened.expect("valid").expect("room"));
            }
            let bytes = client.out().to_vec();
            client.written(usize::MAX);
            read_all(&mut server, &bytes, now, |server, event| {
                let Event::Head { id, .. } = event else {
                    return;
                };
                server.take_request(&mut head, &mut text);
                server
                    .head(id, false, |out| {
                        out.response(200, b"OK")?;
                        out.framing(Framed::Length(body_len as u64));
                        Ok::<_, Malformed>(())
                    })
                    .expect("valid");
                assert_eq!(server.send(id, &body, true), body_len);
                server.release(id);
            });
            let bytes = server.out().to_vec();
            server.written(usize::MAX);
            (written, writes) = (written + bytes.len(), writes + 1);
            read_all(&mut client, &bytes, now, |client, event| match event {
                Event::Head { .. } => client.take_response(&mut response, &mut response_text),
                Event::Data { id, range, end } => {
                    client.credit(id, range.len());
                    if end {
                        client.release(id);
                    }
                }
                _ => {}
            });
        }
        rounds.push(start.elapsed().as_secs_f64());
    }
    let all = (ROUNDS * REQUESTS) as f64;
    let label = format!("client and server, {batch} in a read, {body_len} bytes");
    print(
        &label,
        rounds,
        written as f64 / all,
        all / f64::from(writes),
    );
}

fn read_all(
    connection: &mut Connection,
    mut bytes: &[u8],
    now: Instant,
    mut handle: impl FnMut(&mut Connection, Event),
) {
    loop {
        let step = connection.read(bytes, now).expect("valid");
        bytes = &bytes[step.taken..];
        match step.event {
            Some(event) => handle(connection, event),
            None if bytes.is_empty() => return,
            None => assert!(step.taken > 0, "the output is written"),
        }
    }
}

fn print(label: &str, mut rounds: Vec<f64>, bytes: f64, gathered: f64) {
    rounds.sort_by(f64::total_cmp);
    let us = |at: usize| rounds.get(at).copied().unwrap_or(f64::NAN) * 1e6 / REQUESTS as f64;
    println!(
        "{label:<52} {:>9.3} {:>9.3}   {bytes:.0} bytes a response, {gathered:.1} a write",
        us(rounds.len() / 2),
        us(0)
    );
}
