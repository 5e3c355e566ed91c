use std::sync::atomic::{AtomicUsize, Ordering};

use byway_dial::{DialError, Identity, Read, Roots, ServerName, TlsClient, TlsError, TlsOptions};
use tokio::net::UnixStream;

use super::*;
use crate::client_auth::ClientRoots;
use crate::store::{Entry, Provider, SourceId};
use crate::testing::Authority;

struct Fixture {
    authority: Authority,
    options: ServerOptions,
}

impl Fixture {
    /// A server with a certificate for each group of names; the first one is the default.
    fn with(names: &[&[&str]]) -> Self {
        // Each has another name, so that a client knows an unknown one by it.
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let authority = Authority::new(&format!("root {number}"));
        let store = CertificateStore::new();
        for (at, names) in names.iter().enumerate() {
            let entry = Entry {
                is_default: at == 0,
                ..Entry::new(authority.certificate(names))
            };
            store.install(SourceId::new(Provider::File, names[0]), entry);
        }
        let options = ServerOptions {
            alpn: vec![b"http/1.1".to_vec()],
            ..ServerOptions::new(Arc::new(store), TicketSecret::from_bytes([1; 32]))
        };
        Self { authority, options }
    }

    fn server(&self) -> TlsServer {
        TlsServer::new(&self.options).unwrap()
    }

    fn client_options(&self) -> TlsOptions {
        TlsOptions {
            roots: Roots::Only(vec![self.authority.root.clone()]),
            ..TlsOptions::default()
        }
    }

    fn client(&self) -> TlsClient {
        TlsClient::with_options(self.client_options()).unwrap()
    }

    /// A client certificate of the same authority.
    fn client_with_identity(&self, name: &str) -> TlsClient {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = crate::testing::params(&["alice.example"]);
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        let leaf = params.signed_by(&key, &self.authority.issuer).unwrap();
        let identity =
            Identity::from_pem(leaf.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap();
        TlsClient::with_options(TlsOptions {
            identity: Some(identity),
            ..self.client_options()
        })
        .unwrap()
    }
}

fn host(name: &str) -> ServerName {
    ServerName::Host(name.parse().unwrap())
}

fn pair() -> (Stream, Stream) {
    let (near, far) = UnixStream::pair().unwrap();
    (Stream::unix(near), Stream::unix(far))
}

type Both = (Result<Stream, DialError>, Result<Accepted, HandshakeError>);

async fn both(server: &TlsServer, client: &TlsClient, name: &str) -> Both {
    let (near, far) = pair();
    let name = host(name);
    tokio::join!(client.connect(near, &name), server.accept(far))
}

/// A session that is used once in each direction, so that the client gets its tickets.
async fn session(server: &TlsServer, client: &TlsClient, name: &str) -> Box<Session> {
    let (near, far) = both(server, client, name).await;
    let (mut near, Accepted::Session(mut far, session)) = (near.unwrap(), far.unwrap()) else {
        panic!("a challenge");
    };
    let mut buf = [0; 8];
    near.write_all(b"ping").await.unwrap();
    assert_eq!(far.read(&mut buf).await.unwrap(), Read::Data(4));
    far.write_all(b"pong").await.unwrap();
    assert_eq!(near.read(&mut buf).await.unwrap(), Read::Data(4));
    session
}

#[tokio::test]
async fn each_name_gets_its_own_certificate_and_the_rest_the_default() {
    let fixture = Fixture::with(&[&["default.test"], &["a.example"], &["*.wild.example"]]);
    let (server, client) = (fixture.server(), fixture.client());
    for (name, expected) in [
        ("a.example", "a.example"),
        ("b.wild.example", "*.wild.example"),
    ] {
        let session = session(&server, &client, name).await;
        assert_eq!(&*session.certificate().names()[0], expected);
        assert_eq!(session.server_name(), Some(name));
    }
    let (near, _) = both(&server, &client, "unknown.test").await;
    assert!(
        matches!(near, Err(DialError::Tls(TlsError::WrongName { .. }))),
        "{near:?}"
    );
}

#[tokio::test]
async fn a_client_that_prefers_post_quantum_keys_gets_them_and_any_other_is_served_without_delay() {
    let fixture = Fixture::with(&[&["a.example"]]);
    let server = fixture.server();
    let classic = session(&server, &fixture.client(), "a.example").await;
    assert_eq!(classic.group(), "X25519");

    let mut roots = rustls::RootCertStore::empty();
    roots.add(fixture.authority.root.clone()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (near, far) = pair();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let name = rustls::pki_types::ServerName::try_from("a.example").unwrap();
    let (near, far) = tokio::join!(connector.connect(name, AsIo(near)), server.accept(far));
    let Ok(Accepted::Session(_, session)) = far else {
        panic!("{far:?}")
    };
    assert_eq!(session.group(), "X25519MLKEM768");
    assert_eq!(session.version_word(), "TLSv1.3");
    assert_eq!(session.cipher(), "TLS13_AES_256_GCM_SHA384");
    assert_eq!(
        near.unwrap().get_ref().1.handshake_kind(),
        Some(rustls::HandshakeKind::Full)
    );
}

#[tokio::test]
async fn without_a_certificate_for_the_name_the_client_gets_an_alert() {
    let mut fixture = Fixture::with(&[]);
    fixture.options.min_version = TlsVersion::V1_3;
    let (near, far) = both(&fixture.server(), &fixture.client(), "a.example").await;
    assert!(
        matches!(&far, Err(HandshakeError::NoCertificate(Some(name))) if &**name == "a.example")
    );
    let Err(DialError::Tls(TlsError::Alert { alert, .. })) = near else {
        panic!("{near:?}")
    };
    assert_eq!(alert, "unrecognised name");
}

#[tokio::test]
async fn sessions_are_resumed_by_another_server_with_the_same_secret() {
    let fixture = Fixture::with(&[&["a.example"]]);
    let client = fixture.client();
    assert!(
        !session(&fixture.server(), &client, "a.example")
            .await
            .is_resumed()
    );
    assert!(
        session(&fixture.server(), &client, "a.example")
            .await
            .is_resumed()
    );

    let other = ServerOptions {
        tickets: TicketSecret::random().unwrap(),
        ..fixture.options.clone()
    };
    let other = TlsServer::new(&other).unwrap();
    assert!(!session(&other, &client, "a.example").await.is_resumed());
}

#[tokio::test]
async fn a_ticket_from_before_client_certificates_were_required_is_worth_nothing() {
    let mut fixture = Fixture::with(&[&["a.example"]]);
    let client = fixture.client();
    session(&fixture.server(), &client, "a.example").await;
    let roots = ClientRoots::new(vec![fixture.authority.root.clone()]).unwrap();
    let auth = Arc::new(ClientAuth::Required(roots));
    fixture.options.client_auth = vec![("a.example".into(), auth)];
    let (_, far) = both(&fixture.server(), &client, "a.example").await;
    assert!(
        matches!(far, Err(HandshakeError::NoClientCertificate)),
        "{far:?}"
    );
}

#[tokio::test]
async fn a_host_asks_for_client_certificates_and_the_others_do_not() {
    let mut fixture = Fixture::with(&[&["a.example", "*.in.example"]]);
    let roots = ClientRoots::new(vec![fixture.authority.root.clone()]).unwrap();
    fixture.options.client_auth = vec![
        (
            "*.in.example".into(),
            Arc::new(ClientAuth::Required(roots.clone())),
        ),
        (
            "opt.in.example".into(),
            Arc::new(ClientAuth::Optional(roots)),
        ),
    ];
    let server = fixture.server();
    let (anonymous, alice) = (fixture.client(), fixture.client_with_identity("alice"));
    assert!(
        session(&server, &alice, "a.example")
            .await
            .client()
            .is_none()
    );
    assert!(
        session(&server, &anonymous, "opt.in.example")
            .await
            .client()
            .is_none()
    );
    let (_, far) = both(&server, &anonymous, "x.in.example").await;
    assert!(
        matches!(far, Err(HandshakeError::NoClientCertificate)),
        "{far:?}"
    );

    for _ in 0..2 {
        let session = session(&server, &alice, "x.in.example").await;
        let who = session
            .client()
            .expect("a resumed session knows its client, too");
        assert_eq!(&*who.subject, "CN=alice");
        assert_eq!(who.names.to_vec(), ["DNS:alice.example".into()]);
        assert_eq!(who.fingerprint.len(), 64);
    }
    let stranger = Fixture::with(&[]);
    let stranger = TlsClient::with_options(TlsOptions {
        roots: Roots::Only(vec![fixture.authority.root.clone()]),
        identity: {
            let key = rcgen::KeyPair::generate().unwrap();
            let leaf = crate::testing::params(&["m"]).signed_by(&key, &stranger.authority.issuer);
            Some(
                Identity::from_pem(
                    leaf.unwrap().pem().as_bytes(),
                    key.serialize_pem().as_bytes(),
                )
                .unwrap(),
            )
        },
        ..TlsOptions::default()
    });
    let (_, far) = both(&server, &stranger.unwrap(), "x.in.example").await;
    assert!(
        matches!(far, Err(HandshakeError::ClientCertificate(_))),
        "{far:?}"
    );
}

#[tokio::test]
async fn a_session_serves_hosts_of_its_certificate_and_of_its_policy_only() {
    let mut fixture = Fixture::with(&[&["a.example", "b.example", "in.example"], &["c.example"]]);
    let roots = ClientRoots::new(vec![fixture.authority.root.clone()]).unwrap();
    let required = Arc::new(ClientAuth::Required(roots));
    fixture.options.client_auth = vec![("in.example".into(), required)];
    let server = fixture.server();
    let open = session(&server, &fixture.client(), "a.example").await;
    for (host, serves) in [
        ("a.example", true),
        ("A.Example.", true),
        ("b.example", true),
        ("c.example", false),
        ("in.example", false),
    ] {
        assert_eq!(server.may_serve(&open, host), serves, "{host}");
        assert_eq!(
            fixture.server().may_serve(&open, host),
            serves,
            "{host}, after a reload"
        );
    }
    let closed = session(
        &server,
        &fixture.client_with_identity("alice"),
        "in.example",
    )
    .await;
    assert!(server.may_serve(&closed, "in.example"));
    assert!(
        !server.may_serve(&closed, "a.example"),
        "it may ask for other certificates"
    );
}

#[tokio::test]
async fn plain_http_and_other_bytes_are_told_apart() {
    let fixture = Fixture::with(&[&["a.example"]]);
    let server = fixture.server();
    for (bytes, word) in [
        (&b"GET / HTTP/1.1\r\n"[..], "plain_http"),
        (b"SSH-2.0-x\r\n", "not_tls"),
        (b"\x05\x01\x00", "not_tls"),
        (b"\x16\x03\x01\xff\xff\x00", "not_tls"),
    ] {
        let (mut near, far) = pair();
        near.write_all(bytes).await.unwrap();
        let error = server.accept(far).await.unwrap_err();
        assert_eq!(error.word(), word, "{error}");
        assert!(HandshakeError::WORDS.contains(&word));
    }
    let (near, far) = pair();
    drop(near);
    assert_eq!(server.accept(far).await.unwrap_err().word(), "closed");
}

#[tokio::test]
async fn old_versions_and_unknown_protocols_are_refused_by_reason() {
    let mut fixture = Fixture::with(&[&["a.example"]]);
    let speaks = |alpn: &[u8]| TlsOptions {
        alpn: vec![alpn.to_vec()],
        ..fixture.client_options()
    };
    let other = TlsClient::with_options(speaks(b"smtp")).unwrap();
    let (_, far) = both(&fixture.server(), &other, "a.example").await;
    assert!(matches!(far, Err(HandshakeError::Protocol)), "{far:?}");

    fixture.options.min_version = TlsVersion::V1_3;
    let mut old = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    old.alpn_protocols = vec![b"http/1.1".to_vec()];
    let (near, far) = pair();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(old));
    let name = rustls::pki_types::ServerName::try_from("a.example").unwrap();
    let server = fixture.server();
    let (_, far) = tokio::join!(connector.connect(name, AsIo(near)), server.accept(far));
    assert!(matches!(far, Err(HandshakeError::Version)), "{far:?}");
}

#[tokio::test]
async fn a_client_that_distrusts_the_certificate_is_told_from_one_that_leaves() {
    let fixture = Fixture::with(&[&["a.example"]]);
    let other = Fixture::with(&[]);
    let (_, far) = both(&fixture.server(), &other.client(), "a.example").await;
    assert!(matches!(far, Err(HandshakeError::Distrusted(_))), "{far:?}");
}

#[tokio::test]
async fn a_challenge_is_answered_with_its_own_certificate_and_nothing_follows() {
    let fixture = Fixture::with(&[&["a.example"]]);
    let server = fixture.server();
    let challenge = fixture.authority.certificate(&["new.example"]);
    let key = Arc::clone(challenge.certified_key());
    let guard = fixture.options.challenges.present("new.example", key);
    let options = TlsOptions {
        alpn: vec![ACME_TLS_1.to_vec()],
        ..fixture.client_options()
    };
    let authority = TlsClient::with_options(options).unwrap();
    let (near, far) = both(&server, &authority, "new.example").await;
    assert!(matches!(far, Ok(Accepted::Challenge)));
    let mut near = near.unwrap();
    assert_eq!(near.alpn(), Some(ACME_TLS_1));
    assert_eq!(near.read(&mut [0; 8]).await.unwrap(), Read::Fin);

    drop(guard);
    let (near, far) = both(&server, &authority, "new.example").await;
    assert!(near.is_err() && far.is_err(), "no challenge is under way");
}

#[tokio::test]
async fn a_certificate_can_be_obtained_while_its_first_client_waits() {
    struct Issue(Arc<CertificateStore>, Authority);
    impl OnDemand for Issue {
        fn obtain<'a>(
            &'a self,
            name: &'a str,
        ) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
            Box::pin(async move {
                tokio::task::yield_now().await;
                if name == "new.example" {
                    let entry = Entry::new(self.1.certificate(&[name]));
                    self.0.install(SourceId::new(Provider::Acme, name), entry);
                }
            })
        }
    }
    let mut fixture = Fixture::with(&[&["default.test"]]);
    let authority = Authority::new("issuing root");
    let options = TlsOptions {
        roots: Roots::Only(vec![authority.root.clone()]),
        ..TlsOptions::default()
    };
    let client = TlsClient::with_options(options).unwrap();
    fixture.options.on_demand = Some(Arc::new(Issue(
        Arc::clone(&fixture.options.store),
        authority,
    )));
    let server = fixture.server();
    let session = session(&server, &client, "new.example").await;
    assert_eq!(&*session.certificate().names()[0], "new.example");
}

#[tokio::test]
async fn close_notify_is_a_fin_and_a_cut_connection_is_not() {
    let fixture = Fixture::with(&[&["a.example"]]);
    let (server, client) = (fixture.server(), fixture.client());
    for orderly in [true, false] {
        let (near, far) = both(&server, &client, "a.example").await;
        let (mut near, Accepted::Session(mut far, _)) = (near.unwrap(), far.unwrap()) else {
            panic!("a challenge");
        };
        match orderly {
            true => near.finish().await.unwrap(),
            false => byway_dial::Pipe::close_on_drop(&mut near),
        }
        drop(near);
        let read = far.read(&mut [0; 8]).await;
        match orderly {
            true => assert_eq!(read.unwrap(), Read::Fin),
            false => assert!(read.is_err(), "{read:?}"),
        }
    }
}

#[tokio::test]
async fn a_handshake_of_single_bytes_succeeds() {
    let fixture = Fixture::with(&[&["a.example"]]);
    let (server, client) = (fixture.server(), fixture.client());
    let (near, mut middle) = pair();
    let (mut other, far) = pair();
    let relay = async {
        let (mut one, mut many) = ([0; 1], [0; 4096]);
        loop {
            tokio::select! {
                read = middle.read(&mut one) => match read {
                    Ok(Read::Data(_)) => other.write_all(&one).await.unwrap(),
                    _ => break,
                },
                read = other.read(&mut many) => match read {
                    Ok(Read::Data(n)) => middle.write_all(&many[..n]).await.unwrap(),
                    _ => break,
                },
            }
        }
    };
    let name = host("a.example");
    let handshake = async { tokio::join!(client.connect(near, &name), server.accept(far)) };
    let (near, far) = tokio::select! {
        both = handshake => both,
        () = relay => panic!("the connection ended"),
    };
    assert!(near.is_ok() && far.is_ok());
}
