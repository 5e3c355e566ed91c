//! Site flags: `byway edge` for sites by name: `--listen NAME`, `--host`, `--tls`.
//!
//! In:    the texts of flags.
//! Out:   a [`File`] that says the same: HTTPS, a redirect to it, and who issues the certificates.
//! Never: looks a name up.

use std::net::{Ipv6Addr, TcpListener};

use byway_dial::HostName;

use super::authority_flags::AuthorityFlags;
use super::flags::flags;
use super::place::{At, Place};
use super::section::{Edge, File};

/// What `byway edge` was given on the command line.
#[derive(Clone, Debug)]
pub struct SiteFlags {
    /// Addresses, and names without a port.
    pub listen: Vec<String>,
    /// Names of sites at the addresses of `listen`.
    pub host: Vec<String>,
    /// Upstreams.
    pub to: Vec<String>,
    /// Whether `listen` speaks HTTPS without names.
    pub tls: bool,
    /// The ports of names without one.
    pub ports: SitePorts,
    /// Certificates in files, and their keys.
    pub certificates: (Vec<String>, Vec<String>),
    /// Who issues the certificates of names, if no files do.
    pub authority: AuthorityFlags,
}

/// The ports of sites by name.
#[derive(Clone, Copy, Debug)]
pub struct SitePorts {
    /// Of the redirect, and of HTTP-01.
    pub http: u16,
    /// Of the sites.
    pub https: u16,
}

impl File {
    /// What `byway edge …` means: one edge, with one route for all sites.
    pub fn for_site(given: SiteFlags) -> Self {
        let (names, addresses): (Vec<_>, Vec<_>) =
            given.listen.into_iter().partition(|text| is_name(text));
        let has_files = !given.certificates.0.is_empty();
        let is_site = given.tls || !names.is_empty() || !given.host.is_empty();
        let (certs, keys) = given.certificates;
        if !is_site {
            return Self::for_edge(addresses, given.to).over_tls(certs, keys);
        }
        let mut hosts = names.clone();
        hosts.extend(given.host);
        let mut https = addresses;
        let mut http = Vec::new();
        if !names.is_empty() {
            let all_local = names.iter().all(|name| is_local(name));
            http.extend(addresses_of(all_local, given.ports.http));
            https.extend(addresses_of(all_local, given.ports.https));
        }
        let (local, public): (Vec<_>, Vec<_>) = match hosts.is_empty() {
            true => (vec!["localhost".to_owned()], Vec::new()),
            false => hosts.iter().cloned().partition(|name| is_local(name)),
        };
        let mut file = Self::for_edge(Vec::new(), given.to);
        for edge in &mut file.edge {
            edge.value.listen = (!http.is_empty()).then(|| flags("--listen", http.clone()));
            edge.value.https = Some(flags("--listen", https.clone()));
            redirect_all(&mut edge.value);
            for route in &mut edge.value.route {
                route.value.hosts = (!hosts.is_empty()).then(|| flags("--listen", hosts.clone()));
            }
        }
        file = file.with_certificates(certs, keys);
        if has_files {
            return file;
        }
        if !local.is_empty() {
            file.tls.local_names = Some(flags("--listen", local));
        }
        if !public.is_empty() {
            file.acme.push(given.authority.section("--listen", public));
        }
        file
    }
}

/// All plain addresses redirect, whatever their port.
fn redirect_all(edge: &mut Edge) {
    if edge.listen.is_some() {
        edge.redirect_to_https = Some(At::new(true, Place::flag("--listen", "")));
    }
}

/// Whether a text is a host name without a port, and no address.
fn is_name(text: &str) -> bool {
    let is_host = text.contains('.') || text == "localhost";
    let is_digits = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    is_host && !is_digits && !text.contains([':', '/']) && text.parse::<HostName>().is_ok()
}

/// Names that lead to this machine alone (RFC 6761).
pub(super) fn is_local(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let name = name.to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// Where sites by name are served: on all addresses, or on loopback alone.
fn addresses_of(is_local: bool, port: u16) -> Vec<String> {
    match is_local {
        false => vec![format!(":{port}")],
        true => {
            let v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
            let v6 = v6.then(|| format!("[::1]:{port}"));
            [format!("127.0.0.1:{port}")]
                .into_iter()
                .chain(v6)
                .collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::place::Text;

    fn site(listen: &[&str], host: &[&str], tls: bool) -> File {
        let texts = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        File::for_site(SiteFlags {
            listen: texts(listen),
            host: texts(host),
            to: vec!["3000".to_owned()],
            tls,
            ports: SitePorts {
                http: 80,
                https: 443,
            },
            certificates: (Vec::new(), Vec::new()),
            authority: AuthorityFlags::default(),
        })
    }

    fn written(list: &Option<At<Vec<Text>>>) -> Vec<&str> {
        let texts = list.iter().flat_map(|list| &list.value);
        texts.map(|text| &*text.value).collect()
    }

    #[test]
    fn a_name_is_https_on_all_addresses_a_redirect_and_a_certificate_of_an_authority() {
        let file = site(&["example.com", "www.example.com"], &[], false);
        let edge = &file.edge[0].value;
        assert_eq!(written(&edge.listen), [":80"]);
        assert_eq!(written(&edge.https), [":443"]);
        let names = ["example.com", "www.example.com"];
        assert_eq!(written(&edge.route[0].value.hosts), names);
        assert_eq!(written(&file.acme[0].value.names), names);
        assert!(file.tls.local_names.is_none());
    }

    #[test]
    fn localhost_is_served_on_loopback_with_the_local_authority() {
        let file = site(&["localhost"], &[], false);
        let edge = &file.edge[0].value;
        assert_eq!(written(&edge.https)[0], "127.0.0.1:443");
        assert!(!written(&edge.https).contains(&":443"));
        assert_eq!(written(&file.tls.local_names), ["localhost"]);
        assert!(file.acme.is_empty());
    }

    #[test]
    fn addresses_stay_plain_unless_there_is_a_name_or_tls() {
        for plain in [
            "localhost:8080",
            ":8080",
            "127.0.0.1:8080",
            "unix:/run/x.sock",
        ] {
            let file = site(&[plain], &[], false);
            assert_eq!(written(&file.edge[0].value.listen), [plain]);
            assert!(file.edge[0].value.https.is_none());
        }
        let named = site(&["127.0.0.1:8443"], &["example.com"], false);
        assert_eq!(written(&named.edge[0].value.https), ["127.0.0.1:8443"]);
        assert!(named.edge[0].value.listen.is_none());
        assert_eq!(written(&named.acme[0].value.names), ["example.com"]);
        let local = site(&["localhost:8080"], &[], true);
        assert_eq!(written(&local.edge[0].value.https), ["localhost:8080"]);
        assert_eq!(written(&local.tls.local_names), ["localhost"]);
        assert!(local.edge[0].value.route[0].value.hosts.is_none());
    }

    #[test]
    fn an_address_without_a_port_is_no_name() {
        for text in ["192.0.2.1", "3000", "::1", "intranet"] {
            assert!(!is_name(text), "{text}");
        }
    }
}
