//! Properties: invariants for arbitrary bytes and messages.

#![allow(clippy::unwrap_used)]

mod common;

use byway_ws::handshake::{ClientHandshake, Request, Response};
use byway_ws::{
    ChunkDecoder, ChunkEvent, CloseCode, Encoder, FrameHead, Kind, Limits, Malformed, Opcode, Role,
};
use common::*;
use proptest::prelude::*;
use proptest::sample::{Index, select};

fn role() -> impl Strategy<Value = Role> {
    select(vec![Role::Client, Role::Server])
}

fn small() -> impl Strategy<Value = Limits> {
    (1_u64..40, 1_u64..60, 1_u32..5).prop_map(|(frame_bytes, message_bytes, fragments)| Limits {
        frame_bytes,
        message_bytes,
        fragments,
    })
}

fn limits() -> impl Strategy<Value = Limits> {
    prop_oneof![Just(Limits::default()), small()]
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(Vec::new()),
        "\\PC{0,12}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..12),
        (100..140_usize).prop_map(|len| vec![b'a'; len]),
    ]
}

/// Frames that are mostly valid.
fn any_frame() -> impl Strategy<Value = Frame> {
    let opcode = prop_oneof![
        20 => select(vec![CONTINUATION, TEXT, BINARY, PING, PONG]),
        1 => 0..16_u8,
    ];
    let rsv = prop_oneof![30 => Just(0), 1 => 1..8_u8];
    (any::<bool>(), rsv, opcode, payload()).prop_map(|(fin, rsv, opcode, payload)| Frame {
        fin: fin || opcode >= CLOSE,
        rsv,
        opcode,
        payload,
    })
}

/// Frames, some with a wrong mask, closes with any code, and stray bytes.
fn piece(from: Role) -> impl Strategy<Value = Vec<u8>> {
    let closes = (0..6000_u16, payload());
    prop_oneof![
        20 => any_frame().prop_map(move |frame| frame.bytes(from)),
        1 => any_frame().prop_map(move |frame| frame.bytes(from.peer())),
        1 => closes.prop_map(move |(code, reason)| close(code, reason).bytes(from)),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ]
}

/// The role of the receiving side, and bytes for it.
fn input() -> impl Strategy<Value = (Role, Vec<u8>)> {
    role().prop_flat_map(|role| {
        let pieces = prop::collection::vec(piece(role.peer()), 0..12);
        (Just(role), pieces.prop_map(|pieces| pieces.concat()))
    })
}

fn cuts(indexes: &[Index], len: usize) -> Vec<usize> {
    let mut cuts: Vec<usize> = indexes.iter().map(|index| index.index(len + 1)).collect();
    cuts.sort_unstable();
    cuts
}

/// Assembles the pieces of a chunk decoder, which is given pieces that end at `cuts`.
fn assemble(
    role: Role,
    limits: Limits,
    bytes: &[u8],
    cuts: &[usize],
) -> (Vec<Seen>, Option<Malformed>) {
    let mut decoder = ChunkDecoder::new(role, limits);
    let (mut seen, mut message, mut from) = (Vec::new(), Vec::new(), 0);
    for &to in cuts.iter().chain([&bytes.len()]) {
        let mut unread = bytes[from..to].to_vec();
        from = to;
        let mut taken = 0;
        loop {
            let step = match decoder.step(&mut unread[taken..]) {
                Ok(step) => step,
                Err(error) => return (seen, Some(error)),
            };
            taken += step.taken;
            match step.event {
                None => break,
                Some(ChunkEvent::Data {
                    kind,
                    bytes,
                    is_last,
                }) => {
                    message.extend_from_slice(bytes);
                    assert!(is_last || !bytes.is_empty());
                    if is_last {
                        let message = std::mem::take(&mut message);
                        seen.push(match kind {
                            Kind::Text => Seen::Text(String::from_utf8(message).unwrap()),
                            Kind::Binary => Seen::Binary(message),
                        });
                    }
                }
                Some(ChunkEvent::Ping(payload)) => seen.push(Seen::Ping(payload.to_vec())),
                Some(ChunkEvent::Pong(payload)) => seen.push(Seen::Pong(payload.to_vec())),
                Some(ChunkEvent::Close(close)) => seen.push(Seen::Close(
                    close.map(|close| (close.code.get(), close.reason.to_owned())),
                )),
            }
        }
        assert_eq!(taken, unread.len(), "no event, but bytes are left");
    }
    (seen, None)
}

/// What an application sends.
#[derive(Clone, Debug)]
enum Send {
    Text(Vec<String>),
    Binary(Vec<Vec<u8>>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
}

fn send() -> impl Strategy<Value = Send> {
    prop_oneof![
        prop::collection::vec("\\PC{0,50}", 1..4).prop_map(Send::Text),
        prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..4)
            .prop_map(Send::Binary),
        prop::collection::vec(any::<u8>(), 0..=125).prop_map(Send::Ping),
        prop::collection::vec(any::<u8>(), 0..=125).prop_map(Send::Pong),
        select(vec![65_535_usize, 65_536, 70_000]).prop_map(|len| Send::Binary(vec![vec![7; len]])),
    ]
}

proptest! {
    #[test]
    fn any_bytes_give_the_same_events_at_every_split(
        (role, bytes) in input(),
        limits in limits(),
        indexes in prop::collection::vec(any::<Index>(), 0..6),
    ) {
        let whole = decode(role, limits, &bytes, &[]);
        let singles: Vec<usize> = (0..=bytes.len()).collect();
        prop_assert_eq!(&whole, &decode(role, limits, &bytes, &singles));
        let cuts = cuts(&indexes, bytes.len());
        prop_assert_eq!(&whole, &decode(role, limits, &bytes, &cuts));
        prop_assert_eq!(&whole, &assemble(role, limits, &bytes, &[]), "in chunks");
        prop_assert_eq!(&whole, &assemble(role, limits, &bytes, &singles), "in chunks, by bytes");
        prop_assert_eq!(&whole, &assemble(role, limits, &bytes, &cuts), "in chunks, cut");
    }

    #[test]
    fn any_bytes_give_the_same_answers_at_every_split(
        (role, bytes) in input(),
        limits in limits(),
        piece in 1..50_usize,
    ) {
        let whole = echo(role, limits, &bytes, bytes.len().max(1));
        let pieces = echo(role, limits, &bytes, piece);
        prop_assert_eq!(&whole.answers, &pieces.answers);
        prop_assert_eq!((whole.error, whole.is_finished), (pieces.error, pieces.is_finished));
        prop_assert_eq!(
            whole.error.map(|error| error.close_code().get()),
            whole.answers.last().filter(|_| whole.error.is_some()).map(|answer| {
                assert_eq!(answer.opcode, CLOSE);
                u16::from_be_bytes([answer.payload[0], answer.payload[1]])
            }),
        );
    }

    #[test]
    fn what_an_encoder_writes_is_decoded_to_the_same(
        role in role(),
        sends in prop::collection::vec(send(), 0..6),
        between in prop::option::of(prop::collection::vec(any::<u8>(), 0..10)),
        goodbye in prop::option::of((3000..5000_u16, "[a-z]{0,123}")),
        indexes in prop::collection::vec(any::<Index>(), 0..6),
        key in any::<[u8; 4]>(),
    ) {
        let mut encoder = match role {
            Role::Server => Encoder::server(),
            Role::Client => Encoder::client(move || key),
        };
        let (mut out, mut expected) = (Vec::new(), Vec::new());
        for send in sends {
            match send {
                Send::Text(fragments) => {
                    let last = fragments.len() - 1;
                    for (at, text) in fragments.iter().enumerate() {
                        encoder.text_fragment(text, at == last, &mut out).unwrap();
                        if let (Some(payload), true) = (&between, at < last) {
                            encoder.ping(payload, &mut out).unwrap();
                            expected.push(Seen::Ping(payload.clone()));
                        }
                    }
                    expected.push(Seen::Text(fragments.concat()));
                }
                Send::Binary(fragments) => {
                    let last = fragments.len() - 1;
                    for (at, bytes) in fragments.iter().enumerate() {
                        encoder.binary_fragment(bytes, at == last, &mut out).unwrap();
                    }
                    expected.push(Seen::Binary(fragments.concat()));
                }
                Send::Ping(payload) => {
                    encoder.ping(&payload, &mut out).unwrap();
                    expected.push(Seen::Ping(payload));
                }
                Send::Pong(payload) => {
                    encoder.pong(&payload, &mut out).unwrap();
                    expected.push(Seen::Pong(payload));
                }
            }
        }
        if let Some((code, reason)) = goodbye {
            encoder.close(CloseCode::new(code), &reason, &mut out).unwrap();
            expected.push(Seen::Close(Some((code, reason))));
        }
        let cuts = cuts(&indexes, out.len());
        let decoded = decode(role.peer(), Limits::default(), &out, &cuts);
        prop_assert_eq!(decoded, (expected, None));
    }

    #[test]
    fn a_head_is_parsed_as_it_was_written(
        fin in any::<bool>(),
        opcode in select(vec![
            Opcode::Continuation, Opcode::Text, Opcode::Binary,
            Opcode::Close, Opcode::Ping, Opcode::Pong,
        ]),
        mask in any::<Option<[u8; 4]>>(),
        payload_bytes in prop_oneof![0..300_u64, 65_000..66_000_u64, 0..=i64::MAX as u64],
        after in prop::collection::vec(any::<u8>(), 0..4),
    ) {
        let payload_bytes = if opcode.is_control() { payload_bytes % 126 } else { payload_bytes };
        let head = FrameHead { fin: fin || opcode.is_control(), opcode, mask, payload_bytes };
        let mut bytes = Vec::new();
        head.write(&mut bytes);
        for cut in 0..bytes.len() {
            prop_assert_eq!(FrameHead::parse(&bytes[..cut]), Ok(None));
        }
        let len = bytes.len();
        prop_assert!(len <= byway_ws::HEAD_BYTES);
        bytes.extend(after);
        prop_assert_eq!(FrameHead::parse(&bytes), Ok(Some((head, len))));
    }

    #[test]
    fn text_is_accepted_exactly_if_it_is_utf8(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..8),
            prop::collection::vec(
                select(b"a\x80\xbf\xc3\xe0\xe2\xed\x9f\xa0\xf0\xf4\x90".to_vec()),
                0..8,
            ),
        ],
        cut in any::<Index>(),
        split in any::<Index>(),
    ) {
        let (first, second) = bytes.split_at(cut.index(bytes.len() + 1));
        let sent = [fragment(TEXT, first), frame(CONTINUATION, second)];
        let wire = bytes_of(&sent, Role::Client);
        let result = decode(Role::Server, Limits::default(), &wire, &[split.index(wire.len())]);
        prop_assert_eq!(result, match String::from_utf8(bytes) {
            Ok(text) => (vec![Seen::Text(text)], None),
            Err(_) => (vec![], Some(Malformed::TextNotUtf8)),
        });
    }

    #[test]
    fn arbitrary_fields_never_panic(
        method in prop::collection::vec(any::<u8>(), 0..4),
        status in any::<u16>(),
        names in prop::collection::vec(select(vec![
            "Upgrade", "Connection", "Sec-WebSocket-Key", "Sec-WebSocket-Version",
            "Sec-WebSocket-Accept", "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions",
        ]), 0..10),
        value in prop::collection::vec(any::<u8>(), 0..30),
    ) {
        let fields = names.iter().map(|name| (name.as_bytes(), &value[..]));
        let request = Request { method: &method, http_minor: 1, fields: fields.clone() };
        prop_assert!(request.check().is_err());
        let response = Response { status, http_minor: 1, fields };
        prop_assert!(ClientHandshake::new([0; 16], &["a"]).unwrap().check(response).is_err());
    }
}
