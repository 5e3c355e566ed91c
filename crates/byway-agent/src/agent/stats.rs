//! Stats: a snapshot of an agent's metrics, from those of the pool, by group.

use super::group::Group;
use byway_pool as pool;
use std::fmt;
use std::time::Duration;

/// A snapshot of an agent: exact gauges of one moment, and counters since it was built. Costs one
/// pass over the groups, and nothing per request.
#[derive(Debug, Clone)]
pub struct AgentStats {
    totals: GroupStats,
    groups: Vec<GroupStats>,
    counters: Counters,
}

/// The metrics of one group, or of all together.
#[derive(Debug, Clone)]
pub struct GroupStats {
    group: Option<Group>,
    limit: usize,
    connecting: usize,
    active: usize,
    idle: usize,
    draining: usize,
    upgraded: usize,
    streams: usize,
    pending: usize,
    oldest_wait: Option<Duration>,
}

/// Counts since the agent was built.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Connections opened.
    pub opened: u64,
    /// Requests on a reused connection, or on a stream of HTTP/2 that was not the first.
    pub reused: u64,
    /// Connections closed, for whatever reason.
    pub closed: u64,
    /// Those closed because, before reuse, they were found closed by the origin or with unexpected
    /// bytes.
    pub stale_closed: u64,
    /// Requests refused because the queue was full.
    pub queue_full: u64,
    /// Requests that waited until the queue's time limit.
    pub queue_timeout: u64,
}

impl AgentStats {
    /// After a shutdown every connection in use is draining: it is closed when it is returned.
    pub(crate) fn new(stats: pool::Stats<Group>, max_total: usize, max_per_origin: usize) -> Self {
        let draining = stats.draining;
        let of = |origin: pool::OriginStats<Group>| GroupStats {
            group: Some(origin.key),
            limit: max_per_origin,
            connecting: origin.connecting,
            active: if draining { 0 } else { origin.active },
            idle: origin.idle,
            draining: if draining { origin.active } else { 0 },
            upgraded: origin.upgraded,
            streams: origin.streams,
            pending: origin.pending,
            oldest_wait: origin.oldest_wait,
        };
        let totals = GroupStats {
            group: None,
            limit: max_total,
            connecting: stats.connecting,
            active: if draining { 0 } else { stats.active },
            idle: stats.idle,
            draining: if draining { stats.active } else { 0 },
            upgraded: stats.upgraded,
            streams: stats.streams,
            pending: stats.pending,
            oldest_wait: stats.oldest_wait,
        };
        let counters = Counters {
            opened: stats.opened_total,
            reused: stats.reused_total,
            closed: stats.closed_total,
            stale_closed: stats.stale_closed_total,
            queue_full: stats.queue_full_total,
            queue_timeout: stats.queue_timeout_total,
        };
        let mut groups: Vec<_> = stats.origins.into_iter().map(of).collect();
        groups.sort_by_cached_key(GroupStats::name);
        Self {
            totals,
            groups,
            counters,
        }
    }

    /// All groups together.
    pub fn totals(&self) -> &GroupStats {
        &self.totals
    }

    /// Every group that has a connection, a dial or a waiter, sorted by name: in Node's terms the
    /// keys of `sockets`, `freeSockets` and `requests`.
    #[doc(alias = "sockets")]
    #[doc(alias = "freeSockets")]
    #[doc(alias = "requests")]
    pub fn groups(&self) -> impl ExactSizeIterator<Item = &GroupStats> {
        self.groups.iter()
    }

    /// The group of that name, as [`Group`] prints it.
    pub fn group(&self, name: &str) -> Option<&GroupStats> {
        self.groups.iter().find(|group| group.name() == name)
    }

    /// The counters so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }
}

impl GroupStats {
    /// The group's name; `all` for the totals.
    pub fn name(&self) -> String {
        self.group
            .as_ref()
            .map_or_else(|| "all".into(), ToString::to_string)
    }

    /// The group; `None` for the totals.
    pub fn group(&self) -> Option<&Group> {
        self.group.as_ref()
    }

    /// The maximum number of connections.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Connections that count against the limit: connecting, active, idle, draining and upgraded.
    #[doc(alias = "totalSocketCount")]
    pub fn open(&self) -> usize {
        self.connecting + self.active + self.idle + self.draining + self.upgraded
    }

    /// Connections being opened.
    pub fn connecting(&self) -> usize {
        self.connecting
    }

    /// Connections with a request on them.
    pub fn active(&self) -> usize {
        self.active
    }

    /// Connections that wait for their next request.
    pub fn idle(&self) -> usize {
        self.idle
    }

    /// Connections in use that will be closed after their request, because the agent is shut down.
    pub fn draining(&self) -> usize {
        self.draining
    }

    /// Connections that have left HTTP and still count against the limit.
    pub fn upgraded(&self) -> usize {
        self.upgraded
    }

    /// Requests on connections of HTTP/2. Each of these connections counts once as active.
    pub fn streams(&self) -> usize {
        self.streams
    }

    /// Requests in the queue.
    pub fn pending(&self) -> usize {
        self.pending
    }

    /// How long the oldest request in the queue has been waiting; `None` if there is none.
    pub fn oldest_wait(&self) -> Option<Duration> {
        self.oldest_wait
    }
}

impl fmt::Display for GroupStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} of {} open", self.name(), self.open(), self.limit)?;
        write!(
            f,
            " ({} connecting, {} active, {} idle",
            self.connecting, self.active, self.idle
        )?;
        let rare = [
            (self.draining, "draining"),
            (self.upgraded, "upgraded"),
            (self.streams, "streams"),
        ];
        for (count, what) in rare {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        write!(f, "), {} queued", self.pending)?;
        match self.oldest_wait {
            Some(wait) => write!(f, ", the oldest for {wait:.1?}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for AgentStats {
    /// One line for all and one for each group.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.totals)?;
        self.groups
            .iter()
            .try_for_each(|group| write!(f, "\n  {group}"))
    }
}
