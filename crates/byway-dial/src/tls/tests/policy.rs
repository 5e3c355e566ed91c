//! What a client requires of a peer, and what it sends about itself.

use parking_lot::Mutex;
use rustls::version::{TLS12, TLS13};

use super::*;

async fn meet(
    client: &TlsClient,
    name: &ServerName,
    config: ServerConfig,
) -> (
    Result<Stream, DialError>,
    io::Result<tokio_rustls::server::TlsStream<AsIo>>,
) {
    let (near, far) = pair();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::join!(client.connect(near, name), acceptor.accept(AsIo(far)))
}

#[tokio::test]
async fn a_server_without_1_3_is_refused_where_1_3_is_required() {
    let site = Site::with(&Faults::default());
    let strict = TlsClient::with_options(TlsOptions {
        min_version: TlsVersion::V1_3,
        ..site.trusting()
    })
    .unwrap();
    let (near, far) = meet(&strict, &host("a.example"), site.config(&[&TLS12], None)).await;
    assert!(
        far.is_err() && matches!(near, Err(DialError::Tls(_))),
        "{near:?}"
    );
    let lenient = TlsClient::with_options(site.trusting()).unwrap();
    for versions in [&[&TLS12], &[&TLS13]] {
        let (near, _far) = meet(&lenient, &host("a.example"), site.config(versions, None)).await;
        assert!(near.is_ok(), "{near:?}");
    }
}

#[tokio::test]
async fn the_name_to_verify_is_sent_as_sni_and_an_address_is_not() {
    let site = Site::with(&Faults::default());
    let client = TlsClient::with_options(site.trusting()).unwrap();
    let table = [
        (host("c.example"), Some("c.example")),
        (ServerName::Ip("192.0.2.1".parse().unwrap()), None),
    ];
    for (name, sni) in table {
        let (near, far) = meet(&client, &name, site.config(&[&TLS13], None)).await;
        assert!(near.is_ok(), "{near:?}");
        assert_eq!(far.unwrap().get_ref().1.server_name(), sni);
    }
}

#[test]
fn a_target_has_the_name_to_verify() {
    let name = |text: &str| ServerName::of(&text.parse().unwrap());
    assert_eq!(name("a.example:443"), Some(host("a.example")));
    assert_eq!(
        name("[::1]:443"),
        Some(ServerName::Ip("::1".parse().unwrap()))
    );
    assert_eq!(name("unix:/run/a"), None);
}

/// An identity for `bob` in PEM, and its issuer.
fn bob() -> (String, String, CertificateDer<'static>) {
    let (issuer, root) = authority("root of clients");
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["bob".to_owned()])
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    (leaf.pem(), key.serialize_pem(), root)
}

#[tokio::test]
async fn a_server_that_requests_our_certificate_gets_it() {
    let site = Site::with(&Faults::default());
    let (certificate, key, root) = bob();
    for versions in [&[&TLS12], &[&TLS13]] {
        let identity = Some(Identity::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap());
        let client = TlsClient::with_options(TlsOptions {
            identity,
            ..site.trusting()
        })
        .unwrap();
        let (near, far) = meet(
            &client,
            &host("a.example"),
            site.config(versions, Some(root.clone())),
        )
        .await;
        let shown = far
            .unwrap()
            .get_ref()
            .1
            .peer_certificates()
            .unwrap()
            .to_vec();
        assert_eq!(
            shown,
            certificates_from_pem(certificate.as_bytes()).unwrap()
        );
        assert!(near.is_ok(), "{near:?}");
    }
}

#[tokio::test]
async fn without_an_identity_such_a_server_rejects_us() {
    let site = Site::with(&Faults::default());
    let client = TlsClient::with_options(site.trusting()).unwrap();
    let (near, far) = meet(
        &client,
        &host("a.example"),
        site.config(&[&TLS12], Some(bob().2)),
    )
    .await;
    assert!(
        far.is_err() && matches!(near, Err(DialError::Tls(TlsError::Alert { .. }))),
        "{near:?}"
    );
    // In 1.3 our handshake ends before the server has verified us: the first read returns the
    // error.
    let (near, far) = meet(
        &client,
        &host("a.example"),
        site.config(&[&TLS13], Some(bob().2)),
    )
    .await;
    assert!(far.is_err());
    let error = near.unwrap().read(&mut [0; 8]).await.unwrap_err();
    assert!(error.to_string().contains("CertificateRequired"), "{error}");
}

#[test]
fn an_invalid_identity_is_reported() {
    let site = Site::with(&Faults::default());
    let ((certificate, key, _), (_, other_key, _)) = (bob(), bob());
    let whole = format!("{certificate}{key}");
    assert!(Identity::from_pem(whole.as_bytes(), whole.as_bytes()).is_ok());
    let read = |certificate: &str, key: &str| {
        Identity::from_pem(certificate.as_bytes(), key.as_bytes()).map(drop)
    };
    assert!(matches!(
        read("", &key),
        Err(TlsError::Pem("a certificate", _))
    ));
    assert!(matches!(
        read(&certificate, &certificate),
        Err(TlsError::Pem("a private key", _))
    ));
    let cut = &certificate[..certificate.len() / 2];
    assert!(matches!(
        read(cut, &key),
        Err(TlsError::Pem("a certificate", _))
    ));
    let mixed = Some(Identity::from_pem(certificate.as_bytes(), other_key.as_bytes()).unwrap());
    let made = TlsClient::with_options(TlsOptions {
        identity: mixed,
        ..site.trusting()
    });
    assert!(matches!(made, Err(TlsError::Setup(_))), "{made:?}");
}

#[tokio::test]
async fn the_secrets_of_every_handshake_are_logged_once_and_only_if_enabled() {
    let site = Site::with(&Faults::default());
    let lines = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&lines);
    let key_log = Some(KeyLog::new(move |line| sink.lock().push(line.to_owned())));
    let client = TlsClient::with_options(TlsOptions {
        key_log,
        ..site.trusting()
    })
    .unwrap();
    let table: [(_, &[&str]); 2] = [
        (&TLS12, &["CLIENT_RANDOM"]),
        (
            &TLS13,
            &[
                "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
                "CLIENT_TRAFFIC_SECRET_0",
                "EXPORTER_SECRET",
                "SERVER_HANDSHAKE_TRAFFIC_SECRET",
                "SERVER_TRAFFIC_SECRET_0",
            ],
        ),
    ];
    for (version, labels) in table {
        for name in ["a.example", "c.example"] {
            let (near, _far) = meet(&client, &host(name), site.config(&[version], None)).await;
            assert!(near.is_ok(), "{near:?}");
            let logged: Vec<String> = std::mem::take(&mut lines.lock());
            let mut found: Vec<_> = logged
                .iter()
                .map(|line| line.split(' ').collect::<Vec<_>>())
                .collect();
            found.sort();
            let (random, hex) = (found[0][1], |text: &str| {
                text.bytes().all(|b| b.is_ascii_hexdigit())
            });
            assert!(
                found
                    .iter()
                    .all(|line| line.len() == 3 && line[1] == random && hex(line[2])),
                "{logged:?}"
            );
            assert_eq!(random.len(), 64);
            assert_eq!(found.iter().map(|line| line[0]).collect::<Vec<_>>(), labels);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_handshake_time_out_is_an_option() {
    let site = Site::with(&Faults::default());
    let handshake_timeout = Duration::from_secs(3);
    let client = TlsClient::with_options(TlsOptions {
        handshake_timeout,
        ..site.trusting()
    })
    .unwrap();
    let (near, _far) = pair();
    let began = tokio::time::Instant::now();
    let error = client.connect(near, &host("a.example")).await;
    assert!(
        matches!(error, Err(DialError::Tls(TlsError::Timeout { .. }))),
        "{error:?}"
    );
    assert_eq!(began.elapsed().as_secs(), 3);
}

#[tokio::test]
async fn a_pinned_key_is_trusted_whatever_its_certificate_says_and_no_other_key_is() {
    let site = Site::with(&Faults {
        expired: true,
        ..Faults::default()
    });
    let parsed = rustls::server::ParsedCertificate::try_from(&site.leaf).unwrap();
    let digest = ::aws_lc_rs::digest::digest(
        &::aws_lc_rs::digest::SHA256,
        &parsed.subject_public_key_info(),
    );
    let mut pin: [u8; 32] = digest.as_ref().try_into().unwrap();
    let pinned = |pin| {
        let pin = Some(pin);
        TlsClient::with_options(TlsOptions {
            pin,
            ..TlsOptions::default()
        })
        .unwrap()
    };
    for version in [&TLS12, &TLS13] {
        let config = site.config(&[version], None);
        let (near, _far) = meet(&pinned(pin), &host("any.example"), config).await;
        assert!(near.is_ok(), "{near:?}");
    }
    pin[0] ^= 1;
    let config = site.config(rustls::DEFAULT_VERSIONS, None);
    let (near, _far) = meet(&pinned(pin), &host("any.example"), config).await;
    let Err(DialError::Tls(TlsError::Certificate { reason, .. })) = near else {
        panic!("{near:?}")
    };
    assert_eq!(reason, "its key is not the pinned one");
}
