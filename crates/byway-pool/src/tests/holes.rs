//! Holes: bugs of Node's http.Agent, measured on v20 to v26, as tests of this pool.

use super::*;
use std::collections::VecDeque;
use std::time::Duration;

#[tokio::test]
async fn n01_an_idle_connection_of_another_origin_is_closed_when_the_total_is_used_up() {
    let (net, world) = net(Limits::capped(1, 1));
    dial(&net, &world, "a").release(KEEP);
    assert_eq!((net.stats().idle, world.open_to("a")), (1, 1));

    let permit = permit(now(&net, "b", false));
    assert_eq!(world.open(), [], "closed before the permit was given");
    let _b = permit.install(world.line("b"));
    assert_eq!(
        (
            net.stats().active,
            net.stats().idle,
            net.stats().closed_total
        ),
        (1, 0, 1)
    );
    net.audit();
}

#[tokio::test]
async fn n01_the_least_recently_used_idle_connection_of_all_origins_is_closed() {
    let (net, world) = net(Limits::capped(3, 3));
    let (a, b, c) = (
        dial(&net, &world, "a"),
        dial(&net, &world, "b"),
        dial(&net, &world, "c"),
    );
    [b, a, c].into_iter().for_each(|lease| lease.release(KEEP));
    reuse(&net, "b").release(KEEP);
    let _d = dial(&net, &world, "d");
    assert_eq!(
        (world.open_to("a"), world.open_to("b"), world.open_to("c")),
        (0, 1, 1)
    );
}

#[tokio::test]
async fn n02_an_origin_at_its_own_cap_does_not_block_another_one() {
    let (net, world) = net(Limits {
        max_idle_per_origin: 1,
        ..Limits::capped(2, 1)
    });
    let _busy = dial(&net, &world, "a");
    let stuck = queued(&net, &"a");
    let b = dial(&net, &world, "b");
    let waiting = queued(&net, &"c");
    drop(b);
    permit(waiting.served()).install(world.line("c"));
    assert!(!stuck.woken());
    net.audit();
}

#[tokio::test]
async fn n02_a_busy_origin_that_reuses_its_connections_does_not_starve_another_one() {
    // In the second case the busy origin is below its own cap, so it takes turns, too.
    for (limits, others) in [(Limits::capped(1, 1), 0), (Limits::capped(2, 2), 1)] {
        let (net, world) = net(limits);
        let _others: Vec<_> = (0..others).map(|_| dial(&net, &world, "c")).collect();
        let mut busy = dial(&net, &world, "a");
        let mut next = VecDeque::from([queued(&net, &"a"), queued(&net, &"a")]);
        for _ in 0..3 {
            let starving = queued(&net, &"b");
            for _ in 0..crate::permits::PASS_OVER {
                busy.release(KEEP);
                assert!(!starving.woken());
                busy = lease(next.pop_front().unwrap().served());
                next.push_back(queued(&net, &"a"));
            }
            busy.release(KEEP);
            drop(permit(starving.served()));
            busy = permit(next.pop_front().unwrap().served()).install(world.line("a"));
            next.push_back(queued(&net, &"a"));
        }
    }
}

#[tokio::test]
async fn n02_origins_take_turns_for_free_permits() {
    let (net, world) = net(Limits::capped(3, 3));
    let holders: Vec<_> = (0..3).map(|_| dial(&net, &world, "x")).collect();
    let (a1, a2, a3) = (queued(&net, &"a"), queued(&net, &"a"), queued(&net, &"a"));
    let (b1, c1) = (queued(&net, &"b"), queued(&net, &"c"));
    drop(holders);
    assert!(a1.woken() && b1.woken() && c1.woken());
    assert!(!a2.woken() && !a3.woken());
    net.audit();
}

#[tokio::test]
async fn n03_close_fails_all_queued_and_all_later_acquires() {
    let (net, world) = net(Limits::capped(1, 1));
    let busy = dial(&net, &world, "a");
    let (same, other) = (queued(&net, &"a"), queued(&net, &"b"));
    net.close();
    net.close();
    assert_eq!(same.served().unwrap_err(), AcquireError::Closed);
    assert_eq!(other.served().unwrap_err(), AcquireError::Closed);
    assert_eq!(now(&net, "a", false).unwrap_err(), AcquireError::Closed);
    assert!(net.is_closed());
    assert_eq!(busy.id, 1, "leased connections continue");
    busy.release(KEEP);
    assert!(world.open().is_empty() && net.stats().origins.is_empty());
}

#[tokio::test]
async fn n04_the_permit_is_taken_before_the_dial() {
    let (net, world) = net(Limits::capped(4, 1));
    let dialling = permit(now(&net, "a", false));
    let (second, third) = (queued(&net, &"a"), queued(&net, &"a"));
    assert_eq!((net.stats().connecting, net.stats().pending), (1, 2));
    drop(dialling); // the dial failed: each waiter dials in turn
    let dialling = permit(second.served());
    assert!(!third.woken());
    dialling.install(world.line("a")).release(KEEP);
    assert_eq!(lease(third.served()).id, 1);
}

#[tokio::test(start_paused = true)]
async fn n05_the_queue_is_bounded_and_timed() {
    let (net, world) = net(Limits {
        queue_len: 2,
        queue_wait: Duration::from_secs(3),
        ..Limits::capped(1, 1)
    });
    let _busy = dial(&net, &world, "a");
    let key = "a";
    let mut first = queued(&net, &key);
    let _second = queued(&net, &"b");
    assert_eq!(
        now(&net, "c", false).unwrap_err(),
        AcquireError::QueueFull { limit: 2 }
    );

    let error = first.future.as_mut().await.unwrap_err();
    assert!(
        matches!(error, AcquireError::QueueTimeout { waited } if waited >= Duration::from_secs(3))
    );
    drop(first);
    let stats = net.stats();
    assert_eq!(
        (
            stats.queue_full_total,
            stats.queue_timeout_total,
            stats.pending
        ),
        (1, 1, 1)
    );
    assert_eq!(stats.origins.len(), 2, "no entry for c remains");
    net.audit();
}

#[test]
fn n06_zero_idle_connections_is_an_error_and_does_not_mean_256() {
    let limits = Limits {
        max_idle_per_origin: 0,
        ..Limits::default()
    };
    let text = Net::new(limits).unwrap_err().to_string();
    assert!(text.starts_with("max_idle_per_origin is 0"), "{text}");
}
