//! Differential: `byway-h1` beside a parser that others wrote (httparse) and a reading of the RFC
//! that shares no code.
//!
//! In:    bytes from a fuzzer.
//! Out:   nothing, or a panic: one of the two read what the other did not, and the difference has
//!        no name here.
//! Never: compares errors by their text. What is stricter here is listed by variant in `stricter`.

use byway_h1::{
    BodyDecoder, Field, Fields, Framed, Limits, Line, Malformed, Parsed, RequestHead, ResponseHead,
    Step, Version, write,
};
use httparse::Status;

use crate::reference::{Answers, Ends, Verdict, body_of, chunked_body};

/// More than [`Limits::default`] lets through, so that the other parser never stops for want of
/// room first.
const MOST_FIELDS: usize = 256;

/// A request head: whatever is accepted here, httparse reads in the same way, and the RFC frames it
/// in the same way; whatever httparse alone accepts falls into a named class.
pub fn request(data: &[u8]) {
    let mut index = RequestHead::default();
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
        (Ok(Parsed::Complete(_)), theirs) => panic!("accepted here alone: {theirs:?}"),
        (Ok(Parsed::Partial), Ok(Status::Complete(_))) => panic!("complete for them, and not here"),
        (Err(error), Ok(Status::Complete(_))) => {
            assert!(
                stricter(error),
                "refused here alone, and not for a known reason: {error:?}"
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

/// A response head, as [`request`]. Its framing is compared for each kind of request that it may
/// answer.
pub fn response(data: &[u8]) {
    let mut index = ResponseHead::default();
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
            // httparse gives no reason at all where it holds bytes from 0x80 up.
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
        (Ok(Parsed::Complete(_)), theirs) => panic!("accepted here alone: {theirs:?}"),
        (Ok(Parsed::Partial), Ok(Status::Complete(_))) => panic!("complete for them, and not here"),
        (Err(error), Ok(Status::Complete(_))) => {
            // Nobody has a reason to send empty lines before a response, as old clients have before
            // a request.
            let empty_line_first = *error == Malformed::VersionInvalid { at: 0 }
                && matches!(data, [b'\r' | b'\n', ..]);
            assert!(
                empty_line_first || stricter(error),
                "refused here alone, and not for a known reason: {error:?}"
            );
        }
        _ => {}
    }
}

/// Lines that are passed on as they were sent: another reader finds in them what it found in the
/// head that they came in.
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
        "what is passed on is one head"
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
        "fields changed on their way"
    );
}

/// A connection: requests with their bodies, one behind the other. Every boundary stands where the
/// reference has it, and none is found behind a refusal.
pub fn stream(data: &[u8]) {
    let limits = Limits::default();
    let mut rest = data;
    for _ in 0..8 {
        let mut index = RequestHead::default();
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
            "the body ends elsewhere, or holds something else"
        );
        rest = &body[len..];
    }
}

/// What a careless caller gives to the writer: method, target, then names and values, apart by
/// 0xff. What is written is one head, read by both parsers as exactly the fields that were given;
/// nothing can add one.
pub fn written(data: &[u8]) {
    let mut parts = data.split(|byte| *byte == 0xff);
    let mut part = || parts.next().unwrap_or_default();
    let (method, target) = (part(), part());
    let mut out = Vec::new();
    if write::request_line(&mut out, method, target).is_err() {
        assert!(out.is_empty(), "half a line was written");
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
            Err(_) => assert_eq!(out.len(), before, "half a field was written"),
        }
    }
    write::end_of_head(&mut out);
    let limits = Limits {
        head_bytes: out.len(),
        target_bytes: out.len(),
        ..Limits::default()
    };
    let mut index = RequestHead::default();
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
            assert_eq!(read, given, "other fields are read than were written");
        }
        Err(error) => assert!(
            about_meaning(&error),
            "the writer wrote what cannot be read: {error:?}"
        ),
    }
    let mut room = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut other = httparse::Request::new(&mut room);
    assert_eq!(
        other.parse(&out),
        Ok(Status::Complete(out.len())),
        "another parser reads something else"
    );
    let read: Vec<_> = other
        .headers
        .iter()
        .map(|field| (field.name.as_bytes(), field.value))
        .collect();
    assert_eq!(
        read, given,
        "another parser reads other fields than were written"
    );
}

/// Data and length of a whole body; `None` if it is refused or not whole.
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

/// Every way in which this codec is stricter than httparse. Anything else that it refuses, httparse
/// must refuse as well.
fn stricter(error: &Malformed) -> bool {
    use Malformed::*;
    match error {
        // A line may end with LF alone there, and any number of empty lines may come first.
        BareLf { .. } | EmptyLines { .. } => true,
        // Bounds.
        HeadTooLarge { .. }
        | TooManyFields { .. }
        | TargetTooLong { .. }
        | MethodTooLong { .. } => true,
        TooManyConnectionOptions { .. } => true,
        // `#` and bytes from 0x80 up in a target, forms that are none, statuses below 100.
        TargetByte { .. } | TargetForm | AsteriskTarget | ConnectTarget | StatusCode { .. } => true,
        // What a head means, which httparse does not look at.
        error => about_meaning(error),
    }
}

/// Sins of whole heads, each line of which is well-formed.
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

/// A framing that is refused here is one that the RFC refuses, or one of the few that it lets be
/// refused.
fn named_framing(error: &Malformed, verdict: &Verdict) {
    use Malformed::*;
    let allowed = match (error, verdict) {
        (_, Verdict::Refuse) => true,
        // Equal lengths several times, in lines or in a list; and the fields of a message that has
        // no body anyway.
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
