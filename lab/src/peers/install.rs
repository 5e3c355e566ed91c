//! Install: installs the missing peers on a Debian machine.
//!
//! In:    the missing programs.
//! Out:   installed packages and programs.
//! Never: runs without `--install`.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::built::Package;
use super::{Program, Source, node};
use crate::syscalls::Counter;

/// Packages that provide a module of a program.
const PARTS: [(&str, &str); 1] = [(
    "/usr/lib/nginx/modules/ngx_stream_module.so",
    "libnginx-mod-stream",
)];

/// Installs the missing peers: packages by apt-get, which needs root, crates by cargo, Go modules
/// by go, and Node's by npm. Builds the packages of the lab.
pub(crate) fn missing() -> Result<()> {
    let (mut packages, mut crates, mut modules) = (Vec::new(), Vec::new(), Vec::new());
    for program in Program::ALL
        .into_iter()
        .filter(|program| program.path().is_none())
    {
        match program.source() {
            Source::Debian(package) => packages.push(package),
            Source::Cargo(name) => crates.push(name),
            Source::Go(module) => modules.push(module),
            Source::Sources(what) => eprintln!("lab: {} is not installed: {what}", program.name()),
        }
    }
    packages.extend(
        PARTS
            .iter()
            .filter(|(file, _)| !Path::new(file).exists())
            .map(|(_, package)| *package),
    );
    if !node::is_there() {
        packages.extend(["nodejs", "npm"]);
    }
    if Counter::choose().is_none() {
        packages.push("strace");
    }
    // Some programs share a package or module.
    modules.dedup();
    packages.dedup();
    if !packages.is_empty() {
        debian(&packages)?;
    }
    crates.into_iter().try_for_each(cargo)?;
    modules.into_iter().try_for_each(go)?;
    Package::ALL
        .into_iter()
        .try_for_each(|package| package.build().map(drop))?;
    node::install()
}

fn debian(packages: &[&str]) -> Result<()> {
    ensure!(
        rustix::process::getuid().is_root(),
        "--install needs root: sudo apt-get install {}",
        packages.join(" ")
    );
    let mut apt = Command::new("apt-get");
    apt.args(["install", "--yes", "--no-install-recommends"])
        .args(packages);
    // Run level 1 keeps invoke-rc.d from starting the services, which would disturb the
    // measurement.
    apt.env("DEBIAN_FRONTEND", "noninteractive")
        .env("RUNLEVEL", "1");
    run(&mut apt).context("run apt-get update first")
}

fn cargo(name: &str) -> Result<()> {
    run(Command::new("cargo").args(["install", name]))
}

/// Builds every program of the module into cargo's bin folder, which is in PATH.
fn go(module: &str) -> Result<()> {
    let downloaded = Command::new("go")
        .args(["mod", "download", "-json", module])
        .output()
        .context("running go")?;
    ensure!(
        downloaded.status.success(),
        "go mod download {module}: {}",
        String::from_utf8_lossy(&downloaded.stdout)
    );
    let text = String::from_utf8_lossy(&downloaded.stdout);
    let dir = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("\"Dir\": \"")?.split('"').next());
    let dir =
        dir.with_context(|| format!("go mod download {module} does not report its folder"))?;
    let to = format!("{}/", cargo_bin()?.display());
    run(Command::new("go").args(["build", "-C", dir, "-o", &to, "./cmd/..."]))
}

fn cargo_bin() -> Result<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home
        .or_else(|| Some(env::home_dir()?.join(".cargo")))
        .context("there is no home folder")?;
    Ok(home.join("bin"))
}

fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().display().to_string();
    let status = command
        .stdout(std::io::stderr())
        .status()
        .with_context(|| format!("running {program}"))?;
    ensure!(status.success(), "{program} failed ({status})");
    Ok(())
}
