//! Shadowsocks: ss-local with its SOCKS5 listener and ss-server, one TCP connection per visitor,
//! AES-256-GCM.
//!
//! In:    the environment and the line.
//! Out:   both ends, running.
//! Never: relays UDP.

use anyhow::Result;

use super::{BothEnds, Program, command, free_address};
use crate::environment::RunEnvironment;
use crate::path::line::Line;
use crate::process::Process;

/// Starts both ends.
pub(crate) fn socks(env: &RunEnvironment, line: &Line) -> Result<BothEnds> {
    let (link, entry) = (
        Line::far_address(line.far.within(free_address)?.port()),
        free_address()?,
    );
    let start = |program: Program, more: &[&str]| {
        let (host, port) = (link.ip().to_string(), link.port().to_string());
        let mut command = command(program)?;
        command
            .args([
                "-s",
                &host,
                "-p",
                &port,
                "-k",
                "lab",
                "-m",
                "aes-256-gcm",
                "--no-delay",
            ])
            .args(more);
        Process::spawn_unpinned(command, &format!("{}-{port}", program.name()), env.dir())
    };
    let far = line.far.within(|| start(Program::SsServer, &[]))?;
    let (host, port) = (entry.ip().to_string(), entry.port().to_string());
    Ok(BothEnds {
        near: start(Program::SsLocal, &["-b", &host, "-l", &port])?,
        far,
        entry,
    })
}
