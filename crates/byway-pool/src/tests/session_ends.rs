//! Session ends: how sessions and their streams end, and what becomes of permits and waiters.

use super::multiplexed::*;
use super::*;
use crate::{Event, Observer};
use std::time::Duration;
use tokio::time::advance;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_session_that_goes_away_gets_no_new_streams_and_its_permit_returns_after_the_close() {
    let (pool, net, _) = shared(Limits::capped(1, 1));
    let first = session(&pool, &net, "a", 9);
    let second = stream(at_once(&pool, "a"));
    net.go_away(1);
    let next = waiting(&pool, &"a");
    first.release();
    assert!(net.ids(|peer| peer.to_close).is_empty(), "a stream goes on");
    second.release();
    assert_eq!(net.ids(|peer| peer.to_close), [1]);
    assert!(!next.woken(), "its connection is open");
    assert_eq!((pool.stats().active, pool.stats().streams), (1, 0));
    net.close();
    assert!(net.peer(1, |peer| peer.is_dropped));
    let _second = net.install(to_open(next.served()), 9);
    pool.audit();
}

#[tokio::test]
async fn an_idle_session_that_goes_away_is_closed_at_once() {
    let (pool, net, _) = shared(Limits::capped(1, 1));
    session(&pool, &net, "a", 9).release();
    net.go_away(1);
    net.go_away(1);
    assert_eq!(net.close(), [1]);
    assert_eq!(pool.remains().0, 0);
}

#[tokio::test]
async fn the_permit_of_a_session_that_died_returns_when_its_last_stream_has_ended() {
    let (pool, net, _) = shared(Limits::capped(1, 1));
    let first = session(&pool, &net, "a", 9);
    let second = stream(at_once(&pool, "a"));
    net.end(1);
    let next = waiting(&pool, &"a");
    drop(first);
    assert!(!next.woken());
    second.release();
    assert!(net.peer(1, |peer| peer.is_dropped && !peer.to_close));
    drop(to_open(next.served()));
    assert_eq!(pool.remains().0, 0);
    pool.audit();
}

#[tokio::test]
async fn an_acquire_of_a_session_that_takes_no_more_gets_another_one_at_its_position() {
    let (pool, net, _) = shared(Limits::capped(1, 1));
    let first = session(&pool, &net, "a", 1);
    let (second, third) = (waiting(&pool, &"a"), waiting(&pool, &"a"));
    net.peer(1, |peer| peer.is_silent = true);
    first.release();
    let mut second = second;
    assert!(second.woken() && second.poll().is_pending());
    pool.audit();
    assert_eq!(net.close(), [1]);
    assert!(second.woken() && !third.woken(), "it is still first");
    let _first = net.install(to_open(second.served()), 1);
    drop(third);

    // The same without a wait.
    let (pool, net, _) = shared(Limits::capped(1, 1));
    session(&pool, &net, "a", 9).release();
    net.peer(1, |peer| peer.is_silent = true);
    let next = waiting(&pool, &"a");
    net.close();
    drop(to_open(next.served()));
    pool.audit();
}

#[tokio::test]
async fn a_refused_request_waits_before_those_that_arrived_after_it() {
    let (pool, net, _) = shared(Limits::capped(1, 1));
    let first = session(&pool, &net, "a", 2);
    let refused = stream(at_once(&pool, "a"));
    let (third, fourth) = (waiting(&pool, &"a"), waiting(&pool, &"a"));
    let requeue = refused.refused();
    assert!(!third.woken(), "the session takes fewer than announced");
    assert_eq!(net.peer(1, |peer| peer.resets), 0);
    let mut again = Sharing::new(pool.acquire_again(&"a", requeue));
    assert!(again.poll().is_pending());
    first.release();
    assert!(again.woken(), "before the others");
    let again = stream(again.served());
    // A stream that ends in order lets the limit rise by one, to that of the peer.
    let third = stream(third.served());
    assert!(!fourth.woken());
    third.release();
    let fourth = stream(fourth.served());
    drop((again, fourth));
    pool.audit();
}

#[tokio::test]
async fn a_session_that_refuses_its_only_stream_gets_no_more() {
    let (pool, net, _) = shared(Limits::capped(1, 1));
    let requeue = session(&pool, &net, "a", 9).refused();
    let mut again = Sharing::new(pool.acquire_again(&"a", requeue));
    assert!(again.poll().is_pending());
    assert_eq!(net.close(), [1]);
    drop(to_open(again.served()));
    pool.audit();
}

#[tokio::test]
async fn a_session_is_closed_after_its_number_of_requests() {
    let (pool, net, _) = shared(Limits {
        max_requests: Some(2),
        ..Limits::capped(2, 2)
    });
    let first = session(&pool, &net, "a", 9);
    let second = stream(at_once(&pool, "a"));
    let other = session(&pool, &net, "a", 9);
    assert_eq!(other.stream.session, 2);
    first.release();
    second.release();
    assert_eq!(net.close(), [1]);
    drop(other);
    pool.audit();
}

#[tokio::test(start_paused = true)]
async fn a_session_past_its_lifetime_gets_no_new_streams() {
    let (pool, net, _) = shared(Limits {
        max_lifetime: Some(10 * SECOND),
        lifetime_jitter: 0.0,
        ..Limits::capped(2, 2)
    });
    let first = session(&pool, &net, "a", 9);
    advance(11 * SECOND).await;
    let other = session(&pool, &net, "a", 9);
    first.release();
    assert_eq!(net.close(), [1]);
    advance(11 * SECOND).await;
    other.release();
    assert_eq!(net.close(), [2]);
    assert_eq!(pool.remains().0, 0);
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_expires_like_an_idle_connection() {
    let (pool, net, _) = shared(Limits::default());
    session(&pool, &net, "a", 9).release();
    assert_eq!((pool.stats().idle, pool.stats().active), (1, 0));
    let at = pool.next_expiry().unwrap();
    assert_eq!(at - crate::pool::now(), Limits::default().idle_timeout);
    advance(3 * SECOND).await;
    drop(stream(at_once(&pool, "a")));
    advance(3 * SECOND).await;
    assert_eq!(pool.expire(crate::pool::now()), 0, "it was used meanwhile");
    advance(2 * SECOND).await;
    assert_eq!(pool.expire(crate::pool::now()), 1);
    assert_eq!(net.close(), [1]);
    assert_eq!((pool.next_expiry(), pool.remains().0), (None, 0));
}

#[tokio::test(start_paused = true)]
async fn a_hint_replaces_the_idle_timeout_of_a_session_and_zero_closes() {
    let (pool, net, _) = shared(Limits::default());
    let first = session(&pool, &net, "a", 9);
    net.with_guard(1, |guard| guard.set_idle_timeout(SECOND));
    first.release();
    assert_eq!(pool.next_expiry(), Some(crate::pool::now() + SECOND));
    let next = stream(at_once(&pool, "a"));
    net.with_guard(1, |guard| guard.set_idle_timeout(Duration::ZERO));
    next.release();
    assert_eq!(net.close(), [1]);
}

#[tokio::test(start_paused = true)]
async fn the_least_recently_used_of_idle_connections_and_sessions_makes_room() {
    let (pool, net, world) = shared(Limits::capped(2, 2));
    let line = to_open(at_once(&pool, "a")).install(world.line("a"));
    let first = session(&pool, &net, "b", 9);
    first.release();
    advance(SECOND).await;
    line.release(KEEP);
    advance(SECOND).await;
    let other = waiting(&pool, &"c");
    assert_eq!(
        (net.ids(|peer| peer.to_close), world.open().len()),
        (vec![1], 1)
    );
    net.close();
    let _third = to_open(other.served());
    pool.audit();
    let _fourth = to_open(at_once(&pool, "d"));
    assert!(world.open().is_empty(), "the connection is next");
    pool.audit();
}

#[tokio::test]
async fn a_session_that_becomes_idle_while_another_origin_waits_is_closed() {
    let (pool, net, _) = shared(Limits::capped(1, 1));
    let first = session(&pool, &net, "a", 9);
    let other = waiting(&pool, &"b");
    first.release();
    assert_eq!(net.close(), [1]);
    drop(to_open(other.served()));
    pool.audit();
}

#[tokio::test]
async fn a_refused_acquire_closes_at_most_one_idle_session() {
    let (pool, net, _) = shared(Limits {
        queue_len: 1,
        ..Limits::capped(3, 2)
    });
    let busy = session(&pool, &net, "a", 1);
    session(&pool, &net, "b", 1).release();
    session(&pool, &net, "c", 1).release();
    let first = waiting(&pool, &"d");
    assert_eq!(net.ids(|peer| peer.to_close), [2]);
    let refused = at_once(&pool, "e").unwrap_err();
    assert_eq!(refused, AcquireError::QueueFull { limit: 1 });
    assert_eq!(net.ids(|peer| peer.to_close), [2, 3]);
    net.close();
    drop((to_open(first.served()), busy));
    pool.audit();
}

#[tokio::test]
async fn above_the_idle_limits_the_oldest_idle_session_is_closed() {
    let (pool, net, _) = shared(Limits {
        max_idle_per_origin: 1,
        max_idle_total: Some(2),
        ..Limits::capped(9, 9)
    });
    let streams: Vec<_> = ["a", "a", "b", "c"]
        .map(|key| session(&pool, &net, key, 1))
        .into();
    for lease in streams {
        lease.release();
        pool.audit();
    }
    assert_eq!(net.close(), [1, 2], "one above each limit");
}

#[tokio::test]
async fn an_evicted_origin_leases_no_more_streams_of_its_sessions() {
    let (pool, net, _) = shared(Limits::capped(9, 9));
    let busy = session(&pool, &net, "a", 1);
    session(&pool, &net, "a", 9).release();
    let dial = {
        let _full = stream(at_once(&pool, "a"));
        net.set_max(2, 1);
        to_open(at_once(&pool, "a"))
    };
    session(&pool, &net, "b", 9).release();
    assert_eq!(pool.evict_key(&"a"), 1);
    assert_eq!(net.ids(|peer| peer.to_close), [2]);
    let late = net.install(dial, 9);
    let other = to_open(at_once(&pool, "a"));
    busy.release();
    late.release();
    assert_eq!(net.close(), [1, 2, 4], "all of the origin, and no other");
    assert_eq!(
        pool.evict_sessions(|key, mux| *key == "b" && mux.id == 3),
        1
    );
    net.close();
    drop(other);
    assert_eq!(pool.remains().0, 0);
}

#[tokio::test]
async fn a_draining_pool_serves_its_queue_with_streams_and_then_closes_the_session() {
    let (pool, net, _) = shared(Limits::capped(2, 2));
    let first = session(&pool, &net, "a", 1);
    session(&pool, &net, "b", 1).release();
    let dial = {
        let _full = stream(at_once(&pool, "b"));
        let other = waiting(&pool, &"a");
        pool.drain();
        assert_eq!(at_once(&pool, "a").unwrap_err(), AcquireError::Closed);
        first.release();
        let served = stream(other.served());
        assert!(net.ids(|peer| peer.to_close).is_empty());
        served
    };
    assert_eq!(net.ids(|peer| peer.to_close), [2]);
    dial.release();
    assert_eq!(net.close(), [1, 2]);
    assert_eq!(pool.remains().0, 0);
}

#[tokio::test]
async fn a_session_installed_while_the_pool_drains_serves_its_waiters_and_is_closed() {
    let (pool, net, _) = shared(Limits::capped(2, 2));
    let dial = to_open(at_once(&pool, "a"));
    let other = waiting(&pool, &"a");
    pool.drain();
    let first = net.install(dial, 2);
    let second = stream(other.served());
    first.release();
    second.release();
    assert_eq!(net.close(), [1]);
    assert_eq!(pool.remains().0, 0);
}

#[tokio::test]
async fn a_closed_pool_leases_no_more_streams_and_those_in_use_go_on() {
    let (pool, net, _) = shared(Limits::capped(2, 2));
    let first = session(&pool, &net, "a", 1);
    session(&pool, &net, "b", 9).release();
    let dial = to_open({
        net.set_max(2, 0);
        net.close();
        let mut fresh = Sharing::new(pool.acquire_fresh(&"c"));
        assert!(fresh.poll().is_pending());
        net.close();
        fresh.served()
    });
    let other = waiting(&pool, &"a");
    pool.close();
    assert_eq!(other.served().unwrap_err(), AcquireError::Closed);
    let late = net.install(dial, 9);
    assert!(
        net.ids(|peer| peer.to_close && peer.guard.is_some())
            .is_empty()
    );
    late.release();
    drop(first);
    assert_eq!(net.close(), [1, 3]);
    assert_eq!(pool.remains().0, 0);
}

#[tokio::test]
async fn the_last_handle_of_a_pool_closes_its_sessions() {
    let (pool, net, _) = shared(Limits::capped(2, 2));
    let first = session(&pool, &net, "a", 1);
    session(&pool, &net, "b", 1).release();
    drop(pool);
    assert_eq!(net.close(), [2]);
    first.release();
    assert_eq!(net.close(), [1]);
    assert_eq!(net.ids(|peer| peer.is_dropped), [1, 2]);
}

#[tokio::test]
async fn a_pool_that_keeps_nothing_closes_idle_sessions_and_uses_busy_ones() {
    let (pool, net, _) = shared(Limits::capped(2, 2));
    let first = session(&pool, &net, "a", 2);
    session(&pool, &net, "b", 1).release();
    pool.keep_nothing();
    assert_eq!(net.close(), [2]);
    let second = stream(at_once(&pool, "a"));
    first.release();
    second.release();
    assert_eq!(net.close(), [1]);
    assert_eq!(pool.remains().0, 0);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_the_close_of_sessions() {
    let (pool, net, _) = shared(Limits::capped(2, 2));
    session(&pool, &net, "a", 1).release();
    let mut shutdown = Box::pin(pool.shutdown(SECOND));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(shutdown.as_mut().poll(&mut cx).is_pending());
    assert_eq!(net.close(), [1]);
    assert_eq!(shutdown.as_mut().poll(&mut cx), Poll::Ready(0));
}

#[tokio::test]
async fn a_panic_while_a_stream_is_reset_frees_its_slot() {
    struct Bad(Mutex<Option<crate::SessionGuard<Key, Line, Self>>>);
    impl crate::Session for Bad {
        type Stream = ();
        fn open(&self) {}
        fn reset(&self, (): &mut ()) {
            panic!("reset");
        }
        fn close(&self) {
            let guard = self.0.lock().take();
            drop(guard);
        }
    }
    let pool: Pool<Key, Line, Bad> = Pool::with_sessions(Limits::capped(1, 1), 1, None).unwrap();
    let Ok(Acquired::Open(permit)) = pool.acquire_shared(&"a").await else {
        panic!("not a permit");
    };
    let (lease, guard) = permit.install_session(Bad(Mutex::default()), 1.try_into().unwrap());
    *lease.session().0.lock() = Some(guard);
    let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(lease)));
    assert!(dropped.is_err());
    assert_eq!((pool.stats().streams, pool.stats().idle), (0, 1));
    // A guard that is dropped within the close frees the permit at once.
    assert_eq!(pool.close_idle(), 1);
    assert_eq!(pool.remains().0, 0);
}

#[tokio::test]
async fn an_observer_sees_sessions_as_connections_and_streams_as_requests() {
    let events: Arc<Mutex<Vec<String>>> = Arc::default();
    let sink = events.clone();
    let observer: Arc<dyn Observer<Key>> = Arc::new(move |event: &Event<'_, Key>| {
        sink.lock().push(match event {
            Event::Closed {
                reason, requests, ..
            } => format!("{reason:?} after {requests}"),
            Event::Reused { requests, .. } => format!("Reused {requests}"),
            other => format!("{other:?}").split(' ').next().unwrap().to_owned(),
        });
    });
    let pool: Shared = Pool::with_sessions(Limits::capped(1, 1), 1, Some(observer)).unwrap();
    let net = MuxNet::default();
    let first = session(&pool, &net, "a", 9);
    drop(stream(at_once(&pool, "a")));
    net.end(1);
    drop(first);
    assert_eq!(*events.lock(), ["Opened", "Reused 2", "GoneAway after 2"]);
    let stats = pool.stats();
    assert_eq!(
        (stats.opened_total, stats.reused_total, stats.closed_total),
        (1, 1, 1)
    );
}

#[tokio::test]
async fn origins_with_sessions_leave_nothing_behind() {
    let (pool, net, _) = shared_shards(Limits::capped(16, 2), 2);
    let keys: Vec<Key> = vec!["a", "b", "c", "d", "e", "f"];
    for round in 0..200 {
        let key = keys[round % keys.len()];
        let lease = session(&pool.shard(round), &net, key, 3);
        match round % 3 {
            0 => lease.release(),
            1 => drop(lease),
            _ => drop(lease.refused()),
        }
        pool.close_idle();
        net.close();
        pool.audit();
    }
    let (left, places) = pool.remains();
    assert_eq!(left, 0);
    assert!(places <= 17, "{places}");
}

/// All threads race with each other; at each yield an acquire may be overtaken or cancelled.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_real_threads_no_limit_of_a_session_is_exceeded_and_every_acquire_is_served() {
    const KEYS: [Key; 5] = ["a", "b", "c", "d", "e"];
    let limits = Limits {
        queue_wait: Duration::from_secs(60),
        max_requests: Some(50),
        ..Limits::capped(4, 2)
    };
    let (pool, net, world) = shared_shards(limits, 3);
    let net = net.closes_at_once();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..64_usize {
        let (pool, net, world) = (pool.shard(n), net.clone(), world.clone());
        tasks.spawn(async move {
            for round in 0..100 {
                let key = KEYS[(n + round) % KEYS.len()];
                if (n + round).is_multiple_of(7) {
                    // Cancelled if it waits.
                    let _ = tokio::time::timeout(Duration::ZERO, pool.acquire_shared(&key)).await;
                    continue;
                }
                let lease = match pool.acquire_shared(&key).await.unwrap() {
                    Acquired::Stream(lease) => lease,
                    Acquired::Open(permit) if (n + round).is_multiple_of(5) => {
                        let lease = permit.install(world.line(key));
                        tokio::task::yield_now().await;
                        lease.release(KEEP);
                        continue;
                    }
                    Acquired::Open(permit) => net.install(permit, 3),
                    Acquired::Lease(lease) => {
                        tokio::task::yield_now().await;
                        lease.release(KEEP);
                        continue;
                    }
                };
                // Each number is of one moment; their sum would not be.
                let (sessions, lines) = (net.ids(|peer| peer.guard.is_some()), world.open());
                let stats = pool.stats();
                let held = stats.connecting + stats.active + stats.idle;
                assert!(
                    sessions.len() <= 4 && lines.len() <= 4 && held <= 4,
                    "more sockets than permitted"
                );
                tokio::task::yield_now().await;
                if (n * round).is_multiple_of(11) {
                    drop(lease);
                } else {
                    lease.release();
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    pool.audit();
    let stats = pool.stats();
    assert_eq!(
        (stats.active, stats.connecting, stats.pending, stats.streams),
        (0, 0, 0, 0)
    );
    pool.close_idle();
    assert!(pool.stats().origins.is_empty());
    assert!(net.ids(|peer| !peer.is_dropped).is_empty() && world.open().is_empty());
}
