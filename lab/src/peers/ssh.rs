//! Ssh: `ssh -D` and an sshd of the lab, with one TCP connection for all visitors.
//!
//! In:    the environment and the line.
//! Out:   both ends, running. The measured sshd is the listening process with the processes it
//!        starts.
//! Never: reads a key, a config or a known host of the user.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{BothEnds, Program, command, free_address, write};
use crate::environment::RunEnvironment;
use crate::path::line::Line;
use crate::process::Process;

/// Starts both ends.
pub(crate) async fn socks(env: &RunEnvironment, line: &Line) -> Result<BothEnds> {
    let (link, entry) = (
        Line::far_address(line.far.within(free_address)?.port()),
        free_address()?,
    );
    let dir = env.dir();
    let file = |name: &str| dir.join(name).display().to_string();
    let key = file("ssh_key");
    if !dir.join("ssh_key").exists() {
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f", &key])
            .output();
        ensure!(
            made.context("running ssh-keygen")?.status.success(),
            "ssh-keygen made no key"
        );
    }
    // sshd requires this empty folder, which Debian's service creates when it starts.
    fs::create_dir_all("/run/sshd").context("making /run/sshd")?;
    let server = format!(
        "ListenAddress {link}\nHostKey {key}\nAuthorizedKeysFile {key}.pub\nStrictModes no\nUsePAM no\n\
         PidFile none\nPermitRootLogin yes\nPasswordAuthentication no\nLogLevel ERROR\n"
    );
    let server = write(&dir.join(format!("sshd-{}.conf", link.port())), &server)?;
    let mut sshd = command(Program::Sshd)?;
    sshd.args(["-D", "-e", "-f", &server]);
    let mut far = line
        .far
        .within(|| Process::spawn_unpinned(sshd, &format!("sshd-{}", link.port()), dir))?;
    far.until(async |_| tokio::net::TcpStream::connect(link).await.ok())
        .await
        .context("sshd")?;
    let mut ssh = command(Program::Ssh)?;
    let port = link.port().to_string();
    ssh.args([
        "-F",
        "none",
        "-N",
        "-D",
        &entry.to_string(),
        "-i",
        &key,
        "-p",
        &port,
        "-l",
        "root",
    ]);
    for option in [
        "UserKnownHostsFile=/dev/null",
        "StrictHostKeyChecking=no",
        "IdentitiesOnly=yes",
        "LogLevel=ERROR",
    ] {
        ssh.args(["-o", option]);
    }
    ssh.arg(link.ip().to_string());
    let near = Process::spawn_unpinned(ssh, &format!("ssh-{port}"), dir)?;
    Ok(BothEnds { near, far, entry })
}
