//! What holds for all bytes: the result never depends on how they were split.

use std::time::Instant;

use byway_h3::{Connection, Limits, Role};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::{GREASE, data, frame, get, post, read_request, read_response, trailers};

fn part() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(get()),
        Just(post(Some(3))),
        Just(trailers()),
        vec(any::<u8>(), 0..20).prop_map(|bytes| data(&bytes)),
        (0u32..16, vec(any::<u8>(), 0..8)).prop_map(|(kind, payload)| frame(kind, &payload)),
        vec(any::<u8>(), 0..80).prop_map(|payload| frame(GREASE, &payload)),
        vec(any::<u8>(), 0..20),
    ]
}

proptest! {
    #[test]
    fn a_message_is_read_alike_however_it_is_split(
        parts in vec(part(), 0..6),
        piece in 1usize..40,
        is_small in any::<bool>(),
    ) {
        let mut limits = Limits::default();
        if is_small {
            limits.head.head_bytes = 60;
        }
        let stream = parts.concat();
        let all = stream.len().max(1);
        prop_assert_eq!(read_request(&stream, all, &limits), read_request(&stream, piece, &limits));
        prop_assert_eq!(
            read_response("GET", &stream, all, &limits),
            read_response("GET", &stream, piece, &limits)
        );
    }

    #[test]
    fn any_bytes_on_unidirectional_streams_are_read_or_refused(
        bytes in vec(any::<u8>(), 0..200),
        has_settings in any::<bool>(),
        is_server in any::<bool>(),
    ) {
        let now = Instant::now();
        let role = if is_server { Role::Server } else { Role::Client };
        let mut connection = Connection::new(role, Limits::default(), now);
        let _ = connection.read_encoder(&bytes, now);
        let _ = connection.read_decoder(&bytes, now);
        let start = if has_settings { frame(0x4, &[]) } else { Vec::new() };
        let all = [start, bytes].concat();
        let mut rest = &all[..];
        while let Ok((taken, event)) = connection.read_control(rest, now) {
            rest = &rest[taken..];
            if event.is_none() {
                prop_assert!(rest.is_empty());
                break;
            }
        }
    }
}
