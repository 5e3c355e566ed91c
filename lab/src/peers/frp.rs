//! Frp: frps and frpc, encrypted as by default (TLS, without a check of the certificate), or over
//! QUIC.
//!
//! In:    the environment, the transport.
//! Out:   both ends, running.
//! Never: listens on anything but 127.0.0.1 or a namespace of the lab.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::Result;

use super::{BothEnds, Program, command, free_address, write};
use crate::environment::RunEnvironment;
use crate::path::line::Line;
use crate::process::Process;

/// How the two ends are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// One TLS connection with a yamux stream for each visitor: the default.
    Mux,
    /// A TLS connection for each visitor.
    Connections,
    /// QUIC.
    Quic,
}

/// The addresses of a tunnel.
#[derive(Clone, Copy, Debug)]
struct Places {
    /// The address on which frps accepts frpc.
    link: SocketAddr,
    /// The address on which frps accepts visitors.
    entry: SocketAddr,
    /// The address to which frpc connects.
    origin: SocketAddr,
}

/// Starts both ends.
pub(crate) async fn expose(env: &RunEnvironment, transport: Transport) -> Result<BothEnds> {
    let places = Places {
        link: free_address()?,
        entry: free_address()?,
        origin: env.origin(),
    };
    let [server, client] = configs(places, transport);
    let spawn = |command, log: &str| Process::spawn(command, log, env.cores, env.dir());
    let near = start(env, places, Program::Frps, &server, spawn)?;
    Ok(BothEnds {
        near,
        far: start(env, places, Program::Frpc, &client, spawn)?,
        entry: places.entry,
    })
}

/// Starts frps at the near end of the line, and frpc at the far one, where the origin is.
pub(crate) fn across(
    env: &RunEnvironment,
    line: &Line,
    origin: SocketAddr,
    transport: Transport,
) -> Result<BothEnds> {
    let link = Line::near_address(free_address()?.port());
    let places = Places {
        link,
        entry: free_address()?,
        origin,
    };
    let [server, client] = configs(places, transport);
    let spawn = |command, log: &str| Process::spawn_unpinned(command, log, env.dir());
    let near = start(env, places, Program::Frps, &server, spawn)?;
    let far = line
        .far
        .within(|| start(env, places, Program::Frpc, &client, spawn))?;
    Ok(BothEnds {
        near,
        far,
        entry: places.entry,
    })
}

fn start(
    env: &RunEnvironment,
    places: Places,
    program: Program,
    config: &str,
    spawn: impl Fn(Command, &str) -> Result<Process>,
) -> Result<Process> {
    let log = format!("{}-{}", program.name(), places.link.port());
    let file = write(&env.dir().join(format!("{log}.toml")), config)?;
    let mut command = command(program)?;
    command.args(["-c", &file]);
    spawn(command, &log)
}

/// The configs of the server and of the client.
fn configs(
    Places {
        link,
        entry,
        origin,
    }: Places,
    transport: Transport,
) -> [String; 2] {
    let (protocol, mux) = match transport {
        Transport::Mux => ("tcp", true),
        Transport::Connections => ("tcp", false),
        Transport::Quic => ("quic", true),
    };
    let server = format!(
        "bindAddr = \"{0}\"\nbindPort = {1}\nquicBindPort = {1}\nproxyBindAddr = \"{2}\"\nauth.token = \"lab\"\n\
         transport.tcpMux = {mux}\ntransport.tls.force = true\nlog.level = \"error\"\n",
        link.ip(),
        link.port(),
        entry.ip(),
    );
    let client = format!(
        "serverAddr = \"{}\"\nserverPort = {}\nauth.token = \"lab\"\nloginFailExit = false\n\
         transport.protocol = \"{protocol}\"\ntransport.tcpMux = {mux}\nlog.level = \"error\"\n\n\
         [[proxies]]\nname = \"bulk\"\ntype = \"tcp\"\nlocalIP = \"{}\"\nlocalPort = {}\nremotePort = {}\n",
        link.ip(),
        link.port(),
        origin.ip(),
        origin.port(),
        entry.port(),
    );
    [server, client]
}
