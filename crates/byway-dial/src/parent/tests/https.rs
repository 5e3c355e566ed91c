//! An HTTP proxy over TLS.

use super::*;
use crate::stream::Pipe;
use crate::tls::tests::Peer;

/// An `https` parent at a loopback address with a certificate for it, and a dialler that trusts it.
async fn https_parent() -> (Parent, TcpListener, Peer, Dialler) {
    let peer = Peer::good();
    let (parent, listener) = parent(Scheme::Https, Some(("bob", "key"))).await;
    let dialler = Dialler::new(Resolver::system(Handle::current()), Options::default());
    let dialler = dialler.with_parent_tls(peer.trusting());
    (parent, listener, peer, dialler)
}

async fn accept(listener: &TcpListener, peer: &Peer) -> Stream {
    let (socket, _) = listener.accept().await.unwrap();
    peer.accept(Stream::tcp(socket)).await.unwrap()
}

#[tokio::test]
async fn a_tunnel_through_an_https_proxy_is_requested_over_tls_and_keeps_early_bytes() {
    let (parent, listener, peer, dialler) = https_parent().await;
    let play = async {
        let mut stream = accept(&listener, &peer).await;
        let expected = "CONNECT name.example:443 HTTP/1.1\r\nHost: name.example:443\r\n\
                     Proxy-Authorization: Basic Ym9iOmtleQ==\r\n\r\n";
        assert_eq!(read(&mut stream, expected.len()).await, expected.as_bytes());
        stream
            .write_all(b"HTTP/1.1 200 OK\r\n\r\nearly")
            .await
            .unwrap();
        stream
    };
    let target = target();
    let rules = AddressRules::guarded();
    let (dialled, mut far) = tokio::join!(dialler.open_via(&parent, &target, &rules), play);
    let mut dialled = dialled.unwrap();
    assert_eq!(read(&mut dialled.stream, 5).await, b"early");
    dialled.stream.write_all(b"hello").await.unwrap();
    assert_eq!(read(&mut far, 5).await, b"hello");
    assert_eq!(dialled.peer, far.local_addr());
}

#[tokio::test]
async fn tls_to_a_target_runs_inside_tls_to_the_proxy() {
    let (parent, listener, peer, dialler) = https_parent().await;
    let play = async {
        let mut stream = accept(&listener, &peer).await;
        let mut received = Vec::new();
        while !received.ends_with(b"\r\n\r\n") {
            received.extend(read(&mut stream, 1).await);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let mut inner = peer.accept(stream).await.unwrap();
        inner.write_all(b"inside").await.unwrap();
        inner
    };
    let ask = async {
        let tunnel = dialler
            .open_via(&parent, &target(), &AddressRules::guarded())
            .await
            .unwrap();
        let mut inner = peer
            .client()
            .connect(tunnel.stream, &peer.name().clone())
            .await
            .unwrap();
        read(&mut inner, 6).await
    };
    let (inner_bytes, _inner) = tokio::join!(ask, play);
    assert_eq!(inner_bytes, b"inside");
}

#[tokio::test]
async fn an_https_proxy_that_cannot_prove_its_name_gets_no_request() {
    let (parent, listener, peer, _) = https_parent().await;
    let strict = Dialler::new(Resolver::system(Handle::current()), Options::default());
    let strict = strict.with_parent_tls(Peer::good().trusting());
    let play = async {
        let (socket, _) = listener.accept().await.unwrap();
        peer.accept(Stream::tcp(socket)).await.is_err()
    };
    let (opened, refused) = tokio::join!(strict.open_parent(&parent), play);
    let ParentError::Dial(error) = why(opened) else {
        panic!("not a failure of the way to the parent")
    };
    assert!(refused && matches!(*error, DialError::Tls(_)), "{error}");
    let unix = Parent {
        at: Target::Unix("/run/a".into()),
        ..parent
    };
    assert!(strict.open_parent(&unix).await.is_err());
}

#[tokio::test]
async fn requests_in_absolute_form_are_sent_over_tls_too() {
    let (parent, listener, peer, dialler) = https_parent().await;
    let (dialled, mut far) = tokio::join!(dialler.open_parent(&parent), accept(&listener, &peer));
    dialled
        .unwrap()
        .stream
        .write_all(b"GET http://a/")
        .await
        .unwrap();
    assert_eq!(read(&mut far, 13).await, b"GET http://a/");
}
