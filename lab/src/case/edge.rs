//! Edge: plain HTTP/1.1 with keep-alive to the origin: the work of one CPU-second of each reverse
//! proxy.
//!
//! In:    the environment and the question.
//! Out:   work per CPU-second, latency at equal offered load, memory and system calls of each
//!        reverse proxy.
//! Never: counts a wrong response.

use anyhow::Result;

use super::phases::{self, Load};
use super::proxy_rows::{OURS, ProxyRow};
use super::roles::{Roles, Subject};
use super::rounds::{interleave, under_load};
use super::tables::{self, Unit};
use crate::environment::RunEnvironment;
use crate::load::keepalive::Keepalive;
use crate::load::reach::Reach;
use crate::load::request::Request;
use crate::load::traffic::Traffic;
use crate::peers::Logs;
use crate::peers::front::Edge;
use crate::report::Section;

/// Which question to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EdgeKind {
    /// 1 KiB, every proxy writes an access log.
    Small,
    /// 1 KiB, only byway writes an access log.
    OurLog,
    /// 64 KiB.
    Medium,
    /// 1 MiB.
    Large,
    /// 64 KiB to the origin, by POST.
    Post,
    /// 1 KiB, each on a new connection.
    Alone,
}

/// A question with all its parameters.
struct Question {
    title: &'static str,
    asks: &'static str,
    unit: Unit,
    connections: usize,
    request: Request,
    /// The work of one response, in the unit.
    piece: f64,
    proxies: Vec<ProxyRow>,
    logs_of_peers: Logs,
}

/// Measures the question.
pub(crate) async fn run(env: &RunEnvironment, kind: EdgeKind) -> Result<Section> {
    let question = question(env, kind);
    let mut roles = Roles::begin(env, Logs::On, |byway| {
        vec![(OURS, Reach::Plain(byway.edge))]
    })
    .await?;
    match kind {
        // A TCP forward would dial for each request, which is more work than any proxy does, so it
        // is no floor.
        EdgeKind::Alone => roles.ceiling(env),
        _ => roles.bound(env),
    }
    let edge = Edge::plain(env.origin(), question.logs_of_peers);
    for proxy in &question.proxies {
        proxy.enter(&mut roles, env, &edge).await;
    }
    let traffic = Traffic::Http1(Keepalive {
        origin: env.origin(),
        connections: question.connections,
        request: question.request.clone(),
        tls: None,
        window: env.window,
    });
    let load = Load {
        traffic,
        piece: question.piece,
    };
    let turn = async |subject: &Subject| under_load(env, load.piece, &load.traffic, subject).await;
    let mut rows = interleave(env, &roles.subjects, turn).await;
    phases::memory_now(&mut rows);
    phases::syscalls(env, &load, &mut rows).await;
    let offered = phases::latency(env, &load, &mut rows).await;
    let mut section = Section::new(question.title, question.asks);
    tables::fill(
        &mut section,
        question.unit,
        env,
        &rows,
        &roles,
        offered.as_ref(),
    );
    tables::logs(&mut section, &rows);
    section.note(
        "Byway always adds X-Forwarded-For, -Proto, -Host, X-Real-IP, X-Request-Id and Via. Caddy adds the first three, \
         the others only X-Forwarded-For, unless the row says `same fields`.",
    );
    roles.end().await?;
    Ok(section)
}

fn question(env: &RunEnvironment, kind: EdgeKind) -> Question {
    let origin = env.origin();
    let small = Question {
        title: "Edge, 1 KiB, access logs on",
        asks: "How many keep-alive GETs of 1 KiB does one CPU-second of the reverse proxy carry, at 64 connections, while \
               every program that has an access log writes it?",
        unit: Unit::Requests,
        connections: 64,
        request: Request::get(1024, origin),
        piece: 1.0,
        proxies: ProxyRow::EACH
            .into_iter()
            .chain([ProxyRow::NginxAsByway, ProxyRow::HaproxyAsByway])
            .collect(),
        logs_of_peers: Logs::On,
    };
    let bodies = |haproxy: ProxyRow| {
        vec![
            ProxyRow::Nginx,
            haproxy,
            ProxyRow::HaproxySpliced,
            ProxyRow::Caddy,
            ProxyRow::Pingora,
        ]
    };
    match kind {
        EdgeKind::Small => small,
        EdgeKind::OurLog => Question {
            title: "Edge, 1 KiB, only Byway logs",
            asks: "How many keep-alive GETs of 1 KiB does one CPU-second of the reverse proxy carry, at 64 connections, \
                   while Byway alone writes an access log?",
            proxies: ProxyRow::EACH.to_vec(),
            logs_of_peers: Logs::Off,
            ..small
        },
        EdgeKind::Medium => Question {
            title: "Edge, 64 KiB",
            asks: "How many keep-alive GETs of 64 KiB does one CPU-second of the reverse proxy carry, at 32 connections?",
            connections: 32,
            request: Request::get(64 << 10, origin),
            proxies: bodies(ProxyRow::Haproxy),
            ..small
        },
        EdgeKind::Large => Question {
            title: "Edge, 1 MiB",
            asks: "How many GB of 1 MiB responses does one CPU-second of the reverse proxy carry, at 16 connections?",
            unit: Unit::Bytes,
            connections: 16,
            request: Request::get(1 << 20, origin),
            piece: 1_048_576.0,
            proxies: bodies(ProxyRow::HaproxyBuffered),
            ..small
        },
        EdgeKind::Post => Question {
            title: "Edge, POST of 64 KiB",
            asks: "How many keep-alive POSTs of 64 KiB does one CPU-second of the reverse proxy carry, at 32 connections?",
            connections: 32,
            request: Request::post(64 << 10, origin),
            proxies: bodies(ProxyRow::Haproxy),
            ..small
        },
        EdgeKind::Alone => Question {
            title: "Edge, a connection a request",
            asks: "How many GETs of 1 KiB, each on a connection of its own, does one CPU-second of the reverse proxy carry, \
                   64 at a time, with kept connections to the origin?",
            request: Request::get_alone(1024, origin),
            proxies: ProxyRow::EACH.to_vec(),
            ..small
        },
    }
}
