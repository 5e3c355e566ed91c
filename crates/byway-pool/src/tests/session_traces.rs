//! Session traces: random sequences of steps on a pool with sessions, checked against a naive model
//! of the limits.
//!
//! After every step: no cap and no limit of a peer is exceeded, in numbers, open connections and
//! open streams; no waiter waits that could be served; the pool's stats equal the model's. At the
//! end every waiter is served, and every permit is free.

use super::multiplexed::*;
use super::*;
use crate::{Client, QueueOrder, Requeue, StreamLease};
use proptest::prelude::*;
use std::time::Duration;

const KEYS: [Key; 3] = ["a", "b", "c"];

#[derive(Debug, Clone)]
enum Step {
    Acquire {
        key: usize,
        shard: usize,
        client: u8,
        kind: Kind,
    },
    PickUp(usize),
    Cancel(usize),
    InstallSession {
        dial: usize,
        max: u32,
    },
    InstallLine(usize),
    FailDial(usize),
    Release(usize),
    Reset(usize),
    Refuse(usize),
    Keep(usize),
    Close(usize),
    SetMax {
        session: usize,
        max: u32,
    },
    SetIdle(usize),
    GoAway(usize),
    Die(usize),
    Silence(usize),
    CloseSockets,
    Pass {
        ms: u64,
    },
    Expire,
    EvictKey(usize),
    CloseIdle,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Shared,
    Exclusive,
    Fresh,
}

fn step() -> impl Strategy<Value = Step> {
    let any = 0..16_usize;
    let kind =
        prop_oneof![6 => Just(Kind::Shared), 1 => Just(Kind::Exclusive), 1 => Just(Kind::Fresh)];
    prop_oneof![
        16 => (0..3_usize, 0..3_usize, 0..3_u8, kind)
            .prop_map(|(key, shard, client, kind)| Step::Acquire { key, shard, client, kind }),
        8 => any.clone().prop_map(Step::PickUp),
        3 => any.clone().prop_map(Step::Cancel),
        6 => (any.clone(), 1..5_u32).prop_map(|(dial, max)| Step::InstallSession { dial, max }),
        2 => any.clone().prop_map(Step::InstallLine),
        2 => any.clone().prop_map(Step::FailDial),
        6 => any.clone().prop_map(Step::Release),
        2 => any.clone().prop_map(Step::Reset),
        2 => any.clone().prop_map(Step::Refuse),
        3 => any.clone().prop_map(Step::Keep),
        1 => any.clone().prop_map(Step::Close),
        2 => (any.clone(), 0..5_u32).prop_map(|(session, max)| Step::SetMax { session, max }),
        1 => any.clone().prop_map(Step::SetIdle),
        1 => any.clone().prop_map(Step::GoAway),
        1 => any.clone().prop_map(Step::Die),
        1 => any.prop_map(Step::Silence),
        6 => Just(Step::CloseSockets),
        2 => (1..3000_u64).prop_map(|ms| Step::Pass { ms }),
        1 => Just(Step::Expire),
        1 => (0..3_usize).prop_map(Step::EvictKey),
        1 => Just(Step::CloseIdle),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    let caps = (1..6_usize).prop_flat_map(|total| (Just(total), 1..=total));
    let choices = (
        any::<bool>(),
        prop::option::of(1..6_u64),
        prop::option::of(5_u64..20),
        prop_oneof![1 => 1..4_usize, 3 => Just(100)],
    );
    (caps, choices).prop_map(
        |((max_total, max_per_origin), (fair, max_requests, lifetime, queue_len))| Limits {
            max_requests,
            max_lifetime: lifetime.map(Duration::from_secs),
            queue_len,
            queue_order: if fair {
                QueueOrder::Fair
            } else {
                QueueOrder::Fifo
            },
            queue_wait: Duration::from_secs(24 * 3600),
            ..Limits::capped(max_total, max_per_origin)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: byway_testkit::cases(512), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_pool_with_sessions_keeps_every_limit_and_serves_every_waiter(
        limits in limits(),
        shards in 1..4_usize,
        steps in prop::collection::vec(step(), 1..200),
    ) {
        run(limits, shards, steps);
    }
}

/// The permit that a waiter has made room for goes to the first one of its origin, which may be one
/// that a dial covers.
#[test]
fn a_waiter_makes_room_again_if_its_permit_went_to_one_that_was_covered() {
    let acquire = |key, kind| Step::Acquire {
        key,
        shard: 0,
        client: 0,
        kind,
    };
    let limits = Limits {
        queue_order: QueueOrder::Fifo,
        queue_wait: Duration::from_secs(24 * 3600),
        ..Limits::capped(4, 3)
    };
    let steps = vec![
        acquire(2, Kind::Exclusive),
        acquire(1, Kind::Shared),
        acquire(0, Kind::Shared),
        acquire(2, Kind::Shared),
        Step::InstallSession { dial: 2, max: 1 },
        Step::InstallLine(5),
        acquire(1, Kind::Shared),
        Step::Keep(0),
        Step::Release(0),
        acquire(1, Kind::Exclusive),
    ];
    run(limits, 1, steps);
}

fn run(limits: Limits, shards: usize, steps: Vec<Step>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let (pool, net, world) = shared_shards(limits.clone(), shards);
        let shards: Vec<_> = (0..shards).map(|number| pool.shard(number)).collect();
        let mut trace = Trace::new(&shards, net, world, limits);
        for step in steps {
            trace.take(step).await;
            trace.check();
        }
        trace.end();
    });
}

struct Waiting<'a> {
    key: usize,
    shard: usize,
    kind: Kind,
    sharing: Sharing<'a>,
}

struct Trace<'a> {
    shards: &'a [Shared],
    pool: &'a Shared,
    net: MuxNet,
    world: World,
    limits: Limits,
    waiting: Vec<Waiting<'a>>,
    /// With the shard and whether it was acquired for a stream.
    dials: Vec<(usize, bool, OpenPermit<Key, Line, Mux>)>,
    leases: Vec<Lease<Key, Line, Mux>>,
    streams: Vec<(usize, StreamLease<Key, Line, Mux>)>,
}

impl<'a> Trace<'a> {
    fn new(shards: &'a [Shared], net: MuxNet, world: World, limits: Limits) -> Self {
        Self {
            shards,
            pool: &shards[0],
            net,
            world,
            limits,
            waiting: Vec::new(),
            dials: Vec::new(),
            leases: Vec::new(),
            streams: Vec::new(),
        }
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Acquire {
                key,
                shard,
                client,
                kind,
            } => self.acquire(key, shard % self.shards.len(), client, kind),
            Step::PickUp(n) => self.pick_up(n),
            Step::Cancel(n) => drop(take(&mut self.waiting, n)),
            Step::InstallSession { dial, max } => self.install_session(dial, max),
            Step::InstallLine(n) => {
                if let Some((_, _, permit)) = take(&mut self.dials, n) {
                    let line = self.world.line(permit.key());
                    self.leases.push(permit.install(line));
                }
            }
            Step::FailDial(n) => drop(take(&mut self.dials, n)),
            Step::Release(n) => {
                if let Some((_, lease)) = take(&mut self.streams, n) {
                    lease.release();
                }
            }
            Step::Reset(n) => drop(take(&mut self.streams, n)),
            Step::Refuse(n) => {
                if let Some((shard, lease)) = take(&mut self.streams, n) {
                    let key = KEYS.iter().position(|key| key == lease.key()).unwrap();
                    self.again(key, shard, lease.refused());
                }
            }
            Step::Keep(n) => {
                if let Some(lease) = take(&mut self.leases, n) {
                    lease.release(KEEP);
                }
            }
            Step::Close(n) => drop(take(&mut self.leases, n)),
            Step::SetMax { session, max } => {
                if let Some(id) = self.alive(session) {
                    self.net.set_max(id, max);
                }
            }
            Step::SetIdle(n) => {
                if let Some(id) = self.alive(n) {
                    let idle = Duration::from_millis(u64::from(id % 3) * 500);
                    self.net
                        .with_guard(id, |guard| guard.set_idle_timeout(idle));
                }
            }
            Step::GoAway(n) => {
                if let Some(id) = self.alive(n) {
                    self.net.go_away(id);
                }
            }
            Step::Die(n) => {
                if let Some(id) = self.alive(n) {
                    self.net.end(id);
                }
            }
            Step::Silence(n) => {
                if let Some(id) = self.alive(n) {
                    self.net.peer(id, |peer| peer.is_silent = true);
                }
            }
            Step::CloseSockets => drop(self.net.close()),
            Step::Pass { ms } => tokio::time::advance(Duration::from_millis(ms)).await,
            Step::Expire => {
                let due = self.pool.next_expiry();
                let now = crate::pool::now();
                let closed = self.pool.expire(now);
                assert_eq!(closed > 0, due.is_some_and(|due| due <= now));
            }
            Step::EvictKey(key) => drop(self.pool.evict_key(&KEYS[key])),
            Step::CloseIdle => drop(self.pool.close_idle()),
        }
    }

    /// A session whose connection is open.
    fn alive(&self, n: usize) -> Option<u32> {
        let ids = self.net.ids(|peer| peer.guard.is_some());
        (!ids.is_empty()).then(|| ids[n % ids.len()])
    }

    fn acquire(&mut self, key: usize, shard: usize, client: u8, kind: Kind) {
        let (pool, name) = (&self.shards[shard], &KEYS[key]);
        let client = match client {
            0 => Client::ANYONE,
            client => Client::of(&client),
        };
        let sharing = match kind {
            Kind::Shared => Sharing::new(pool.acquire_shared_for(name, client)),
            Kind::Exclusive => Sharing::new(pool.acquire_for(name, client)),
            Kind::Fresh => Sharing::new(pool.acquire_fresh_for(name, client)),
        };
        self.enter(Waiting {
            key,
            shard,
            kind,
            sharing,
        });
    }

    fn again(&mut self, key: usize, shard: usize, requeue: Requeue) {
        let sharing = Sharing::new(self.shards[shard].acquire_again(&KEYS[key], requeue));
        self.enter(Waiting {
            key,
            shard,
            kind: Kind::Shared,
            sharing,
        });
    }

    fn enter(&mut self, mut waiting: Waiting<'a>) {
        match waiting.sharing.poll() {
            Poll::Ready(outcome) => self.accept(&waiting, outcome),
            Poll::Pending => self.waiting.push(waiting),
        }
    }

    fn accept(&mut self, waiting: &Waiting<'a>, outcome: SharedOutcome) {
        let Waiting {
            key, shard, kind, ..
        } = *waiting;
        match outcome {
            Ok(Acquired::Open(permit)) => {
                assert_eq!(*permit.key(), KEYS[key]);
                self.dials.push((shard, kind == Kind::Shared, permit));
            }
            Ok(Acquired::Lease(lease)) => {
                assert_eq!(*lease.key(), KEYS[key]);
                assert!(kind != Kind::Fresh && lease.reused());
                self.leases.push(lease);
            }
            Ok(Acquired::Stream(lease)) => {
                assert_eq!(*lease.key(), KEYS[key]);
                assert!(kind == Kind::Shared && lease.reused());
                let max = self.limits.max_requests;
                assert!(max.is_none_or(|max| lease.requests() <= max));
                self.streams.push((shard, lease));
            }
            Err(AcquireError::QueueFull { limit } | AcquireError::ClientShare { limit }) => {
                assert_eq!(limit, self.limits.queue_len);
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn pick_up(&mut self, n: usize) {
        let woken: Vec<_> = (0..self.waiting.len())
            .filter(|i| self.waiting[*i].sharing.woken())
            .collect();
        if woken.is_empty() {
            return;
        }
        let waiting = self.waiting.remove(woken[n % woken.len()]);
        self.enter(waiting);
    }

    fn install_session(&mut self, n: usize, max: u32) {
        if let Some((shard, _, permit)) = take(&mut self.dials, n) {
            let lease = self.net.install(permit, max);
            self.streams.push((shard, lease));
        }
    }

    fn check(&self) {
        self.pool.audit();
        let stats = self.pool.stats();
        let sessions = self.net.ids(|peer| !peer.is_dropped);
        let lines = self.world.open();
        assert_eq!(
            stats.active + stats.idle,
            sessions.len() + lines.len(),
            "a connection is counted that is closed, or the reverse"
        );
        let held = stats.active + stats.idle + stats.connecting;
        assert!(held <= self.limits.max_total);
        for origin in &stats.origins {
            let held = origin.active + origin.idle + origin.connecting;
            assert!(held <= self.limits.max_per_origin);
        }
        assert!(stats.pending <= self.limits.queue_len);
        // Every acquire that no longer waits holds what it was granted, or lost its place.
        let granted = stats.streams - self.streams.len() + stats.connecting - self.dials.len();
        assert!(granted <= self.waiting.len() - stats.pending);
        let open = stats.opened_total - stats.closed_total;
        assert_eq!(open, (stats.active + stats.idle) as u64);
        for (number, key) in KEYS.iter().enumerate() {
            let of = stats.origins.iter().find(|origin| origin.key == *key);
            let Some(of) = of.filter(|of| of.pending > 0) else {
                continue;
            };
            let is_capped = of.active + of.idle + of.connecting == self.limits.max_per_origin;
            let is_used_up = held == self.limits.max_total;
            let exclusive = |waiting: &Waiting<'_>| {
                waiting.key == number && waiting.kind != Kind::Shared && !waiting.sharing.woken()
            };
            // Others may wait for a dial.
            let may_dial = !self.waiting.iter().any(exclusive) && of.connecting > 0;
            assert!(
                is_capped || is_used_up || may_dial,
                "a waiter below all limits waits for nothing"
            );
        }
    }

    /// Every waiter is served as soon as the others end.
    fn end(mut self) {
        for round in 0.. {
            assert!(round < 10_000, "a waiter is never served");
            self.net.close();
            while let Some(at) = self.waiting.iter().position(|w| w.sharing.woken()) {
                let waiting = self.waiting.remove(at);
                self.enter(waiting);
            }
            self.check();
            if let Some((_, lease)) = self.streams.pop() {
                lease.release();
            } else if let Some(lease) = self.leases.pop() {
                lease.release(KEEP);
            } else if !self.dials.is_empty() {
                self.install_session(0, 2);
            } else if self.waiting.is_empty() {
                break;
            } else {
                assert!(
                    self.waiting.iter().any(|w| w.sharing.woken())
                        || !self
                            .net
                            .ids(|peer| peer.to_close && peer.guard.is_some())
                            .is_empty(),
                    "waiters, and nothing that they could wait for"
                );
            }
        }
        self.pool.close_idle();
        self.net.close();
        self.pool.audit();
        assert_eq!(self.pool.remains().0, 0);
        assert!(self.net.ids(|peer| !peer.is_dropped).is_empty() && self.world.open().is_empty());
    }
}

/// Takes the value at `n` modulo the length, if there is one.
fn take<T>(from: &mut Vec<T>, n: usize) -> Option<T> {
    (!from.is_empty()).then(|| from.remove(n % from.len()))
}
