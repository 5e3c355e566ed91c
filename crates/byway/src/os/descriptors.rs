//! Descriptors: raises the soft limit of open files to the hard one, and divides the descriptors
//! before any is used.
//!
//! In:    the limit in force, and what a config needs.
//! Out:   limits for accepted connections, pooled connections, pipes, public ports, dialled
//!        streams of links and spill files, so that all of them fit and a reserve remains.
//! Never: fails the start; a low limit only lowers the number of connections.

/// Raises the soft limit and returns the one in force (`None`: unlimited or unknown).
#[cfg(unix)]
pub fn raise_limit() -> Option<u64> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        // Refused in some sandboxes; then the old limit stays.
        let _ = setrlimit(Resource::Nofile, limit);
    }
    getrlimit(Resource::Nofile).current
}

/// Other platforms have no such limit.
#[cfg(not(unix))]
pub fn raise_limit() -> Option<u64> {
    None
}

/// What a config needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Threads that serve.
    pub workers: usize,
    /// Addresses to listen on, links included.
    pub listeners: usize,
    /// Of them, those that accept links.
    pub link_listeners: usize,
    /// Whether agents may open public ports here.
    pub has_public_ports: bool,
    /// Links that are dialled.
    pub joins: usize,
    /// Whether streams of links are dialled here: to services of this node, or as an exit.
    pub dials_streams: bool,
    /// Whether this node has listeners for clients, public ports included.
    pub accepts_visitors: bool,
    /// Whether bytes for slow readers may be written to spill files on this node.
    pub spills: bool,
    /// Connections that all listeners together may accept and for which this node may dial.
    pub accepted: usize,
    /// Connections that all other listeners together may accept, except for link listeners: links
    /// carry their streams.
    pub carried: usize,
    /// Connections that the pool may hold.
    pub pooled: usize,
}

/// Descriptors of an accepted connection for which this node may dial: one for each side.
pub const DIALLING: u32 = 2;

/// Descriptors of an accepted connection whose stream a link carries.
pub const CARRIED: u32 = 1;

/// How the descriptors of the process are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Descriptors of accepted connections and of what is dialled for them outside of the pool,
    /// links excluded: each connection takes [`DIALLING`] or [`CARRIED`] of them. A tunnel on a
    /// stream of HTTP/2 or HTTP/3 takes one more; such tunnels have at most half of all.
    pub visitors: usize,
    /// Connections that one listener may have accepted.
    pub accepted: usize,
    /// Connections accepted by link listeners.
    pub links: usize,
    /// Sockets of public ports: see [`Shares::public_ports`].
    pub public: usize,
    /// Dialled streams of links, of one descriptor each.
    pub dialled: usize,
    /// Spill files, each beside the descriptors of its connection or stream.
    pub spilled: usize,
    /// Connections that the pool may hold, idle ones included.
    pub pooled: usize,
    /// Pipes for bulk bytes, of two descriptors each.
    pub pipes: usize,
    /// Connection attempts that all dials together may have open in addition to the first one of
    /// each.
    pub attempts: usize,
    /// Sockets of name look-ups.
    pub names: usize,
}

/// More sockets of name look-ups are of no use: 128 look-ups with four each.
const NAMES_MAX: usize = 512;

impl Shares {
    /// Of a process without a limit.
    pub const UNLIMITED: Self = Self {
        visitors: usize::MAX,
        accepted: usize::MAX,
        links: usize::MAX,
        public: usize::MAX,
        dialled: usize::MAX,
        spilled: usize::MAX,
        pooled: usize::MAX,
        pipes: usize::MAX,
        attempts: usize::MAX,
        names: NAMES_MAX,
    };

    /// Of `limit` descriptors. Each accepted connection may open an upstream connection outside of
    /// the pool (a tunnel) while the pool is full of idle ones, so an accepted connection takes two
    /// and a pooled one takes one. A connection whose stream a link carries takes one, and while
    /// all are such, those of the pool take none. A dial that tries several addresses at once has
    /// one descriptor of its own; the others come from the share of attempts. A
    /// spill file takes one more, of a share of its own: most readers do not pause, and without a
    /// file the sender waits.
    pub fn of(limit: Option<u64>, needs: Needs) -> Self {
        let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else {
            return Self::UNLIMITED;
        };
        let reserve = reserve(limit, needs).min(limit / 2);
        let left = limit - reserve;
        // An eighth for links, and up to as much again for pending links.
        let links = if needs.link_listeners == 0 {
            0
        } else {
            (left / 8 + (left / 8).min(NEWCOMERS)).max(1)
        };
        let public = if needs.has_public_ports { left / 4 } else { 0 };
        let pipes = left / 32;
        let attempts = left / 32;
        // One look-up has two sockets.
        let names = (left / 8).clamp(2, NAMES_MAX);
        let streams = match (needs.dials_streams, needs.accepts_visitors) {
            (false, _) => 0,
            // An eighth is reserved for clients of a later config.
            (true, false) => {
                let others = links + public + 2 * pipes + attempts + names + left / 8;
                left.saturating_sub(others).max(left / 2).max(1)
            }
            (true, true) => (left / 4).max(1),
        };
        let spilled = match (needs.spills, needs.accepts_visitors) {
            (false, _) => 0,
            (true, false) => streams / 8,
            (true, true) => left / 16,
        };
        // Where streams are dialled, the files are part of what streams have.
        let dialled = streams.saturating_sub(spilled);
        let others = links + public + dialled + spilled + 2 * pipes + attempts + names;
        let left = left.saturating_sub(others);
        let third = left.div_ceil(3);
        let wanted = needs
            .accepted
            .saturating_mul(DIALLING as usize)
            .saturating_add(needs.carried);
        let (visitors, pooled, each) = match needs.accepted {
            // A third is reserved for the pool of a later config, whose connections are dialled.
            // The pool keeps its initial size, so it has no more than such a config leaves for it
            // in addition to as many clients.
            0 => {
                let visitors = wanted.min(left - third);
                (visitors, needs.pooled.min(third.max(visitors)), CARRIED)
            }
            _ => {
                let pooled = needs.pooled.min(third.max(left.saturating_sub(wanted)));
                // Tunnels on streams may use what accepted connections do not.
                (left - pooled, pooled, DIALLING)
            }
        };
        let each = each as usize;
        let visitors = visitors.max(each);
        let most = needs.accepted.saturating_add(needs.carried);
        let accepted = (visitors / each).min(most.max(1));
        Self {
            visitors,
            accepted,
            links,
            public,
            dialled,
            spilled,
            pooled: pooled.max(1),
            pipes,
            attempts,
            names,
        }
    }

    /// How many public ports may be open at once on this number of workers: at least one.
    pub const fn public_ports(&self, workers: usize) -> usize {
        public_ports(self.public, workers)
    }
}

/// How many public ports may be open at once on this number of workers with this number of sockets:
/// at least one.
pub const fn public_ports(sockets: usize, workers: usize) -> usize {
    let ports = sockets / (PER_WORKER * if workers == 0 { 1 } else { workers });
    if ports == 0 { 1 } else { ports }
}

/// The reserve for runtimes, listeners, logs, files of the state folder, the spill and dialled
/// links: about what a node has open without any connection, and a sixteenth of the limit.
fn reserve(limit: usize, needs: Needs) -> usize {
    let listeners = needs.listeners * needs.workers * PER_WORKER;
    FILES + RUNTIME * (needs.workers + 1) + listeners + CARRIERS * needs.joins + limit / 16
}

/// What a listener takes on each worker: a socket, and one accepted connection that waits for its
/// permit.
const PER_WORKER: usize = 2;

/// Pending links, where the descriptors suffice.
const NEWCOMERS: usize = 128;

/// Standard streams, logs, the state folder.
const FILES: usize = 32;

/// The descriptors of one runtime.
const RUNTIME: usize = 4;

/// Sockets of one dialled link, old and new ones while it changes its carrier.
const CARRIERS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    const EDGE: Needs = Needs {
        workers: 2,
        listeners: 1,
        link_listeners: 0,
        has_public_ports: false,
        joins: 0,
        dials_streams: false,
        accepts_visitors: true,
        spills: false,
        accepted: 10_000,
        carried: 0,
        pooled: 10_000,
    };

    const SERVE: Needs = Needs {
        listeners: 2,
        link_listeners: 1,
        has_public_ports: true,
        accepted: 0,
        carried: 10_000,
        ..EDGE
    };

    const EXIT: Needs = Needs {
        link_listeners: 1,
        dials_streams: true,
        accepts_visitors: false,
        ..EDGE
    };

    const EGRESS: Needs = Needs {
        spills: true,
        ..EDGE
    };

    const SPILLING_EXIT: Needs = Needs {
        spills: true,
        ..EXIT
    };

    /// With as many paused readers as can have a file.
    /// Where links carry the connections of all clients, they carry those of the pool, too.
    fn taken(needs: Needs, shares: Shares) -> usize {
        let pooled = if needs.accepted == 0 {
            0
        } else {
            shares.pooled
        };
        let own = shares.visitors + shares.links + pooled + 2 * shares.pipes;
        let streams = shares.public + shares.dialled + shares.spilled;
        own + shares.attempts + shares.names + streams
    }

    #[test]
    fn what_fits_is_not_lowered() {
        let shares = Shares::of(Some(1 << 19), EDGE);
        assert_eq!((shares.accepted, shares.pooled), (10_000, 10_000));
        assert_eq!(Shares::of(None, EDGE), Shares::UNLIMITED);
    }

    #[test]
    fn all_shares_fit_below_any_limit_and_a_reserve_remains() {
        for limit in [16, 64, 256, 1024, 4096, 20_000, 65_536, 1 << 20] {
            for needs in [
                EDGE,
                Needs { pooled: 64, ..EDGE },
                Needs {
                    accepted: 3,
                    ..EDGE
                },
                Needs {
                    workers: 64,
                    listeners: 20,
                    link_listeners: 2,
                    joins: 5,
                    ..EDGE
                },
                Needs {
                    link_listeners: 1,
                    has_public_ports: true,
                    dials_streams: true,
                    ..EDGE
                },
                Needs {
                    carried: 10_000,
                    link_listeners: 1,
                    has_public_ports: true,
                    ..EDGE
                },
                SERVE,
                EXIT,
                Needs {
                    link_listeners: 0,
                    ..EXIT
                },
                Needs {
                    carried: 3,
                    pooled: 64,
                    ..SERVE
                },
                EGRESS,
                Needs {
                    pooled: 16,
                    ..EGRESS
                },
                SPILLING_EXIT,
                Needs {
                    link_listeners: 1,
                    dials_streams: true,
                    ..EGRESS
                },
                Needs {
                    link_listeners: 1,
                    dials_streams: true,
                    has_public_ports: true,
                    carried: 10_000,
                    ..EGRESS
                },
            ] {
                let shares = Shares::of(Some(limit), needs);
                assert!(
                    taken(needs, shares) + 4 <= limit as usize,
                    "{limit} {needs:?} {shares:?}"
                );
                let kept = reserve(limit as usize, needs).min(limit as usize / 2);
                assert!(
                    limit < 256 || taken(needs, shares) + kept <= limit as usize,
                    "{limit} {needs:?} {shares:?}"
                );
                assert!(shares.accepted >= 1 && shares.accepted <= needs.accepted + needs.carried);
                assert!(
                    shares.pooled >= shares.accepted.min(needs.pooled),
                    "{limit} {needs:?} {shares:?}"
                );
            }
        }
    }

    #[test]
    fn a_public_end_takes_no_upstream_descriptor_for_clients_that_links_carry() {
        let shares = Shares::of(Some(20_000), SERVE);
        assert!(
            shares.accepted >= 6000 && shares.pooled >= shares.accepted,
            "{shares:?}"
        );
        let mixed = Shares::of(
            Some(20_000),
            Needs {
                accepted: 10_000,
                ..SERVE
            },
        );
        assert!(mixed.accepted <= mixed.visitors / 2, "{mixed:?}");
    }

    #[test]
    fn an_exit_without_client_listeners_reserves_little_for_clients() {
        // Half of them are reserved for other grants.
        let shares = Shares::of(Some(20_000), EXIT);
        assert!(shares.dialled / 2 >= 5500, "{shares:?}");
        let shares = Shares::of(Some(1024), EXIT);
        assert!(shares.accepted >= 10, "{shares:?}");
    }

    #[test]
    fn the_spill_files_of_paused_readers_have_a_share_of_their_own() {
        for limit in [256, 1024, 8192, 20_000] {
            let exit = Shares::of(Some(limit), EXIT);
            let spilling = Shares::of(Some(limit), SPILLING_EXIT);
            assert_eq!(spilling.dialled + spilling.spilled, exit.dialled, "{limit}");
            assert!(
                spilling.spilled >= spilling.dialled / 8 && exit.spilled == 0,
                "{limit}: {spilling:?}"
            );
            let pool_of_16 = Needs {
                pooled: 16,
                ..EGRESS
            };
            for needs in [EGRESS, pool_of_16] {
                let shares = Shares::of(Some(limit), needs);
                assert!(
                    shares.spilled >= shares.accepted / 8 && shares.spilled > 0,
                    "{limit}: {shares:?}"
                );
            }
        }
    }

    #[test]
    fn descriptors_that_few_accepted_connections_leave_are_for_tunnels_on_streams() {
        let few = Needs {
            accepted: 64,
            pooled: 64,
            ..EDGE
        };
        let shares = Shares::of(Some(20_000), few);
        assert_eq!((shares.accepted, shares.pooled), (64, 64));
        assert!(shares.visitors > 12_000, "{shares:?}");
        assert!(taken(few, shares) + reserve(20_000, few) <= 20_000);
    }

    #[test]
    fn a_small_pool_leaves_more_to_accepted_connections() {
        let small = Shares::of(Some(1024), Needs { pooled: 16, ..EDGE });
        assert!(small.accepted > Shares::of(Some(1024), EDGE).accepted);
        assert_eq!(small.pooled, 16);
    }

    #[test]
    fn a_limit_of_1024_has_room_for_a_hundred_pending_links() {
        let shares = Shares::of(
            Some(1024),
            Needs {
                link_listeners: 1,
                ..EDGE
            },
        );
        assert!(shares.links >= 200, "{shares:?}");
        assert!(shares.accepted >= 150, "{shares:?}");
    }

    #[test]
    fn a_limit_of_256_serves_at_least_fifty_connections_at_once() {
        let shares = Shares::of(Some(256), EDGE);
        assert!(shares.accepted >= 50, "{shares:?}");
    }

    #[test]
    fn attempts_and_look_ups_have_their_own_shares_in_addition_to_the_reserve() {
        let shares = Shares::of(Some(1024), EDGE);
        assert!(shares.attempts >= 16 && shares.names >= 64, "{shares:?}");
        assert_eq!(Shares::of(Some(1 << 19), EDGE).names, NAMES_MAX);
    }

    #[test]
    fn public_ports_have_a_share_that_counts_the_sockets_of_all_workers() {
        for workers in [1, 2, 16] {
            let shares = Shares::of(Some(1024), Needs { workers, ..SERVE });
            let ports = shares.public_ports(workers);
            assert!(
                ports > 1 && ports * workers * PER_WORKER <= shares.public,
                "{workers}: {shares:?}"
            );
        }
        assert_eq!(Shares::of(Some(1024), EDGE).public, 0);
        assert_eq!(
            Shares::of(
                Some(64),
                Needs {
                    workers: 64,
                    ..SERVE
                }
            )
            .public_ports(64),
            1
        );
    }
}
