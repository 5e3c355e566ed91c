use std::sync::Arc;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Endpoint, EndpointConfig, TokioRuntime};
use rustls::RootCertStore;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::task::JoinSet;

use super::*;

const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// The index of the socket on which a datagram arrives.
fn arrives_at(sockets: &[UdpSocket], datagram: &[u8]) -> usize {
    let client = UdpSocket::bind(LOCAL).unwrap();
    client
        .send_to(datagram, sockets[0].local_addr().unwrap())
        .unwrap();
    let began = std::time::Instant::now();
    loop {
        for (index, socket) in sockets.iter().enumerate() {
            if socket.recv(&mut [0; 64]).is_ok() {
                return index;
            }
        }
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "it did not arrive"
        );
        std::thread::yield_now();
    }
}

#[test]
fn the_kernel_selects_the_socket_that_the_connection_id_names() {
    let sockets = bind(LOCAL, 3).unwrap();
    assert_eq!(sockets.len(), 3);
    for worker in 0..3 {
        let mut ids = SteeredConnectionIds::new(7, worker, 3);
        for _ in 0..20 {
            let id = ids.generate_cid();
            let short = [&[0x40], &id[..], &[0; 20]].concat();
            let long = [&[0xc0, 0, 0, 0, 1, 8], &id[..], &[0; 20]].concat();
            assert_eq!(arrives_at(&sockets, &short), worker);
            assert_eq!(arrives_at(&sockets, &long), worker);
        }
    }
}

#[test]
fn datagrams_without_a_connection_id_go_to_the_first_socket() {
    let sockets = bind(LOCAL, 3).unwrap();
    for datagram in [&[][..], &[0xc0], &[0x40], &[0xc0, 0, 0, 0, 1, 8]] {
        assert_eq!(arrives_at(&sockets, datagram), 0, "{datagram:?}");
    }
}

#[test]
fn an_address_in_use_is_detected_even_if_its_owner_would_share_it() {
    let others = bind(LOCAL, 2).unwrap();
    let error = bind(others[0].local_addr().unwrap(), 2).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
}

#[test]
fn ids_are_recognized_by_a_later_process_with_the_same_key_and_no_other() {
    let id = SteeredConnectionIds::new(7, 1, 4).generate_cid();
    assert!(SteeredConnectionIds::new(7, 3, 4).validate(&id).is_ok());
    assert!(SteeredConnectionIds::new(8, 1, 4).validate(&id).is_err());
}

#[tokio::test]
async fn a_connection_stays_with_its_worker_when_its_client_changes_its_address() {
    let sockets = bind(LOCAL, 4).unwrap();
    let to = sockets[0].local_addr().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    let root = params.self_signed(&key).unwrap().der().clone();

    let mut servers = JoinSet::new();
    for (worker, socket) in sockets.into_iter().enumerate() {
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let server = quinn::ServerConfig::with_single_cert(vec![root.clone()], der).unwrap();
        let mut config = EndpointConfig::default();
        config.cid_generator(move || Box::new(SteeredConnectionIds::new(7, worker, 4)));
        let endpoint = Endpoint::new(config, Some(server), socket, Arc::new(TokioRuntime)).unwrap();
        let server = async move {
            let mut connections = JoinSet::new();
            while let Some(incoming) = endpoint.accept().await {
                connections.spawn(async move {
                    let connection = incoming.await.unwrap();
                    while let Ok((mut send, _)) = connection.accept_bi().await {
                        send.write_all(&[u8::try_from(worker).unwrap()])
                            .await
                            .unwrap();
                        send.finish().unwrap();
                    }
                });
            }
        };
        servers.spawn(server);
    }

    let mut roots = RootCertStore::empty();
    roots.add(root).unwrap();
    let tls = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tls = Arc::new(QuicClientConfig::try_from(tls).unwrap());
    let mut workers = std::collections::BTreeSet::new();
    for _ in 0..16 {
        let client = Endpoint::client(LOCAL).unwrap();
        let config = quinn::ClientConfig::new(Arc::clone(&tls) as _);
        let connection = client
            .connect_with(config, to, "localhost")
            .unwrap()
            .await
            .unwrap();
        let worker = || async {
            let (mut send, mut recv) = connection.open_bi().await.unwrap();
            send.write_all(b"?").await.unwrap();
            recv.read_to_end(1).await.unwrap()
        };
        let before = worker().await;
        client.rebind(UdpSocket::bind(LOCAL).unwrap()).unwrap();
        assert_eq!(worker().await, before);
        workers.insert(before);
        connection.close(0_u8.into(), b"");
    }
    assert!(workers.len() > 1, "all connections are with one worker");
}
