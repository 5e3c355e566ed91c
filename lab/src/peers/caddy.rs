//! Caddy: with one thread of Go code, kept connections to the origin, and optionally an access log
//! in its own format, JSON.
//!
//! In:    whether it logs.
//! Out:   a running caddy.
//! Never: reads the machine's own Caddyfile, or opens its admin port.

use std::net::SocketAddr;

use anyhow::Result;

use super::front::{Back, Edge, Front};
use super::{Logs, Program, Running, command, free_address, start, write};
use crate::access_log::AccessLog;
use crate::environment::RunEnvironment;

/// Starts caddy as a reverse proxy of the origin. It always adds X-Forwarded-For, -Proto and -Host.
pub(crate) async fn serve(env: &RunEnvironment, edge: Edge) -> Result<Running> {
    let address = free_address()?;
    let log = format!("caddy-{}", address.port());
    let access_log = (edge.logs == Logs::On).then(|| AccessLog::new(env.dir(), &log));
    let config = config(address, &edge, access_log.as_ref());
    let file = write(&env.dir().join(format!("{log}.caddyfile")), &config)?;
    let mut command = command(Program::Caddy)?;
    command.args(["run", "--adapter", "caddyfile", "--config", &file]);
    // One worker, like the other programs: the default of Go is the number of cores of the machine.
    command.env("GOMAXPROCS", "1");
    // What it keeps between runs is removed with the scratch folder.
    command
        .env("XDG_DATA_HOME", env.dir())
        .env("XDG_CONFIG_HOME", env.dir())
        .env("HOME", env.dir());
    let running = start(env, &log, command, address).await?;
    Ok(Running {
        access_log,
        ..running
    })
}

fn config(address: SocketAddr, edge: &Edge, access_log: Option<&AccessLog>) -> String {
    let log = match access_log {
        Some(log) => {
            format!(
                "log {{\n        output file {} {{\n            roll_disabled\n        }}\n    }}",
                log.path().display()
            )
        }
        None => String::new(),
    };
    let (origin, port) = (edge.origin, address.port());
    let (versions, site, tls) = match &edge.front {
        Front::Plain => ("h1", format!("http://:{port}"), String::new()),
        Front::H2c => ("h1 h2c", format!("http://:{port}"), String::new()),
        // A host name in the address would leave requests for that name without a log line.
        Front::Tls(files) | Front::Quic(files) => (
            if let Front::Quic(_) = edge.front {
                "h1 h2 h3"
            } else {
                "h1 h2"
            },
            format!("https://:{port}"),
            format!(
                "tls {} {} {{\n        protocols tls1.3\n    }}",
                files.certificate.display(),
                files.key.display()
            ),
        ),
    };
    let (to, upstream) = match edge.back {
        Back::Http1 => (format!("{origin}"), "1.1"),
        Back::Grpc => (format!("h2c://{origin}"), "h2c 2"),
    };
    format!(
        "{{
    admin off
    auto_https off
    log {{
        level ERROR
    }}
    servers {{
        protocols {versions}
        timeouts {{
            read_header 30s
            idle 10m
        }}
    }}
}}
{site} {{
    bind {ip}
    {tls}
    {log}
    reverse_proxy {to} {{
        transport http {{
            versions {upstream}
            keepalive 60s
            keepalive_idle_conns 512
            keepalive_idle_conns_per_host 512
            # Accept-Encoding of the client goes to the origin unchanged, as with the others.
            compression off
            read_buffer 64KiB
            write_buffer 64KiB
        }}
    }}
}}
",
        ip = address.ip(),
    )
}
