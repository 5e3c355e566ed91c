//! Differential: compares `byway-h1` with another parser (httparse) and with an implementation of
//! the RFC that shares no code.
//!
//! In:    bytes from a fuzzer.
//! Out:   nothing, or a panic for each difference that is not listed here.
//! Never: compares errors by their text. `stricter` lists the stricter checks by variant.

use byway_h1::{BodyDecoder, Parsed, RequestParser, ResponseParser, Step, write};
use byway_head::{Field, Fields, Framed, Limits, Line, Malformed, Version};
use httparse::Status;

use crate::reference::{Answers, Ends, Verdict, body_of, chunked_body};

/// More than the limit of [`Limits::default`], so that the other parser never runs out of space
/// first.
const MOST_FIELDS: usize = 256;

/// A request head: if it is accepted, httparse parses it to the same parts, and the RFC gives it
/// the same framing; a head that only httparse accepts belongs to a listed class.
pub fn request(data: &[u8]) {
    let mut index = RequestParser::default();
    let ours = index.parse(data, &Limits::default());
    let mut room = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut other = httparse::Request::new(&mut room);
    let theirs = other.parse(data);
    match (&ours, theirs) {
        (Ok(Parsed::Complete(len)), Ok(Status::Complete(their_len))) => {
            assert_eq!(*len, their_len, "the heads end at different places");
            let request = index.view(data);
            assert_eq!(Some(request.method()), other.method.map(str::as_bytes));
            assert_eq!(Some(request.target()), other.path.map(str::as_bytes));
            assert_eq!(Some(minor(request.version())), other.version);
            same_fields(request.fields(), other.headers);
            passed_on(request.lines(), other.headers);
            let verdict = body_of(minor(request.version()), pairs(other.headers), None);
            assert_eq!(
                Verdict::Ends(ends(request.framing())),
                verdict,
                "the body ends elsewhere"
            );
        }
        (Ok(Parsed::Complete(_)), theirs) => panic!("accepted by us only: {theirs:?}"),
        (Ok(Parsed::Partial), Ok(Status::Complete(_))) => panic!("complete for httparse only"),
        (Err(error), Ok(Status::Complete(_))) => {
            assert!(
                stricter(error),
                "refused by us only, for an unknown reason: {error:?}"
            );
            let verdict = body_of(
                other.version.unwrap_or_default(),
                pairs(other.headers),
                None,
            );
            named_framing(error, &verdict);
        }
        _ => {}
    }
}

/// A response head, as [`request`]. Its framing is compared for each kind of request.
pub fn response(data: &[u8]) {
    let mut index = ResponseParser::default();
    let ours = index.parse(data, &Limits::default());
    let mut room = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut other = httparse::Response::new(&mut room);
    let theirs = other.parse(data);
    match (&ours, theirs) {
        (Ok(Parsed::Complete(len)), Ok(Status::Complete(their_len))) => {
            assert_eq!(*len, their_len, "the heads end at different places");
            let response = index.view(data);
            assert_eq!(
                (Some(response.status()), Some(minor(response.version()))),
                (other.code, other.version)
            );
            // httparse returns an empty reason if it has bytes from 0x80 up.
            if response.reason().is_ascii() {
                assert_eq!(Some(response.reason()), other.reason.map(str::as_bytes));
            }
            same_fields(response.fields(), other.headers);
            passed_on(response.lines(), other.headers);
            for method in [&b"GET"[..], b"HEAD", b"CONNECT"] {
                let answers = Answers {
                    status: response.status(),
                    method,
                };
                let verdict = body_of(
                    minor(response.version()),
                    pairs(other.headers),
                    Some(answers),
                );
                match response.framing(method) {
                    Ok(framed) => {
                        let (Verdict::Ends(ends_so) | Verdict::MayBe(ends_so)) = verdict else {
                            panic!("a response that the RFC refuses was framed as {framed:?}");
                        };
                        assert_eq!(ends(framed), ends_so, "the body ends elsewhere");
                    }
                    Err(error) => named_framing(&error, &verdict),
                }
            }
        }
        (Ok(Parsed::Complete(_)), theirs) => panic!("accepted by us only: {theirs:?}"),
        (Ok(Parsed::Partial), Ok(Status::Complete(_))) => panic!("complete for httparse only"),
        (Err(error), Ok(Status::Complete(_))) => {
            // Servers have no reason to send empty lines before a response, unlike old clients
            // before a request.
            let empty_line_first = *error == Malformed::VersionInvalid { at: 0 }
                && matches!(data, [b'\r' | b'\n', ..]);
            assert!(
                empty_line_first || stricter(error),
                "refused by us only, for an unknown reason: {error:?}"
            );
        }
        _ => {}
    }
}

/// Lines that are passed on as they were sent: another parser finds the same fields in them as in
/// the original head.
fn passed_on<'a>(lines: impl Iterator<Item = Line<'a>>, theirs: &[httparse::Header<'_>]) {
    let mut out = b"HTTP/1.1 200 \r\n".to_vec();
    for line in lines {
        assert!(
            write::line(&mut out, line).is_ok(),
            "an accepted line can be written"
        );
    }
    write::end_of_head(&mut out);
    let mut room = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut again = httparse::Response::new(&mut room);
    assert_eq!(
        again.parse(&out),
        Ok(Status::Complete(out.len())),
        "the passed lines are one head"
    );
    let pairs = |headers: &[httparse::Header<'_>]| -> Vec<(String, Vec<u8>)> {
        headers
            .iter()
            .map(|header| (header.name.to_owned(), header.value.to_vec()))
            .collect()
    };
    assert_eq!(
        pairs(again.headers),
        pairs(theirs),
        "fields changed when passed on"
    );
}

/// A connection: requests with their bodies, one after another. Every boundary is the same as in
/// the reference, and there is none after a refusal.
pub fn stream(data: &[u8]) {
    let limits = Limits::default();
    let mut rest = data;
    for _ in 0..8 {
        let mut index = RequestParser::default();
        let Ok(Parsed::Complete(head)) = index.parse(rest, &limits) else {
            return;
        };
        let framed = index.view(rest).framing();
        let body = &rest[head..];
        let ours = decode(framed, body, &limits);
        let reference = match framed {
            Framed::None => Some((Vec::new(), 0)),
            Framed::Length(length) => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                body.get(..length).map(|data| (data.to_vec(), length))
            }
            Framed::Chunked => chunked_body(body),
            Framed::UntilClose => panic!("a request that ends with its connection"),
        };
        let Some((data, len)) = ours else { return };
        assert_eq!(
            Some((data, len)),
            reference,
            "the body ends elsewhere, or its data differ"
        );
        rest = &body[len..];
    }
}

/// Unchecked input of the writer: method, target, then names and values, separated by 0xff. The
/// output is one head, which both parsers read as exactly the given fields; no input can add one.
pub fn written(data: &[u8]) {
    let mut parts = data.split(|byte| *byte == 0xff);
    let mut part = || parts.next().unwrap_or_default();
    let (method, target) = (part(), part());
    let mut out = Vec::new();
    if write::request_line(&mut out, method, target).is_err() {
        assert!(out.is_empty(), "a partial line was written");
        return;
    }
    let mut given = Vec::new();
    while given.len() < 100 {
        let (name, value) = (part(), part());
        if name.is_empty() {
            break;
        }
        let before = out.len();
        match write::field(&mut out, name, value) {
            Ok(()) => given.push((name, trim(value))),
            Err(_) => assert_eq!(out.len(), before, "a partial field was written"),
        }
    }
    write::end_of_head(&mut out);
    let limits = Limits {
        head_bytes: out.len(),
        target_bytes: out.len(),
        ..Limits::default()
    };
    let mut index = RequestParser::default();
    match index.parse(&out, &limits) {
        Ok(parsed) => {
            assert_eq!(
                parsed,
                Parsed::Complete(out.len()),
                "the writer ended its head early"
            );
            let read: Vec<_> = index
                .view(&out)
                .fields()
                .map(|Field { name, value }| (name, value))
                .collect();
            assert_eq!(read, given, "the parsed fields differ from those written");
        }
        Err(error) => assert!(
            about_meaning(&error),
            "the writer's output cannot be parsed: {error:?}"
        ),
    }
    let mut room = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut other = httparse::Request::new(&mut room);
    assert_eq!(
        other.parse(&out),
        Ok(Status::Complete(out.len())),
        "another parser reads other values"
    );
    let read: Vec<_> = other
        .headers
        .iter()
        .map(|field| (field.name.as_bytes(), field.value))
        .collect();
    assert_eq!(
        read, given,
        "another parser reads other fields than those written"
    );
}

/// Data and length of a whole body; `None` if it is refused or incomplete.
fn decode(framed: Framed, bytes: &[u8], limits: &Limits) -> Option<(Vec<u8>, usize)> {
    let mut decoder = BodyDecoder::new(framed, limits);
    let (mut data, mut read) = (Vec::new(), 0);
    loop {
        let unread = &bytes[read..];
        match decoder.step(unread).ok()? {
            Step::Data(n) => {
                data.extend_from_slice(&unread[..n]);
                decoder.taken(n);
                read += n;
            }
            Step::Skip(n) => read += n,
            Step::End(n) => return Some((data, read + n)),
            Step::More => return None,
        }
    }
}

/// The ways in which this codec is stricter than httparse. httparse must refuse everything else
/// that it refuses.
fn stricter(error: &Malformed) -> bool {
    use Malformed::*;
    match error {
        // httparse accepts LF alone at a line end, and any number of empty lines first.
        BareLf { .. } | EmptyLines { .. } => true,
        // Limits.
        HeadTooLarge { .. }
        | TooManyFields { .. }
        | TargetTooLong { .. }
        | MethodTooLong { .. } => true,
        TooManyConnectionOptions { .. } => true,
        // `#` and bytes from 0x80 up in a target, invalid forms, statuses below 100.
        TargetByte { .. } | TargetForm | AsteriskTarget | ConnectTarget | StatusCode { .. } => true,
        // The meaning of a head, which httparse does not check.
        error => about_meaning(error),
    }
}

/// Violations of whole heads with well-formed lines.
fn about_meaning(error: &Malformed) -> bool {
    use Malformed::*;
    let form = matches!(
        error,
        TargetForm | AsteriskTarget | ConnectTarget | ConnectBody | MethodTooLong { .. }
    );
    let host = matches!(error, HostMissing | HostRepeated | HostInvalid);
    form || host || about_framing(error)
}

fn about_framing(error: &Malformed) -> bool {
    use Malformed::*;
    matches!(
        error,
        LengthAndCoding
            | LengthRepeated
            | LengthInvalid
            | LengthTooLarge
            | CodingRepeated
            | CodingOnHttp10
            | CodingInvalid
            | ChunkedRepeated
            | ChunkedNotLast
            | CodingUnknown
            | CodingUnasked
    )
}

/// The RFC also refuses a framing that is refused here, or it permits the refusal.
fn named_framing(error: &Malformed, verdict: &Verdict) {
    use Malformed::*;
    let allowed = match (error, verdict) {
        (_, Verdict::Refuse) => true,
        // Equal lengths several times, in lines or in a list; and the fields of a message that has
        // no body.
        (_, Verdict::MayBe(_)) => true,
        (LengthTooLarge, Verdict::Ends(Ends::After(length))) => *length > i64::MAX as u128,
        (error, _) => !about_framing(error),
    };
    assert!(allowed, "{error:?}, where the RFC says {verdict:?}");
}

fn ends(framed: Framed) -> Ends {
    match framed {
        Framed::None => Ends::None,
        Framed::Length(length) => Ends::After(u128::from(length)),
        Framed::Chunked => Ends::Chunked,
        Framed::UntilClose => Ends::WithConnection,
    }
}

fn minor(version: Version) -> u8 {
    match version {
        Version::Http10 => 0,
        Version::Http11 => 1,
        Version::Http2 | Version::Http3 => panic!("HTTP/1 alone is parsed"),
    }
}

fn pairs<'a>(
    headers: &'a [httparse::Header<'a>],
) -> impl Iterator<Item = (&'a str, &'a [u8])> + Clone {
    headers.iter().map(|header| (header.name, header.value))
}

fn same_fields(ours: Fields<'_>, theirs: &[httparse::Header<'_>]) {
    let ours: Vec<_> = ours.map(|Field { name, value }| (name, value)).collect();
    let theirs: Vec<_> = theirs
        .iter()
        .map(|header| (header.name.as_bytes(), header.value))
        .collect();
    assert_eq!(ours, theirs, "the fields differ");
}

fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}
