//! The control stream of a peer.

use std::time::Instant;

use byway_h3::{
    Connection, ConnectionError, ControlEvent, ErrorCode, Limits, PeerSettings, Role, StreamKind,
};

use crate::{GREASE, frame, varint};

const SETTINGS: u32 = 0x4;
const GOAWAY: u32 = 0x7;
const MAX_PUSH_ID: u32 = 0xd;

/// Reads frames of the peer of this role, in pieces.
fn read_in(
    role: Role,
    frames: &[Vec<u8>],
    piece: usize,
) -> Result<Vec<ControlEvent>, ConnectionError> {
    let now = Instant::now();
    let mut connection = Connection::new(role, Limits::default(), now);
    let mut events = Vec::new();
    for mut bytes in frames.concat().chunks(piece) {
        while !bytes.is_empty() {
            let (taken, event) = connection.read_control(bytes, now)?;
            assert!(event.is_some() || taken == bytes.len());
            events.extend(event);
            bytes = &bytes[taken..];
        }
    }
    Ok(events)
}

fn read(role: Role, frames: &[Vec<u8>]) -> Result<Vec<ControlEvent>, ConnectionError> {
    let whole = read_in(role, frames, usize::MAX);
    for piece in [1, 3] {
        assert_eq!(read_in(role, frames, piece), whole);
    }
    whole
}

fn code(role: Role, frames: &[Vec<u8>]) -> ErrorCode {
    read(role, frames).unwrap_err().code
}

fn settings(pairs: &[(u32, u32)]) -> Vec<u8> {
    let payload: Vec<u8> = pairs
        .iter()
        .flat_map(|(id, value)| [varint(*id), varint(*value)].concat())
        .collect();
    frame(SETTINGS, &payload)
}

#[test]
fn settings_are_read_and_unknown_ones_ignored() {
    let pairs = [
        (0x1, 4096),
        (0x7, 16),
        (0x6, 16_384),
        (0x8, 1),
        (0x33, 1),
        (GREASE, 7),
        (GREASE, 8),
    ];
    let event = ControlEvent::Settings(PeerSettings {
        field_section_bytes: Some(16_384),
        extended_connect: true,
    });
    for role in [Role::Server, Role::Client] {
        assert_eq!(read(role, &[settings(&pairs)]), Ok(vec![event]));
        let none = ControlEvent::Settings(PeerSettings::default());
        assert_eq!(read(role, &[settings(&[])]), Ok(vec![none]));
    }
}

#[test]
fn settings_that_are_invalid_end_the_connection() {
    for pairs in [
        &[(0x2, 0)][..],
        &[(0x3, 0)],
        &[(0x4, 0)],
        &[(0x5, 0)],
        &[(0x8, 2)],
        &[(0x6, 1), (0x6, 1)],
        &[(0x8, 1), (0x8, 1)],
        &[(0x1, 0), (0x1, 0)],
        &[(0x7, 0), (0x7, 0)],
    ] {
        assert_eq!(
            code(Role::Server, &[settings(pairs)]),
            ErrorCode::SETTINGS_ERROR,
            "{pairs:?}"
        );
    }
    for payload in [&[6][..], &[6, 0x40], &[0x46]] {
        assert_eq!(
            code(Role::Server, &[frame(SETTINGS, payload)]),
            ErrorCode::FRAME_ERROR
        );
    }
    let long = frame(SETTINGS, &[GREASE as u8 & 0x3f, 0].repeat(600));
    assert_eq!(code(Role::Server, &[long]), ErrorCode::EXCESSIVE_LOAD);
}

#[test]
fn a_control_stream_begins_with_settings_which_occur_once() {
    for first in [frame(GOAWAY, &[0]), frame(GREASE, &[]), frame(0, &[])] {
        assert_eq!(code(Role::Client, &[first]), ErrorCode::MISSING_SETTINGS);
    }
    let twice = [settings(&[]), settings(&[])];
    assert_eq!(code(Role::Client, &twice), ErrorCode::FRAME_UNEXPECTED);
}

#[test]
fn frames_that_are_not_for_the_control_stream_end_the_connection() {
    // DATA, HEADERS, PUSH_PROMISE, and those of HTTP/2.
    for kind in [0x0, 0x1, 0x5, 0x2, 0x6, 0x8, 0x9] {
        let frames = [settings(&[]), frame(kind, &[])];
        assert_eq!(
            code(Role::Server, &frames),
            ErrorCode::FRAME_UNEXPECTED,
            "{kind}"
        );
    }
    // MAX_PUSH_ID and PRIORITY_UPDATE are frames of clients.
    for kind in [MAX_PUSH_ID, 0xf0700, 0xf0701] {
        let frames = [settings(&[]), frame(kind, &[0])];
        assert_eq!(
            code(Role::Client, &frames),
            ErrorCode::FRAME_UNEXPECTED,
            "{kind}"
        );
    }
    let unknown = [
        settings(&[]),
        frame(GREASE, &[0; 5000]),
        frame(0xf0700, &[4, b'u', b'=', b'1']),
    ];
    assert_eq!(
        read(Role::Server, &unknown).map(|events| events.len()),
        Ok(1)
    );
}

#[test]
fn goaway_names_a_request_and_never_more_than_before() {
    let go_away = |ids: &[u32]| {
        let mut frames = vec![settings(&[])];
        frames.extend(ids.iter().map(|id| frame(GOAWAY, &varint(*id))));
        frames
    };
    let events = read(Role::Client, &go_away(&[400, 8, 8, 0])).unwrap();
    let ids: Vec<_> = events[1..].to_vec();
    assert_eq!(ids, [400, 8, 8, 0].map(ControlEvent::GoAway));
    for ids in [&[1][..], &[2], &[3], &[4, 8]] {
        assert_eq!(
            code(Role::Client, &go_away(ids)),
            ErrorCode::ID_ERROR,
            "{ids:?}"
        );
    }
    // To a server it names a push.
    assert!(read(Role::Server, &go_away(&[3])).is_ok());
    for payload in [&[][..], &[0, 0], &[0x40]] {
        let frames = [settings(&[]), frame(GOAWAY, payload)];
        assert_eq!(
            code(Role::Client, &frames),
            ErrorCode::FRAME_ERROR,
            "{payload:?}"
        );
    }
}

#[test]
fn there_are_no_pushes() {
    let cancel = [settings(&[]), frame(0x3, &[0])];
    for role in [Role::Server, Role::Client] {
        assert_eq!(code(role, &cancel), ErrorCode::ID_ERROR);
    }
    let rising = [
        settings(&[]),
        frame(MAX_PUSH_ID, &[1]),
        frame(MAX_PUSH_ID, &[5]),
    ];
    assert!(read(Role::Server, &rising).is_ok());
    let falling = [
        settings(&[]),
        frame(MAX_PUSH_ID, &[5]),
        frame(MAX_PUSH_ID, &[1]),
    ];
    assert_eq!(code(Role::Server, &falling), ErrorCode::ID_ERROR);
    for frames in [frame(0xf0701, &[0]), frame(0xf0700, &[1])] {
        assert_eq!(
            code(Role::Server, &[settings(&[]), frames]),
            ErrorCode::ID_ERROR
        );
    }
    let empty = [settings(&[]), frame(0xf0700, &[])];
    assert_eq!(code(Role::Server, &empty), ErrorCode::FRAME_ERROR);
}

#[test]
fn our_control_stream_is_one_that_the_other_side_reads() {
    let now = Instant::now();
    for (role, extended_connect) in [(Role::Server, true), (Role::Client, false)] {
        let connection = Connection::new(role, Limits::default(), now);
        let mut out = Vec::new();
        connection.start(&mut out);
        connection.warn_of_go_away(&mut out);
        let (kind, len) = StreamKind::read(&out).unwrap();
        assert_eq!(kind, StreamKind::Control);
        let other = match role {
            Role::Server => Role::Client,
            Role::Client => Role::Server,
        };
        let events = read(other, &[out[len..].to_vec()]).unwrap();
        let settings = ControlEvent::Settings(PeerSettings {
            field_section_bytes: Some(64 * 1024 + 128 * 32),
            extended_connect,
        });
        assert_eq!(events, [settings, ControlEvent::GoAway((1 << 62) - 4)]);
    }
}
