//! Proxy rows: one reverse proxy in one of its configurations, as a row of an edge question.
//!
//! In:    the environment and the roles.
//! Out:   a running peer in the roles, or a note.
//! Never: decides what is measured.

use super::roles::{Roles, SubjectRole};
use crate::environment::RunEnvironment;
use crate::load::reach::Reach;
use crate::peers::haproxy::Bodies;
use crate::peers::{Fields, Logs, Program, caddy, haproxy, nginx, pingora};

/// Byway's own row in every question about edges.
pub(crate) const OURS: &str = "byway edge";

/// A peer and its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProxyRow {
    /// Its usual configuration.
    Nginx,
    /// It adds the fields that byway adds.
    NginxAsByway,
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
}

impl ProxyRow {
    /// Each program once.
    pub(crate) const EACH: [Self; 4] = [Self::Nginx, Self::Haproxy, Self::Caddy, Self::Pingora];

    const fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::NginxAsByway => "nginx, same fields",
            Self::Haproxy => "haproxy",
            Self::HaproxyAsByway => "haproxy, same fields",
            Self::HaproxyBuffered => "haproxy, 64 KiB buffers",
            Self::HaproxySpliced => "haproxy, splice",
            Self::Caddy => "caddy",
            Self::Pingora => "pingora",
        }
    }

    /// Starts it and adds it.
    pub(crate) async fn enter(self, roles: &mut Roles, env: &RunEnvironment, logs: Logs) {
        let name = match (self, logs) {
            (Self::Pingora, Logs::On) => "pingora, no log",
            _ => self.name(),
        };
        let haproxy = |fields, bodies| haproxy::serve(env, fields, bodies, logs);
        match self {
            Self::Nginx | Self::NginxAsByway => {
                let fields = if self == Self::Nginx {
                    Fields::Least
                } else {
                    Fields::AsByway
                };
                roles
                    .add(
                        env,
                        Program::Nginx,
                        name,
                        OURS,
                        Reach::Plain,
                        nginx::serve(env, fields, logs),
                    )
                    .await;
            }
            Self::Haproxy => {
                roles
                    .add(
                        env,
                        Program::Haproxy,
                        name,
                        OURS,
                        Reach::Plain,
                        haproxy(Fields::Least, Bodies::Small),
                    )
                    .await;
            }
            Self::HaproxyAsByway => {
                roles
                    .add(
                        env,
                        Program::Haproxy,
                        name,
                        OURS,
                        Reach::Plain,
                        haproxy(Fields::AsByway, Bodies::Small),
                    )
                    .await;
            }
            Self::HaproxyBuffered => {
                roles
                    .add(
                        env,
                        Program::Haproxy,
                        name,
                        OURS,
                        Reach::Plain,
                        haproxy(Fields::Least, Bodies::Buffered),
                    )
                    .await;
            }
            Self::HaproxySpliced => {
                roles
                    .add(
                        env,
                        Program::Haproxy,
                        name,
                        OURS,
                        Reach::Plain,
                        haproxy(Fields::Least, Bodies::Spliced),
                    )
                    .await;
            }
            Self::Caddy => {
                roles
                    .add(
                        env,
                        Program::Caddy,
                        name,
                        OURS,
                        Reach::Plain,
                        caddy::serve(env, logs),
                    )
                    .await
            }
            Self::Pingora => {
                roles
                    .start(
                        env,
                        SubjectRole::Peer,
                        name,
                        OURS,
                        Reach::Plain,
                        pingora::serve(env),
                    )
                    .await
            }
        }
    }
}
