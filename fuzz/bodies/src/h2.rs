//! HTTP/2: invariants for all that a peer sends and a user does on one connection.
//!
//! In:    bytes from a fuzzer.
//! Out:   nothing, or a panic for each violation.
//! Never: needs more memory than the limits and a few copies of its input.

#![allow(clippy::expect_used, reason = "a finding is a panic")]

use std::time::{Duration, Instant};

use byway_h2::{Connection, ConnectionError, ErrorCode, Event, Limits, PREFACE, StreamId};
use byway_head::{Field, HeadOut, Malformed, Scheme};

/// The first settings of a peer, and its acknowledgement.
const BEGIN: &[u8] = b"\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0";

/// A connection under a script. The first byte selects the role. Then each byte below 128 is a
/// length: so many bytes and one more come from the peer. Each other byte is something that the user
/// does, with the byte behind it as a parameter. The invariants hold after each step, and output
/// stays within the backlog, heads aside. All that the peer has sent then leads to the same events in
/// single bytes and as a whole.
pub fn connection(data: &[u8]) {
    let Some((&role, mut script)) = data.split_first() else {
        return;
    };
    let is_client = role & 1 == 1;
    let mut user = User::new(is_client);
    let mut sent = Vec::new();
    while let Some((&op, rest)) = script.split_first() {
        script = rest;
        if op < 128 {
            let (bytes, rest) = script.split_at(script.len().min(usize::from(op) + 1));
            script = rest;
            sent.extend_from_slice(bytes);
            user.read(bytes);
        } else {
            let parameter = match script.split_first() {
                Some((&parameter, rest)) => {
                    script = rest;
                    parameter
                }
                None => 0,
            };
            user.act(op, parameter);
        }
        user.connection.check_invariants();
    }
    let whole = story(is_client, &[&sent]);
    let single: Vec<&[u8]> = sent.chunks(1).collect();
    assert_eq!(
        story(is_client, &single),
        whole,
        "the events depend on the split"
    );
}

/// One user of a connection.
struct User {
    connection: Connection,
    ids: Vec<StreamId>,
    now: Instant,
    error: Option<ConnectionError>,
    events: Vec<Event>,
}

impl User {
    /// A user whose connection has its first settings. A client has opened two streams.
    fn new(is_client: bool) -> Self {
        let now = Instant::now();
        let connection = match is_client {
            true => Connection::client(Limits::default(), now),
            false => Connection::server(Limits::default(), now),
        };
        let mut user = Self {
            connection,
            ids: Vec::new(),
            now,
            error: None,
            events: Vec::new(),
        };
        if is_client {
            user.open(true);
            user.open(false);
        } else {
            user.read(PREFACE);
        }
        user.read(BEGIN);
        assert_eq!(user.error, None);
        user.connection.written(usize::MAX);
        user
    }

    fn open(&mut self, end: bool) {
        let opened = self
            .connection
            .open(Scheme::Https, None, end, |head| {
                head.request(b"GET", b"/", b"example.com")
            })
            .expect("a valid head");
        self.ids.extend(opened);
    }

    /// Reads all bytes; output is written when it stops the reading.
    fn read(&mut self, mut bytes: &[u8]) {
        while self.error.is_none() {
            match self.connection.read(bytes, self.now) {
                Ok(step) => {
                    let range_is_in = match &step.event {
                        Some(Event::Data { range, .. }) => range.end <= step.taken,
                        _ => true,
                    };
                    assert!(range_is_in && step.taken <= bytes.len());
                    bytes = &bytes[step.taken..];
                    if let Some(event) = step.event {
                        if let Event::Head { id, .. } | Event::Unacceptable { id, .. } = event
                            && !self.ids.contains(&id)
                        {
                            self.ids.push(id);
                        }
                        self.events.push(event);
                    } else if bytes.is_empty() {
                        return;
                    } else if step.taken == 0 {
                        assert!(
                            !self.connection.out().is_empty(),
                            "reading stops for nothing"
                        );
                        self.connection.written(usize::MAX);
                    }
                }
                Err(error) => {
                    assert!(
                        !self.connection.out().is_empty(),
                        "an error without a GOAWAY"
                    );
                    self.error = Some(error);
                }
            }
            self.connection.check_invariants();
        }
    }

    fn act(&mut self, op: u8, parameter: u8) {
        let id = match self.ids.len() {
            0 => None,
            len => self.ids.get(usize::from(parameter) % len).copied(),
        };
        let connection = &mut self.connection;
        match (op % 12, id) {
            (0, Some(id)) => {
                let interim = op & 64 != 0;
                connection
                    .head(id, interim, |head| {
                        head.response(if interim { 103 } else { 200 }, b"")?;
                        head.field(b"x-name", b"a value")?;
                        Ok::<_, Malformed>(())
                    })
                    .expect("a valid head");
            }
            (1, Some(id)) => {
                let data = vec![op; usize::from(op) * 300];
                assert!(connection.send(id, &data, op & 64 != 0) <= data.len());
            }
            (2, Some(id)) => {
                let (name, value) = (&b"x-sum"[..], &b"1"[..]);
                connection
                    .trailers(id, [Field { name, value }])
                    .expect("valid trailers");
            }
            (3, Some(id)) => connection.reset(id, ErrorCode::CANCEL),
            (4, Some(id)) => connection.release(id),
            (5, Some(id)) => connection.credit(id, usize::from(op) * 100),
            (6, _) => connection.written(usize::from(parameter) * 300),
            (7, _) => while connection.next_turn().is_some() {},
            (8, _) => {
                self.now += Duration::from_millis(u64::from(parameter) * 10);
                if let Err(error) = connection.expire(self.now) {
                    self.error = Some(error);
                }
            }
            (9, _) => self.open(parameter & 1 == 0),
            (10, _) if parameter < 16 => connection.drain(self.now),
            (10, _) => connection.withhold_credit(parameter & 1 == 0),
            _ => connection.trim(),
        }
    }
}

/// What the peer's bytes lead to, with pieces of data joined.
fn story(is_client: bool, pieces: &[&[u8]]) -> (Vec<String>, Option<ConnectionError>) {
    let mut user = User::new(is_client);
    user.events.clear();
    for piece in pieces {
        user.read(piece);
    }
    let mut story: Vec<String> = Vec::new();
    let mut body = None;
    for event in user.events {
        let Event::Data { id, range, end } = event else {
            story.push(format!("{event:?}"));
            body = None;
            continue;
        };
        let before = match body {
            Some((other, len)) if other == id => {
                story.pop();
                len
            }
            _ => 0,
        };
        let len = before + range.len();
        story.push(format!("{len} bytes on {id:?}, {end}"));
        body = (!end).then_some((id, len));
    }
    (story, user.error)
}
