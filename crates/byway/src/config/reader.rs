//! Reader: from the text of a config file to a [`File`].
//!
//! In:    TOML.
//! Out:   a `File` and every error of form: syntax, unknown keys, wrong types.
//! Never: checks a value: `resolve` does, over all that could be read, so that all errors are
//!        reported at once.

use toml::de::DeTable;

use super::diagnostic::Diagnostic;
use super::file::{
    Dial, Drain, Edge, Egress, Exit, Expose, File, Join, Limits, Link, Log, Metrics, Pool, Retry,
    Route, Rule, Serve, Spill, Tcp, User,
};
use super::misread;
use super::place::{At, Place};
use super::secret::Secret;
use super::section::Section;

/// Reads `text`.
///
/// # Errors
/// If the text is not TOML: at most one diagnostic a line, because the parser often reports one
/// mistake twice.
pub(super) fn read(text: &str) -> Result<(File, Vec<Diagnostic>), Vec<Diagnostic>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(syntax_errors(text, &errors));
    }
    let mut diagnostics = Vec::new();
    let file = Section::top(table.get_ref(), &mut diagnostics, read_file);
    Ok((file, diagnostics))
}

fn syntax_errors(text: &str, errors: &[toml::de::Error]) -> Vec<Diagnostic> {
    if let Some(format) = misread::other_format(text) {
        let message = format!("this is not TOML; it looks like {format}");
        let help = "Byway reads TOML: [[edge]], below it listen = \"127.0.0.1:8080\", then [[edge.route]] with to = \
                    \"127.0.0.1:3000\"; examples/byway.toml shows every key";
        let start = errors
            .first()
            .and_then(toml::de::Error::span)
            .unwrap_or_default();
        return vec![Diagnostic::new(&Place::from(start), message).help(help)];
    }
    let mut diagnostics: Vec<Diagnostic> = Vec::new();
    let mut last_line = None;
    for error in errors {
        let span = error.span().unwrap_or_default();
        let before = text.as_bytes().get(..span.start).unwrap_or_default();
        let line = Some(before.iter().filter(|b| **b == b'\n').count());
        if line == last_line {
            continue;
        }
        last_line = line;
        let start = span.start;
        let diagnostic = Diagnostic::new(
            &Place::from(span),
            format!("this is not valid TOML: {}", error.message()),
        );
        diagnostics.push(match misread::quoted_line(text, start) {
            Some(line) => diagnostic.help(format!("a string needs quotes: {line}")),
            None => diagnostic,
        });
    }
    diagnostics
}

fn read_file(top: &mut Section<'_, '_>) -> File {
    File {
        workers: top.count("workers"),
        drain: top.section("drain", |s| Drain {
            deadline: s.text("deadline", "\"30s\""),
        }),
        dial: top.section("dial", read_dial),
        limits: top.section("limits", read_limits),
        pool: top.section("pool", read_pool),
        retry: top.section("retry", read_retry),
        spill: top.section("spill", read_spill),
        log: top.section("log", read_log),
        metrics: top.section("metrics", |s| Metrics {
            listen: s.texts("listen", "\"127.0.0.1:9100\""),
        }),
        edge: top
            .sections("edge", read_edge)
            .map(|all| all.value)
            .unwrap_or_default(),
        proxy: top
            .sections("proxy", read_egress)
            .map(|all| all.value)
            .unwrap_or_default(),
        tcp: top
            .sections("tcp", read_tcp)
            .map(|all| all.value)
            .unwrap_or_default(),
        link: top.section("link", read_link),
        serve: top
            .sections("serve", read_serve)
            .map(|all| all.value)
            .unwrap_or_default(),
        exit: top
            .sections("exit", read_exit)
            .map(|all| all.value)
            .unwrap_or_default(),
        expose: top
            .sections("expose", read_expose)
            .map(|all| all.value)
            .unwrap_or_default(),
    }
}

fn read_dial(s: &mut Section<'_, '_>) -> Dial {
    Dial {
        family: s.text("family", "\"4\""),
        local_address: s.text("local_address", "\"192.0.2.1\""),
        connect_timeout: s.text("connect_timeout", "\"10s\""),
        resolver: s.text("resolver", "\"dns\""),
        attempt_delay: s.text("attempt_delay", "\"250ms\""),
    }
}

fn read_limits(s: &mut Section<'_, '_>) -> Limits {
    Limits {
        connections: s.count("connections"),
        connections_per_peer: s.count("connections_per_peer"),
        handshake_timeout: s.text("handshake_timeout", "\"10s\""),
        head_bytes: s.text_or_number("head_bytes", "\"64KiB\""),
        head_fields: s.count("head_fields"),
        head_timeout: s.text("head_timeout", "\"30s\""),
        keep_alive: s.text("keep_alive", "\"60s\""),
        body_progress: s.text("body_progress", "\"60s\""),
        min_rate: s.text("min_rate", "\"250B/s\""),
        first_byte: s.text("first_byte", "\"60s\""),
        max_body: s.text_or_number("max_body", "\"10GiB\""),
        half_closed_idle: s.text("half_closed_idle", "\"10m\""),
        idle: s.text("idle", "\"1h\""),
        requests_per_connection: s.count("requests_per_connection"),
    }
}

fn read_pool(s: &mut Section<'_, '_>) -> Pool {
    Pool {
        max_total: s.count("max_total"),
        max_per_origin: s.count("max_per_origin"),
        max_upgraded_per_origin: s.count("max_upgraded_per_origin"),
        idle_timeout: s.text("idle_timeout", "\"4s\""),
        queue: s.count("queue"),
        queue_wait: s.text("queue_wait", "\"5s\""),
    }
}

fn read_retry(s: &mut Section<'_, '_>) -> Retry {
    Retry {
        attempts: s.count("attempts"),
        on: s.texts_or_numbers("on", "[502, 503, 504]"),
        replay: s.text_or_number("replay", "\"64KiB\""),
        budget_percent: s.count("budget_percent"),
        budget_per_second: s.count("budget_per_second"),
    }
}

fn read_spill(s: &mut Section<'_, '_>) -> Spill {
    Spill {
        directory: s.text("directory", "\"/var/lib/byway/spill\""),
        memory: s.text_or_number("memory", "\"256KiB\""),
        per_stream: s.text_or_number("per_stream", "\"1GiB\""),
        per_node: s.text_or_number("per_node", "\"10GiB\""),
        mode: s.text("mode", "\"auto\""),
    }
}

fn read_log(s: &mut Section<'_, '_>) -> Log {
    Log {
        access: s.text("access", "\"/var/log/byway/access.log\""),
        access_format: s.text("access_format", "\"json\""),
    }
}

fn read_edge(s: &mut Section<'_, '_>) -> Edge {
    Edge {
        name: s.text("name", "\"site\""),
        listen: s.texts("listen", "\"127.0.0.1:8080\""),
        trusted_proxies: s.texts("trusted_proxies", "[\"10.0.0.0/8\"]"),
        reject_empty_segments: s.truth("reject_empty_segments"),
        max_body: s.text_or_number("max_body", "\"10GiB\""),
        route: s
            .sections("route", read_route)
            .map(|all| all.value)
            .unwrap_or_default(),
    }
}

fn read_route(s: &mut Section<'_, '_>) -> Route {
    Route {
        name: s.text("name", "\"api\""),
        hosts: s.texts("hosts", "[\"app.example.com\"]"),
        path: s.text("path", "\"^/api/\""),
        to: s.texts("to", "[\"127.0.0.1:9001\"]"),
        host: s.text("host", "\"keep\""),
        max_body: s.text_or_number("max_body", "\"10GiB\""),
    }
}

fn read_egress(s: &mut Section<'_, '_>) -> Egress {
    Egress {
        name: s.text("name", "\"exit\""),
        listen: s.texts("listen", "\"127.0.0.1:1080\""),
        users: s.sections("users", read_user),
        open_to_the_world: s.truth("open_to_the_world"),
        stream_limit: s.text("stream_limit", "\"25MiB/s\""),
        default: s.text("default", "\"deny\""),
        rule: s
            .sections("rule", read_rule)
            .map(|all| all.value)
            .unwrap_or_default(),
        join: read_join(s),
    }
}

fn read_user(s: &mut Section<'_, '_>) -> User {
    User {
        name: s.text("name", "\"alice\""),
        password: s.text("password", "\"…\"").map(|text| At {
            value: Secret::new(&text.value),
            place: text.place,
        }),
        password_file: s.text("password_file", "\"/etc/byway/alice\""),
    }
}

fn read_rule(s: &mut Section<'_, '_>) -> Rule {
    let rule = read_exit_rule(s);
    Rule {
        user: s.texts("user", "[\"alice\"]"),
        ..rule
    }
}

/// An exit has no users that a rule could name.
fn read_exit_rule(s: &mut Section<'_, '_>) -> Rule {
    Rule {
        action: s.text("action", "\"deny\""),
        via: s.text("via", "\"socks5://192.0.2.1:1080\"").map(|text| At {
            value: Secret::new(&text.value),
            place: text.place,
        }),
        host: s.texts("host", "[\"www.example.com\"]"),
        suffix: s.texts("suffix", "[\"example.com\"]"),
        cidr: s.texts("cidr", "[\"10.0.0.0/8\"]"),
        port: s.texts_or_numbers("port", "[443, \"8000-8999\"]"),
        user: None,
    }
}

fn read_tcp(s: &mut Section<'_, '_>) -> Tcp {
    Tcp {
        name: s.text("name", "\"ssh\""),
        listen: s.texts("listen", "\"127.0.0.1:2222\""),
        to: s.text("to", "\"10.0.0.5:22\""),
    }
}

fn read_link(s: &mut Section<'_, '_>) -> Link {
    Link {
        congestion: s.text("congestion", "\"bbr\""),
        quic_probe: s.text("quic_probe", "\"30s\""),
        park: s.text("park", "\"15s\""),
        parked: s.count("parked"),
        streams: s.count("streams"),
    }
}

fn read_serve(s: &mut Section<'_, '_>) -> Serve {
    Serve {
        name: s.text("name", "\"tunnels\""),
        listen: s.texts("listen", "\"0.0.0.0:7000\""),
        advertise: s.text("advertise", "\"t.example.com:7000\""),
        domain: s.text("domain", "\"t.example.com\""),
        http: s.texts("http", "\"0.0.0.0:80\""),
    }
}

fn read_exit(s: &mut Section<'_, '_>) -> Exit {
    Exit {
        name: s.text("name", "\"exit\""),
        listen: s.texts("listen", "\"0.0.0.0:7000\""),
        advertise: s.text("advertise", "\"exit.example.com:7000\""),
        stream_limit: s.text("stream_limit", "\"25MiB/s\""),
        default: s.text("default", "\"deny\""),
        rule: s
            .sections("rule", read_exit_rule)
            .map(|all| all.value)
            .unwrap_or_default(),
    }
}

fn read_expose(s: &mut Section<'_, '_>) -> Expose {
    Expose {
        name: s.text("name", "\"app\""),
        http: s.text("http", "\"127.0.0.1:3000\""),
        tcp: s.text("tcp", "\"127.0.0.1:22\""),
        host: s.text("host", "\"upstream\""),
        port: s.count("port"),
        join: read_join(s),
    }
}

fn read_join(s: &mut Section<'_, '_>) -> Join {
    Join {
        join: s.text("join", "\"by1.…\"").map(|text| At {
            value: Secret::new(&text.value),
            place: text.place,
        }),
        join_file: s.text("join_file", "\"/etc/byway/join\""),
        carrier: s.text("carrier", "\"auto\""),
    }
}
