//! Requests: what a server reads of a stream.

use byway_h3::qpack::Encoder;
use byway_h3::{
    ErrorCode, Event, Limits, MessageError, RequestReader, write_data_header, write_head,
};
use byway_head::{BlockEncoder, BlockWriter, Framed, HeadOut, Malformed, RequestHead};

use crate::{DATA, GREASE, HEADERS, Seen, data, frame, get, head, post, read_request, trailers};

fn read(parts: &[Vec<u8>]) -> (Seen, Result<(), MessageError>) {
    let stream = parts.concat();
    let whole = read_request(&stream, stream.len().max(1), &Limits::default());
    // A head that ends the stream is known as such only if the end came with it.
    for piece in [1, 2, 7] {
        let pieces = read_request(&stream, piece, &Limits::default());
        assert_eq!(whole, pieces, "pieces of {piece}");
    }
    whole
}

fn code(parts: &[Vec<u8>]) -> ErrorCode {
    read(parts).1.unwrap_err().code()
}

#[test]
fn a_request_without_a_body_ends_with_its_head() {
    let (seen, ended) = read(&[get()]);
    assert_eq!(seen.heads, [("GET".to_owned(), true)]);
    assert_eq!((seen.data.len(), seen.trailers, ended), (0, None, Ok(())));
}

#[test]
fn a_request_has_a_head_data_and_trailers_in_this_order() {
    let (seen, ended) = read(&[post(None), data(b"one "), data(b"two"), trailers()]);
    assert_eq!(seen.heads, [("POST".to_owned(), false)]);
    assert_eq!(seen.data, b"one two");
    assert_eq!(seen.trailers, Some(vec!["grpc-status: 0".to_owned()]));
    assert_eq!((seen.waste, ended), (0, Ok(())));
}

#[test]
fn frames_out_of_order_end_the_connection() {
    let unexpected = ErrorCode::FRAME_UNEXPECTED;
    assert_eq!(code(&[data(b"early")]), unexpected);
    assert_eq!(code(&[get(), trailers(), data(b"late")]), unexpected);
    assert_eq!(code(&[get(), trailers(), trailers()]), unexpected);
    // CANCEL_PUSH, SETTINGS, PUSH_PROMISE, GOAWAY, MAX_PUSH_ID, PRIORITY_UPDATE.
    for kind in [0x3, 0x4, 0x5, 0x7, 0xd, 0xf0700, 0xf0701] {
        assert_eq!(code(&[get(), frame(kind, &[0])]), unexpected, "{kind:#x}");
    }
    // PRIORITY, PING, WINDOW_UPDATE, CONTINUATION of HTTP/2.
    for kind in [0x2, 0x6, 0x8, 0x9] {
        assert_eq!(code(&[get(), frame(kind, &[])]), unexpected, "{kind:#x}");
        assert_eq!(code(&[frame(kind, &[])]), unexpected, "{kind:#x}");
    }
}

#[test]
fn unknown_frames_and_empty_data_are_skipped_and_counted() {
    let (seen, ended) = read(&[
        frame(GREASE, b"unknown"),
        post(None),
        frame(DATA, &[]),
        data(b"body"),
        frame(GREASE, &[]),
        trailers(),
        frame(GREASE, &[0; 5000]),
    ]);
    assert_eq!((seen.data, ended), (b"body".to_vec(), Ok(())));
    assert_eq!(seen.waste, 4);
}

#[test]
fn a_stream_that_ends_early_is_an_error() {
    assert_eq!(read(&[]).1, Err(MessageError::Incomplete));
    assert_eq!(read(&[frame(GREASE, &[])]).1, Err(MessageError::Incomplete));
    assert_eq!(
        MessageError::Incomplete.code(),
        ErrorCode::REQUEST_INCOMPLETE
    );
    let (request, body) = (get(), data(b"body"));
    for len in 1..request.len() {
        assert_eq!(
            code(&[request[..len].to_vec()]),
            ErrorCode::FRAME_ERROR,
            "{len}"
        );
    }
    for len in 1..body.len() {
        let code = code(&[post(None), body[..len].to_vec()]);
        assert_eq!(code, ErrorCode::FRAME_ERROR, "{len}");
    }
}

#[test]
fn a_body_is_as_long_as_its_head_says() {
    let body = || data(b"12345");
    assert_eq!(read(&[post(Some(10)), body(), body()]).1, Ok(()));
    assert_eq!(
        read(&[post(Some(10)), body(), body(), trailers()]).1,
        Ok(())
    );
    for parts in [
        &[post(Some(4)), body()][..],
        &[post(Some(6)), body()],
        &[post(Some(6)), body(), trailers()],
        &[post(Some(0)), body()],
    ] {
        assert_eq!(read(parts).1, Err(MessageError::Length));
    }
    assert_eq!(MessageError::Length.code(), ErrorCode::MESSAGE_ERROR);
}

#[test]
fn a_malformed_head_or_trailer_resets_the_stream() {
    let without_host = [vec![1, 5, 0, 0], vec![0xc0 | 17, 0xc0 | 23, 0xc0 | 1]];
    let error = read(&without_host).1.unwrap_err();
    assert_eq!(error, MessageError::Malformed(Malformed::HostMissing));
    assert_eq!(error.code(), ErrorCode::MESSAGE_ERROR);
    // `:path` as a trailer.
    assert_eq!(
        code(&[get(), vec![1, 3, 0, 0, 0xc0 | 1]]),
        ErrorCode::MESSAGE_ERROR
    );
}

#[test]
fn a_block_that_cannot_be_decoded_ends_the_connection() {
    for block in [&[][..], &[0], &[0, 0, 0x80], &[2, 0, 0x80]] {
        let code = code(&[frame(HEADERS, block)]);
        assert_eq!(code, ErrorCode::QPACK_DECOMPRESSION_FAILED, "{block:?}");
    }
    // 60 KB of references become more than four times the limit.
    let bomb = [&[0, 0][..], &[0xff, 22].repeat(30_000)].concat();
    assert_eq!(code(&[frame(HEADERS, &bomb)]), ErrorCode::EXCESSIVE_LOAD);
}

#[test]
fn a_head_over_the_limit_is_answered_and_the_stream_goes_on() {
    let limits = Limits::default();
    let large = |len: usize| {
        head(|out| {
            out.request(b"POST", b"/", b"a")?;
            out.field(b"x", &vec![b'\xff'; len])
        })
    };
    // Over the limit once decoded, and on the wire.
    for len in [limits.head.head_bytes - 10, 200_000] {
        let (seen, ended) = read(&[large(len), data(b"body")]);
        let limit = limits.head.head_bytes;
        assert_eq!(seen.unacceptable, Some(Malformed::HeadTooLarge { limit }));
        assert_eq!((seen.data, ended), (b"body".to_vec(), Ok(())));
    }
    assert_eq!(
        code(&[post(None), large(200_000)]),
        ErrorCode::MESSAGE_ERROR
    );
}

#[test]
fn a_tunnel_has_data_only() {
    let connect = head(|out| out.request(b"CONNECT", b"a:1", b"a:1"));
    let (seen, ended) = read(&[connect.clone(), data(b"bytes")]);
    assert_eq!((seen.data, ended), (b"bytes".to_vec(), Ok(())));
    assert_eq!(code(&[connect, trailers()]), ErrorCode::FRAME_UNEXPECTED);

    let mut websocket = Vec::new();
    write_head(&mut websocket, |out| {
        let mut out = out.protocol(Some(b"websocket"));
        out.request(b"GET", b"/", b"a")?;
        out.end();
        Ok::<(), Malformed>(())
    })
    .unwrap();
    let (seen, ended) = read(&[websocket.clone(), data(b"bytes")]);
    assert_eq!((seen.data, ended), (b"bytes".to_vec(), Ok(())));
    let limits = Limits {
        extended_connect: false,
        ..Limits::default()
    };
    let refused = read_request(&websocket, websocket.len(), &limits)
        .1
        .unwrap_err();
    assert_eq!(refused.code(), ErrorCode::MESSAGE_ERROR);
}

#[test]
fn a_long_block_has_a_length_of_four_bytes() {
    let value = vec![b'\xff'; 20_000];
    let request = head(|out| {
        out.request(b"GET", b"/", b"a")?;
        out.field(b"x", &value)
    });
    assert_eq!(request[1] >> 6, 2);
    let (seen, ended) = read(&[request]);
    assert_eq!((seen.heads.len(), ended), (1, Ok(())));
}

#[test]
fn a_head_that_cannot_be_written_leaves_nothing() {
    let mut out = b"before".to_vec();
    let refused = write_head(&mut out, |mut block| block.field(b"a", b"\n"));
    assert!(refused.is_err());
    write_data_header(&mut out, 0);
    assert_eq!(out, b"before");
}

#[test]
fn a_head_is_written_and_read_without_allocations() {
    let limits = Limits::default();
    let (mut head, mut text, mut stream) = (RequestHead::default(), Vec::new(), Vec::new());
    let mut pass = || {
        stream.clear();
        write_head(&mut stream, |mut out| {
            out.request(b"POST", b"/path", b"example.com")?;
            out.field(b"User-Agent", b"curl/8.0")?;
            out.framing(Framed::Length(4));
            out.end();
            Ok::<(), Malformed>(())
        })
        .unwrap();
        write_data_header(&mut stream, 4);
        stream.extend_from_slice(b"body");
        let mut reader = RequestReader::new(&limits);
        let step = reader
            .step(&stream, true, &mut head, &mut text, &limits)
            .unwrap();
        assert_eq!(step.event, Some(Event::Head { end: false }));
        let rest = &stream[step.taken..];
        let step = reader
            .step(rest, true, &mut head, &mut text, &limits)
            .unwrap();
        assert!(matches!(step.event, Some(Event::Data(_))));
        reader.finish().unwrap();
    };
    (0..3).for_each(|_| pass());
    let info = allocation_counter::measure(|| (0..100).for_each(|_| pass()));
    assert_eq!(info.count_total, 0);
}

#[test]
fn an_encoder_alone_writes_fields_as_they_are() {
    let mut out = Vec::new();
    Encoder.field(&mut out, b"accept", b"*/*");
    assert_eq!(out, [0xc0 | 29]);
    let _ = BlockWriter::new(Encoder, &mut out);
    assert_eq!(out, [0xc0 | 29, 0, 0]);
}
