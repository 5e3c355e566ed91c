//! The pipeline over streams like those of HTTP/2, on either side: it assumes no HTTP/1.

use byway_dial::Broken;
use byway_http::LazyTimer;
use byway_pool::Client;

use super::request::{self, RequestContext};
use crate::exchange::double::{self, DoubleStream, Event, Fields, StreamPeer};
use crate::exchange::downstream::Downstream;
use crate::exchange::next::Next;
use crate::inbound::context::ConnectionInfo;
use crate::observe::metrics::ListenerMetrics;
use crate::testing::{Bench, Peer};

const GET: [(&str, &str); 4] = [
    (":method", "GET"),
    (":path", "/a?b"),
    (":authority", "a"),
    ("x-mine", "1"),
];

/// Serves one request whose head has come on a stream, as the connection loop of a version would.
async fn serve(
    bench: &Bench,
    mut stream: Box<DoubleStream>,
    fields: impl AsRef<[(&'static str, &'static str)]>,
    ended: bool,
) -> Next {
    let (plan, frontend) = bench.context.plan().unwrap();
    let metrics = ListenerMetrics::default();
    let cx = RequestContext {
        connection: &bench.context,
        plan: &plan,
        frontend: &frontend,
        info: &ConnectionInfo::default(),
        peer_text: None,
        client: Client::ANYONE,
        listener_metrics: &metrics,
        is_last: false,
    };
    let (head, text) = double::request_head(fields.as_ref(), ended);
    let request = head.view(&text);
    stream.expect(request.framing());
    let mut downstream = Downstream::Double(stream);
    // The stream is dropped afterwards: whatever has not ended is reset.
    request::serve(&cx, request, &mut downstream, &mut LazyTimer::default()).await
}

fn post(length: Option<&'static str>) -> Vec<(&'static str, &'static str)> {
    let mut fields = vec![(":method", "POST"), (":path", "/"), (":authority", "a")];
    fields.extend(length.map(|length| ("content-length", length)));
    fields
}

fn value<'f>(fields: &'f Fields, name: &str) -> Option<&'f str> {
    let field = fields.iter().find(|field| field.0 == name);
    field.map(|field| &*field.1)
}

fn bench() -> (Bench, Box<DoubleStream>, StreamPeer) {
    let (stream, client) = double::stream();
    (Bench::edge(""), stream, client)
}

/// The bytes of a whole request or response at an HTTP/1 peer.
async fn recv_h1(peer: &mut Peer, body: &str) -> String {
    let head = peer.recv_head().await;
    peer.recv(body).await;
    head
}

#[tokio::test(start_paused = true)]
async fn a_get_on_a_stream_goes_to_http_1_and_its_response_comes_back() {
    let (bench, stream, mut client) = bench();
    let mut upstream = bench.upstream().await;
    let upstream_side = async {
        let head = recv_h1(&mut upstream, "").await;
        assert!(
            head.starts_with("GET /a?b HTTP/1.1\r\nHost: a\r\nx-mine: 1\r\n"),
            "{head}"
        );
        assert!(head.contains("\r\nVia: 2.0 byway\r\n"), "{head}");
        assert!(
            !head.contains("Content-Length") && !head.contains("Transfer-Encoding"),
            "{head}"
        );
        upstream
            .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\nhi")
            .await;
    };
    let client_side = async {
        let head = client.recv_head().await;
        assert_eq!(value(&head, ":status"), Some("200"));
        assert_eq!(value(&head, "content-length"), Some("2"));
        assert_eq!(value(&head, "x-hop"), None);
        assert_eq!(client.recv_body().await, ("hi".into(), Event::End));
    };
    let (next, (), ()) = tokio::join!(serve(&bench, stream, GET, true), upstream_side, client_side);
    assert!(matches!(next, Next::KeepAlive));
}

#[tokio::test(start_paused = true)]
async fn a_get_passes_from_stream_to_stream() {
    let (bench, stream, mut client) = bench();
    let mut upstream = double::upstream();
    let upstream_side = async {
        let head = upstream.recv_head().await;
        for (name, expected) in GET {
            assert_eq!(value(&head, name), Some(expected));
        }
        assert_eq!(upstream.recv_body().await, (String::new(), Event::End));
        upstream.head(&[(":status", "200")], false);
        upstream.data(b"longer than the window").await;
        upstream.end();
    };
    let client_side = async {
        let head = client.recv_head().await;
        assert_eq!(value(&head, "via"), Some("2.0 byway"));
        assert_eq!(
            client.recv_body().await,
            ("longer than the window".into(), Event::End)
        );
    };
    tokio::join!(serve(&bench, stream, GET, true), upstream_side, client_side);
}

#[tokio::test(start_paused = true)]
async fn a_post_keeps_its_length_or_is_chunked_and_keeps_its_trailers() {
    for length in [None, Some("11")] {
        let (bench, stream, mut client) = bench();
        let mut upstream = bench.upstream().await;
        let client_side = async {
            client.data(b"hello world").await;
            client.trailers(&[("sum", "1"), ("host", "evil")]);
            let _ = client.recv_head().await;
            assert_eq!(client.recv_body().await, (String::new(), Event::End));
        };
        let upstream_side = async {
            let head = upstream.recv_head().await;
            match length {
                None => {
                    assert!(
                        head.contains("\r\nTransfer-Encoding: chunked\r\n"),
                        "{head}"
                    );
                    upstream
                        .recv("8\r\nhello wo\r\n3\r\nrld\r\n0\r\nsum: 1\r\n\r\n")
                        .await;
                }
                Some(_) => {
                    assert!(head.contains("\r\nContent-Length: 11\r\n"), "{head}");
                    upstream.recv("hello world").await;
                }
            }
            upstream.send("HTTP/1.1 204 No Content\r\n\r\n").await;
        };
        let served = serve(&bench, stream, post(length), false);
        tokio::join!(served, upstream_side, client_side);
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_to_head_describes_a_length_and_has_no_body() {
    let head_request = [(":method", "HEAD"), (":path", "/"), (":authority", "a")];
    let (bench, stream, mut client) = bench();
    let mut upstream = double::upstream();
    let upstream_side = async {
        let _ = upstream.recv_head().await;
        upstream.head(&[(":status", "200"), ("content-length", "1000")], true);
    };
    let client_side = async {
        let head = client.recv_head().await;
        assert_eq!(value(&head, "content-length"), Some("1000"));
        assert_eq!(client.recv_body().await, (String::new(), Event::End));
    };
    tokio::join!(
        serve(&bench, stream, head_request, true),
        upstream_side,
        client_side
    );
}

#[tokio::test(start_paused = true)]
async fn interim_responses_and_trailers_pass_in_both_encodings() {
    let (bench, stream, mut client) = bench();
    let mut upstream = bench.upstream().await;
    let upstream_side = async {
        upstream.recv_head().await;
        upstream
            .send("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
            .await;
        upstream
            .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nSum: 2\r\n\r\n")
            .await;
    };
    let client_side = async {
        let head = client.recv_head().await;
        assert_eq!(
            (value(&head, ":status"), value(&head, "link")),
            (Some("103"), Some("x"))
        );
        assert_eq!(value(&client.recv_head().await, ":status"), Some("200"));
        let sum = vec![("sum".to_owned(), "2".to_owned())];
        assert_eq!(
            client.recv_body().await,
            ("hi".into(), Event::Trailers(sum))
        );
    };
    tokio::join!(serve(&bench, stream, GET, true), upstream_side, client_side);

    let bench = Bench::edge("");
    let (mut client, mut upstream) = (bench.connect_client(), double::upstream());
    let upstream_side = async {
        let _ = upstream.recv_head().await;
        upstream.head(&[(":status", "103"), ("link", "x")], false);
        upstream.head(&[(":status", "200")], false);
        upstream.data(b"hi").await;
        upstream.trailers(&[("sum", "2")]);
    };
    let client_side = async {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(client.recv_head().await.starts_with("HTTP/1.1 103 "));
        let head = client.recv_head().await;
        assert!(
            head.contains("\r\nTransfer-Encoding: chunked\r\n"),
            "{head}"
        );
        client.recv("2\r\nhi\r\n0\r\nsum: 2\r\n\r\n").await;
    };
    tokio::join!(upstream_side, client_side);
}

#[tokio::test(start_paused = true)]
async fn an_early_answer_is_whole_and_ends_the_stream_of_its_unfinished_request() {
    let (bench, stream, mut client) = bench();
    let mut upstream = double::upstream();
    let upstream_side = async {
        let _ = upstream.recv_head().await;
        upstream.head(&[(":status", "413"), ("content-length", "3")], false);
        upstream.data(b"big").await;
        upstream.end();
        assert_eq!(
            upstream.recv_body().await.1,
            Event::Reset,
            "the upload has not ended"
        );
    };
    let client_side = async {
        assert_eq!(value(&client.recv_head().await, ":status"), Some("413"));
        assert_eq!(client.recv_body().await, ("big".into(), Event::End));
    };
    let (next, (), ()) = tokio::join!(
        serve(&bench, stream, post(None), false),
        upstream_side,
        client_side
    );
    assert!(matches!(next, Next::Close));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_resets_its_upload_resets_the_upstream() {
    let (bench, stream, mut client) = bench();
    let mut upstream = double::upstream();
    let client_side = async {
        client.data(b"half").await;
        client.reset();
    };
    let upstream_side = async {
        let _ = upstream.recv_head().await;
        assert_eq!(upstream.recv_body().await.1, Event::Reset);
    };
    let (next, (), ()) = tokio::join!(
        serve(&bench, stream, post(None), false),
        upstream_side,
        client_side
    );
    assert!(matches!(next, Next::Reset(_)));

    let (bench, stream, mut client) = self::bench();
    let mut upstream = bench.upstream().await;
    let client_side = async {
        client.data(b"half").await;
        client.reset();
    };
    let upstream_side = async { upstream.recv_end().await };
    let (_, received, ()) = tokio::join!(
        serve(&bench, stream, post(None), false),
        upstream_side,
        client_side
    );
    assert!(matches!(received, Err(Broken::Reset(_))), "{received:?}");
}

#[tokio::test(start_paused = true)]
async fn a_short_body_that_ends_before_its_length_reaches_no_upstream() {
    let (bench, stream, mut client) = bench();
    let _upstream = double::upstream();
    let client_side = async {
        client.data(b"half").await;
        client.end();
        assert_eq!(client.recv_body().await, (String::new(), Event::Reset));
    };
    let (next, ()) = tokio::join!(serve(&bench, stream, post(Some("9")), false), client_side);
    assert!(matches!(next, Next::Reset(_)));
    assert!(double::take_upstream().is_some(), "it was not used");
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_is_cut_in_the_middle_becomes_a_reset() {
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf",
    ] {
        let (bench, stream, mut client) = bench();
        let mut upstream = bench.upstream().await;
        let upstream_side = async {
            upstream.recv_head().await;
            upstream.send(response).await;
            upstream.finish().await;
        };
        let client_side = async {
            let _ = client.recv_head().await;
            assert_eq!(client.recv_body().await, ("half".into(), Event::Reset));
        };
        let (next, (), ()) =
            tokio::join!(serve(&bench, stream, GET, true), upstream_side, client_side);
        assert!(matches!(next, Next::Reset(_)));
    }
    for ends in [false, true] {
        let (bench, stream, mut client) = bench();
        let mut upstream = double::upstream();
        let upstream_side = async {
            let _ = upstream.recv_head().await;
            upstream.head(&[(":status", "200"), ("content-length", "9")], false);
            upstream.data(b"half").await;
            if ends {
                upstream.end()
            } else {
                upstream.reset()
            }
        };
        let client_side = async {
            let _ = client.recv_head().await;
            assert_eq!(client.recv_body().await, ("half".into(), Event::Reset));
        };
        tokio::join!(serve(&bench, stream, GET, true), upstream_side, client_side);
    }
    let bench = Bench::edge("");
    let (mut client, mut upstream) = (bench.connect_client(), double::upstream());
    let upstream_side = async {
        let _ = upstream.recv_head().await;
        upstream.head(&[(":status", "200")], false);
        upstream.data(b"half").await;
        upstream.reset();
    };
    let client_side = async {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        client.recv_end().await
    };
    let ((), received) = tokio::join!(upstream_side, client_side);
    assert!(matches!(received, Err(Broken::Reset(_))), "{received:?}");
}

#[tokio::test(start_paused = true)]
async fn responses_made_here_are_framed_by_the_stream() {
    let (bench, stream, mut client) = bench();
    let options = [
        (":method", "OPTIONS"),
        (":path", "/"),
        (":authority", "a"),
        ("max-forwards", "0"),
    ];
    let client_side = async {
        assert_eq!(value(&client.recv_head().await, ":status"), Some("200"));
        assert_eq!(client.recv_body().await, (String::new(), Event::End));
    };
    tokio::join!(serve(&bench, stream, options, true), client_side);

    let (bench, stream, mut client) = self::bench();
    let mut upstream = double::upstream();
    let upstream_side = async {
        let _ = upstream.recv_head().await;
        upstream.reset();
    };
    let client_side = async {
        assert_eq!(value(&client.recv_head().await, ":status"), Some("502"));
        let (body, end) = client.recv_body().await;
        assert!(
            body.starts_with("502 Bad Gateway\n") && end == Event::End,
            "{body}"
        );
    };
    tokio::join!(
        serve(&bench, stream, post(None), true),
        upstream_side,
        client_side
    );
}
