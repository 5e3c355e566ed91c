//! Crossings: the ways to cross a path, each started anew for each measurement.
//!
//! In:    the environment and a line.
//! Out:   programs at both ends, and how the origin at the far end is reached through them.
//! Never: starts a program that is not installed; the section notes that it is missing.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tokio::time::{Duration, Instant, sleep};

use crate::byway::join_file;
use crate::chart::Tone;
use crate::environment::RunEnvironment;
use crate::load::reach::Reach;
use crate::origin::Origin;
use crate::path::line::Line;
use crate::peers::frp::Transport;
use crate::peers::{BothEnds, Program, free_address, frp, hysteria, shadowsocks, ssh};
use crate::process::{Process, cpu_time};
use crate::report::Section;

/// One way to cross a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// A desk and an exit with a link between them.
    Byway {
        /// Its name in tables and charts.
        name: String,
        /// The program.
        program: PathBuf,
        /// The value of `--carrier`.
        carrier: &'static str,
    },
    /// No program: a connection to the origin itself, under this congestion control.
    Tcp(&'static str),
    /// `ssh -D`.
    Ssh,
    /// ss-local and ss-server.
    Shadowsocks,
    /// frps and frpc.
    Frp(Transport),
    /// Hysteria with its BBR.
    Hysteria,
}

/// The congestion control of programs that choose none: the default of most kernels.
const DEFAULT_CONTROL: &str = "cubic";

impl Way {
    /// All ways that take part; the section gets a note for each that is missing.
    pub(super) fn all(env: &RunEnvironment, section: &mut Section) -> Vec<Self> {
        Self::byways(env)
            .into_iter()
            .chain(Self::peers(env, section))
            .collect()
    }

    /// Byway on each carrier, and the extra byways.
    pub(super) fn byways(env: &RunEnvironment) -> Vec<Self> {
        let named = |name: &str, program: &Path| {
            ["quic", "tls", "auto"].map(|carrier| {
                let (name, program) = (format!("{name}, {carrier}"), program.to_owned());
                Self::Byway {
                    name,
                    program,
                    carrier,
                }
            })
        };
        let extra = env
            .extra
            .iter()
            .flat_map(|extra| named(&format!("byway {}", extra.name), &extra.program));
        let all = named("byway", &env.byway).into_iter().chain(extra);
        all.filter(|way| env.takes(&way.name())).collect()
    }

    fn peers(env: &RunEnvironment, section: &mut Section) -> Vec<Self> {
        let peers = [
            Self::Tcp("cubic"),
            Self::Tcp("bbr"),
            Self::Ssh,
            Self::Shadowsocks,
            Self::Frp(Transport::Mux),
            Self::Frp(Transport::Quic),
            Self::Hysteria,
        ];
        let mut there = Vec::new();
        for peer in peers.into_iter().filter(|peer| env.takes(&peer.name())) {
            match peer.missing() {
                None => there.push(peer),
                Some(why) => section.note(format!("Left out: {}: {why}.", peer.name())),
            }
        }
        there
    }

    /// The name in tables.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Byway { name, .. } => name.clone(),
            Self::Tcp(control) => format!("TCP, {control}"),
            Self::Ssh => "ssh -D".into(),
            Self::Shadowsocks => "shadowsocks".into(),
            Self::Frp(Transport::Mux) => "frp, TLS and yamux".into(),
            Self::Frp(Transport::Connections) => "frp, a TLS connection per visitor".into(),
            Self::Frp(Transport::Quic) => "frp, QUIC".into(),
            Self::Hysteria => "hysteria".into(),
        }
    }

    /// The colour in charts.
    pub(super) const fn tone(&self) -> Tone {
        match self {
            Self::Byway { .. } => Tone::Ours,
            Self::Tcp(_) => Tone::Bound,
            _ => Tone::Peer,
        }
    }

    fn missing(&self) -> Option<String> {
        let programs: &[Program] = match self {
            Self::Byway { .. } => &[],
            Self::Tcp(control) => return missing_control(control),
            Self::Ssh => &[Program::Ssh, Program::Sshd],
            Self::Shadowsocks => &[Program::SsLocal, Program::SsServer],
            Self::Frp(_) => &[Program::Frps, Program::Frpc],
            Self::Hysteria => &[Program::Hysteria],
        };
        let missing = programs.iter().find(|program| program.path().is_none())?;
        Some(format!(
            "{} is not installed: {}",
            missing.name(),
            missing.remedy()
        ))
    }

    /// Starts it across the line, from a thread at the near end, and waits until the origin has
    /// answered through it.
    pub(super) async fn start(&self, env: &RunEnvironment, line: &Line) -> Result<Crossing> {
        let control = if let Self::Tcp(control) = self {
            control
        } else {
            DEFAULT_CONTROL
        };
        line.congestion_control(control)?;
        let origin = line.far.within(|| Origin::start_at(Line::FAR))?;
        let target = origin.address();
        let socks = |ends: BothEnds| (Reach::Socks5(ends.entry), Some([ends.near, ends.far]));
        let (reach, programs) = match self {
            Self::Tcp(_) => (Reach::Plain(target), None),
            Self::Byway {
                program, carrier, ..
            } => socks(byway(env, line, program, carrier).await?),
            Self::Ssh => socks(ssh::socks(env, line).await?),
            Self::Shadowsocks => socks(shadowsocks::socks(env, line)?),
            Self::Hysteria => socks(hysteria::socks(env, line)?),
            Self::Frp(transport) => {
                let BothEnds { near, far, entry } = frp::across(env, line, target, *transport)?;
                (Reach::Plain(entry), Some([near, far]))
            }
        };
        let counts_all = !matches!(self, Self::Ssh);
        let mut crossing = Crossing {
            reach,
            target,
            programs,
            counts_all,
            _origin: origin,
        };
        crossing.until_open().await.with_context(|| self.name())?;
        Ok(crossing)
    }
}

fn missing_control(name: &str) -> Option<String> {
    let known = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control")
        .unwrap_or_default();
    (!known.split_whitespace().any(|known| known == name))
        .then(|| format!("this kernel does not have {name}"))
}

async fn byway(
    env: &RunEnvironment,
    line: &Line,
    program: &Path,
    carrier: &str,
) -> Result<BothEnds> {
    let (link, entry) = (
        Line::far_address(line.far.within(free_address)?.port()),
        free_address()?,
    );
    let folder = |end: &str| {
        env.dir()
            .join(format!("{end}-{}", link.port()))
            .display()
            .to_string()
    };
    let (exit_state, desk_state) = (folder("exit"), folder("desk"));
    let allowed = format!("{}/32", Line::FAR);
    let start = |end: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).args(["--log-level", "warn"]);
        Process::spawn_unpinned(command, &format!("{end}-{}", link.port()), env.dir())
    };
    let (link, entry_text) = (link.to_string(), entry.to_string());
    let serve = [
        "proxy",
        "serve",
        "--listen",
        &link,
        "--allow",
        &allowed,
        "--state",
        &exit_state,
    ];
    let mut far = line.far.within(|| start("exit", &serve))?;
    until_ready(&mut far).await.context("the exit")?;
    let join = join_file(Path::new(&exit_state), "exit")
        .display()
        .to_string();
    let joins = [
        "proxy",
        "join",
        "--listen",
        &entry_text,
        "--join-file",
        &join,
        "--carrier",
        carrier,
    ];
    let mut near = start("desk", &[&joins[..], &["--state", &desk_state]].concat())?;
    until_ready(&mut near).await.context("the desk")?;
    Ok(BothEnds { near, far, entry })
}

async fn until_ready(process: &mut Process) -> Result<()> {
    process
        .until(async |process| process.log().contains("ready: ").then_some(()))
        .await
}

/// A working way across the path. Dropping it kills its programs.
pub(super) struct Crossing {
    /// How the origin is reached.
    pub(super) reach: Reach,
    /// The origin.
    pub(super) target: SocketAddr,
    programs: Option<[Process; 2]>,
    /// Whether the two programs do all of the work themselves.
    counts_all: bool,
    _origin: Origin,
}

impl Crossing {
    async fn until_open(&mut self) -> Result<()> {
        const PATIENCE: Duration = Duration::from_secs(20);
        let deadline = Instant::now() + PATIENCE;
        while self.reach.answers(self.target).await.is_none() {
            for program in self.programs.iter_mut().flatten() {
                if let Some(ended) = program.ended()? {
                    anyhow::bail!("{ended}");
                }
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "no connection gets through within {PATIENCE:?}"
            );
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// CPU seconds of both ends so far; `None` if other processes work for them.
    pub(super) fn cpu_seconds(&self) -> Result<Option<f64>> {
        let Some(programs) = self.programs.as_ref().filter(|_| self.counts_all) else {
            return Ok(None);
        };
        let [near, far] = programs.each_ref().map(|program| cpu_time(program.pid()));
        Ok(Some((near?.total() + far?.total()).as_secs_f64()))
    }

    /// Stops its programs, and waits for their end.
    pub(super) async fn stop(self) -> Result<()> {
        for program in self.programs.into_iter().flatten() {
            program.stop().await?;
        }
        Ok(())
    }
}
