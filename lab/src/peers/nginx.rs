//! Nginx: one process, upstream keep-alive, buffers of 64 KiB that are never written to disk, and
//! optionally an access log.
//!
//! In:    which fields it adds, whether it logs.
//! Out:   a running nginx.
//! Never: reads the machine's own nginx.conf.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::front::{Back, Edge, Front};
use super::{Fields, Logs, Program, Running, command, free_address, start, write};
use crate::access_log::AccessLog;
use crate::environment::RunEnvironment;
use crate::machine::descriptors;

/// Starts nginx as a reverse proxy of the origin: the installed one, or this program.
pub(crate) async fn serve(
    env: &RunEnvironment,
    edge: Edge,
    program: Option<&Path>,
) -> Result<Running> {
    let address = free_address()?;
    let access_log = (edge.logs == Logs::On)
        .then(|| AccessLog::new(env.dir(), &format!("nginx-{}", address.port())));
    let http = http(address, &edge, access_log.as_ref(), env.dir());
    let command = program.map_or_else(|| command(Program::Nginx), |path| Ok(Command::new(path)))?;
    let running = run(env, command, address, "", &http).await?;
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
    run(env, command(Program::Nginx)?, address, &load, &stream).await
}

/// A single process (`master_process off`) does the same work per request as a worker, and has only
/// one process id to measure.
async fn run(
    env: &RunEnvironment,
    mut command: Command,
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
    command.args(["-c", &file, "-p"]).arg(env.dir());
    start(env, &log, command, address).await
}

/// Lines are collected in a buffer of 1 MiB and written at once: the cheapest way of nginx to log,
/// which busy sites use too.
fn http(address: SocketAddr, edge: &Edge, access_log: Option<&AccessLog>, dir: &Path) -> String {
    let log = match access_log {
        Some(log) => format!("{} combined buffer=1m flush=1s", log.path().display()),
        None => "off".to_owned(),
    };
    let (port, dir) = (address.port(), dir.display());
    let (way, pass) = match edge.back {
        Back::Http1 => ("proxy", "http"),
        Back::Grpc => ("grpc", "grpc"),
    };
    let more = match edge.fields {
        Fields::Least => String::new(),
        Fields::AsByway => format!(
            "{way}_set_header X-Forwarded-Proto $scheme;
            {way}_set_header X-Forwarded-Host $http_host;
            {way}_set_header X-Real-IP $remote_addr;
            {way}_set_header X-Request-Id $request_id;
            {way}_set_header Via \"1.1 nginx\";
            add_header Via \"1.1 nginx\";"
        ),
    };
    let origin = edge.origin;
    // Bodies are forwarded as they arrive, as with the others; this is also a little cheaper for
    // nginx. Its gRPC has no such setting, and forwards them so.
    let buffers = match edge.back {
        Back::Http1 => {
            "proxy_http_version 1.1;
            proxy_buffers 16 64k;
            proxy_busy_buffers_size 128k;
            proxy_max_temp_file_size 0;
            proxy_request_buffering off;
            client_body_buffer_size 128k;
            proxy_set_header Connection \"\";"
        }
        Back::Grpc => "grpc_buffer_size 64k;",
    };
    let listen = listen(address, &edge.front);
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
        {listen}
        location / {{
            {way}_pass {pass}://origin;
            {buffers}
            {way}_set_header Host $http_host;
            {way}_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
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

/// The listener and its TLS. Two tickets a handshake are the default of OpenSSL, and frames of
/// 16 KiB fill the records, which are as large.
fn listen(address: SocketAddr, front: &Front) -> String {
    let how = match front {
        Front::Plain => "",
        Front::H2c => "http2",
        Front::Tls(_) | Front::Quic(_) => "ssl http2",
    };
    let mut lines = format!("listen {address} {how} backlog=4096;");
    if let Front::Quic(_) = front {
        lines += &format!("\n        listen {address} quic reuseport;\n        quic_gso on;");
    }
    if *front != Front::Plain {
        lines += "\n        http2_chunk_size 16k;";
    }
    if let Some(files) = front.certificate() {
        lines += &format!(
            "
        ssl_certificate {};
        ssl_certificate_key {};
        ssl_protocols TLSv1.3;",
            files.certificate.display(),
            files.key.display()
        );
    }
    lines
}
