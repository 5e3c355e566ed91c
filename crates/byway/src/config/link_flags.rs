//! Link flags: the flags of the link commands as a config file.
//!
//! In:    the flags of `byway serve`, `byway tcp`, `byway http` and `byway proxy serve`.
//! Out:   a [`File`] with one section.
//! Never: checks a value, or shows a join string in a place.

use super::authority_flags::AuthorityFlags;
use super::flags::{allow_flag, common_flags, deny_flag, flag, flags, target_flag};
use super::place::{At, Place};
use super::secret::Secret;
use super::section::{Acme, Exit, Expose, File, Join, Serve};
use super::site_flags::is_local;

/// The flags of `byway serve`.
#[derive(Clone, Debug, Default)]
pub struct ServeFlags {
    /// `--listen`, each as in a file.
    pub listen: Vec<String>,
    /// `--http`, each as in a file.
    pub http: Vec<String>,
    /// `--https`, each as in a file.
    pub https: Vec<String>,
    /// `--domain`.
    pub domain: Option<String>,
    /// `--advertise`.
    pub advertise: Option<String>,
    /// `--cert` and `--key`.
    pub certificates: (Vec<String>, Vec<String>),
    /// Who issues certificates, if there is no `--cert`.
    pub authority: AuthorityFlags,
}

/// The flags of `byway proxy serve`.
#[derive(Clone, Debug, Default)]
pub struct ExitFlags {
    /// `--listen`, each as in a file.
    pub listen: Vec<String>,
    /// `--allow`, each as for `byway proxy`.
    pub allow: Vec<String>,
    /// `--deny`, each as for `byway proxy`; applied before `--allow`.
    pub deny: Vec<String>,
    /// `--stream-limit`.
    pub stream_limit: Option<String>,
    /// `--advertise`.
    pub advertise: Option<String>,
}

/// The flags of `byway tcp` or `byway http`.
#[derive(Clone, Debug)]
pub struct ExposeFlags {
    /// What is exposed.
    pub service: ExposedFlags,
    /// The local target: as in a file, or a port of 127.0.0.1.
    pub to: String,
    /// The join string.
    pub join: JoinFlag,
    /// `--carrier`.
    pub carrier: Option<String>,
}

/// The flags that differ between the two kinds of exposed service.
#[derive(Clone, Debug)]
pub enum ExposedFlags {
    /// `byway http`.
    Http {
        /// `--name`; none for a random one that the state folder keeps.
        name: Option<String>,
        /// `--host`.
        host: Option<String>,
    },
    /// `byway tcp`.
    Tcp {
        /// `--name`.
        name: Option<String>,
        /// `--port`.
        port: Option<u16>,
    },
}

/// A join string, or the file that holds it.
#[derive(Clone, Debug)]
pub enum JoinFlag {
    /// The string itself, and its source, such as `--join`.
    Text {
        /// For messages.
        from: &'static str,
        /// The string.
        text: Secret,
    },
    /// `--join-file`.
    File(String),
}

impl File {
    /// What `byway serve …` means: the public end of exposed services.
    pub fn for_serve(given: ServeFlags) -> Self {
        let (certs, keys) = given.certificates;
        let needs_certificate = !given.https.is_empty() && certs.is_empty();
        let domain = given.domain.clone().filter(|_| needs_certificate);
        let serve = Serve {
            listen: Some(flags("--listen", given.listen)),
            http: (!given.http.is_empty()).then(|| flags("--http", given.http)),
            https: (!given.https.is_empty()).then(|| flags("--https", given.https)),
            domain: given.domain.map(|text| flag("--domain", text)),
            advertise: given.advertise.map(|text| flag("--advertise", text)),
            ..Serve::default()
        };
        let mut file = Self {
            serve: vec![At::new(serve, Place::flag("--listen", ""))],
            ..Self::default()
        }
        .with_certificates(certs, keys);
        match domain {
            Some(domain) if is_local(&domain) => {
                file.tls.local_names = Some(flags("--domain", vec![domain]));
            }
            Some(domain) => file.acme.push(for_services(given.authority, &domain)),
            None => {}
        }
        file
    }

    /// What `byway proxy serve …` means: the exit of a two-hop egress.
    pub fn for_exit(given: ExitFlags) -> Self {
        let denied = given.deny.iter().map(|text| deny_flag(text));
        let allowed = given.allow.iter().map(|text| allow_flag(text));
        let exit = Exit {
            listen: Some(flags("--listen", given.listen)),
            advertise: given.advertise.map(|text| flag("--advertise", text)),
            common: common_flags(given.stream_limit),
            rule: denied.chain(allowed).collect(),
            ..Exit::default()
        };
        Self {
            exit: vec![At::new(exit, Place::flag("--listen", ""))],
            ..Self::default()
        }
    }

    /// What `byway tcp …` and `byway http …` mean: one exposed service.
    pub fn for_expose(given: ExposeFlags) -> Self {
        let to = Some(target_flag("TARGET", given.to));
        let expose = match given.service {
            ExposedFlags::Http { name, host } => Expose {
                http: to,
                name: name.map(|name| flag("--name", name)),
                host: host.map(|host| flag("--host", host)),
                ..Expose::default()
            },
            ExposedFlags::Tcp { name, port } => Expose {
                tcp: to,
                name: name.map(|name| flag("--name", name)),
                port: port
                    .map(|port| At::new(port.into(), Place::flag("--port", &port.to_string()))),
                ..Expose::default()
            },
        };
        let expose = Expose {
            join: join_flags(Some(given.join), given.carrier),
            ..expose
        };
        Self {
            expose: vec![At::new(expose, Place::flag("TARGET", ""))],
            ..Self::default()
        }
    }
}

pub(super) fn join_flags(join: Option<JoinFlag>, carrier: Option<String>) -> Join {
    let mut flags = Join {
        carrier: carrier.map(|text| flag("--carrier", text)),
        ..Join::default()
    };
    match join {
        Some(JoinFlag::Text { from, text }) => {
            flags.join = Some(At::new(text, Place::flag(from, "***")))
        }
        Some(JoinFlag::File(path)) => flags.join_file = Some(flag("--join-file", path)),
        None => {}
    }
    flags
}

/// Certificates for the names below `domain`: one for all of them if DNS records can be set, else one
/// for each service whose agent is connected, when a visitor asks for it.
fn for_services(authority: AuthorityFlags, domain: &str) -> At<Acme> {
    let sets_dns = authority.sets_dns();
    let wildcard = sets_dns.then(|| format!("*.{}", domain.trim_end_matches('.')));
    let mut acme = authority.section("--domain", wildcard.into_iter().collect());
    if !sets_dns {
        acme.value.on_demand = Some(flag("--domain", "services".to_owned()));
    }
    acme
}
