//! Hysteria: a client with a SOCKS5 listener and a server, over QUIC with its BBR.
//!
//! In:    the environment and the line.
//! Out:   both ends, running.
//! Never: sets a bandwidth, which would make it send at a fixed rate whatever the path does.

use anyhow::Result;

use super::{BothEnds, Program, certificate, command, free_address, write};
use crate::environment::RunEnvironment;
use crate::path::line::Line;
use crate::process::Process;

/// The name in the certificate, which the server requires.
const HOST: &str = "lab.localhost";

/// Starts both ends.
pub(crate) fn socks(env: &RunEnvironment, line: &Line) -> Result<BothEnds> {
    let (link, entry) = (
        Line::far_address(line.far.within(free_address)?.port()),
        free_address()?,
    );
    let dir = env.dir();
    certificate::make(dir, "hysteria", HOST)?;
    let file = |name: &str| dir.join(name).display().to_string();
    let server = format!(
        "listen: {link}\ntls:\n  cert: {}\n  key: {}\nauth:\n  type: password\n  password: lab\n",
        file("hysteria.crt"),
        file("hysteria.key"),
    );
    let client = format!(
        "server: {link}\nauth: lab\ntls:\n  sni: {HOST}\n  insecure: true\nsocks5:\n  listen: {entry}\n"
    );
    let start = |end: &str, config: &str| {
        let log = format!("hysteria-{end}-{}", link.port());
        let config = write(&dir.join(format!("{log}.yaml")), config)?;
        let mut command = command(Program::Hysteria)?;
        command.args([
            end,
            "--disable-update-check",
            "--log-level",
            "error",
            "--config",
            &config,
        ]);
        Process::spawn_unpinned(command, &log, dir)
    };
    let far = line.far.within(|| start("server", &server))?;
    Ok(BothEnds {
        near: start("client", &client)?,
        far,
        entry,
    })
}
