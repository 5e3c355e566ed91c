//! Autobahn: the cases 1 to 7 and 10 of the Autobahn test suite, as frames in and frames out.
//!
//! An endpoint that echoes every message receives the frames of each case in one piece, in pieces
//! of 997 bytes and byte by byte, as a server and as a client. Where the suite waits and then
//! closes, a close frame follows.

#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod utf8;

use std::collections::BTreeSet;

use byway_ws::{Limits, Role};
use common::*;

struct Case {
    /// The number in the suite.
    number: String,
    sent: Vec<Frame>,
    answers: Vec<Frame>,
    /// The close code with which the connection fails.
    fails: Option<u16>,
    /// The byte at which it has to fail, counted over all payloads.
    fails_at: Option<usize>,
}

/// A case with answers; the peer closes at its end.
fn good(number: impl Into<String>, sent: &[Frame], answers: &[Frame]) -> Case {
    let goodbye = [close(1000, "")];
    Case {
        number: number.into(),
        sent: [sent, &goodbye].concat(),
        answers: [answers, &goodbye].concat(),
        fails: None,
        fails_at: None,
    }
}

/// A case with a close frame of its own.
fn closing(number: impl Into<String>, sent: &[Frame], answers: &[Frame]) -> Case {
    Case {
        sent: sent.to_vec(),
        answers: answers.to_vec(),
        ..good(number, &[], &[])
    }
}

/// A case that fails with this close code, after these answers.
fn bad(number: impl Into<String>, sent: &[Frame], answers: &[Frame], code: u16) -> Case {
    Case {
        fails: Some(code),
        ..closing(number, sent, &[answers, &[close(code, "")]].concat())
    }
}

/// 1: frames of all lengths.
fn framing() -> Vec<Case> {
    let lengths = [0, 125, 126, 127, 128, 65_535, 65_536, 65_536];
    let mut cases = Vec::new();
    for (at, length) in lengths.into_iter().enumerate() {
        let text = frame(TEXT, vec![b'*'; length]);
        cases.push(good(
            format!("1.1.{}", at + 1),
            std::slice::from_ref(&text),
            std::slice::from_ref(&text),
        ));
        let binary = frame(BINARY, vec![0xfe; length]);
        cases.push(good(
            format!("1.2.{}", at + 1),
            std::slice::from_ref(&binary),
            std::slice::from_ref(&binary),
        ));
    }
    cases
}

/// 2: pings and pongs.
fn pings() -> Vec<Case> {
    let small = &b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"[..];
    let unsolicited = frame(PONG, "unsolicited pong payload");
    let hello = "Hello, world!";
    let ten: Vec<Frame> = (0..10)
        .map(|n| frame(PING, format!("payload-{n}")))
        .collect();
    let ten_pongs: Vec<Frame> = (0..10)
        .map(|n| frame(PONG, format!("payload-{n}")))
        .collect();
    vec![
        good("2.1", &[frame(PING, "")], &[frame(PONG, "")]),
        good("2.2", &[frame(PING, hello)], &[frame(PONG, hello)]),
        good("2.3", &[frame(PING, small)], &[frame(PONG, small)]),
        good(
            "2.4",
            &[frame(PING, [0xfe; 125])],
            &[frame(PONG, [0xfe; 125])],
        ),
        bad("2.5", &[frame(PING, [0xfe; 126])], &[], 1002),
        good(
            "2.6",
            &[frame(PING, [0xfe; 125])],
            &[frame(PONG, [0xfe; 125])],
        ),
        good("2.7", &[frame(PONG, "")], &[]),
        good("2.8", std::slice::from_ref(&unsolicited), &[]),
        good(
            "2.9",
            &[unsolicited, frame(PING, "ping payload")],
            &[frame(PONG, "ping payload")],
        ),
        good("2.10", &ten, &ten_pongs),
        good("2.11", &ten, &ten_pongs),
    ]
}

/// 3: reserved bits.
fn reserved_bits() -> Vec<Case> {
    let hello = frame(TEXT, "Hello, world!");
    let after_hello = |number: &str, rsv| {
        let sent = [hello.clone(), hello.clone().with_rsv(rsv), frame(PING, "")];
        bad(number, &sent, std::slice::from_ref(&hello), 1002)
    };
    vec![
        bad("3.1", &[hello.clone().with_rsv(1)], &[], 1002),
        after_hello("3.2", 2),
        after_hello("3.3", 3),
        after_hello("3.4", 4),
        bad("3.5", &[frame(BINARY, [0xff; 8]).with_rsv(5)], &[], 1002),
        bad(
            "3.6",
            &[frame(PING, "Hello, world!").with_rsv(6)],
            &[],
            1002,
        ),
        bad("3.7", &[frame(CLOSE, "").with_rsv(7)], &[], 1002),
    ]
}

/// 4: opcodes that are not defined.
fn opcodes() -> Vec<Case> {
    let hello = frame(TEXT, "Hello, world!");
    let mut cases = Vec::new();
    for (group, first) in [("4.1", 3), ("4.2", 11)] {
        for n in 0..5 {
            let payload = if n % 3 == 0 {
                ""
            } else {
                "reserved opcode payload"
            };
            let undefined = frame(first + n, payload);
            let number = format!("{group}.{}", n + 1);
            cases.push(match n {
                0 | 1 => bad(number, &[undefined], &[], 1002),
                _ => {
                    let sent = [hello.clone(), undefined, frame(PING, "")];
                    bad(number, &sent, std::slice::from_ref(&hello), 1002)
                }
            });
        }
    }
    cases
}

/// 5: fragments.
fn fragments() -> Vec<Case> {
    let (one, two) = ("fragment1", "fragment2");
    let whole = frame(TEXT, "fragment1fragment2");
    let hello = frame(TEXT, "Hello, world!");
    let stray = "non-continuation payload";
    let mut cases = vec![
        bad(
            "5.1",
            &[fragment(PING, one), frame(CONTINUATION, two)],
            &[],
            1002,
        ),
        bad(
            "5.2",
            &[fragment(PONG, one), frame(CONTINUATION, two)],
            &[],
            1002,
        ),
    ];
    // The suite sends each of these in one piece, frame by frame, and byte by byte.
    for n in 0..3 {
        let sent = [fragment(TEXT, one), frame(CONTINUATION, two)];
        cases.push(good(
            format!("5.{}", 3 + n),
            &sent,
            std::slice::from_ref(&whole),
        ));
        let sent = [
            fragment(TEXT, one),
            frame(PING, "ping payload"),
            frame(CONTINUATION, two),
        ];
        let answers = [frame(PONG, "ping payload"), whole.clone()];
        cases.push(good(format!("5.{}", 6 + n), &sent, &answers));
        let sent = [frame(CONTINUATION, stray), hello.clone()];
        cases.push(bad(format!("5.{}", 9 + n), &sent, &[], 1002));
        let sent = [fragment(CONTINUATION, stray), hello.clone()];
        cases.push(bad(format!("5.{}", 12 + n), &sent, &[], 1002));
    }
    let sent = [
        fragment(TEXT, one),
        frame(CONTINUATION, two),
        fragment(CONTINUATION, "fragment3"),
        frame(TEXT, "fragment4"),
    ];
    cases.push(bad("5.15", &sent, std::slice::from_ref(&whole), 1002));
    for (number, fin) in [("5.16", false), ("5.17", true)] {
        let first = Frame {
            fin,
            ..frame(CONTINUATION, one)
        };
        let again = [first, fragment(TEXT, two), frame(CONTINUATION, "fragment3")];
        cases.push(bad(number, &[again.clone(), again].concat(), &[], 1002));
    }
    cases.push(bad(
        "5.18",
        &[fragment(TEXT, one), frame(TEXT, two)],
        &[],
        1002,
    ));
    for number in ["5.19", "5.20"] {
        let sent = [
            fragment(TEXT, one),
            fragment(CONTINUATION, two),
            frame(PING, "pongme 1!"),
            fragment(CONTINUATION, "fragment3"),
            fragment(CONTINUATION, "fragment4"),
            frame(PING, "pongme 2!"),
            frame(CONTINUATION, "fragment5"),
        ];
        let answers = [
            frame(PONG, "pongme 1!"),
            frame(PONG, "pongme 2!"),
            frame(TEXT, "fragment1fragment2fragment3fragment4fragment5"),
        ];
        cases.push(good(number, &sent, &answers));
    }
    cases
}

/// One fragment for each byte.
fn in_single_bytes(text: &[u8]) -> Vec<Frame> {
    let last = text.len() - 1;
    let frames = text.iter().enumerate().map(|(at, byte)| Frame {
        fin: at == last,
        ..frame(if at == 0 { TEXT } else { CONTINUATION }, [*byte])
    });
    frames.collect()
}

/// "kosme" in Greek, with an accent on the first o.
const KOSME: &[u8] = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5";

/// 6.1 to 6.4: texts in fragments; the first byte that is wrong fails the connection.
fn texts() -> Vec<Case> {
    let mixed = "Hello-\u{b5}@\u{df}\u{f6}\u{e4}\u{fc}\u{e0}\u{e1}-UTF-8!!";
    let (half, rest) = (
        "Hello-\u{b5}@\u{df}\u{f6}\u{e4}",
        "\u{fc}\u{e0}\u{e1}-UTF-8!!",
    );
    let empty = [
        fragment(TEXT, ""),
        fragment(CONTINUATION, ""),
        frame(CONTINUATION, ""),
    ];
    let middle = "middle frame payload";
    let around = [
        fragment(TEXT, ""),
        fragment(CONTINUATION, middle),
        frame(CONTINUATION, ""),
    ];
    let surrogate = [KOSME, b"\xed\xa0\x80edited"].concat();
    let beyond = [KOSME, b"\xf4\x90\x80\x80edited"].concat();
    let three = |first: &[u8], second: &[u8], third: &[u8]| {
        [
            fragment(TEXT, first),
            fragment(CONTINUATION, second),
            frame(CONTINUATION, third),
        ]
    };
    let fails_at_12 = |case| Case {
        fails_at: Some(12),
        ..case
    };
    vec![
        good("6.1.1", &[frame(TEXT, "")], &[frame(TEXT, "")]),
        good("6.1.2", &empty, &[frame(TEXT, "")]),
        good("6.1.3", &around, &[frame(TEXT, middle)]),
        good("6.2.1", &[frame(TEXT, mixed)], &[frame(TEXT, mixed)]),
        good(
            "6.2.2",
            &[fragment(TEXT, half), frame(CONTINUATION, rest)],
            &[frame(TEXT, mixed)],
        ),
        good(
            "6.2.3",
            &in_single_bytes(mixed.as_bytes()),
            &[frame(TEXT, mixed)],
        ),
        good("6.2.4", &in_single_bytes(KOSME), &[frame(TEXT, KOSME)]),
        fails_at_12(bad("6.3.1", &[frame(TEXT, &surrogate)], &[], 1007)),
        fails_at_12(bad("6.3.2", &in_single_bytes(&surrogate), &[], 1007)),
        fails_at_12(bad(
            "6.4.1",
            &three(KOSME, &beyond[11..15], &beyond[15..]),
            &[],
            1007,
        )),
        fails_at_12(bad(
            "6.4.2",
            &three(&beyond[..12], &beyond[12..13], &beyond[13..]),
            &[],
            1007,
        )),
        fails_at_12(bad("6.4.3", &[frame(TEXT, &beyond)], &[], 1007)),
        fails_at_12(bad("6.4.4", &[frame(TEXT, &beyond)], &[], 1007)),
    ]
}

/// 7: the closing handshake.
fn closes() -> Vec<Case> {
    let hello = frame(TEXT, "Hello World!");
    let goodbye = close(1000, "");
    let long = frame(TEXT, b"BAsd7&jh23".repeat(26_215));
    let only_close = std::slice::from_ref(&goodbye);
    let reason = [KOSME, b"\xed\xa0\x80edited"].concat();
    let mut cases = vec![
        good(
            "7.1.1",
            std::slice::from_ref(&hello),
            std::slice::from_ref(&hello),
        ),
        closing("7.1.2", &[goodbye.clone(), frame(CLOSE, "")], only_close),
        closing("7.1.3", &[goodbye.clone(), frame(PING, "")], only_close),
        closing("7.1.4", &[goodbye.clone(), hello.clone()], only_close),
        closing(
            "7.1.5",
            &[
                fragment(TEXT, "fragment1"),
                goodbye.clone(),
                frame(CONTINUATION, "fragment2"),
            ],
            only_close,
        ),
        closing(
            "7.1.6",
            &[
                long.clone(),
                hello.clone(),
                goodbye.clone(),
                frame(PING, ""),
            ],
            &[long, hello, goodbye.clone()],
        ),
        closing("7.3.1", &[frame(CLOSE, "")], &[frame(CLOSE, "")]),
        bad("7.3.2", &[frame(CLOSE, "a")], &[], 1002),
        closing("7.3.3", only_close, only_close),
        closing("7.3.4", &[close(1000, "Hello World!")], only_close),
        closing("7.3.5", &[close(1000, [b'*'; 123])], only_close),
        bad("7.3.6", &[close(1000, [b'*'; 124])], &[], 1002),
        bad("7.5.1", &[close(1000, reason)], &[], 1007),
        bad("7.13.1", &[close(5000, "")], &[], 1002),
        bad("7.13.2", &[close(65_535, "")], &[], 1002),
    ];
    let valid = [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999,
    ];
    for (at, code) in valid.into_iter().enumerate() {
        cases.push(closing(
            format!("7.7.{}", at + 1),
            &[close(code, "")],
            &[close(code, "")],
        ));
    }
    let invalid = [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999];
    for (at, code) in invalid.into_iter().enumerate() {
        cases.push(bad(
            format!("7.9.{}", at + 1),
            &[close(code, "")],
            &[],
            1002,
        ));
    }
    cases
}

/// 10: a message in many fragments.
fn automatic_fragments() -> Vec<Case> {
    let text = [b'*'; 65_536];
    let pieces: Vec<&[u8]> = text.chunks(1300).collect();
    let last = pieces.len() - 1;
    let sent: Vec<Frame> = (pieces.into_iter().enumerate())
        .map(|(at, piece)| Frame {
            fin: at == last,
            ..frame(if at == 0 { TEXT } else { CONTINUATION }, piece)
        })
        .collect();
    vec![good("10.1.1", &sent, &[frame(TEXT, text)])]
}

/// The byte on the wire that carries this byte of the payloads, counted over all frames.
fn wire_position(frames: &[Frame], from: Role, payload_byte: usize) -> usize {
    let mut before = (0, 0);
    for frame in frames {
        let (wire, payload) = before;
        let bytes = frame.bytes(from).len();
        if payload_byte < payload + frame.payload.len() {
            return wire + bytes - frame.payload.len() + payload_byte - payload;
        }
        before = (wire + bytes, payload + frame.payload.len());
    }
    panic!("the frames have fewer bytes");
}

fn check(case: &Case, role: Role) {
    let bytes = bytes_of(&case.sent, role.peer());
    for piece in [bytes.len(), 997, 1] {
        let echoed = echo(role, Limits::default(), &bytes, piece);
        let what = format!("case {} as a {role:?}, pieces of {piece}", case.number);
        assert!(echoed.is_finished, "{what}: not closed, {:?}", echoed.error);
        assert_eq!(
            echoed.error.map(|e| e.close_code().get()),
            case.fails,
            "{what}"
        );
        assert!(
            echoed.answers == case.answers,
            "{what}: {:?}",
            echoed.answers
        );
        if let (Some(at), 1) = (case.fails_at, piece) {
            let expected = wire_position(&case.sent, role.peer(), at) + 1;
            assert_eq!(
                echoed.passed, expected,
                "{what}: not at the first wrong byte"
            );
        }
    }
}

fn check_all(cases: &[Case], count: usize) {
    let numbers: BTreeSet<&str> = cases.iter().map(|case| &case.number[..]).collect();
    assert_eq!(numbers.len(), cases.len(), "a number occurs twice");
    assert_eq!(cases.len(), count, "the suite has this number of cases");
    for case in cases {
        check(case, Role::Server);
        check(case, Role::Client);
    }
}

#[test]
fn case_1_frames_of_all_lengths_are_echoed() {
    check_all(&framing(), 16);
}

#[test]
fn case_2_pings_are_answered_and_pongs_are_not() {
    check_all(&pings(), 11);
}

#[test]
fn case_3_reserved_bits_fail_the_connection() {
    check_all(&reserved_bits(), 7);
}

#[test]
fn case_4_undefined_opcodes_fail_the_connection() {
    check_all(&opcodes(), 10);
}

#[test]
fn case_5_fragments_are_assembled_in_order_only() {
    check_all(&fragments(), 20);
}

#[test]
fn case_6_text_is_utf8_and_fails_at_the_first_wrong_byte() {
    let cases: Vec<Case> = texts().into_iter().chain(utf8::cases()).collect();
    check_all(&cases, 145);
}

#[test]
fn case_7_closes_are_answered_once_and_nothing_follows() {
    check_all(&closes(), 37);
}

#[test]
fn case_10_a_message_in_many_fragments_is_echoed() {
    check_all(&automatic_fragments(), 1);
}
