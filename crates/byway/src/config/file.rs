//! File: a config as it was written, everything optional.
//!
//! In:    the sections of a `byway.toml`, or the flags of `byway edge` and `byway proxy`; for those
//!        of links see `link_flags`.
//! Out:   plain fields, each value with the place it was written at.
//! Never: knows what a value means: addresses, sizes and patterns stay text until `resolve` reads
//!        them.

use super::link_flags::{JoinFlag, join_flags};
use super::place::{At, Place, Text};
use super::secret::Secret;

/// A whole config file. At least one `[[edge]]`, `[[proxy]]`, `[[tcp]]`, `[[serve]]`, `[[exit]]` or
/// `[[expose]]` is needed.
///
/// Relative paths start at the folder of the file.
#[derive(Clone, Debug, Default)]
pub struct File {
    /// `workers`: threads that serve, 1 to 1024. Default: as many cores as the process may use.
    pub workers: Option<At<u64>>,
    /// `[drain]`: how Byway stops.
    pub drain: Drain,
    /// `[dial]`: how connections to targets are opened.
    pub dial: Dial,
    /// `[limits]`: what a downstream may take.
    pub limits: Limits,
    /// `[pool]`: connections kept to upstreams.
    pub pool: Pool,
    /// `[retry]`: requests that are sent to an upstream again.
    pub retry: Retry,
    /// `[spill]`: bytes parked on disk for slow readers.
    pub spill: Spill,
    /// `[log]`: what is logged of each request.
    pub log: Log,
    /// `[metrics]`: where this node's numbers can be read.
    pub metrics: Metrics,
    /// `[[edge]]`: reverse proxies.
    pub edge: Vec<At<Edge>>,
    /// `[[proxy]]`: egress proxies (SOCKS and HTTP on one port).
    pub proxy: Vec<At<Egress>>,
    /// `[[tcp]]`: plain forwards of TCP connections.
    pub tcp: Vec<At<Tcp>>,
    /// `[link]`: for every link of this node.
    pub link: Link,
    /// `[[serve]]`: public ends of exposed services.
    pub serve: Vec<At<Serve>>,
    /// `[[exit]]`: exits of two-hop egresses.
    pub exit: Vec<At<Exit>>,
    /// `[[expose]]`: services of this node, exposed through a `[[serve]]` elsewhere.
    pub expose: Vec<At<Expose>>,
}

/// `[drain]`.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    /// `deadline`: how long open connections have to finish after a stop; then they are closed.
    /// `"0s"` closes at once. Default `"30s"`.
    pub deadline: Option<Text>,
}

/// `[dial]`.
#[derive(Clone, Debug, Default)]
pub struct Dial {
    /// `family`: `"any"`, `"4"` for IPv4 only or `"6"` for IPv6 only. Default `"any"`.
    pub family: Option<Text>,
    /// `local_address`: the address connections start from, such as `"192.0.2.1"`. Default: the
    /// system chooses.
    pub local_address: Option<Text>,
    /// `connect_timeout`: for the whole target, all its addresses together. Default `"10s"`.
    pub connect_timeout: Option<Text>,
    /// `resolver`: `"dns"` uses the servers of `/etc/resolv.conf`, after `/etc/hosts`; `"system"`
    /// calls `getaddrinfo`, for mDNS and other modules of `/etc/nsswitch.conf`. Default `"dns"`.
    pub resolver: Option<Text>,
    /// `attempt_delay`: how long an address may take before the next one is tried beside it (RFC
    /// 8305), `"10ms"` to `"2s"`. Default `"250ms"`.
    pub attempt_delay: Option<Text>,
}

/// `[limits]`. None of them may be zero.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// `connections`: open at once on one listener. Default 10000. Lowered if the process may open
    /// too few files.
    pub connections: Option<At<u64>>,
    /// `connections_per_peer`: open at once from one address on one listener. Default 1024, or
    /// `connections` if less.
    pub connections_per_peer: Option<At<u64>>,
    /// `handshake_timeout`: for the first bytes of a SOCKS greeting or a TLS handshake to be
    /// complete. Default `"10s"`.
    pub handshake_timeout: Option<Text>,
    /// `head_bytes`: the longest request or response head, `"1KiB"` to `"256KiB"`, the largest
    /// buffer. Default `"64KiB"`.
    pub head_bytes: Option<Text>,
    /// `head_fields`: the most fields in a head, 1 to 10000. Default 128.
    pub head_fields: Option<At<u64>>,
    /// `head_timeout`: from the first byte of a head to its last. Default `"30s"`.
    pub head_timeout: Option<Text>,
    /// `keep_alive`: how long an idle connection waits for its next request. Default `"60s"`.
    pub keep_alive: Option<Text>,
    /// `body_progress`: the longest pause within a body. Default `"60s"`.
    pub body_progress: Option<Text>,
    /// `min_rate`: the least bytes per second of a body that a downstream sends or reads, averaged
    /// over each `body_progress` of waiting for it; `"none"` for no least. Default `"250B/s"`.
    pub min_rate: Option<Text>,
    /// `first_byte`: how long an upstream may take for the response head, once it has the request.
    /// Default `"60s"`.
    pub first_byte: Option<Text>,
    /// `max_body`: the longest request body, such as `"10GiB"`, or `"none"` for no limit. Default
    /// `"none"`.
    pub max_body: Option<Text>,
    /// `half_closed_idle`: how long a connection that one side has finished may carry nothing.
    /// Default `"10m"`.
    pub half_closed_idle: Option<Text>,
    /// `idle`: how long a forward or a tunnel (`[[tcp]]`, SOCKS, CONNECT, an upgraded connection)
    /// may carry nothing; `"none"` for no limit. Default `"none"`.
    pub idle: Option<Text>,
    /// `requests_per_connection`: the connection is closed after this many. Default 10000.
    pub requests_per_connection: Option<At<u64>>,
}

/// `[pool]`. None of its values may be zero.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    /// `max_total`: connections to all upstreams together, idle ones included. Default: as many as
    /// `limits.connections`. Lowered if the process may open too few files.
    pub max_total: Option<At<u64>>,
    /// `max_per_origin`: connections to one upstream. Default: `max_total`.
    pub max_per_origin: Option<At<u64>>,
    /// `max_upgraded_per_origin`: upgraded connections (WebSockets) to one upstream, which count
    /// against no other limit of the pool. Default: as many as `limits.connections`.
    pub max_upgraded_per_origin: Option<At<u64>>,
    /// `idle_timeout`: how long an idle connection is kept; below the 5 s after which many origins
    /// close theirs. Default `"4s"`.
    pub idle_timeout: Option<Text>,
    /// `queue`: requests that wait for a connection; further ones get 503 at once. Default 1024.
    pub queue: Option<At<u64>>,
    /// `queue_wait`: the longest wait in that queue. Default `"5s"`.
    pub queue_wait: Option<Text>,
}

/// `[retry]`.
#[derive(Clone, Debug, Default)]
pub struct Retry {
    /// `attempts`: how often a request that was sent, and got no byte back, may be sent again, 0 to
    /// 10. Default 1.
    pub attempts: Option<At<u64>>,
    /// `on`: statuses from 500 to 599 after which a request is sent again as if it had got no byte
    /// back, such as `[502, 503, 504]`. Default: none.
    pub on: Option<At<Vec<Text>>>,
    /// `replay`: the longest request body that is kept to be sent again, `"0B"` to `"256KiB"`.
    /// Default `"64KiB"`.
    pub replay: Option<Text>,
    /// `budget_percent`: the share of recent requests that may be sent again, 0 to 100. Default 20.
    pub budget_percent: Option<At<u64>>,
    /// `budget_per_second`: retries a second in addition, 1 to 1000000. Default 10.
    pub budget_per_second: Option<At<u64>>,
}

/// `[spill]`.
#[derive(Clone, Debug, Default)]
pub struct Spill {
    /// `directory`: on a real disk; a tmpfs would spill memory into memory. Default: `spill` in the
    /// state folder.
    pub directory: Option<Text>,
    /// `memory`: bytes of a stream held in memory before the disk is used, `"4KiB"` to `"1GiB"`.
    /// Default `"256KiB"`.
    pub memory: Option<Text>,
    /// `per_stream`: bytes of one stream on disk; then its sender has to wait. Default `"1GiB"`.
    pub per_stream: Option<Text>,
    /// `per_node`: bytes of all streams on disk; one user holds at most as much as is still free.
    /// Default: the smaller of 10 GiB and a fifth of the free disk.
    pub per_node: Option<Text>,
    /// `mode`: `"auto"` spills when memory is full, `"off"` makes the sender wait instead. Default
    /// `"auto"`.
    pub mode: Option<Text>,
}

/// `[log]`.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// `access`: where a line for each request goes: `"off"`, `"stdout"`, or a path. Default
    /// `"off"`.
    pub access: Option<Text>,
    /// `access_format`: `"combined"`, as Apache and nginx write it, or `"json"`, one object a line.
    /// Default `"combined"`.
    pub access_format: Option<Text>,
}

/// `[metrics]`.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// `listen`: one address or several that answer `GET /metrics` and `GET /healthz`, as for an
    /// edge. There is no password: use loopback. Default: none.
    pub listen: Option<At<Vec<Text>>>,
}

/// `[[edge]]`: a reverse proxy.
#[derive(Clone, Debug, Default)]
pub struct Edge {
    /// `name`: for logs and metrics. Default: the address of each listener.
    pub name: Option<Text>,
    /// `listen`: one address or several: `"127.0.0.1:8080"`, `":8080"` for every address,
    /// `"unix:/run/x.sock"`. Needed.
    pub listen: Option<At<Vec<Text>>>,
    /// `trusted_proxies`: networks whose `Forwarded` and `X-Forwarded-*` fields are believed.
    /// Default: none.
    pub trusted_proxies: Option<At<Vec<Text>>>,
    /// `reject_empty_segments`: answers paths with an empty segment (`//`) with 400. Default false:
    /// they are forwarded as sent.
    pub reject_empty_segments: Option<At<bool>>,
    /// `max_body`: as in `[limits]`, for this edge. Default: that of `[limits]`.
    pub max_body: Option<Text>,
    /// `[[edge.route]]`: tried in their order. At least one is needed.
    pub route: Vec<At<Route>>,
}

/// `[[edge.route]]`: which requests go to which upstreams.
#[derive(Clone, Debug, Default)]
pub struct Route {
    /// `name`: for logs, metrics and reload; unique in its edge. Default: its hosts and path.
    pub name: Option<Text>,
    /// `hosts`: `"app.example.com"`, `"*.example.com"` for every name below it, or an address.
    /// Default: every host.
    pub hosts: Option<At<Vec<Text>>>,
    /// `path`: a regular expression over the canonical path; begin it with `^` to match from the
    /// start. Default: every path.
    pub path: Option<Text>,
    /// `to`: one upstream or several: `"127.0.0.1:9001"`, `"http://name:80"`, `"https://name"`,
    /// `"unix:/run/app.sock"`. Needed.
    pub to: Option<At<Vec<Text>>>,
    /// `host`: `"keep"` passes the request's Host on, `"upstream"` sends the upstream's own.
    /// Default `"keep"`.
    pub host: Option<Text>,
    /// `max_body`: as in `[limits]`, for this route. Default: that of the edge.
    pub max_body: Option<Text>,
}

/// `[[proxy]]`: an egress proxy for SOCKS and HTTP.
#[derive(Clone, Debug, Default)]
pub struct Egress {
    /// `name`: for logs and metrics. Default: the address of each listener.
    pub name: Option<Text>,
    /// `listen`: as for an edge. Other than loopback and Unix sockets need `users` or
    /// `open_to_the_world`. Needed.
    pub listen: Option<At<Vec<Text>>>,
    /// `users`: who may use it. Default: every client that can reach it.
    pub users: Option<At<Vec<At<User>>>>,
    /// `open_to_the_world`: confirms that a public listener without users is intended. Default
    /// false.
    pub open_to_the_world: Option<At<bool>>,
    /// `stream_limit`: bytes per second towards the reader of one stream: `"25MiB/s"` or
    /// `"200Mbit/s"`. Default: no limit.
    pub stream_limit: Option<Text>,
    /// `default`: `"allow"` or `"deny"`, for what no rule matches. Default `"allow"`.
    pub default: Option<Text>,
    /// `[[proxy.rule]]`: tried in their order, the first that matches decides.
    pub rule: Vec<At<Rule>>,
    /// `join`, `join_file`, `carrier`: what is allowed goes out through that exit. Default: it is
    /// dialled from here.
    pub join: Join,
}

/// One of the `users` of a `[[proxy]]`. One of `password` and `password_file` is needed.
#[derive(Clone, Debug, Default)]
pub struct User {
    /// `name`: 1 to 255 bytes, without a colon; unique in its section. Needed.
    pub name: Option<Text>,
    /// `password`: 1 to 255 bytes.
    pub password: Option<At<Secret>>,
    /// `password_file`: a file whose first line is the password.
    pub password_file: Option<Text>,
}

/// `[[proxy.rule]]`. A rule matches if the target is in one of `host`, `suffix` or `cidr` (or none
/// of them is given), and the port is in `port` (or none is given), and the user is in `user` (or
/// none is given).
#[derive(Clone, Debug, Default)]
pub struct Rule {
    /// `action`: `"allow"`, `"deny"`, or `"via"` to go through a parent. Needed.
    pub action: Option<Text>,
    /// `via`: the parent: `"socks5://user:password@host:port"`, or with `socks4a`, `http` or
    /// `https`. Needed with, and only with, `action = "via"`.
    pub via: Option<At<Secret>>,
    /// `host`: exact names.
    pub host: Option<At<Vec<Text>>>,
    /// `suffix`: names together with everything below them.
    pub suffix: Option<At<Vec<Text>>>,
    /// `cidr`: networks and addresses, such as `"10.0.0.0/8"` and `"::1"`.
    pub cidr: Option<At<Vec<Text>>>,
    /// `port`: ports and ranges of them, such as `443` and `"8000-8999"`.
    pub port: Option<At<Vec<Text>>>,
    /// `user`: names of `users`.
    pub user: Option<At<Vec<Text>>>,
}

/// `[[tcp]]`: forwards TCP connections to one target.
#[derive(Clone, Debug, Default)]
pub struct Tcp {
    /// `name`: for logs and metrics. Default: the address of each listener.
    pub name: Option<Text>,
    /// `listen`: as for an edge. Needed.
    pub listen: Option<At<Vec<Text>>>,
    /// `to`: `"10.0.0.5:22"`, `"name:22"` or `"unix:/run/x.sock"`. Needed.
    pub to: Option<Text>,
}

/// `[link]`.
#[derive(Clone, Debug, Default)]
pub struct Link {
    /// `congestion`: the congestion control of what this node sends on links: `"bbr"` or `"cubic"`.
    /// Default `"bbr"`.
    pub congestion: Option<Text>,
    /// `quic_probe`: after a fall-back to TLS, QUIC is tried again this much later, `"1s"` to
    /// `"1h"`; the wait doubles up to 10 minutes. Default `"30s"`.
    pub quic_probe: Option<Text>,
    /// `park`: how long a visitor of an exposed service waits for an agent that is away, up to
    /// `"5m"`; `"0s"` disables parking. Default `"15s"`.
    pub park: Option<Text>,
    /// `parked`: visitors parked for one name at once, 1 to 65536; clients share them, further ones
    /// are refused. Default 1024.
    pub parked: Option<At<u64>>,
    /// `streams`: streams that the other side may have open on one carrier at once, 1 to 65536.
    /// Default 8192.
    pub streams: Option<At<u64>>,
}

/// `[[serve]]`: the public end of exposed services.
#[derive(Clone, Debug, Default)]
pub struct Serve {
    /// `name`: for logs and metrics. Default: the address of each listener.
    pub name: Option<Text>,
    /// `listen`: where links arrive: one TCP address or several; QUIC takes the same port number of
    /// UDP. Needed.
    pub listen: Option<At<Vec<Text>>>,
    /// `advertise`: `HOST:PORT` in the join string; `HOST` alone takes the port of the first
    /// listener. Default: `domain`, or else the first address of `listen` if it is a single one.
    pub advertise: Option<Text>,
    /// `domain`: HTTP services become `NAME.DOMAIN`. Needed with, and only with, `http`.
    pub domain: Option<Text>,
    /// `http`: where visitors of HTTP services arrive: addresses as for an edge. Default: none, TCP
    /// services only.
    pub http: Option<At<Vec<Text>>>,
}

/// `[[exit]]`: the exit of a two-hop egress. Its links are authenticated by their grant, so that it
/// has no users.
#[derive(Clone, Debug, Default)]
pub struct Exit {
    /// `name`: for logs and metrics. Default: the address of each listener.
    pub name: Option<Text>,
    /// `listen`: as for a `[[serve]]`. Needed.
    pub listen: Option<At<Vec<Text>>>,
    /// `advertise`: as for a `[[serve]]`. Default: the first address of `listen` if it is a single
    /// one.
    pub advertise: Option<Text>,
    /// `stream_limit`: as for a `[[proxy]]`. Default: no limit.
    pub stream_limit: Option<Text>,
    /// `default`: `"allow"` or `"deny"`, for what no rule matches. Default `"allow"`.
    pub default: Option<Text>,
    /// `[[exit.rule]]`: as `[[proxy.rule]]`, without `user`.
    pub rule: Vec<At<Rule>>,
}

/// `[[expose]]`: a service of this node, exposed through a `[[serve]]` elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Expose {
    /// `name`: for `http` the label in front of the domain, 1 to 63 of a-z, 0-9 and - (not at its
    /// ends), needed; for `tcp` a display name. Default for `tcp`: the target.
    pub name: Option<Text>,
    /// `http`: the local target that speaks HTTP: `"127.0.0.1:3000"`, `"name:80"` or
    /// `"unix:/run/app.sock"`. One of `http` and `tcp` is needed.
    pub http: Option<Text>,
    /// `tcp`: the local target that takes bytes.
    pub tcp: Option<Text>,
    /// `host`: with `http` only: the Host that the service sees: `"keep"` for the visitor's own,
    /// `"upstream"` for the target's, or a name such as `"app.test"`. Default `"keep"`.
    pub host: Option<Text>,
    /// `port`: with `tcp` only: the public port, 1 to 65535. Default: a free one, which the other
    /// side keeps for this node's key.
    pub port: Option<At<u64>>,
    /// `join`, `join_file`, `carrier`: through which link. One of the first two is needed.
    pub join: Join,
}

/// Which link a section uses: `join`, `join_file` and `carrier` of an `[[expose]]` or a
/// `[[proxy]]`.
#[derive(Clone, Debug, Default)]
pub struct Join {
    /// `join`: the join string that `byway serve` or `byway proxy serve` prints.
    pub join: Option<At<Secret>>,
    /// `join_file`: a file whose first line that is not empty is the join string.
    pub join_file: Option<Text>,
    /// `carrier`: `"quic"`, `"tls"`, or `"auto"` for QUIC with TLS where QUIC does not get through.
    /// Default `"auto"`.
    pub carrier: Option<Text>,
}

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
            stream_limit: given.stream_limit.map(|text| flag("--stream-limit", text)),
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
