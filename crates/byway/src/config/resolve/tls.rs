//! TLS: the certificates of a node, and the `https` addresses of a section.
//!
//! In:    `[[certificate]]`, `[tls]`, and the `listen` and `https` of a section.
//! Out:   the [`TlsPlan`]; addresses with their transport.
//! Never: reads a certificate: that happens when the Plan is applied.

use std::collections::HashMap;
use std::path::PathBuf;

use byway_dial::HostName;
use byway_tls::ClientPattern;

use super::super::bind::Bind;
use super::super::diagnostic::Diagnostic;
use super::super::host_pattern::HostPattern;
use super::super::place::{At, Place, Text};
use super::super::plan::{ListenerPlan, Transport};
use super::super::section::kind::{Kind, OneOf};
use super::super::section::{Certificate, ClientCertificates, ClientMode, File, UpstreamTls};
use super::super::tls_plan::{CertificatePlan, ClientCertificatesPlan, TlsPlan, UpstreamTlsPlan};
use super::Resolver;

/// The port of plain HTTP, which is redirected unless the config says otherwise.
const HTTP_PORT: u16 = 80;

impl Resolver<'_> {
    pub(super) fn tls(&mut self, file: &File, listeners: &[ListenerPlan]) -> TlsPlan {
        let settings = file.tls.resolve(self, "tls.");
        let certificates = self.certificates(&file.certificate);
        let mut seen = HashMap::new();
        let clients = file.tls.client.iter();
        let clients = clients
            .filter_map(|client| self.clients(client, &mut seen))
            .collect();
        if let (true, Some(place)) = (file.tls.client.is_empty(), &self.first_client_pattern) {
            let message = "a rule for client certificates is never met: no host asks for one";
            let help = "add [[tls.client]] with hosts = [\"admin.example.com\"] and ca = \"/etc/byway/clients.pem\"";
            let diagnostic = Diagnostic::new(place, message).help(help).absent();
            self.note(diagnostic);
        }
        let acme = self.acme(&file.acme, listeners, &certificates);
        let local_names: Vec<HostName> = self.all_parsed("local_names", &file.tls.local_names);
        let local_names = local_names
            .iter()
            .map(|name| name.as_str().to_ascii_lowercase());
        let local_names: Vec<String> = local_names.collect();
        if certificates.is_empty()
            && acme.is_empty()
            && local_names.is_empty()
            && let Some(https) = &self.first_https
        {
            let message = "`https` needs a certificate, and there is none";
            let help = "add [[certificate]] with cert = \"/path/to/fullchain.pem\" and key = \"/path/to/key.pem\", or [[acme]] with agree = true";
            let diagnostic = Diagnostic::new(https, message).help(help).absent();
            self.note(diagnostic);
        }
        TlsPlan {
            settings,
            certificates,
            clients,
            acme,
            local_names,
        }
    }

    /// Which client certificates a rule or a route is for.
    pub(super) fn client_patterns(
        &mut self,
        key: &str,
        texts: &Option<At<Vec<Text>>>,
    ) -> Vec<ClientPattern> {
        if let (None, Some(texts)) = (&self.first_client_pattern, texts) {
            self.first_client_pattern = Some(texts.place.clone());
        }
        self.all_parsed(key, texts)
    }

    fn certificates(&mut self, written: &[At<Certificate>]) -> Vec<CertificatePlan> {
        let mut seen: HashMap<PathBuf, Place> = HashMap::new();
        let mut default: Option<Place> = None;
        let mut certificates = Vec::with_capacity(written.len());
        for certificate in written {
            let At { value, place } = certificate;
            let Some(cert) = &value.cert else {
                let diagnostic = Diagnostic::new(place, "this [[certificate]] has no `cert`");
                let help = "for example cert = \"/etc/byway/site.pem\"";
                self.note(diagnostic.help(help).absent());
                continue;
            };
            let cert_path = self.path(&cert.value);
            if let Some(first) = seen.insert(cert_path.clone(), cert.place.clone()) {
                let message = format!("the certificate {} is listed twice", cert.value);
                let diagnostic = Diagnostic::new(&cert.place, message);
                self.note(diagnostic.earlier(&first, "first here"));
            }
            let is_default = value.default.as_ref().is_some_and(|default| default.value);
            if let (true, Some(written)) = (is_default, &value.default) {
                if let Some(first) = &default {
                    let message = "another [[certificate]] is the default, too";
                    let diagnostic = Diagnostic::new(&written.place, message);
                    self.note(diagnostic.earlier(first, "first here"));
                }
                default = Some(written.place.clone());
            }
            let names = value
                .names
                .is_some()
                .then(|| self.all_parsed("names", &value.names));
            let path = |text: &Option<Text>| text.as_ref().map(|text| self.path(&text.value));
            certificates.push(CertificatePlan {
                key: path(&value.key).unwrap_or_else(|| cert_path.clone()),
                ocsp: path(&value.ocsp),
                cert: cert_path,
                names,
                is_default,
            });
        }
        if let (None, Some(first)) = (default, certificates.first_mut()) {
            first.is_default = true;
        }
        certificates
    }

    fn clients(
        &mut self,
        written: &At<ClientCertificates>,
        seen: &mut HashMap<String, Place>,
    ) -> Option<ClientCertificatesPlan> {
        let At { value, place } = written;
        let missing = match (&value.hosts, &value.ca) {
            (None, _) => Some("hosts = [\"admin.example.com\"]"),
            (_, None) => Some("ca = \"/etc/byway/clients.pem\""),
            _ => None,
        };
        if let Some(example) = missing {
            let key = example.split(' ').next().unwrap_or_default();
            let diagnostic = Diagnostic::new(place, format!("this [[tls.client]] has no `{key}`"));
            self.note(diagnostic.help(format!("for example {example}")).absent());
            return None;
        }
        for host in value.hosts.iter().flat_map(|hosts| &hosts.value) {
            let name = host.value.to_ascii_lowercase();
            if let Some(first) = seen.insert(name, host.place.clone()) {
                let message = format!("`{}` is in two [[tls.client]] sections", host.value);
                let diagnostic = Diagnostic::new(&host.place, message);
                self.note(diagnostic.earlier(&first, "first here"));
            }
        }
        let hosts: Vec<HostPattern> = self.all_parsed("hosts", &value.hosts);
        let mode =
            OneOf::<ClientMode>::resolve(self, "mode", &value.mode, (), ClientMode::Required);
        let ca = self.path(&value.ca.as_ref()?.value);
        Some(ClientCertificatesPlan { hosts, ca, mode })
    }

    /// The options of a route for TLS; none if nothing is written.
    pub(super) fn upstream_tls(&mut self, written: &UpstreamTls) -> Option<UpstreamTlsPlan> {
        let path = |text: &Text| self.path(&text.value);
        let ca = written.ca.as_ref().map(path);
        let own = written.cert.as_ref().map(path);
        let key = written.key.as_ref().map(path);
        if let (None, Some(key)) = (&written.cert, &written.key) {
            let diagnostic = Diagnostic::new(&key.place, "`tls.key` needs `tls.cert`");
            self.note(diagnostic.help("name the certificate of the key").absent());
        }
        let server_name = written.server_name.as_ref();
        let server_name = server_name.and_then(|name| self.parsed("tls.server_name", name));
        let pin = written.pin.as_ref().and_then(|text| {
            let pin = parse_pin(&text.value);
            self.checked("tls.pin", &text.place, pin)
        });
        let plan = UpstreamTlsPlan {
            identity: own.map(|cert| (cert.clone(), key.unwrap_or(cert))),
            ca,
            server_name,
            pin,
        };
        (plan != UpstreamTlsPlan::default()).then_some(plan)
    }

    /// The addresses of `https`.
    pub(super) fn https_binds(&mut self, https: &Option<At<Vec<Text>>>) -> Vec<At<Bind>> {
        let Some(list) = https else {
            return Vec::new();
        };
        self.first_https.get_or_insert_with(|| list.place.clone());
        self.addresses("https", list)
    }

    /// The addresses of `listen`, which may be missing where there is `https`.
    pub(super) fn plain_binds(
        &mut self,
        section: &str,
        place: &Place,
        listen: &Option<At<Vec<Text>>>,
        https: &Option<At<Vec<Text>>>,
    ) -> Vec<At<Bind>> {
        match (listen, https) {
            (None, Some(_)) => Vec::new(),
            _ => self.binds(section, place, listen),
        }
    }

    /// The addresses of a section with their transport. `redirect`: what the config says about the
    /// plain ones; without a word, those with port 80 redirect.
    pub(super) fn transports(
        &mut self,
        plain: Vec<At<Bind>>,
        https: Vec<At<Bind>>,
        redirect: &Option<At<bool>>,
    ) -> Vec<(At<Bind>, Transport)> {
        if let (Some(At { value: true, place }), None) = (redirect, https.first()) {
            let message = "`redirect_to_https` needs `https`: there is nothing to redirect to";
            self.note(
                Diagnostic::new(place, message)
                    .help("add https = \":443\"")
                    .absent(),
            );
        }
        let first = https.first().map(|bind| bind.value.clone());
        let redirects = |bind: &Bind| match redirect {
            Some(redirect) => redirect.value,
            None => bind
                .tcp()
                .is_some_and(|address| address.port() == HTTP_PORT),
        };
        let plain = plain.into_iter().map(|bind| {
            let to = first.clone().filter(|_| redirects(&bind.value));
            (bind, to.map_or(Transport::Plain, Transport::Redirect))
        });
        let plain: Vec<_> = plain.collect();
        let encrypted = https.into_iter().map(|bind| (bind, Transport::Tls));
        plain.into_iter().chain(encrypted).collect()
    }
}

/// 32 bytes in hexadecimal.
fn parse_pin(text: &str) -> Result<[u8; 32], String> {
    let wrong = || {
        format!(
            "`{text}` is not the SHA-256 of a public key: write 64 hexadecimal digits, as sha256sum prints them"
        )
    };
    if text.len() != 64 || !text.is_ascii() {
        return Err(wrong());
    }
    let mut pin = [0; 32];
    for (at, byte) in pin.iter_mut().enumerate() {
        let digits = text.get(2 * at..2 * at + 2).unwrap_or_default();
        *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
    }
    Ok(pin)
}
