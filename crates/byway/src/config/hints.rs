//! Hints: what to write instead of unknown keys that users try, often from other programs.
//!
//! In:    the path of a section and the key as written.
//! Out:   a sentence; if none, the caller falls back to `nearest`.
//! Never: accepts a key: a hint only names the right one.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::nearest::nearest;
use super::section::description::Description;
use super::section::{File, Section as _};

/// The hint for `key` in the section at `path`, such as `edge.route`; empty for the top of the
/// file.
pub(super) fn hint(path: &str, key: &str) -> Option<&'static str> {
    let key = key.to_ascii_lowercase().replace('-', "_");
    Some(match (path, key.as_str()) {
        ("edge.route" | "edge.upstream", "ssl" | "https" | "scheme") => {
            "for TLS to the upstream write `https://` in `to`: to = \"https://app.example.com\""
        }
        ("edge" | "proxy", "tls" | "ssl" | "cert" | "certificate" | "certificates" | "key") => {
            "for HTTPS write https = \":443\" here, and [[certificate]] with cert and key at the top of the file"
        }
        (
            "edge.route",
            "host_name" | "hostname" | "hostnames" | "server_name" | "domain" | "domains",
        ) => "did you mean `hosts`? hosts = [\"app.example.com\"]",
        (
            "edge",
            "host" | "hosts" | "hostname" | "server_name" | "domain" | "domains" | "path"
            | "location",
        ) => {
            "this belongs to a route: [[edge.route]] with hosts = [\"app.example.com\"] or path = '^/api/'"
        }
        (
            "edge",
            "to" | "upstream" | "upstreams" | "target" | "backend" | "proxy_pass" | "server"
            | "servers",
        ) => "this belongs to a route: [[edge.route]] with to = \"127.0.0.1:3000\"",
        (
            "edge.route",
            "upstream" | "upstreams" | "target" | "backend" | "backends" | "proxy_pass" | "server",
        ) => "did you mean `to`? to = \"127.0.0.1:3000\"",
        ("edge.route", "location" | "prefix" | "path_prefix" | "path_regexp") => {
            "did you mean `path`? It is a regular expression: path = '^/api/'"
        }
        (
            "edge" | "proxy" | "tcp" | "serve" | "exit",
            "port" | "bind" | "addr" | "address" | "from" | "listen_on",
        ) => "did you mean `listen`? listen = \"127.0.0.1:8080\"",
        ("tcp", "target" | "upstream" | "backend") => "did you mean `to`? to = \"10.0.0.5:22\"",
        ("expose", "to" | "target" | "upstream") => {
            "did you mean `http` or `tcp`? http = \"127.0.0.1:3000\", or tcp = \"127.0.0.1:22\""
        }
        ("serve" | "exit" | "expose" | "link", "tls" | "ssl" | "cert" | "key") => {
            "take it out: links are always encrypted, and the join string names the key"
        }
        ("proxy", "user" | "username" | "password" | "auth") => {
            "did you mean `users`? users = [{ name = \"alice\", password_file = \"alice.txt\" }]"
        }
        ("", "route" | "routes") => {
            "a route belongs to an edge: write [[edge.route]] below an [[edge]]"
        }
        ("", "rule" | "rules") => {
            "a rule belongs to a proxy: write [[proxy.rule]] below a [[proxy]]"
        }
        ("", "listen" | "from" | "to" | "upstream" | "server" | "http") => {
            "it belongs to a section, such as [[edge]] with listen = \"127.0.0.1:8080\" and [[edge.route]] with to = \
             \"127.0.0.1:3000\""
        }
        ("", "egress" | "socks" | "forward") => "did you mean [[proxy]]?",
        ("", "ssl" | "cert" | "certificates") => {
            "did you mean [[certificate]]? It has cert = \"/etc/byway/site.pem\" and key"
        }
        _ => return None,
    })
}

/// Where `key`, or the one that was probably meant, belongs, if another section has it.
pub(super) fn home(key: &str) -> Option<String> {
    // Short words are near to many.
    let long = HOMES.keys().copied().filter(|key| key.len() > 5);
    let (key, homes) = HOMES
        .get_key_value(key)
        .or_else(|| HOMES.get_key_value(nearest(key, long)?))?;
    let headings = homes
        .headings
        .split_last()
        .map(|(last, others)| match others {
            [] => format!("`{key}` belongs to {last}"),
            others => format!("`{key}` belongs to {} or {last}", others.join(", ")),
        });
    let section = homes.section.as_ref();
    section
        .map(|heading| format!("`{key}` is a section of its own: {heading}"))
        .or(headings)
}

/// Where a name is known.
#[derive(Default)]
struct Homes {
    /// The sections that have a key of that name.
    headings: Vec<String>,
    /// The section of that name.
    section: Option<String>,
}

static HOMES: LazyLock<BTreeMap<&str, Homes>> = LazyLock::new(|| {
    let mut homes = BTreeMap::new();
    collect(&File::describe(), "", "the top of the file", &mut homes);
    homes
});

fn collect(section: &Description, path: &str, heading: &str, homes: &mut BTreeMap<&str, Homes>) {
    for key in section.keys() {
        let at = homes.entry(key.name).or_default();
        let Some(below) = key.section() else {
            at.headings.push(heading.to_owned());
            continue;
        };
        let path = match path {
            "" => key.name.to_owned(),
            path => format!("{path}.{}", key.name),
        };
        let heading = key.heading(&path);
        at.section = Some(heading.clone());
        collect(below, &path, &heading, homes);
    }
}
