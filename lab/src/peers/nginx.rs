//! Nginx: one process, upstream keep-alive, no log, buffers of 64 KiB that never touch the disk.
//!
//! In:    which fields it adds.   Out: a running nginx.   Never: reads the machine's own nginx.conf.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;

use super::{Fields, Program, Running, command, free_address, start, write};
use crate::setting::Setting;

/// Starts nginx as a reverse proxy of the origin.
pub(crate) async fn serve(setting: &Setting, fields: Fields) -> Result<Running> {
    let address = free_address()?;
    let log = format!("nginx-{}", address.port());
    let config = config(address, setting.origin(), fields, setting.dir());
    let file = write(&setting.dir().join(format!("{log}.conf")), &config)?;
    let mut command = command(Program::Nginx)?;
    command.args(["-c", &file, "-p"]).arg(setting.dir());
    start(setting, &log, command, address).await
}

/// A single process (`master_process off`) does the same work a request as a worker does, and has one id to watch.
fn config(address: SocketAddr, origin: SocketAddr, fields: Fields, dir: &Path) -> String {
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
        r#"daemon off;
master_process off;
worker_processes 1;
worker_rlimit_nofile 65536;
pid {dir}/nginx-{port}.pid;
error_log stderr crit;
events {{
    use epoll;
    worker_connections 16384;
    multi_accept on;
    accept_mutex off;
}}
http {{
    access_log off;
    client_body_temp_path {dir}/nginx-{port}-body;
    proxy_temp_path {dir}/nginx-{port}-proxy;
    tcp_nodelay on;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
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
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            {more}
        }}
    }}
}}
"#
    )
}
