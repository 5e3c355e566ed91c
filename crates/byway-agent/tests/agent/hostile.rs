//! Origins that lie, overflow or never end: each is an error with a name and costs one connection.

use crate::memory::{agent, get_error, post};
use byway_agent::{BadAnswer, Connected, Error, connector_fn};
use byway_h1::Malformed;
use tokio::join;

const URL: &str = "http://a.example/";

/// What becomes of a GET that is answered so, head or body.
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
async fn a_response_that_two_readers_could_read_in_two_ways_is_refused() {
    for (response, sin) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            Malformed::LengthAndCoding,
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", Malformed::LengthRepeated),
        ("HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n", Malformed::LengthInvalid),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Malformed::CodingUnasked),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Malformed::CodingOnHttp10),
        ("HTTP/1.1 200 OK\r\nX: 1\r\n folded\r\n\r\n", Malformed::ObsFold { at: 23 }),
        ("HTTP/1.1 200 OK\nX: 1\n\n", Malformed::BareLf { at: 15 }),
    ] {
        let error = answered(response).await;
        assert!(
            matches!(&error, Error::Malformed(BadAnswer::Codec(found)) if *found == sin),
            "{response:?}: {error:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn rubbish_between_chunks_is_refused() {
    for body in ["5\nhello", "-1\r\n", "5\r\nhelloX\r\n", "0x5\r\nhello\r\n", "\r\n", "ffffffffffffffffff\r\n"] {
        let response = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        let error = answered(&response).await;
        assert!(matches!(error, Error::Malformed(BadAnswer::Codec(_))), "{body:?}: {error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn heads_trailers_and_extensions_without_end_are_bounded() {
    let long = "x".repeat(70_000);
    let error = answered(&format!("HTTP/1.1 200 OK\r\nX: {long}\r\n\r\n")).await;
    assert!(
        matches!(error, Error::Malformed(BadAnswer::Codec(Malformed::HeadTooLarge { limit: 65_536 }))),
        "{error:?}"
    );

    let many = "X: 1\r\n".repeat(129);
    let error = answered(&format!("HTTP/1.1 200 OK\r\n{many}\r\n")).await;
    assert!(matches!(error, Error::Malformed(BadAnswer::Codec(Malformed::TooManyFields { limit: 128 }))), "{error:?}");

    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let error = answered(&format!("{chunked}0\r\nX: {long}\r\n\r\n")).await;
    assert!(matches!(error, Error::Malformed(BadAnswer::Codec(Malformed::TrailersTooLarge { .. }))), "{error:?}");

    let extensions = "1;a=b\r\nx\r\n".repeat(6000);
    let error = answered(&format!("{chunked}{extensions}")).await;
    assert!(matches!(error, Error::Malformed(BadAnswer::Codec(Malformed::ChunkExtensionsTooLong { .. }))), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn something_that_is_no_http_is_refused_at_its_first_bytes() {
    for greeting in ["SSH-2.0-x\r\n", "220 mail\r\n", "\0\0\0\0", "HTTP/2.0 200 OK\r\n\r\n", "HTTP/1.1 99 X\r\n\r\n"] {
        assert!(matches!(answered(greeting).await, Error::Malformed(_)), "{greeting:?}");
    }
}

/// A forward proxy behind a connector: plain requests say the whole URL, and carry what the proxy wants to see.
#[tokio::test(start_paused = true)]
async fn a_connector_to_a_forward_proxy_gets_whole_urls_and_its_own_fields() {
    let (sender, mut accepted) = tokio::sync::mpsc::unbounded_channel();
    let connector = connector_fn(move |_| {
        let sender = sender.clone();
        async move {
            let (ours, theirs) = byway_testkit::pipe::pair_of(10_000);
            let _ = sender.send(theirs.into_stream());
            let credentials = (http::header::PROXY_AUTHORIZATION, http::HeaderValue::from_static("Basic dTpw"));
            Ok::<_, std::io::Error>(
                Connected::new(ours.into_stream()).absolute_form().with_field(credentials.0, credentials.1),
            )
        }
    });
    let agent = byway_agent::Agent::builder().stream_connector(connector).build().unwrap();
    let (answer, _proxy) = join!(agent.request(post("http://a.example:8080/x?y", "hi")), async {
        let mut proxy = accepted.recv().await.unwrap();
        let mut came = Vec::new();
        while !came.ends_with(b"hi") {
            let mut room = [0; 1000];
            let byway_dial::Read::Data(n) = proxy.read(&mut room).await.unwrap() else { panic!("it ended") };
            came.extend_from_slice(&room[..n]);
        }
        let expected = "POST http://a.example:8080/x?y HTTP/1.1\r\nHost: a.example:8080\r\n\
            proxy-authorization: Basic dTpw\r\ncontent-length: 2\r\n\r\nhi";
        assert_eq!(String::from_utf8(came).unwrap(), expected);
        proxy.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        proxy
    });
    assert_eq!(answer.unwrap().status(), 204);
    let error = get_error(&agent, "https://a.example/").await;
    assert!(matches!(&error, Error::Connect { source, .. } if source.to_string().contains("https")), "{error}");
}
