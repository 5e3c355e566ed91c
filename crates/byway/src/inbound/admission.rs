//! Admission: the permits that all listeners of a node share, so that accepted connections leave
//! descriptors to everything else: upstream connections, links, grants, spilled bytes and logs.
//!
//! In:    the shares of the Plan, and those of the Plan of a reload.
//! Out:   the permits of each kind of listener, and when a connection takes one: when it is
//!        accepted, or when it is welcomed as a link.
//! Never: gives client connections the permits reserved for links or for the metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use byway_dial::ClientId;
use byway_relay::FairPermits;
use tokio::sync::Semaphore;

use super::dial_permits::DialPermits;
use super::link_permits::LinkPermits;
use super::pending_links::{FEWEST_PENDING_LINKS, PENDING_LINKS, PendingLinks};
use super::quota::{Excess, Quota};
use crate::config::{Role, RoleKind};
use crate::os::descriptors::{self, CARRIED, DIALLING, Shares};
use crate::outbound::tunnel_permits::TunnelPermits;

/// Connections that all metrics listeners may have open together. They are part of the reserve.
const METRICS: usize = 16;

/// The permits that all listeners of a node share, so that connections, links, connection attempts
/// and spill files together stay within the descriptors of the process.
#[derive(Debug)]
pub struct Admission {
    /// One permit for each descriptor.
    visitors: Quota,
    /// Of these, those of tunnels on streams.
    tunnels: TunnelPermits,
    links: LinkPermits,
    pending_links: PendingLinks,
    metrics: Quota,
    attempts: Quota,
    dialled: DialPermits,
    spill_files: FairPermits<ClientId>,
    public: AtomicUsize,
    /// Connections that the pool may hold for the lifetime of this process.
    pooled: usize,
}

/// How many permits there are of each kind.
struct Counts {
    visitors: usize,
    members: usize,
    pending_links: usize,
    attempts: usize,
    dialled: usize,
    public: usize,
    spill_files: usize,
}

impl Counts {
    /// What `shares` allow in addition to a pool of `pooled` connections.
    fn of(shares: &Shares, pooled: usize) -> Self {
        // Authenticated and unauthenticated links do not take permits from each other.
        let fewest = FEWEST_PENDING_LINKS.min(shares.links / 2);
        let pending_links = PENDING_LINKS.min(shares.links / 4).max(fewest).max(1);
        // The pool keeps its initial size. If that exceeds its share, the excess is taken from
        // client connections, up to half of theirs, and then from streams, public ports and spill
        // files, up to half of theirs.
        let excess = pooled.saturating_sub(shares.pooled);
        let visitors = shares
            .visitors
            .saturating_sub(excess)
            .max(shares.visitors.div_ceil(2));
        let excess = excess.saturating_sub(shares.visitors - visitors);
        let others = (shares.dialled)
            .saturating_add(shares.public)
            .saturating_add(shares.spilled);
        let lowered = |share: usize| match excess {
            0 => share,
            _ => {
                share
                    - excess
                        .saturating_mul(share)
                        .div_ceil(others.max(1))
                        .min(share / 2)
            }
        };
        Self {
            visitors: visitors.max(DIALLING as usize),
            members: shares.links.saturating_sub(pending_links).max(1),
            pending_links,
            attempts: shares.attempts,
            dialled: lowered(shares.dialled).max(1),
            public: lowered(shares.public),
            spill_files: lowered(shares.spilled),
        }
    }
}

impl Admission {
    /// What `shares` allow in addition to a pool of `pooled` connections.
    pub fn new(shares: &Shares, pooled: usize) -> Self {
        let counts = Counts::of(shares, pooled);
        let visitors = Quota::new(counts.visitors);
        Self {
            tunnels: TunnelPermits::new(Arc::clone(visitors.permits()), counts.visitors),
            visitors,
            links: LinkPermits::new(counts.members),
            pending_links: PendingLinks::new(counts.pending_links),
            metrics: Quota::new(METRICS),
            attempts: Quota::new(counts.attempts),
            dialled: DialPermits::new(counts.dialled),
            spill_files: FairPermits::new(counts.spill_files),
            public: AtomicUsize::new(counts.public),
            pooled,
        }
    }

    /// Changes all limits to what the `shares` of a new Plan allow. Permits in use above them are
    /// returned to be retired: no open connection is closed, except for pending links.
    pub fn apply(&self, shares: &Shares) -> Vec<Excess> {
        let counts = Counts::of(shares, self.pooled);
        self.pending_links.set_most(counts.pending_links);
        self.public.store(counts.public, Relaxed);
        self.links.set(counts.members);
        self.dialled.set(counts.dialled);
        self.tunnels.set(counts.visitors);
        self.spill_files.set(counts.spill_files);
        let changed = [
            self.visitors.set(counts.visitors),
            self.attempts.set(counts.attempts),
        ];
        changed.into_iter().flatten().collect()
    }

    /// One permit for each connection attempt that a dial has open in addition to its first one.
    pub const fn attempts(&self) -> &Arc<Semaphore> {
        self.attempts.permits()
    }

    /// How many public ports may be open at once on this number of workers.
    pub fn public_ports(&self, workers: usize) -> usize {
        descriptors::public_ports(self.public.load(Relaxed), workers)
    }

    /// For streams of links that this node dials.
    pub const fn dialled(&self) -> &DialPermits {
        &self.dialled
    }

    /// For tunnels on streams of HTTP/2 and HTTP/3.
    pub const fn tunnels(&self) -> &TunnelPermits {
        &self.tunnels
    }

    /// For spill files, shared between users as the disk is.
    pub const fn spill_files(&self) -> &FairPermits<ClientId> {
        &self.spill_files
    }

    /// Connections at link listeners that are not welcomed yet.
    pub const fn pending_links(&self) -> &PendingLinks {
        &self.pending_links
    }

    /// The permits of a listener with this role, which may have `most` connections open.
    pub fn of(&self, role: &Role, most: usize) -> Admit {
        let (node, descriptors) = match role {
            Role::Link(_) => {
                return Admit::WhenWelcomed {
                    listener: LinkPermits::new(most),
                    node: self.links.clone(),
                };
            }
            Role::Metrics => (&self.metrics, 1),
            Role::Edge(_)
            | Role::Egress(_)
            | Role::Forward(_)
            | Role::PublicPort(_)
            | Role::Agent(_) => (&self.visitors, descriptors_of(role.kind())),
        };
        let listener = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        Admit::WhenAccepted {
            listener,
            node: Arc::clone(node.permits()),
            descriptors,
        }
    }
}

/// Descriptors of a connection that is accepted for a listener of this kind: its own, and that of a
/// connection that may be dialled for it.
const fn descriptors_of(kind: RoleKind) -> u32 {
    match kind {
        RoleKind::Services | RoleKind::PublicPort => CARRIED,
        RoleKind::Edge
        | RoleKind::Egress
        | RoleKind::Forward
        | RoleKind::Metrics
        | RoleKind::Agent
        | RoleKind::Serve
        | RoleKind::Exit => DIALLING,
    }
}

/// When connections of a listener take permits, and which: those of the listener, and those shared
/// by the listeners of the node, so that descriptors are left for everything that is not accepted.
#[derive(Clone, Debug)]
pub enum Admit {
    /// Before it is served: without permits nothing is accepted, and new connections wait in the
    /// kernel's accept queue.
    WhenAccepted {
        /// Connections of the listener.
        listener: Arc<Semaphore>,
        /// Descriptors of the connections of the node.
        node: Arc<Semaphore>,
        /// How many of them each connection takes.
        descriptors: u32,
    },
    /// Once it belongs to a link session. Until then it is one of the [`PendingLinks`], which
    /// bounds them.
    WhenWelcomed {
        /// Carriers of the listener.
        listener: LinkPermits,
        /// Carriers of the node that have their own descriptor.
        node: LinkPermits,
    },
}

impl Admit {
    /// How many of the permits shared with other listeners are free now.
    pub fn free_of_node(&self) -> usize {
        match self {
            Self::WhenAccepted { node, .. } => node.available_permits(),
            Self::WhenWelcomed { node, .. } => node.free(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::descriptors::Needs;

    const EDGE: Needs = Needs {
        workers: 1,
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
    const ALL: Needs = Needs {
        listeners: 3,
        link_listeners: 1,
        has_public_ports: true,
        dials_streams: true,
        ..EDGE
    };

    fn shares(needs: Needs) -> Shares {
        Shares::of(Some(1024), needs)
    }

    fn free(admission: &Admission) -> [usize; 4] {
        let of = |quota: &Quota| quota.permits().available_permits();
        [
            of(&admission.visitors),
            admission.links.free(),
            of(&admission.attempts),
            admission.dialled.left(),
        ]
    }

    #[test]
    fn a_reload_that_adds_the_first_links_gives_them_the_shares_of_a_start_with_links() {
        let pooled = shares(EDGE).pooled;
        let admission = Admission::new(&shares(EDGE), pooled);
        let visitors = admission.visitors.permits().available_permits();
        assert_eq!(
            (
                free(&admission)[1],
                free(&admission)[3],
                admission.public_ports(1)
            ),
            (1, 1, 1)
        );
        assert!(admission.apply(&shares(ALL)).is_empty());
        let started = Admission::new(&shares(ALL), pooled);
        assert_eq!(free(&admission), free(&started));
        assert_eq!(admission.public_ports(1), started.public_ports(1));
        let [fewer, members, _, dialled] = free(&admission);
        assert!(
            fewer < visitors && members > 50 && dialled > 100 && admission.public_ports(1) > 50
        );
        assert!(admission.apply(&shares(EDGE)).is_empty());
        assert_eq!((free(&admission)[0], free(&admission)[1]), (visitors, 1));
    }

    #[test]
    fn after_any_reload_all_permits_together_fit_below_the_limit() {
        let exit = Needs {
            link_listeners: 1,
            dials_streams: true,
            accepts_visitors: false,
            spills: true,
            ..EDGE
        };
        let serve = Needs {
            accepted: 0,
            carried: 10_000,
            dials_streams: false,
            ..ALL
        };
        let egress = Needs {
            spills: true,
            ..EDGE
        };
        let small_pool = Needs {
            pooled: 16,
            ..egress
        };
        let both = Needs {
            spills: true,
            accepts_visitors: true,
            ..exit
        };
        let everything = Needs {
            spills: true,
            ..ALL
        };
        let configs = [EDGE, ALL, exit, serve, egress, small_pool, both, everything];
        for limit in [256, 1024, 8192, 20_000] {
            for (from, to) in configs
                .iter()
                .flat_map(|from| configs.iter().map(move |to| (*from, *to)))
            {
                let [started, shares] = [from, to].map(|needs| Shares::of(Some(limit), needs));
                let admission = Admission::new(&started, started.pooled);
                drop(admission.apply(&shares));
                let [visitors, members, attempts, dialled] = free(&admission);
                let Counts {
                    pending_links,
                    spill_files,
                    ..
                } = Counts::of(&shares, started.pooled);
                assert_eq!(admission.spill_files.left(), spill_files);
                assert!(spill_files > 0 || !to.spills);
                // Links carry the connections of the pool where they carry all visitors.
                let pooled = if to.accepted == 0 { 0 } else { started.pooled };
                let all = visitors + members + pending_links + attempts + dialled + spill_files;
                let public = admission.public.load(Relaxed);
                let all = all + public + 2 * shares.pipes + started.names + pooled;
                assert!(
                    all + METRICS <= usize::try_from(limit).unwrap(),
                    "{limit}: {all} from {from:?} to {to:?}"
                );
            }
        }
    }

    #[test]
    fn tunnels_on_streams_have_half_of_the_descriptors_of_clients_after_a_reload_too() {
        let admission = Admission::new(&shares(EDGE), shares(EDGE).pooled);
        let halves = || (free(&admission)[0] / 2, admission.tunnels().left());
        let (half, tunnels) = halves();
        assert_eq!(half, tunnels);
        assert!(tunnels >= 100, "{tunnels}");
        assert!(admission.apply(&shares(ALL)).is_empty());
        let (fewer, tunnels) = halves();
        assert!(fewer < half && fewer == tunnels, "{fewer} {tunnels}");
    }

    #[test]
    fn a_running_listener_has_the_permits_of_the_reload() {
        let admission = Admission::new(&shares(EDGE), shares(EDGE).pooled);
        assert_eq!(admission.of(&Role::Metrics, 1).free_of_node(), METRICS);
        let visitors = Arc::clone(admission.visitors.permits());
        let in_use = visitors
            .try_acquire_many(u32::try_from(visitors.available_permits()).unwrap())
            .unwrap();
        let excess = admission.apply(&shares(ALL));
        assert_eq!(excess.len(), 1, "open connections are kept");
        drop(in_use);
        assert!(visitors.available_permits() > 0, "{excess:?}");
    }

    #[test]
    fn a_reload_that_adds_an_edge_to_a_public_end_leaves_its_pool_an_upstream_descriptor_each() {
        let serve = Needs {
            listeners: 2,
            accepted: 0,
            carried: 10_000,
            dials_streams: false,
            ..ALL
        };
        let started = shares(serve);
        let admission = Admission::new(&started, started.pooled);
        assert_eq!(free(&admission)[0], started.visitors);
        let edge = shares(Needs {
            accepted: 10_000,
            ..serve
        });
        assert!(admission.apply(&edge).is_empty());
        let visitors = free(&admission)[0];
        assert!(
            visitors > 0 && visitors + started.pooled <= edge.visitors + edge.pooled,
            "{visitors} {started:?}"
        );
    }

    #[test]
    fn a_client_served_over_a_link_takes_one_permit_and_one_that_may_need_a_dial_two() {
        let admission = Admission::new(&shares(ALL), shares(ALL).pooled);
        let taken = |role: &Role| match admission.of(role, 1) {
            Admit::WhenAccepted { descriptors, .. } => descriptors,
            Admit::WhenWelcomed { .. } => 0,
        };
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 80));
        assert_eq!(taken(&Role::PublicPort(byway_link::Name::Tcp(address))), 1);
        let edge = |routes: &str| {
            let text = format!("[[edge]]\nlisten = \"127.0.0.1:0\"\n{routes}");
            crate::config::parse(&text, "byway.toml", std::path::Path::new("/state"))
                .unwrap()
                .listeners[0]
                .frontend
                .role
                .clone()
        };
        assert_eq!(taken(&edge("[[edge.route]]\nto = \"127.0.0.1:1\"\n")), 2);
    }

    #[test]
    fn a_pool_above_its_share_reduces_the_permits_of_clients() {
        let all = shares(ALL);
        let [exact, over] =
            [all.pooled, all.pooled + 4].map(|pooled| free(&Admission::new(&all, pooled))[0]);
        assert_eq!(over, exact - 4, "descriptors");
        assert_eq!(free(&Admission::new(&all, 10_000))[0], exact.div_ceil(2));
    }
}
