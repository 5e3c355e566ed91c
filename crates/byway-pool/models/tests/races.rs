//! Races: hand-over and cancel, in every order of the threads of a model.
//!
//! In:    a pool at its cap.
//! Out:   every acquire is served, and no cap is exceeded, in each order. A lost wake-up ends in a
//!        model where all threads sleep, which loom reports as a deadlock.
//! Never: real threads, real time.

#![allow(clippy::unwrap_used)] // helpers of tests

use byway_pool_models::{
    AcquireError, Acquired, Conn, Lease, Limits, Pool, Probe, Release, Session, SessionGuard,
    StreamLease,
};
use loom::future::block_on;
use loom::model::Builder;
use loom::thread;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

const KEEP: Release = Release::Keep { idle: None };

type Net = Pool<u8, Line>;

/// A connection that is counted while it is open. Not with loom's atomics: it is not part of the
/// model.
struct Line(Arc<AtomicUsize>);

impl Conn for Line {
    fn probe(&mut self) -> Probe {
        Probe::Clean
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[derive(Clone)]
struct World {
    open: Arc<AtomicUsize>,
    cap: usize,
}

impl World {
    fn line(&self) -> Line {
        let open = self.open.fetch_add(1, Ordering::SeqCst) + 1;
        assert!(open <= self.cap, "more connections than permitted");
        Line(self.open.clone())
    }

    fn lease(&self, acquired: Result<Acquired<u8, Line>, AcquireError>) -> Lease<u8, Line> {
        match acquired.unwrap() {
            Acquired::Lease(lease) => lease,
            Acquired::Open(permit) => permit.install(self.line()),
        }
    }
}

/// Runs a model with a pool of two shards and one permit in every order with at most three
/// preemptions. More take minutes, and were not needed to find any of the bugs that were introduced
/// for a test: demand or eviction read before the shard's lock, and a result of the permits used
/// after more acquires had started to wait.
fn model(race: impl Fn(Net, World) + Sync + Send + 'static) {
    model_of(Limits::capped(1, 1), race);
}

fn model_of(limits: Limits, race: impl Fn(Net, World) + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let net = Pool::sharded(limits.clone(), 2).unwrap();
        let world = World {
            open: Arc::default(),
            cap: limits.max_total,
        };
        race(net.clone(), world.clone());
        net.close();
        let stats = net.stats();
        assert_eq!(
            (
                stats.origins.len(),
                stats.pending,
                world.open.load(Ordering::SeqCst)
            ),
            (0, 0, 0)
        );
    });
}

type SharedNet = Pool<u8, Line, Mux>;

/// A session, whose connection is counted like any other.
struct Mux(#[allow(dead_code)] Line);

impl Session for Mux {
    type Stream = ();

    fn open(&self) {}

    fn reset(&self, (): &mut ()) {}

    fn close(&self) {}
}

/// As [`model_of`], for a pool with sessions.
fn model_with_sessions(limits: Limits, race: impl Fn(SharedNet, World) + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let net = Pool::with_sessions(limits.clone(), 2, None).unwrap();
        let world = World {
            open: Arc::default(),
            cap: limits.max_total,
        };
        race(net.clone(), world.clone());
        net.close();
        let stats = net.stats();
        let open = world.open.load(Ordering::SeqCst);
        assert_eq!((stats.origins.len(), stats.pending, open), (0, 0, 0));
    });
}

/// A session with one stream at most, and that stream.
fn session(
    net: &SharedNet,
    world: &World,
) -> (StreamLease<u8, Line, Mux>, SessionGuard<u8, Line, Mux>) {
    match block_on(net.acquire_shared(&1)).unwrap() {
        Acquired::Open(permit) => permit.install_session(Mux(world.line()), 1.try_into().unwrap()),
        _ => panic!("the pool is empty"),
    }
}

/// Ends what an acquire got.
fn use_up(world: &World, acquired: Acquired<u8, Line, Mux>) {
    match acquired {
        Acquired::Stream(lease) => lease.release(),
        Acquired::Lease(lease) => lease.release(KEEP),
        Acquired::Open(permit) => drop(permit.install(world.line())),
    }
}

/// Acquires for a stream and releases on another thread.
fn sharer(net: SharedNet, world: World) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let acquired = block_on(net.acquire_shared(&1)).unwrap();
        use_up(&world, acquired);
    })
}

#[test]
fn a_stream_released_while_an_acquire_starts_to_wait_goes_to_it() {
    model_with_sessions(Limits::capped(1, 1), |net, world| {
        let (busy, guard) = session(&net, &world);
        let user = sharer(net.shard(1), world);
        busy.release();
        user.join().unwrap();
        drop(guard);
    });
}

#[test]
fn a_session_that_ends_while_an_acquire_starts_to_wait_frees_its_permit_for_it() {
    model_with_sessions(Limits::capped(1, 1), |net, world| {
        let (busy, guard) = session(&net, &world);
        let user = sharer(net.shard(1), world);
        let owner = thread::spawn(move || {
            guard.go_away();
            drop(guard);
        });
        busy.release();
        user.join().unwrap();
        owner.join().unwrap();
    });
}

#[test]
fn a_stream_granted_to_a_cancelled_acquire_goes_to_the_next_one() {
    model_with_sessions(Limits::capped(1, 1), |net, world| {
        let (busy, guard) = session(&net, &world);
        let (canceller_net, canceller_world) = (net.clone(), world.clone());
        let canceller = thread::spawn(move || {
            let mut acquire = pin!(canceller_net.acquire_shared(&1));
            if let Poll::Ready(acquired) = acquire
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
            {
                use_up(&canceller_world, acquired.unwrap());
            }
        });
        let user = sharer(net.shard(1), world);
        busy.release();
        canceller.join().unwrap();
        user.join().unwrap();
        drop(guard);
    });
}

#[test]
fn an_acquire_that_loses_its_dial_while_a_connection_is_released_closes_it_for_its_permit() {
    model_with_sessions(Limits::capped(2, 2), |net, world| {
        let other = match block_on(net.acquire(&2)).unwrap() {
            Acquired::Open(permit) => permit.install(world.line()),
            _ => panic!("the pool is empty"),
        };
        let Acquired::Open(dial) = block_on(net.acquire_shared(&1)).unwrap() else {
            panic!("the pool is empty")
        };
        let user = sharer(net.clone(), world.clone());
        let releaser = thread::spawn(move || other.release(KEEP));
        let busy = dial.install(world.line());
        user.join().unwrap();
        releaser.join().unwrap();
        drop(busy);
    });
}

/// Acquires and releases on another thread.
fn user(net: Net, world: World, key: u8, then: Release) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let acquired = block_on(net.acquire(&key));
        world.lease(acquired).release(then);
    })
}

#[test]
fn a_connection_released_while_an_acquire_starts_to_wait_for_it_is_handed_over_or_found() {
    model(|net, world| {
        let busy = world.lease(block_on(net.acquire(&1)));
        let user = user(net.clone(), world, 1, KEEP);
        busy.release(KEEP);
        user.join().unwrap();
    });
}

#[test]
fn a_connection_released_while_an_acquire_in_another_shard_starts_to_wait_is_closed_for_it() {
    model(|net, world| {
        let busy = world.lease(block_on(net.acquire(&1)));
        let user = user(net.shard(1), world, 1, KEEP);
        busy.release(KEEP);
        user.join().unwrap();
    });
}

#[test]
fn a_connection_released_while_an_acquire_starts_to_wait_for_another_origin_is_closed_for_it() {
    model(|net, world| {
        let busy = world.lease(block_on(net.acquire(&1)));
        let user = user(net.shard(1), world, 2, Release::Close);
        busy.release(KEEP);
        user.join().unwrap();
    });
}

#[test]
fn two_acquires_of_the_same_idle_connection_are_both_served() {
    model(|net, world| {
        world.lease(block_on(net.acquire(&1))).release(KEEP);
        let other = user(net.shard(1), world.clone(), 2, KEEP);
        let acquired = block_on(net.acquire(&1));
        world.lease(acquired).release(KEEP);
        other.join().unwrap();
    });
}

#[test]
fn a_grant_to_a_cancelled_acquire_goes_to_the_next_one() {
    for (first, second) in [(1, 1), (1, 2), (2, 1)] {
        model(move |net, world| {
            let busy = world.lease(block_on(net.acquire(&1)));
            let (canceller_net, canceller_world) = (net.clone(), world.clone());
            let canceller = thread::spawn(move || {
                let mut acquire = pin!(canceller_net.acquire(&first));
                if let Poll::Ready(acquired) = acquire
                    .as_mut()
                    .poll(&mut Context::from_waker(Waker::noop()))
                {
                    canceller_world.lease(acquired).release(KEEP);
                } // else dropped while it waits, or just after it was served
            });
            let user = user(net.shard(1), world, second, KEEP);
            busy.release(KEEP);
            canceller.join().unwrap();
            user.join().unwrap();
        });
    }
}

#[test]
fn a_connection_that_only_capped_waiters_did_not_need_is_closed_for_a_later_acquire() {
    model_of(Limits::capped(2, 1), |net, world| {
        let capped = world.lease(block_on(net.acquire(&1)));
        let busy = world.lease(block_on(net.acquire(&2)));
        let mut waiting = pin!(net.acquire(&1));
        assert!(
            waiting
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_pending()
        );
        let user = user(net.shard(1), world, 3, KEEP);
        busy.release(KEEP);
        user.join().unwrap();
        drop(capped);
    });
}

#[test]
fn an_acquire_that_waits_while_the_pool_closes_is_served_or_fails() {
    model(|net, world| {
        let busy = world.lease(block_on(net.acquire(&1)));
        let waiting = net.shard(1);
        let user = thread::spawn(move || match block_on(waiting.acquire(&1)) {
            Ok(acquired) => drop(world.lease(Ok(acquired))),
            Err(error) => assert_eq!(error, AcquireError::Closed),
        });
        let closing = net.clone();
        let closer = thread::spawn(move || closing.close());
        busy.release(KEEP);
        user.join().unwrap();
        closer.join().unwrap();
    });
}

#[test]
fn a_connection_released_while_its_origin_is_evicted_is_closed() {
    model(|net, world| {
        let busy = world.lease(block_on(net.acquire(&1)));
        let evicting = net.shard(1);
        let evictor = thread::spawn(move || evicting.evict_key(&1));
        busy.release(KEEP);
        evictor.join().unwrap();
        assert_eq!(
            world.open.load(Ordering::SeqCst),
            0,
            "the connection outlived the eviction"
        );
    });
}

#[test]
fn a_connection_released_while_the_holder_of_a_permit_starts_to_wait_goes_to_it() {
    model_of(Limits::capped(2, 2), |net, world| {
        let busy = world.lease(block_on(net.acquire(&1)));
        let Ok(Acquired::Open(refused)) = block_on(net.acquire(&1)) else {
            panic!("both are in use or free")
        };
        let waiter = thread::spawn(move || block_on(refused.next_idle()).release(KEEP));
        busy.release(KEEP);
        waiter.join().unwrap();
    });
}

#[test]
fn a_connection_given_to_a_wait_that_is_cancelled_goes_to_the_next_one() {
    model_of(Limits::capped(3, 3), |net, world| {
        let busy = world.lease(block_on(net.acquire(&1)));
        let permit = || match block_on(net.acquire(&1)) {
            Ok(Acquired::Open(permit)) => permit,
            _ => panic!("none is idle, and permits are free"),
        };
        let (first, second) = (permit(), permit());
        let canceller = thread::spawn(move || {
            let mut next = pin!(first.next_idle());
            let mut cx = Context::from_waker(Waker::noop());
            if let Poll::Ready(lease) = next.as_mut().poll(&mut cx) {
                lease.release(KEEP);
            }
        });
        let waiter = thread::spawn(move || block_on(second.next_idle()).release(KEEP));
        busy.release(KEEP);
        canceller.join().unwrap();
        waiter.join().unwrap();
    });
}
