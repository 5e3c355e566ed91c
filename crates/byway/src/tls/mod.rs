//! TLS: the certificates of this node, and how its `https` listeners use them.
//!
//! In:    the `[tls]`, `[[certificate]]` and `[[acme]]` sections of a Plan; the state folder.
//! Out:   what handshakes use; what is wrong with a certificate.
//! Never: puts a Plan in force whose certificates cannot be used.

pub mod authorities;
mod authority_client;
mod metrics;
pub mod quic;
mod upstream;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use arc_swap::{ArcSwapOption, Guard};
use byway_tls::acme::CHALLENGE_PATH;
use byway_tls::{
    CertificateFiles, CertificateStore, Challenges, ClientAuth, ClientRoots, Failed, FileError,
    FileSource, InvalidClientRoots, ServerOptions, SetupError, TicketSecret, TlsServer, TlsVersion,
    WatchedFiles, certificates,
};
use parking_lot::Mutex;

use crate::config::{
    CertificatePlan, ClientCertificatesPlan, ClientMode, OldestVersion, Plan, TlsPlan, Transport,
    UpstreamTlsPlan,
};

pub use self::authorities::{Authorities, AuthoritiesError};
use self::authorities::{PreparedAuthorities, ServiceRule};
pub use self::metrics::TlsMetrics;
pub use self::upstream::{UpstreamTlsError, upstream_client};

/// Why the TLS of a Plan cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsSetupError {
    /// Certificates that cannot be used, each with the reason.
    #[error("{}", lines(.0))]
    Certificates(Vec<FileError>),
    /// The authorities of client certificates cannot be read.
    #[error("[[tls.client]]: {0}")]
    ClientFile(FileError),
    /// The authorities of client certificates cannot be used.
    #[error("[[tls.client]]: {}: {error}", path.display())]
    ClientRoots {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: InvalidClientRoots,
    },
    /// There are no random numbers.
    #[error("session tickets: {0}")]
    Tickets(byway_tls::SecretError),
    /// The TLS towards an upstream cannot be set up.
    #[error(transparent)]
    Upstream(#[from] UpstreamTlsError),
    /// Authorities that issue certificates.
    #[error(transparent)]
    Authorities(#[from] AuthoritiesError),
    /// Anything else.
    #[error(transparent)]
    Setup(#[from] SetupError),
}

fn lines(errors: &[FileError]) -> String {
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    texts.join("\n")
}

/// The TLS of a node. It outlives a reload.
#[derive(Default)]
pub struct NodeTls {
    /// The certificates.
    pub store: Arc<CertificateStore>,
    /// The ACME challenges under way.
    pub challenges: Arc<Challenges>,
    /// What handshakes have come to.
    pub metrics: TlsMetrics,
    authorities: OnceLock<Arc<Authorities>>,
    server: ArcSwapOption<TlsServer>,
    files: Mutex<WatchedFiles>,
    secret: Mutex<Option<(PathBuf, TicketSecret)>>,
}

/// The TLS of a Plan, complete and not in force yet.
pub struct PreparedTls {
    server: Option<TlsServer>,
    files: WatchedFiles,
    authorities: Option<PreparedAuthorities>,
}

impl NodeTls {
    /// The TLS of a node that keeps its state in `state`. `services`: whether a connected agent has
    /// the service of a host name.
    pub fn new(state: PathBuf, services: ServiceRule) -> Self {
        let tls = Self::default();
        let (store, challenges) = (Arc::clone(&tls.store), Arc::clone(&tls.challenges));
        let authorities = Authorities::new(state, store, challenges, services);
        let _ = tls.authorities.set(Arc::new(authorities));
        tls
    }

    /// The authorities that issue certificates by themselves.
    pub fn authorities(&self) -> Option<&Arc<Authorities>> {
        self.authorities.get()
    }

    /// The answer to an HTTP-01 challenge under way, for a request of this path.
    pub fn challenge_answer(&self, path: &[u8]) -> Option<Arc<str>> {
        // Before anything else: nearly all requests end here.
        if !path.starts_with(CHALLENGE_PATH.as_bytes()) {
            return None;
        }
        let path = std::str::from_utf8(path).ok()?;
        self.authorities.get()?.keeper().http_answers().answer(path)
    }

    /// Reads the certificates of `plan`. Blocks.
    ///
    /// # Errors
    /// [`TlsSetupError`]: everything that is wrong with the certificates, each with its file.
    pub fn prepare(&self, plan: &Plan) -> Result<PreparedTls, TlsSetupError> {
        let (files, failed) = WatchedFiles::read(sources(&plan.tls));
        if !failed.is_empty() {
            let errors = failed.into_iter().map(|failed| failed.error);
            return Err(TlsSetupError::Certificates(errors.collect()));
        }
        check_upstreams(plan)?;
        let is_used = plan
            .listeners
            .iter()
            .any(|listener| listener.frontend.transport == Transport::Tls);
        let server = match is_used {
            true => Some(self.make_server(plan)?),
            false => None,
        };
        let authorities = self.authorities.get();
        let authorities = authorities.map(|all| all.prepare(plan)).transpose()?;
        Ok(PreparedTls {
            server,
            files,
            authorities,
        })
    }

    /// Puts a prepared TLS in force: new handshakes use it, connections keep what they have.
    pub fn apply(&self, prepared: PreparedTls) {
        let PreparedTls {
            server,
            mut files,
            authorities,
        } = prepared;
        let mut current = self.files.lock();
        files.take_over(&current, &self.store);
        *current = files;
        self.server.store(server.map(Arc::new));
        drop(current);
        if let (Some(all), Some(prepared)) = (self.authorities.get(), authorities) {
            all.apply(prepared);
        }
        self.warn_of_certificates();
    }

    /// What does handshakes; `None` if no listener speaks TLS.
    pub fn server(&self) -> Guard<Option<Arc<TlsServer>>> {
        self.server.load()
    }

    /// Whether there are files to look at.
    pub fn has_files(&self) -> bool {
        !self.files.lock().is_empty()
    }

    /// Reads certificates again whose files have changed, and logs it. Blocks.
    pub fn refresh(&self) {
        let refreshed = self.files.lock().refresh(&self.store);
        for Failed { cert, error } in refreshed.failed {
            tracing::error!(
                "{error}; the certificate of {} that was read before stays",
                cert.display()
            );
        }
        if refreshed.installed > 0 {
            tracing::info!(
                "read {} certificates again, whose files have changed",
                refreshed.installed
            );
            self.warn_of_certificates();
        }
    }

    fn warn_of_certificates(&self) {
        let now = SystemTime::now();
        for covered in self.store.all() {
            for warning in covered.certificate.warnings(now) {
                tracing::warn!("certificate {}: {warning}", covered.source.id);
            }
        }
    }

    fn make_server(&self, plan: &Plan) -> Result<TlsServer, TlsSetupError> {
        let settings = &plan.tls.settings;
        let mut client_auth = Vec::new();
        for clients in &plan.tls.clients {
            let auth = Arc::new(client_auth_of(clients)?);
            let hosts = clients.hosts.iter();
            client_auth.extend(hosts.map(|host| (host.to_string(), Arc::clone(&auth))));
        }
        let options = ServerOptions {
            challenges: Arc::clone(&self.challenges),
            on_demand: self.authorities.get().map(|all| Arc::clone(all) as _),
            min_version: match settings.min_version {
                OldestVersion::V1_2 => TlsVersion::V1_2,
                OldestVersion::V1_3 => TlsVersion::V1_3,
            },
            alpn: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            client_auth,
            ..ServerOptions::new(
                Arc::clone(&self.store),
                self.ticket_secret(&settings.ticket_secret)?,
            )
        };
        Ok(TlsServer::new(&options)?)
    }

    /// The secret in `path`. If it cannot be used, a warning is logged, and tickets are worth
    /// something in this process only.
    fn ticket_secret(&self, path: &PathBuf) -> Result<TicketSecret, TlsSetupError> {
        let mut known = self.secret.lock();
        if let Some((of, secret)) = &*known
            && of == path
        {
            return Ok(secret.clone());
        }
        let secret = match TicketSecret::read_or_create(path) {
            Ok(secret) => secret,
            Err(error) => {
                tracing::warn!("{error}; TLS sessions are not resumed after a restart");
                TicketSecret::random().map_err(TlsSetupError::Tickets)?
            }
        };
        *known = Some((path.clone(), secret.clone()));
        Ok(secret)
    }
}

/// What `byway check` says about the certificates of `plan`: errors, and what may be a mistake.
/// Reads the files.
///
/// # Errors
/// Certificates that cannot be used.
pub fn check(plan: &Plan) -> Result<Vec<String>, TlsSetupError> {
    let (files, failed) = WatchedFiles::read(sources(&plan.tls));
    if !failed.is_empty() {
        let errors = failed.into_iter().map(|failed| failed.error);
        return Err(TlsSetupError::Certificates(errors.collect()));
    }
    for clients in &plan.tls.clients {
        client_auth_of(clients)?;
    }
    check_upstreams(plan)?;
    let now = SystemTime::now();
    let mut found = Vec::new();
    for (plan, certificate) in plan.tls.certificates.iter().zip(files.pending()) {
        let shown = plan.cert.display();
        for warning in certificate.warnings(now) {
            found.push(format!("certificate {shown}: {warning}"));
        }
        for name in plan.names.iter().flatten().map(ToString::to_string) {
            if !certificate.covers(&name) && !certificate.names().iter().any(|own| **own == name) {
                found.push(format!(
                    "certificate {shown}: it is not for `{name}`, which `names` lists: clients refuse it there"
                ));
            }
        }
    }
    Ok(found)
}

/// The file of the certificate that a client gets which asks for `host`, by the look-up that
/// handshakes use. Reads the files.
///
/// # Errors
/// Certificates that cannot be used.
pub fn certificate_for(plan: &TlsPlan, host: &str) -> Result<Option<PathBuf>, TlsSetupError> {
    let (mut files, failed) = WatchedFiles::read(sources(plan));
    if !failed.is_empty() {
        let errors = failed.into_iter().map(|failed| failed.error);
        return Err(TlsSetupError::Certificates(errors.collect()));
    }
    let store = CertificateStore::new();
    files.take_over(&WatchedFiles::default(), &store);
    let found = store.coverage(host).or_else(|| store.default_certificate());
    Ok(found.map(|covered| PathBuf::from(&*covered.source.id)))
}

fn sources(plan: &TlsPlan) -> Vec<FileSource> {
    let source = |certificate: &CertificatePlan| FileSource {
        files: CertificateFiles {
            cert: certificate.cert.clone(),
            key: certificate.key.clone(),
            ocsp: certificate.ocsp.clone(),
        },
        names: certificate
            .names
            .as_ref()
            .map(|names| names.iter().map(ToString::to_string).collect()),
        is_default: certificate.is_default,
    };
    plan.certificates.iter().map(source).collect()
}

/// Reads the files that TLS towards upstreams needs.
fn check_upstreams(plan: &Plan) -> Result<(), UpstreamTlsError> {
    let upstreams = plan.routes().flat_map(|route| &route.upstreams);
    let mut checked: HashSet<&UpstreamTlsPlan> = HashSet::new();
    for options in upstreams.filter_map(|upstream| upstream.options.as_deref()) {
        if checked.insert(options) {
            upstream_client(options, &[])?;
        }
    }
    Ok(())
}

fn client_auth_of(plan: &ClientCertificatesPlan) -> Result<ClientAuth, TlsSetupError> {
    let roots = certificates(&plan.ca).map_err(TlsSetupError::ClientFile)?;
    let roots = ClientRoots::new(roots).map_err(|error| TlsSetupError::ClientRoots {
        path: plan.ca.clone(),
        error,
    })?;
    Ok(match plan.mode {
        ClientMode::Required => ClientAuth::Required(roots),
        ClientMode::Optional => ClientAuth::Optional(roots),
    })
}
