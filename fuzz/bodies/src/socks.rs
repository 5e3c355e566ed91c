//! SOCKS body: passes the same bytes to every parser of the SOCKS codec.
//!
//! In:    any bytes.
//! Out:   nothing, or a panic with the parser's name.
//! Never: needs a socket.

use std::fmt::Debug;

use byway_dial::socks::{
    Greeting, Login, LoginStatus, MethodChoice, Parsed, Reply, Reply4, Request, Request4,
    SocksError,
};

/// No message is longer, so no parser may require more bytes.
const LONGEST: usize = 1024;

/// Runs all parsers: the result must not depend on how the bytes are split, no parser may wait
/// indefinitely, bytes after a message must not change it, and an encoded message must parse back
/// to itself.
///
/// # Panics
/// If an invariant does not hold.
pub fn socks(data: &[u8]) {
    let data = data.get(..LONGEST).unwrap_or(data);
    check(data, Greeting::parse, Greeting::encode);
    check(data, MethodChoice::parse, |choice, out| choice.encode(out));
    check(data, Login::parse, Login::encode);
    check(data, LoginStatus::parse, |status, out| status.encode(out));
    check(data, Request::parse, Request::encode);
    check(data, Reply::parse, Reply::encode);
    check(data, Request4::parse, Request4::encode);
    check(data, Reply4::parse, Reply4::encode);
}

fn check<T: Debug + PartialEq>(
    data: &[u8],
    parse: fn(&[u8]) -> Parsed<T>,
    encode: fn(&T, &mut Vec<u8>),
) {
    let whole = parse(data);
    for len in 0..data.len() {
        let part = parse(data.get(..len).unwrap_or_default());
        assert!(
            part == Ok(None) || part == whole,
            "split at {len}: {part:?}, but unsplit {whole:?}"
        );
    }
    match whole {
        Ok(Some((message, len))) => comes_back(&message, data.get(..len), parse, encode),
        Ok(None) => assert!(
            data.len() < LONGEST,
            "waits for more than the longest message"
        ),
        Err(error) => is_bounded(&error),
    }
}

fn comes_back<T: Debug + PartialEq>(
    message: &T,
    read: Option<&[u8]>,
    parse: fn(&[u8]) -> Parsed<T>,
    encode: fn(&T, &mut Vec<u8>),
) {
    let read = read.map(parse);
    assert!(
        matches!(&read, Some(Ok(Some((again, _)))) if again == message),
        "bytes after the message change it: {message:?}"
    );
    let mut written = Vec::new();
    encode(message, &mut written);
    let back = parse(&written);
    let same = matches!(&back, Ok(Some((again, len))) if again == message && *len == written.len());
    assert!(
        same,
        "{message:?} was written as {written:?} and read back as {back:?}"
    );
}

/// An error is logged, so it has no control character and at most an escaped name.
fn is_bounded(error: &SocksError) {
    let text = error.to_string();
    assert!(
        text.len() < 2048 && !text.chars().any(char::is_control),
        "{text:?}"
    );
}

#[cfg(test)]
mod tests {
    use super::socks;

    #[test]
    fn every_seed_passes() {
        let seeds = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus/socks");
        let mut count = 0;
        for seed in std::fs::read_dir(seeds).unwrap() {
            socks(&std::fs::read(seed.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count >= 10, "only {count} seeds were found");
    }
}
