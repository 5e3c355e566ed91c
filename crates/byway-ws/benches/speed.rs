//! Speed: the cost of unmasking, decoding and encoding.
//!
//! In:    nothing; `cargo bench -p byway-ws --bench speed`.
//! Out:   GB/s and messages/s, the median and the best of some rounds.
//! Never: uses sockets; fails on a slow result: numbers of a shared machine are noisy.

#![allow(clippy::print_stdout, clippy::expect_used)] // a program that prints and may panic

use std::hint::black_box;
use std::time::Instant;

use byway_ws::{Connection, Encoder, Event, Limits, Mask};

const ROUNDS: usize = 31;
/// Bytes that each round works on.
const BUFFER_BYTES: usize = 4 * 1024 * 1024;

fn main() {
    println!("{:<44} {:>9} {:>9}", "", "median", "best");
    for len in [125, 16 * 1024] {
        let mut buffer = vec![7; len];
        let times = BUFFER_BYTES / len;
        let rounds = measure(|| {
            for _ in 0..times {
                Mask::new(black_box([1, 2, 3, 4])).apply(black_box(&mut buffer));
            }
        });
        print(
            &format!("unmask {len} bytes in cache, GB/s"),
            rounds,
            (times * len) as f64 / 1e9,
        );
    }
    for len in [16, 125, 1024, 64 * 1024] {
        decode(len, false);
    }
    decode(64 * 1024, true);
    for len in [16, 1024, 64 * 1024] {
        encode(len);
    }
}

/// Messages of a client, received by a server in reads of 64 KiB.
fn decode(len: usize, is_text: bool) {
    let mut encoder = Encoder::client(|| [1, 2, 3, 4]);
    let (mut bytes, mut messages) = (Vec::new(), 0);
    while bytes.len() < BUFFER_BYTES {
        let payload = "a".repeat(len);
        let sent = match is_text {
            true => encoder.text(&payload, &mut bytes),
            false => encoder.binary(payload.as_bytes(), &mut bytes),
        };
        sent.expect("open");
        messages += 1;
    }
    let mut unread = bytes.clone();
    let rounds = measure(|| {
        unread.copy_from_slice(&bytes);
        let (mut server, mut out, mut seen) =
            (Connection::server(Limits::default()), Vec::new(), 0);
        for piece in unread.chunks_mut(64 * 1024) {
            let mut taken = 0;
            while let Some(event) = {
                let unread = piece.get_mut(taken..).unwrap_or_default();
                let step = server.receive(unread, &mut out).expect("valid");
                taken += step.taken;
                step.event
            } {
                if let Event::Text(_) | Event::Binary(_) = black_box(event) {
                    seen += 1;
                }
            }
        }
        assert_eq!(seen, messages);
    });
    let kind = if is_text { "texts" } else { "messages" };
    let label = format!("decode {kind} of {len} bytes, million/s");
    print(&label, rounds, f64::from(messages) / 1e6);
}

fn encode(len: usize) {
    let payload = vec![7; len];
    let times = BUFFER_BYTES / len;
    let mut out = Vec::with_capacity(2 * BUFFER_BYTES);
    let rounds = measure(|| {
        out.clear();
        let mut encoder = Encoder::server();
        for _ in 0..times {
            encoder.binary(black_box(&payload), &mut out).expect("open");
        }
        black_box(&out);
    });
    print(
        &format!("encode messages of {len} bytes, million/s"),
        rounds,
        times as f64 / 1e6,
    );
}

/// Seconds of each round, sorted.
fn measure(mut round: impl FnMut()) -> Vec<f64> {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            round();
            start.elapsed().as_secs_f64()
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds
}

fn print(label: &str, rounds: Vec<f64>, work: f64) {
    let rate = |at: usize| work / rounds.get(at).copied().unwrap_or(f64::NAN);
    println!(
        "{label:<44} {:>9.2} {:>9.2}",
        rate(rounds.len() / 2),
        rate(0)
    );
}
