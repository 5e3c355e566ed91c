//! Two nodes: a link between two byways on loopback, with the origin behind it.
//!
//! In:    the setting, the road and the carrier.
//! Out:   two running programs, and how the origin is reached through both.
//! Never: lets one state folder serve both: they are two nodes.

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

/// Which of the two roads over a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Road {
    /// `byway serve` and `byway tcp`: the far end is the agent.
    Expose,
    /// `byway proxy join` and `byway proxy serve`: the far end is the exit.
    Egress,
}

/// A link and the road over it.
pub(crate) struct TwoNodes {
    /// Where visitors and browsers come: the server, or the desk.
    pub(crate) near: Process,
    /// Where the origin is dialled: the agent, or the exit.
    pub(crate) far: Process,
    /// The way through both.
    pub(crate) reach: Reach,
    road: Road,
    accepting: Vec<String>,
    dialling: Vec<String>,
}

impl TwoNodes {
    /// Starts both, and waits until a connection gets through.
    pub(crate) async fn start(env: &RunEnvironment, road: Road, carrier: &str) -> Result<Self> {
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
        let accepting = match road {
            Road::Expose => text(&["serve", "--listen", &link_text, "--state", &accepting_state]),
            Road::Egress => text(&[
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
        let purpose = if road == Road::Expose {
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
        let dialling = match road {
            Road::Expose => text(&[&["tcp", &origin, "--port", &port], shared.as_slice()].concat()),
            Road::Egress => text(
                &[
                    &["proxy", "join", "--listen", &entry_text],
                    shared.as_slice(),
                ]
                .concat(),
            ),
        };
        let dialler = start(env, "dialling", &dialling).await?;
        let (near, far, reach) = match road {
            Road::Expose => (acceptor, dialler, Reach::Plain(entry)),
            Road::Egress => (dialler, acceptor, Reach::Socks5(entry)),
        };
        let mut nodes = Self {
            near,
            far,
            reach,
            road,
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
        let place = if self.road == Road::Expose {
            &mut self.far
        } else {
            &mut self.near
        };
        restart(env, place, "dialling", &arguments).await
    }

    /// Kills the node that accepted the link, and starts it again.
    pub(crate) async fn restart_acceptor(&mut self, env: &RunEnvironment) -> Result<()> {
        let arguments = self.accepting.clone();
        let place = if self.road == Road::Expose {
            &mut self.near
        } else {
            &mut self.far
        };
        restart(env, place, "accepting", &arguments).await
    }

    /// Ends both.
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
