//! Hostile: limits, announced lengths, and what a peer can make this side store.

#![allow(clippy::unwrap_used)]

mod common;

use byway_ws::{Connection, Decoder, Event, Limits, Malformed, Role};
use common::*;

fn limited(frame_bytes: u64, message_bytes: u64, fragments: u32) -> Limits {
    Limits {
        frame_bytes,
        message_bytes,
        fragments,
    }
}

/// Decodes frames of a client whole and byte by byte to the same result.
fn decoded(limits: Limits, sent: &[Frame]) -> (Vec<Seen>, Option<Malformed>) {
    let bytes = bytes_of(sent, Role::Client);
    let whole = decode(Role::Server, limits, &bytes, &[]);
    let singles: Vec<usize> = (0..=bytes.len()).collect();
    assert_eq!(whole, decode(Role::Server, limits, &bytes, &singles));
    whole
}

#[test]
fn a_frame_of_the_limit_is_accepted_and_one_more_byte_is_refused() {
    let limits = limited(200, 1000, 10);
    let accepted = decoded(limits, &[frame(BINARY, [1; 200])]);
    assert_eq!(accepted, (vec![Seen::Binary(vec![1; 200])], None));
    let error = Malformed::FrameTooLarge { limit: 200 };
    assert_eq!(
        decoded(limits, &[frame(BINARY, [1; 201])]),
        (vec![], Some(error))
    );
    assert_eq!(error.close_code().get(), 1009);
}

#[test]
fn a_message_of_the_limit_is_accepted_and_one_more_byte_is_refused() {
    let limits = limited(200, 300, 10);
    let accepted = [fragment(BINARY, [1; 200]), frame(CONTINUATION, [1; 100])];
    assert_eq!(
        decoded(limits, &accepted),
        (vec![Seen::Binary(vec![1; 300])], None)
    );
    let refused = [fragment(BINARY, [1; 200]), frame(CONTINUATION, [1; 101])];
    let error = Malformed::MessageTooLarge { limit: 300 };
    assert_eq!(decoded(limits, &refused), (vec![], Some(error)));
    assert_eq!(error.close_code().get(), 1009);
}

#[test]
fn a_message_of_empty_fragments_without_end_is_refused() {
    let limits = limited(200, 300, 3);
    let accepted = [
        fragment(TEXT, ""),
        fragment(CONTINUATION, ""),
        frame(CONTINUATION, ""),
    ];
    assert_eq!(
        decoded(limits, &accepted),
        (vec![Seen::Text(String::new())], None)
    );
    let refused = [
        fragment(TEXT, ""),
        fragment(CONTINUATION, ""),
        fragment(CONTINUATION, ""),
    ];
    let refused = [&refused[..], &[frame(CONTINUATION, "")]].concat();
    let error = Malformed::TooManyFragments { limit: 3 };
    assert_eq!(decoded(limits, &refused), (vec![], Some(error)));
    assert_eq!(error.close_code().get(), 1008);
}

#[test]
fn limits_count_for_each_message_anew() {
    let limits = limited(200, 200, 2);
    let message = [
        fragment(BINARY, [1; 150]),
        frame(PING, ""),
        frame(CONTINUATION, [1; 50]),
    ];
    let (seen, error) = decoded(limits, &[&message[..]; 3].concat());
    assert_eq!((seen.len(), error), (6, None));
}

#[test]
fn an_announced_length_allocates_nothing() {
    let unlimited = limited(u64::MAX, u64::MAX, u32::MAX);
    for first in [0x02, 0x82, 0x01, 0x81] {
        let mut decoder = Decoder::new(Role::Client, unlimited);
        let mut bytes = [first, 0x7f, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        let allocated = allocation_counter::measure(|| {
            assert_eq!(decoder.step(&mut bytes).unwrap().event, None);
        });
        assert_eq!(allocated.count_total, 0);
        let mut data = *b"some of it";
        assert_eq!(decoder.step(&mut data).unwrap().event, None);
        assert_eq!(decoder.allocated_bytes(), 10, "as much as has arrived");
    }
}

#[test]
fn a_huge_fragment_after_another_exceeds_the_limit_of_the_message() {
    let mut decoder = Decoder::new(Role::Client, limited(u64::MAX, i64::MAX as u64, u32::MAX));
    let mut bytes = *b"\x02\x01a\x00\x7f\x7f\xff\xff\xff\xff\xff\xff\xff";
    let limit = i64::MAX as u64;
    assert_eq!(
        decoder.step(&mut bytes),
        Err(Malformed::MessageTooLarge { limit })
    );
}

#[test]
fn a_length_of_2_to_the_63_is_refused_before_any_limit() {
    let mut decoder = Decoder::new(Role::Client, limited(1, 1, 1));
    let mut bytes = [0x82, 0x7f, 0x80, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(decoder.step(&mut bytes), Err(Malformed::LengthInvalid));
    assert_eq!(Malformed::LengthInvalid.close_code().get(), 1002);
}

#[test]
fn a_large_message_does_not_keep_its_memory() {
    for opcode in [TEXT, BINARY] {
        let mut decoder = Decoder::new(Role::Server, Limits::default());
        let half = vec![b'a'; 500_000];
        let large = [fragment(opcode, &half), frame(CONTINUATION, &half)];
        let step = decoder
            .step(&mut bytes_of(&large, Role::Client))
            .map(|step| match step.event {
                Some(Event::Text(text)) => text.len(),
                Some(Event::Binary(bytes)) => bytes.len(),
                _ => 0,
            });
        assert_eq!(step, Ok(1_000_000));
        assert!(decoder.allocated_bytes() >= 1_000_000);
        assert_eq!(decoder.step(&mut []).unwrap().event, None);
        assert!(decoder.allocated_bytes() <= 16 * 1024);
    }
}

#[test]
fn a_message_in_many_pieces_never_allocates_more_than_the_longest_message() {
    let limits = limited(100_000, 100_000, 100_000);
    for opcode in [TEXT, BINARY] {
        let mut decoder = Decoder::new(Role::Server, limits);
        let mut bytes = frame(opcode, [b'a'; 100_000]).bytes(Role::Client);
        let mut messages = 0;
        for piece in bytes.chunks_mut(1000) {
            messages += usize::from(decoder.step(piece).unwrap().event.is_some());
            assert!(decoder.allocated_bytes() <= 100_000);
        }
        assert_eq!(messages, 1);
    }
}

#[test]
fn a_text_and_a_binary_message_do_not_both_keep_memory() {
    let limits = limited(30, 30, 2);
    let mut decoder = Decoder::new(Role::Server, limits);
    for opcode in [TEXT, BINARY, TEXT] {
        let sent = [fragment(opcode, [b'a'; 29]), frame(CONTINUATION, "a")];
        let step = decoder
            .step(&mut bytes_of(&sent, Role::Client))
            .map(|step| step.taken);
        assert!(step.is_ok());
        assert!(
            decoder.allocated_bytes() <= 30,
            "{}",
            decoder.allocated_bytes()
        );
    }
}

#[test]
fn messages_that_arrive_at_once_are_not_copied_and_pings_allocate_nothing() {
    let text = frame(TEXT, "gr\u{fc}n".repeat(1000));
    let frames = [text, frame(BINARY, [7; 10_000]), frame(PING, [1; 125])];
    let bytes = bytes_of(&frames, Role::Client).repeat(20);
    let mut connection = Connection::server(Limits::default());
    let (mut unread, mut out) = (bytes.clone(), Vec::with_capacity(20 * 127));
    let allocated = allocation_counter::measure(|| {
        let (mut taken, mut events) = (0, 0);
        while connection
            .receive(&mut unread[taken..], &mut out)
            .is_ok_and(|step| {
                taken += step.taken;
                step.event.is_some()
            })
        {
            events += 1;
        }
        assert_eq!((events, taken), (60, bytes.len()));
    });
    assert_eq!(allocated.count_total, 0);
    assert_eq!(
        frames_of(&out, Role::Server),
        vec![frame(PONG, [1; 125]); 20]
    );
}

#[test]
fn each_side_refuses_frames_that_are_masked_like_its_own() {
    for (role, error) in [
        (Role::Server, Malformed::MaskMissing),
        (Role::Client, Malformed::MaskUnexpected),
    ] {
        for sent in [frame(TEXT, "Hello"), frame(PING, ""), close(1000, "")] {
            let bytes = sent.bytes(role);
            assert_eq!(
                decode(role, Limits::default(), &bytes, &[]),
                (vec![], Some(error))
            );
            assert_eq!(
                echo(role, Limits::default(), &bytes, 1).answers,
                [close(1002, "")]
            );
        }
    }
}

#[test]
fn a_fin_within_a_message_is_distinguished_from_one_between_messages() {
    let sent = [
        fragment(TEXT, "a"),
        frame(PING, "b"),
        frame(CONTINUATION, "c"),
    ];
    let bytes = bytes_of(&sent, Role::Client);
    for cut in 0..=bytes.len() {
        let mut decoder = Decoder::new(Role::Server, Limits::default());
        let mut unread = bytes[..cut].to_vec();
        let mut taken = 0;
        while let Some(rest) = unread.get_mut(taken..).filter(|rest| !rest.is_empty()) {
            taken += decoder.step(rest).unwrap().taken;
        }
        let is_between = cut == 0 || cut == bytes.len();
        assert_eq!(
            decoder.is_between_messages(),
            is_between,
            "after {cut} bytes"
        );
    }
}

#[test]
fn every_error_has_a_class_of_its_own() {
    let errors = [
        Malformed::ReservedBit,
        Malformed::Opcode(3),
        Malformed::ControlFragmented,
        Malformed::ControlTooLong,
        Malformed::MaskMissing,
        Malformed::MaskUnexpected,
        Malformed::LengthNotMinimal,
        Malformed::LengthInvalid,
        Malformed::FrameTooLarge { limit: 1 },
        Malformed::MessageTooLarge { limit: 1 },
        Malformed::TooManyFragments { limit: 1 },
        Malformed::ContinuationUnexpected,
        Malformed::MessageUnfinished,
        Malformed::TextNotUtf8,
        Malformed::CloseTooShort,
        Malformed::CloseCode(1005),
        Malformed::ReasonNotUtf8,
    ];
    let classes: std::collections::BTreeSet<&str> = errors.iter().map(Malformed::class).collect();
    assert_eq!(classes.len(), errors.len());
}
