//! Blocked: journeys over a network that carries TCP and no UDP.
//!
//! In:    a scene.
//! Out:   journeys that pass if TLS carries what QUIC cannot, in both directions.
//! Never: blocks the links of other journeys: the journey's own node dials both ends of the scene
//!        through its own forwards, which carry TCP only.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, ensure};
use byway_dial::{Scheme, Target};
use byway_link::{CarrierKind, JoinString};

use super::journeys::Journey;
use super::running::Running;
use super::scene::Scene;
use super::visitor::Visitor;

/// What happens to datagrams.
#[derive(Clone, Copy)]
enum Udp {
    /// They are dropped silently.
    Dropped,
    /// The sender gets ICMP port unreachable.
    Rejected,
}

impl fmt::Display for Udp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dropped => "dropped",
            Self::Rejected => "rejected",
        })
    }
}

/// One for each way to block.
pub(super) fn all(scene: &Scene) -> Vec<Journey<'_>> {
    let blocked = |udp| {
        Journey::new(
            format!("UDP {udp}: exposed HTTP and desk"),
            blocked(scene, udp),
        )
    };
    [Udp::Dropped, Udp::Rejected].map(blocked).into()
}

async fn blocked(scene: &Scene, udp: Udp) -> anyhow::Result<String> {
    let (server, exit) = (Gap::new(udp)?, Gap::new(udp)?);
    let name = format!("udp-{udp}");
    let config = config(scene, &name, &server, &exit)?;
    let started = Instant::now();
    let mut node = scene.ground.start(&name, &config)?;
    node.wait_for_public(1).await?;
    let took = started.elapsed().as_millis();

    let stream = scene.direct(&Target::Addr(scene.at.visitors)).await?;
    let mut visitor = Visitor::on(stream, node.public_name(&name)?);
    visitor
        .fetch("/headers")
        .await
        .context("the exposed service")?;
    visitor.leave();
    let (desk, origin) = (node.listener("desk")?, scene.origin.http);
    let stream = scene
        .through_parent(Scheme::Socks5h, desk, None, &Target::Addr(origin))
        .await?;
    let mut visitor = Visitor::on(stream, origin);
    visitor.fetch("/headers").await.context("the desk")?;
    visitor.leave();

    let carriers = carriers(&node);
    ensure!(
        carriers == [CarrierKind::Tls; 2],
        "the links run over {carriers:?}"
    );
    Ok(format!(
        "200 from both, TLS carries both links, public after {took} ms"
    ))
}

fn config(scene: &Scene, name: &str, server: &Gap, exit: &Gap) -> anyhow::Result<String> {
    let (origin, to_server, to_exit) = (scene.origin.http, scene.at.server, scene.at.exit);
    let (join_server, join_exit) = (
        server.join(&scene.server_join)?,
        exit.join(&scene.exit_join)?,
    );
    let (by_server, by_exit) = (server.at, exit.at);
    Ok(format!(
        r#"workers = 1

[[tcp]]
name = "to the server"
listen = "{by_server}"
to = "{to_server}"

[[tcp]]
name = "to the exit"
listen = "{by_exit}"
to = "{to_exit}"

[[expose]]
name = "{name}"
http = "{origin}"
join = "{join_server}"

[[proxy]]
name = "desk"
listen = "127.0.0.1:0"
join = "{join_exit}"
"#
    ))
}

/// A port that forwards TCP and blocks UDP.
struct Gap {
    at: SocketAddr,
    /// Receives the datagrams and is never read.
    _dropping: Option<UdpSocket>,
}

const ATTEMPTS: usize = 5;

impl Gap {
    /// On a port that is free for UDP and TCP.
    fn new(udp: Udp) -> io::Result<Self> {
        let mut attempt = 1;
        loop {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            let at = socket.local_addr()?;
            match TcpListener::bind(at) {
                Err(_in_use) if attempt < ATTEMPTS => attempt += 1,
                probed => {
                    probed?;
                    return Ok(Self {
                        at,
                        _dropping: matches!(udp, Udp::Dropped).then_some(socket),
                    });
                }
            }
        }
    }

    /// The join string in `file`, with the address of this port.
    fn join(&self, file: &Path) -> anyhow::Result<String> {
        let mut join: JoinString = std::fs::read_to_string(file)?.trim().parse()?;
        join.address = Target::Addr(self.at);
        Ok(join.expose())
    }
}

fn carriers(node: &Running) -> Vec<CarrierKind> {
    let Some(node) = node.node() else {
        return Vec::new();
    };
    let (links, plan) = (node.links(), node.live().peek());
    let sessions = plan
        .joins
        .iter()
        .filter_map(|join| links.outgoing(&join.id)?.session_now());
    sessions.flat_map(|session| session.carriers()).collect()
}
