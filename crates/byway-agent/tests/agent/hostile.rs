//! Origins that send malformed, oversized or endless data: each case has its own error and costs
//! one connection.

use crate::memory::{agent, get, get_error, ok, post};
use byway_agent::{BadAnswer, Connected, Error, Which, connector_fn};
use byway_head::Malformed;
use http::Response;
use parking_lot::Mutex;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use std::future::Future;
use std::sync::Arc;
use tokio::join;

const URL: &str = "http://a.example/";

/// The error of a GET with this response.
async fn answered(response: &str) -> Error {
    let (agent, mut origins) = agent(|builder| builder);
    let (ended, ()) = join!(
        async {
            match agent.get(URL).await {
                Ok(response) => response.into_body().text().await,
                Err(error) => Err(error),
            }
        },
        async {
            let mut server = origins.accept().await;
            server.request().await;
            server.send(response).await;
            server.closed().await;
        }
    );
    assert_eq!(agent.stats().totals().open(), 0, "{response:?}");
    ended.expect_err(response)
}

#[tokio::test(start_paused = true)]
async fn an_ambiguous_response_is_refused() {
    for (response, malformed) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            Malformed::LengthAndCoding,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            Malformed::LengthRepeated,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
            Malformed::LengthInvalid,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            Malformed::CodingUnasked,
        ),
        (
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            Malformed::CodingOnHttp10,
        ),
        (
            "HTTP/1.1 200 OK\r\nX: 1\r\n folded\r\n\r\n",
            Malformed::ObsFold { at: 23 },
        ),
        ("HTTP/1.1 200 OK\nX: 1\n\n", Malformed::BareLf { at: 15 }),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n",
            Malformed::LengthInvalid,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
            Malformed::LengthTooLarge,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
            Malformed::ChunkedRepeated,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
            Malformed::ChunkedNotLast,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello",
            Malformed::SpaceBeforeColon { at: 31 },
        ),
        (
            "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
            Malformed::ValueByte { at: 21, byte: 0 },
        ),
        (
            "HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\n\r\n",
            Malformed::BareCr { at: 21 },
        ),
    ] {
        let error = answered(response).await;
        assert!(
            matches!(&error, Error::Malformed(BadAnswer::Codec(found)) if *found == malformed),
            "{response:?}: {error:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn garbage_between_chunks_is_refused() {
    for body in [
        "5\nhello",
        "-1\r\n",
        "5\r\nhelloX\r\n",
        "0x5\r\nhello\r\n",
        "\r\n",
        "ffffffffffffffffff\r\n",
    ] {
        let response = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        let error = answered(&response).await;
        assert!(
            matches!(error, Error::Malformed(BadAnswer::Codec(_))),
            "{body:?}: {error:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn heads_trailers_and_extensions_are_bounded() {
    let long = "x".repeat(70_000);
    let error = answered(&format!("HTTP/1.1 200 OK\r\nX: {long}\r\n\r\n")).await;
    assert!(
        matches!(
            error,
            Error::Malformed(BadAnswer::Codec(Malformed::HeadTooLarge { limit: 65_536 }))
        ),
        "{error:?}"
    );

    let many = "X: 1\r\n".repeat(129);
    let error = answered(&format!("HTTP/1.1 200 OK\r\n{many}\r\n")).await;
    assert!(
        matches!(
            error,
            Error::Malformed(BadAnswer::Codec(Malformed::TooManyFields { limit: 128 }))
        ),
        "{error:?}"
    );

    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let error = answered(&format!("{chunked}0\r\nX: {long}\r\n\r\n")).await;
    assert!(
        matches!(
            error,
            Error::Malformed(BadAnswer::Codec(Malformed::TrailersTooLarge { .. }))
        ),
        "{error:?}"
    );

    let extensions = "1;a=b\r\nx\r\n".repeat(6000);
    let error = answered(&format!("{chunked}{extensions}")).await;
    assert!(
        matches!(
            error,
            Error::Malformed(BadAnswer::Codec(Malformed::ChunkExtensionsTooLong { .. }))
        ),
        "{error:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_204_with_a_length_does_not_keep_its_connection() {
    for (head, kept) in [
        (
            "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n".to_owned(),
            false,
        ),
        (
            "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
            false,
        ),
        (
            format!(
                "HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n{}",
                ok("x")
            ),
            false,
        ),
        (
            "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n".to_owned(),
            true,
        ),
        (
            format!("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n{}", ok("x")),
            true,
        ),
    ] {
        let (agent, mut origins) = agent(|builder| builder);
        let (_, _server) = join!(get(&agent, URL), async {
            let mut server = origins.accept().await;
            server.request().await;
            server.send(&head).await;
            server
        });
        assert_eq!(agent.stats().totals().open(), usize::from(kept), "{head:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn too_many_connection_options_are_refused() {
    let error = answered(&format!(
        "HTTP/1.1 200 OK\r\nConnection: {}\r\n\r\n",
        vec!["x"; 65].join(",")
    ))
    .await;
    let malformed = Malformed::TooManyConnectionOptions { limit: 64 };
    assert!(
        matches!(&error, Error::Malformed(BadAnswer::Codec(found)) if *found == malformed),
        "{error:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_not_http_is_refused_at_its_first_bytes() {
    for greeting in [
        "SSH-2.0-x\r\n",
        "220 mail\r\n",
        "\0\0\0\0",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 99 X\r\n\r\n",
    ] {
        assert!(
            matches!(answered(greeting).await, Error::Malformed(_)),
            "{greeting:?}"
        );
    }
}

/// A forward proxy behind a connector: plain requests have the whole URL, and the proxy's fields.
#[tokio::test(start_paused = true)]
async fn a_connector_to_a_forward_proxy_gets_whole_urls_and_its_own_fields() {
    let (sender, mut accepted) = tokio::sync::mpsc::unbounded_channel();
    let connector = connector_fn(move |_| {
        let sender = sender.clone();
        async move {
            let (ours, theirs) = byway_testkit::pipe::pair_of(10_000);
            let _ = sender.send(theirs.into_stream());
            let credentials = (
                http::header::PROXY_AUTHORIZATION,
                http::HeaderValue::from_static("Basic dTpw"),
            );
            Ok::<_, std::io::Error>(
                Connected::new(ours.into_stream())
                    .absolute_form()
                    .with_field(credentials.0, credentials.1),
            )
        }
    });
    let agent = byway_agent::Agent::builder()
        .stream_connector(connector)
        .build()
        .unwrap();
    let (answer, _proxy) = join!(
        agent.request(post("http://a.example:8080/x?y", "hi")),
        async {
            let mut proxy = accepted.recv().await.unwrap();
            let mut received = Vec::new();
            while !received.ends_with(b"hi") {
                let mut room = [0; 1000];
                let byway_dial::Read::Data(n) = proxy.read(&mut room).await.unwrap() else {
                    panic!("it ended")
                };
                received.extend_from_slice(&room[..n]);
            }
            let expected = "POST http://a.example:8080/x?y HTTP/1.1\r\nHost: a.example:8080\r\n\
            proxy-authorization: Basic dTpw\r\ncontent-length: 2\r\n\r\nhi";
            assert_eq!(String::from_utf8(received).unwrap(), expected);
            proxy
                .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
                .await
                .unwrap();
            proxy
        }
    );
    assert_eq!(answer.unwrap().status(), 204);
    let error = get_error(&agent, "https://a.example/").await;
    assert!(
        matches!(&error, Error::Connect { source, .. } if source.to_string().contains("https")),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_slow_head_has_one_timeout_for_all_of_it() {
    let limit = std::time::Duration::from_secs(5);
    let (agent, mut origins) = agent(|builder| builder.first_byte_timeout(limit));
    let begun = tokio::time::Instant::now();
    let drip = async {
        let mut server = origins.accept().await;
        server.request().await;
        server.send("HTTP/1.1 200 OK\r\nX: ").await;
        loop {
            tokio::time::sleep(limit / 3).await;
            server.send("x").await;
        }
    };
    let error = tokio::select! {
        error = get_error(&agent, URL) => error,
        () = drip => unreachable!(),
    };
    assert!(
        matches!(
            error,
            Error::Timeout {
                which: Which::FirstByte,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(begun.elapsed(), limit);
}

/// What a client reads of a response that arrives in pieces: status, interim responses, body,
/// trailers, or an error; and the number of active connections.
async fn read_in_pieces(response: &[u8], pieces: &[usize]) -> (String, usize) {
    let seen: Arc<Mutex<String>> = Arc::default();
    let note = Arc::clone(&seen);
    let interim =
        move |interim: &Response<()>| *note.lock() += &format!("{} ", interim.status().as_u16());
    let (agent, mut origins) = agent(|builder| builder.on_informational(interim));
    let reading = async {
        let mut body = match agent.get(URL).await {
            Ok(response) => {
                *seen.lock() += &format!("{:?} {:?} ", response.status(), response.headers());
                response.into_body()
            }
            Err(error) => return *seen.lock() += &format!("{error}"),
        };
        let (mut data, mut rest) = (Vec::new(), String::new());
        while let Some(frame) = body.frame().await {
            match frame.map(http_body::Frame::into_data) {
                Ok(Ok(bytes)) => data.extend_from_slice(&bytes),
                Ok(Err(frame)) => rest = format!("{:?}", frame.into_trailers()),
                Err(error) => rest = format!("{error}"),
            }
        }
        *seen.lock() += &format!("{} {rest}", data.escape_ascii());
    };
    let serving = async {
        let mut server = origins.accept().await;
        server.request().await;
        let (mut left, mut pieces) = (response, pieces.iter().cycle());
        while !left.is_empty() {
            let (piece, rest) =
                left.split_at((*pieces.next().unwrap_or(&left.len())).clamp(1, left.len()));
            server.send(piece).await;
            tokio::task::yield_now().await;
            left = rest;
        }
        server.finish().await;
    };
    join!(reading, serving);
    // Bytes after the message are found at its end or by the probe before reuse; either closes the
    // connection.
    let seen = seen.lock().clone();
    (seen, agent.stats().totals().active())
}

const VALID: [&str; 6] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Y: z\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;a=b\r\n!\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n",
    "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 102 Go\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
    "HTTP/1.1 404 Not Found\r\nServer: s\r\n\r\nuntil the end",
    "HTTP/1.0 204 No Content\r\nConnection: keep-alive\r\n\r\n",
];

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: byway_testkit::cases(200), ..ProptestConfig::default() })]

    #[test]
    fn a_response_reads_the_same_for_any_split(which in 0..VALID.len(), pieces in vec(1..20usize, 1..8)) {
        let response = VALID[which].as_bytes();
        let (whole, split) = (run(read_in_pieces(response, &[])), run(read_in_pieces(response, &pieces)));
        prop_assert!(!whole.0.contains("not valid HTTP") && !whole.0.contains("closed the connection"), "{}", whole.0);
        prop_assert_eq!(whole, split);
    }

    /// Any damage leads to a response or an error; never to a panic, a hang, or a connection that
    /// stays in use.
    #[test]
    fn a_damaged_response_ends_cleanly_and_reads_the_same_for_any_split(
        which in 0..VALID.len(),
        damage in vec((any::<Index>(), any::<u8>()), 1..4),
        cut in any::<Index>(),
        pieces in vec(1..20usize, 1..8),
    ) {
        let mut response = VALID[which].as_bytes().to_vec();
        for (at, byte) in damage {
            let at = at.index(response.len());
            response[at] = byte;
        }
        response.truncate(1 + cut.index(response.len()));
        let (whole, split) = (run(read_in_pieces(&response, &[])), run(read_in_pieces(&response, &pieces)));
        prop_assert_eq!(whole.1, 0);
        prop_assert_eq!(whole.1, split.1);
        // How much of a body is read before its error may differ; the kind of error may not.
        let verdict = |seen: &str| (seen.contains("not valid HTTP"), seen.contains("closed the connection"));
        prop_assert_eq!(verdict(&whole.0), verdict(&split.0));
    }
}
