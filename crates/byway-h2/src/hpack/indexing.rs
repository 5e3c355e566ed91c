//! Indexing: which fields an encoder adds to its table.

use byway_head::is_secret;

use super::static_table::STATIC;

/// What becomes of a field in the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Indexing {
    /// It is added to the table.
    Added,
    /// It is not added, since its value rarely repeats.
    Without,
    /// It is a secret, and no later hop may add it either.
    Never,
}

/// Fields of the static table whose values rarely repeat.
const CHANGING: [&[u8]; 16] = [
    b"age",
    b"content-length",
    b"content-location",
    b"content-range",
    b"cookie",
    b"etag",
    b"expires",
    b"if-match",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"if-unmodified-since",
    b"last-modified",
    b"location",
    b"range",
    b"referer",
];

/// Fields of the static table that may be secrets.
const SECRET: [&[u8]; 4] = [
    b"authorization",
    b"cookie",
    b"proxy-authorization",
    b"set-cookie",
];

/// Fields by their index in the static table, as bits.
const CHANGING_INDEXES: u64 = indexes(&CHANGING);
const SECRET_INDEXES: u64 = indexes(&SECRET);

impl Indexing {
    /// Decides about a field. The name is in lower case; `known` is its index in the static table.
    pub(super) fn of(known: Option<u64>, name: &[u8], value: &[u8]) -> Self {
        let (may_be_secret, is_changing) = match known {
            Some(index) => (
                SECRET_INDEXES >> index & 1 == 1,
                CHANGING_INDEXES >> index & 1 == 1,
            ),
            None => (true, is_changing(name)),
        };
        match is_changing {
            _ if may_be_secret && is_secret(name, value) => Self::Never,
            true => Self::Without,
            false => Self::Added,
        }
    }
}

/// Whether the values of a field outside of the static table rarely repeat.
fn is_changing(name: &[u8]) -> bool {
    matches!(
        name,
        b"content-digest"
            | b"forwarded"
            | b"grpc-timeout"
            | b"idempotency-key"
            | b"repr-digest"
            | b"server-timing"
            | b"traceparent"
            | b"tracestate"
            | b"x-forwarded-for"
            | b"x-real-ip"
            | b"x-request-id"
    )
}

/// A bit for each index whose name is one of these.
const fn indexes(names: &[&[u8]]) -> u64 {
    let (mut bits, mut n) = (0, 0);
    while n < names.len() {
        let mut place = 0;
        while place < STATIC.len() {
            if is_equal(STATIC[place].name(), names[n]) {
                bits |= 1 << (place + 1);
            }
            place += 1;
        }
        n += 1;
    }
    bits
}

const fn is_equal(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hpack::static_table::index_of;

    #[test]
    fn each_listed_name_is_in_the_static_table() {
        assert_eq!(CHANGING_INDEXES.count_ones() as usize, CHANGING.len());
        assert_eq!(SECRET_INDEXES.count_ones() as usize, SECRET.len());
        for name in CHANGING {
            let long = [b'v'; 30];
            assert_eq!(Indexing::of(index_of(name), name, &long), Indexing::Without);
        }
    }

    #[test]
    fn a_field_of_the_static_table_is_a_secret_exactly_if_its_name_says_so() {
        for field in &STATIC[14..] {
            let name = field.name();
            let never = Indexing::of(index_of(name), name, b"v") == Indexing::Never;
            assert_eq!(never, is_secret(name, b"v"), "{}", name.escape_ascii());
        }
    }
}
