//! Static table: the fields that both sides know (RFC 7541 appendix A).

/// A field that is the same for all connections.
#[derive(Clone, Copy)]
pub(super) struct StaticField {
    /// `name: value CRLF`.
    pub(super) line: &'static [u8],
    pub(super) name_len: usize,
}

impl StaticField {
    pub(super) const fn name(self) -> &'static [u8] {
        self.line.split_at(self.name_len).0
    }

    pub(super) fn value_len(self) -> usize {
        self.line.len() - self.name_len - b": \r\n".len()
    }
}

/// Indexes of entries, which begin at 1.
pub(super) mod index {
    pub(in super::super) const AUTHORITY: u64 = 1;
    pub(in super::super) const METHOD_GET: u64 = 2;
    pub(in super::super) const METHOD_POST: u64 = 3;
    pub(in super::super) const PATH_ROOT: u64 = 4;
    pub(in super::super) const SCHEME_HTTP: u64 = 6;
    pub(in super::super) const SCHEME_HTTPS: u64 = 7;
    pub(in super::super) const STATUS_200: u64 = 8;
    pub(in super::super) const ACCEPT_ENCODING: u64 = 16;
}

macro_rules! fields {
    ($($name:literal $value:literal)*) => {
        [$(StaticField {
            line: concat!($name, ": ", $value, "\r\n").as_bytes(),
            name_len: $name.len(),
        }),*]
    };
}

/// The entries; the first has index 1.
#[rustfmt::skip]
pub(super) const STATIC: &[StaticField; 61] = &fields! {
    ":authority" ""
    ":method" "GET"
    ":method" "POST"
    ":path" "/"
    ":path" "/index.html"
    ":scheme" "http"
    ":scheme" "https"
    ":status" "200"
    ":status" "204"
    ":status" "206"
    ":status" "304"
    ":status" "400"
    ":status" "404"
    ":status" "500"
    "accept-charset" ""
    "accept-encoding" "gzip, deflate"
    "accept-language" ""
    "accept-ranges" ""
    "accept" ""
    "access-control-allow-origin" ""
    "age" ""
    "allow" ""
    "authorization" ""
    "cache-control" ""
    "content-disposition" ""
    "content-encoding" ""
    "content-language" ""
    "content-length" ""
    "content-location" ""
    "content-range" ""
    "content-type" ""
    "cookie" ""
    "date" ""
    "etag" ""
    "expect" ""
    "expires" ""
    "from" ""
    "host" ""
    "if-match" ""
    "if-modified-since" ""
    "if-none-match" ""
    "if-range" ""
    "if-unmodified-since" ""
    "last-modified" ""
    "link" ""
    "location" ""
    "max-forwards" ""
    "proxy-authenticate" ""
    "proxy-authorization" ""
    "range" ""
    "referer" ""
    "refresh" ""
    "retry-after" ""
    "server" ""
    "set-cookie" ""
    "strict-transport-security" ""
    "transfer-encoding" ""
    "user-agent" ""
    "vary" ""
    "via" ""
    "www-authenticate" ""
};

/// The index of a field name in lower case, without pseudo-headers.
pub(super) fn index_of(name: &[u8]) -> Option<u64> {
    // The length and one byte tell all names apart; one comparison confirms the name.
    let index = match name.len() {
        3 => match name[0] {
            b'a' => 21,
            b'v' => 60,
            _ => return None,
        },
        4 => match name[0] {
            b'd' => 33,
            b'e' => 34,
            b'f' => 37,
            b'h' => 38,
            b'l' => 45,
            b'v' => 59,
            _ => return None,
        },
        5 => match name[0] {
            b'a' => 22,
            b'r' => 50,
            _ => return None,
        },
        6 => match name[0] {
            b'a' => 19,
            b'c' => 32,
            b'e' => 35,
            b's' => 54,
            _ => return None,
        },
        7 => match name[3] {
            b'e' => 51,
            b'i' => 36,
            b'r' => 52,
            _ => return None,
        },
        8 => match name[3] {
            b'a' => 46,
            b'm' => 39,
            b'r' => 42,
            _ => return None,
        },
        10 => match name[0] {
            b's' => 55,
            b'u' => 58,
            _ => return None,
        },
        11 => 53,
        12 => match name[0] {
            b'c' => 31,
            b'm' => 47,
            _ => return None,
        },
        13 => match name[6] {
            b'-' => 18,
            b'c' => 24,
            b'e' => 41,
            b'i' => 23,
            b'o' => 44,
            b't' => 30,
            _ => return None,
        },
        14 => match name[0] {
            b'a' => 15,
            b'c' => 28,
            _ => return None,
        },
        15 => match name[7] {
            b'e' => 16,
            b'l' => 17,
            _ => return None,
        },
        16 => match name[11] {
            b'a' => 29,
            b'g' => 27,
            b'i' => 61,
            b'o' => 26,
            _ => return None,
        },
        17 => match name[0] {
            b'i' => 40,
            b't' => 57,
            _ => return None,
        },
        18 => 48,
        19 => match name[0] {
            b'c' => 25,
            b'i' => 43,
            b'p' => 49,
            _ => return None,
        },
        25 => 56,
        27 => 20,
        _ => return None,
    };
    let known = STATIC[index as usize - 1];
    (name == known.name()).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_each_field_is_found_at_its_first_entry() {
        for field in STATIC.iter().filter(|field| field.line[0] != b':') {
            let first = STATIC.iter().position(|other| other.name() == field.name());
            assert_eq!(index_of(field.name()), first.map(|at| at as u64 + 1));
            let mut other = field.name().to_vec();
            *other.last_mut().unwrap() ^= 1;
            assert_eq!(index_of(&other), None);
        }
        for len in 0..40 {
            assert_eq!(index_of(&vec![b'z'; len]), None);
        }
    }
}
