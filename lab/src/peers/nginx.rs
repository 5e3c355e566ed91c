//! Nginx: one process, upstream keep-alive, buffers of 64 KiB that are never written to disk, and
//! optionally an access log.
//!
//! In:    which fields it adds, whether it logs.
//! Out:   a running nginx.
//! Never: reads the machine's own nginx.conf.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;

use super::{Fields, Logs, Program, Running, command, free_address, start, write};
use crate::access_log::AccessLog;
use crate::environment::RunEnvironment;
use crate::machine::descriptors;

/// Starts nginx as a reverse proxy of the origin.
pub(crate) async fn serve(env: &RunEnvironment, fields: Fields, logs: Logs) -> Result<Running> {
    let address = free_address()?;
    let access_log =
        (logs == Logs::On).then(|| AccessLog::new(env.dir(), &format!("nginx-{}", address.port())));
    let http = http(
        address,
        env.origin(),
        fields,
        access_log.as_ref(),
        env.dir(),
    );
    let running = run(env, address, "", &http).await?;
    Ok(Running {
        access_log,
        ..running
    })
}

/// Starts nginx as a TCP forward. Debian packages that part as a separate module.
pub(crate) async fn forward(env: &RunEnvironment) -> Result<Running> {
    const MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";
    let address = free_address()?;
    let load = if Path::new(MODULE).is_file() {
        format!("load_module {MODULE};")
    } else {
        String::new()
    };
    let stream = format!(
        "stream {{
    server {{
        listen {address} backlog=4096;
        proxy_pass {};
        proxy_buffer_size 64k;
        tcp_nodelay on;
    }}
}}",
        env.origin()
    );
    run(env, address, &load, &stream).await
}

/// A single process (`master_process off`) does the same work per request as a worker, and has only
/// one process id to measure.
async fn run(
    env: &RunEnvironment,
    address: SocketAddr,
    modules: &str,
    blocks: &str,
) -> Result<Running> {
    let (port, dir, most) = (address.port(), env.dir().display(), descriptors());
    let config = format!(
        "{modules}
daemon off;
master_process off;
worker_processes 1;
worker_rlimit_nofile {most};
pid {dir}/nginx-{port}.pid;
error_log stderr crit;
events {{
    use epoll;
    worker_connections 16384;
    multi_accept on;
    accept_mutex off;
}}
{blocks}
"
    );
    let log = format!("nginx-{port}");
    let file = write(&env.dir().join(format!("{log}.conf")), &config)?;
    let mut command = command(Program::Nginx)?;
    command.args(["-c", &file, "-p"]).arg(env.dir());
    start(env, &log, command, address).await
}

/// Lines are collected in a buffer of 1 MiB and written at once: the cheapest way of nginx to log,
/// which busy sites use too.
fn http(
    address: SocketAddr,
    origin: SocketAddr,
    fields: Fields,
    access_log: Option<&AccessLog>,
    dir: &Path,
) -> String {
    let log = match access_log {
        Some(log) => format!("{} combined buffer=1m flush=1s", log.path().display()),
        None => "off".to_owned(),
    };
    let (port, dir) = (address.port(), dir.display());
    let more = match fields {
        Fields::Least => "",
        Fields::AsByway => {
            "proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header X-Request-Id $request_id;
            proxy_set_header Via \"1.1 nginx\";
            add_header Via \"1.1 nginx\";"
        }
    };
    format!(
        r#"http {{
    access_log {log};
    client_body_temp_path {dir}/nginx-{port}-body;
    proxy_temp_path {dir}/nginx-{port}-proxy;
    tcp_nodelay on;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    client_header_timeout 30s;
    upstream origin {{
        server {origin};
        keepalive 512;
        keepalive_requests 1000000000;
        keepalive_timeout 60s;
    }}
    server {{
        listen {address} backlog=4096;
        location / {{
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_buffers 16 64k;
            proxy_busy_buffers_size 128k;
            proxy_max_temp_file_size 0;
            # Bodies are forwarded as they arrive, as with the others; this is also a little cheaper for nginx.
            proxy_request_buffering off;
            client_body_buffer_size 128k;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            {more}
        }}
        location /ws {{
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_read_timeout 600s;
            proxy_send_timeout 600s;
        }}
    }}
}}"#
    )
}
