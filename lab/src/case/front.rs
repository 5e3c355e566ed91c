//! Front: one reverse proxy in one of its configurations, as a row of an edge's question.
//!
//! In:    the setting and the cast.
//! Out:   a running peer in the cast, or a note.
//! Never: decides what is asked.

use super::cast::{Cast, Part};
use crate::load::reach::Reach;
use crate::peers::haproxy::Bodies;
use crate::peers::{Fields, Logs, Program, caddy, haproxy, nginx, pingora};
use crate::setting::Setting;

/// Byway's own row in every question about edges.
pub(crate) const OURS: &str = "byway edge";

/// A peer and how it is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Front {
    /// Its usual set-up.
    Nginx,
    /// It adds the fields that byway adds.
    NginxAsByway,
    /// Its usual set-up.
    Haproxy,
    /// It adds the fields that byway adds.
    HaproxyAsByway,
    /// With buffers of 64 KiB.
    HaproxyBuffered,
    /// Told to splice.
    HaproxySpliced,
    /// Its usual set-up.
    Caddy,
    /// It has no log.
    Pingora,
}

impl Front {
    /// Everybody once.
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
    pub(crate) async fn enter(self, cast: &mut Cast, setting: &Setting, logs: Logs) {
        let name = match (self, logs) {
            (Self::Pingora, Logs::On) => "pingora, no log",
            _ => self.name(),
        };
        let haproxy = |fields, bodies| haproxy::serve(setting, fields, bodies, logs);
        match self {
            Self::Nginx | Self::NginxAsByway => {
                let fields = if self == Self::Nginx {
                    Fields::Least
                } else {
                    Fields::AsByway
                };
                cast.add(
                    setting,
                    Program::Nginx,
                    name,
                    OURS,
                    Reach::Plain,
                    nginx::serve(setting, fields, logs),
                )
                .await;
            }
            Self::Haproxy => {
                cast.add(
                    setting,
                    Program::Haproxy,
                    name,
                    OURS,
                    Reach::Plain,
                    haproxy(Fields::Least, Bodies::Small),
                )
                .await;
            }
            Self::HaproxyAsByway => {
                cast.add(
                    setting,
                    Program::Haproxy,
                    name,
                    OURS,
                    Reach::Plain,
                    haproxy(Fields::AsByway, Bodies::Small),
                )
                .await;
            }
            Self::HaproxyBuffered => {
                cast.add(
                    setting,
                    Program::Haproxy,
                    name,
                    OURS,
                    Reach::Plain,
                    haproxy(Fields::Least, Bodies::Buffered),
                )
                .await;
            }
            Self::HaproxySpliced => {
                cast.add(
                    setting,
                    Program::Haproxy,
                    name,
                    OURS,
                    Reach::Plain,
                    haproxy(Fields::Least, Bodies::Spliced),
                )
                .await;
            }
            Self::Caddy => {
                cast.add(
                    setting,
                    Program::Caddy,
                    name,
                    OURS,
                    Reach::Plain,
                    caddy::serve(setting, logs),
                )
                .await
            }
            Self::Pingora => {
                cast.start(
                    setting,
                    Part::Peer,
                    name,
                    OURS,
                    Reach::Plain,
                    pingora::serve(setting),
                )
                .await
            }
        }
    }
}
