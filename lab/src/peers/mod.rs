//! Peers: the programs that byway is compared with, each configured as well as its manual allows.
//!
//! Out:   a running program and its address; or that it is not installed, and which package to
//!        install.
//! Never: touches a running service of the machine: every peer runs in the foreground on a config
//!        of the lab.

pub(crate) mod built;
pub(crate) mod caddy;
mod certificate;
pub(crate) mod clients;
pub(crate) mod crypto;
pub(crate) mod front;
pub(crate) mod frp;
pub(crate) mod h2load;
pub(crate) mod haproxy;
pub(crate) mod hyper;
pub(crate) mod hysteria;
pub(crate) mod install;
pub(crate) mod microsocks;
pub(crate) mod nginx;
pub(crate) mod node;
pub(crate) mod pingora;
pub(crate) mod rathole;
pub(crate) mod shadowsocks;
pub(crate) mod splice;
pub(crate) mod ssh;
pub(crate) mod tinyproxy;

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

use anyhow::{Context, Result, bail};
use tokio::net::TcpStream;

use crate::access_log::AccessLog;
use crate::environment::RunEnvironment;
use crate::machine::version_line;
use crate::process::Process;

/// A program that may be installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// Web server and reverse proxy.
    Nginx,
    /// Reverse proxy and balancer.
    Haproxy,
    /// Web server and reverse proxy, in Go.
    Caddy,
    /// A small SOCKS5 server with one thread per connection.
    Microsocks,
    /// A small HTTP forward proxy with one thread per connection.
    Tinyproxy,
    /// A reverse tunnel; both ends are one program.
    Rathole,
    /// The server of a reverse tunnel.
    Frps,
    /// And its client.
    Frpc,
    /// The client of a secure shell; its `-D` is a SOCKS5 proxy.
    Ssh,
    /// And its server.
    Sshd,
    /// The client of an encrypting proxy.
    SsLocal,
    /// And its server.
    SsServer,
    /// A proxy over QUIC; both ends are one program.
    Hysteria,
    /// A load generator for HTTP/2.
    H2load,
}

/// The source of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A Debian package.
    Debian(&'static str),
    /// A crate, built by cargo.
    Cargo(&'static str),
    /// A Go module whose go.mod has `replace` lines, which `go install` rejects.
    Go(&'static str),
    /// Sources that are not in a registry as a whole; the text says how to build them.
    Sources(&'static str),
}

impl Program {
    /// All programs.
    pub(crate) const ALL: [Self; 14] = [
        Self::Nginx,
        Self::Haproxy,
        Self::Caddy,
        Self::Microsocks,
        Self::Tinyproxy,
        Self::Rathole,
        Self::Frps,
        Self::Frpc,
        Self::Ssh,
        Self::Sshd,
        Self::SsLocal,
        Self::SsServer,
        Self::Hysteria,
        Self::H2load,
    ];

    /// The name of the program file.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Caddy => "caddy",
            Self::Microsocks => "microsocks",
            Self::Tinyproxy => "tinyproxy",
            Self::Rathole => "rathole",
            Self::Frps => "frps",
            Self::Frpc => "frpc",
            Self::Ssh => "ssh",
            Self::Sshd => "sshd",
            Self::SsLocal => "ss-local",
            Self::SsServer => "ss-server",
            Self::Hysteria => "hysteria",
            Self::H2load => "h2load",
        }
    }

    /// Its source.
    pub(crate) const fn source(self) -> Source {
        match self {
            Self::Nginx => Source::Debian("nginx-light"),
            Self::Haproxy | Self::Caddy | Self::Microsocks | Self::Tinyproxy => {
                Source::Debian(self.name())
            }
            Self::Rathole => Source::Cargo("rathole@0.5.0"),
            Self::Frps | Self::Frpc => Source::Go("github.com/fatedier/frp@v0.61.1"),
            Self::Ssh => Source::Debian("openssh-client"),
            Self::Sshd => Source::Debian("openssh-server"),
            Self::H2load => Source::Debian("nghttp2-client"),
            Self::SsLocal | Self::SsServer => Source::Debian("shadowsocks-libev"),
            Self::Hysteria => {
                Source::Sources("`go build` in the folder app of github.com/apernet/hysteria")
            }
        }
    }

    /// How to install it.
    pub(crate) fn remedy(self) -> String {
        match self.source() {
            Source::Debian(package) => format!("`apt-get install {package}` or --install"),
            Source::Cargo(package) => format!("`cargo install {package}` or --install"),
            Source::Go(_) => "--install builds it, by go".into(),
            Source::Sources(what) => format!("{what}, and the program into a folder of PATH"),
        }
    }

    /// The path of the program; the folders for administrators are searched too.
    pub(crate) fn path(self) -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let system = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
        std::env::split_paths(&path)
            .chain(system)
            .map(|dir| dir.join(self.name()))
            .find(|file| file.is_file())
    }

    /// Its version, from the program or from the package manager.
    pub(crate) fn version(self) -> Option<String> {
        let path = self.path()?.display().to_string();
        match self {
            Self::Nginx | Self::Haproxy | Self::Tinyproxy => version_line(&path, &["-v"]),
            Self::Caddy => Some(format!("caddy {}", version_line(&path, &["version"])?)),
            Self::Microsocks => {
                let version = version_line(
                    "dpkg-query",
                    &["-W", "-f", "${Package} ${Version}\n", self.name()],
                );
                Some(version.unwrap_or_else(|| "version unknown".into()))
            }
            Self::Rathole => {
                let output = Command::new(path).arg("--version").output().ok()?;
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                let version = text
                    .lines()
                    .find_map(|line| line.strip_prefix("Build Version:"))?;
                Some(format!("rathole {}", version.trim()))
            }
            Self::Frps => Some(format!("frp {}", version_line(&path, &["--version"])?)),
            Self::Ssh => version_line(&path, &["-V"]),
            Self::SsLocal => version_line(&path, &["-h"]),
            Self::H2load => version_line(&path, &["--version"]),
            Self::Hysteria => {
                let output = Command::new(path).arg("version").output().ok()?;
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                let version = text
                    .lines()
                    .find_map(|line| line.strip_prefix("Version:"))?;
                Some(format!("hysteria {}", version.trim()))
            }
            Self::Frpc | Self::Sshd | Self::SsServer => None,
        }
    }
}

/// A peer that accepts connections.
pub(crate) struct Running {
    /// The program.
    pub(crate) process: Process,
    /// Its only listener.
    pub(crate) address: SocketAddr,
    /// Its access log, if it has one.
    pub(crate) access_log: Option<AccessLog>,
}

/// Both ends of a tunnel that exposes the origin.
pub(crate) struct BothEnds {
    /// The end where clients connect.
    pub(crate) near: Process,
    /// The end that dials the origin.
    pub(crate) far: Process,
    /// The public address, valid once both ends are connected.
    pub(crate) entry: SocketAddr,
}

/// Starts a peer and waits until it accepts connections. `log` names its log file.
async fn start(
    env: &RunEnvironment,
    log: &str,
    command: Command,
    address: SocketAddr,
) -> Result<Running> {
    let process = Process::spawn(command, log, env.cores, env.dir())?;
    accepting(process, log, address, None).await
}

/// Waits until a started peer accepts connections.
async fn accepting(
    mut process: Process,
    log: &str,
    address: SocketAddr,
    access_log: Option<AccessLog>,
) -> Result<Running> {
    let accepts = process
        .until(async |_| TcpStream::connect(address).await.ok())
        .await;
    accepts.with_context(|| log.to_owned())?;
    Ok(Running {
        process,
        address,
        access_log,
    })
}

/// The ports that [`free_address`] returns: below those that the kernel gives to outgoing
/// connections (`ip_local_port_range`), so that no connection takes one before its program listens.
const PORTS: std::ops::Range<u16> = 15_000..32_000;

/// An address whose port was free for TCP and UDP a moment ago, and is returned once. None of the
/// peers can report which port it got for port 0.
pub(crate) fn free_address() -> Result<SocketAddr> {
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    let next = NEXT.get_or_init(|| AtomicU16::new(fastrand::u16(..)));
    for _ in PORTS {
        let port = PORTS.start + next.fetch_add(1, Relaxed) % (PORTS.end - PORTS.start);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no port of {PORTS:?} is free")
}

fn write(path: &Path, text: &str) -> Result<String> {
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    Ok(path.display().to_string())
}

fn command(program: Program) -> Result<Command> {
    program
        .path()
        .map(Command::new)
        .with_context(|| format!("{} is not installed", program.name()))
}

/// The fields that a reverse proxy adds to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fields {
    /// Only X-Forwarded-For, the useful minimum.
    Least,
    /// The fields that byway always sets: X-Forwarded-For, -Proto, -Host, X-Real-IP, X-Request-Id
    /// and Via.
    AsByway,
}

/// Whether a reverse proxy writes a line for each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Logs {
    /// It does not.
    Off,
    /// It does, in the cheapest way it has.
    On,
}
