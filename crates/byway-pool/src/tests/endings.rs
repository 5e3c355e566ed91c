//! Endings: drain and shutdown, upgrades by policy, jittered lifetimes, and the events of an
//! observer.

use super::*;
use crate::Event;
use std::time::Duration;
use tokio::time::advance;

const SECOND: Duration = Duration::from_secs(1);

/// A pool, and the events of its observer: the event's name, or the reason of a close.
fn observed(limits: Limits) -> (Net, World, Arc<Mutex<Vec<String>>>) {
    let events: Arc<Mutex<Vec<String>>> = Arc::default();
    let sink = events.clone();
    let observer = move |event: &Event<'_, Key>| {
        sink.lock().push(match event {
            Event::Closed {
                reason, requests, ..
            } => format!("{reason:?} after {requests}"),
            Event::Reused { requests, .. } => format!("Reused {requests}"),
            Event::QueueTimeout { waited, .. } => format!("QueueTimeout {waited:?}"),
            other => format!("{other:?}").split(' ').next().unwrap().to_owned(),
        });
    };
    (
        Pool::observed(limits, 1, Arc::new(observer)).unwrap(),
        World::default(),
        events,
    )
}

fn taken(events: &Mutex<Vec<String>>) -> Vec<String> {
    std::mem::take(&mut events.lock())
}

#[tokio::test]
async fn a_draining_pool_serves_its_queue_and_rejects_new_acquires() {
    let (net, world) = net(Limits::capped(1, 1));
    let busy = dial(&net, &world, "a");
    let (same, other) = (queued(&net, &"a"), queued(&net, &"b"));
    net.drain();
    assert!(net.stats().draining && !net.is_closed());
    assert_eq!(now(&net, "a", false).unwrap_err(), AcquireError::Closed);
    busy.release(KEEP);
    lease(same.served()).release(KEEP);
    permit(other.served())
        .install(world.line("b"))
        .release(KEEP);
    assert!(world.open().is_empty(), "nothing is kept");
    assert_eq!(net.remains().0, 0);
    net.audit();
}

#[tokio::test]
async fn draining_closes_idle_connections_in_every_shard() {
    let (net, world) = (
        Net::sharded(Limits::default(), 2).unwrap(),
        World::default(),
    );
    dial(&net.shard(0), &world, "a").release(KEEP);
    dial(&net.shard(1), &world, "a").release(KEEP);
    net.drain();
    assert!(world.open().is_empty());
    assert_eq!(
        now(&net.shard(1), "a", true).unwrap_err(),
        AcquireError::Closed
    );
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_when_the_last_connection_is_released() {
    let (net, world) = net(Limits::capped(1, 1));
    let busy = dial(&net, &world, "a");
    let waiting = queued(&net, &"a");
    let mut shutdown = Box::pin(net.shutdown(60 * SECOND));
    let waker = Waker::noop();
    assert!(
        shutdown
            .as_mut()
            .poll(&mut Context::from_waker(waker))
            .is_pending()
    );
    busy.release(KEEP);
    assert!(
        shutdown
            .as_mut()
            .poll(&mut Context::from_waker(waker))
            .is_pending()
    );
    lease(waiting.served()).release(KEEP);
    let begun = tokio_now();
    assert_eq!(shutdown.await, 0);
    assert_eq!(tokio_now(), begun, "it waited for its deadline");
    assert!(net.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_fails_the_queue_at_its_deadline_and_returns_the_permits_in_use() {
    let (net, world) = net(Limits::capped(1, 1));
    let busy = dial(&net, &world, "a");
    let waiting = queued(&net, &"a");
    assert_eq!(net.shutdown(3 * SECOND).await, 1);
    assert_eq!(waiting.served().unwrap_err(), AcquireError::Closed);
    assert_eq!(world.open(), [1], "leased connections continue");
    busy.release(KEEP);
    assert!(world.open().is_empty());
    assert_eq!(net.shutdown(SECOND).await, 0, "a second call is harmless");
}

#[tokio::test]
async fn an_upgraded_connection_that_does_not_count_frees_its_permit_at_once() {
    let (net, world) = net(Limits {
        count_upgraded: false,
        ..Limits::capped(1, 1)
    });
    let busy = dial(&net, &world, "a");
    let waiting = queued(&net, &"b");
    let (line, guard) = busy.detach();
    drop(permit(waiting.served()));
    assert_eq!(
        (net.stats().upgraded, net.stats().closed_total, *guard.key()),
        (0, 1, "a")
    );
    drop((line, guard));
    assert_eq!((net.stats().closed_total, net.remains().0), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn lifetimes_end_early_at_random_by_at_most_the_jitter() {
    let limits = Limits {
        max_lifetime: Some(100 * SECOND),
        lifetime_jitter: 0.25,
        ..Limits::capped(256, 256)
    };
    let (net, world) = net(limits);
    let leases: Vec<_> = (0..256).map(|_| dial(&net, &world, "a")).collect();
    leases.into_iter().for_each(|lease| {
        lease.release(Release::Keep {
            idle: Some(1000 * SECOND),
        })
    });
    let begun = tokio_now();
    let first = net.next_expiry().unwrap() - begun;
    assert!((75 * SECOND..90 * SECOND).contains(&first), "{first:?}");
    assert_eq!(
        net.expire(begun + 75 * SECOND - Duration::from_millis(1)),
        0
    );
    let half = net.expire(begun + SECOND * 175 / 2);
    assert!((64..192).contains(&half), "{half} of 256 in the first half");
    assert_eq!(net.expire(begun + 100 * SECOND), 256 - half);
}

#[tokio::test]
async fn a_connection_that_cannot_be_readable_is_not_probed() {
    struct Quiet(Arc<Mutex<(bool, u32)>>);
    impl Conn for Quiet {
        fn probe(&mut self) -> Probe {
            self.0.lock().1 += 1;
            Probe::Clean
        }
        fn may_be_readable(&mut self) -> bool {
            self.0.lock().0
        }
    }
    let pool: Pool<u8, Quiet> = Pool::new(Limits::default()).unwrap();
    let state = Arc::new(Mutex::new((false, 0)));
    let Acquired::Open(permit) = pool.acquire(&1).await.unwrap() else {
        panic!("new")
    };
    permit.install(Quiet(state.clone())).release(KEEP);
    for (readable, probes) in [(false, 0), (true, 1), (false, 1)] {
        state.lock().0 = readable;
        let Acquired::Lease(lease) = pool.acquire(&1).await.unwrap() else {
            panic!("kept")
        };
        lease.release(KEEP);
        assert_eq!(state.lock().1, probes);
    }
}

#[tokio::test(start_paused = true)]
async fn an_observer_receives_the_reason_of_each_close() {
    let limits = Limits {
        max_idle_per_origin: 1,
        max_requests: Some(3),
        max_lifetime: Some(10 * SECOND),
        lifetime_jitter: 0.0,
        ..Limits::capped(2, 2)
    };
    let (net, world, events) = observed(limits);

    drop(dial(&net, &world, "a"));
    dial(&net, &world, "a").release(Release::Close);
    assert_eq!(
        taken(&events),
        ["Opened", "NotKept after 1", "Opened", "NotKept after 1"]
    );

    (0..3).for_each(|n| {
        if n == 0 {
            dial(&net, &world, "a")
        } else {
            reuse(&net, "a")
        }
        .release(KEEP)
    });
    assert_eq!(
        taken(&events),
        ["Opened", "Reused 2", "Reused 3", "MaxRequests after 3"]
    );

    dial(&net, &world, "a").release(KEEP);
    advance(4 * SECOND).await;
    net.expire(tokio_now());
    let old = dial(&net, &world, "a");
    advance(10 * SECOND).await;
    old.release(KEEP);
    assert_eq!(
        taken(&events),
        [
            "Opened",
            "IdleTimeout after 1",
            "Opened",
            "Lifetime after 1"
        ]
    );

    let (one, two) = (dial(&net, &world, "a"), dial(&net, &world, "a"));
    one.release(KEEP);
    two.release(KEEP);
    assert_eq!(net.evict_key(&"a"), 1);
    assert_eq!(
        taken(&events),
        ["Opened", "Opened", "IdleLimit after 1", "Evicted after 1"]
    );

    dial(&net, &world, "a").release(KEEP);
    world.mark_dirty(world.open()[0]);
    drop(permit(now(&net, "a", false)));
    let (line, guard) = dial(&net, &world, "a").detach();
    drop((line, guard));
    assert_eq!(
        taken(&events),
        ["Opened", "Stale after 1", "Opened", "Upgraded after 1"]
    );

    dial(&net, &world, "a").release(KEEP);
    dial(&net, &world, "b").release(KEEP);
    dial(&net, &world, "c").release(KEEP);
    net.close();
    let last = taken(&events);
    assert_eq!(
        last[..4],
        ["Opened", "Opened", "Reclaimed after 1", "Opened"]
    );
    assert_eq!(last[4..], ["Closed after 1", "Closed after 1"]);
}

#[tokio::test(start_paused = true)]
async fn an_observer_receives_queue_events() {
    let (net, world, events) = observed(Limits {
        queue_len: 1,
        queue_wait: 3 * SECOND,
        ..Limits::capped(1, 1)
    });
    let _busy = dial(&net, &world, "a");
    taken(&events);
    let mut waiting = queued(&net, &"a");
    assert!(now(&net, "b", false).is_err());
    assert!(waiting.future.as_mut().await.is_err());
    let events = taken(&events);
    assert_eq!(events[..2], ["Queued", "QueueRejected"]);
    assert!(events[2].starts_with("QueueTimeout 3"), "{events:?}");
}

#[tokio::test]
async fn an_observer_may_call_the_pool_and_may_panic() {
    let pool: Arc<Mutex<Option<Net>>> = Arc::default();
    let (seen, calls) = (pool.clone(), Arc::new(Mutex::new(0)));
    let counted = calls.clone();
    let observer = move |_: &Event<'_, Key>| {
        let net = seen.lock().clone().unwrap();
        *counted.lock() += 1;
        net.stats();
        drop(net);
        panic!("an observer's own mistake");
    };
    let net: Net = Pool::observed(Limits::capped(1, 1), 1, Arc::new(observer)).unwrap();
    *pool.lock() = Some(net.clone());
    let world = World::default();
    dial(&net, &world, "a").release(KEEP);
    drop(dial(&net, &world, "b"));
    assert_eq!((*calls.lock(), world.open().len()), (4, 0));
    assert_eq!(net.remains().0, 0);
    pool.lock().take();
}

fn tokio_now() -> std::time::Instant {
    crate::pool::now()
}
