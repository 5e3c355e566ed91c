use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use std::io;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, RootCertStore, ServerConfig};
use tokio::net::UnixStream;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::stream::{Pipe, Read};

mod policy;
mod sessions;

/// The server of a test, with a certificate for a few names, and a client for it.
pub(crate) struct Peer {
    acceptor: TlsAcceptor,
    client: TlsClient,
    name: ServerName,
    trusted: CertificateDer<'static>,
}

/// The faults of a peer.
#[derive(Default)]
struct Faults {
    unknown_issuer: bool,
    expired: bool,
    not_yet_valid: bool,
    server_alpn: Vec<Vec<u8>>,
    client_alpn: Vec<&'static [u8]>,
}

impl Peer {
    pub(crate) fn good() -> Self {
        Self::with(Faults::default())
    }

    pub(crate) fn client(&self) -> &TlsClient {
        &self.client
    }

    /// Options of a client that trusts this peer.
    pub(crate) fn trusting(&self) -> TlsOptions {
        TlsOptions {
            roots: Roots::Only(vec![self.trusted.clone()]),
            ..TlsOptions::default()
        }
    }

    pub(crate) fn name(&self) -> &ServerName {
        &self.name
    }

    pub(crate) async fn accept(&self, stream: Stream) -> io::Result<Stream> {
        Ok(Stream::tls(
            self.acceptor.accept(AsIo(stream)).await?.into(),
        ))
    }

    fn with(faults: Faults) -> Self {
        let site = Site::with(&faults);
        let (_, other_root) = authority("another root");
        let mut config = site.config(rustls::DEFAULT_VERSIONS, None);
        config.alpn_protocols = faults.server_alpn;
        let trusted = if faults.unknown_issuer {
            other_root
        } else {
            site.root
        };
        let client =
            TlsClient::new(Roots::Only(vec![trusted.clone()]), &faults.client_alpn).unwrap();
        Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            client,
            name: host("a.example"),
            trusted,
        }
    }

    fn named(self, name: ServerName) -> Self {
        Self { name, ..self }
    }
}

/// A certificate for a few names, its key, and its issuer.
struct Site {
    leaf: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    root: CertificateDer<'static>,
}

impl Site {
    fn with(faults: &Faults) -> Self {
        let (issuer, root) = authority("root of a test");
        let names = ["a.example", "c.example", "192.0.2.1", "127.0.0.1"].map(str::to_owned);
        let mut params = CertificateParams::new(names).unwrap();
        if faults.expired {
            (params.not_before, params.not_after) =
                (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
        }
        if faults.not_yet_valid {
            (params.not_before, params.not_after) =
                (date_time_ymd(2901, 1, 1), date_time_ymd(2902, 1, 1));
        }
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &issuer).unwrap().der().clone();
        Self {
            leaf,
            key: PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            root,
        }
    }

    /// A server that accepts `versions` and, with a root of clients, requests their certificates.
    fn config(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        clients: Option<CertificateDer<'static>>,
    ) -> ServerConfig {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(root) => {
                let mut roots = RootCertStore::empty();
                roots.add(root).unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .build()
                        .unwrap();
                builder.with_client_cert_verifier(verifier)
            }
        };
        builder
            .with_single_cert(vec![self.leaf.clone()], self.key.clone_key())
            .unwrap()
    }

    /// Options of a client that trusts this site.
    fn trusting(&self) -> TlsOptions {
        TlsOptions {
            roots: Roots::Only(vec![self.root.clone()]),
            ..TlsOptions::default()
        }
    }
}

fn host(text: &str) -> ServerName {
    ServerName::Host(text.parse().unwrap())
}

fn authority(name: &str) -> (Issuer<'static, KeyPair>, CertificateDer<'static>) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let root = params.self_signed(&key).unwrap().der().clone();
    (Issuer::new(params, key), root)
}

/// Both sides of a session over `pair`, or the client's error.
pub(crate) async fn connect(
    peer: &Peer,
    pair: (Stream, Stream),
) -> Result<(Stream, Stream), DialError> {
    let accept = peer.acceptor.accept(AsIo(pair.1));
    let (near, far) = tokio::join!(peer.client.connect(pair.0, &peer.name), accept);
    Ok((near?, Stream::tls(far.unwrap().into())))
}

fn pair() -> (Stream, Stream) {
    let (near, far) = UnixStream::pair().unwrap();
    (Stream::unix(near), Stream::unix(far))
}

async fn failure(peer: Peer) -> TlsError {
    match connect(&peer, pair()).await {
        Err(DialError::Tls(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_good_certificate_opens_a_session_that_carries_bytes_both_ways() {
    for name in [
        host("a.example"),
        ServerName::Ip("192.0.2.1".parse().unwrap()),
    ] {
        let (mut near, mut far) = connect(&Peer::good().named(name), pair()).await.unwrap();
        let mut buf = [0; 8];
        near.write_all(b"ping").await.unwrap();
        assert_eq!(far.read(&mut buf).await.unwrap(), Read::Data(4));
        far.write_all(b"pong!").await.unwrap();
        assert_eq!(near.read(&mut buf).await.unwrap(), Read::Data(5));
        assert_eq!((near.alpn(), near.peer_addr()), (None, None));
    }
}

#[tokio::test]
async fn the_wrong_name_is_reported_with_the_names_in_the_certificate() {
    for name in [
        host("b.example"),
        ServerName::Ip("192.0.2.2".parse().unwrap()),
    ] {
        let error = failure(Peer::good().named(name)).await;
        assert!(matches!(error, TlsError::WrongName { .. }), "{error:?}");
        assert!(error.to_string().contains("a.example"), "{error}");
    }
}

#[tokio::test]
async fn an_unknown_issuer_is_reported_with_a_remedy() {
    let error = failure(Peer::with(Faults {
        unknown_issuer: true,
        ..Faults::default()
    }))
    .await;
    assert!(matches!(error, TlsError::UnknownIssuer(_)), "{error:?}");
    assert!(error.to_string().contains("add its root"), "{error}");
}

#[tokio::test]
async fn an_expired_or_future_certificate_is_reported() {
    let error = failure(Peer::with(Faults {
        expired: true,
        ..Faults::default()
    }))
    .await;
    assert!(matches!(error, TlsError::Expired(_)), "{error:?}");
    let error = failure(Peer::with(Faults {
        not_yet_valid: true,
        ..Faults::default()
    }))
    .await;
    assert!(matches!(error, TlsError::NotYetValid(_)), "{error:?}");
}

#[tokio::test]
async fn the_application_protocol_is_negotiated_or_the_failure_is_reported() {
    let offer = |server: &[&[u8]]| Faults {
        server_alpn: server.iter().map(|protocol| protocol.to_vec()).collect(),
        client_alpn: vec![b"h2", b"http/1.1"],
        ..Faults::default()
    };
    let (near, far) = connect(&Peer::with(offer(&[b"http/1.1"])), pair())
        .await
        .unwrap();
    assert_eq!(
        (near.alpn(), far.alpn()),
        (Some(&b"http/1.1"[..]), Some(&b"http/1.1"[..]))
    );

    let peer = Peer::with(offer(&[b"smtp"]));
    let (near, far) = pair();
    let (near, _) = tokio::join!(
        peer.client.connect(near, &peer.name),
        peer.acceptor.accept(AsIo(far))
    );
    assert!(
        matches!(near, Err(DialError::Tls(TlsError::NoCommonProtocol(_)))),
        "{near:?}"
    );
}

#[tokio::test]
async fn a_peer_without_tls_is_reported() {
    let (near, mut far) = pair();
    far.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        .await
        .unwrap();
    let peer = Peer::good();
    let error = peer.client.connect(near, &peer.name).await;
    assert!(
        matches!(error, Err(DialError::Tls(TlsError::NotTls(_)))),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_peer_that_closes_during_the_handshake_is_reported() {
    let (near, far) = pair();
    drop(far);
    let peer = Peer::good();
    let error = peer.client.connect(near, &peer.name).await;
    assert!(
        matches!(error, Err(DialError::Tls(TlsError::Broken { .. }))),
        "{error:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_times_out_after_ten_seconds() {
    let (near, _far) = pair();
    let peer = Peer::good();
    let error = peer.client.connect(near, &peer.name).await;
    assert!(
        matches!(error, Err(DialError::Tls(TlsError::Timeout { .. }))),
        "{error:?}"
    );
}

#[test]
fn an_invalid_root_and_missing_roots_are_reported() {
    let garbage = CertificateDer::from(vec![1, 2, 3]);
    assert!(matches!(
        TlsClient::new(Roots::Only(vec![garbage.clone()]), &[]),
        Err(TlsError::Setup(_))
    ));
    assert!(matches!(
        TlsClient::new(Roots::PlatformAnd(vec![garbage]), &[]),
        Err(TlsError::Setup(_))
    ));
    assert!(matches!(
        TlsClient::new(Roots::Only(Vec::new()), &[]),
        Err(TlsError::Setup(_))
    ));
}

#[tokio::test]
async fn an_extra_root_is_trusted_beside_those_of_the_system() {
    let (_, root) = authority("root of a test");
    assert!(TlsClient::new(Roots::PlatformAnd(vec![root]), &[]).is_ok());
}
