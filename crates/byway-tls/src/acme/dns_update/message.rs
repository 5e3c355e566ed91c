//! Message: the few DNS messages that an update needs (RFC 1035, RFC 2136).

use super::UpdateError;
use crate::acme::dns::Change;

const SOA: u16 = 6;
const TXT: u16 = 16;
const CLASS_IN: u16 = 1;
const CLASS_NONE: u16 = 254;
const OPCODE_UPDATE: u16 = 5 << 11;

/// Seconds that resolvers may keep the record.
const TTL: u32 = 60;

/// The most records that are read of an answer.
const MOST_RECORDS: usize = 64;

/// The bytes of a name: labels with their lengths, in lower case.
pub(super) fn name(text: &str) -> Result<Vec<u8>, UpdateError> {
    let mut bytes = Vec::new();
    let text = text.strip_suffix('.').unwrap_or(text);
    for label in text.split('.') {
        let length = u8::try_from(label.len())
            .ok()
            .filter(|length| (1..=63).contains(length));
        bytes.push(length.ok_or_else(|| UpdateError::Name(text.to_owned()))?);
        bytes.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
    }
    bytes.push(0);
    match bytes.len() {
        ..=255 => Ok(bytes),
        _ => Err(UpdateError::Name(text.to_owned())),
    }
}

/// A header with these counts, one a section.
fn header(id: u16, flags: u16, counts: [u16; 4]) -> Vec<u8> {
    let [a, b, c, d] = counts;
    [id, flags, a, b, c, d]
        .iter()
        .flat_map(|word| word.to_be_bytes())
        .collect()
}

/// The question for the SOA record of a name.
pub(super) fn soa_question(id: u16, of: &str) -> Result<Vec<u8>, UpdateError> {
    let mut message = header(id, 0, [1, 0, 0, 0]);
    message.extend(name(of)?);
    message.extend([SOA, CLASS_IN].iter().flat_map(|word| word.to_be_bytes()));
    Ok(message)
}

/// An update that adds or removes one TXT record.
pub(super) fn update(
    id: u16,
    zone: &str,
    change: Change,
    record: &str,
    value: &str,
) -> Result<Vec<u8>, UpdateError> {
    let mut message = header(id, OPCODE_UPDATE, [1, 0, 1, 0]);
    message.extend(name(zone)?);
    message.extend([SOA, CLASS_IN].iter().flat_map(|word| word.to_be_bytes()));
    let (class, ttl) = match change {
        Change::Add => (CLASS_IN, TTL),
        Change::Remove => (CLASS_NONE, 0),
    };
    let length = u8::try_from(value.len()).map_err(|_| UpdateError::Malformed)?;
    message.extend(name(record)?);
    message.extend([TXT, class].iter().flat_map(|word| word.to_be_bytes()));
    message.extend(ttl.to_be_bytes());
    message.extend((u16::from(length) + 1).to_be_bytes());
    message.push(length);
    message.extend(value.as_bytes());
    Ok(message)
}

/// The response code.
pub(super) fn code_of(message: &[u8]) -> Result<u16, UpdateError> {
    let byte = message.get(3).ok_or(UpdateError::Malformed)?;
    Ok(u16::from(byte & 0x0f))
}

/// The owner of the SOA record in the answer or authority section.
pub(super) fn zone_of(message: &[u8]) -> Result<Option<String>, UpdateError> {
    for record in records(message)? {
        if record.kind == SOA {
            return read_name(message, record.start).map(|(name, _)| Some(name));
        }
    }
    Ok(None)
}

/// A record of a message: where it starts, where its data is.
pub(super) struct Record {
    pub(super) start: usize,
    pub(super) kind: u16,
    pub(super) data: std::ops::Range<usize>,
}

/// The records behind the questions.
pub(super) fn records(message: &[u8]) -> Result<Vec<Record>, UpdateError> {
    let word = |at: usize| read_u16(message, at);
    let questions = word(4)?;
    let count = usize::from(word(6)?) + usize::from(word(8)?) + usize::from(word(10)?);
    if questions > 1 || count > MOST_RECORDS {
        return Err(UpdateError::Malformed);
    }
    let mut at = 12;
    for _ in 0..questions {
        at = read_name(message, at)?.1 + 4;
    }
    let mut records = Vec::new();
    for _ in 0..count {
        let start = at;
        let (_, end) = read_name(message, at)?;
        let kind = word(end)?;
        let length = usize::from(word(end + 8)?);
        let data = end + 10..end + 10 + length;
        if data.end > message.len() {
            return Err(UpdateError::Malformed);
        }
        at = data.end;
        records.push(Record { start, kind, data });
    }
    Ok(records)
}

pub(super) fn read_u16(message: &[u8], at: usize) -> Result<u16, UpdateError> {
    let bytes = message
        .get(at..at + 2)
        .and_then(|bytes| bytes.try_into().ok());
    bytes.map(u16::from_be_bytes).ok_or(UpdateError::Malformed)
}

/// A name and where it ends. Pointers lead backwards only, so this ends.
pub(super) fn read_name(message: &[u8], start: usize) -> Result<(String, usize), UpdateError> {
    let mut name = String::new();
    let (mut at, mut end, mut before) = (start, None, start);
    loop {
        let length = *message.get(at).ok_or(UpdateError::Malformed)?;
        match length {
            0 => return Ok((name, end.unwrap_or(at + 1))),
            1..=63 => {
                let label = at + 1..at + 1 + usize::from(length);
                let label = message.get(label).ok_or(UpdateError::Malformed)?;
                if !name.is_empty() {
                    name.push('.');
                }
                name.extend(
                    label
                        .iter()
                        .map(|byte| char::from(byte.to_ascii_lowercase())),
                );
                at += 1 + usize::from(length);
                if name.len() > 1024 {
                    return Err(UpdateError::Malformed);
                }
            }
            192.. => {
                let target = usize::from(read_u16(message, at)? & 0x3fff);
                if target >= before {
                    return Err(UpdateError::Malformed);
                }
                end = end.or(Some(at + 2));
                (at, before) = (target, target);
            }
            _ => return Err(UpdateError::Malformed),
        }
    }
}

/// The name of a response code (RFC 2136 section 2.2, RFC 8945 section 5.4).
pub(super) fn code_name(code: u16) -> String {
    let name = match code {
        1 => "FORMERR",
        2 => "SERVFAIL",
        3 => "NXDOMAIN",
        4 => "NOTIMP",
        5 => "REFUSED",
        9 => "NOTAUTH (not this server's zone, or not this key's)",
        10 => "NOTZONE",
        16 => "BADSIG: the secret or the algorithm is another one",
        17 => "BADKEY: the server has no such key",
        18 => "BADTIME: the clocks differ",
        _ => return format!("code {code}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_update_is_laid_out_as_rfc_2136_has_it() {
        let message = update(0x1234, "b.c", Change::Add, "_a.b.c", "xy").unwrap();
        let expected = [
            &[0x12, 0x34, 0x28, 0, 0, 1, 0, 0, 0, 1, 0, 0][..],
            &[1, b'b', 1, b'c', 0, 0, 6, 0, 1],
            &[
                2, b'_', b'a', 1, b'b', 1, b'c', 0, 0, 16, 0, 1, 0, 0, 0, 60, 0, 3, 2, b'x', b'y',
            ],
        ]
        .concat();
        assert_eq!(message, expected);
        let remove = update(0x1234, "b.c", Change::Remove, "_a.b.c", "xy").unwrap();
        assert_eq!(
            remove[expected.len() - 11..expected.len() - 5],
            [0, 254, 0, 0, 0, 0]
        );
    }

    #[test]
    fn the_zone_is_the_owner_of_the_soa_record_even_behind_a_pointer() {
        let mut message = soa_question(1, "_acme-challenge.a.example.com").unwrap();
        message[9] = 1; // one record in the authority section
        let pointer = 12 + "_acme-challenge".len() as u8 + 1 + 2;
        message.extend([0xc0, pointer, 0, 6, 0, 1, 0, 0, 0, 60, 0, 0]);
        assert_eq!(zone_of(&message).unwrap().unwrap(), "example.com");
    }

    #[test]
    fn a_pointer_to_itself_is_malformed() {
        let mut message = header(1, 0, [0, 1, 0, 0]);
        message.extend([0xc0, 12, 0, 6, 0, 1, 0, 0, 0, 60, 0, 0]);
        assert!(matches!(zone_of(&message), Err(UpdateError::Malformed)));
    }

    #[test]
    fn a_name_with_an_empty_or_long_label_is_refused() {
        for text in ["a..b", ".a", "", &"a".repeat(64), &"abcdefg.".repeat(40)] {
            assert!(name(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_of_a_server_makes_the_reader_panic(
            message in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = zone_of(&message);
            let _ = code_of(&message);
        }
    }
}
