//! Tests of what the inbounds of an egress do with a connection before anything is opened.

use std::net::SocketAddr;
use std::sync::Arc;

use byway_dial::Stream;
use byway_link::GrantId;

use super::bind::{Socket, bind};
use super::context::{Accepted, ConnectionInfo};
use super::dispatch::dispatch;
use super::http::h1;
use super::{mixed, tcp};
use crate::config::Bind;
use crate::link::port_opener::{NotOpen, PortOpener};
use crate::os::inherit::Inherited;
use crate::testing::{Bench, settle};

/// SOCKS5: no login, then CONNECT to 127.0.0.1:1, which the guard denies.
const SOCKS5: &[u8] = b"\x05\x01\0\x05\x01\0\x01\x7f\0\0\x01\0\x01";

#[tokio::test(start_paused = true)]
async fn a_refused_connect_ends_the_connection_so_that_bytes_sent_early_are_not_a_request() {
    let bench = Bench::egress("");
    let (mut client, mut origin) = (
        bench.connect_client_through(4096),
        bench.origin("a:80").await,
    );
    client
        .send("CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: a\r\n\r\nGET http://a/smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    let head = client.recv_head().await;
    assert!(
        head.starts_with("HTTP/1.1 403 ") && head.contains("Connection: close\r\n"),
        "{head}"
    );
    client.finish().await;
    assert!(!client.recv_end().await.unwrap().contains("HTTP/"));
    settle().await;
    assert_eq!(origin.unread_bytes(), 0);
    drop(bench);
    origin.wait_until_closed().await;
}

#[tokio::test(start_paused = true)]
async fn a_socks_client_that_has_sent_more_can_still_read_its_refusal() {
    let bench = Bench::egress("");
    let mut client = bench.connect_client_through(16);
    client.send(SOCKS5).await;
    client
        .send("bytes for the far side, sent without waiting for the answer")
        .await;
    client.recv(b"\x05\0").await;
    client.recv(b"\x05\x02\0\x01\0\0\0\0\0\0").await;
    client.finish().await;
    assert_eq!(client.recv_end().await.unwrap(), "");
}

#[tokio::test(start_paused = true)]
async fn every_split_of_a_socks_handshake_into_single_bytes_gives_the_same_reply() {
    let bench = Bench::egress("");
    for (request, reply) in [
        (SOCKS5, &b"\x05\0\x05\x02\0\x01\0\0\0\0\0\0"[..]),
        (b"\x04\x01\0\x01\x7f\0\0\x01user\0", b"\0\x5b\0\0\0\0\0\0"),
        (
            b"\x04\x01\0\x01\0\0\0\x01user\0localhost\0",
            b"\0\x5b\0\0\0\0\0\0",
        ),
    ] {
        let mut client = bench.connect_client_through(1);
        assert_eq!(client.converse(request, reply.len()).await, reply);
        assert_eq!(client.recv_end().await.unwrap(), "");
    }
}

#[tokio::test(start_paused = true)]
async fn unsupported_socks_requests_get_their_reply_code() {
    let bench = Bench::egress("");
    for (request, code) in [
        (&b"\x05\x01\0\x05\x02\0\x01\x01\x02\x03\x04\0\x50"[..], 7),
        (b"\x05\x01\0\x05\x03\0\x01\0\0\0\0\0\0", 7),
        (b"\x05\x01\0\x05\x01\0\x09\x01\x02\x03\x04\0\x50", 8),
    ] {
        let mut client = bench.connect_client_through(64);
        client.send(request).await;
        client.recv([5, 0, 5, code]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_endless_socks_handshake_is_ended() {
    for sent in [
        &b"\x05"[..],
        b"\x05\x01\0",
        b"\x04\x01\0\x50\x01\x02\x03\x04name without end",
    ] {
        let bench = Bench::egress("");
        let mut client = bench.connect_client_through(64);
        client.send(sent).await;
        client.wait_until_closed().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_absolute_request_reveals_nothing_of_its_user_to_the_origin() {
    let bench = Bench::egress("");
    let (mut client, mut origin) = (bench.connect_client(), bench.origin("a:80").await);
    client
        .send("GET http://a/x?y HTTP/1.1\r\nHost: other\r\nProxy-Authorization: Basic eA==\r\nProxy-Connection: close\r\n\r\n")
        .await;
    let head = origin.recv_head().await;
    assert_eq!(
        head,
        "GET /x?y HTTP/1.1\r\nHost: a\r\nVia: 1.1 byway\r\n\r\n"
    );
    origin
        .send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        .await;
    assert!(client.recv_head().await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_has_announced_its_last_request_is_not_waited_for_unless_it_sent_a_body() {
    for (request, is_left_at_once) in [
        (
            "GET http://a/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            true,
        ),
        ("GET http://a/ HTTP/1.0\r\nHost: a\r\n\r\n", true),
        (
            "POST http://a/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx",
            false,
        ),
        // It has sent more than it announced.
        (
            "GET http://a/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n\r\n",
            false,
        ),
    ] {
        let bench = Bench::egress("");
        let (mut client, mut origin) = (bench.connect_client(), bench.origin("a:80").await);
        client.send(request).await;
        origin.recv_head().await;
        origin
            .send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .await;
        assert!(client.recv_head().await.starts_with("HTTP/1.1 200 "));
        assert_eq!(client.recv_end().await.unwrap(), "");
        settle().await;
        assert_eq!(client.is_closed_by_peer(), is_left_at_once, "{request:?}");
    }
}

#[tokio::test]
async fn an_accepted_connection_has_tcp_nodelay() {
    let bound = bind(
        &"127.0.0.1:0".parse().unwrap(),
        1,
        &mut Inherited::default(),
    )
    .unwrap();
    let Some(Socket::Tcp(socket)) = bound.sockets.into_iter().next() else {
        panic!("a TCP socket")
    };
    let _client = std::net::TcpStream::connect(socket.local_addr().unwrap()).unwrap();
    let (accepted, _) = tokio::net::TcpListener::from_std(socket)
        .unwrap()
        .accept()
        .await
        .unwrap();
    assert!(
        Stream::accepted_tcp(accepted)
            .as_tcp()
            .unwrap()
            .nodelay()
            .unwrap()
    );
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_client_that_does_not_read_holds_at_most_256_kib_of_the_kernels_send_buffer() {
    use std::task::Poll;

    use byway_dial::Pipe;

    let bound = bind(
        &"127.0.0.1:0".parse().unwrap(),
        1,
        &mut Inherited::default(),
    )
    .unwrap();
    let Some(Socket::Tcp(socket)) = bound.sockets.into_iter().next() else {
        panic!("a TCP socket")
    };
    let client = tokio::net::TcpSocket::new_v4().unwrap();
    // The client's own receive buffer is small, so what is written waits in the send buffer.
    client.set_recv_buffer_size(4096).unwrap();
    let client = client.connect(socket.local_addr().unwrap());
    let listener = tokio::net::TcpListener::from_std(socket).unwrap();
    let (_client, accepted) = tokio::join!(client, listener.accept());
    let mut stream = Stream::accepted_tcp(accepted.unwrap().0);
    let (bytes, mut taken, mut refusals) = (vec![0; 1 << 20], 0, 0);
    while refusals < 1000 {
        let write = std::future::poll_fn(|cx| {
            Poll::Ready(stream.poll_write(cx, &[std::io::IoSlice::new(&bytes)]))
        });
        match write.await {
            Poll::Ready(n) => (taken, refusals) = (taken + n.unwrap(), 0),
            Poll::Pending => refusals += 1,
        }
        tokio::task::yield_now().await;
    }
    assert!(
        taken <= byway_dial::unsent::MOST_BYTES as usize,
        "{taken} bytes"
    );
}

#[tokio::test]
async fn a_connection_takes_only_the_memory_of_its_own_role() {
    let bench = Bench::egress("");
    let (plan, listener) = bench.context.plan().unwrap();
    let accepted = || Accepted {
        stream: byway_testkit::pipe::pair().0.into_stream(),
        info: ConnectionInfo::default(),
    };
    let context = || bench.context.clone();
    let sizes = [
        (
            "before its role",
            size_of_val(&dispatch(accepted(), bench.listener())),
            1024,
        ),
        (
            "edge",
            size_of_val(&h1::serve_edge(accepted(), context())),
            1024,
        ),
        (
            "egress",
            size_of_val(&mixed::serve(
                accepted(),
                context(),
                Arc::clone(&plan),
                listener.clone(),
            )),
            2 * 1024,
        ),
        (
            "tcp",
            size_of_val(&tcp::serve(
                accepted(),
                context(),
                Arc::clone(&plan),
                listener.clone(),
            )),
            2 * 1024,
        ),
    ];
    for (role, bytes, most) in sizes {
        assert!(bytes <= most, "{role}: {bytes} of {most} bytes");
    }
}

#[tokio::test]
async fn a_public_port_that_the_server_itself_listens_on_is_not_blamed_on_another_program() {
    let bench = Bench::egress("");
    let node = &bench.context.node;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let open = || {
        let limits = &node.engine.live.plan().limits;
        Arc::clone(node).open(address, GrantId::from_bytes([0; 6]), limits)
    };
    assert!(matches!(open(), Err(NotOpen::InUse)));
    let (key, _) = node.engine.live.plan().keyed_listeners().next().unwrap();
    let every = SocketAddr::from(([0, 0, 0, 0], address.port()));
    node.engine
        .live
        .add_listener(key, Arc::new(Bind::Tcp(every)));
    let refused = open().err().map(|error| error.to_string());
    assert_eq!(
        refused.as_deref(),
        Some("the server itself listens on the port")
    );
}
