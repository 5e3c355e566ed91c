//! Byway: the subject, as `byway run` with one worker, or as any of its verbs.
//!
//! In:    the environment of the run.
//! Out:   a running byway and the addresses of its listeners, as its ready line lists them.
//! Never: uses an option that a user could not use.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::access_log::AccessLog;
use crate::environment::RunEnvironment;
use crate::peers::front::{Back, CertificateFiles, Edge};
use crate::peers::{Logs, free_address};
use crate::process::Process;

/// One byway that is an edge, an egress and a TCP forward at once, all leading to the origin.
pub(crate) struct Byway {
    /// The program.
    pub(crate) process: Process,
    /// The edge.
    pub(crate) edge: SocketAddr,
    /// The egress.
    pub(crate) proxy: SocketAddr,
    /// The TCP forward.
    pub(crate) tcp: SocketAddr,
    /// The edge over TLS, for HTTP/1.1 and HTTP/2; `None` without a certificate, or if this byway
    /// has no TLS.
    pub(crate) https: Option<SocketAddr>,
    /// Whether it has HTTP/3 on the UDP port of `https`.
    pub(crate) http3: bool,
    /// Its access log, if it has one.
    pub(crate) access_log: Option<AccessLog>,
}

impl Byway {
    /// Starts `program` from a config file, and waits for its ready line. `name` names its files.
    /// An older byway that has no access log starts without one.
    pub(crate) async fn start(
        env: &RunEnvironment,
        program: &Path,
        name: &str,
        logs: Logs,
        edge: Option<&Edge>,
    ) -> Result<Self> {
        let file = env.dir().join(format!("{name}.toml"));
        let log = AccessLog::new(env.dir(), name);
        let access_log = (logs == Logs::On && can_log(program)).then_some(log);
        let listen = [free_address()?, free_address()?, free_address()?];
        let mut text = config(listen, env.origin());
        let mut https = None;
        let certificate = edge.and_then(|edge| Some((edge, edge.front.certificate()?)));
        let can = |edge: &Edge| match edge.back {
            Back::Http1 => has_tls(program),
            Back::Grpc => has_tls(program) && schema(program).contains("\"h2\""),
        };
        if let Some((edge, files)) = certificate.filter(|(edge, _)| can(edge)) {
            let listen = free_address()?;
            text += &secure_edge(listen, edge, files);
            https = Some(listen);
        }
        fs::write(&file, text).context("writing its config")?;
        let file = file.display().to_string();
        let mut arguments = vec!["run", "-c", &file];
        let log = access_log
            .as_ref()
            .map(|log| log.path().display().to_string())
            .unwrap_or_default();
        if access_log.is_some() {
            arguments.extend(["--access-log", &log, "--access-log-format", "combined"]);
        }
        let (process, ready) = start(env, program, name, &arguments).await?;
        let address = |role| {
            listener(&ready, role).with_context(|| format!("no {role} in the ready line {ready:?}"))
        };
        let (edge, proxy, tcp) = (address("edge")?, address("proxy")?, address("tcp")?);
        Ok(Self {
            process,
            edge,
            proxy,
            tcp,
            https,
            http3: https.is_some() && schema(program).contains("\"http3\""),
            access_log,
        })
    }
}

/// Whether this byway has the option.
fn can_log(program: &Path) -> bool {
    let help = Command::new(program).args(["run", "--help"]).output();
    help.is_ok_and(|help| String::from_utf8_lossy(&help.stdout).contains("--access-log "))
}

/// Whether this byway has listeners with certificates.
fn has_tls(program: &Path) -> bool {
    schema(program).contains("\"https\"")
}

/// The schema of its config; empty if it has none.
fn schema(program: &Path) -> String {
    let output = Command::new(program).arg("schema").output();
    let bytes = output.map(|output| output.stdout);
    String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
}

/// Starts `byway` with these arguments and waits for its ready line, which is returned. `log` names
/// its log file.
pub(crate) async fn start_verb(
    env: &RunEnvironment,
    log: &str,
    arguments: &[&str],
) -> Result<(Process, String)> {
    start(env, &env.byway, log, arguments).await
}

async fn start(
    env: &RunEnvironment,
    program: &Path,
    log: &str,
    arguments: &[&str],
) -> Result<(Process, String)> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .arg("--state")
        .arg(env.dir().join(format!("state of {log}")));
    let mut process = Process::spawn(command, log, env.cores, env.dir())?;
    let ready = process
        .until(async |process| ready_line(&process.log()))
        .await;
    ready
        .with_context(|| format!("byway {}", arguments.join(" ")))
        .map(|ready| (process, ready))
}

/// The file in which a ready node keeps its join string for this purpose, `serve` or `exit`.
/// Earlier versions have one file for both.
pub(crate) fn join_file(state: &Path, purpose: &str) -> PathBuf {
    let file = state.join(format!("join-{purpose}"));
    if file.exists() {
        file
    } else {
        state.join("join")
    }
}

fn ready_line(log: &str) -> Option<String> {
    // A line without a line end may be incomplete.
    let whole = log.rsplit_once('\n')?.0;
    whole
        .lines()
        .find(|line| line.starts_with("ready"))
        .map(str::to_owned)
}

/// The address of the first listener of a role:
/// `ready: edge on 127.0.0.1:1, proxy NAME on 127.0.0.1:2`.
fn listener(ready: &str, role: &str) -> Option<SocketAddr> {
    let listeners = ready.strip_prefix("ready:")?;
    let of_role = listeners
        .split(", ")
        .map(str::trim)
        .find(|text| text.split(' ').next() == Some(role))?;
    of_role.rsplit(' ').next()?.parse().ok()
}

/// Each listener has its own port: byway distinguishes listeners by the address in the config.
fn config([edge, proxy, tcp]: [SocketAddr; 3], origin: SocketAddr) -> String {
    format!(
        r#"workers = 1

[drain]
deadline = "0s"

[limits]
connections = 20000
connections_per_peer = 20000
requests_per_connection = 1000000000
keep_alive = "10m"

[pool]
max_total = 4096
max_per_origin = 2048
idle_timeout = "60s"

[[edge]]
listen = "{edge}"
[[edge.route]]
to = "{origin}"

[[proxy]]
listen = "{proxy}"
[[proxy.rule]]
action = "allow"
cidr = ["127.0.0.0/8"]

[[tcp]]
listen = "{tcp}"
to = "{origin}"
"#
    )
}

/// An edge for HTTPS. TLS has its defaults; the generator offers one cipher and one group.
fn secure_edge(listen: SocketAddr, edge: &Edge, files: &CertificateFiles) -> String {
    let back = match edge.back {
        Back::Http1 => "",
        Back::Grpc => "h2 = true",
    };
    format!(
        r#"
[[certificate]]
cert = "{}"
key = "{}"

[[edge]]
https = "{listen}"
[[edge.route]]
to = "{}"
{back}
"#,
        files.certificate.display(),
        files.key.display(),
        edge.origin
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_found_in_the_ready_line_with_and_without_names() {
        let ready = "ready: edge on 127.0.0.1:1, proxy office on 127.0.0.1:2, tcp on 127.0.0.1:3";
        assert_eq!(listener(ready, "edge").unwrap().port(), 1);
        assert_eq!(listener(ready, "proxy").unwrap().port(), 2);
        assert_eq!(listener(ready, "tcp").unwrap().port(), 3);
        assert_eq!(listener(ready, "udp"), None);
    }

    #[test]
    fn the_join_file_of_the_purpose_is_preferred_to_that_of_an_earlier_version() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(join_file(state.path(), "exit"), state.path().join("join"));
        fs::write(state.path().join("join-exit"), "").unwrap();
        assert_eq!(
            join_file(state.path(), "exit"),
            state.path().join("join-exit")
        );
        assert_eq!(join_file(state.path(), "serve"), state.path().join("join"));
    }

    #[test]
    fn half_a_ready_line_is_not_read() {
        assert_eq!(ready_line("warning\nready: edge on 127.0.0.1:8"), None);
        assert_eq!(
            ready_line("warning\nready: edge on 127.0.0.1:80\n").unwrap(),
            "ready: edge on 127.0.0.1:80"
        );
    }
}
