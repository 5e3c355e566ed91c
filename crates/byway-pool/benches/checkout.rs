//! Checkout: the cost of one check-out, and fairness at the cap.
//!
//! In:    nothing; `cargo bench -p byway-pool --bench checkout`.
//! Out:   ns per acquire and release, minimum and median of some rounds, and the grants of four
//!        shards at the cap.
//! Never: uses sockets; fails on a slow result: numbers of a shared machine are noisy, so the
//!        targets are printed beside them.

#![allow(clippy::print_stdout, clippy::expect_used)] // a program that prints and may panic

use byway_pool::{Acquired, Conn, Lease, Limits, Pool, Probe, Release, Session};
use std::future::Future;
use std::hint::black_box;
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

const KEEP: Release = Release::Keep { idle: None };
const ROUNDS: usize = 101;

/// As large as a connection with its buffers elsewhere; a probe finds nothing and costs nothing.
struct Line(#[allow(dead_code)] [u64; 16]);

impl Conn for Line {
    fn probe(&mut self) -> Probe {
        Probe::Clean
    }

    fn may_be_readable(&mut self) -> bool {
        false
    }
}

fn line() -> Line {
    Line([0; 16])
}

fn main() {
    for (shards, origins, target_ns) in [(1, 1, 120), (4, 1, 120), (1, 10_000, 200)] {
        let mut rounds: Vec<f64> = (0..ROUNDS).map(|_| check_out(shards, origins)).collect();
        rounds.sort_by(f64::total_cmp);
        let (least, median) = (rounds[0], rounds[ROUNDS / 2]);
        println!(
            "{origins:>6} origins, {shards} shards: {least:6.1} ns at least, {median:6.1} ns median (target {target_ns})"
        );
    }
    println!("       a stream of a session: {:6.1} ns", stream());
    println!("       the clock, read once: {:6.1} ns", clock());
    at_the_cap(1);
    at_the_cap(4);
}

/// ns per acquire and release of an idle connection. One shard is measured; the others exist.
fn check_out(shards: usize, origins: usize) -> f64 {
    let long = Duration::from_secs(3600);
    let limits = Limits {
        idle_timeout: long,
        ..Limits::capped(origins.max(shards), origins.max(shards))
    };
    let pool: Pool<Arc<str>, Line> = Pool::sharded(limits, shards).expect("sound limits");
    let mut keys: Vec<Arc<str>> = (0..origins)
        .map(|n| format!("https://origin-{n}.example:443").into())
        .collect();
    let leases: Vec<_> = keys.iter().map(|key| now(&pool, key)).collect();
    leases.into_iter().for_each(|lease| lease.release(KEEP));
    shuffle(&mut keys);
    keys.iter().for_each(|key| now(&pool, key).release(KEEP));

    let loans = 50_000_usize.div_ceil(origins) * origins;
    let begun = Instant::now();
    for n in 0..loans {
        let lease = now(&pool, &keys[n % origins]);
        black_box(lease).release(KEEP);
    }
    begun.elapsed().as_nanos() as f64 / loans as f64
}

struct Mux;

impl Session for Mux {
    type Stream = ();

    fn open(&self) {}

    fn reset(&self, (): &mut ()) {}

    fn close(&self) {}
}

/// ns per acquire and release of a stream, the median of some rounds. One slot of 100 is free.
fn stream() -> f64 {
    let pool: Pool<Arc<str>, Line, Mux> =
        Pool::with_sessions(Limits::default(), 1, None).expect("sound limits");
    let key: Arc<str> = "https://origin.example:443".into();
    let acquire = || {
        let acquire = pin!(pool.acquire_shared(&key));
        match acquire.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(acquired)) => acquired,
            Poll::Ready(Err(error)) => panic!("{error}"),
            Poll::Pending => panic!("a slot is free"),
        }
    };
    let Acquired::Open(permit) = acquire() else {
        panic!("the pool is empty")
    };
    let (_first, _guard) = permit.install_session(Mux, const { NonZeroU32::new(100).unwrap() });
    let _others: Vec<_> = (0..98).map(|_| acquire()).collect();
    let round = || {
        let begun = Instant::now();
        for _ in 0..50_000 {
            let Acquired::Stream(lease) = acquire() else {
                panic!("a slot is free")
            };
            black_box(lease).release();
        }
        begun.elapsed().as_nanos() as f64 / 5e4
    };
    let mut rounds: Vec<f64> = (0..ROUNDS).map(|_| round()).collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

/// An acquire that must not wait.
fn now(pool: &Pool<Arc<str>, Line>, key: &Arc<str>) -> Lease<Arc<str>, Line> {
    let acquire = pin!(pool.acquire(key));
    match acquire.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(Acquired::Lease(lease))) => lease,
        Poll::Ready(Ok(Acquired::Open(permit))) => permit.install(line()),
        Poll::Ready(Err(error)) => panic!("{error}"),
        Poll::Pending => panic!("no other user exists"),
    }
}

/// Connections are opened in memory order, which would favour the cache.
fn shuffle<T>(values: &mut [T]) {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    for n in (1..values.len()).rev() {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        values.swap(n, (state >> 33) as usize % (n + 1));
    }
}

fn clock() -> f64 {
    let begun = Instant::now();
    for _ in 0..1_000_000 {
        black_box(Instant::now());
    }
    begun.elapsed().as_nanos() as f64 / 1e6
}

/// Four shards, each with eight users, share four connections to one origin; each user always wants
/// one. On one thread only the pool decides the order; on four the scheduler of the system, which
/// may preempt any of them, affects it too.
fn at_the_cap(threads: usize) {
    const SHARDS: usize = 4;
    const USERS: usize = 8;
    const GRANTS: u64 = 200_000;
    let limits = Limits {
        queue_wait: Duration::from_secs(60),
        ..Limits::capped(SHARDS, SHARDS)
    };
    let pool: Pool<Arc<str>, Line> = Pool::sharded(limits, SHARDS).expect("sound limits");
    let key: Arc<str> = "https://origin.example:443".into();
    let grants: Arc<Vec<AtomicU64>> = Arc::new((0..SHARDS).map(|_| AtomicU64::new(0)).collect());
    let ended = Arc::new(AtomicUsize::new(0));
    let widest = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let run = |thread: usize| {
        let (pool, key, grants) = (pool.clone(), key.clone(), grants.clone());
        let (ended, widest) = (ended.clone(), widest.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .expect("a runtime");
            let users = tokio::task::LocalSet::new();
            for number in (0..SHARDS)
                .filter(|number| number % threads == thread)
                .flat_map(|number| [number; USERS])
            {
                let (pool, key, grants) = (pool.shard(number), key.clone(), grants.clone());
                let (ended, widest) = (ended.clone(), widest.clone());
                users.spawn_local(async move {
                    loop {
                        let lease = match pool
                            .acquire(&key)
                            .await
                            .expect("a wait of a minute is a lost wake-up")
                        {
                            Acquired::Lease(lease) => lease,
                            Acquired::Open(permit) => permit.install(line()),
                        };
                        grants[number].fetch_add(1, Ordering::Relaxed);
                        let counts: Vec<u64> = grants
                            .iter()
                            .map(|count| count.load(Ordering::Relaxed))
                            .collect();
                        let (least, most) =
                            (counts.iter().min().copied(), counts.iter().max().copied());
                        widest.fetch_max(most.unwrap_or(0) - least.unwrap_or(0), Ordering::Relaxed);
                        tokio::task::yield_now().await;
                        lease.release(KEEP);
                        if counts.iter().sum::<u64>() >= GRANTS {
                            break;
                        }
                    }
                    ended.fetch_add(1, Ordering::Relaxed);
                });
            }
            runtime.block_on(users);
        })
    };
    let running: Vec<_> = (0..threads).map(run).collect();
    running
        .into_iter()
        .for_each(|thread| thread.join().expect("a user"));
    let took = begun.elapsed().as_nanos() as f64;
    let counts: Vec<u64> = grants
        .iter()
        .map(|count| count.load(Ordering::Relaxed))
        .collect();
    let stats = pool.stats();
    println!(
        "at the cap, four shards of eight users for four connections of one origin, {threads} threads:"
    );
    println!(
        "       {:6.0} ns a grant, {} grants by shard {counts:?}",
        took / counts.iter().sum::<u64>() as f64,
        counts.iter().sum::<u64>()
    );
    println!(
        "       widest difference between two shards at any moment: {}",
        widest.load(Ordering::Relaxed)
    );
    println!(
        "       reused {}, opened {}",
        stats.reused_total, stats.opened_total
    );
    println!(
        "       users that finished {} of {}, queue timeouts {}",
        ended.load(Ordering::Relaxed),
        SHARDS * USERS,
        stats.queue_timeout_total
    );
}
