//! One request in, one response out.

use std::sync::Arc;

use crate::testing::{Bench, plan, settle};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

#[tokio::test(start_paused = true)]
async fn one_request_in_one_response_out_and_both_connections_stay() {
    let bench = Bench::edge("");
    let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
    for path in ["/first", "/second"] {
        client.send(get(path)).await;
        let head = upstream.recv_head().await;
        assert!(
            head.starts_with(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n")),
            "{head}"
        );
        upstream.send(OK).await;
        let head = client.recv_head().await;
        assert!(
            head.starts_with("HTTP/1.1 200 OK\r\n") && !head.contains("Connection:"),
            "{head}"
        );
        client.recv("hi").await;
    }
    settle().await;
    assert_eq!((client.unread_bytes(), upstream.unread_bytes()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn pipelined_requests_are_answered_in_order_one_at_a_time() {
    let bench = Bench::edge("");
    let (mut client, mut upstream) = (bench.connect_client_through(1024), bench.upstream().await);
    client.send(get("/1") + &get("/2")).await;
    upstream.recv_head().await;
    settle().await;
    assert_eq!(
        upstream.unread_bytes(),
        0,
        "the second waits for the first response"
    );
    upstream.send(OK).await;
    assert!(upstream.recv_head().await.starts_with("GET /2 "));
    upstream
        .send("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
        .await;
    assert!(client.recv_head().await.starts_with("HTTP/1.1 200 "));
    client.recv("hi").await;
    assert!(client.recv_head().await.starts_with("HTTP/1.1 201 "));
}

#[tokio::test(start_paused = true)]
async fn every_split_into_single_bytes_gives_the_same_answer() {
    let bench = Bench::edge("");
    let (near, far) = byway_testkit::pipe::pair_of(1);
    bench.add_idle_connection(near.into_stream()).await;
    let (mut client, mut upstream) = (
        bench.connect_client_through(1),
        crate::testing::Peer::new(far),
    );
    for _ in 0..2 {
        let request = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n0\r\nA: b\r\n\r\n";
        let sending = async { client.send(request).await };
        let receiving = async {
            assert!(
                upstream
                    .recv_head()
                    .await
                    .contains("\r\nTransfer-Encoding: chunked\r\n")
            );
            upstream.recv("1\r\na\r\n1\r\nb\r\n0\r\nA: b\r\n\r\n").await;
        };
        tokio::join!(sending, receiving);
        let response =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nxyz\r\n0\r\nC: d\r\n\r\n";
        let sending = async { upstream.send(response).await };
        let receiving = async {
            client.recv_head().await;
            client
                .recv("1\r\nx\r\n1\r\ny\r\n1\r\nz\r\n0\r\nC: d\r\n\r\n")
                .await;
        };
        tokio::join!(sending, receiving);
    }
}

#[tokio::test(start_paused = true)]
async fn answers_without_a_body_keep_both_connections() {
    let bench = Bench::edge("");
    let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
    for (method, answer) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n",
        ),
    ] {
        client.send(get("/").replace("GET", method)).await;
        upstream.recv_head().await;
        upstream.send(answer).await;
        let head = client.recv_head().await;
        assert_eq!(
            head.contains("Content-Length: 1000"),
            answer.contains("Content-Length"),
            "{head}"
        );
        assert!(
            !head.contains("Connection") && !head.contains("Transfer-Encoding"),
            "{head}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn trailers_pass_both_ways_and_forbidden_ones_are_dropped() {
    let bench = Bench::edge("");
    let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
    client
        .send("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nSum: 1\r\nHost: evil\r\n\r\n")
        .await;
    upstream.recv_head().await;
    upstream.recv("0\r\nSum: 1\r\n\r\n").await;
    upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nSet-Cookie: x\r\nSum: 2\r\n\r\n").await;
    client.recv_head().await;
    client.recv("0\r\nSum: 2\r\n\r\n").await;
}

#[tokio::test(start_paused = true)]
async fn an_edge_drops_the_trailers_that_it_drops_from_heads() {
    const TRAILERS: &str = "X-Client-IP: 6.6.6.6\r\nX-Request-Id: forged\r\nX_Auth_User: root\r\nX.Auth.User: root\r\nSum: 1\r\n";
    let request = |target: &str| {
        format!(
            "PUT {target} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n{TRAILERS}\r\n"
        )
    };
    let edge = Bench::edge("");
    let (mut client, mut upstream) = (edge.connect_client_through(4096), edge.upstream().await);
    client.send(request("/")).await;
    upstream.recv_head().await;
    upstream.recv("0\r\nSum: 1\r\n\r\n").await;
    // An egress writes no such field, and passes underscores on.
    let egress = Bench::egress("");
    let (mut client, mut origin) = (
        egress.connect_client_through(4096),
        egress.origin("a:80").await,
    );
    client.send(request("http://a/")).await;
    origin.recv_head().await;
    origin
        .recv("0\r\nX_Auth_User: root\r\nX.Auth.User: root\r\nSum: 1\r\n\r\n")
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_body_of_unknown_length_is_chunked_for_1_1_and_ends_the_connection_for_1_0() {
    for (version, body) in [
        ("1.1", "8\r\nuntil FI\r\n1\r\nN\r\n0\r\n\r\n"),
        ("1.0", "until FIN"),
    ] {
        let bench = Bench::edge("");
        let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
        client
            .send(format!(
                "GET / HTTP/{version}\r\nHost: a\r\nConnection: keep-alive\r\n\r\n"
            ))
            .await;
        upstream.recv_head().await;
        upstream.send("HTTP/1.1 200 OK\r\n\r\n").await;
        let head = client.recv_head().await;
        assert_eq!(
            head.contains("Connection: close"),
            version == "1.0",
            "{head}"
        );
        upstream.send("until FIN").await;
        upstream.finish().await;
        client.recv(body).await;
        if version == "1.0" {
            assert_eq!(client.recv_end().await.unwrap(), "");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_response_on_a_connection_announces_the_close() {
    let bench = Bench::edge("limits.requests_per_connection = 2");
    let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
    for close in [false, true] {
        client.send(get("/")).await;
        upstream.recv_head().await;
        upstream.send(OK).await;
        assert_eq!(
            client.recv_head().await.contains("Connection: close\r\n"),
            close
        );
        client.recv("hi").await;
    }
    assert_eq!(client.recv_end().await.unwrap(), "");
}

#[tokio::test(start_paused = true)]
async fn a_response_sent_during_a_drain_announces_the_close() {
    let bench = Bench::edge("");
    let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
    client.send(get("/")).await;
    upstream.recv_head().await;
    bench.stop.draining.raise();
    upstream.send(OK).await;
    assert!(client.recv_head().await.contains("Connection: close\r\n"));
    client.recv("hi").await;
    assert_eq!(client.recv_end().await.unwrap(), "");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_has_arrived_when_the_drain_begins_is_served() {
    for _ in 0..20 {
        let bench = Bench::edge("");
        let (mut client, mut upstream) =
            (bench.connect_client_through(1024), bench.upstream().await);
        client.send(get("/")).await;
        bench.stop.draining.raise();
        upstream.recv_head().await;
        upstream.send(OK).await;
        assert!(client.recv_head().await.contains("Connection: close\r\n"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_comes_after_a_reload_is_served_by_the_new_plan() {
    let bench = Bench::edge("");
    let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
    client.send(get("/")).await;
    upstream.recv_head().await;
    upstream.send(OK).await;
    client.recv_head().await;
    client.recv("hi").await;
    settle().await;
    let route = "[[edge.route]]\npath = \"^/other\"\nto = \"127.0.0.1:1\"\n";
    let new = plan(&format!("[[edge]]\nlisten = \"127.0.0.1:0\"\n{route}"));
    bench.context.live().set_plan(Arc::new(new));
    client.send(get("/")).await;
    assert!(client.recv_head().await.starts_with("HTTP/1.1 404 "));
}

#[tokio::test(start_paused = true)]
async fn a_complete_request_followed_by_fin_gets_its_response() {
    let bench = Bench::edge("");
    let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
    client.send(get("/")).await;
    client.finish().await;
    upstream.recv_head().await;
    upstream.send(OK).await;
    client.recv_head().await;
    assert_eq!(client.recv_end().await.unwrap(), "hi");
}

#[tokio::test(start_paused = true)]
async fn interim_responses_pass_and_the_final_one_follows() {
    let bench = Bench::edge("");
    let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
    client
        .send("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        .await;
    assert!(
        upstream
            .recv_head()
            .await
            .contains("Expect: 100-continue\r\n")
    );
    upstream.send("HTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(client.recv_head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("body").await;
    upstream.recv("body").await;
    upstream.send(OK).await;
    assert!(!client.recv_head().await.contains("Connection: close"));
    client.recv("hi").await;
}
