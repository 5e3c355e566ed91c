//! Static table: the fields that both sides know (RFC 9204 appendix A).

/// A field that is the same for all connections.
#[derive(Clone, Copy)]
pub(super) struct StaticField {
    /// `name: value CRLF`.
    pub(super) line: &'static [u8],
    pub(super) name_len: usize,
}

impl StaticField {
    pub(super) fn name(self) -> &'static [u8] {
        self.line.split_at(self.name_len).0
    }

    pub(super) fn value_len(self) -> usize {
        self.line.len() - self.name_len - b": \r\n".len()
    }

    fn value(self) -> &'static [u8] {
        self.line
            .split_at(self.name_len + 2)
            .1
            .split_at(self.value_len())
            .0
    }
}

macro_rules! fields {
    ($($name:literal $value:literal)*) => {
        [$(StaticField {
            line: concat!($name, ": ", $value, "\r\n").as_bytes(),
            name_len: $name.len(),
        }),*]
    };
}

/// The entries; the first has index 0.
#[rustfmt::skip]
pub(super) static STATIC: [StaticField; 99] = fields! {
    ":authority" ""
    ":path" "/"
    "age" "0"
    "content-disposition" ""
    "content-length" "0"
    "cookie" ""
    "date" ""
    "etag" ""
    "if-modified-since" ""
    "if-none-match" ""
    "last-modified" ""
    "link" ""
    "location" ""
    "referer" ""
    "set-cookie" ""
    ":method" "CONNECT"
    ":method" "DELETE"
    ":method" "GET"
    ":method" "HEAD"
    ":method" "OPTIONS"
    ":method" "POST"
    ":method" "PUT"
    ":scheme" "http"
    ":scheme" "https"
    ":status" "103"
    ":status" "200"
    ":status" "304"
    ":status" "404"
    ":status" "503"
    "accept" "*/*"
    "accept" "application/dns-message"
    "accept-encoding" "gzip, deflate, br"
    "accept-ranges" "bytes"
    "access-control-allow-headers" "cache-control"
    "access-control-allow-headers" "content-type"
    "access-control-allow-origin" "*"
    "cache-control" "max-age=0"
    "cache-control" "max-age=2592000"
    "cache-control" "max-age=604800"
    "cache-control" "no-cache"
    "cache-control" "no-store"
    "cache-control" "public, max-age=31536000"
    "content-encoding" "br"
    "content-encoding" "gzip"
    "content-type" "application/dns-message"
    "content-type" "application/javascript"
    "content-type" "application/json"
    "content-type" "application/x-www-form-urlencoded"
    "content-type" "image/gif"
    "content-type" "image/jpeg"
    "content-type" "image/png"
    "content-type" "text/css"
    "content-type" "text/html; charset=utf-8"
    "content-type" "text/plain"
    "content-type" "text/plain;charset=utf-8"
    "range" "bytes=0-"
    "strict-transport-security" "max-age=31536000"
    "strict-transport-security" "max-age=31536000; includesubdomains"
    "strict-transport-security" "max-age=31536000; includesubdomains; preload"
    "vary" "accept-encoding"
    "vary" "origin"
    "x-content-type-options" "nosniff"
    "x-xss-protection" "1; mode=block"
    ":status" "100"
    ":status" "204"
    ":status" "206"
    ":status" "302"
    ":status" "400"
    ":status" "403"
    ":status" "421"
    ":status" "425"
    ":status" "500"
    "accept-language" ""
    "access-control-allow-credentials" "FALSE"
    "access-control-allow-credentials" "TRUE"
    "access-control-allow-headers" "*"
    "access-control-allow-methods" "get"
    "access-control-allow-methods" "get, post, options"
    "access-control-allow-methods" "options"
    "access-control-expose-headers" "content-length"
    "access-control-request-headers" "content-type"
    "access-control-request-method" "get"
    "access-control-request-method" "post"
    "alt-svc" "clear"
    "authorization" ""
    "content-security-policy" "script-src 'none'; object-src 'none'; base-uri 'none'"
    "early-data" "1"
    "expect-ct" ""
    "forwarded" ""
    "if-range" ""
    "origin" ""
    "purpose" "prefetch"
    "server" ""
    "timing-allow-origin" "*"
    "upgrade-insecure-requests" "1"
    "user-agent" ""
    "x-forwarded-for" ""
    "x-frame-options" "deny"
    "x-frame-options" "sameorigin"
};

/// What the static table has of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Name and value.
    Field(u64),
    /// The name.
    Name(u64),
    Nothing,
}

/// Looks up a field; the name is in lower case.
pub(super) fn find(name: &[u8], value: &[u8]) -> Known {
    let Some(indexes) = indexes_of(name) else {
        return Known::Nothing;
    };
    let is = |index: &&u8| STATIC[usize::from(**index)].value() == value;
    match (indexes.iter().find(is), indexes) {
        (Some(&index), _) => Known::Field(index.into()),
        (None, [first, ..]) => Known::Name((*first).into()),
        (None, []) => Known::Nothing,
    }
}

/// The indexes of all entries of this name.
fn indexes_of(name: &[u8]) -> Option<&'static [u8]> {
    // The length and one byte tell all names apart; one comparison confirms the name.
    let indexes: &'static [u8] = match name.len() {
        3 => &[2],
        4 => match name[0] {
            b'd' => &[6],
            b'e' => &[7],
            b'l' => &[11],
            b'v' => &[59, 60],
            _ => return None,
        },
        5 => match name[0] {
            b':' => &[1],
            b'r' => &[55],
            _ => return None,
        },
        6 => match name[0] {
            b'a' => &[29, 30],
            b'c' => &[5],
            b'o' => &[90],
            b's' => &[92],
            _ => return None,
        },
        7 => match name[3] {
            b'-' => &[83],
            b'a' => &[24, 25, 26, 27, 28, 63, 64, 65, 66, 67, 68, 69, 70, 71],
            b'e' => &[13],
            b'h' => &[22, 23],
            b'p' => &[91],
            b't' => &[15, 16, 17, 18, 19, 20, 21],
            _ => return None,
        },
        8 => match name[0] {
            b'i' => &[89],
            b'l' => &[12],
            _ => return None,
        },
        9 => match name[0] {
            b'e' => &[87],
            b'f' => &[88],
            _ => return None,
        },
        10 => match name[0] {
            b':' => &[0],
            b'e' => &[86],
            b's' => &[14],
            b'u' => &[95],
            _ => return None,
        },
        12 => &[44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54],
        13 => match name[5] {
            b'-' => &[36, 37, 38, 39, 40, 41],
            b'm' => &[10],
            b'n' => &[9],
            b'r' => &[84],
            b't' => &[32],
            _ => return None,
        },
        14 => &[4],
        15 => match name[7] {
            b'-' => &[97, 98],
            b'e' => &[31],
            b'l' => &[72],
            b'r' => &[96],
            _ => return None,
        },
        16 => match name[0] {
            b'c' => &[42, 43],
            b'x' => &[62],
            _ => return None,
        },
        17 => &[8],
        19 => match name[0] {
            b'c' => &[3],
            b't' => &[93],
            _ => return None,
        },
        22 => &[61],
        23 => &[85],
        25 => match name[0] {
            b's' => &[56, 57, 58],
            b'u' => &[94],
            _ => return None,
        },
        27 => &[35],
        28 => match name[21] {
            b'h' => &[33, 34, 75],
            b'm' => &[76, 77, 78],
            _ => return None,
        },
        29 => match name[15] {
            b'e' => &[79],
            b'r' => &[81, 82],
            _ => return None,
        },
        30 => &[80],
        32 => &[73, 74],
        _ => return None,
    };
    let known = STATIC[usize::from(*indexes.first()?)];
    (name == known.name()).then_some(indexes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_and_each_name_of_the_table_is_found() {
        for (index, field) in STATIC.iter().enumerate() {
            let index = index as u64;
            assert_eq!(find(field.name(), field.value()), Known::Field(index));
            let first = STATIC.iter().position(|other| other.name() == field.name());
            let known = find(field.name(), b"another value");
            assert_eq!(known, Known::Name(first.unwrap() as u64));
            let mut other = field.name().to_vec();
            *other.last_mut().unwrap() ^= 1;
            assert_eq!(find(&other, b""), Known::Nothing);
        }
        for len in 0..40 {
            assert_eq!(find(&vec![b'z'; len], b""), Known::Nothing);
        }
    }
}
