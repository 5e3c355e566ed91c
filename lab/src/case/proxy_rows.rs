//! Proxy rows: one reverse proxy in one of its configurations, as a row of a question.
//!
//! In:    the environment, the roles, and what a proxy of the question speaks.
//! Out:   a running peer in the roles, or a note.
//! Never: decides what is measured.

use super::roles::{Roles, SubjectRole};
use crate::environment::RunEnvironment;
use crate::load::reach::Reach;
use crate::peers::front::{Bodies, Edge};
use crate::peers::{Fields, Logs, Program, Running, caddy, haproxy, hyper, nginx, pingora};

/// Byway's own row in every question about edges.
pub(crate) const OURS: &str = "byway edge";

/// A peer and its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProxyRow {
    /// Its usual configuration.
    Nginx,
    /// It adds the fields that byway adds.
    NginxAsByway,
    /// The program of `--nginx`, with its usual configuration.
    NginxGiven,
    /// Its usual configuration.
    Haproxy,
    /// It adds the fields that byway adds.
    HaproxyAsByway,
    /// With buffers of 64 KiB.
    HaproxyBuffered,
    /// With splicing configured.
    HaproxySpliced,
    /// Its usual configuration.
    Caddy,
    /// It has no log.
    Pingora,
    /// It has no log, and always adds the fields that byway adds.
    Hyper,
}

impl ProxyRow {
    /// Each program once, for plain HTTP/1.1.
    pub(crate) const EACH: [Self; 4] = [Self::Nginx, Self::Haproxy, Self::Caddy, Self::Pingora];

    const fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::NginxAsByway => "nginx, same fields",
            Self::NginxGiven => "nginx of --nginx",
            Self::Haproxy => "haproxy",
            Self::HaproxyAsByway => "haproxy, same fields",
            Self::HaproxyBuffered => "haproxy, 64 KiB buffers",
            Self::HaproxySpliced => "haproxy, splice",
            Self::Caddy => "caddy",
            Self::Pingora => "pingora",
            Self::Hyper => "hyper, same fields",
        }
    }

    /// Starts it and adds it.
    pub(crate) async fn enter(self, roles: &mut Roles, env: &RunEnvironment, edge: &Edge) {
        let name = match (self, edge.logs) {
            (Self::Pingora, Logs::On) => "pingora, no log",
            (Self::Hyper, Logs::On) => "hyper, same fields, no log",
            _ => self.name(),
        };
        let fields = match self {
            Self::NginxAsByway | Self::HaproxyAsByway | Self::Hyper => Fields::AsByway,
            _ => Fields::Least,
        };
        let bodies = match self {
            Self::HaproxyBuffered => Bodies::Buffered,
            Self::HaproxySpliced => Bodies::Spliced,
            _ => Bodies::Small,
        };
        let edge = Edge {
            fields,
            bodies,
            ..edge.clone()
        };
        match self {
            Self::Nginx | Self::NginxAsByway => {
                let started = nginx::serve(env, edge, None);
                add(roles, env, Program::Nginx, name, started).await;
            }
            Self::NginxGiven => match &env.nginx {
                Some(program) => {
                    let started = nginx::serve(env, edge, Some(program));
                    start(roles, env, name, started).await;
                }
                None => roles.leave_out(format!("{name}: the option is not given")),
            },
            Self::Haproxy | Self::HaproxyAsByway | Self::HaproxyBuffered | Self::HaproxySpliced => {
                let started = haproxy::serve(env, edge);
                add(roles, env, Program::Haproxy, name, started).await;
            }
            Self::Caddy => {
                let started = caddy::serve(env, edge);
                add(roles, env, Program::Caddy, name, started).await;
            }
            Self::Pingora => start(roles, env, name, pingora::serve(env)).await,
            Self::Hyper => start(roles, env, name, hyper::serve(env, edge)).await,
        }
    }
}

/// Adds a program that may not be installed.
async fn add(
    roles: &mut Roles,
    env: &RunEnvironment,
    program: Program,
    name: &str,
    started: impl Future<Output = anyhow::Result<Running>>,
) {
    roles
        .add(env, program, name, OURS, Reach::Plain, started)
        .await;
}

/// Adds a program that the lab builds, or whose path was given.
async fn start(
    roles: &mut Roles,
    env: &RunEnvironment,
    name: &str,
    started: impl Future<Output = anyhow::Result<Running>>,
) {
    roles
        .start(env, SubjectRole::Peer, name, OURS, Reach::Plain, started)
        .await;
}
