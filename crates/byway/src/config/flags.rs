//! Flags: the flags of `byway edge` and `byway proxy` as a config file; for those of links see
//! `link_flags`.
//!
//! In:    flags as they were given.
//! Out:   a [`File`] with one section.
//! Never: checks a value: `resolve` does, as for a file.

use super::link_flags::{JoinFlag, join_flags};
use super::place::{At, Place, Text};
use super::secret::Secret;
use super::section::{Certificate, Edge, Egress, EgressCommon, File, Route, Rule, User};

/// What `byway proxy` and `byway proxy join` were given on the command line.
#[derive(Clone, Debug, Default)]
pub struct ProxyFlags {
    /// `--listen`, each as in a file.
    pub listen: Vec<String>,
    /// `--user NAME:PASSWORD`, each.
    pub users: Vec<String>,
    /// `--allow`, each a network or an address, with `:PORT` or `:FROM-TO` behind it or alone. It
    /// opens what is denied by default; it denies nothing else. `:25` opens that port, which is
    /// closed by default.
    pub allow: Vec<String>,
    /// `--deny`, each `HOST`, `.SUFFIX` or `NETWORK`, with or without ports, or ports alone;
    /// decided before `--allow`.
    pub deny: Vec<String>,
    /// `--stream-limit`.
    pub stream_limit: Option<String>,
    /// `--open-to-the-world`.
    pub open_to_the_world: bool,
    /// The join string of `byway proxy join`.
    pub join: Option<JoinFlag>,
    /// `--carrier`.
    pub carrier: Option<String>,
}

impl File {
    /// What `byway edge --listen … --to …` means: one edge with one route for everything.
    pub fn for_edge(listen: Vec<String>, to: Vec<String>) -> Self {
        let to = At::new(
            to.into_iter()
                .map(|text| target_flag("--to", text))
                .collect(),
            Place::flag("--to", ""),
        );
        let route = Route {
            to: Some(to),
            ..Route::default()
        };
        let edge = Edge {
            listen: Some(flags("--listen", listen)),
            route: vec![At::new(route, Place::flag("--to", ""))],
            ..Edge::default()
        };
        Self {
            edge: vec![At::new(edge, Place::flag("--listen", ""))],
            ..Self::default()
        }
    }

    /// The same with `--cert` and `--key`: each `--listen` of an edge or a proxy speaks TLS, with
    /// these certificates. Keys belong to certificates by their order; without keys, each is in the
    /// file of its certificate. Without certificates, nothing changes.
    #[must_use]
    pub fn over_tls(mut self, certs: Vec<String>, keys: Vec<String>) -> Self {
        self = self.with_certificates(certs, keys);
        if self.certificate.is_empty() {
            return self;
        }
        for edge in &mut self.edge {
            edge.value.https = edge.value.listen.take();
        }
        for proxy in &mut self.proxy {
            proxy.value.https = proxy.value.listen.take();
        }
        self
    }

    /// The same with the certificates of `--cert` and `--key`.
    #[must_use]
    pub fn with_certificates(mut self, certs: Vec<String>, keys: Vec<String>) -> Self {
        let mut keys = keys.into_iter().map(|key| flag("--key", key));
        let certificates = certs.into_iter().map(|cert| {
            let place = Place::flag("--cert", &cert);
            let certificate = Certificate {
                cert: Some(flag("--cert", cert)),
                key: keys.next(),
                ..Certificate::default()
            };
            At::new(certificate, place)
        });
        self.certificate.extend(certificates);
        self
    }

    /// What `byway proxy …` means: one egress proxy.
    pub fn for_proxy(given: ProxyFlags) -> Self {
        let users = given
            .users
            .iter()
            .map(|text| user_flag(text))
            .collect::<Vec<_>>();
        let denied = given.deny.iter().map(|text| deny_flag(text));
        let allowed = given.allow.iter().map(|text| allow_flag(text));
        let egress = Egress {
            listen: Some(flags("--listen", given.listen)),
            users: Some(At::new(users, Place::flag("--user", ""))),
            open_to_the_world: Some(At::new(
                given.open_to_the_world,
                Place::flag("--open-to-the-world", ""),
            )),
            common: common_flags(given.stream_limit),
            rule: denied.chain(allowed).collect(),
            join: join_flags(given.join, given.carrier),
            ..Egress::default()
        };
        Self {
            proxy: vec![At::new(egress, Place::flag("--listen", ""))],
            ..Self::default()
        }
    }
}

pub(super) fn common_flags(stream_limit: Option<String>) -> EgressCommon {
    EgressCommon {
        stream_limit: stream_limit.map(|text| flag("--stream-limit", text)),
        ..EgressCommon::default()
    }
}

pub(super) fn flag(name: &'static str, text: String) -> Text {
    let place = Place::flag(name, &text);
    At::new(text, place)
}

pub(super) fn flags(name: &'static str, texts: Vec<String>) -> At<Vec<Text>> {
    At::new(
        texts.into_iter().map(|text| flag(name, text)).collect(),
        Place::flag(name, ""),
    )
}

/// `name:password`; without a colon the password is missing, which `resolve` reports.
fn user_flag(text: &str) -> At<User> {
    let (name, password) = text
        .split_once(':')
        .map_or((text, None), |(name, password)| (name, Some(password)));
    let place = Place::flag(
        "--user",
        &if password.is_some() {
            format!("{name}:***")
        } else {
            name.to_owned()
        },
    );
    let user = User {
        name: Some(At::new(name.to_owned(), place.clone())),
        password: password.map(|password| At::new(Secret::new(password), place.clone())),
        password_file: None,
    };
    At::new(user, place)
}

/// A local target on the command line: a port alone, with or without a colon, is one of this
/// machine.
pub(super) fn target_flag(name: &'static str, text: String) -> Text {
    let place = Place::flag(name, &text);
    let port = text.strip_prefix(':').unwrap_or(&text);
    let is_port = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    At::new(
        if is_port {
            format!("127.0.0.1:{port}")
        } else {
            text
        },
        place,
    )
}

/// `NETWORK` or an address, then `:PORTS` or nothing; or `:25`, the one port that is closed by
/// default. A name, or another port alone, goes into `cidr`, where `resolve` refuses it.
pub(super) fn allow_flag(text: &str) -> At<Rule> {
    let place = Place::flag("--allow", text);
    let (target, ports) = match split_ports(text) {
        ("", Some("25")) => (None, Some("25")),
        ("", _) => (Some(text), None),
        (target, ports) => (Some(target), ports),
    };
    let rule = Rule {
        action: Some(At::new("allow".to_owned(), place.clone())),
        cidr: target.and_then(|target| one(target, &place)),
        port: ports.and_then(|ports| one(ports, &place)),
        ..Rule::default()
    };
    At::new(rule, place)
}

fn one(text: &str, place: &Place) -> Option<At<Vec<Text>>> {
    Some(At::new(
        vec![At::new(text.to_owned(), place.clone())],
        place.clone(),
    ))
}

/// `HOST`, `.SUFFIX` or `NETWORK`, then `:PORTS`; either may be missing. The form decides which of
/// the three it is; `resolve` checks it as it checks a file.
pub(super) fn deny_flag(text: &str) -> At<Rule> {
    let place = Place::flag("--deny", text);
    let one = |text: &str| one(text, &place);
    let (target, ports) = split_ports(text);
    let mut rule = Rule {
        action: Some(At::new("deny".to_owned(), place.clone())),
        ..Rule::default()
    };
    rule.port = ports.and_then(one);
    match target {
        "" if ports.is_some() => {}
        network if network.contains(['/', ':']) || network.parse::<std::net::IpAddr>().is_ok() => {
            rule.cidr = one(network)
        }
        suffix if suffix.starts_with('.') => rule.suffix = one(suffix),
        host => rule.host = one(host),
    }
    At::new(rule, place)
}

/// Splits ports from the target before them; IPv6 has to be in brackets to carry ports.
fn split_ports(text: &str) -> (&str, Option<&str>) {
    // The check of the target reports a URL.
    if text.contains("://") {
        return (text, None);
    }
    if let Some((inner, rest)) = text
        .strip_prefix('[')
        .and_then(|inner| inner.split_once(']'))
    {
        return (inner, rest.strip_prefix(':'));
    }
    match text.rsplit_once(':') {
        Some((target, ports)) if !target.contains(':') => (target, Some(ports)),
        _ => (text, None),
    }
}
