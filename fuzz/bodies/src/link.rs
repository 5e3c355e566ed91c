//! Link: invariants for every input from the peer of a link, and for every text as a join string.
//!
//! In:    any bytes.
//! Out:   nothing, or a panic for each violation.
//! Never: needs a socket or a clock.

use std::fmt::Debug;

use byway_link::wire::{
    Answer, BadMessage, ControlMessage, LENGTH_BYTES, MOST_MESSAGE_BYTES, Open, decode, encode,
};
use byway_link::{Fingerprint, GrantId, GrantSecret, JoinString};
use prost::Message;

/// Messages are decoded at every split; longer inputs only make this slow.
const LONGEST: usize = 1024;

/// A mux that receives arbitrary frames from a peer, while streams are opened, used and dropped:
/// nothing panics, no limit is exceeded, its own output follows the protocol, and no stream is left
/// at the end.
///
/// # Panics
/// If an invariant does not hold.
pub fn mux(data: &[u8]) {
    byway_link::fuzzing::mux(data);
}

/// Messages of every kind: the result does not depend on how the bytes are split, bytes after a
/// message do not change it, and a decoded message is written and decoded again to the same.
///
/// # Panics
/// If an invariant does not hold.
pub fn messages(data: &[u8]) {
    let data = data.get(..LONGEST).unwrap_or(data);
    check::<ControlMessage>(data);
    check::<Open>(data);
    check::<Answer>(data);
}

fn check<M: Message + Default + PartialEq + Debug>(data: &[u8]) {
    let whole = decode::<M>(data);
    for length in 0..data.len() {
        let part = decode::<M>(data.get(..length).unwrap_or_default());
        assert!(
            part == Ok(None) || part == whole,
            "split at {length}: {part:?}, but unsplit {whole:?}"
        );
    }
    match whole {
        Ok(Some((message, length))) => {
            assert!(length <= data.len(), "more bytes than the input");
            comes_back(&message, length);
        }
        Ok(None) => {
            let announced = data
                .first_chunk()
                .map_or(0, |length| u32::from_be_bytes(*length) as usize);
            assert!(
                data.len() < LENGTH_BYTES + announced && announced <= MOST_MESSAGE_BYTES,
                "it waits although all bytes are there"
            );
        }
        Err(bad) => {
            let early = data.get(..LENGTH_BYTES).map(decode::<M>);
            assert!(
                !matches!(bad, BadMessage::TooLong { .. }) || early == Some(Err(bad)),
                "the length was not refused at once"
            );
        }
    }
}

fn comes_back<M: Message + Default + PartialEq + Debug>(message: &M, length: usize) {
    let mut written = Vec::new();
    encode(message, &mut written);
    assert!(
        written.len() <= length,
        "{message:?} grew from {length} bytes to {}",
        written.len()
    );
    let back = decode::<M>(&written);
    let same = matches!(&back, Ok(Some((again, n))) if again == message && *n == written.len());
    assert!(
        same,
        "{message:?} was written as {written:?} and read back as {back:?}"
    );
}

/// A join string: a parsed one is printed and parsed again to the same, hides its secret, and no
/// error repeats the input. The same bytes are also used to build a join string, since a fuzzer
/// cannot guess a checksum.
///
/// # Panics
/// If an invariant does not hold.
pub fn join(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return made_of(data);
    };
    match text.parse::<JoinString>() {
        Ok(join) => shows_itself(&join),
        Err(bad) => {
            let control = bad.to_string();
            let pasted = text
                .trim()
                .split(['.', '@'])
                .filter(|part| part.len() >= 12 && !part.contains(' '));
            assert!(
                pasted.into_iter().all(|part| !control.contains(part)),
                "{control:?} repeats the input"
            );
        }
    }
    if let Ok(id) = text.parse::<GrantId>() {
        assert_eq!(
            id.to_string().parse(),
            Ok(id),
            "the id of a grant reads back as another"
        );
    }
    if let Some(fingerprint) = Fingerprint::from_hex(text) {
        assert_eq!(
            Fingerprint::from_hex(&fingerprint.to_string()),
            Some(fingerprint)
        );
    }
    made_of(data);
}

/// Pin, id, secret, and the rest as the address.
fn made_of(data: &[u8]) {
    let Some((pin, rest)) = data.split_first_chunk::<32>() else {
        return;
    };
    let Some((id, rest)) = rest.split_first_chunk::<6>() else {
        return;
    };
    let Some((secret, rest)) = rest.split_first_chunk::<24>() else {
        return;
    };
    let Ok(address) = std::str::from_utf8(rest).map(str::parse) else {
        return;
    };
    let Ok(address) = address else { return };
    if matches!(address, byway_dial::Target::Unix(_)) {
        return;
    }
    let (pin, id) = (Fingerprint::from_bytes(*pin), GrantId::from_bytes(*id));
    shows_itself(&JoinString {
        pin,
        id,
        secret: GrantSecret::from_bytes(*secret),
        address,
    });
}

fn shows_itself(join: &JoinString) {
    let text = join.expose();
    assert_eq!(
        text.parse().as_ref(),
        Ok(join),
        "{join} reads back as another"
    );
    let encoded = text.split(['.', '@']).nth(1).unwrap_or_default();
    let shown = format!("{join} {join:?}");
    assert!(
        encoded.len() > 80 && !shown.contains(encoded),
        "it shows its secret"
    );
    for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
        let cut = text.get(..end).unwrap_or_default().parse::<JoinString>();
        assert!(cut.is_err(), "{join} cut at {end} is accepted");
    }
}
