//! Idle: the memory of connections over TLS that have carried one request and are now idle.
//!
//! Out:   resident memory of each program, without and with them.
//! Never: measures while bytes move.

use anyhow::Result;

use super::{HTTP1, HTTP2, begin, client};
use crate::case::idle::Table;
use crate::case::proxy_rows::ProxyRow;
use crate::case::roles::Roles;
use crate::environment::RunEnvironment;
use crate::load::http2::multiplexed::Multiplexed;
use crate::load::http2::{Expected, RequestBlock};
use crate::load::keepalive::Keepalive;
use crate::load::request::Request;
use crate::load::tls::{Groups, HOST};
use crate::load::traffic::Traffic;
use crate::machine;
use crate::peers::Logs;
use crate::peers::front::{Edge, Front};
use crate::report::{Section, grouped};

/// Connections to each program, if it may open the descriptors.
const CONNECTIONS: u64 = 10_000;
const BYTES: u64 = 1024;

/// HTTP/1.1 over TLS.
pub(crate) async fn tls(env: &RunEnvironment) -> Result<Section> {
    let traffic = Traffic::Http1(Keepalive {
        origin: env.origin(),
        connections: 1,
        request: Request::get_from(BYTES, HOST),
        tls: Some(client(env, Groups::Classical, HTTP1)?),
        window: env.window,
    });
    measure(env, "Idle connections, HTTP/1.1 over TLS", traffic).await
}

/// HTTP/2 over TLS.
pub(crate) async fn h2(env: &RunEnvironment) -> Result<Section> {
    let traffic = Traffic::Http2(Multiplexed {
        origin: env.origin(),
        connections: 1,
        streams: 1,
        request: RequestBlock::get(BYTES, HOST, true),
        expected: Expected {
            bytes: BYTES,
            trailers: false,
        },
        tls: Some(client(env, Groups::Classical, HTTP2)?),
        window: env.window,
    });
    measure(env, "Idle connections, HTTP/2 over TLS", traffic).await
}

async fn measure(env: &RunEnvironment, title: &str, traffic: Traffic) -> Result<Section> {
    const PROXIES: [ProxyRow; 4] = [
        ProxyRow::Nginx,
        ProxyRow::Haproxy,
        ProxyRow::Caddy,
        ProxyRow::Hyper,
    ];
    // Byway gives one address at most half of what it keeps for clients, which is about half of all.
    let count = CONNECTIONS.min(machine::descriptors() / 4) as usize;
    let asks = format!(
        "How much memory do {} connections over TLS cost a reverse proxy, each having carried one request of 1 KiB, \
         against none?",
        grouped(count as f64)
    );
    let mut table = Table::begin(title, &asks, count, traffic);
    let edge = Edge {
        front: Front::Tls(env.site()?.clone()),
        ..Edge::plain(env.origin(), Logs::On)
    };
    table.fill(begin(env, &edge).await?).await?;
    for proxy in PROXIES {
        let mut roles = Roles::default();
        proxy.enter(&mut roles, env, &edge).await;
        table.fill(roles).await?;
    }
    table.section.note(
        "Each program has served nothing else before. The kernel's memory for sockets is in none of these figures.",
    );
    Ok(table.end())
}
