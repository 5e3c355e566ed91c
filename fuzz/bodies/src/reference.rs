//! Reference: a second, short and slow implementation of RFC 9112 section 6.3 and section 7.1,
//! which shares no code with `byway-h1`.
//!
//! In:    fields as another parser read them; whole buffers.
//! Out:   the framing that the RFC permits.
//! Never: is faster or stricter than the text of the RFC requires.

/// Where a body ends, in the terms of RFC 9112 section 6.3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ends {
    /// There is no body.
    None,
    /// After this number of bytes.
    After(u128),
    /// By the chunked coding only.
    Chunked,
    /// With the connection.
    WithConnection,
}

/// The result of the RFC for a message's fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is one reading.
    Ends(Ends),
    /// The RFC lets a lenient recipient continue, but permits a refusal.
    MayBe(Ends),
    /// It must be refused, or a recipient that supports only `chunked` cannot read it.
    Refuse,
}

/// The context of a response; a request has none.
#[derive(Clone, Copy)]
pub struct Answers<'a> {
    /// The status of the response.
    pub status: u16,
    /// The method of its request.
    pub method: &'a [u8],
}

/// Section 6.3, in the order of its list. `answers` is `None` for a request.
pub fn body_of<'a>(
    minor: u8,
    fields: impl Iterator<Item = (&'a str, &'a [u8])> + Clone,
    answers: Option<Answers<'_>>,
) -> Verdict {
    let named = |name: &'static str| {
        fields
            .clone()
            .filter(move |(given, _)| given.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    };
    // 1 and 2: regardless of the fields.
    if let Some(Answers { status, method }) = answers
        && (method == b"HEAD" || status / 100 == 1 || status == 204 || status == 304)
    {
        return Verdict::MayBe(Ends::None);
    }
    if let Some(Answers {
        status: 200..=299,
        method: b"CONNECT",
    }) = answers
    {
        return Verdict::MayBe(Ends::None);
    }
    let codings: Vec<Vec<u8>> = elements(named("transfer-encoding"));
    let has_coding = named("transfer-encoding").next().is_some();
    let lengths: Vec<Vec<u8>> = elements(named("content-length"));
    let has_length = named("content-length").next().is_some();
    if has_coding {
        // 3: possible smuggling, and 6.1: a 1.0 message with Transfer-Encoding has faulty framing.
        if has_length || minor == 0 {
            return Verdict::Refuse;
        }
        // 4: only chunked, and last, or a coding that cannot be read here.
        let chunked = |coding: &Vec<u8>| coding.eq_ignore_ascii_case(b"chunked");
        return match (codings.len(), codings.iter().all(chunked)) {
            (1, true) => Verdict::Ends(Ends::Chunked),
            _ => Verdict::Refuse,
        };
    }
    if has_length {
        // 5: one number, or the same number several times.
        let Some(first) = lengths.first() else {
            return Verdict::Refuse;
        };
        if lengths.iter().any(|length| length != first) {
            return Verdict::Refuse;
        }
        let Some(number) = decimal(first) else {
            return Verdict::Refuse;
        };
        let honest = lengths.len() == 1 && named("content-length").count() == 1;
        let ends = Ends::After(number);
        return if honest {
            Verdict::Ends(ends)
        } else {
            Verdict::MayBe(ends)
        };
    }
    // 7 and 8.
    Verdict::Ends(if answers.is_some() {
        Ends::WithConnection
    } else {
        Ends::None
    })
}

/// The elements of a list over several lines, without surrounding white space; empty ones stay.
fn elements<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    lines
        .flat_map(|line| line.split(|byte| *byte == b','))
        .map(|one| trimmed(one).to_vec())
        .collect()
}

fn trimmed(mut bytes: &[u8]) -> &[u8] {
    while let Some((b' ' | b'\t', rest)) = bytes.split_first() {
        bytes = rest;
    }
    while let Some((b' ' | b'\t', rest)) = bytes.split_last() {
        bytes = rest;
    }
    bytes
}

fn decimal(digits: &[u8]) -> Option<u128> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let start = digits
        .iter()
        .position(|digit| *digit != b'0')
        .unwrap_or(digits.len());
    let digits = &digits[start..];
    if digits.len() > 30 {
        return Some(u128::MAX);
    }
    Some(
        digits
            .iter()
            .fold(0, |sum, digit| sum * 10 + u128::from(digit - b'0')),
    )
}

/// Section 7.1 over a whole buffer: the data, and the length of the body with its trailers; `None`
/// if it is incomplete or invalid.
pub fn chunked_body(mut bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let whole = bytes.len();
    let mut data = Vec::new();
    loop {
        let (line, rest) = line(bytes)?;
        let digits = line
            .iter()
            .take_while(|byte| byte.is_ascii_hexdigit())
            .count();
        let size = usize::from_str_radix(std::str::from_utf8(&line[..digits]).ok()?, 16).ok()?;
        let behind = trimmed(&line[digits..]);
        if !(behind.is_empty() || behind.starts_with(b";")) {
            return None;
        }
        bytes = rest;
        if size == 0 {
            break;
        }
        data.extend_from_slice(bytes.get(..size)?);
        bytes = bytes.get(size..)?.strip_prefix(b"\r\n")?;
    }
    loop {
        let (line, rest) = line(bytes)?;
        bytes = rest;
        if line.is_empty() {
            return Some((data, whole - bytes.len()));
        }
        if !line.contains(&b':') {
            return None;
        }
    }
}

/// A line that ends with CRLF and contains neither CR nor LF, and the rest.
fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let lf = bytes.iter().position(|byte| *byte == b'\n')?;
    let line = bytes[..lf].strip_suffix(b"\r")?;
    (!line.contains(&b'\r')).then_some((line, &bytes[lf + 1..]))
}
