//! Throughput: requests over HTTP/2 and over TLS: the work of one CPU-second of each reverse proxy,
//! with the bytes of its heads and its writes.
//!
//! In:    the environment and the question.
//! Out:   work per CPU-second, latency at equal offered load, memory and system calls of each
//!        reverse proxy.
//! Never: counts a wrong response.

use anyhow::Result;

use super::{HTTP1, HTTP2, HTTP3, begin, client};
use crate::case::phases::{self, Load};
use crate::case::proxy_rows::ProxyRow;
use crate::case::roles::Subject;
use crate::case::rounds::{interleave, under_load};
use crate::case::tables::{self, Unit};
use crate::environment::RunEnvironment;
use crate::grpc_origin::{GrpcOrigin, MESSAGE_BYTES, PREFIX_BYTES};
use crate::load::http2::multiplexed::Multiplexed;
use crate::load::http2::{Expected, RequestBlock};
use crate::load::http3::Http3;
use crate::load::keepalive::Keepalive;
use crate::load::request::Request;
use crate::load::tls::{Groups, HOST};
use crate::load::traffic::Traffic;
use crate::peers::Logs;
use crate::peers::front::{Back, Edge, Front};
use crate::peers::h2load::H2load;
use crate::report::Section;

/// Which question to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsKind {
    /// HTTP/2 over TLS, 1 KiB, 8 connections with 32 streams each.
    H2Small,
    /// The same without TLS.
    H2cSmall,
    /// HTTP/2 over TLS, 1 KiB, 64 connections with one stream each.
    H2Single,
    /// HTTP/2 over TLS, 64 KiB, 8 connections with 32 streams each.
    H2Medium,
    /// Unary gRPC over TLS to an HTTP/2 origin, 8 connections with 32 calls each.
    GrpcUnary,
    /// HTTP/3, 1 KiB, 8 connections with 32 streams each.
    H3Small,
    /// HTTP/3, 64 KiB, 8 connections with 16 streams each.
    H3Medium,
    /// HTTP/1.1 over TLS, 1 KiB, 64 connections.
    TlsSmall,
    /// HTTP/1.1 over TLS, 1 MiB, 16 connections.
    TlsLarge,
}

/// A question with all its parameters.
struct Question {
    title: &'static str,
    asks: &'static str,
    unit: Unit,
    load: Load,
    front: Front,
    back: Back,
    proxies: &'static [ProxyRow],
}

/// Measures the question.
pub(crate) async fn run(env: &RunEnvironment, kind: TlsKind) -> Result<Section> {
    let question = question(env, kind)?;
    // It ends with the question.
    let grpc = GrpcOrigin::start().await?;
    let origin = match question.back {
        Back::Http1 => env.origin(),
        Back::Grpc => grpc.address(),
    };
    let edge = Edge {
        front: question.front,
        back: question.back,
        ..Edge::plain(origin, Logs::On)
    };
    let mut roles = begin(env, &edge).await?;
    for proxy in question.proxies {
        proxy.enter(&mut roles, env, &edge).await;
    }
    let load = &question.load;
    let turn = async |subject: &Subject| under_load(env, load.piece, &load.traffic, subject).await;
    let mut rows = interleave(env, &roles.subjects, turn).await;
    phases::memory_now(&mut rows);
    phases::syscalls(env, load, &mut rows).await;
    let second = match (&load.traffic, question.back) {
        (Traffic::Http2(load), Back::Http1) => {
            let load = H2load {
                connections: load.connections,
                streams: load.streams,
                bytes: load.expected.bytes,
                secure: load.tls.is_some(),
            };
            phases::h2load(env, load, &mut rows).await
        }
        _ => Vec::new(),
    };
    let offered = phases::latency(env, load, &mut rows).await;
    let mut section = Section::new(question.title, question.asks);
    let offered = offered.as_ref();
    tables::fill(&mut section, question.unit, env, &rows, &roles, offered);
    tables::logs(&mut section, &rows);
    section.note(
        "Byway always adds X-Forwarded-For, -Proto, -Host, X-Real-IP, X-Request-Id and Via to requests, and Via to \
         responses; rows with `same fields` do too. Caddy adds the first three, the others only X-Forwarded-For.",
    );
    section.note(
        "Head bytes are those of a response as sent: text with HTTP/1.1, the encoded header block with HTTP/2. Writes \
         are TCP segments with data as the generator's kernel counts them: on loopback a write of up to 64 KiB is one. \
         A record of TLS or a frame that is written alone counts.",
    );
    second.into_iter().for_each(|note| section.note(note));
    roles.end().await?;
    Ok(section)
}

fn question(env: &RunEnvironment, kind: TlsKind) -> Result<Question> {
    const ALL: &[ProxyRow] = &[
        ProxyRow::Nginx,
        ProxyRow::NginxAsByway,
        ProxyRow::NginxGiven,
        ProxyRow::Haproxy,
        ProxyRow::HaproxyAsByway,
        ProxyRow::Caddy,
        ProxyRow::Hyper,
    ];
    const BODIES: &[ProxyRow] = &[
        ProxyRow::Nginx,
        ProxyRow::NginxGiven,
        ProxyRow::Haproxy,
        ProxyRow::HaproxyBuffered,
        ProxyRow::Caddy,
        ProxyRow::Hyper,
    ];
    const QUIC: &[ProxyRow] = &[ProxyRow::NginxGiven, ProxyRow::Caddy];
    const CALLS: &[ProxyRow] = &[
        ProxyRow::Nginx,
        ProxyRow::NginxGiven,
        ProxyRow::Haproxy,
        ProxyRow::HaproxyAsByway,
        ProxyRow::Caddy,
    ];
    let secure = Front::Tls(env.site()?.clone());
    let h1 = client(env, Groups::Classical, HTTP1)?;
    let h2 = client(env, Groups::Classical, HTTP2)?;
    let http1 = |connections, bytes, piece| Load {
        traffic: Traffic::Http1(Keepalive {
            origin: env.origin(),
            connections,
            request: Request::get_from(bytes, HOST),
            tls: Some(h1.clone()),
            window: env.window,
        }),
        piece,
    };
    let http2 = |connections, streams, bytes, tls: bool| Load {
        traffic: Traffic::Http2(Multiplexed {
            origin: env.origin(),
            connections,
            streams,
            request: RequestBlock::get(bytes, HOST, tls),
            expected: Expected {
                bytes,
                trailers: false,
            },
            tls: tls.then(|| h2.clone()),
            window: env.window,
        }),
        piece: 1.0,
    };
    let quic = client(env, Groups::Classical, HTTP3)?;
    let http3 = |streams, bytes| Load {
        traffic: Traffic::Http3(Http3 {
            connections: 8,
            streams,
            bytes,
            tls: quic.clone(),
            window: env.window,
        }),
        piece: 1.0,
    };
    let small = Question {
        title: "HTTP/2 over TLS, 1 KiB",
        asks: "How many GETs of 1 KiB over HTTP/2 and TLS does one CPU-second of the reverse proxy carry, on 8 connections \
               with 32 streams each?",
        unit: Unit::Requests,
        load: http2(8, 32, 1024, true),
        front: secure,
        back: Back::Http1,
        proxies: ALL,
    };
    Ok(match kind {
        TlsKind::H2Small => small,
        TlsKind::H2cSmall => Question {
            title: "HTTP/2 without TLS, 1 KiB",
            asks: "How many GETs of 1 KiB over HTTP/2 with prior knowledge does one CPU-second of the reverse proxy carry, \
                   on 8 connections with 32 streams each?",
            load: http2(8, 32, 1024, false),
            front: Front::H2c,
            ..small
        },
        TlsKind::H2Single => Question {
            title: "HTTP/2 over TLS, 1 KiB, a stream a connection",
            asks: "How many GETs of 1 KiB over HTTP/2 and TLS does one CPU-second of the reverse proxy carry, on 64 \
                   connections with one stream each?",
            load: http2(64, 1, 1024, true),
            ..small
        },
        TlsKind::H2Medium => Question {
            title: "HTTP/2 over TLS, 64 KiB",
            asks: "How many GETs of 64 KiB over HTTP/2 and TLS does one CPU-second of the reverse proxy carry, on 8 \
                   connections with 32 streams each?",
            load: http2(8, 32, 64 << 10, true),
            proxies: BODIES,
            ..small
        },
        TlsKind::GrpcUnary => Question {
            title: "gRPC, unary calls",
            asks: "How many unary calls of 128 bytes each way does one CPU-second of the reverse proxy carry, over TLS on 8 \
                   connections with 32 calls each, to an origin over HTTP/2 without TLS?",
            load: Load {
                traffic: Traffic::Http2(Multiplexed {
                    origin: env.origin(),
                    connections: 8,
                    streams: 32,
                    request: RequestBlock::grpc(MESSAGE_BYTES, HOST, true),
                    expected: Expected {
                        bytes: (PREFIX_BYTES + MESSAGE_BYTES).into(),
                        trailers: true,
                    },
                    tls: Some(h2.clone()),
                    window: env.window,
                }),
                piece: 1.0,
            },
            back: Back::Grpc,
            proxies: CALLS,
            ..small
        },
        TlsKind::H3Small => Question {
            title: "HTTP/3, 1 KiB",
            asks: "How many GETs of 1 KiB over HTTP/3 does one CPU-second of the reverse proxy carry, on 8 connections with 32 \
                   streams each?",
            load: http3(32, 1024),
            front: Front::Quic(env.site()?.clone()),
            proxies: QUIC,
            ..small
        },
        TlsKind::H3Medium => Question {
            title: "HTTP/3, 64 KiB",
            asks: "How many GETs of 64 KiB over HTTP/3 does one CPU-second of the reverse proxy carry, on 8 connections with \
                   16 streams each?",
            load: http3(16, 64 << 10),
            front: Front::Quic(env.site()?.clone()),
            proxies: QUIC,
            ..small
        },
        TlsKind::TlsSmall => Question {
            title: "HTTP/1.1 over TLS, 1 KiB",
            asks: "How many keep-alive GETs of 1 KiB over HTTP/1.1 and TLS does one CPU-second of the reverse proxy carry, at \
                   64 connections?",
            load: http1(64, 1024, 1.0),
            ..small
        },
        TlsKind::TlsLarge => Question {
            title: "HTTP/1.1 over TLS, 1 MiB",
            asks: "How many GB of 1 MiB responses over HTTP/1.1 and TLS does one CPU-second of the reverse proxy carry, at 16 \
                   connections?",
            unit: Unit::Bytes,
            load: http1(16, 1 << 20, 1_048_576.0),
            proxies: BODIES,
            ..small
        },
    })
}
