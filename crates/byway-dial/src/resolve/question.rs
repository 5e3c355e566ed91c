//! Question: one DNS question and the check of its replies.
//!
//! In:    a name and a type; the bytes of a reply.
//! Out:   the bytes to send; the addresses of the reply with their lifetime.
//! Never: accepts a reply that does not repeat the id and the question, or an address of another
//!        name.

use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::Duration;

use rustls::crypto::{SecureRandom, aws_lc_rs};

use super::ResolveError;
use super::message::{self, Data, Message, Name, Record, RecordType};

/// How many aliases are followed within one reply.
const ALIASES_MAX: usize = 16;

/// One question, with a random id.
pub(super) struct Question {
    id: u16,
    name: Name,
    kind: RecordType,
    bytes: Vec<u8>,
}

/// The addresses of one family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Records {
    /// Empty if the name has only other records, or none.
    pub(super) addresses: Vec<IpAddr>,
    /// The shortest lifetime of the records that led to them.
    pub(super) ttl: Duration,
}

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// There is no such name.
    NotFound,
    /// The server reports a failure, or refuses to answer.
    Server(String),
    /// This machine has no descriptor or memory left for the query.
    Exhausted(String),
    /// The server cannot be reached.
    Unreachable(String),
    /// No answer in time.
    Timeout,
}

impl Failure {
    /// The more informative one of two failures of one question.
    pub(super) fn more_informative(earlier: Option<Self>, later: Self) -> Self {
        let rank = |failure: &Self| match failure {
            Self::NotFound => 0,
            Self::Exhausted(_) => 1,
            Self::Server(_) => 2,
            Self::Unreachable(_) => 3,
            Self::Timeout => 4,
        };
        match earlier {
            Some(earlier) if rank(&earlier) <= rank(&later) => earlier,
            _ => later,
        }
    }
}

impl From<Failure> for ResolveError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotFound => Self::NotFound,
            Failure::Exhausted(reason) => Self::Exhausted(reason),
            Failure::Server(reason) | Failure::Unreachable(reason) => Self::Failed(reason),
            Failure::Timeout => Self::Timeout,
        }
    }
}

/// The result of reading a reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// The answer.
    Answer(Records),
    /// It was truncated: the question is repeated over TCP.
    Truncated,
    /// It is not a reply to this question.
    Other,
}

impl Question {
    /// # Errors
    /// [`Failure::NotFound`] if the name is not valid in DNS; [`Failure::Unreachable`] if the
    /// system has no random numbers.
    pub(super) fn new(name: &str, kind: RecordType) -> Result<Self, Failure> {
        let mut number = [0; 2];
        RANDOM
            .fill(&mut number)
            .map_err(|_| Failure::Unreachable("the system has no random numbers".to_owned()))?;
        Self::numbered(u16::from_be_bytes(number), name, kind)
    }

    /// A question with this id. The caller must make sure that it cannot be guessed.
    pub(super) fn numbered(id: u16, name: &str, kind: RecordType) -> Result<Self, Failure> {
        let name = Name::of(name).ok_or(Failure::NotFound)?;
        Ok(Self {
            id,
            bytes: message::question(id, &name, kind),
            name,
            kind,
        })
    }

    /// The bytes to send.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Reads a reply.
    ///
    /// # Errors
    /// [`Failure::NotFound`] and [`Failure::Server`], as reported by the server.
    pub(super) fn read(&self, bytes: &[u8]) -> Result<Reply, Failure> {
        let failed = |text: &str| Err(Failure::Server(text.to_owned()));
        let Some(head) =
            message::Head::read(bytes).filter(|head| head.id == self.id && head.is_response)
        else {
            return Ok(Reply::Other);
        };
        if !self.is_repeated_in(bytes, head) {
            return Ok(Reply::Other);
        }
        if head.is_truncated {
            // A truncated reply may be unreadable; none of it is used.
            return Ok(Reply::Truncated);
        }
        let Some(message) = Message::read(bytes) else {
            return failed("a name server sent an answer that cannot be read");
        };
        match head.code {
            NO_ERROR if message.is_lame() => {
                failed("a name server is neither authoritative for the name nor recursive")
            }
            NO_ERROR => Ok(Reply::Answer(self.records(&message.answers))),
            NO_SUCH_NAME => Err(Failure::NotFound),
            code => failed(&format!(
                "a name server answered with error {code} ({})",
                message::code_name(code)
            )),
        }
    }

    fn is_repeated_in(&self, bytes: &[u8], head: message::Head) -> bool {
        match message::repeated_question(bytes) {
            Some(Some(repeated)) => {
                repeated == (self.name.clone(), self.kind.number(), message::INTERNET)
            }
            // Some servers omit the question when they refuse it.
            Some(None) => head.is_truncated || !matches!(head.code, NO_ERROR | NO_SUCH_NAME),
            // A reply may be cut anywhere. It only causes a repetition over TCP.
            None => head.is_truncated,
        }
    }

    /// The addresses of the name, or of the name that it is an alias for.
    fn records(&self, answers: &[Record]) -> Records {
        let mut owner = &self.name;
        let mut ttl = i32::MAX as u32;
        for _ in 0..ALIASES_MAX {
            let alias = answers.iter().find_map(|record| match &record.data {
                Data::Alias(alias) if record.owner == *owner => Some((alias, record.ttl)),
                _ => None,
            });
            let Some((alias, lifetime)) = alias else {
                break;
            };
            (owner, ttl) = (alias, ttl.min(lifetime));
        }
        let mut addresses = Vec::new();
        for record in answers.iter().filter(|record| record.owner == *owner) {
            let Data::Address(ip) = record.data else {
                continue;
            };
            if ip.is_ipv4() == (self.kind == RecordType::V4)
                && addresses.len() < super::ADDRESSES_MAX
            {
                addresses.push(ip);
                ttl = ttl.min(record.ttl);
            }
        }
        Records {
            addresses,
            ttl: Duration::from_secs(ttl.into()),
        }
    }
}

const NO_ERROR: u8 = 0;
const NO_SUCH_NAME: u8 = 3;

/// From the crypto provider of TLS.
static RANDOM: LazyLock<&'static dyn SecureRandom> =
    LazyLock::new(|| aws_lc_rs::default_provider().secure_random);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fuzzing;
    use super::*;

    fn question() -> Question {
        Question::new("www.example", RecordType::V4).unwrap()
    }

    /// A reply to `question`: its own question, and records as bytes.
    fn reply(question: &Question, code: u8, records: &[Vec<u8>]) -> Vec<u8> {
        let mut reply = question.bytes().to_vec();
        (reply[2], reply[3]) = (0x81, 0x80 | code);
        reply[7] = records.len() as u8;
        reply.extend(records.concat());
        reply
    }

    fn record(owner: &str, kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
        let mut record = Name::of(owner).unwrap().bytes().to_vec();
        record.extend(kind.to_be_bytes());
        record.extend([0, 1]);
        record.extend(ttl.to_be_bytes());
        record.extend((data.len() as u16).to_be_bytes());
        record.extend(data);
        record
    }

    fn a(owner: &str, last: u8, ttl: u32) -> Vec<u8> {
        record(owner, 1, ttl, &[192, 0, 2, last])
    }

    fn cname(owner: &str, target: &str, ttl: u32) -> Vec<u8> {
        record(owner, 5, ttl, Name::of(target).unwrap().bytes())
    }

    fn addresses(reply: Result<Reply, Failure>) -> Vec<String> {
        match reply {
            Ok(Reply::Answer(records)) => {
                records.addresses.iter().map(ToString::to_string).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_a_reply_with_the_id_and_the_question_counts() {
        let question = question();
        let good = reply(&question, 0, &[a("WWW.example", 1, 60)]);
        assert_eq!(addresses(question.read(&good)), ["192.0.2.1"]);
        let with = |at: usize, byte: u8| {
            let mut changed = good.clone();
            changed[at] ^= byte;
            question.read(&changed)
        };
        assert_eq!(with(0, 1), Ok(Reply::Other), "another number");
        assert_eq!(with(2, 0x80), Ok(Reply::Other), "a question");
        assert_eq!(with(13, 1), Ok(Reply::Other), "another name");
        assert_eq!(
            addresses(with(13, 0x20)),
            ["192.0.2.1"],
            "the same name in capitals"
        );
        let kind = question.bytes().len() - 3;
        assert_eq!(with(kind, 28 ^ 1), Ok(Reply::Other), "another type");
        assert_eq!(with(kind + 2, 2), Ok(Reply::Other), "another class");
    }

    #[test]
    fn an_address_of_another_name_is_left_out_and_aliases_are_followed() {
        let question = question();
        let records = [
            a("evil.example", 9, 60),
            a("end.example", 1, 60),
            cname("mid.example", "end.example", 7),
            cname("www.example", "mid.example", 60),
        ];
        let Ok(Reply::Answer(records)) = question.read(&reply(&question, 0, &records)) else {
            panic!()
        };
        assert_eq!(
            records,
            Records {
                addresses: vec!["192.0.2.1".parse().unwrap()],
                ttl: Duration::from_secs(7)
            }
        );
    }

    #[test]
    fn an_alias_that_leads_in_a_circle_ends() {
        let question = question();
        let circle = [
            cname("www.example", "b.example", 60),
            cname("b.example", "www.example", 60),
        ];
        assert!(addresses(question.read(&reply(&question, 0, &circle))).is_empty());
    }

    #[test]
    fn response_codes_are_distinguished() {
        let question = question();
        let read_code = |code| question.read(&reply(&question, code, &[]));
        assert_eq!(read_code(3), Err(Failure::NotFound));
        for code in [1, 2, 4, 5, 15] {
            assert!(matches!(read_code(code), Err(Failure::Server(_))), "{code}");
        }
        assert!(matches!(read_code(0), Ok(Reply::Answer(records)) if records.addresses.is_empty()));
        let mut lame = reply(&question, 0, &[]);
        lame[3] = 0;
        assert!(
            matches!(question.read(&lame), Err(Failure::Server(_))),
            "no authority, and no recursion"
        );
        let mut cut = reply(&question, 0, &[]);
        cut[2] |= 2;
        assert_eq!(question.read(&cut[..12]), Ok(Reply::Truncated));
        let short = reply(&question, 0, &[a("www.example", 1, 60)]);
        assert!(matches!(
            question.read(&short[..short.len() - 1]),
            Err(Failure::Server(_))
        ));
    }

    #[test]
    fn a_reply_to_another_question_is_ignored_even_if_it_is_cut_or_unreadable() {
        let question = question();
        let mut cut = reply(&question, 0, &[]);
        (cut[2], cut[13]) = (0x83, b'x');
        assert_eq!(question.read(&cut), Ok(Reply::Other), "truncated");
        let mut unreadable = reply(&question, 0, &[vec![0xff]]);
        unreadable[13] = b'x';
        assert_eq!(
            question.read(&unreadable),
            Ok(Reply::Other),
            "a record that cannot be read"
        );
        assert_eq!(
            question.read(&unreadable[..20]),
            Ok(Reply::Other),
            "a question that cannot be read"
        );
        let mut update = reply(&question, 0, &[a("www.example", 1, 60)]);
        update[2] |= 5 << 3;
        assert_eq!(
            question.read(&update),
            Ok(Reply::Other),
            "a reply to another operation"
        );
    }

    #[test]
    fn one_invalid_lifetime_makes_the_whole_answer_short_lived() {
        let question = question();
        let records = [
            cname("www.example", "end.example", u32::MAX),
            a("end.example", 1, 60),
        ];
        let Ok(Reply::Answer(records)) = question.read(&reply(&question, 0, &records)) else {
            panic!()
        };
        assert_eq!(records.ttl, Duration::ZERO);
    }

    #[test]
    fn ids_of_questions_differ() {
        let numbers: std::collections::HashSet<_> = (0..64).map(|_| question().id).collect();
        assert!(numbers.len() > 32);
    }

    proptest! {
        #[test]
        fn no_reply_makes_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..600), matching: bool) {
            let question = question();
            if let (true, [high, low, flags, ..]) = (matching, bytes.as_mut_slice()) {
                [*high, *low] = question.id.to_be_bytes();
                *flags = 0x80;
            }
            let _ = question.read(&bytes);
            fuzzing::dns_reply(&[&[2][..], &bytes].concat());
        }

        #[test]
        fn no_change_of_a_good_reply_makes_it_panic(at: proptest::sample::Index, with: u8, cut: proptest::sample::Index) {
            let question = question();
            let mut bytes = reply(&question, 0, &[cname("www.example", "b.example", 60), a("b.example", 1, 60)]);
            let at = at.index(bytes.len());
            bytes[at] = with;
            let _ = question.read(&bytes);
            let cut = &bytes[..cut.index(bytes.len())];
            let _ = question.read(cut);
            for reply in [&bytes, cut] {
                fuzzing::dns_reply(&[&[2][..], reply].concat());
            }
        }
    }
}
