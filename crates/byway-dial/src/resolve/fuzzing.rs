//! Fuzzing: reads one reply to a fixed question and checks invariants.
//!
//! In:    any bytes.
//! Out:   nothing, or a panic for each violation.
//! Never: uses a socket, a clock or random numbers.
//!
//! Bit 0 of the first byte selects the address family. Bit 1 writes the id of the question and the
//! flags of an answer into the reply, since a fuzzer cannot guess an id. The rest is the reply.

use std::net::IpAddr;

use super::ADDRESSES_MAX;
use super::message::{HEAD_BYTES, Message, RECORDS_MAX, RecordType};
use super::question::{Failure, Question, Records, Reply};

const NUMBER: u16 = 0x1234;
const NAME: &str = "www.example";
/// Differs from [`NAME`] in one letter.
const OTHER_NAME: &str = "wwx.example";

/// Reads a reply. One with another id or question must be rejected. An answer repeats the question
/// and has a bounded number of addresses of the requested family, all of them in the reply.
///
/// # Panics
/// If an invariant does not hold.
pub fn dns_reply(data: &[u8]) {
    let Some((first, reply)) = data.split_first() else {
        return;
    };
    let kind = if first & 1 == 0 {
        RecordType::V4
    } else {
        RecordType::V6
    };
    let mut reply = reply.to_vec();
    if let (true, [high, low, flags, ..]) = (first & 2 != 0, reply.as_mut_slice()) {
        [*high, *low] = NUMBER.to_be_bytes();
        *flags = *flags & 0x07 | 0x80;
    }
    if let Some(message) = Message::read(&reply) {
        assert!(
            message.answers.len() <= RECORDS_MAX,
            "{} answers",
            message.answers.len()
        );
    }
    let Some(read) = read(NUMBER, NAME, kind, &reply) else {
        return;
    };
    if read != Ok(Reply::Other) {
        assert_eq!(
            reply.first_chunk(),
            Some(&NUMBER.to_be_bytes()),
            "the id differs"
        );
        assert!(
            reply.get(2).is_some_and(|flags| flags & 0xf8 == 0x80),
            "it is not a response to a query"
        );
        assert_eq!(
            self::read(!NUMBER, NAME, kind, &reply),
            Some(Ok(Reply::Other)),
            "any id is accepted"
        );
    }
    let other_kind = if kind == RecordType::V4 {
        RecordType::V6
    } else {
        RecordType::V4
    };
    for (name, kind) in [(OTHER_NAME, kind), (NAME, other_kind)] {
        let also = self::read(NUMBER, name, kind, &reply);
        assert!(
            !also.as_ref().is_some_and(is_taken) || !is_taken(&read),
            "it answers two questions"
        );
    }
    if is_taken(&read) {
        assert!(repeats_question(&reply, kind), "the question differs");
    }
    if let Ok(Reply::Answer(records)) = read {
        check(&records, kind, &reply);
    }
}

fn read(number: u16, name: &str, kind: RecordType, reply: &[u8]) -> Option<Result<Reply, Failure>> {
    Question::numbered(number, name, kind)
        .ok()
        .map(|question| question.read(reply))
}

/// Whether the program uses the reply for the name.
fn is_taken(read: &Result<Reply, Failure>) -> bool {
    matches!(read, Ok(Reply::Answer(_)) | Err(Failure::NotFound))
}

/// The question directly follows the header, so it cannot be compressed.
fn repeats_question(reply: &[u8], kind: RecordType) -> bool {
    let question = [&b"\x03www\x07example\0\0"[..], &[kind.number() as u8, 0, 1]].concat();
    let found = reply.get(HEAD_BYTES..HEAD_BYTES + question.len());
    reply.get(4..6) == Some(&[0, 1])
        && found.is_some_and(|found| found.eq_ignore_ascii_case(&question))
}

fn check(records: &Records, kind: RecordType, reply: &[u8]) {
    assert!(
        records.addresses.len() <= ADDRESSES_MAX,
        "{} addresses",
        records.addresses.len()
    );
    assert!(
        records.ttl.as_secs() <= i32::MAX as u64,
        "the lifetime is {:?}",
        records.ttl
    );
    for address in &records.addresses {
        assert_eq!(
            address.is_ipv4(),
            kind == RecordType::V4,
            "{address} is of the other family"
        );
        let is_there = match address {
            IpAddr::V4(ip) => reply.windows(4).any(|bytes| bytes == ip.octets()),
            IpAddr::V6(ip) => reply.windows(16).any(|bytes| bytes == ip.octets()),
        };
        assert!(is_there, "{address} is not in the reply");
    }
}
