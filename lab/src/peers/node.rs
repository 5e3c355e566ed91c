//! Node: the clients in JavaScript, undici and Node's own http.Agent, from
//! `lab/peers/node-clients`.
//!
//! In:    node and npm, if the machine has them.
//! Out:   a folder in `target/lab` with the program and its one dependency.
//! Never: writes into the workspace's sources.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::environment::{target_dir, workspace};
use crate::machine::{unpinned, version_line};

const FILES: [&str; 3] = ["client.mjs", "package.json", "package-lock.json"];

/// Whether node is installed.
pub(crate) fn is_there() -> bool {
    version_line("node", &["--version"]).is_some()
}

/// Installs program and dependency. Does nothing without node.
pub(crate) fn install() -> Result<()> {
    if !is_there() {
        eprintln!("lab: node is not installed; its clients are left out");
        return Ok(());
    }
    program().map(drop)
}

/// The path of the program. The first call downloads its dependency by npm.
pub(crate) fn program() -> Result<PathBuf> {
    let folder = target_dir()?.join("lab").join("node-clients");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let sources = workspace().join("lab").join("peers").join("node-clients");
    let lock = fs::read(sources.join("package-lock.json")).context("reading package-lock.json")?;
    // An install copies the lock file last: an equal copy means equal dependencies.
    let installed =
        fs::read(folder.join("installed.json")).is_ok_and(|installed| installed == lock);
    for file in FILES {
        fs::copy(sources.join(file), folder.join(file))
            .with_context(|| format!("copying {file}"))?;
    }
    if !installed {
        let mut npm = Command::new("npm");
        npm.args([
            "ci",
            "--silent",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
        ])
        .current_dir(&folder);
        let status = unpinned(|| npm.stdout(std::io::stderr()).status()).context("running npm")?;
        ensure!(status.success(), "npm ci failed ({status})");
        fs::write(folder.join("installed.json"), lock).context("recording what was installed")?;
    }
    Ok(folder.join("client.mjs"))
}

/// The versions that are compared: `node v20.20.2`, `undici 7.30.2`.
pub(crate) fn versions() -> Vec<String> {
    let Some(node) = version_line("node", &["--version"]) else {
        return Vec::new();
    };
    let lock = workspace()
        .join("lab")
        .join("peers")
        .join("node-clients")
        .join("package.json");
    let text = fs::read_to_string(lock).unwrap_or_default();
    let undici = text
        .split_once("\"undici\": \"")
        .and_then(|(_, behind)| behind.split('"').next());
    [format!("node {node}")]
        .into_iter()
        .chain(undici.map(|version| format!("undici {version}")))
        .collect()
}
