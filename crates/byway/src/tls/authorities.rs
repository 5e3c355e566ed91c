//! Authorities: who issues certificates for this node by itself: ACME and the local authority.
//!
//! In:    `[[acme]]` and `tls.local_names` of a Plan; names that clients ask for.
//! Out:   certificates in the store, and what challenges are answered with.
//! Never: delays a start or a handshake that needs no new certificate.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use byway_agent::dial::Roots;
use byway_tls::acme::{
    Authority, Binding, ChallengeKind, Clock, Dns, DnsCommand, DnsUpdate, Keeper, Options, Source,
    TsigKey,
};
use byway_tls::{
    CertificateStore, Challenges, Change, FileError, LocalAuthority, LocalAuthorityError,
    LocalCertificates, OnDemand, Provider, SourceId, certificates,
};

use super::authority_client::AuthorityClient;
use crate::config::{
    AcmePlan, Challenge, DnsPlan, HostPattern, OnDemandNames, Plan, Role, Transport,
};

/// How often it is looked for certificates of the local authority that have to be renewed.
const LOCAL_TICK: Duration = Duration::from_secs(60);

/// Whether an agent that is connected has the service of this host name.
pub type ServiceRule = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// Why authorities cannot be used as a Plan says.
#[derive(Debug, thiserror::Error)]
pub enum AuthoritiesError {
    /// The roots of an authority cannot be read.
    #[error("[[acme]]: {0}")]
    Roots(#[from] FileError),
    /// The client for requests cannot be made.
    #[error("[[acme]]: {0}")]
    Client(#[from] byway_agent::BuildError),
    /// The local authority.
    #[error("tls.local_names: {0}")]
    Local(#[from] LocalAuthorityError),
}

/// The authorities of a node. They outlive a reload.
pub struct Authorities {
    keeper: Keeper,
    local: ArcSwapOption<LocalCertificates>,
    store: Arc<CertificateStore>,
    state: PathBuf,
    services: ServiceRule,
    clock: Clock,
}

/// What a Plan wants of authorities, complete and not in force yet.
pub struct PreparedAuthorities {
    sources: Vec<Source>,
    local: Option<(LocalCertificates, Vec<String>)>,
}

impl Authorities {
    /// Keeps its state in the folder `state`. Nothing is requested before the first
    /// [`Authorities::apply`].
    pub fn new(
        state: PathBuf,
        store: Arc<CertificateStore>,
        challenges: Arc<Challenges>,
        services: ServiceRule,
    ) -> Self {
        let clock: Clock = Arc::new(SystemTime::now);
        let keeper = Keeper::new(Options {
            state: state.clone(),
            certificates: Arc::clone(&store),
            challenges,
            clock: Arc::clone(&clock),
        });
        Self {
            keeper,
            local: ArcSwapOption::empty(),
            store,
            state,
            services,
            clock,
        }
    }

    /// The certificates from ACME authorities.
    pub fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    /// Reads what `plan` needs. Blocks.
    ///
    /// # Errors
    /// [`AuthoritiesError`].
    pub fn prepare(&self, plan: &Plan) -> Result<PreparedAuthorities, AuthoritiesError> {
        let acme = plan.tls.acme.iter();
        let sources = acme
            .map(|acme| self.source(acme, plan))
            .collect::<Result<Vec<_>, _>>()?;
        let local = match plan.tls.local_names.is_empty() {
            true => None,
            false => {
                let now = (self.clock)();
                let authority = LocalAuthority::open(&self.state, now)?;
                for name in &plan.tls.local_names {
                    // Whether it may sign them, before anything changes.
                    authority.certificate(name, now)?;
                }
                let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock));
                let local = LocalCertificates::new(authority, store, clock);
                Some((local, plan.tls.local_names.clone()))
            }
        };
        Ok(PreparedAuthorities { sources, local })
    }

    /// Puts it in force. Names that files have certificates for are left to those.
    pub fn apply(&self, prepared: PreparedAuthorities) {
        let PreparedAuthorities { mut sources, local } = prepared;
        let in_file = |name: &str| {
            let covered = self.store.coverage(name);
            covered.is_some_and(|covered| covered.source.provider == Provider::File)
        };
        for source in &mut sources {
            source.names.retain(|name| !in_file(name.as_str()));
        }
        if let Err((path, error)) = self.keeper.apply(sources) {
            tracing::error!(
                %error,
                "cannot use {}: no certificates are requested: {}",
                path.display(), byway_tls::state_file::advice(&error)
            );
        }
        let names = local.as_ref().map_or(&[][..], |(_, names)| names);
        let names = names.to_vec();
        let local = local.map(|(local, names)| {
            for name in names {
                if let Err(error) = local.install(&name) {
                    tracing::error!("the local authority: {error}");
                }
            }
            Arc::new(local)
        });
        self.local.store(local);
        // Behind the new ones, so that no handshake is without. Names below them come back on demand.
        let gone = self.store.all().into_iter().filter(|covered| {
            let SourceId { provider, id } = &covered.source;
            *provider == Provider::Local && !names.iter().any(|name| **name == **id)
        });
        self.store
            .update(gone.map(|covered| Change::Remove(covered.source)));
    }

    /// Obtains and renews certificates, for as long as it is polled.
    pub async fn run(&self) {
        let renewing = async {
            loop {
                tokio::time::sleep(LOCAL_TICK).await;
                if let Some(local) = self.local.load_full() {
                    local.renew_due();
                }
            }
        };
        tokio::select! {
            () = self.keeper.run() => {}
            () = renewing => {}
        }
    }

    fn source(&self, acme: &AcmePlan, plan: &Plan) -> Result<Source, AuthoritiesError> {
        let roots = match &acme.ca {
            Some(ca) => Roots::Only(certificates(ca)?),
            None => Roots::Platform,
        };
        let client = Arc::new(AuthorityClient::new(roots)?);
        let binding = acme.binding.as_ref();
        let on_demand = self.on_demand(acme.on_demand, plan);
        Ok(Source {
            authority: Authority {
                directory: acme.directory.clone(),
                email: acme.email.clone(),
                binding: binding.and_then(|(id, key)| Binding::new(id, key.expose())),
                profile: acme.profile.clone(),
            },
            names: acme.names.clone(),
            challenge: match acme.challenge {
                Challenge::Auto => ChallengeKind::Auto,
                Challenge::Http01 => ChallengeKind::Http01,
                Challenge::TlsAlpn01 => ChallengeKind::TlsAlpn01,
                Challenge::Dns01 => ChallengeKind::Dns01,
            },
            dns: acme.dns.as_ref().and_then(dns_of),
            dns_delay: acme.dns_delay,
            on_demand: on_demand.map(|rule| (rule, acme.rate)),
            client,
        })
    }

    fn on_demand(&self, names: OnDemandNames, plan: &Plan) -> Option<ServiceRule> {
        let edges = || {
            plan.listeners.iter().filter_map(|listener| {
                let is_tls = listener.frontend.transport == Transport::Tls;
                match &listener.frontend.role {
                    Role::Edge(edge) if is_tls => Some(edge),
                    _ => None,
                }
            })
        };
        match names {
            OnDemandNames::Off => None,
            OnDemandNames::Services => {
                let services = Arc::clone(&self.services);
                let domains = edges().filter_map(|edge| edge.domain.as_ref());
                let domains: Vec<String> = domains
                    .map(|domain| format!(".{}", domain.as_str().to_ascii_lowercase()))
                    .collect();
                Some(Arc::new(move |host: &str| {
                    let mut labels = domains
                        .iter()
                        .filter_map(|domain| host.strip_suffix(&**domain));
                    labels.any(|label| !label.contains('.')) && services(host)
                }))
            }
            OnDemandNames::Routes => {
                let routes = edges().flat_map(|edge| &edge.routes);
                let hosts = routes.flat_map(|route| &route.hosts);
                let patterns: Vec<HostPattern> = hosts
                    .filter(|host| matches!(host, HostPattern::Below(_)))
                    .cloned()
                    .collect();
                Some(Arc::new(move |host: &str| {
                    patterns.iter().any(|pattern| pattern.matches(host))
                }))
            }
        }
    }
}

impl OnDemand for Authorities {
    fn obtain<'a>(&'a self, name: &'a str) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            match self.local.load_full() {
                Some(local) if local.authority().permits(name) => local.obtain(name).await,
                _ => self.keeper.obtain(name).await,
            }
        })
    }
}

fn dns_of(plan: &DnsPlan) -> Option<Dns> {
    Some(match plan {
        DnsPlan::Command { command, deadline } => Dns::Command(DnsCommand {
            command: command.clone(),
            deadline: *deadline,
        }),
        DnsPlan::Update { server, zone, key } => Dns::Update(DnsUpdate {
            server: server.clone(),
            zone: zone.clone(),
            key: TsigKey::read(key.expose())?,
        }),
    })
}

/// What `byway check` says about `[[acme]]`: which certificates it would request.
pub fn requests(plan: &Plan) -> Vec<String> {
    let of_one = |acme: &AcmePlan| {
        let names: Vec<&str> = acme.names.iter().map(|name| name.as_str()).collect();
        let more = match names.len() {
            0 => "no names".to_owned(),
            1..=10 => names.join(", "),
            count => format!("{} and {} more", names[..10].join(", "), count - 10),
        };
        format!(
            "certificates for {more} would be requested from {} (challenge {})",
            acme.directory,
            acme.challenge.name()
        )
    };
    plan.tls.acme.iter().map(of_one).collect()
}
