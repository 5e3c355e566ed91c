//! Traces: random sequences of steps on a pool, each predicted by a naive model.
//!
//! After every step: no cap is exceeded, in numbers or in open connections; no waiter waits that
//! could be served; waiters are served in order; the pool's stats equal the model's. At the end
//! every permit is free.

use super::*;
use crate::permits::PASS_OVER;
use crate::{Detached, OpenPermit, QueueOrder, Scheduling};
use proptest::prelude::*;
use std::collections::HashSet;
use std::time::{Duration, Instant};

const KEYS: [Key; 4] = ["a", "b", "c", "d"];

#[derive(Debug, Clone)]
enum Step {
    Acquire {
        key: usize,
        shard: usize,
        fresh: bool,
    },
    PickUp(usize),
    Cancel(usize),
    Install(usize),
    FailDial(usize),
    Keep {
        lease: usize,
        idle_ms: u64,
    },
    Close(usize),
    Upgrade(usize),
    EndUpgrade(usize),
    MarkDirty(usize),
    Pass {
        ms: u64,
    },
    Expire,
    EvictKey(usize),
    EvictOdd,
    CloseIdle,
}

fn step() -> impl Strategy<Value = Step> {
    let any = 0..16_usize;
    prop_oneof![
        12 => (0..4_usize, 0..3_usize, prop::bool::weighted(0.15))
            .prop_map(|(key, shard, fresh)| Step::Acquire { key, shard, fresh }),
        6 => any.clone().prop_map(Step::PickUp),
        3 => any.clone().prop_map(Step::Cancel),
        6 => any.clone().prop_map(Step::Install),
        1 => any.clone().prop_map(Step::FailDial),
        8 => (any.clone(), prop_oneof![9 => 100..5000_u64, 1 => Just(0)])
            .prop_map(|(lease, idle_ms)| Step::Keep { lease, idle_ms }),
        2 => any.clone().prop_map(Step::Close),
        1 => any.clone().prop_map(Step::Upgrade),
        1 => any.clone().prop_map(Step::EndUpgrade),
        1 => any.prop_map(Step::MarkDirty),
        2 => (1..3000_u64).prop_map(|ms| Step::Pass { ms }),
        1 => Just(Step::Expire),
        1 => (0..4_usize).prop_map(Step::EvictKey),
        1 => Just(Step::EvictOdd),
        1 => Just(Step::CloseIdle),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    let caps = (1..7_usize).prop_flat_map(|total| (Just(total), 1..=total));
    let caps = caps.prop_flat_map(|(total, each)| (Just(total), Just(each), 1..=each));
    let caps = caps
        .prop_flat_map(|(total, each, idle)| (Just(total), Just(each), Just(idle), idle..=total));
    let choices = (
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        prop::option::of(1..4_u64),
    );
    (caps, choices).prop_map(
        |((max_total, max_per_origin, idle, idle_total), (lifo, fair, counted, max_requests))| {
            Limits {
                max_idle_per_origin: idle,
                max_idle_total: Some(idle_total),
                max_requests,
                scheduling: if lifo {
                    Scheduling::Lifo
                } else {
                    Scheduling::Fifo
                },
                queue_order: if fair {
                    QueueOrder::Fair
                } else {
                    QueueOrder::Fifo
                },
                queue_wait: Duration::from_secs(24 * 3600),
                count_upgraded: counted,
                ..Limits::capped(max_total, max_per_origin)
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: byway_testkit::cases(512), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_pool_does_what_the_model_predicts(
        limits in limits(),
        shards in 1..4_usize,
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (net, world) = (Pool::sharded(limits.clone(), shards).unwrap(), World::default());
            let shards: Vec<_> = (0..shards).map(|number| net.shard(number)).collect();
            let mut trace = Trace::new(&shards, world, limits);
            for step in steps {
                trace.take(step).await;
                trace.check();
            }
            trace.end();
        });
    }
}

/// A connection that is idle, or was handed over and not taken.
#[derive(Clone, Copy, PartialEq)]
struct Kept {
    key: usize,
    shard: usize,
    id: u32,
    /// When it became idle.
    since: Instant,
    until: Instant,
    generation: u32,
}

enum Got {
    Reuse(Kept),
    Open { generation: u32 },
}

struct Waiting<'a> {
    key: usize,
    shard: usize,
    fresh: bool,
    acquiring: Acquiring<'a>,
    got: Option<Got>,
}

struct Out<T> {
    key: usize,
    shard: usize,
    generation: u32,
    what: T,
}

struct Trace<'a> {
    shards: &'a [Net],
    net: &'a Net,
    world: World,
    limits: Limits,
    waiting: Vec<Waiting<'a>>,
    permits: Vec<Out<OpenPermit<Key, Line>>>,
    leases: Vec<Out<Lease<Key, Line>>>,
    upgraded: Vec<Out<(Line, Detached<Key, Line>)>>,
    /// Least recently used first.
    idle: Vec<Kept>,
    dirty: HashSet<u32>,
    generations: [u32; 4],
    /// Grants to others since only the total limit has blocked a key.
    skipped: [u32; 4],
    /// Connections handed over past the oldest waiter of a key.
    overtaken: [u32; 4],
    oldest: [Option<usize>; 4],
}

impl<'a> Trace<'a> {
    fn new(shards: &'a [Net], world: World, limits: Limits) -> Self {
        Self {
            shards,
            net: &shards[0],
            world,
            limits,
            waiting: Vec::new(),
            permits: Vec::new(),
            leases: Vec::new(),
            upgraded: Vec::new(),
            idle: Vec::new(),
            dirty: HashSet::new(),
            generations: [0; 4],
            skipped: [0; 4],
            overtaken: [0; 4],
            oldest: [None; 4],
        }
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Acquire { key, shard, fresh } => {
                self.acquire(key, shard % self.shards.len(), fresh)
            }
            Step::PickUp(n) => self.pick_up(n),
            Step::Cancel(n) => self.cancel(n),
            Step::Install(n) => self.install(n),
            Step::FailDial(n) => {
                take(&mut self.permits, n, |permit| drop(permit.what)).map_or((), |()| self.freed())
            }
            Step::Keep { lease, idle_ms } => self.keep(lease, Duration::from_millis(idle_ms)),
            Step::Close(n) => {
                take(&mut self.leases, n, |lease| drop(lease.what)).map_or((), |()| self.freed())
            }
            Step::Upgrade(n) => self.upgrade(n),
            Step::EndUpgrade(n) => self.end_upgrade(n),
            Step::MarkDirty(n) => self.mark_dirty(n),
            Step::Pass { ms } => tokio::time::advance(Duration::from_millis(ms)).await,
            Step::Expire => self.expire(),
            Step::EvictKey(key) => self.evict_key(key),
            Step::EvictOdd => self.evict(
                |kept| kept.id % 2 == 1,
                |net| net.evict(|_, line| line.id % 2 == 1),
            ),
            Step::CloseIdle => self.evict(|_| true, Pool::close_idle),
        }
    }

    fn acquire(&mut self, key: usize, shard: usize, fresh: bool) {
        let waits = self.waits(key);
        let loans = if waits || fresh {
            None
        } else {
            self.check_out(key, shard)
        };
        let expected = match loans {
            Some(loans) => Some(loans),
            None if waits || !self.make_room(key, fresh) => None,
            None => Some(Err(())),
        };
        let mut acquiring = acquiring(&self.shards[shard], &KEYS[key], fresh);
        match (expected, acquiring.poll()) {
            (None, Poll::Pending) => self.waiting.push(Waiting {
                key,
                shard,
                fresh,
                acquiring,
                got: None,
            }),
            (Some(expected), Poll::Ready(outcome)) => {
                self.accept((key, shard), expected, self.generations[key], outcome);
            }
            (None, Poll::Ready(outcome)) => panic!("should wait, got {outcome:?}"),
            (Some(_), Poll::Pending) => panic!("should not wait"),
        }
        assert_eq!(self.newly_woken(), None);
    }

    /// The idle connection to reuse next, `Err` if all were unfit, `None` if there was none.
    fn check_out(&mut self, key: usize, shard: usize) -> Option<Result<u32, ()>> {
        let mut unfit = None;
        loop {
            let mut own = self
                .idle
                .iter()
                .filter(|kept| kept.key == key && kept.shard == shard);
            let next = if self.limits.scheduling == Scheduling::Lifo {
                own.next_back()
            } else {
                own.next()
            };
            let Some(next) = next.copied() else {
                return unfit;
            };
            self.idle.retain(|kept| *kept != next);
            if next.until > crate::pool::now() && !self.dirty.contains(&next.id) {
                return Some(Ok(next.id));
            }
            unfit = Some(Err(()));
        }
    }

    /// Whether a permit is available at once; removes the idle connection that is closed for it.
    fn make_room(&mut self, key: usize, fresh: bool) -> bool {
        let capped = self.held(key) == self.limits.max_per_origin;
        if !capped && self.total() < self.limits.max_total {
            return true;
        }
        let oldest = |which: &dyn Fn(&Kept) -> bool| {
            // If several became idle at the same time, the one in the first shard.
            let named = self.idle.iter().enumerate().filter(|(_, kept)| which(kept));
            named
                .min_by_key(|(_, kept)| (kept.since, kept.shard))
                .map(|(at, _)| at)
        };
        let own = oldest(&|kept| kept.key == key).filter(|_| capped || fresh);
        let any = if capped { None } else { oldest(&|_| true) };
        own.or(any).map(|victim| self.idle.remove(victim)).is_some()
    }

    fn accept(
        &mut self,
        (key, shard): (usize, usize),
        expected: Result<u32, ()>,
        generation: u32,
        outcome: Outcome,
    ) {
        match (expected, outcome.unwrap()) {
            (Ok(id), Acquired::Lease(what)) => {
                assert_eq!((what.id, *what.key(), what.reused()), (id, KEYS[key], true));
                assert!(!self.dirty.contains(&id));
                self.leases.push(Out {
                    key,
                    shard,
                    generation,
                    what,
                });
            }
            (Err(()), Acquired::Open(what)) => self.permits.push(Out {
                key,
                shard,
                generation,
                what,
            }),
            (expected, outcome) => panic!("expected {expected:?}, got {outcome:?}"),
        }
    }

    fn pick_up(&mut self, n: usize) {
        let woken: Vec<_> = (0..self.waiting.len())
            .filter(|i| self.waiting[*i].got.is_some())
            .collect();
        let Some(at) = (!woken.is_empty()).then(|| woken[n % woken.len()]) else {
            return;
        };
        let Waiting {
            key,
            shard,
            got,
            acquiring,
            ..
        } = self.waiting.remove(at);
        let current = self.generations[key];
        let (expected, generation) = match got {
            Some(Got::Reuse(kept)) if self.is_fit(&kept) && !self.dirty.contains(&kept.id) => {
                (Ok(kept.id), kept.generation)
            }
            Some(Got::Reuse(_)) => (self.check_out(key, shard).unwrap_or(Err(())), current),
            Some(Got::Open { generation }) => (Err(()), generation),
            None => unreachable!(),
        };
        let outcome = acquiring.served();
        self.accept((key, shard), expected, generation, outcome);
    }

    fn cancel(&mut self, n: usize) {
        let Some(waiting) = take(&mut self.waiting, n, |waiting| waiting) else {
            return;
        };
        drop(waiting.acquiring);
        match waiting.got {
            Some(Got::Reuse(kept)) => self.returned(kept),
            Some(Got::Open { .. }) => self.freed(),
            None => assert_eq!(self.newly_woken(), None),
        }
    }

    fn install(&mut self, n: usize) {
        let Some(Out {
            key,
            shard,
            generation,
            what,
        }) = take(&mut self.permits, n, |permit| permit)
        else {
            return;
        };
        assert_eq!(*what.key(), KEYS[key]);
        let what = what.install(self.world.line(KEYS[key]));
        self.leases.push(Out {
            key,
            shard,
            generation,
            what,
        });
    }

    fn keep(&mut self, n: usize, idle: Duration) {
        let Some(Out {
            key,
            shard,
            generation,
            what,
        }) = take(&mut self.leases, n, |lease| lease)
        else {
            return;
        };
        let worn = self
            .limits
            .max_requests
            .is_some_and(|max| what.requests() >= max);
        let until = crate::pool::now() + if worn { Duration::ZERO } else { idle };
        let kept = Kept {
            key,
            shard,
            id: what.id,
            since: crate::pool::now(),
            until,
            generation,
        };
        what.release(Release::Keep { idle: Some(idle) });
        self.returned(kept);
    }

    fn upgrade(&mut self, n: usize) {
        let Some(Out {
            key,
            shard,
            generation,
            what,
        }) = take(&mut self.leases, n, |lease| lease)
        else {
            return;
        };
        self.upgraded.push(Out {
            key,
            shard,
            generation,
            what: what.detach(),
        });
        match self.limits.count_upgraded {
            true => assert_eq!(self.newly_woken(), None),
            false => self.freed(),
        }
    }

    fn end_upgrade(&mut self, n: usize) {
        if take(&mut self.upgraded, n, |out| drop(out.what)).is_some() {
            match self.limits.count_upgraded {
                true => self.freed(),
                false => assert_eq!(self.newly_woken(), None),
            }
        }
    }

    fn mark_dirty(&mut self, n: usize) {
        if let Some(kept) = self.idle.get(n % self.idle.len().max(1)) {
            self.world.mark_dirty(kept.id);
            self.dirty.insert(kept.id);
        }
    }

    fn expire(&mut self) {
        let now = crate::pool::now();
        assert_eq!(
            self.net.next_expiry(),
            self.idle.iter().map(|kept| kept.until).min()
        );
        self.evict(|kept| kept.until <= now, |net| net.expire(now));
    }

    fn evict_key(&mut self, key: usize) {
        self.generations[key] += u32::from(self.held(key) > 0 || self.waits(key));
        self.evict(|kept| kept.key == key, |net| net.evict_key(&KEYS[key]));
    }

    fn evict(&mut self, which: impl Fn(&Kept) -> bool, how: impl FnOnce(&Net) -> usize) {
        let before = self.idle.len();
        self.idle.retain(|kept| !which(kept));
        assert_eq!(how(self.net), before - self.idle.len());
        assert_eq!(
            self.newly_woken(),
            None,
            "an eviction served a waiter that could have been served before"
        );
    }

    /// A permit was freed, or a connection was closed: it goes to the oldest waiter of some
    /// eligible origin.
    fn freed(&mut self) {
        let eligible: Vec<_> = (0..KEYS.len())
            .filter(|key| self.is_eligible(*key))
            .collect();
        let Some(woken) = self.newly_woken() else {
            assert!(
                eligible.is_empty(),
                "no waiter was served, though one could be"
            );
            return;
        };
        let key = self.waiting[woken].key;
        assert!(eligible.contains(&key));
        if self.limits.queue_order == QueueOrder::Fifo {
            let first = self
                .waiting
                .iter()
                .position(|w| w.got.is_none() && eligible.contains(&w.key));
            assert_eq!(
                first,
                Some(woken),
                "not the first of the waiters that could be served"
            );
        }
        self.granted(
            woken,
            Got::Open {
                generation: self.generations[key],
            },
        );
    }

    /// A connection was released with `Keep`.
    fn returned(&mut self, kept: Kept) {
        let closed = !self.world.open().contains(&kept.id);
        let own = |waiting: &Waiting<'_>| waiting.key == kept.key && waiting.got.is_none();
        let first = self
            .waiting
            .iter()
            .position(|waiting| own(waiting) && waiting.shard == kept.shard);
        let others = (0..KEYS.len()).any(|key| key != kept.key && self.is_eligible(key))
            || self
                .waiting
                .iter()
                .any(|waiting| own(waiting) && waiting.shard != kept.shard);
        let fit = self.is_fit(&kept);
        match first {
            _ if !fit => assert!(closed),
            Some(first) if self.waiting[first].fresh => assert!(closed),
            Some(_) if closed => {
                assert!(others, "closed although no other waiter needed its permit")
            }
            Some(first) => {
                assert_eq!(self.newly_woken(), Some(first));
                return self.granted(first, Got::Reuse(kept));
            }
            None if others => assert!(closed),
            None => {
                assert!(!closed);
                assert_eq!(self.newly_woken(), None);
                return self.park(kept);
            }
        }
        self.freed();
        let own_turn = fit
            && first.is_some_and(|first| {
                !self.waiting[first].fresh && self.waiting[first].got.is_some()
            });
        assert!(
            !own_turn || others,
            "closed a connection and gave its permit to a waiter that could use the connection"
        );
    }

    fn park(&mut self, kept: Kept) {
        let share = |limit: usize, cap: usize| {
            if limit < cap {
                limit.div_ceil(self.shards.len())
            } else {
                cap
            }
        };
        let here: Vec<_> = self
            .idle
            .iter()
            .filter(|idle| idle.shard == kept.shard)
            .copied()
            .collect();
        let own: Vec<_> = here
            .iter()
            .filter(|idle| idle.key == kept.key)
            .copied()
            .collect();
        let max_idle_total = self.limits.max_idle_total.unwrap();
        let over =
            if own.len() == share(self.limits.max_idle_per_origin, self.limits.max_per_origin) {
                own.first()
            } else {
                here.first()
                    .filter(|_| here.len() == share(max_idle_total, self.limits.max_total))
            };
        if let Some(over) = over {
            self.idle.retain(|idle| idle != over);
        }
        self.idle.push(Kept {
            since: crate::pool::now(),
            ..kept
        });
    }

    fn granted(&mut self, woken: usize, got: Got) {
        let key = self.waiting[woken].key;
        let own = |waiting: &Waiting<'_>| waiting.key == key && waiting.got.is_none();
        let oldest = self.waiting.iter().position(own);
        let shard = self.waiting[woken].shard;
        let in_shard = self
            .waiting
            .iter()
            .position(|waiting| own(waiting) && waiting.shard == shard);
        match got {
            Got::Open { .. } => assert_eq!(oldest, Some(woken), "not the oldest of its origin"),
            Got::Reuse(_) => assert_eq!(
                in_shard,
                Some(woken),
                "not the oldest of its origin in its shard"
            ),
        }
        self.overtaken[key] = if oldest == Some(woken) {
            0
        } else {
            self.overtaken[key] + 1
        };
        assert!(
            self.overtaken[key] as usize <= PASS_OVER as usize * self.shards.len(),
            "a shard starves"
        );
        self.waiting[woken].got = Some(got);
        for other in 0..KEYS.len() {
            let waits = other != key && self.is_eligible(other);
            self.skipped[other] = if waits { self.skipped[other] + 1 } else { 0 };
            let fair = self.limits.queue_order == QueueOrder::Fair;
            assert!(
                !fair || self.skipped[other] <= (PASS_OVER + 1) * 4,
                "an origin starves"
            );
        }
    }

    fn newly_woken(&self) -> Option<usize> {
        let mut woken = (0..self.waiting.len())
            .filter(|n| self.waiting[*n].got.is_none() && self.waiting[*n].acquiring.woken());
        let first = woken.next();
        assert_eq!(woken.next(), None, "two woken for one permit");
        first
    }

    fn is_fit(&self, kept: &Kept) -> bool {
        kept.until > crate::pool::now() && kept.generation == self.generations[kept.key]
    }

    fn is_eligible(&self, key: usize) -> bool {
        self.waits(key) && self.held(key) < self.limits.max_per_origin
    }

    fn waits(&self, key: usize) -> bool {
        self.waiting
            .iter()
            .any(|waiting| waiting.key == key && waiting.got.is_none())
    }

    fn held(&self, key: usize) -> usize {
        self.idle_of(key) + self.permits_of(key) + self.active_of(key) + self.upgraded_of(key)
    }

    /// Only those that count.
    fn upgraded_of(&self, key: usize) -> usize {
        count(&self.upgraded, |out| {
            self.limits.count_upgraded && out.key == key
        })
    }

    fn idle_of(&self, key: usize) -> usize {
        count(&self.idle, |kept| kept.key == key)
    }

    /// In use, or granted and not taken.
    fn permits_of(&self, key: usize) -> usize {
        count(&self.permits, |out| out.key == key)
            + count(&self.waiting, |w| {
                w.key == key && matches!(w.got, Some(Got::Open { .. }))
            })
    }

    fn active_of(&self, key: usize) -> usize {
        count(&self.leases, |out| out.key == key)
            + count(&self.waiting, |w| {
                w.key == key && matches!(w.got, Some(Got::Reuse(_)))
            })
    }

    fn total(&self) -> usize {
        (0..KEYS.len()).map(|key| self.held(key)).sum()
    }

    fn check(&mut self) {
        self.net.audit();
        self.check_caps();
        self.check_lines();
        self.check_stats();
        let used_up = self.total() == self.limits.max_total && self.idle.is_empty();
        for key in 0..KEYS.len() {
            assert!(
                !self.is_eligible(key) || used_up,
                "a waiter below all limits was not served"
            );
            assert!(
                !self.waits(key) || self.idle_of(key) == 0,
                "a waiter and an idle connection at once"
            );
            if !self.is_eligible(key) {
                self.skipped[key] = 0;
            }
            let oldest = self
                .waiting
                .iter()
                .position(|waiting| waiting.key == key && waiting.got.is_none());
            let oldest =
                oldest.map(|at| std::ptr::from_ref(&*self.waiting[at].acquiring.woken) as usize);
            if self.oldest[key] != oldest {
                (self.oldest[key], self.overtaken[key]) = (oldest, 0);
            }
        }
    }

    fn check_caps(&self) {
        let dialling = |key: usize| count(&self.permits, |out| out.key == key);
        let uncounted =
            |key: usize| count(&self.upgraded, |out| out.key == key) - self.upgraded_of(key);
        let sockets = |key: usize| self.world.open_to(KEYS[key]) + dialling(key) - uncounted(key);
        assert!((0..KEYS.len()).all(|key| sockets(key) <= self.limits.max_per_origin));
        assert!((0..KEYS.len()).map(sockets).sum::<usize>() <= self.limits.max_total);
    }

    fn check_lines(&self) {
        let handed = self
            .waiting
            .iter()
            .filter_map(|waiting| match &waiting.got {
                Some(Got::Reuse(kept)) => Some(kept.id),
                _ => None,
            });
        let loans = self
            .leases
            .iter()
            .map(|out| out.what.id)
            .chain(self.upgraded.iter().map(|out| out.what.0.id));
        let mut lines: Vec<_> = self
            .idle
            .iter()
            .map(|kept| kept.id)
            .chain(loans)
            .chain(handed)
            .collect();
        lines.sort_unstable();
        assert_eq!(lines, self.world.open());
    }

    fn check_stats(&self) {
        let stats = self.net.stats();
        let sum = |of: &dyn Fn(usize) -> usize| (0..KEYS.len()).map(of).sum::<usize>();
        assert_eq!(stats.connecting, sum(&|key| self.permits_of(key)));
        assert_eq!(stats.active, sum(&|key| self.active_of(key)));
        assert_eq!(
            (stats.idle, stats.upgraded),
            (self.idle.len(), sum(&|key| self.upgraded_of(key)))
        );
        assert_eq!(
            stats.pending,
            count(&self.waiting, |waiting| waiting.got.is_none())
        );
        assert_eq!(
            stats.origins.len(),
            count(&[0, 1, 2, 3], |key| self.held(*key) > 0 || self.waits(*key))
        );
        let open = stats.active + stats.idle + stats.upgraded;
        assert_eq!(stats.opened_total - stats.closed_total, open as u64);
    }

    fn end(self) {
        let Self {
            net,
            world,
            waiting,
            permits,
            leases,
            upgraded,
            ..
        } = self;
        drop((permits, leases, upgraded));
        drop(waiting);
        net.close_idle();
        net.audit();
        assert!(net.stats().origins.is_empty() && world.open().is_empty());
    }
}

/// Takes the value at `n` modulo the length, if there is one.
fn take<T, R>(from: &mut Vec<T>, n: usize, then: impl FnOnce(T) -> R) -> Option<R> {
    if from.is_empty() {
        return None;
    }
    let at = n % from.len();
    Some(then(from.remove(at)))
}

fn count<T>(of: &[T], which: impl Fn(&T) -> bool) -> usize {
    of.iter().filter(|one| which(one)).count()
}
