//! Sessions that are resumed, and those that must not be.

use rustls::HandshakeKind::{Full, Resumed};
use rustls::version::{TLS12, TLS13};

use super::*;

/// A server whose sessions may be resumed.
struct Server {
    site: Site,
    acceptor: TlsAcceptor,
}

impl Server {
    fn speaking(versions: &[&'static SupportedProtocolVersion]) -> Self {
        let site = Site::with(&Faults::default());
        let acceptor = TlsAcceptor::from(Arc::new(site.config(versions, None)));
        Self { site, acceptor }
    }

    fn new() -> Self {
        Self::speaking(&[&TLS13])
    }

    fn client(&self) -> TlsClient {
        self.client_with(|_| ())
    }

    fn client_with(&self, change: impl FnOnce(&mut TlsOptions)) -> TlsClient {
        let mut options = self.site.trusting();
        change(&mut options);
        TlsClient::with_options(options).unwrap()
    }

    /// The kind of handshake of `client` with `name`. A byte is sent, and with it the tickets.
    async fn met(&self, client: &TlsClient, name: &str) -> HandshakeKind {
        let (near, far) = pair();
        let name = host(name);
        let (near, far) =
            tokio::join!(client.connect(near, &name), self.acceptor.accept(AsIo(far)));
        let (mut near, far) = (near.unwrap(), far.unwrap());
        let kind = far.get_ref().1.handshake_kind().unwrap();
        let mut far = Stream::tls(far.into());
        far.write_all(b"!").await.unwrap();
        assert_eq!(near.read(&mut [0; 8]).await.unwrap(), Read::Data(1));
        kind
    }
}

#[tokio::test]
async fn a_later_session_of_the_same_client_or_its_clone_is_resumed() {
    for versions in [&[&TLS13], &[&TLS12]] {
        let server = Server::speaking(versions);
        let client = server.client();
        assert_eq!(server.met(&client, "a.example").await, Full);
        assert_eq!(server.met(&client, "a.example").await, Resumed);
        assert_eq!(server.met(&client.clone(), "a.example").await, Resumed);
        assert_eq!(
            server.met(&client, "c.example").await,
            Full,
            "another name must be verified"
        );
    }
}

#[tokio::test]
async fn a_client_that_stores_one_server_replaces_it_by_the_next() {
    let server = Server::new();
    let client = server.client_with(|options| options.remembered_servers = 1);
    let mut kinds = Vec::new();
    for name in [
        "a.example",
        "a.example",
        "c.example",
        "c.example",
        "a.example",
    ] {
        kinds.push(server.met(&client, name).await);
    }
    assert_eq!(kinds, [Full, Resumed, Full, Resumed, Full]);
}

#[tokio::test]
async fn a_client_that_stores_no_server_makes_full_handshakes() {
    let server = Server::new();
    let client = server.client_with(|options| options.remembered_servers = 0);
    assert_eq!(server.met(&client, "a.example").await, Full);
    assert_eq!(server.met(&client, "a.example").await, Full);
}

#[tokio::test]
async fn a_session_is_never_resumed_under_another_policy() {
    let server = Server::new();
    let met = server.client();
    assert_eq!(server.met(&met, "a.example").await, Full);
    let (_, extra) = authority("another root");
    let more_roots = server.client_with(|options| {
        options.roots = Roots::Only(vec![server.site.root.clone(), extra]);
    });
    let others = [
        server.client(),
        more_roots,
        server.client_with(|options| options.alpn = vec![b"http/1.1".to_vec()]),
        server.client_with(|options| options.min_version = TlsVersion::V1_3),
        server.client_with(|options| options.identity = Some(identity("bob"))),
    ];
    for other in &others {
        assert_ne!(&met, other);
        assert_eq!(server.met(other, "a.example").await, Full);
    }
    let (_, stranger) = authority("another root");
    let strict = TlsClient::new(Roots::Only(vec![stranger]), &[]).unwrap();
    let (near, far) = pair();
    let name = host("a.example");
    let (refused, _) = tokio::join!(
        strict.connect(near, &name),
        server.acceptor.accept(AsIo(far))
    );
    assert!(
        matches!(refused, Err(DialError::Tls(TlsError::UnknownIssuer(_)))),
        "{refused:?}"
    );
    assert_eq!(server.met(&met, "a.example").await, Resumed);
}

fn identity(name: &str) -> Identity {
    let params = CertificateParams::new([name.to_owned()]).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = params.self_signed(&key).unwrap().der().clone();
    Identity::new(vec![leaf], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
}

#[tokio::test]
async fn a_session_whose_connection_failed_is_removed_on_demand_and_others_are_kept() {
    for versions in [&[&TLS13], &[&TLS12]] {
        let server = Server::speaking(versions);
        let client = server.client();
        for name in ["a.example", "c.example"] {
            assert_eq!(server.met(&client, name).await, Full);
        }
        client.forget(&host("a.example"));
        assert_eq!(server.met(&client, "a.example").await, Full);
        assert_eq!(server.met(&client, "c.example").await, Resumed);
    }
}

#[tokio::test]
async fn a_failed_handshake_removes_the_sessions_with_that_name() {
    for versions in [&[&TLS13], &[&TLS12]] {
        let server = Server::speaking(versions);
        let client = server.client();
        assert_eq!(server.met(&client, "a.example").await, Full);
        let (near, far) = pair();
        drop(far);
        assert!(client.connect(near, &host("a.example")).await.is_err());
        assert_eq!(server.met(&client, "a.example").await, Full);
    }
}
