//! Two nodes: a link between two byways on loopback, with the origin behind it.
//!
//! In:    the environment, the use of the link and the carrier.
//! Out:   two running programs, and how to reach the origin through both.
//! Never: uses one state folder for both: they are two nodes.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use tokio::net::TcpStream;

use crate::byway::join_file;
use crate::environment::RunEnvironment;
use crate::load::reach::Reach;
use crate::peers::free_address;
use crate::process::Process;

/// What a link is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkUse {
    /// `byway serve` and `byway tcp`: the far end is the agent.
    Expose,
    /// `byway proxy join` and `byway proxy serve`: the far end is the exit.
    Egress,
}

/// Two linked nodes.
pub(crate) struct TwoNodes {
    /// Where clients connect: the server, or the desk.
    pub(crate) near: Process,
    /// The node that dials the origin: the agent, or the exit.
    pub(crate) far: Process,
    /// How to connect through both.
    pub(crate) reach: Reach,
    link_use: LinkUse,
    accepting: Vec<String>,
    dialling: Vec<String>,
}

impl TwoNodes {
    /// Starts both, and waits until a connection gets through.
    pub(crate) async fn start(
        env: &RunEnvironment,
        link_use: LinkUse,
        carrier: &str,
    ) -> Result<Self> {
        let (link, entry) = (free_address()?, free_address()?);
        let folder = |name: &str| {
            env.dir()
                .join(format!("{name}-{}", link.port()))
                .display()
                .to_string()
        };
        let (accepting_state, dialling_state) = (folder("accepting"), folder("dialling"));
        let text = |words: &[&str]| {
            words
                .iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>()
        };
        let (link_text, entry_text, port) = (
            link.to_string(),
            entry.to_string(),
            entry.port().to_string(),
        );
        let origin = env.origin().to_string();
        let accepting = match link_use {
            LinkUse::Expose => {
                text(&["serve", "--listen", &link_text, "--state", &accepting_state])
            }
            LinkUse::Egress => text(&[
                "proxy",
                "serve",
                "--listen",
                &link_text,
                "--allow",
                "127.0.0.0/8",
                "--state",
                &accepting_state,
            ]),
        };
        let acceptor = start(env, "accepting", &accepting).await?;
        let purpose = if link_use == LinkUse::Expose {
            "serve"
        } else {
            "exit"
        };
        let join = join_file(Path::new(&accepting_state), purpose)
            .display()
            .to_string();
        let shared = [
            "--join-file",
            &join,
            "--carrier",
            carrier,
            "--state",
            &dialling_state,
        ];
        let dialling = match link_use {
            LinkUse::Expose => {
                text(&[&["tcp", &origin, "--port", &port], shared.as_slice()].concat())
            }
            LinkUse::Egress => text(
                &[
                    &["proxy", "join", "--listen", &entry_text],
                    shared.as_slice(),
                ]
                .concat(),
            ),
        };
        let dialler = start(env, "dialling", &dialling).await?;
        let (near, far, reach) = match link_use {
            LinkUse::Expose => (acceptor, dialler, Reach::Plain(entry)),
            LinkUse::Egress => (dialler, acceptor, Reach::Socks5(entry)),
        };
        let mut nodes = Self {
            near,
            far,
            reach,
            link_use,
            accepting,
            dialling,
        };
        nodes.until_open(env.origin()).await?;
        Ok(nodes)
    }

    /// Waits until a connection gets through to the origin.
    pub(crate) async fn until_open(&mut self, origin: SocketAddr) -> Result<TcpStream> {
        let reach = self.reach;
        self.near
            .until(async |_| reach.answers(origin).await)
            .await
            .context("no connection gets through the link")
    }

    /// Kills the node that dialled the link, and starts it again.
    pub(crate) async fn restart_dialler(&mut self, env: &RunEnvironment) -> Result<()> {
        let arguments = self.dialling.clone();
        let place = if self.link_use == LinkUse::Expose {
            &mut self.far
        } else {
            &mut self.near
        };
        restart(env, place, "dialling", &arguments).await
    }

    /// Kills the node that accepted the link, and starts it again.
    pub(crate) async fn restart_acceptor(&mut self, env: &RunEnvironment) -> Result<()> {
        let arguments = self.accepting.clone();
        let place = if self.link_use == LinkUse::Expose {
            &mut self.near
        } else {
            &mut self.far
        };
        restart(env, place, "accepting", &arguments).await
    }

    /// Stops both.
    pub(crate) async fn stop(self) -> Result<()> {
        self.near.stop().await?;
        self.far.stop().await
    }
}

async fn restart(
    env: &RunEnvironment,
    place: &mut Process,
    log: &str,
    arguments: &[String],
) -> Result<()> {
    place.kill();
    *place = start(env, log, arguments).await?;
    Ok(())
}

async fn start(env: &RunEnvironment, log: &str, arguments: &[String]) -> Result<Process> {
    let mut command = Command::new(&env.byway);
    command.args(arguments).args(["--log-level", "warn"]);
    let mut process = Process::spawn(command, log, env.cores, env.dir())?;
    let ready = process
        .until(async |process| process.log().contains("ready: ").then_some(()))
        .await;
    ready.with_context(|| format!("byway {}", arguments.first().map_or("", String::as_str)))?;
    Ok(process)
}
