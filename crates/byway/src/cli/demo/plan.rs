//! Plan: the demo's config, and the node that serves it.
//!
//! In:    a running origin, and a folder.
//! Out:   a node with an edge, two egresses and three forwards; the config as a file, for `byway explain -c`.
//! Never: takes a way that a config file could not: this one is read as any other.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use super::origin::Origin;
use super::ports::{Ports, Wanted};
use crate::config;
use crate::node::{Node, NodeError};
use crate::os::inherit::Inherited;

/// The user of the guarded egress.
pub(super) const USER: &str = "alice";
/// Her password.
pub(super) const PASSWORD: &str = "secret";

/// Where everything listens.
#[derive(Clone, Debug)]
pub(super) struct Addresses {
    /// The edge.
    pub(super) edge: SocketAddr,
    /// The egress without a password.
    pub(super) open: SocketAddr,
    /// The egress with one.
    pub(super) guarded: SocketAddr,
    /// The forward to the origin's HTTP.
    pub(super) http: SocketAddr,
    /// The forward to the echo on a Unix socket.
    pub(super) echo: SocketAddr,
    /// The forward that listens on a Unix socket and leads to the echo on TCP.
    pub(super) echo_unix: PathBuf,
    /// The config itself.
    pub(super) config: PathBuf,
}

/// Starts the node. A port that somebody takes between choosing and binding is chosen anew.
///
/// # Errors
/// When the node does not start.
pub(super) fn start(origin: &Origin, folder: &Path, state: &Path, wanted: Wanted) -> anyhow::Result<(Node, Addresses)> {
    let mut attempt = 1;
    loop {
        let wanted = if attempt == 1 { wanted } else { Wanted::Any };
        let addresses = Addresses::new(Ports::choose(wanted)?, folder);
        std::fs::write(&addresses.config, text(&addresses, origin))
            .with_context(|| format!("cannot write {}", addresses.config.display()))?;
        let plan =
            config::load(&addresses.config, state).map_err(|errors| anyhow!("the demo's own config: {errors}"))?;
        match Node::start(plan, &mut Inherited::default()) {
            Ok(node) => return Ok((node, addresses)),
            Err(NodeError::Bind(error)) if attempt < ATTEMPTS => {
                tracing::debug!("{error}; trying other ports");
                attempt += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

const ATTEMPTS: usize = 5;

impl Addresses {
    fn new(ports: Ports, folder: &Path) -> Self {
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            edge: at(ports.edge),
            open: at(ports.open),
            guarded: at(ports.guarded),
            http: at(ports.http),
            echo: at(ports.echo),
            echo_unix: folder.join("echo.sock"),
            config: folder.join("byway.toml"),
        }
    }
}

fn text(at: &Addresses, origin: &Origin) -> String {
    let Addresses { edge, open, guarded, http, echo, .. } = at;
    let (echo_unix, origin_http, origin_echo) = (at.echo_unix.display(), origin.http, origin.echo);
    let (origin_http_unix, origin_echo_unix) = (origin.http_unix.display(), origin.echo_unix.display());
    let refusing = origin.refusing;
    format!(
        r#"# What `byway demo` serves.

[drain]
deadline = "2s"

[[edge]]
name = "demo"
listen = "{edge}"

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
listen = "{open}"

[[proxy.rule]]
action = "allow"
cidr = ["127.0.0.0/8", "::1"]

[[proxy]]
name = "guarded"
listen = "{guarded}"
users = [{{ name = "{USER}", password = "{PASSWORD}" }}]

[[proxy.rule]]
action = "allow"
cidr = ["127.0.0.0/8", "::1"]

[[tcp]]
name = "http"
listen = "{http}"
to = "{origin_http}"

[[tcp]]
name = "echo"
listen = "{echo}"
to = "unix:{origin_echo_unix}"

[[tcp]]
name = "echo-unix"
listen = "unix:{echo_unix}"
to = "{origin_echo}"
"#
    )
}
