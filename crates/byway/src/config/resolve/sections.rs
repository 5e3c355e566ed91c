//! Sections: the single tables of a file, `[drain]` to `[link]`.
//!
//! In:    each table as written.
//! Out:   its part of the Plan; the defaults of these tables are here alone.
//! Never: looks at listeners.

use std::net::IpAddr;
use std::time::Duration;

use byway_link::Congestion;

use super::super::diagnostic::Diagnostic;
use super::super::file::{Dial, Drain, Limits, Link, Pool, Retry, Spill};
use super::super::link_plan::LinkSettings;
use super::super::plan::{
    DialPlan, Family, LimitsPlan, PoolPlan, ResolverKind, RetryPlan, SpillMode, SpillPlan,
};
use super::super::statuses::Statuses;
use super::super::units::Rate;
use super::Resolver;
use super::quantity::{ANY_COUNT, ANY_SIZE, ANY_TIME};

const SECOND: Duration = Duration::from_secs(1);
const KIB: u64 = 1 << 10;
const GIB: u64 = 1 << 30;

/// Half of what Apache requires by default; a modem of 1990 sends and reads faster.
const MIN_RATE: Rate = Rate(250);

impl Resolver<'_> {
    pub(super) fn drain(&mut self, written: &Drain) -> Duration {
        self.period(
            "drain.deadline",
            &written.deadline,
            Duration::ZERO..=*ANY_TIME.end(),
            30 * SECOND,
        )
    }

    pub(super) fn dial(&mut self, written: &Dial) -> DialPlan {
        let families = [("any", Family::Any), ("4", Family::V4), ("6", Family::V6)];
        let family = self.one_of("dial.family", &written.family, &families, Family::Any);
        let resolvers = [("dns", ResolverKind::Dns), ("system", ResolverKind::System)];
        let delay_range = Duration::from_millis(10)..=2 * SECOND;
        DialPlan {
            family,
            local_address: self.local_address(written, family),
            connect_timeout: self.period(
                "dial.connect_timeout",
                &written.connect_timeout,
                ANY_TIME,
                10 * SECOND,
            ),
            resolver: self.one_of(
                "dial.resolver",
                &written.resolver,
                &resolvers,
                ResolverKind::Dns,
            ),
            attempt_delay: self.period(
                "dial.attempt_delay",
                &written.attempt_delay,
                delay_range,
                SECOND / 4,
            ),
        }
    }

    fn local_address(&mut self, written: &Dial, family: Family) -> Option<IpAddr> {
        let text = written.local_address.as_ref()?;
        let Ok(ip) = text.value.parse::<IpAddr>() else {
            let message = format!(
                "`dial.local_address`: `{}` is not an address: write one such as 192.0.2.1",
                text.value
            );
            self.note(Diagnostic::new(&text.place, message));
            return None;
        };
        let wrong = match family {
            Family::Any => false,
            Family::V4 => !ip.is_ipv4(),
            Family::V6 => !ip.is_ipv6(),
        };
        if wrong {
            let message =
                format!("`dial.local_address` {ip} is not of the family that `dial.family` allows");
            let mut diagnostic =
                Diagnostic::new(&text.place, message).help("leave one of the two out");
            if let Some(family) = &written.family {
                diagnostic = diagnostic.earlier(&family.place, "the family");
            }
            self.note(diagnostic);
        }
        Some(ip)
    }

    pub(super) fn limits(&mut self, written: &Limits) -> LimitsPlan {
        let connections = self.count(
            "limits.connections",
            &written.connections,
            ANY_COUNT,
            10_000,
        );
        let per_peer = self.count(
            "limits.connections_per_peer",
            &written.connections_per_peer,
            ANY_COUNT,
            1024,
        );
        let head_bytes = self.size(
            "limits.head_bytes",
            &written.head_bytes,
            KIB..=256 * KIB,
            64 * KIB,
        );
        let requests = self.count(
            "limits.requests_per_connection",
            &written.requests_per_connection,
            ANY_COUNT,
            10_000,
        );
        LimitsPlan {
            connections,
            connections_per_peer: per_peer,
            handshake_timeout: self.period(
                "limits.handshake_timeout",
                &written.handshake_timeout,
                ANY_TIME,
                10 * SECOND,
            ),
            head_bytes: usize::try_from(head_bytes).unwrap_or(usize::MAX),
            head_fields: self.count("limits.head_fields", &written.head_fields, 1..=10_000, 128),
            head_timeout: self.period(
                "limits.head_timeout",
                &written.head_timeout,
                ANY_TIME,
                30 * SECOND,
            ),
            keep_alive: self.period(
                "limits.keep_alive",
                &written.keep_alive,
                ANY_TIME,
                60 * SECOND,
            ),
            body_progress: self.period(
                "limits.body_progress",
                &written.body_progress,
                ANY_TIME,
                60 * SECOND,
            ),
            min_rate: self.floor("limits.min_rate", &written.min_rate, MIN_RATE),
            first_byte: self.period(
                "limits.first_byte",
                &written.first_byte,
                ANY_TIME,
                60 * SECOND,
            ),
            max_body: self.ceiling("limits.max_body", &written.max_body, None),
            half_closed_idle: self.period(
                "limits.half_closed_idle",
                &written.half_closed_idle,
                ANY_TIME,
                600 * SECOND,
            ),
            idle: self.optional_period("limits.idle", &written.idle, ANY_TIME),
            requests_per_connection: requests as u64,
        }
    }

    /// `connections` is what a listener accepts. By default the pool has a connection for each of
    /// them, so that no number of clients that are allowed in can keep others from an upstream.
    pub(super) fn pool(&mut self, written: &Pool, connections: usize) -> PoolPlan {
        let connections = connections as u64;
        let to_one = written
            .max_per_origin
            .as_ref()
            .map_or(connections, |at| at.value.max(connections));
        let max_total = self.count("pool.max_total", &written.max_total, ANY_COUNT, to_one);
        let max_per_origin = self.count(
            "pool.max_per_origin",
            &written.max_per_origin,
            ANY_COUNT,
            max_total as u64,
        );
        let max_upgraded_per_origin = self.count(
            "pool.max_upgraded_per_origin",
            &written.max_upgraded_per_origin,
            ANY_COUNT,
            connections,
        );
        PoolPlan {
            max_total,
            max_per_origin,
            max_upgraded_per_origin,
            idle_timeout: self.period(
                "pool.idle_timeout",
                &written.idle_timeout,
                ANY_TIME,
                4 * SECOND,
            ),
            queue: self.count("pool.queue", &written.queue, ANY_COUNT, 1024),
            queue_wait: self.period("pool.queue_wait", &written.queue_wait, ANY_TIME, 5 * SECOND),
        }
    }

    pub(super) fn retry(&mut self, written: &Retry) -> RetryPlan {
        let replay = self.size("retry.replay", &written.replay, 0..=256 * KIB, 64 * KIB);
        let mut on = Statuses::default();
        for text in written.on.iter().flat_map(|list| &list.value) {
            self.checked("retry.on", &text.place, on.insert(&text.value));
        }
        let small = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        RetryPlan {
            attempts: small(self.count("retry.attempts", &written.attempts, 0..=10, 1)),
            on,
            replay_bytes: usize::try_from(replay).unwrap_or(usize::MAX),
            budget_percent: small(self.count(
                "retry.budget_percent",
                &written.budget_percent,
                0..=100,
                20,
            )),
            budget_per_second: small(self.count(
                "retry.budget_per_second",
                &written.budget_per_second,
                1..=1_000_000,
                10,
            )),
        }
    }

    pub(super) fn spill(&mut self, written: &Spill) -> SpillPlan {
        let modes = [("auto", SpillMode::Auto), ("off", SpillMode::Off)];
        let directory = match &written.directory {
            Some(text) if text.value.is_empty() => {
                self.note(Diagnostic::new(
                    &text.place,
                    "`spill.directory` is empty: leave it out or name a folder",
                ));
                self.around.state.join("spill")
            }
            Some(text) => self.path(&text.value),
            None => self.around.state.join("spill"),
        };
        SpillPlan {
            directory,
            memory: self.size("spill.memory", &written.memory, 4 * KIB..=GIB, 256 * KIB),
            per_stream: self.size("spill.per_stream", &written.per_stream, ANY_SIZE, GIB),
            per_node: self.optional_size("spill.per_node", &written.per_node, ANY_SIZE),
            mode: self.one_of("spill.mode", &written.mode, &modes, SpillMode::Auto),
        }
    }

    pub(super) fn link(&mut self, written: &Link) -> LinkSettings {
        let streams = self.count("link.streams", &written.streams, 1..=65_536, 8192);
        let congestion = [("bbr", Congestion::Bbr), ("cubic", Congestion::Cubic)];
        LinkSettings {
            congestion: self.one_of(
                "link.congestion",
                &written.congestion,
                &congestion,
                Congestion::Bbr,
            ),
            quic_probe: self.period(
                "link.quic_probe",
                &written.quic_probe,
                SECOND..=3600 * SECOND,
                30 * SECOND,
            ),
            park: self.period(
                "link.park",
                &written.park,
                Duration::ZERO..=300 * SECOND,
                15 * SECOND,
            ),
            parked: self.count("link.parked", &written.parked, 1..=65_536, 1024),
            streams: u32::try_from(streams).unwrap_or(u32::MAX),
        }
    }
}
