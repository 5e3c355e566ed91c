//! Message: the parts of the DNS message format (RFC 1035 section 4) that address look-ups need.
//!
//! In:    a name and a type; the bytes of a reply.
//! Out:   the bytes of a question; the question and the answers of a reply.
//! Never: reads past its bytes, follows a pointer forwards, makes a name of more than 255 bytes, or
//!        does more work for a reply than a fixed number of steps.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The only class in use.
pub(super) const INTERNET: u16 = 1;
/// The longest name, including length bytes and the final zero (RFC 1035 section 2.3.4).
const NAME_BYTES: usize = 255;
const LABEL_BYTES: usize = 63;
pub(super) const HEAD_BYTES: usize = 12;
const ALIAS: u16 = 5;
/// How many labels and pointers of one reply are read. 64 KiB of pointers could require millions.
const STEPS_MAX: usize = 16 * 1024;
/// How many answers of one reply are kept; later ones are not read.
pub(super) const RECORDS_MAX: usize = 256;

/// The requested addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordType {
    /// A.
    V4,
    /// AAAA.
    V6,
}

impl RecordType {
    pub(super) const fn number(self) -> u16 {
        match self {
            Self::V4 => 1,
            Self::V6 => 28,
        }
    }
}

/// A name in wire format, without compression and in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name(Vec<u8>);

impl Name {
    /// From its text, without a trailing dot; `None` if it is not valid in DNS.
    pub(super) fn of(text: &str) -> Option<Self> {
        let mut bytes = Vec::with_capacity(text.len() + 2);
        for label in text.split('.') {
            if label.is_empty() || label.len() > LABEL_BYTES {
                return None;
            }
            bytes.push(u8::try_from(label.len()).ok()?);
            bytes.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
        }
        bytes.push(0);
        (bytes.len() <= NAME_BYTES).then_some(Self(bytes))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A question for `name`, with recursion desired.
pub(super) fn question(id: u16, name: &Name, kind: RecordType) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend([RECURSION_DESIRED, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    bytes.extend(name.bytes());
    bytes.extend(kind.number().to_be_bytes());
    bytes.extend(INTERNET.to_be_bytes());
    bytes
}

const RESPONSE: u8 = 0x80;
/// 0 is a query, and its answer.
const OPERATION: u8 = 0x78;
const AUTHORITATIVE: u8 = 0x04;
const TRUNCATED: u8 = 0x02;
const RECURSION_DESIRED: u8 = 0x01;
const RECURSION_AVAILABLE: u8 = 0x80;

/// The name of a response code (RFC 1035 section 4.1.1).
pub(super) const fn code_name(code: u8) -> &'static str {
    match code {
        1 => "FORMERR",
        2 => "SERVFAIL",
        4 => "NOTIMP",
        5 => "REFUSED",
        _ => "unknown",
    }
}

/// The header of 12 bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) id: u16,
    /// Whether it answers a query, and not another operation.
    pub(super) is_response: bool,
    pub(super) is_truncated: bool,
    pub(super) code: u8,
    is_authoritative: bool,
    offers_recursion: bool,
    questions: u16,
    answers: u16,
    authorities: u16,
}

impl Head {
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let [id0, id1, flags, more, q0, q1, an0, an1, ns0, ns1, ..] = *bytes.get(..HEAD_BYTES)?
        else {
            return None;
        };
        Some(Self {
            id: u16::from_be_bytes([id0, id1]),
            is_response: flags & (RESPONSE | OPERATION) == RESPONSE,
            is_truncated: flags & TRUNCATED != 0,
            code: more & 0x0f,
            is_authoritative: flags & AUTHORITATIVE != 0,
            offers_recursion: more & RECURSION_AVAILABLE != 0,
            questions: u16::from_be_bytes([q0, q1]),
            answers: u16::from_be_bytes([an0, an1]),
            authorities: u16::from_be_bytes([ns0, ns1]),
        })
    }
}

/// A question: name, type and class.
pub(super) type QuestionKey = (Name, u16, u16);

/// The question that a message repeats, `Some(None)` if it has none. `None` if it cannot be read,
/// or there are several.
pub(super) fn repeated_question(bytes: &[u8]) -> Option<Option<QuestionKey>> {
    let head = Head::read(bytes)?;
    Reader::behind_head(bytes).repeated_question(head.questions)
}

/// The parts of a reply that are used.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) head: Head,
    /// The addresses and aliases of the class [`INTERNET`].
    pub(super) answers: Vec<Record>,
}

/// One answer.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) owner: Name,
    /// In seconds.
    pub(super) ttl: u32,
    pub(super) data: Data,
}

/// The data of an answer.
#[derive(Debug)]
pub(super) enum Data {
    Address(IpAddr),
    Alias(Name),
}

impl Message {
    /// `None` if it is incomplete, has more than one question, or takes too many steps to read.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let head = Head::read(bytes)?;
        let mut reader = Reader::behind_head(bytes);
        reader.repeated_question(head.questions)?;
        let mut answers = Vec::new();
        for _ in 0..head.answers {
            if answers.len() >= RECORDS_MAX {
                break;
            }
            answers.extend(reader.record()?);
        }
        Some(Self { head, answers })
    }

    /// An empty answer of a server that is neither authoritative nor recursive: another server may
    /// know.
    pub(super) fn is_lame(&self) -> bool {
        let Head {
            answers,
            authorities,
            is_authoritative,
            offers_recursion,
            ..
        } = self.head;
        answers == 0 && authorities == 0 && !is_authoritative && !offers_recursion
    }
}

struct Reader<'m> {
    bytes: &'m [u8],
    at: usize,
    /// How many labels and pointers may still be read.
    steps: usize,
}

impl<'m> Reader<'m> {
    const fn behind_head(bytes: &'m [u8]) -> Self {
        Self {
            bytes,
            at: HEAD_BYTES,
            steps: STEPS_MAX,
        }
    }

    fn repeated_question(&mut self, questions: u16) -> Option<Option<QuestionKey>> {
        match questions {
            0 => Some(None),
            1 => Some(Some((self.name()?, self.number()?, self.number()?))),
            _ => None,
        }
    }

    fn take(&mut self, length: usize) -> Option<&'m [u8]> {
        let taken = self.bytes.get(self.at..)?.get(..length)?;
        self.at += length;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn number(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    /// A decompressed name (RFC 1035 section 4.1.4). Each pointer must point before the previous
    /// one, so that no chain is endless, and not into the header.
    fn name(&mut self) -> Option<Name> {
        let mut name = Vec::new();
        let mut front = self.at;
        let mut behind = None;
        loop {
            self.steps = self.steps.checked_sub(1)?;
            let length = self.byte()?;
            match length {
                0 => {
                    name.push(0);
                    self.at = behind.unwrap_or(self.at);
                    return Some(Name(name));
                }
                1..=0x3f => {
                    let label = self.take(length.into())?;
                    name.push(length);
                    name.extend(label.iter().map(u8::to_ascii_lowercase));
                    if name.len() >= NAME_BYTES {
                        return None;
                    }
                }
                0xc0.. => {
                    let target = usize::from(u16::from_be_bytes([length & 0x3f, self.byte()?]));
                    if !(HEAD_BYTES..front).contains(&target) {
                        return None;
                    }
                    behind = behind.or(Some(self.at));
                    (self.at, front) = (target, target);
                }
                _ => return None,
            }
        }
    }

    /// `Some(None)`: a record that is not used.
    fn record(&mut self) -> Option<Option<Record>> {
        let (owner, kind, class) = (self.name()?, self.number()?, self.number()?);
        let ttl = u32::from_be_bytes(self.take(4)?.try_into().ok()?);
        // A lifetime with its highest bit set counts as zero (RFC 2181 section 8).
        let ttl = if ttl > i32::MAX as u32 { 0 } else { ttl };
        let length = self.number()?;
        let begins = self.at;
        let data = self.take(length.into())?;
        let ends = self.at;
        let data = match (class, kind) {
            (INTERNET, 1) => <[u8; 4]>::try_from(data)
                .ok()
                .map(|octets| Data::Address(Ipv4Addr::from(octets).into())),
            (INTERNET, 28) => <[u8; 16]>::try_from(data)
                .ok()
                .map(|octets| Data::Address(Ipv6Addr::from(octets).into())),
            (INTERNET, ALIAS) => {
                self.at = begins;
                let alias = self.name().map(Data::Alias);
                self.at = ends;
                alias
            }
            _ => return Some(None),
        };
        // An address of a wrong length or an unreadable alias makes the whole reply unreadable.
        Some(Some(Record {
            owner,
            ttl,
            data: data?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reply with `body` after the header, which announces one question and one answer.
    fn read(body: &[u8]) -> Option<Message> {
        Message::read(&[&[0, 1, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0][..], body].concat())
    }

    const QUESTION: &[u8] = b"\x03www\x07example\x00\x00\x01\x00\x01";

    fn answer(owner: &[u8], kind: u8, data: &[u8]) -> Vec<u8> {
        let rest = [&[0, kind, 0, 1, 0, 0, 0, 60, 0, data.len() as u8][..], data].concat();
        [QUESTION, owner, &rest].concat()
    }

    #[test]
    fn compressed_names_are_read_and_their_case_does_not_matter() {
        let bytes = answer(b"\xc0\x0c", 1, &[192, 0, 2, 1]);
        let message = read(&bytes).unwrap();
        let (name, ..) =
            repeated_question(&[&[0; 4][..], &[0, 1, 0, 1, 0, 0, 0, 0], &bytes].concat())
                .unwrap()
                .unwrap();
        assert_eq!(name, Name::of("WWW.example").unwrap());
        assert_eq!(message.answers[0].owner, Name::of("www.example").unwrap());
        let message = read(&answer(b"\xc0\x0c", 5, b"\x01B\xc0\x10")).unwrap();
        assert!(
            matches!(&message.answers[0].data, Data::Alias(alias) if *alias == Name::of("b.example").unwrap())
        );
    }

    #[test]
    fn pointers_that_lead_to_themselves_forwards_or_past_the_end_are_refused() {
        for owner in [
            &b"\xc0\x1d"[..],
            b"\xc0\x1e",
            b"\xff\xff",
            b"\x01a\xc0\x1d",
            b"\x40",
            b"\x80\x0c",
        ] {
            assert!(
                read(&answer(owner, 1, &[192, 0, 2, 1])).is_none(),
                "{owner:?}"
            );
        }
    }

    #[test]
    fn a_name_has_255_bytes_at_most() {
        let label = |length: usize| "a".repeat(length);
        let longest = [label(63), label(63), label(63), label(61)].join(".");
        assert_eq!(Name::of(&longest).unwrap().bytes().len(), 255);
        assert!(Name::of(&format!("{longest}a")).is_none());
        assert!(
            Name::of(&label(64)).is_none() && Name::of("a..b").is_none() && Name::of("").is_none()
        );
        let long = [&[63; 64][..]; 4].concat();
        assert!(read(&[&long, &b"\x00\x00\x01\x00\x01"[..]].concat()).is_none());
    }

    #[test]
    fn an_address_of_a_wrong_length_is_unreadable_and_other_records_are_skipped() {
        assert!(read(&answer(b"\xc0\x0c", 1, &[192, 0, 2])).is_none());
        assert!(read(&answer(b"\xc0\x0c", 28, &[0; 4])).is_none());
        assert!(
            read(&answer(b"\xc0\x0c", 16, b"\x03txt"))
                .unwrap()
                .answers
                .is_empty()
        );
    }

    /// A reply that announces `count` answers and contains `records`.
    fn read_many(count: usize, records: &[u8]) -> Option<Message> {
        let mut bytes = vec![0, 1, 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0];
        bytes[6..8].copy_from_slice(&u16::try_from(count).unwrap().to_be_bytes());
        Message::read(&[&bytes[..], QUESTION, records].concat())
    }

    #[test]
    fn a_reply_with_expensive_pointers_is_refused() {
        // A record of an unused type, full of pointers each to the previous one, and names that
        // start at the last.
        let first = HEAD_BYTES + QUESTION.len() + 12;
        let pointer = |to: usize| [0xc0 | (to >> 8) as u8, to as u8];
        let chain: Vec<u8> = (0..8000)
            .flat_map(|n| {
                pointer(if n == 0 {
                    HEAD_BYTES
                } else {
                    first + 2 * (n - 1)
                })
            })
            .collect();
        let length = u16::try_from(chain.len()).unwrap().to_be_bytes();
        let holder = [&[0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 60], &length[..], &chain].concat();
        let last = pointer(first + 2 * 7999);
        let address = [&last[..], &[0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]].concat();
        assert!(read_many(1 + 2800, &[holder, address.repeat(2800)].concat()).is_none());
    }

    #[test]
    fn of_thousands_of_records_a_bounded_number_is_kept() {
        let address = [
            &b"\xc0\x0c"[..],
            &[0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1],
        ]
        .concat();
        assert_eq!(
            read_many(256, &address.repeat(256)).unwrap().answers.len(),
            256
        );
        assert_eq!(
            read_many(4000, &address.repeat(4000))
                .unwrap()
                .answers
                .len(),
            256
        );
        assert!(
            read_many(65_535, &address).is_none(),
            "it announces more than it has"
        );
    }

    #[test]
    fn a_pointer_into_the_header_is_refused() {
        assert!(read(&answer(b"\xc0\x08", 1, &[192, 0, 2, 1])).is_none());
    }
}
