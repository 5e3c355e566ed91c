//! Hints: what to write instead of unknown keys that users try, often from other programs.
//!
//! In:    the path of a section and the key as written.
//! Out:   a sentence; if none, the caller falls back to `nearest`.
//! Never: accepts a key: a hint only names the right one.

/// The hint for `key` in the section at `path`, such as `edge.route`; empty for the top of the
/// file.
pub(super) fn hint(path: &str, key: &str) -> Option<&'static str> {
    let key = key.to_ascii_lowercase().replace('-', "_");
    Some(match (path, key.as_str()) {
        ("edge.route" | "edge.upstream", "tls" | "ssl" | "https" | "scheme") => {
            "for TLS to the upstream write `https://` in `to`: to = \"https://app.example.com\""
        }
        ("edge", "tls" | "ssl" | "https" | "cert" | "certificate" | "certificates" | "key") => {
            "an [[edge]] takes plain HTTP from its clients: put a server that ends TLS in front and name it in \
             `trusted_proxies`; for TLS to an upstream write to = \"https://…\" in [[edge.route]]"
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
        ("", "tls" | "ssl") => {
            "there is no section for TLS: towards upstreams write to = \"https://…\" in [[edge.route]]"
        }
        _ => return None,
    })
}
