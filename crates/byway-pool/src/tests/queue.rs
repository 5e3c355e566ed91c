//! Queue: order, cancellation, and races between a hand-over and a cancel.

use super::*;
use std::time::Duration;
use tokio::task::JoinSet;

#[tokio::test]
async fn a_released_connection_goes_to_the_oldest_waiter_of_its_origin() {
    let (net, world) = net(Limits::capped(2, 1));
    let busy = dial(&net, &world, "a");
    let (first, second) = (queued(&net, &"a"), queued(&net, &"a"));
    busy.release(KEEP);
    assert!(!second.woken());
    let loans = lease(first.served());
    assert_eq!((loans.id, loans.requests()), (1, 2));
    assert_eq!(net.stats().idle, 0);
    loans.release(KEEP);
    assert_eq!(lease(second.served()).id, 1);
}

#[tokio::test]
async fn a_newcomer_does_not_overtake_waiters_for_the_same_origin() {
    let (net, world) = net(Limits::capped(1, 1));
    let busy = dial(&net, &world, "a");
    let first = queued(&net, &"a");
    busy.release(KEEP);
    let newcomer = queued(&net, &"a");
    lease(first.served()).release(KEEP);
    lease(newcomer.served());
}

#[tokio::test]
async fn a_cancelled_waiter_leaves_the_queue_at_once() {
    let (net, world) = net(Limits::capped(1, 1));
    let busy = dial(&net, &world, "a");
    let (first, second, third) = (queued(&net, &"b"), queued(&net, &"b"), queued(&net, &"b"));
    drop(second);
    assert_eq!(net.stats().pending, 2);
    drop(first);
    drop(busy);
    drop(permit(third.served()));
    assert!(net.stats().origins.is_empty());
}

#[tokio::test]
async fn a_connection_handed_to_a_cancelled_waiter_goes_to_the_next_one() {
    let (net, world) = net(Limits::capped(1, 1));
    let busy = dial(&net, &world, "a");
    let (first, second) = (queued(&net, &"a"), queued(&net, &"a"));
    busy.release(KEEP);
    assert!(first.woken());
    drop(first);
    let loans = lease(second.served());
    assert_eq!(
        (loans.id, loans.requests()),
        (1, 2),
        "a lease that was not taken is not counted"
    );
}

#[tokio::test]
async fn a_connection_handed_to_a_cancelled_waiter_becomes_idle_without_other_waiters() {
    let (net, world) = net(Limits::capped(1, 1));
    let busy = dial(&net, &world, "a");
    let only = queued(&net, &"a");
    busy.release(KEEP);
    drop(only);
    assert_eq!((net.stats().idle, world.open()), (1, vec![1]));
    assert!(net.next_expiry().is_some());
    net.audit();
}

#[tokio::test]
async fn a_permit_given_to_a_cancelled_waiter_goes_to_the_next_one() {
    let (net, world) = net(Limits::capped(1, 1));
    let busy = dial(&net, &world, "a");
    let (first, second) = (queued(&net, &"b"), queued(&net, &"c"));
    drop(busy);
    assert!(first.woken() && !second.woken());
    drop(first);
    drop(permit(second.served()));
    assert!(net.stats().origins.is_empty());
}

#[tokio::test]
async fn a_hand_over_that_was_not_taken_before_the_pool_closed_is_closed() {
    let (net, world) = net(Limits::capped(1, 1));
    let busy = dial(&net, &world, "a");
    let only = queued(&net, &"a");
    busy.release(KEEP);
    net.close();
    drop(only);
    assert!(world.open().is_empty() && net.stats().origins.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_hand_over_wins_over_a_timeout_at_the_same_time() {
    let (net, world) = net(Limits::capped(1, 1));
    let busy = dial(&net, &world, "a");
    let waiting = queued(&net, &"a");
    tokio::time::advance(Duration::from_secs(10)).await;
    busy.release(Release::Keep {
        idle: Some(Duration::from_secs(60)),
    });
    lease(waiting.served());
    assert_eq!(net.stats().queue_timeout_total, 0);
}

#[tokio::test(start_paused = true)]
async fn the_stats_have_the_oldest_wait() {
    let (net, world) = net(Limits::capped(1, 1));
    assert_eq!(net.stats().oldest_wait, None);
    let _busy = dial(&net, &world, "a");
    let _first = queued(&net, &"b");
    tokio::time::advance(Duration::from_secs(2)).await;
    let _second = queued(&net, &"a");
    let stats = net.stats();
    assert_eq!(stats.oldest_wait, Some(Duration::from_secs(2)));
    let a = stats
        .origins
        .iter()
        .find(|origin| origin.key == "a")
        .unwrap();
    assert_eq!(
        (a.pending, a.active, a.oldest_wait),
        (1, 1, Some(Duration::ZERO))
    );
}

#[tokio::test]
async fn a_full_queue_does_not_refuse_an_acquire_if_an_idle_connection_can_be_closed() {
    let (net, world) = net(Limits {
        queue_len: 1,
        ..Limits::capped(2, 1)
    });
    let _busy = dial(&net, &world, "a");
    dial(&net, &world, "b").release(KEEP);
    let _full = queued(&net, &"a");
    drop(permit(now(&net, "c", false)));
}

/// Runs a step during the close of connection 1, and returns the acquire that the close started.
fn during_the_close_of_line_1(
    net: &'static Net,
    world: &World,
    fresh: bool,
    then: impl FnOnce() -> Outcome,
) -> (Outcome, Acquiring<'static>) {
    let begun = Arc::new(Mutex::new(None));
    let kept = begun.clone();
    world.on_close(1, move || {
        let mut acquiring = acquiring(net, &"x", fresh);
        assert!(acquiring.poll().is_pending());
        *kept.lock() = Some(acquiring);
    });
    let outcome = then();
    let acquiring = begun.lock().take().expect("line 1 was closed");
    (outcome, acquiring)
}

#[tokio::test]
async fn an_acquire_while_an_idle_connection_is_closed_for_another_is_served_by_the_next() {
    let (net, world) = net(Limits::capped(2, 2));
    let net: &'static Net = Box::leak(Box::new(net));
    let (one, two) = (dial(net, &world, "y"), dial(net, &world, "y"));
    one.release(KEEP);
    two.release(KEEP);
    let (first, second) = during_the_close_of_line_1(net, &world, false, || now(net, "x", false));
    drop((permit(first), permit(second.served())));
    assert!(world.open().is_empty());
    net.audit();
}

#[tokio::test]
async fn an_acquire_while_its_own_idle_connection_is_closed_is_served_by_that_of_another_origin() {
    let (net, world) = net(Limits::capped(2, 2));
    let net: &'static Net = Box::leak(Box::new(net));
    let (own, other) = (dial(net, &world, "x"), dial(net, &world, "y"));
    own.release(KEEP);
    other.release(KEEP);
    let (first, second) = during_the_close_of_line_1(net, &world, false, || now(net, "x", true));
    drop((permit(first), permit(second.served())));
    assert!(world.open().is_empty());
    net.audit();
}

#[tokio::test]
async fn an_acquire_during_an_eviction_is_served_by_one_of_the_closed_connections() {
    let (net, world) = net(Limits::capped(1, 1));
    let net: &'static Net = Box::leak(Box::new(net));
    dial(net, &world, "y").release(KEEP);
    let (_, waiting) = during_the_close_of_line_1(net, &world, true, || {
        assert_eq!(net.close_idle(), 1);
        Err(AcquireError::Closed)
    });
    drop(permit(waiting.served()));
    net.audit();
}

#[test]
fn the_future_of_an_acquire_is_small_and_send() {
    fn is_send<T: Send>(_: &T) {}
    let (net, _) = net(Limits::default());
    let future = net.acquire(&"a");
    is_send(&future);
    assert!(
        size_of_val(&future) <= 512,
        "{} bytes",
        size_of_val(&future)
    );
}

/// All threads race with each other; at each yield an acquire may be overtaken or cancelled.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_real_threads_no_cap_is_exceeded_and_every_acquire_is_served() {
    const KEYS: [Key; 5] = ["a", "b", "c", "d", "e"];
    let limits = Limits {
        queue_wait: Duration::from_secs(60),
        ..Limits::capped(4, 2)
    };
    let (net, world) = (Net::sharded(limits, 3).unwrap(), World::default());
    let mut tasks = JoinSet::new();
    for n in 0..64_usize {
        let (net, world) = (net.shard(n), world.clone());
        tasks.spawn(async move {
            for round in 0..100 {
                let key = KEYS[(n + round) % KEYS.len()];
                if (n + round).is_multiple_of(7) {
                    let _ = tokio::time::timeout(Duration::ZERO, net.acquire(&key)).await; // cancelled if it waits
                    continue;
                }
                let lease = match net.acquire(&key).await.unwrap() {
                    Acquired::Lease(lease) => lease,
                    Acquired::Open(permit) => permit.install(world.line(key)),
                };
                assert!(
                    world.open().len() <= 4 && world.open_to(key) <= 2,
                    "more sockets than permitted"
                );
                tokio::task::yield_now().await;
                lease.release(if (n * round).is_multiple_of(11) {
                    Release::Close
                } else {
                    KEEP
                });
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    net.audit();
    let stats = net.stats();
    assert_eq!(
        (stats.active, stats.connecting, stats.pending, stats.idle),
        (0, 0, 0, world.open().len())
    );
    net.close_idle();
    assert!(net.stats().origins.is_empty() && world.open().is_empty());
}
