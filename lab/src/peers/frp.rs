//! Frp: frps and frpc, encrypted as they are by default (TLS, its certificate not checked), or over QUIC.
//!
//! In:    the setting, the transport.
//! Out:   both ends, running.
//! Never: listens on anything but 127.0.0.1.

use anyhow::Result;

use super::{BothEnds, Program, command, free_address, write};
use crate::process::Process;
use crate::setting::Setting;

/// How the two ends are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// One TLS connection, every visitor a yamux stream on it: the default.
    Mux,
    /// A TLS connection a visitor.
    Connections,
    /// QUIC.
    Quic,
}

/// Starts both.
pub(crate) async fn expose(setting: &Setting, transport: Transport) -> Result<BothEnds> {
    let (link, entry) = (free_address()?, free_address()?);
    let (protocol, mux) = match transport {
        Transport::Mux => ("tcp", true),
        Transport::Connections => ("tcp", false),
        Transport::Quic => ("quic", true),
    };
    let origin = setting.origin();
    let server = format!(
        "bindAddr = \"{0}\"\nbindPort = {1}\nquicBindPort = {1}\nproxyBindAddr = \"{0}\"\nauth.token = \"lab\"\n\
         transport.tcpMux = {mux}\ntransport.tls.force = true\nlog.level = \"error\"\n",
        link.ip(),
        link.port(),
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
    let start = |program: Program, config: &str| {
        let log = format!("{}-{}", program.name(), link.port());
        let file = write(&setting.dir().join(format!("{log}.toml")), config)?;
        let mut command = command(program)?;
        command.args(["-c", &file]);
        Process::spawn(command, &log, setting.cores, setting.dir())
    };
    Ok(BothEnds { near: start(Program::Frps, &server)?, far: start(Program::Frpc, &client)?, entry })
}
