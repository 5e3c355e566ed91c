//! Properties: events do not depend on how bytes were split; nothing breaks the invariants; two
//! connections understand each other whatever their windows are.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use byway_h2::{Connection, ErrorCode, Event, Limits, PREFACE, Priority, StreamId};
use byway_head::{Field, HeadOut, Malformed, Scheme};
use common::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Frames that belong together, that do not, and that are none.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let stream = select(vec![0u32, 1, 1, 1, 2, 3, 3, 5, 7, 9, 0x7fff_ffff]);
    let stream = stream.boxed();
    let flags = select(vec![0u8, 1, 4, 5, 8, 9, 0x20, 0x2d, 0xff]);
    let on = move |make: fn(u32) -> Vec<u8>| stream.clone().prop_map(make);
    prop_oneof![
        4 => on(get),
        4 => on(post),
        2 => on(|stream| headers(stream, END_STREAM, &[("x", "y")])),
        1 => on(|stream| headers(stream, 0, &[(":status", "200")])),
        1 => on(|stream| headers(stream, 0, &[(":status", "103")])),
        2 => on(|stream| headers(stream, 0, &with(&POST, &[("content-length", "10")]))),
        1 => on(|stream| headers(stream, 0, &with(&GET, &[("X", "y")]))),
        1 => on(|stream| frame(HEADERS, END_STREAM, stream, &block(&GET))),
        1 => on(|stream| frame(CONTINUATION, END_HEADERS, stream, &block(&[("x", "y")]))),
        4 => (on(|stream| data(stream, 0, b"hello")), any::<bool>()).prop_map(|(mut data, end)| {
            data[4] = u8::from(end);
            data
        }),
        2 => on(|stream| data(stream, PADDED, b"\x02hello\0\0")),
        1 => on(|stream| data(stream, END_STREAM, &[7; 10_000])),
        1 => on(|stream| data(stream, 0, b"")),
        2 => on(|stream| reset(stream, ErrorCode::CANCEL)),
        2 => on(|stream| window_update(stream, 1000)),
        1 => on(|stream| window_update(stream, 0x7fff_ffff)),
        1 => Just(ping()),
        1 => Just(settings(&[(4, 100), (5, 20_000)])),
        1 => Just(settings(&[(1, 0)])),
        1 => Just(frame(SETTINGS, ACK, 0, &[])),
        1 => Just(frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0])),
        1 => Just(frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0\x05u=1")),
        2 => (0u8..20, flags, vec(any::<u8>(), 0..40), select(vec![0u32, 1, 3, 8]))
            .prop_map(|(kind, flags, payload, stream)| frame(kind, flags, stream, &payload)),
        1 => vec(any::<u8>(), 0..30),
    ]
}

/// What happened, without what depends on the reads: how data and windows were cut.
#[derive(Debug, Default, PartialEq, Eq)]
struct Story {
    events: Vec<String>,
    error: Option<byway_h2::ConnectionError>,
    /// By stream: other frames, length of the body, whether it ended.
    sent: BTreeMap<u32, (Vec<Frame>, usize, bool)>,
}

fn story(pieces: &[&[u8]]) -> Story {
    let mut peer = Peer::of_fresh_server(Limits::default());
    peer.answers = Some(1000);
    for piece in pieces {
        if peer.error.is_none() {
            peer.send(piece);
        }
    }
    let mut story = Story {
        error: peer.error,
        ..Story::default()
    };
    let mut last = None;
    for event in &peer.events {
        let Event::Data { id, end, .. } = event else {
            story.events.push(format!("{event:?}"));
            last = None;
            continue;
        };
        // Pieces of a body count as one.
        if last == Some(*id) {
            story.events.pop();
        }
        story.events.push(format!("data on {} {end}", id.number()));
        last = (!end).then_some(*id);
    }
    for (number, body) in peer.bodies {
        story.events.push(format!("{number}: {body:?}"));
    }
    for frame in peer.frames {
        let sent = story.sent.entry(frame.stream).or_default();
        // An error stops what still waits for a window.
        let is_complete = peer.error.is_none();
        sent.2 |= frame.ends_stream() && is_complete;
        match frame.kind {
            WINDOW_UPDATE => {}
            DATA if is_complete => sent.1 += frame.payload.len(),
            DATA => {}
            _ => sent.0.push(frame),
        }
    }
    story
}

/// What a user of a connection does.
#[derive(Clone, Debug)]
enum Act {
    Read(Vec<u8>),
    Respond(Index, bool),
    Send(Index, usize, bool),
    Trailers(Index),
    Reset(Index),
    Release(Index),
    Credit(Index, usize),
    Priority(Index, u8),
    Open(bool),
    Write(usize),
    Turn,
    Wait(u64),
    Ping,
    Drain,
    Withhold(bool),
    Trim,
}

fn act() -> impl Strategy<Value = Act> {
    let index = any::<Index>;
    prop_oneof![
        20 => frames().prop_map(Act::Read),
        4 => (index(), any::<bool>()).prop_map(|(id, interim)| Act::Respond(id, interim)),
        8 => (index(), 0usize..70_000, any::<bool>()).prop_map(|(id, n, end)| Act::Send(id, n, end)),
        1 => index().prop_map(Act::Trailers),
        1 => index().prop_map(Act::Reset),
        3 => index().prop_map(Act::Release),
        3 => (index(), 0usize..20_000).prop_map(|(id, n)| Act::Credit(id, n)),
        1 => (index(), 0u8..8).prop_map(|(id, urgency)| Act::Priority(id, urgency)),
        3 => any::<bool>().prop_map(Act::Open),
        4 => (0usize..50_000).prop_map(Act::Write),
        6 => Just(Act::Turn),
        2 => (0u64..2000).prop_map(Act::Wait),
        1 => Just(Act::Ping),
        1 => Just(Act::Drain),
        1 => any::<bool>().prop_map(Act::Withhold),
        1 => Just(Act::Trim),
    ]
}

/// Does what a user might, with streams that exist and that do not any more.
fn perform(connection: &mut Connection, ids: &mut Vec<StreamId>, now: &mut Instant, act: Act) {
    let id = |index: &Index| match ids.is_empty() {
        true => None,
        false => Some(*index.get(&ids[..])),
    };
    match act {
        Act::Read(bytes) => {
            let mut rest = &bytes[..];
            while let Ok(step) = connection.read(rest, *now) {
                connection.check_invariants();
                rest = &rest[step.taken..];
                if let Some(Event::Head { id, .. } | Event::Unacceptable { id, .. }) = step.event {
                    ids.push(id);
                } else if step.taken == 0 && step.event.is_none() {
                    break;
                }
            }
        }
        Act::Respond(index, interim) => {
            let Some(id) = id(&index) else { return };
            let _ = connection.head(id, interim, |head| {
                head.response(if interim { 103 } else { 200 }, b"")?;
                head.field(b"x-test", b"a value")
            });
        }
        Act::Send(index, len, end) => {
            let Some(id) = id(&index) else { return };
            assert!(connection.send(id, &vec![1; len], end) <= len);
        }
        Act::Trailers(index) => {
            let Some(id) = id(&index) else { return };
            let (name, value) = (&b"x-sum"[..], &b"1"[..]);
            connection.trailers(id, [Field { name, value }]).unwrap();
        }
        Act::Reset(index) => {
            let Some(id) = id(&index) else { return };
            connection.reset(id, ErrorCode::CANCEL);
        }
        Act::Release(index) => {
            let Some(id) = id(&index) else { return };
            connection.release(id);
        }
        Act::Credit(index, bytes) => {
            let Some(id) = id(&index) else { return };
            connection.credit(id, bytes);
        }
        Act::Priority(index, urgency) => {
            let Some(id) = id(&index) else { return };
            let incremental = urgency % 2 == 0;
            let priority = Priority {
                urgency,
                incremental,
            };
            connection.set_priority(id, priority);
        }
        Act::Open(end) => {
            let opened = connection.open(Scheme::Http, None, end, |head| {
                head.request(b"GET", b"/", b"localhost")
            });
            ids.extend(opened.unwrap());
        }
        Act::Write(n) => connection.written(n),
        Act::Turn => {
            while connection.next_turn().is_some() {
                connection.check_invariants();
            }
        }
        Act::Wait(millis) => {
            *now += Duration::from_millis(millis);
            let _ = connection.expire(*now);
        }
        Act::Ping => connection.ping(*now),
        Act::Drain => connection.drain(*now),
        Act::Withhold(withhold) => connection.withhold_credit(withhold),
        Act::Trim => connection.trim(),
    }
}

/// One side of a conversation.
struct Side {
    connection: Connection,
    /// What the other side has written, not read yet.
    incoming: Vec<u8>,
    /// What is left to send on each stream; its length on the wire, and whether its end is told by
    /// trailers.
    sending: BTreeMap<u32, (StreamId, usize, bool)>,
    received: BTreeMap<u32, (usize, bool)>,
    ids: BTreeMap<u32, StreamId>,
}

impl Side {
    fn new(connection: Connection) -> Self {
        Self {
            connection,
            incoming: Vec::new(),
            sending: BTreeMap::new(),
            received: BTreeMap::new(),
            ids: BTreeMap::new(),
        }
    }

    /// Reads a piece, answers what it begins, sends what has its turn. Returns whether anything
    /// happened.
    fn advance(&mut self, piece: usize, now: Instant, response: usize) -> bool {
        let bytes: Vec<u8> = self
            .incoming
            .drain(..self.incoming.len().min(piece))
            .collect();
        let mut rest = &bytes[..];
        loop {
            let step = self
                .connection
                .read(rest, now)
                .expect("the other side is right");
            let event = step.event;
            if event.is_none() && step.taken == 0 {
                break;
            }
            match event {
                Some(Event::Head { id, end }) => {
                    self.received.insert(id.number(), (0, end));
                    self.ids.insert(id.number(), id);
                    if self.connection.role() == byway_h2::Role::Server {
                        self.connection
                            .head(id, false, |head| {
                                head.response(200, b"")?;
                                head.field(b"x-test", b"something that repeats")
                            })
                            .unwrap();
                        let trailers = id.number() % 4 == 1;
                        self.sending.insert(id.number(), (id, response, trailers));
                        self.go_on(id);
                    }
                }
                Some(Event::Data { id, range, end }) => {
                    let received = self.received.get_mut(&id.number()).unwrap();
                    received.0 += range.len();
                    received.1 |= end;
                    assert!(
                        rest[range.clone()]
                            .iter()
                            .all(|byte| *byte == id.number() as u8)
                    );
                    self.connection.credit(id, range.len());
                }
                Some(Event::Trailers { id }) => {
                    self.received.get_mut(&id.number()).unwrap().1 = true;
                }
                Some(Event::Settings) | None => {}
                Some(other) => panic!("{other:?}"),
            }
            rest = &rest[step.taken..];
            self.connection.check_invariants();
        }
        let has_read = rest.len() < bytes.len();
        self.incoming.splice(0..0, rest.iter().copied());
        let mut has_sent = false;
        while let Some(id) = self.connection.next_turn() {
            has_sent |= self.go_on(id);
        }
        has_read || has_sent
    }

    /// Sends more on a stream.
    fn go_on(&mut self, id: StreamId) -> bool {
        let Some((_, left, trailers)) = self.sending.get_mut(&id.number()) else {
            return false;
        };
        let data = vec![id.number() as u8; *left];
        let sent = self.connection.send(id, &data, !*trailers);
        *left -= sent;
        if *left == 0 {
            if *trailers {
                let (name, value) = (&b"x-sum"[..], &b"1"[..]);
                self.connection
                    .trailers(id, [Field { name, value }])
                    .unwrap();
            }
            self.sending.remove(&id.number());
        }
        sent > 0
    }
}

fn limits() -> impl Strategy<Value = Limits> {
    let window = prop_oneof![Just(65_535u32), Just(65_536), 65_535..200_000u32];
    (window, 65_535u32..300_000, 1024usize..70_000, 1u32..20).prop_map(
        |(window, connection, backlog_bytes, streams)| Limits {
            stream_window_bytes: window,
            stream_window_max_bytes: window.saturating_mul(2),
            connection_window_bytes: connection,
            buffer_bytes: 65_536,
            backlog_bytes,
            streams,
            ..Limits::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn events_do_not_depend_on_how_bytes_were_split(
        frames in vec(frames(), 0..12),
        cuts in vec(any::<Index>(), 0..20),
    ) {
        let mut bytes = PREFACE.to_vec();
        bytes.extend(settings(&[]));
        bytes.extend(frames.concat());
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
        let whole = story(&[&bytes]);
        prop_assert_eq!(&story(&pieces), &whole);
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        if bytes.len() < 2000 {
            prop_assert_eq!(&story(&single), &whole);
        }
    }

    #[test]
    fn nothing_that_either_side_does_breaks_the_invariants(
        is_server in any::<bool>(),
        acts in vec(act(), 0..60),
    ) {
        let mut now = Instant::now();
        let mut ids = Vec::new();
        let mut connection = match is_server {
            true => Connection::server(Limits::default(), now),
            false => Connection::client(Limits::default(), now),
        };
        if is_server {
            perform(&mut connection, &mut ids, &mut now, Act::Read(PREFACE.to_vec()));
        }
        perform(&mut connection, &mut ids, &mut now, Act::Read(settings(&[(4, 10_000)])));
        for act in acts {
            perform(&mut connection, &mut ids, &mut now, act);
            connection.check_invariants();
        }
    }

    #[test]
    fn two_connections_complete_every_exchange(
        limits in (limits(), limits()),
        requests in vec(0usize..100_000, 1..12),
        response in 0usize..100_000,
        pieces in vec(1usize..20_000, 1..10),
    ) {
        let mut now = Instant::now();
        let mut client = Side::new(Connection::client(limits.0, now));
        let mut server = Side::new(Connection::server(limits.1, now));
        let (mut begun, mut done) = (0, 0);
        for piece in pieces.iter().cycle().take(200_000) {
            // Before its settings are known, a server may refuse more than one.
            let knows = |client: &Side, begun| begun == 0 || client.connection.peer().arrived;
            while begun < requests.len() && knows(&client, begun) && client.connection.can_open() {
                let opened = client.connection.open(Scheme::Https, None, false, |head| {
                    head.request(b"POST", b"/", b"localhost")?;
                    head.field(b"x-number", b"many")?;
                    Ok::<_, Malformed>(())
                });
                let id = opened.unwrap().expect("room");
                let trailers = begun % 3 == 0;
                client.sending.insert(id.number(), (id, requests[begun], trailers));
                begun += 1;
                client.go_on(id);
            }
            let mut moved = false;
            for is_client in [true, false] {
                let (from, to) = match is_client {
                    true => (&mut client, &mut server),
                    false => (&mut server, &mut client),
                };
                let n = from.connection.out().len().min(*piece);
                to.incoming.extend_from_slice(&from.connection.out()[..n]);
                from.connection.written(n);
                moved |= n > 0;
            }
            moved |= client.advance(*piece, now, 0);
            moved |= server.advance(*piece, now, response);
            // Streams whose exchange is over are released on both sides.
            let over: Vec<u32> = client
                .received
                .iter()
                .filter(|(number, received)| received.1 && !client.sending.contains_key(number))
                .map(|(number, _)| *number)
                .collect();
            for number in over {
                let at_server = server.received.get(&number).copied();
                if at_server.is_none_or(|received| !received.1) || server.sending.contains_key(&number) {
                    continue;
                }
                let index = (number as usize - 1) / 2;
                prop_assert_eq!(client.received.remove(&number), Some((response, true)));
                prop_assert_eq!(server.received.remove(&number), Some((requests[index], true)));
                for side in [&mut client, &mut server] {
                    let id = side.ids.remove(&number).expect("not released");
                    side.connection.release(id);
                    side.connection.check_invariants();
                }
                done += 1;
                moved = true;
            }
            if done == requests.len() {
                break;
            }
            if !moved {
                // Small pieces leave after a while.
                let deadlines = [client.connection.deadline(), server.connection.deadline()];
                let next = deadlines.into_iter().flatten().min();
                prop_assert!(next.is_some(), "nothing goes on");
                now = now.max(next.unwrap());
                client.connection.expire(now).unwrap();
                server.connection.expire(now).unwrap();
            }
        }
        prop_assert_eq!(done, requests.len());
        prop_assert_eq!(client.connection.held_bytes(), 0);
        prop_assert_eq!(server.connection.held_bytes(), 0);
    }
}
