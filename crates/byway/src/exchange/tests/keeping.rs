//! Connections that are used again: an idle one is probed by a system call only when something may
//! have arrived, and counts for the client that uses it now; how idle ones end.

use std::task::Poll;

use byway_dial::{Broken, Read, Stream};
use byway_http::reactor_tick;
use byway_pool::{Conn as _, Probe};
use byway_testkit::pipe;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::outbound::upstream_conn::UpstreamConn;
use crate::testing::{Bench, Peer};

async fn pair() -> (UpstreamConn, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connecting = TcpStream::connect(listener.local_addr().unwrap());
    let (ours, theirs) = tokio::join!(connecting, listener.accept());
    (
        UpstreamConn::new(Stream::tcp(ours.unwrap())),
        theirs.unwrap().0,
    )
}

#[tokio::test]
async fn an_idle_connection_is_probed_unless_the_reactor_has_ticked_and_announced_nothing() {
    let (mut kept, mut origin) = pair().await;
    origin.write_all(b"an answer").await.unwrap();
    kept.fill().await.unwrap();
    kept.consume(9);
    assert!(
        kept.may_be_readable(),
        "the reactor has not ticked since it was read"
    );
    assert_eq!(kept.probe(), Probe::Clean);
    reactor_tick::advance();
    assert!(
        !kept.may_be_readable(),
        "what arrived before the tick would have been announced"
    );

    origin.write_all(b"x").await.unwrap();
    std::future::poll_fn(|cx| match kept.may_be_readable() {
        true => Poll::Ready(()),
        false => {
            // The reactor ticks between two polls.
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await;
    assert_eq!(kept.probe(), Probe::Dirty);
}

#[tokio::test]
async fn a_connection_with_unread_or_unsent_bytes_is_never_clean() {
    let (mut kept, mut origin) = pair().await;
    origin.write_all(b"an answer and more").await.unwrap();
    kept.fill().await.unwrap();
    kept.consume(9);
    reactor_tick::advance();
    assert!(kept.may_be_readable());
    assert_eq!(kept.probe(), Probe::Dirty);
}

/// A FIN of a request that was cut would look like that of an idle stream.
#[tokio::test]
async fn a_stream_with_an_ordered_end_has_one_only_while_it_is_idle() {
    for (ordered_end, is_used_again, expected) in [
        (true, false, "a FIN"),
        (true, true, "a reset"),
        (false, false, "a reset"),
    ] {
        let (near, far) = pipe::pair();
        let mut conn = UpstreamConn {
            ordered_end,
            ..UpstreamConn::new(near.into_stream())
        };
        conn.rests();
        if is_used_again {
            conn.is_used_again(1);
        }
        drop(conn);
        let end = match far.into_stream().read(&mut [0]).await {
            Ok(Read::Fin) => "a FIN",
            Err(Broken::Reset(_)) => "a reset",
            other => panic!("{other:?}"),
        };
        assert_eq!(end, expected, "{ordered_end}, {is_used_again}");
    }
}

#[tokio::test]
async fn a_connection_that_was_used_again_counted_for_the_client_before() {
    let bench = Bench::edge("");
    let (near, far) = pipe::pair();
    let counted = near.control();
    bench.add_idle_connection(near.into_stream()).await;
    let mut upstream = Peer::new(far);
    for client in ["192.0.2.1:1", "192.0.2.2:1", "192.0.2.1:2"] {
        let mut client = bench.connect_client_from(client.parse().unwrap());
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        upstream.recv_head().await;
        upstream.send("HTTP/1.1 204 No Content\r\n\r\n").await;
        client.recv_head().await;
    }
    let counted = counted.counted_for();
    let [first, second, again] = counted[..] else {
        panic!("{counted:?}")
    };
    assert!(
        first != 0 && first != second && first == again,
        "{counted:?}"
    );
}
