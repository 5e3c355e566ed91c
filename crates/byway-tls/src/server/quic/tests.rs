use std::net::{Ipv4Addr, SocketAddr};

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint};
use rustls::RootCertStore;
use rustls::pki_types::PrivateKeyDer;

use super::*;
use crate::client_auth::ClientRoots;
use crate::provider::provider;
use crate::quic::ChoosingConfig;
use crate::store::{Change, Entry, Provider, SourceId};
use crate::testing::Authority;
use crate::ticket::TicketSecret;
use crate::{CertificateStore, ServerOptions};

/// A server for `a.example`, and for `private.example`, which asks for client certificates.
struct Port {
    authority: Authority,
    server: Arc<TlsServer>,
    endpoint: Endpoint,
}

impl Port {
    fn bind() -> Self {
        let authority = Authority::new("root");
        let store = Arc::new(CertificateStore::default());
        let certificate = authority.certificate(&["a.example", "private.example"]);
        let id = SourceId::new(Provider::File, "a");
        store.update([Change::Install(id, Entry::new(certificate))]);
        let roots = ClientRoots::new(vec![authority.root.clone()]).unwrap();
        let private = Arc::new(ClientAuth::Required(roots));
        let options = ServerOptions {
            client_auth: vec![("private.example".to_owned(), private)],
            ..ServerOptions::new(store, TicketSecret::random().unwrap())
        };
        let server = Arc::new(TlsServer::new(&options).unwrap());
        let chooser = Arc::clone(&server);
        let config =
            ChoosingConfig::new(server.any_quic(), move |hello| chooser.choose_quic(hello));
        let config = quinn::ServerConfig::with_crypto(Arc::new(config));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let endpoint = Endpoint::server(config, address).unwrap();
        Self {
            authority,
            server,
            endpoint,
        }
    }

    /// What the server says about a connection of a client for `name`.
    async fn connect(
        &self,
        name: &str,
        alpn: &[u8],
        has_certificate: bool,
    ) -> (
        Result<Session, ConnectionError>,
        Result<Connection, ConnectionError>,
    ) {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.root.clone()).unwrap();
        let builder = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match has_certificate {
            false => builder.with_no_client_auth(),
            true => {
                let (leaf, key): (_, PrivateKeyDer<'static>) = self.authority.issue(&["client"]);
                builder.with_client_auth_cert(vec![leaf], key).unwrap()
            }
        };
        config.alpn_protocols = vec![alpn.to_vec()];
        let config = Arc::new(QuicClientConfig::try_from(config).unwrap());
        let far = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let to = self.endpoint.local_addr().unwrap();
        let connecting = far
            .connect_with(ClientConfig::new(config), to, name)
            .unwrap();
        let accepting = async {
            let quic = self.endpoint.accept().await.unwrap().await?;
            let (data, identity) = (quic.handshake_data().unwrap(), quic.peer_identity());
            Ok(self.server.quic_session(data, identity).unwrap())
        };
        tokio::join!(accepting, connecting)
    }
}

#[tokio::test]
async fn a_client_of_http3_gets_the_certificate_of_the_name_it_asks_for() {
    let port = Port::bind();
    let (session, client) = port.connect("A.example", b"h3", false).await;
    let session = session.unwrap();
    assert_eq!(session.server_name(), Some("a.example"));
    assert_eq!(session.version_word(), "TLSv1.3");
    assert!(session.client().is_none());
    assert!(port.server.may_serve(&session, "a.example"));
    // It has shown no certificate, so that host needs another connection.
    assert!(!port.server.may_serve(&session, "private.example"));
    client.unwrap();
}

#[tokio::test]
async fn a_host_that_asks_for_client_certificates_does_so_over_quic() {
    let port = Port::bind();
    let (session, client) = port.connect("private.example", b"h3", true).await;
    assert!(session.unwrap().client().is_some());
    client.unwrap();
    let (session, _) = port.connect("private.example", b"h3", false).await;
    session.unwrap_err();
}

#[tokio::test]
async fn unknown_names_and_other_protocols_are_refused() {
    let port = Port::bind();
    for (name, alpn) in [("b.example", &b"h3"[..]), ("a.example", b"hq-interop")] {
        let (session, client) = port.connect(name, alpn, false).await;
        assert!(session.is_err() && client.is_err(), "{name}");
    }
}
