//! Plan: the configs of the demo's nodes.
//!
//! In:    ports, a running origin, and files with join strings.
//! Out:   config files, which also work with `byway run -c` and `byway explain -c`.
//! Never: uses a setting that a config file does not have.

use super::ground::Ground;
use super::origin::Origin;
use super::ports::Ports;
use super::running::Running;

/// The user of the guarded egress.
pub(super) const USER: &str = "alice";
/// Her password.
pub(super) const PASSWORD: &str = "secret";

/// Services with a name are `NAME.DOMAIN`. Everything under `localhost` is this machine (RFC 6761
/// section 6.3).
pub(super) const DOMAIN: &str = "demo.localhost";

/// How many services `inside` exposes.
pub(super) const EXPOSED: usize = 7;

/// One node without links: an edge, two egresses, three forwards.
pub(super) fn alone(ports: &Ports, ground: &Ground, origin: &Origin) -> String {
    let Ports {
        edge,
        open,
        guarded,
        http,
        echo,
        ..
    } = ports;
    let (echo_unix, origin_http, origin_echo) = (ground.echo_unix(), origin.http, origin.echo);
    let (echo_unix, origin_http_unix) = (echo_unix.display(), origin.http_unix.display());
    let (origin_echo_unix, refusing) = (origin.echo_unix.display(), origin.refusing);
    format!(
        r#"# What `byway demo` serves with one node.

[drain]
deadline = "2s"

[[edge]]
name = "demo"
listen = "127.0.0.1:{edge}"

[[edge.route]]
name = "over a Unix socket"
path = "^/unix(/|$)"
to = "unix:{origin_http_unix}"

[[edge.route]]
name = "one of two upstreams refuses"
path = "^/skip(/|$)"
to = ["{refusing}", "{origin_http}"]

[[edge.route]]
name = "the only upstream refuses"
path = "^/refused(/|$)"
to = "{refusing}"

[[edge.route]]
name = "origin"
to = "{origin_http}"

[[proxy]]
name = "open"
listen = "127.0.0.1:{open}"

[[proxy.rule]]
action = "allow"
cidr = ["127.0.0.0/8", "::1"]

[[proxy]]
name = "guarded"
listen = "127.0.0.1:{guarded}"
users = [{{ name = "{USER}", password = "{PASSWORD}" }}]

[[proxy.rule]]
action = "allow"
cidr = ["127.0.0.0/8", "::1"]

[[tcp]]
name = "http"
listen = "127.0.0.1:{http}"
to = "{origin_http}"

[[tcp]]
name = "echo"
listen = "127.0.0.1:{echo}"
to = "unix:{origin_echo_unix}"

[[tcp]]
name = "echo-unix"
listen = "unix:{echo_unix}"
to = "{origin_echo}"
"#
    )
}

/// The public ends of links: a server of exposed services, and an exit.
pub(super) fn public(ports: &Ports) -> String {
    let Ports {
        server,
        visitors,
        exit,
        ..
    } = ports;
    format!(
        r#"# The public side of `byway demo`: what others join.

[drain]
deadline = "2s"

[[serve]]
name = "server"
listen = "127.0.0.1:{server}"
advertise = "127.0.0.1:{server}"
domain = "{DOMAIN}"
http = "127.0.0.1:{visitors}"

[[exit]]
name = "exit"
listen = "127.0.0.1:{exit}"

[[exit.rule]]
action = "allow"
cidr = ["127.0.0.0/8", "::1"]
"#
    )
}

/// The other ends: an agent that exposes the origin, and desks that go out through the exit, each
/// over both carriers.
///
/// # Errors
/// When `public` cannot be joined.
pub(super) fn inside(ports: &Ports, public: &Running, origin: &Origin) -> anyhow::Result<String> {
    let (server, exit) = (
        public.join_file("server")?.display(),
        public.join_file("exit")?.display(),
    );
    let Origin {
        http,
        echo,
        refusing,
        ..
    } = origin;
    let mut text = format!(
        r#"# The inner side of `byway demo`: it joins the public side.

[drain]
deadline = "2s"

[[expose]]
name = "refused"
http = "{refusing}"
join_file = "{server}"
"#
    );
    for (carrier, desk) in [("quic", ports.desk_quic), ("tls", ports.desk_tls)] {
        text += &format!(
            r#"
[[expose]]
name = "app-{carrier}"
http = "{http}"
join_file = "{server}"
carrier = "{carrier}"

[[expose]]
name = "tcp-{carrier}"
tcp = "{http}"
join_file = "{server}"
carrier = "{carrier}"

[[expose]]
name = "echo-{carrier}"
tcp = "{echo}"
join_file = "{server}"
carrier = "{carrier}"

[[proxy]]
name = "desk-{carrier}"
listen = "127.0.0.1:{desk}"
join_file = "{exit}"
carrier = "{carrier}"
"#
        );
    }
    Ok(text)
}
