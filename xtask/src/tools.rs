//! Tools: the third-party programs that the tests drive as a user would; installed when they are missing.

use std::process::Command;

use anyhow::bail;

use crate::step;

/// Programs, and the Debian packages that have them.
const TOOLS: [(&str, &str); 8] = [
    ("curl", "curl"),
    ("nginx", "nginx-light"),
    ("python3", "python3"),
    ("node", "nodejs"),
    ("bash", "bash"),
    ("ip", "iproute2"),
    ("microsocks", "microsocks"),
    ("tinyproxy", "tinyproxy-bin"),
];

/// Installs what is missing.
pub(crate) fn install() -> anyhow::Result<()> {
    let missing: Vec<_> = TOOLS.iter().filter(|(program, _)| !is_there(program)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !is_there("apt-get") || !is_root() {
        bail!("the tests need programs that are not here; install the Debian packages: {}", missing.join(" "));
    }
    step::run(Command::new("apt-get").args(["update", "-qq"]))?;
    let install = ["install", "-y", "-qq", "--no-install-recommends"];
    step::run(Command::new("apt-get").args(install).args(missing).env("DEBIAN_FRONTEND", "noninteractive"))
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(Into::into);
    std::env::split_paths(&path).chain(system).any(|folder| folder.join(program).is_file())
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout.trim_ascii() == b"0")
}
