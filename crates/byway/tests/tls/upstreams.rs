//! Upstreams: TLS towards upstreams, under the options of a route.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use byway_testkit::{Launch, Origin, Program, Visitor};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use super::BYWAY;
use super::site::{Site, until};

/// An origin that speaks TLS with the certificate in `file`, and answers who its client is.
fn origin(site: &Site, file: &str, asks_clients: bool) -> SocketAddr {
    let pem = std::fs::read(site.path(file)).unwrap();
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .map(Result::unwrap)
        .collect();
    let key = PrivateKeyDer::from_pem_slice(&pem).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match asks_clients {
        false => builder.with_no_client_auth(),
        true => {
            let mut roots = RootCertStore::empty();
            roots.add(chain.last().unwrap().clone()).unwrap();
            let roots = Arc::new(roots);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let config = Arc::new(builder.with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let config = Arc::clone(&config);
            std::thread::spawn(move || answer(socket.unwrap(), config));
        }
    });
    address
}

/// Answers one request; a client that ends the handshake gets nothing.
fn answer(mut socket: TcpStream, config: Arc<ServerConfig>) {
    let mut session = ServerConnection::new(config).unwrap();
    while session.is_handshaking() {
        if session.complete_io(&mut socket).is_err() {
            return;
        }
    }
    let (name, client) = (
        session.server_name().unwrap_or("nobody").to_owned(),
        session.peer_certificates().is_some(),
    );
    let mut stream = StreamOwned::new(session, socket);
    until(&mut stream, "\r\n\r\n");
    let body = format!("{name} {client}");
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).unwrap();
    stream.conn.send_close_notify();
    let _ = stream.flush();
}

fn config(origin: SocketAddr, options: &str) -> String {
    format!(
        "[[edge]]\nlisten = \"127.0.0.1:0\"\n[[edge.route]]\nto = \"https://{origin}\"\n{options}\n"
    )
}

/// The status and the body through an edge with these options.
fn through(origin: SocketAddr, options: &str) -> (u16, String) {
    let program = Program::configured(BYWAY, &config(origin, options));
    let answer = Visitor::connect(program.address()).ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    (answer.status(), answer.text())
}

#[test]
fn an_upstream_is_verified_by_its_own_root_and_by_another_name() {
    let site = Site::new();
    site.issue("up", &["app.internal"]);
    let origin = origin(&site, "up.pem", false);
    let root = site.path("root.pem").display().to_string();
    let good = format!("tls.ca = \"{root}\"\ntls.server_name = \"app.internal\"");
    assert_eq!(
        through(origin, &good),
        (200, "app.internal false".to_owned())
    );
    for bad in [
        format!("tls.ca = \"{root}\""),
        format!("tls.ca = \"{root}\"\ntls.server_name = \"other.internal\""),
        "tls.server_name = \"app.internal\"".to_owned(),
    ] {
        let (status, body) = through(origin, &bad);
        assert_eq!(status, 502, "{bad}: {body}");
        assert!(body.contains("reason: tls"), "{body}");
    }
}

#[test]
fn an_upstream_is_verified_by_its_key_alone_if_that_is_pinned() {
    let site = Site::new();
    let pem = std::fs::read_to_string(site.issue("up", &["app.internal"])).unwrap();
    let key = pem
        .get(pem.find("-----BEGIN PRIVATE KEY").unwrap()..)
        .unwrap();
    let key = rcgen::KeyPair::from_pem(key).unwrap();
    let mut sum = byway_testkit::pattern::Sum::new();
    sum.add(&rcgen::PublicKeyData::subject_public_key_info(&key));
    let pin = sum.hex();
    let origin = origin(&site, "up.pem", false);
    let (status, _) = through(origin, &format!("tls.pin = \"{pin}\""));
    assert_eq!(status, 200);
    let wrong = format!("tls.pin = \"{}\"", "0".repeat(64));
    assert_eq!(through(origin, &wrong).0, 502);
}

#[test]
fn an_upstream_gets_the_certificate_of_its_route() {
    let site = Site::new();
    site.issue("up", &["app.internal"]);
    let client = site
        .issue("client", &["edge.internal"])
        .display()
        .to_string();
    let origin = origin(&site, "up.pem", true);
    let root = site.path("root.pem").display().to_string();
    let options = format!("tls.ca = \"{root}\"\ntls.server_name = \"app.internal\"");
    assert_eq!(through(origin, &options).0, 502);
    let options = format!("{options}\ntls.cert = \"{client}\"");
    assert_eq!(
        through(origin, &options),
        (200, "app.internal true".to_owned())
    );
}

#[test]
fn options_that_cannot_be_used_are_refused_before_anything_is_served() {
    let site = Site::new();
    let origin = SocketAddr::from(([127, 0, 0, 1], 1));
    for (options, message) in [
        (
            "tls.ca = \"/none.pem\"",
            "[edge.route.tls]: /none.pem cannot be read",
        ),
        ("tls.key = \"/key.pem\"", "`tls.key` needs `tls.cert`"),
        ("tls.pin = \"abc\"", "64 hexadecimal digits"),
    ] {
        let finished = super::site::launch(&config(origin, options)).run();
        assert_ne!(finished.code, Some(0));
        assert!(finished.stderr.contains(message), "{}", finished.stderr);
    }
    let plain = config(origin, "tls.server_name = \"a\"").replace("https://", "");
    let finished = super::site::launch(&plain).run();
    assert!(
        finished
            .stderr
            .contains("needs an upstream that speaks TLS"),
        "{}",
        finished.stderr
    );
    drop(site);
}

#[test]
fn explain_names_the_certificate_and_the_redirect() {
    let (site, origin) = (Site::new(), Origin::useful());
    site.issue("a", &["a.example"]);
    let path = site.path("byway.toml").display().to_string();
    let more = "listen = \":80\"";
    std::fs::write(&path, site.config(&origin, &["a.pem"], more)).unwrap();
    let finished = Launch::new(BYWAY, &["explain", "https://a.example/", "-c", &path]).run();
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    for text in [
        "over TLS, with the certificate",
        "a.pem",
        "redirected to the HTTPS listener on 127.0.0.1:0",
    ] {
        assert!(
            finished.stdout.contains(text),
            "{text}: {}",
            finished.stdout
        );
    }
}
