use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, ConnectionError, Endpoint};
use rustls::client::ResolvesClientCert;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, SignatureScheme};

use super::*;
use crate::alpn::{self, Family};

/// A port that serves `h3` for anybody, and `byway/1` for clients with a certificate.
struct SharedPort {
    endpoint: Endpoint,
    root: CertificateDer<'static>,
    key: rcgen::KeyPair,
}

impl SharedPort {
    fn bind() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        let root = params.self_signed(&key).unwrap().der().clone();
        let mut roots = RootCertStore::empty();
        roots.add(root.clone()).unwrap();
        let clients = WebPkiClientVerifier::builder(Arc::new(roots))
            .build()
            .unwrap();

        let config = |protocol: &[u8], clients| {
            let builder = match clients {
                Some(clients) => rustls::ServerConfig::builder().with_client_cert_verifier(clients),
                None => rustls::ServerConfig::builder().with_no_client_auth(),
            };
            let der = PrivatePkcs8KeyDer::from(key.serialize_der());
            let mut config = builder
                .with_single_cert(vec![root.clone()], PrivateKeyDer::Pkcs8(der))
                .unwrap();
            config.alpn_protocols = vec![protocol.to_vec()];
            Arc::new(QuicServerConfig::try_from(config).unwrap()) as QuicConfig
        };
        let web = config(b"h3", None);
        let any = Arc::clone(&web);
        let families = [
            Family {
                protocols: &[b"h3"],
                served_by: web,
            },
            Family {
                protocols: &[b"byway/1"],
                served_by: config(b"byway/1", Some(clients)),
            },
        ];
        let choosing = ChoosingConfig::new(any, move |hello| {
            let offered = hello.alpn().into_iter().flatten();
            alpn::choose(&families, offered, None).cloned()
        });
        let config = quinn::ServerConfig::with_crypto(Arc::new(choosing));
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let endpoint = Endpoint::server(config, local).unwrap();
        Self {
            endpoint,
            root,
            key,
        }
    }

    /// The result of a handshake with this offer, as the client sees it, and whether the server
    /// has asked for a certificate.
    async fn connect(&self, offer: &[&[u8]]) -> (Result<(), ConnectionError>, bool) {
        let asked = Arc::new(AtomicBool::new(false));
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let signer = rustls::crypto::aws_lc_rs::sign::any_supported_type(&der).unwrap();
        let identity = Arc::new(CertifiedKey::new(vec![self.root.clone()], signer));
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let mut config = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_cert_resolver(Arc::new(Asked {
                asked: Arc::clone(&asked),
                identity,
            }));
        config.alpn_protocols = offer.iter().map(|protocol| protocol.to_vec()).collect();
        let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap()));
        let client = Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();

        let server = async {
            let accepted = self.endpoint.accept().await.unwrap().await;
            if let Ok(connection) = accepted {
                connection.closed().await;
            }
        };
        let to = self.endpoint.local_addr().unwrap();
        let connecting = async {
            let connection = client
                .connect_with(config, to, "localhost")
                .unwrap()
                .await?;
            connection.close(0_u8.into(), b"");
            Ok(())
        };
        let both = async { tokio::join!(server, connecting) };
        let ((), connected) = tokio::time::timeout(Duration::from_secs(60), both)
            .await
            .unwrap();
        (connected, asked.load(Ordering::Relaxed))
    }
}

/// Notes that a certificate was asked for.
#[derive(Debug)]
struct Asked {
    asked: Arc<AtomicBool>,
    identity: Arc<CertifiedKey>,
}

impl ResolvesClientCert for Asked {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        Some(Arc::clone(&self.identity))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Offers with it do not fit in one packet.
fn long_names() -> Vec<Vec<u8>> {
    (0..20).map(|n| format!("{n:0>200}").into_bytes()).collect()
}

fn is_refused(connected: Result<(), ConnectionError>) -> bool {
    let code = TransportErrorCode::crypto(AlertDescription::NoApplicationProtocol.into());
    matches!(connected, Err(ConnectionError::ConnectionClosed(close)) if close.error_code == code)
}

#[tokio::test]
async fn two_protocols_share_a_port_and_only_one_asks_for_a_certificate() {
    let port = SharedPort::bind();
    let (connected, asked) = port.connect(&[b"h3"]).await;
    assert!(connected.is_ok() && !asked, "{connected:?}, asked: {asked}");
    let (connected, asked) = port.connect(&[b"byway/1"]).await;
    assert!(connected.is_ok() && asked, "{connected:?}, asked: {asked}");
}

#[tokio::test]
async fn a_client_hello_that_is_split_over_packets_is_collected() {
    let port = SharedPort::bind();
    let names = long_names();
    for protocol in [&b"h3"[..], b"byway/1"] {
        let mut offer: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        offer.push(protocol);
        let (connected, asked) = port.connect(&offer).await;
        assert!(connected.is_ok(), "{connected:?}");
        assert_eq!(asked, protocol == b"byway/1");
    }
}

#[tokio::test]
async fn a_client_without_a_known_protocol_is_refused() {
    let port = SharedPort::bind();
    for offer in [&[][..], &[&b"spdy/3"[..]]] {
        let (connected, asked) = port.connect(offer).await;
        assert!(is_refused(connected) && !asked);
    }
}

#[tokio::test]
async fn a_client_that_offers_both_protocols_is_refused() {
    let port = SharedPort::bind();
    let (connected, asked) = port.connect(&[b"h3", b"byway/1"]).await;
    assert!(is_refused(connected) && !asked);
}

/// A session as quinn has it before the first packet.
fn session() -> Box<dyn Session> {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().der().clone();
    let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], der)
        .unwrap();
    let any: QuicConfig = Arc::new(QuicServerConfig::try_from(config).unwrap());
    let chosen = Arc::clone(&any);
    let params = TransportParameters::read(Side::Server, &mut &[][..]).unwrap();
    Arc::new(ChoosingConfig::new(any, move |_| Ok(Arc::clone(&chosen)))).start_session(1, &params)
}

#[test]
fn before_the_client_hello_is_whole_nothing_is_sent() {
    let mut session = session();
    // A ClientHello of 512 bytes, of which 100 have arrived.
    let hello = [&[1, 0, 2, 0, 3, 3][..], &[7; 94]].concat();
    assert!(!session.read_handshake(&hello).unwrap());
    let mut out = Vec::new();
    assert!(session.write_handshake(&mut out).is_none());
    assert!(out.is_empty() && session.is_handshaking());
    assert!(session.transport_parameters().unwrap().is_none());
    assert!(session.handshake_data().is_none() && session.peer_identity().is_none());
}

#[test]
fn a_client_hello_over_the_limit_is_refused_when_it_passes_it() {
    let mut session = session();
    // It announces 65,280 bytes.
    assert!(!session.read_handshake(&[1, 0, 0xff, 0]).unwrap());
    let mut taken = 4;
    let refused = loop {
        match session.read_handshake(&[0; 1000]) {
            Ok(ready) => assert!(!ready),
            Err(refused) => break refused,
        }
        taken += 1000;
    };
    assert!(taken <= CLIENT_HELLO_BYTES, "{taken} bytes were taken");
    assert!(refused.reason.contains("larger than"), "{refused}");
}

#[test]
fn what_is_no_client_hello_is_refused() {
    for bytes in [&[2, 0, 0, 1, 0][..], &[1, 0, 0, 3, 3, 3, 3], &[0xff; 64]] {
        let mut session = session();
        assert!(session.read_handshake(bytes).is_err(), "{bytes:?}");
    }
}
