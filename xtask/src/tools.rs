//! Tools: the third-party programs that the tests run as a user would; missing ones are installed.

use std::path::PathBuf;
use std::process::Command;

use anyhow::bail;

use crate::step;

/// Programs, and the Debian packages that have them.
const TOOLS: &[(&str, &str)] = &[
    ("curl", "curl"),
    ("nginx", "nginx-light"),
    ("python3", "python3-venv"),
    ("node", "nodejs"),
    ("h2load", "nghttp2-client"),
    ("bash", "bash"),
    ("ip", "iproute2"),
    ("microsocks", "microsocks"),
    ("tinyproxy", "tinyproxy-bin"),
    ("named", "bind9"),
    ("openssl", "openssl"),
    ("sslscan", "sslscan"),
];

/// The browser of the browser step, and its Debian package.
const BROWSER: [(&str, &str); 1] = [("chromium", "chromium")];

/// Programs of the Go module proxy, with their versions: an ACME authority and its DNS server.
const GO_TOOLS: [(&str, &str); 2] = [
    ("github.com/letsencrypt/pebble/v2/cmd/pebble", "v2.10.3"),
    (
        "github.com/letsencrypt/pebble/v2/cmd/pebble-challtestsrv",
        "v2.10.3",
    ),
];

/// Installs the programs that are missing.
pub(crate) fn install() -> anyhow::Result<()> {
    install_missing(TOOLS)?;
    if let Err(error) = grpcio() {
        eprintln!("grpcio is missing, the test of gRPC will be skipped: {error:#}");
    }
    if !is_there("go") {
        eprintln!("Go is missing: the tests against an ACME authority will be skipped");
        return Ok(());
    }
    for (package, version) in GO_TOOLS {
        from_go(package, version)?;
    }
    Ok(())
}

/// The gRPC of Python, in this version.
const GRPCIO: &str = "grpcio==1.85.3";

/// Installs it in `target/tools/python`, unless it is there.
fn grpcio() -> anyhow::Result<()> {
    let folder = step::root().join("target/tools/python");
    let python = folder.join("bin/python");
    let found = Command::new(&python).args(["-c", "import grpc"]).output();
    if found.is_ok_and(|output| output.status.success()) {
        return Ok(());
    }
    let environment = ["-m", "venv"];
    step::run(Command::new("python3").args(environment).arg(&folder))?;
    step::run(Command::new(&python).args(["-m", "pip", "install", "-q", GRPCIO]))
}

/// Installs a Go program in this version in `target/tools`, unless it is there.
fn from_go(package: &str, version: &str) -> anyhow::Result<()> {
    let folder = step::root().join("target/tools/bin");
    let name = package.rsplit('/').next().unwrap_or(package);
    let built = Command::new("go")
        .args(["version", "-m"])
        .arg(folder.join(name))
        .output();
    let is_installed = built.is_ok_and(|output| {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.split_whitespace().any(|word| word == version)
    });
    if is_installed {
        return Ok(());
    }
    let package = format!("{package}@{version}");
    step::run(
        Command::new("go")
            .args(["install", &package])
            .env("GOBIN", folder),
    )
}

/// Installs Chromium if it is missing.
pub(crate) fn install_browser() -> anyhow::Result<()> {
    install_missing(&BROWSER)
}

/// h2spec, installed in `target/tools` by Go; returns the path of its executable.
pub(crate) fn h2spec() -> anyhow::Result<PathBuf> {
    let folder = step::root().join("target/tools/bin");
    let executable = folder.join("h2spec");
    if !executable.exists() {
        let mut install = Command::new("go");
        install.env("GOBIN", &folder).args(["install", H2SPEC]);
        step::run(&mut install)?;
    }
    Ok(executable)
}

/// The newest version that the Go proxy has.
const H2SPEC: &str = "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible";

/// A program from crates.io in this version, installed in `target/tools`; returns the path of its
/// executable.
pub(crate) fn from_crates_io(name: &str, version: &str) -> anyhow::Result<PathBuf> {
    let folder = step::root().join("target/tools");
    let executable = folder.join("bin").join(name);
    let installed = Command::new(&executable).arg("--version").output();
    let is_installed = installed.is_ok_and(|output| {
        let version_text = String::from_utf8_lossy(&output.stdout).into_owned();
        version_text.split_whitespace().any(|word| word == version)
    });
    if !is_installed {
        let mut install = step::cargo_command();
        install
            .args([
                "install",
                "--locked",
                "--force",
                "--version",
                version,
                "--root",
            ])
            .arg(&folder);
        step::run(install.arg(name))?;
    }
    Ok(executable)
}

fn install_missing(tools: &[(&str, &str)]) -> anyhow::Result<()> {
    let missing: Vec<_> = tools
        .iter()
        .filter(|(program, _)| !is_there(program))
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !is_there("apt-get") || !is_root() {
        bail!(
            "the tests need missing programs; install the Debian packages: {}",
            missing.join(" ")
        );
    }
    step::run(Command::new("apt-get").args(["update", "-qq"]))?;
    let install = ["install", "-y", "-qq", "--no-install-recommends"];
    step::run(
        Command::new("apt-get")
            .args(install)
            .args(missing)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(Into::into);
    std::env::split_paths(&path)
        .chain(system)
        .any(|folder| folder.join(program).is_file())
}

fn is_root() -> bool {
    Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|id| id.stdout.trim_ascii() == b"0")
}
