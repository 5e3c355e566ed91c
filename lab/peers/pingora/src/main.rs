//! lab-pingora: the smallest reverse proxy with Pingora: one thread, one upstream, X-Forwarded-For.
//!
//! In:    `lab-pingora LISTEN ORIGIN [steal]`, both addresses `IP:PORT`.
//! Out:   a proxy with a pool of 512 connections to the origin, no log.
//! Never: does more than Pingora does for every user.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use async_trait::async_trait;
use pingora::prelude::*;
use pingora::server::configuration::ServerConf;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct ToOrigin {
    peer: HttpPeer,
}

#[async_trait]
impl ProxyHttp for ToOrigin {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut Self::CTX) -> Result<Box<HttpPeer>> {
        Ok(Box::new(self.peer.clone()))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        upstream: &mut RequestHeader,
        _: &mut Self::CTX,
    ) -> Result<()> {
        if let Some(client) = session.client_addr().and_then(|address| address.as_inet()) {
            upstream.insert_header("X-Forwarded-For", client.ip().to_string())?;
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (Some(listen), Some(Ok(origin))) = (
        arguments.first(),
        arguments.get(1).map(|text| text.parse::<SocketAddr>()),
    ) else {
        eprintln!("usage: lab-pingora LISTEN ORIGIN [steal]");
        return ExitCode::from(2);
    };
    let conf = ServerConf {
        threads: 1,
        // With one thread there is nothing to steal; the runtime without work stealing is cheaper.
        work_stealing: arguments.get(2).is_some_and(|word| word == "steal"),
        upstream_keepalive_pool_size: 512,
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut peer = HttpPeer::new(origin, false, String::new());
    peer.options.idle_timeout = Some(Duration::from_secs(60));
    peer.options.connection_timeout = Some(Duration::from_secs(5));
    let mut proxy = http_proxy_service(&server.configuration, ToOrigin { peer });
    proxy.add_tcp(listen);
    server.add_service(proxy);
    server.run_forever()
}
