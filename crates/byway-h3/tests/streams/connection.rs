//! What the streams of a connection share: types of streams, slots, shutdown, and what a peer costs.

use std::time::Instant;

use byway_h3::{Admission, Connection, Cost, ErrorCode, Limits, Role, StreamKind};

use crate::varint;

fn connection(role: Role) -> (Connection, Instant) {
    let now = Instant::now();
    (Connection::new(role, Limits::default(), now), now)
}

#[test]
fn the_type_of_a_stream_is_a_number_that_may_be_split() {
    for (kind, expected) in [
        (0, StreamKind::Control),
        (1, StreamKind::Push),
        (2, StreamKind::QpackEncoder),
        (3, StreamKind::QpackDecoder),
        (4, StreamKind::Unknown),
        (0x21, StreamKind::Unknown),
        (1 << 20, StreamKind::Unknown),
    ] {
        let bytes = varint(kind);
        assert_eq!(StreamKind::read(&bytes), Some((expected, bytes.len())));
        assert_eq!(StreamKind::read(&bytes[..bytes.len() - 1]), None);
    }
}

#[test]
fn each_critical_stream_is_opened_once_and_stays_open() {
    let (mut connection, now) = connection(Role::Server);
    for kind in [
        StreamKind::Control,
        StreamKind::QpackEncoder,
        StreamKind::QpackDecoder,
    ] {
        assert_eq!(connection.opened(kind, now), Ok(true));
        let error = connection.opened(kind, now).unwrap_err();
        assert_eq!(error.code, ErrorCode::STREAM_CREATION_ERROR);
        let error = connection.closed(kind).unwrap_err();
        assert_eq!(error.code, ErrorCode::CLOSED_CRITICAL_STREAM);
    }
    assert_eq!(connection.opened(StreamKind::Unknown, now), Ok(false));
    assert_eq!(connection.closed(StreamKind::Unknown), Ok(()));
}

#[test]
fn a_push_stream_is_refused() {
    for (role, code) in [
        (Role::Server, ErrorCode::STREAM_CREATION_ERROR),
        (Role::Client, ErrorCode::ID_ERROR),
    ] {
        let (mut connection, now) = connection(role);
        let error = connection.opened(StreamKind::Push, now).unwrap_err();
        assert_eq!(error.code, code);
    }
}

#[test]
fn a_peer_that_uses_a_dynamic_table_is_refused() {
    let (mut connection, now) = connection(Role::Server);
    assert_eq!(connection.read_encoder(&[0x20], now), Ok(()));
    let error = connection
        .read_encoder(&[0x3f, 0xbd, 0x01], now)
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::QPACK_ENCODER_STREAM_ERROR);
    assert_eq!(connection.read_decoder(&[0x44], now), Ok(()));
    let error = connection.read_decoder(&[0x84], now).unwrap_err();
    assert_eq!(error.code, ErrorCode::QPACK_DECODER_STREAM_ERROR);
}

#[test]
fn a_slot_is_free_when_the_work_has_ended_and_not_when_the_stream_was_reset() {
    let now = Instant::now();
    let limits = Limits {
        streams: 2,
        ..Limits::default()
    };
    let mut connection = Connection::new(Role::Server, limits, now);
    assert_eq!(connection.admit(0, now), Ok(Admission::Accepted));
    assert_eq!(connection.admit(4, now), Ok(Admission::Accepted));
    // The client has reset both, and QUIC gave it new streams.
    connection.charge(Cost::Reset, 2, now).unwrap();
    let refused = Admission::Refused(ErrorCode::REQUEST_REJECTED);
    assert_eq!(connection.admit(8, now), Ok(refused));
    connection.released(false);
    assert_eq!(connection.streams(), 1);
    assert_eq!(connection.admit(12, now), Ok(Admission::Accepted));
}

#[test]
fn floods_of_each_kind_end_the_connection() {
    for cost in [
        Cost::Reset,
        Cost::Refused,
        Cost::Malformed,
        Cost::UnknownStream,
        Cost::Waste,
    ] {
        let (mut connection, now) = connection(Role::Server);
        let most = (0..100_000)
            .take_while(|_| connection.charge(cost, 1, now).is_ok())
            .count();
        assert!(most <= 2500, "{cost:?} {most}");
        let error = connection.charge(cost, 1, now).unwrap_err();
        assert_eq!(error.code, ErrorCode::EXCESSIVE_LOAD);
    }
    let (mut connection, now) = connection(Role::Server);
    let cancellations = [0x44; 10_000];
    let error = connection.read_decoder(&cancellations, now).unwrap_err();
    assert_eq!(error.code, ErrorCode::EXCESSIVE_LOAD);
}

#[test]
fn useful_work_pays_for_resets() {
    let (mut connection, now) = connection(Role::Server);
    for stream in 0..100_000 {
        assert_eq!(connection.admit(4 * stream, now), Ok(Admission::Accepted));
        connection.charge(Cost::Reset, 1, now).unwrap();
        connection.released(true);
    }
    for _ in 0..1000 {
        connection.moved(100 * 1024);
        connection.charge(Cost::Waste, 25, now).unwrap();
    }
}

#[test]
fn after_goaway_new_requests_are_refused_and_accepted_ones_are_not() {
    let (mut connection, now) = connection(Role::Server);
    assert_eq!(connection.admit(8, now), Ok(Admission::Accepted));
    let mut out = Vec::new();
    connection.go_away(&mut out);
    assert_eq!(out, [0x7, 1, 12]);
    // It arrives late, and its stream was opened before.
    assert_eq!(connection.admit(4, now), Ok(Admission::Accepted));
    let refused = Admission::Refused(ErrorCode::REQUEST_REJECTED);
    assert_eq!(connection.admit(12, now), Ok(refused));
    connection.go_away(&mut out);
    assert_eq!(out.len(), 3);
}
