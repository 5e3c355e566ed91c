//! Site: an authority, certificates in files, and clients that trust it.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use byway_testkit::{Launch, Origin, Program};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

use super::BYWAY;

/// A guard against a test that hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// An authority with a folder for its certificates.
pub(crate) struct Site {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
    root_pem: String,
    folder: TempDir,
}

impl Site {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, "root of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("root.pem"), root.pem()).unwrap();
        Self {
            root: root.der().clone(),
            root_pem: root.pem(),
            issuer: Issuer::new(params, key),
            folder,
        }
    }

    /// The file `name` in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes `FILE.pem` with chain and key, as programs that renew do: by a rename.
    pub(crate) fn issue(&self, file: &str, names: &[&str]) -> PathBuf {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        self.issue_with(file, CertificateParams::new(names).unwrap())
    }

    pub(crate) fn issue_with(&self, file: &str, params: CertificateParams) -> PathBuf {
        let (leaf, key) = self.signed(params);
        let path = self.path(&format!("{file}.pem"));
        let scratch = self.path("scratch");
        fs::write(&scratch, leaf + &self.root_pem + &key.serialize_pem()).unwrap();
        fs::rename(scratch, &path).unwrap();
        path
    }

    fn signed(&self, params: CertificateParams) -> (String, KeyPair) {
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key)
    }

    /// A config with an `https` edge in front of `origin`, `certificates` by their files, and `more`
    /// at its end.
    pub(crate) fn config(&self, origin: &Origin, files: &[&str], more: &str) -> String {
        let certificates: String = files
            .iter()
            .map(|file| {
                format!(
                    "[[certificate]]\ncert = \"{}\"\n",
                    self.path(file).display()
                )
            })
            .collect();
        format!(
            "{certificates}[[edge]]\nhttps = \"127.0.0.1:0\"\n{more}\n[[edge.route]]\nto = \"{}\"\n",
            origin.address()
        )
    }

    /// The program with one certificate for `a.example`, `b.example` and `127.0.0.1`.
    #[track_caller]
    pub(crate) fn edge(&self, origin: &Origin, more: &str) -> Program {
        self.issue("a", &["a.example", "b.example", "127.0.0.1"]);
        Program::configured(BYWAY, &self.config(origin, &["a.pem"], more))
    }

    /// A client that trusts the authority.
    pub(crate) fn client(&self) -> Client {
        Client::with(self.verified().with_no_client_auth())
    }

    /// The same, with a certificate of this authority for `name`.
    pub(crate) fn client_called(&self, name: &str) -> Client {
        let params = client_params(name);
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        Client::with(
            self.verified()
                .with_client_auth_cert(vec![leaf], key)
                .unwrap(),
        )
    }

    /// A file with a certificate of this authority for the client `name`, and its key.
    pub(crate) fn client_file(&self, name: &str) -> PathBuf {
        self.issue_with(&format!("client-{name}"), client_params(name))
    }

    fn verified(&self) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
    }

    /// `curl` with the authority and `args`; the body, and the code of the exit.
    pub(crate) fn curl(&self, args: &[&str]) -> (String, i32) {
        let root = self.path("root.pem").display().to_string();
        let output = std::process::Command::new("curl")
            .args([
                "-sS",
                "--max-time",
                "20",
                "--noproxy",
                "",
                "--cacert",
                &root,
            ])
            .args(args)
            .output()
            .expect("curl is installed");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        (
            format!("{text}{errors}"),
            output.status.code().unwrap_or(-1),
        )
    }
}

/// A TLS client with its sessions.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) config: Arc<ClientConfig>,
}

/// A connection of a client.
pub(crate) type Tls = StreamOwned<ClientConnection, TcpStream>;

impl Client {
    fn with(mut config: ClientConfig) -> Self {
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self {
            config: Arc::new(config),
        }
    }

    /// Connects and does the handshake for `name`.
    pub(crate) fn connect(&self, to: SocketAddr, name: &str) -> io::Result<Tls> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut session = ClientConnection::new(Arc::clone(&self.config), name).unwrap();
        let mut socket = TcpStream::connect(to)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_nodelay(true)?;
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        Ok(StreamOwned::new(session, socket))
    }

    /// The whole response to a request for `path` of `host`, on a connection for `name`.
    pub(crate) fn get_as(
        &self,
        to: SocketAddr,
        name: &str,
        host: &str,
        path: &str,
    ) -> io::Result<String> {
        let mut stream = self.connect(to, name)?;
        ask(&mut stream, host, path, "Connection: close\r\n")?;
        rest(&mut stream)
    }

    /// The same where the host is the name.
    pub(crate) fn get(&self, to: SocketAddr, name: &str, path: &str) -> io::Result<String> {
        self.get_as(to, name, name, path)
    }
}

/// Sends a GET.
pub(crate) fn ask(stream: &mut impl Write, host: &str, path: &str, fields: &str) -> io::Result<()> {
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n"
    )?;
    stream.flush()
}

/// Everything up to the close_notify; an error without one.
pub(crate) fn rest(stream: &mut impl Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads up to and with `end`.
pub(crate) fn until(stream: &mut impl Read, end: &str) -> String {
    let (mut bytes, mut byte) = (Vec::new(), [0]);
    while !bytes.ends_with(end.as_bytes()) {
        stream.read_exact(&mut byte).expect("more bytes");
        bytes.push(byte[0]);
    }
    String::from_utf8(bytes).unwrap()
}

/// The value of a metric of this program, which listens for them last.
pub(crate) fn metric(program: &Program, name: &str) -> u64 {
    let address = *program.addresses().last().unwrap();
    let mut socket = TcpStream::connect(address).unwrap();
    ask(&mut socket, "metrics", "/metrics", "Connection: close\r\n").unwrap();
    let text = rest(&mut socket).unwrap();
    let line = text.lines().find(|line| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(' '))
    });
    let line = line.unwrap_or_else(|| panic!("no {name} in {text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// The folder of a program that was not started yet.
pub(crate) fn launch(config: &str) -> Launch {
    Launch::configured(BYWAY, config)
}

/// Whether a file is on the path of this machine.
pub(crate) fn has(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|folder| Path::new(&folder).join(program).exists())
}

/// A certificate for the client `name`.
fn client_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec!["client.example".to_owned()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
