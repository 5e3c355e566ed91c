//! Acme: the authorities of `[[acme]]`, and which names each of them certifies.
//!
//! In:    `[[acme]]`, the routes of `https` listeners, the names of `[[certificate]]`.
//! Out:   an [`AcmePlan`] for each section.
//! Never: asks an authority; reads a file but those with secrets.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use byway_tls::acme::{Binding, Name, RateLimit, TsigKey};

use super::super::acme_plan::{AcmePlan, DEFAULT_DIRECTORY, DnsPlan};
use super::super::diagnostic::Diagnostic;
use super::super::host_pattern::HostPattern;
use super::super::place::{At, Place, Text};
use super::super::plan::{ListenerPlan, Role, Transport};
use super::super::secret::Secret;
use super::super::section::kind::{Count, Form, Kind, OneOf};
use super::super::section::{Acme, Challenge, OnDemandNames};
use super::super::tls_plan::CertificatePlan;
use super::super::units::Period;
use super::Resolver;

/// The most names of all sections together.
const MOST_NAMES: usize = 10_000;

impl Resolver<'_> {
    pub(super) fn acme(
        &mut self,
        written: &[At<Acme>],
        listeners: &[ListenerPlan],
        certificates: &[CertificatePlan],
    ) -> Vec<AcmePlan> {
        let mut plans: Vec<AcmePlan> = written
            .iter()
            .filter_map(|section| self.authority(section))
            .collect();
        let mut taken: BTreeSet<Name> = BTreeSet::new();
        for (plan, section) in plans.iter_mut().zip(written) {
            plan.names.retain(|name| taken.insert(name.clone()));
            if taken.len() > MOST_NAMES {
                let message = format!("more than {MOST_NAMES} names");
                self.note(Diagnostic::new(&section.place, message));
                return plans;
            }
        }
        let in_files: Vec<&HostPattern> = certificates
            .iter()
            .flat_map(|certificate| certificate.names.iter().flatten())
            .collect();
        if let Some(first) = plans.first_mut() {
            for name in names_of_routes(listeners) {
                let has_file = in_files
                    .iter()
                    .any(|pattern| pattern.matches(name.as_str()));
                let is_covered = taken.iter().any(|other| other.covers(name.as_str()));
                if !has_file && !is_covered && taken.len() < MOST_NAMES {
                    taken.insert(name.clone());
                    first.names.push(name);
                }
            }
        }
        plans
    }

    fn authority(&mut self, section: &At<Acme>) -> Option<AcmePlan> {
        let At { value, place } = section;
        if !value.agree.as_ref().is_some_and(|agree| agree.value) {
            let message = "`agree` is missing: the authority issues certificates to those who agree to its terms";
            let help = "read the terms of service of the authority, then add agree = true";
            let place = value.agree.as_ref().map_or(place, |agree| &agree.place);
            self.note(Diagnostic::new(place, message).help(help).absent());
        }
        let names: Vec<Name> = self.all_parsed("names", &value.names);
        let text = |text: &Option<Text>| text.as_ref().map(|text| text.value.clone());
        let directory = text(&value.directory).unwrap_or_else(|| DEFAULT_DIRECTORY.to_owned());
        if let (Some(written), false) = (&value.directory, directory.starts_with("https://")) {
            let message = "`directory` has to begin with https://";
            self.note(Diagnostic::new(&written.place, message));
        }
        if let Some(email) = &value.email {
            let is_address = email.value.split_once('@').is_some_and(|(user, host)| {
                !user.is_empty() && host.contains('.') && !email.value.contains([' ', ',', ':'])
            });
            if !is_address {
                let message = format!("`{}` is no address", email.value);
                let help = "for example admin@example.com";
                self.note(Diagnostic::new(&email.place, message).help(help));
            }
        }
        let challenge =
            OneOf::<Challenge>::resolve(self, "challenge", &value.challenge, (), Challenge::Auto);
        let dns = self.dns(value);
        let needs_dns = names.iter().find(|name| name.is_wildcard());
        let by_dns = matches!(challenge, Challenge::Auto | Challenge::Dns01) && dns.is_some();
        if let (Some(wildcard), false) = (needs_dns, by_dns) {
            let message =
                format!("`{wildcard}` needs dns-01, and there is no way to set DNS records");
            let help = "add dns_command = [\"/path/to/program\"], or dns_server and dns_key_file";
            let place = value.names.as_ref().map_or(place, |names| &names.place);
            self.note(Diagnostic::new(place, message).help(help).absent());
        } else if challenge == Challenge::Dns01 && dns.is_none() {
            let message = "`challenge = \"dns-01\"` needs a way to set DNS records";
            let help = "add dns_command = [\"/path/to/program\"], or dns_server and dns_key_file";
            self.note(Diagnostic::new(place, message).help(help).absent());
        }
        let binding = self.binding(value, place);
        let on_demand = OneOf::<OnDemandNames>::resolve(
            self,
            "on_demand",
            &value.on_demand,
            (),
            OnDemandNames::Off,
        );
        let default = RateLimit::default();
        let burst = Count::value(self, "on_demand_burst", &value.on_demand_burst, 1..=1000);
        let interval = self.period("on_demand_interval", &value.on_demand_interval, 1, 86_400);
        Some(AcmePlan {
            names,
            directory,
            email: text(&value.email),
            challenge,
            dns,
            dns_delay: self
                .period("dns_delay", &value.dns_delay, 0, 3600)
                .unwrap_or_default(),
            binding,
            profile: text(&value.profile),
            ca: value.ca.as_ref().map(|ca| self.path(&ca.value)),
            on_demand,
            rate: RateLimit {
                burst: burst.unwrap_or(default.burst),
                interval: interval.unwrap_or(default.interval),
            },
        })
    }

    fn period(
        &mut self,
        key: &str,
        written: &<Period as Form>::Written,
        least: u64,
        most: u64,
    ) -> Option<Duration> {
        let range = Duration::from_secs(least)..=Duration::from_secs(most);
        Period::value(self, key, written, range)
    }

    fn dns(&mut self, value: &Acme) -> Option<DnsPlan> {
        let deadline = self.period("dns_deadline", &value.dns_deadline, 1, 280);
        match (&value.dns_command, &value.dns_server) {
            (Some(command), None) => {
                let words: Vec<String> = command
                    .value
                    .iter()
                    .map(|word| word.value.clone())
                    .collect();
                if words.first().is_none_or(String::is_empty) {
                    let message = "`dns_command` is empty: name a program";
                    self.note(Diagnostic::new(&command.place, message));
                }
                Some(DnsPlan::Command {
                    command: words,
                    deadline: deadline.unwrap_or(Duration::from_secs(120)),
                })
            }
            (None, Some(server)) => {
                let has_port = server
                    .value
                    .rsplit_once(':')
                    .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
                if !has_port {
                    let message = format!(
                        "`{}` has no port: write it as in 10.0.0.53:53",
                        server.value
                    );
                    self.note(Diagnostic::new(&server.place, message));
                }
                let Some(file) = &value.dns_key_file else {
                    let message = "`dns_server` needs `dns_key_file`: updates are signed";
                    let help = "for example dns_key_file = \"/etc/byway/dns.key\", as tsig-keygen prints it";
                    self.note(Diagnostic::new(&server.place, message).help(help).absent());
                    return None;
                };
                let key = self.secret_file("dns_key_file", file)?;
                if TsigKey::read(key.expose()).is_none() {
                    let message = "the file has no key: write what tsig-keygen prints, or \
                                   [ALGORITHM:]NAME:SECRET, with hmac-sha256, -384 or -512";
                    self.note(Diagnostic::new(&file.place, message));
                }
                Some(DnsPlan::Update {
                    server: server.value.clone(),
                    zone: value.dns_zone.as_ref().map(|zone| zone.value.clone()),
                    key,
                })
            }
            (Some(_), Some(server)) => {
                let message = "there are both `dns_command` and `dns_server`: choose one";
                self.note(Diagnostic::new(&server.place, message));
                None
            }
            (None, None) => None,
        }
    }

    fn binding(&mut self, value: &Acme, place: &Place) -> Option<(String, Secret)> {
        match (&value.binding_id, &value.binding_key_file) {
            (None, None) => None,
            (Some(id), Some(file)) => {
                let key = self.secret_file("binding_key_file", file)?;
                if Binding::new(&id.value, key.expose()).is_none() {
                    let message = "the file has no key in base64";
                    self.note(Diagnostic::new(&file.place, message));
                }
                Some((id.value.clone(), key))
            }
            _ => {
                let message = "`binding_id` and `binding_key_file` need each other";
                self.note(Diagnostic::new(place, message));
                None
            }
        }
    }

    /// The whole text of a file.
    fn secret_file(&mut self, key: &str, file: &Text) -> Option<Secret> {
        let path = self.path(&file.value);
        let text = self
            .read_file(&path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()));
        self.checked(key, &file.place, text)
            .map(|text| Secret::new(text.trim()))
    }
}

/// The exact hosts of the routes behind `https` listeners that a public authority may certify.
fn names_of_routes(listeners: &[ListenerPlan]) -> Vec<Name> {
    let edges = listeners.iter().filter_map(|listener| {
        let is_tls = listener.frontend.transport == Transport::Tls;
        match &listener.frontend.role {
            Role::Edge(edge) if is_tls => Some(Arc::clone(edge)),
            _ => None,
        }
    });
    let mut names = BTreeSet::new();
    for edge in edges {
        for host in edge.routes.iter().flat_map(|route| &route.hosts) {
            if let HostPattern::Exact(host) = host
                && let Ok(name) = Name::new(host.as_str())
                && !is_local(name.as_str())
            {
                names.insert(name);
            }
        }
    }
    names.into_iter().collect()
}

/// Names that no public authority certifies (RFC 6761, RFC 6762).
fn is_local(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    ["localhost", "local", "test", "invalid", "internal"].contains(&last)
}
