//! Haproxy: with one thread, connections to the origin always reused, and optionally an access log.
//!
//! In:    which fields it adds, how it moves bodies, whether it logs.
//! Out:   a running haproxy.
//! Never: runs as a daemon.

use std::net::SocketAddr;

use anyhow::Result;

use super::front::{Back, Bodies, Edge, Front};
use super::{Fields, Logs, Program, Running, accepting, command, free_address, start, write};
use crate::access_log::AccessLog;
use crate::environment::RunEnvironment;
use crate::process::Process;

/// Starts haproxy as a reverse proxy of the origin.
pub(crate) async fn serve(env: &RunEnvironment, edge: Edge) -> Result<Running> {
    let address = free_address()?;
    let access_log = (edge.logs == Logs::On)
        .then(|| AccessLog::new(env.dir(), &format!("haproxy-{}", address.port())));
    run(env, address, &config(address, &edge), access_log).await
}

/// Starts haproxy as a TCP forward with splicing.
pub(crate) async fn forward(env: &RunEnvironment) -> Result<Running> {
    let address = free_address()?;
    let origin = env.origin();
    let config = format!(
        "global
    nbthread 1
    maxconn 4096
    maxpipes 1024
    # The pipe size that byway uses too; the kernel's default of 64 KiB needs more calls.
    tune.pipesize 1048576
defaults
    mode tcp
    timeout connect 5s
    timeout client 600s
    timeout server 600s
    option splice-auto
frontend visitors
    bind {address} backlog 4096
    default_backend origin
backend origin
    server origin {origin}
"
    );
    run(env, address, &config, None).await
}

/// Its standard output is the access log.
async fn run(
    env: &RunEnvironment,
    address: SocketAddr,
    config: &str,
    access_log: Option<AccessLog>,
) -> Result<Running> {
    let log = format!("haproxy-{}", address.port());
    let file = write(&env.dir().join(format!("{log}.cfg")), config)?;
    let mut command = command(Program::Haproxy)?;
    // Not `-q`, which would discard the standard output, and with it the log.
    command.args(["-db", "-f", &file]);
    match access_log {
        None => start(env, &log, command, address).await,
        Some(access_log) => {
            command.stdout(access_log.create()?);
            let process = Process::spawn_as_it_is(command, &log, env.cores, env.dir())?;
            accepting(process, &log, address, Some(access_log)).await
        }
    }
}

/// Access lines go to a file by the standard output, which was the cheapest of its ways to log when
/// they were compared: a request cost 1.2 us more than without a log; through a ring in memory and
/// a TCP connection 2 us; to a datagram socket, as with a syslog daemon, 6 us.
fn config(address: SocketAddr, edge: &Edge) -> String {
    let (tune, splice) = match edge.bodies {
        Bodies::Small => ("", ""),
        Bodies::Buffered => ("tune.bufsize 65536", ""),
        // Each spliced stream needs a pipe: two descriptors, which count against the limit.
        Bodies::Spliced => (
            "maxpipes 1024\n    tune.pipesize 262144",
            "option splice-response\n    option splice-request",
        ),
    };
    let more = match edge.fields {
        Fields::Least => String::new(),
        Fields::AsByway => format!(
            "http-request set-header X-Forwarded-Proto {}
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    http-request set-header X-Real-IP %[src]
    http-request set-header X-Request-Id %[uuid()]
    http-request add-header Via \"1.1 haproxy\"
    http-response add-header Via \"1.1 haproxy\"",
            edge.front.scheme()
        ),
    };
    // Two tickets a handshake are the default of OpenSSL.
    let how = match &edge.front {
        Front::Plain => String::new(),
        Front::H2c => "proto h2".to_owned(),
        Front::Tls(files) | Front::Quic(files) => format!(
            "ssl crt {} alpn h2,http/1.1 ssl-min-ver TLSv1.3",
            files.both.display()
        ),
    };
    let (origin, back) = match edge.back {
        Back::Http1 => (edge.origin, ""),
        Back::Grpc => (edge.origin, "proto h2"),
    };
    let logged = match edge.logs {
        Logs::Off => "",
        Logs::On => "log stdout format raw local0 info\n    option httplog clf",
    };
    format!(
        "global
    nbthread 1
    # Ten thousand clients, and some more. They need few connections to the origin, so the descriptors suffice; haproxy
    # would require two for each client.
    maxconn 12000
    no strict-limits
    {tune}
defaults
    mode http
    timeout connect 5s
    timeout client 600s
    timeout server 60s
    timeout http-request 30s
    timeout http-keep-alive 600s
    timeout tunnel 600s
    {splice}
frontend visitors
    bind {address} backlog 4096 {how}
    {logged}
    default_backend origin
backend origin
    http-reuse always
    option forwardfor
    {more}
    server origin {origin} {back}
"
    )
}
