//! Life of a connection: opened, reused, kept, upgraded, expired, closed.

use super::*;
use crate::Scheduling;
use std::time::Duration;
use tokio::time::advance;

const SECOND: Duration = Duration::from_secs(1);

fn keep(idle: Duration) -> Release {
    Release::Keep { idle: Some(idle) }
}

fn tokio_now() -> std::time::Instant {
    crate::pool::now()
}

#[tokio::test]
async fn a_released_connection_is_reused_and_counts_its_leases() {
    let (net, world) = net(Limits::default());
    let first = dial(&net, &world, "a");
    assert_eq!(
        (first.reused(), first.requests(), *first.key()),
        (false, 1, "a")
    );
    first.release(KEEP);
    let second = reuse(&net, "a");
    assert_eq!(
        (second.reused(), second.requests(), second.id),
        (true, 2, 1)
    );
    let stats = net.stats();
    assert_eq!(
        (
            stats.opened_total,
            stats.reused_total,
            stats.closed_total,
            stats.active
        ),
        (1, 1, 0, 1)
    );
}

#[tokio::test]
async fn a_dropped_lease_closes_its_connection_and_returns_the_permit() {
    let (net, world) = net(Limits::capped(1, 1));
    drop(dial(&net, &world, "a"));
    assert!(world.open().is_empty());
    dial(&net, &world, "a").release(Release::Close);
    assert!(world.open().is_empty() && net.stats().origins.is_empty());
    assert_eq!(net.stats().closed_total, 2);
}

#[tokio::test]
async fn the_connection_is_closed_before_its_permit_is_reused() {
    let (net, world) = net(Limits::capped(1, 1));
    let busy = dial(&net, &world, "a");
    let waiting = queued(&net, &"b");
    drop(busy);
    let _permit = permit(waiting.served());
    assert!(world.open().is_empty());
}

#[tokio::test]
async fn connections_of_different_keys_are_never_interchanged() {
    let (net, world) = net(Limits::default());
    dial(&net, &world, "a").release(KEEP);
    drop(permit(now(&net, "b", false)));
}

#[tokio::test]
async fn a_dirty_idle_connection_is_never_reused() {
    let (net, world) = net(Limits::default());
    let leases: Vec<_> = (0..3).map(|_| dial(&net, &world, "a")).collect();
    leases.into_iter().for_each(|lease| lease.release(KEEP));
    world.mark_dirty(3);
    world.mark_dirty(2);
    assert_eq!(reuse(&net, "a").id, 1, "the next clean one is reused");
    assert_eq!(
        (net.stats().stale_closed_total, net.stats().reused_total),
        (2, 1)
    );
    assert!(world.open().is_empty());
    net.audit();
}

#[tokio::test]
async fn if_every_idle_connection_is_dirty_the_permit_of_the_last_one_is_used_to_dial() {
    let (net, world) = net(Limits::capped(2, 2));
    let (one, two) = (dial(&net, &world, "a"), dial(&net, &world, "a"));
    one.release(KEEP);
    two.release(KEEP);
    world.mark_dirty(1);
    world.mark_dirty(2);
    let permit = permit(now(&net, "a", false));
    assert_eq!(
        (
            net.stats().connecting,
            net.stats().idle,
            net.stats().closed_total
        ),
        (1, 0, 2)
    );
    drop(permit);
    assert!(net.stats().origins.is_empty());
}

#[tokio::test]
async fn a_connection_that_becomes_dirty_during_a_hand_over_is_replaced_by_a_permit() {
    let (net, world) = net(Limits::capped(1, 1));
    let mut busy = dial(&net, &world, "a");
    let waiting = queued(&net, &"a");
    busy.dirty = true;
    busy.release(KEEP);
    drop(permit(waiting.served()));
    assert_eq!(net.stats().stale_closed_total, 1);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_when_its_idle_timeout_ends() {
    let (net, world) = net(Limits::default());
    assert_eq!(net.next_expiry(), None);
    dial(&net, &world, "a").release(KEEP);
    let due = net.next_expiry().unwrap();
    assert_eq!(due, tokio_now() + 4 * SECOND);
    assert_eq!(net.expire(due - Duration::from_nanos(1)), 0);
    assert_eq!(net.expire(due), 1);
    assert!(world.open().is_empty() && net.stats().origins.is_empty());
    assert_eq!(net.next_expiry(), None);
}

#[tokio::test(start_paused = true)]
async fn an_expired_idle_connection_is_not_reused_even_without_a_call_of_expire() {
    let (net, world) = net(Limits::default());
    dial(&net, &world, "a").release(KEEP);
    advance(4 * SECOND).await;
    drop(permit(now(&net, "a", false)));
    assert_eq!(
        (net.stats().closed_total, net.stats().stale_closed_total),
        (1, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_hint_replaces_the_idle_timeout_and_zero_closes() {
    let (net, world) = net(Limits::default());
    let (long, short, none) = (
        dial(&net, &world, "a"),
        dial(&net, &world, "a"),
        dial(&net, &world, "a"),
    );
    long.release(keep(60 * SECOND));
    short.release(keep(SECOND));
    none.release(keep(Duration::ZERO));
    assert_eq!(world.open(), [1, 2]);
    assert_eq!(net.next_expiry(), Some(tokio_now() + SECOND));
    assert_eq!(net.expire(tokio_now() + SECOND), 1);
    assert_eq!(net.next_expiry(), Some(tokio_now() + 60 * SECOND));
    let endless = dial(&net, &world, "b");
    endless.release(keep(Duration::MAX));
    assert_eq!(net.stats().idle, 2);
}

#[tokio::test(start_paused = true)]
async fn a_connection_in_steady_use_postpones_its_expiry() {
    let (net, world) = net(Limits::default());
    dial(&net, &world, "a").release(KEEP);
    for _ in 0..1000 {
        advance(SECOND).await;
        reuse(&net, "a").release(KEEP);
        assert_eq!(net.expire(tokio_now()), 0);
        net.audit();
    }
    assert_eq!(net.next_expiry(), Some(tokio_now() + 4 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_connection_past_its_lifetime_is_closed_when_it_is_released_or_while_it_is_idle() {
    let (net, world) = net(Limits {
        max_lifetime: Some(10 * SECOND),
        lifetime_jitter: 0.0,
        ..Limits::default()
    });
    let in_use = dial(&net, &world, "a");
    let idle = dial(&net, &world, "a");
    advance(9 * SECOND).await;
    idle.release(KEEP);
    assert_eq!(
        net.next_expiry(),
        Some(tokio_now() + SECOND),
        "the lifetime ends before the idle timeout"
    );
    advance(SECOND).await;
    in_use.release(KEEP);
    assert_eq!(world.open(), [2]);
    assert_eq!(net.expire(tokio_now()), 1);
    assert!(world.open().is_empty());
}

#[tokio::test]
async fn a_connection_is_closed_after_its_number_of_requests() {
    let (net, world) = net(Limits {
        max_requests: Some(3),
        ..Limits::default()
    });
    dial(&net, &world, "a").release(KEEP);
    reuse(&net, "a").release(KEEP);
    let third = reuse(&net, "a");
    assert_eq!(third.requests(), 3);
    third.release(KEEP);
    assert!(world.open().is_empty());
}

#[tokio::test]
async fn lifo_reuses_the_most_recently_used_and_fifo_the_least_recently_used() {
    for (scheduling, order) in [(Scheduling::Lifo, [3, 2, 1]), (Scheduling::Fifo, [1, 2, 3])] {
        let (net, world) = net(Limits {
            scheduling,
            ..Limits::default()
        });
        let leases: Vec<_> = (0..3).map(|_| dial(&net, &world, "a")).collect();
        leases.into_iter().for_each(|lease| lease.release(KEEP));
        let loans: Vec<_> = (0..3).map(|_| reuse(&net, "a")).collect();
        assert_eq!(
            loans.iter().map(|lease| lease.id).collect::<Vec<_>>(),
            order
        );
    }
}

#[tokio::test]
async fn lifo_prefers_connections_that_the_reactor_has_polled_since_they_were_kept() {
    let (net, world) = net(Limits::default());
    let mut leases: Vec<_> = (0..5).map(|_| dial(&net, &world, "a")).collect();
    let mut keep = |n: usize| leases.drain(..n).for_each(|lease| lease.release(KEEP));
    keep(3);
    TICK.set(1);
    keep(2);
    // Kept before this tick: 1, 2, 3. Number 3 leaves by eviction.
    net.evict(|_, line| line.id == 3);
    net.audit();
    let loans: Vec<_> = (0..4).map(|_| reuse(&net, "a")).collect();
    assert_eq!(
        loans.iter().map(|lease| lease.id).collect::<Vec<_>>(),
        [2, 1, 5, 4]
    );
    // After the next tick the newest one is used again.
    loans.into_iter().for_each(|lease| lease.release(KEEP));
    TICK.set(2);
    assert_eq!(reuse(&net, "a").id, 4);
    net.audit();
}

#[tokio::test]
async fn above_the_idle_limit_the_oldest_connection_of_the_origin_is_closed() {
    let (net, world) = net(Limits {
        max_idle_per_origin: 2,
        ..Limits::default()
    });
    let leases: Vec<_> = (0..5).map(|_| dial(&net, &world, "a")).collect();
    leases.into_iter().for_each(|lease| lease.release(KEEP));
    assert_eq!(world.open(), [4, 5]);
    net.audit();
}

#[tokio::test]
async fn acquire_fresh_leaves_idle_connections_alone_while_there_is_room() {
    let (net, world) = net(Limits::capped(2, 2));
    dial(&net, &world, "a").release(KEEP);
    drop(permit(now(&net, "a", true)));
    assert_eq!(world.open(), [1]);
}

#[tokio::test]
async fn acquire_fresh_closes_the_oldest_idle_connection_of_its_origin_at_the_cap() {
    let (net, world) = net(Limits::capped(3, 2));
    let (other, one, two) = (
        dial(&net, &world, "b"),
        dial(&net, &world, "a"),
        dial(&net, &world, "a"),
    );
    [other, one, two]
        .into_iter()
        .for_each(|lease| lease.release(KEEP));
    let permit = permit(now(&net, "a", true));
    assert_eq!(world.open(), [1, 3]);
    assert_eq!(permit.install(world.line("a")).requests(), 1);
    net.audit();
}

#[tokio::test]
async fn a_released_connection_is_closed_for_a_waiter_that_wants_a_fresh_one() {
    let (net, world) = net(Limits::capped(1, 1));
    let busy = dial(&net, &world, "a");
    let mut fresh = acquiring(&net, &"a", true);
    assert!(fresh.poll().is_pending());
    let behind = queued(&net, &"a");
    busy.release(KEEP);
    let permit = permit(fresh.served());
    assert!(world.open().is_empty() && !behind.woken());
    permit.install(world.line("a")).release(KEEP);
    assert_eq!(lease(behind.served()).id, 2);
}

#[tokio::test]
async fn an_upgraded_connection_counts_until_its_guard_is_dropped() {
    let (net, world) = net(Limits::capped(1, 1));
    let (line, guard) = dial(&net, &world, "a").detach();
    let waiting = queued(&net, &"b");
    assert_eq!(
        (net.stats().upgraded, net.stats().active, *guard.key()),
        (1, 0, "a")
    );
    drop(line);
    assert!(!waiting.woken());
    drop(guard);
    drop(permit(waiting.served()));
    assert_eq!(net.stats().closed_total, 1);
}

#[tokio::test]
async fn evict_closes_the_idle_connections_that_match() {
    let (net, world) = net(Limits::default());
    let busy = dial(&net, &world, "a");
    let (a, b) = (dial(&net, &world, "a"), dial(&net, &world, "b"));
    a.release(KEEP);
    b.release(KEEP);
    assert_eq!(net.evict(|key, line| *key == "a" && line.id < 3), 1);
    assert_eq!(world.open(), [1, 3]);
    busy.release(KEEP);
    assert_eq!(net.close_idle(), 2);
    assert!(net.stats().origins.is_empty());
}

#[tokio::test]
async fn evict_key_reaches_connections_in_use_being_dialled_and_being_handed_over() {
    let (net, world) = net(Limits::capped(9, 4));
    let (in_use, idle) = (dial(&net, &world, "a"), dial(&net, &world, "a"));
    let (dialling, handed) = (permit(now(&net, "a", false)), dial(&net, &world, "a"));
    let other = dial(&net, &world, "b");
    let waiting = queued(&net, &"a");
    handed.release(KEEP);
    assert!(waiting.woken());
    in_use.release(KEEP);
    let in_use = reuse(&net, "a");
    idle.release(KEEP);

    assert_eq!(net.evict_key(&"a"), 1);
    assert_eq!(net.evict_key(&"unknown"), 0);
    drop(permit(waiting.served()));
    in_use.release(KEEP);
    dialling.install(world.line("a")).release(KEEP);
    assert_eq!((world.open_to("a"), net.stats().idle), (0, 0));
    other.release(KEEP);
    dial(&net, &world, "a").release(KEEP);
    assert_eq!(net.stats().idle, 2, "later connections are kept");
}

#[tokio::test]
async fn a_pool_that_keeps_nothing_serves_and_closes_released_connections() {
    let (net, world) = net(Limits::capped(1, 1));
    let idle = dial(&net, &world, "a");
    idle.release(KEEP);
    net.keep_nothing();
    assert!(world.open().is_empty(), "the idle one was closed");
    let busy = dial(&net, &world, "a");
    let waiting = queued(&net, &"a");
    busy.release(KEEP);
    assert!(waiting.woken());
    drop(waiting.served());
    dial(&net, &world, "a").release(KEEP);
    assert!(world.open().is_empty() && net.stats().idle == 0);
    assert!(!net.is_closed());
    net.audit();
}

#[tokio::test]
async fn dropping_the_last_handle_closes_idle_connections_and_leases_continue() {
    let (net, world) = net(Limits::default());
    let (busy, idle) = (dial(&net, &world, "a"), dial(&net, &world, "a"));
    idle.release(KEEP);
    let clone = net.clone();
    drop(net);
    assert_eq!(world.open(), [1, 2]);
    drop(clone);
    assert_eq!(world.open(), [1]);
    busy.release(KEEP);
    assert!(world.open().is_empty());
}

#[tokio::test]
async fn a_hundred_thousand_origins_leave_nothing_behind() {
    let pool: Pool<u32, Line> = Pool::new(Limits::default()).unwrap();
    let world = World::default();
    for key in 0..100_000 {
        match pool.acquire(&key).await.unwrap() {
            Acquired::Open(permit) => permit.install(world.line("any")).release(KEEP),
            Acquired::Lease(_) => panic!("the origin is new"),
        }
    }
    assert_eq!(
        (
            pool.stats().idle,
            pool.stats().origins.len(),
            world.open().len()
        ),
        (1024, 1024, 1024)
    );
    pool.audit();
    pool.close_idle();
    assert!(pool.stats().origins.is_empty());
    pool.audit();
}

#[tokio::test]
async fn a_panic_while_closing_returns_the_permit() {
    struct Mine;
    impl Conn for Mine {
        fn probe(&mut self) -> Probe {
            Probe::Clean
        }
    }
    impl Drop for Mine {
        fn drop(&mut self) {
            panic!("boom");
        }
    }
    let pool: Pool<u8, Mine> = Pool::new(Limits::capped(1, 1)).unwrap();
    let Ok(Acquired::Open(permit)) = pool.acquire(&1).await else {
        panic!("free")
    };
    let lease = permit.install(Mine);
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(lease))).is_err());
    assert!(pool.stats().origins.is_empty());
}
