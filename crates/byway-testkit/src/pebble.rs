//! Pebble: an ACME authority and a DNS server for tests, both real programs.
//!
//! In:    what differs from an authority without restrictions. Only for isolated tests
//!        ([`isolated!`](macro@crate::isolated)): the ports are fixed.
//! Out:   a directory URL, the certificate that its HTTPS is trusted by, names that lead to
//!        loopback.
//! Never: leaves a process behind; asks anybody outside.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::eventually;

/// Where the authority listens.
const DIRECTORY: &str = "127.0.0.1:14000";

/// Where the authority takes orders of its operator.
const MANAGEMENT: &str = "127.0.0.1:15000";

/// Where the DNS server listens, and where it takes records.
const DNS: &str = "127.0.0.1:8053";
const DNS_MANAGEMENT: &str = "127.0.0.1:8055";

/// What differs from an authority that permits everything.
#[derive(Clone, Debug)]
pub struct PebbleOptions {
    /// The port to which HTTP-01 checks connect.
    pub http_port: u16,
    /// The port to which TLS-ALPN-01 checks connect.
    pub tls_port: u16,
    /// Domains for which no certificate is issued.
    pub blocked: Vec<String>,
    /// The id and the base64url key of the only external account that may register.
    pub binding: Option<(String, String)>,
    /// Percentage of good nonces that are refused.
    pub refused_nonces: u8,
    /// Seconds for which certificates are valid.
    pub validity_seconds: u64,
    /// The DNS server; [`RecordServer`] if it is `None`.
    pub dns: Option<SocketAddr>,
}

impl Default for PebbleOptions {
    fn default() -> Self {
        Self {
            http_port: 5002,
            tls_port: 5001,
            blocked: Vec::new(),
            binding: None,
            refused_nonces: 5,
            validity_seconds: 90 * 24 * 3600,
            dns: None,
        }
    }
}

/// A running authority.
pub struct Pebble {
    folder: TempDir,
    _child: Killed,
    /// Also for its own requests.
    management: Trusting,
}

/// A process that ends with this.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The executable of a tool that `cargo xtask` installs. `None`, with a line on stderr, if it is
/// not there.
pub fn tool(name: &str) -> Option<PathBuf> {
    // Without "..": in an isolated test the folders between are not there.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?;
    let path = root.join("target/tools/bin").join(name);
    if !path.is_file() {
        let text = format!("SKIPPED: {name} is missing: `cargo xtask test tools` installs it");
        // Not with eprintln: the output of a passing test is captured.
        let _ = writeln!(std::io::stderr(), "{text}");
        return None;
    }
    Some(path)
}

/// The folder of the executables, for [`isolated!`](macro@crate::isolated), which has to keep it.
/// `None`, with a line on stderr, if one of them is not there.
pub fn folder() -> Option<PathBuf> {
    tool("pebble-challtestsrv")?;
    tool("pebble")?.parent().map(Path::to_owned)
}

impl Pebble {
    /// Starts an authority and waits until it takes requests.
    #[track_caller]
    pub fn start(options: &PebbleOptions) -> Self {
        let executable = tool("pebble").expect("pebble is installed");
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name).display().to_string();
        let root_key = KeyPair::generate().unwrap();
        let mut root = CertificateParams::new(Vec::new()).unwrap();
        root.distinguished_name
            .push(DnType::CommonName, "root of the test");
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root_certificate = root.self_signed(&root_key).unwrap();
        let issuer = Issuer::new(root, root_key);
        let key = KeyPair::generate().unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let leaf = CertificateParams::new(names).unwrap();
        let leaf = leaf.signed_by(&key, &issuer).unwrap();
        std::fs::write(file("root.pem"), root_certificate.pem()).unwrap();
        std::fs::write(file("cert.pem"), leaf.pem()).unwrap();
        std::fs::write(file("key.pem"), key.serialize_pem()).unwrap();
        let blocked: Vec<String> = options
            .blocked
            .iter()
            .map(|name| format!("{name:?}"))
            .collect();
        let binding = match &options.binding {
            Some((id, key)) => format!(
                r#""externalAccountBindingRequired": true,
                   "externalAccountMACKeys": {{ "{id}": "{key}" }},"#
            ),
            None => String::new(),
        };
        let config = format!(
            r#"{{ "pebble": {{
                "listenAddress": "{DIRECTORY}",
                "managementListenAddress": "{MANAGEMENT}",
                "certificate": "{}", "privateKey": "{}",
                "httpPort": {}, "tlsPort": {},
                {binding}
                "domainBlocklist": [{}],
                "retryAfter": {{ "authz": 1, "order": 1 }},
                "keyAlgorithm": "ecdsa",
                "profiles": {{ "default": {{ "description": "-", "validityPeriod": {} }} }}
            }} }}"#,
            file("cert.pem"),
            file("key.pem"),
            options.http_port,
            options.tls_port,
            blocked.join(","),
            options.validity_seconds,
        );
        std::fs::write(file("config.json"), config).unwrap();
        let dns = options
            .dns
            .map_or_else(|| DNS.to_owned(), |dns| dns.to_string());
        let child = Command::new(executable)
            .args(["-config", &file("config.json"), "-dnsserver", &dns])
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_WFE_NONCEREJECT", options.refused_nonces.to_string())
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(file("log")).unwrap())
            .stderr(std::fs::File::create(file("errors")).unwrap())
            .spawn()
            .unwrap();
        let child = Killed(child);
        wait_for(DIRECTORY);
        wait_for(MANAGEMENT);
        let management = Trusting::new(&folder.path().join("root.pem"));
        Self {
            folder,
            _child: child,
            management,
        }
    }

    /// The URL of its directory.
    pub fn directory(&self) -> String {
        format!("https://{DIRECTORY}/dir")
    }

    /// The root certificate of its HTTPS, as a PEM file.
    pub fn https_root(&self) -> PathBuf {
        self.folder.path().join("root.pem")
    }

    /// The root certificate of what it issues, as PEM.
    #[track_caller]
    pub fn root(&self) -> String {
        self.management
            .run(&[&format!("https://{MANAGEMENT}/roots/0")])
    }

    /// Lets it suggest this window, in RFC 3339, for a certificate in PEM (RFC 9773).
    #[track_caller]
    pub fn suggest(&self, certificate: &str, start: &str, end: &str) {
        let certificate = certificate.replace('\n', "\\n");
        let answer =
            format!(r#"{{\"suggestedWindow\": {{\"start\": \"{start}\", \"end\": \"{end}\"}}}}"#);
        let body = format!(r#"{{"certificate": "{certificate}", "ariResponse": "{answer}"}}"#);
        let url = format!("https://{MANAGEMENT}/set-renewal-info/");
        self.management.run(&["--data-binary", &body, &url]);
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

/// curl, which trusts one root.
struct Trusting(PathBuf);

impl Trusting {
    fn new(root: &Path) -> Self {
        Self(root.to_owned())
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) -> String {
        let ran = Command::new("curl")
            .args(["-sS", "--fail-with-body", "--cacert"])
            .arg(&self.0)
            .args(arguments)
            .output()
            .unwrap();
        let (out, err) = (ran.stdout, ran.stderr);
        let out = String::from_utf8(out).unwrap();
        assert!(
            ran.status.success(),
            "{out}{}",
            String::from_utf8_lossy(&err)
        );
        out
    }
}

/// A DNS server that says 127.0.0.1 for every name, and has the TXT records that it is given.
pub struct RecordServer {
    _child: Killed,
}

impl RecordServer {
    /// Starts it and waits until it answers.
    #[track_caller]
    pub fn start() -> Self {
        let executable = tool("pebble-challtestsrv").expect("pebble-challtestsrv is installed");
        let mut child = Command::new(executable)
            .args(["-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", ""])
            .args(["-dnsserver", DNS, "-management", DNS_MANAGEMENT])
            .args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = child.stdout.take().unwrap();
        let child = Killed(child);
        wait_for(DNS_MANAGEMENT);
        wait_for(DNS);
        // Reads on, so that the pipe never fills.
        std::thread::spawn(move || BufReader::new(out).lines().for_each(drop));
        Self { _child: child }
    }

    /// A command in the form of `dns_command`: it sets and removes records of this server.
    pub fn command(&self) -> Vec<String> {
        let script = format!(
            r#"case $1 in
                present) body="{{\"host\":\"$2\",\"value\":\"$3\"}}"; path=set-txt;;
                cleanup) body="{{\"host\":\"$2\"}}"; path=clear-txt;;
                *) echo "unknown: $1" >&2; exit 2;;
            esac
            exec curl -sS --fail -o /dev/null -d "$body" http://{DNS_MANAGEMENT}/$path"#
        );
        ["sh", "-c", &script, "dns"].map(str::to_owned).to_vec()
    }

    /// Lets a name lead to this address.
    #[track_caller]
    pub fn set_address(&self, name: &str, address: &str) {
        self.post("clear-a", &format!(r#"{{"host":"{name}."}}"#));
        let body = format!(r#"{{"host":"{name}.","addresses":["{address}"]}}"#);
        self.post("add-a", &body);
    }

    /// Lets a query for this name fail.
    #[track_caller]
    pub fn fail(&self, name: &str) {
        self.post("set-servfail", &format!(r#"{{"host":"{name}."}}"#));
    }

    #[track_caller]
    fn post(&self, path: &str, body: &str) {
        let mut stream = TcpStream::connect(DNS_MANAGEMENT).unwrap();
        write!(
            stream,
            "POST /{path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

/// Waits until something accepts connections at an address.
#[track_caller]
fn wait_for(address: &str) {
    let what = format!("something listens at {address}");
    eventually(&what, || TcpStream::connect(address).is_ok());
}
