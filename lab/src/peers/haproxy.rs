//! Haproxy: one thread, connections to the origin always reused, no log.
//!
//! In:    which fields it adds, and how it moves bodies.   Out: a running haproxy.   Never: runs as a daemon.

use std::net::SocketAddr;

use anyhow::Result;

use super::{Fields, Program, Running, command, free_address, start, write};
use crate::setting::Setting;

/// How bodies are moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bodies {
    /// Through its usual buffers of 16 KiB: the best for small bodies.
    Small,
    /// Through buffers of 64 KiB.
    Buffered,
    /// By splice(2) through pipes: its best for large ones.
    Spliced,
}

/// Starts haproxy as a reverse proxy of the origin.
pub(crate) async fn serve(setting: &Setting, fields: Fields, bodies: Bodies) -> Result<Running> {
    let address = free_address()?;
    let log = format!("haproxy-{}", address.port());
    let config = config(address, setting.origin(), fields, bodies);
    let file = write(&setting.dir().join(format!("{log}.cfg")), &config)?;
    let mut command = command(Program::Haproxy)?;
    command.args(["-db", "-q", "-f", &file]);
    start(setting, &log, command, address).await
}

fn config(address: SocketAddr, origin: SocketAddr, fields: Fields, bodies: Bodies) -> String {
    let (tune, splice) = match bodies {
        Bodies::Small => ("", ""),
        Bodies::Buffered => ("tune.bufsize 65536", ""),
        // Each spliced stream needs a pipe, that is two descriptors and some room below the limit.
        Bodies::Spliced => ("maxpipes 1024\n    tune.pipesize 262144", "option splice-response"),
    };
    let more = match fields {
        Fields::Least => "",
        Fields::AsByway => {
            "http-request set-header X-Forwarded-Proto http
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    http-request set-header X-Real-IP %[src]
    http-request set-header X-Request-Id %[uuid()]
    http-request add-header Via \"1.1 haproxy\"
    http-response add-header Via \"1.1 haproxy\""
        }
    };
    format!(
        "global
    nbthread 1
    maxconn 8192
    {tune}
defaults
    mode http
    timeout connect 5s
    timeout client 600s
    timeout server 60s
    timeout http-keep-alive 600s
    {splice}
frontend visitors
    bind {address} backlog 4096
    default_backend origin
backend origin
    http-reuse always
    option forwardfor
    {more}
    server origin {origin}
"
    )
}
