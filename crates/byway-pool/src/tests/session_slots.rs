//! Session slots: who gets the streams of a session, and who dials.

use super::multiplexed::*;
use super::*;
use crate::{Client, NoSession};
use std::time::Duration;
use tokio::time::advance;

const SECOND: Duration = Duration::from_secs(1);

fn sharing_for<'a>(pool: &'a Shared, key: &'a Key, name: &str) -> Sharing<'a> {
    Sharing::new(pool.acquire_shared_for(key, Client::of(&name)))
}

#[tokio::test]
async fn one_dial_serves_all_acquires_that_wait_for_it_with_streams_of_its_session() {
    let (pool, net, _) = shared(Limits::capped(9, 9));
    let dial = to_open(at_once(&pool, "a"));
    let others: Vec<_> = (0..5).map(|_| waiting(&pool, &"a")).collect();
    assert_eq!((pool.stats().connecting, pool.stats().pending), (1, 5));
    pool.audit();
    let first = net.install(dial, 100);
    let streams: Vec<_> = others.into_iter().map(|one| stream(one.served())).collect();
    assert!(!first.reused() && streams.iter().all(|lease| lease.reused()));
    assert_eq!((pool.stats().active, pool.stats().streams), (1, 6));
    assert_eq!(stream(at_once(&pool, "a")).stream.session, 1);
    pool.audit();
}

#[tokio::test]
async fn acquires_that_a_session_has_no_stream_for_dial() {
    let (pool, net, _) = shared(Limits::capped(9, 9));
    let dial = to_open(at_once(&pool, "a"));
    let others: Vec<_> = (0..5).map(|_| waiting(&pool, &"a")).collect();
    let first = net.install(dial, 3);
    // Two get streams; of three, one dials, and the two others wait for its streams.
    let (mut streams, mut dials, mut still) = (vec![first], Vec::new(), Vec::new());
    for mut other in others {
        match other.poll() {
            Poll::Ready(Ok(Acquired::Stream(lease))) => streams.push(lease),
            Poll::Ready(outcome) => dials.push(to_open(outcome)),
            Poll::Pending => still.push(other),
        }
    }
    assert_eq!((streams.len(), dials.len(), still.len()), (3, 1, 2));
    pool.audit();
    let another = net.install(dials.pop().unwrap(), 3);
    streams.extend(still.into_iter().map(|one| stream(one.served())));
    assert_eq!((pool.stats().active, pool.stats().streams), (2, 6));
    drop((streams, another));
    pool.audit();
}

#[tokio::test]
async fn if_the_dial_yields_an_exclusive_connection_the_others_go_on_as_without_sessions() {
    let (pool, _, world) = shared(Limits::capped(9, 3));
    let dial = to_open(at_once(&pool, "a"));
    let others: Vec<_> = (0..4).map(|_| waiting(&pool, &"a")).collect();
    let lease = dial.install(world.line("a"));
    let mut others = others.into_iter();
    let (second, third) = (others.next().unwrap(), others.next().unwrap());
    let _dials = (to_open(second.served()), to_open(third.served()));
    let mut fourth = others.next().unwrap();
    assert!(fourth.poll().is_pending(), "the origin is at its cap");
    lease.release(KEEP);
    assert!(matches!(fourth.served(), Ok(Acquired::Lease(_))));
    pool.audit();
}

#[tokio::test]
async fn an_origin_whose_last_dial_was_exclusive_is_dialled_by_each_acquire() {
    let (pool, _, world) = shared(Limits::capped(9, 9));
    let _busy = to_open(at_once(&pool, "a")).install(world.line("a"));
    let _dials: Vec<_> = (0..3).map(|_| to_open(at_once(&pool, "a"))).collect();
    assert_eq!(pool.stats().connecting, 3);
}

#[tokio::test]
async fn after_failed_dials_two_then_four_acquires_dial_at_once() {
    let (pool, net, _) = shared(Limits::capped(32, 32));
    let mut dials = vec![to_open(at_once(&pool, "a"))];
    let mut others: Vec<_> = (0..20).map(|_| waiting(&pool, &"a")).collect();
    for at_once in [2, 4, 8] {
        drop(dials.pop());
        while let Some(woken) = others.iter().position(Sharing::woken) {
            dials.push(to_open(others.remove(woken).served()));
        }
        assert_eq!(dials.len(), at_once);
        pool.audit();
    }
    let _first = net.install(dials.pop().unwrap(), 100);
    assert!(others.iter().all(Sharing::woken), "all get a stream");
    drop((others, dials));
    pool.audit();
}

#[tokio::test]
async fn a_dial_that_was_granted_to_a_cancelled_acquire_goes_to_the_next_one() {
    let (pool, net, _) = shared(Limits::capped(9, 9));
    let dial = to_open(at_once(&pool, "a"));
    let others: Vec<_> = (0..3).map(|_| waiting(&pool, &"a")).collect();
    drop(dial);
    let mut others = others.into_iter();
    drop(others.next());
    pool.audit();
    let (one, two) = (others.next().unwrap(), others.next().unwrap());
    let (one, two) = (to_open(one.served()), to_open(two.served()));
    drop((net.install(one, 5), two));
    pool.audit();
}

#[tokio::test]
async fn an_acquire_that_lost_its_dial_closes_an_idle_connection_of_another_origin() {
    let (pool, _, world) = shared(Limits::capped(2, 2));
    to_open(at_once(&pool, "b"))
        .install(world.line("b"))
        .release(KEEP);
    let dial = to_open(at_once(&pool, "a"));
    let other = waiting(&pool, &"a");
    assert_eq!(world.open_to("b"), 1, "it needs no permit");
    let _busy = dial.install(world.line("a"));
    let _dial = to_open(other.served());
    assert_eq!(world.open_to("b"), 0);
    pool.audit();
}

#[tokio::test]
async fn if_an_acquire_that_was_to_make_room_is_cancelled_another_one_makes_room() {
    let (pool, _, world) = shared(Limits::capped(3, 3));
    let idle = to_open(at_once(&pool, "b")).install(world.line("b"));
    let _busy = to_open(at_once(&pool, "c"));
    idle.release(KEEP);
    let dial = to_open(at_once(&pool, "a"));
    let others: Vec<_> = (0..3).map(|_| waiting(&pool, &"a")).collect();
    drop(dial);
    let mut others = others.into_iter();
    let _first = to_open(others.next().unwrap().served());
    let (second, third) = (others.next().unwrap(), others.next().unwrap());
    assert!(
        second.woken() && !third.woken(),
        "one more dials after a failure"
    );
    drop(second);
    let _third = to_open(third.served());
    assert_eq!(world.open_to("b"), 0);
    pool.audit();
}

#[tokio::test]
async fn a_refused_request_takes_no_place_that_others_have_in_a_full_queue() {
    let (pool, net, _) = shared(Limits {
        queue_len: 1,
        ..Limits::capped(1, 1)
    });
    let first = session(&pool, &net, "a", 2);
    let refused = stream(at_once(&pool, "a"));
    let other = waiting(&pool, &"a");
    let again = Sharing::new(pool.acquire_again(&"a", refused.refused())).ready();
    assert_eq!(again.unwrap_err(), AcquireError::QueueFull { limit: 1 });
    first.release();
    drop(stream(other.served()));
    pool.audit();
}

#[tokio::test]
async fn a_full_session_makes_an_acquire_open_another_connection_if_the_permits_allow() {
    let (pool, net, _) = shared(Limits::capped(2, 2));
    let one = session(&pool, &net, "a", 1);
    let two = session(&pool, &net, "a", 1);
    let third = waiting(&pool, &"a");
    assert_eq!((pool.stats().active, pool.stats().pending), (2, 1));
    two.release();
    assert_eq!(stream(third.served()).stream.session, 2);
    assert_eq!(stream(at_once(&pool, "a")).stream.session, 2);
    drop(one);
    pool.audit();
}

#[tokio::test]
async fn a_slot_is_freed_when_the_lease_ends_and_not_before() {
    let (pool, net, _) = shared(Limits::capped(1, 1));
    let first = session(&pool, &net, "a", 2);
    let second = stream(at_once(&pool, "a"));
    let (third, fourth) = (waiting(&pool, &"a"), waiting(&pool, &"a"));
    first.release();
    assert!(third.woken() && !fourth.woken());
    assert_eq!(net.peer(1, |peer| (peer.resets, peer.streams)), (0, 1));
    drop(second);
    assert!(fourth.woken());
    assert_eq!(net.peer(1, |peer| peer.resets), 1, "dropped: reset");
    drop((third, fourth));
    pool.audit();
}

#[tokio::test]
async fn a_rise_of_the_limit_serves_waiters_and_a_fall_leases_no_more_until_enough_have_ended() {
    let (pool, net, _) = shared(Limits::capped(1, 1));
    let mut streams = vec![session(&pool, &net, "a", 1)];
    let others: Vec<_> = (0..4).map(|_| waiting(&pool, &"a")).collect();
    net.set_max(1, 3);
    let mut still = Vec::new();
    for other in others {
        match other.woken() {
            true => streams.push(stream(other.served())),
            false => still.push(other),
        }
    }
    assert_eq!((streams.len(), still.len()), (3, 2));
    net.set_max(1, 1);
    pool.audit();
    streams.pop().unwrap().release();
    streams.pop().unwrap().release();
    assert!(!still.iter().any(Sharing::woken));
    streams.pop().unwrap().release();
    assert!(still[0].woken() && !still[1].woken());
    net.set_max(1, 0);
    streams.push(stream(still.remove(0).served()));
    pool.audit();
    drop(streams);
    assert_eq!(net.ids(|peer| peer.to_close), [1], "its permit is needed");
    assert!(!still[0].woken());
    net.close();
    let dial = to_open(still.pop().unwrap().served());
    drop(net.install(dial, 1));
    pool.audit();
}

#[tokio::test]
async fn a_stream_granted_to_a_cancelled_acquire_goes_to_the_next_one() {
    let (pool, net, _) = shared(Limits::capped(1, 1));
    let first = session(&pool, &net, "a", 1);
    let (second, third) = (waiting(&pool, &"a"), waiting(&pool, &"a"));
    first.release();
    assert!(second.woken() && !third.woken());
    drop(second);
    assert_eq!(stream(third.served()).requests(), 2, "one was not used");
    assert_eq!(pool.stats().idle, 1);
    pool.audit();
}

#[tokio::test]
async fn a_free_slot_goes_to_the_waiting_client_that_holds_least() {
    let (pool, net, _) = shared(Limits::capped(1, 1));
    let first = session(&pool, &net, "a", 3);
    let _hog: Vec<_> = (0..2)
        .map(|_| stream(sharing_for(&pool, &"a", "eve").ready()))
        .collect();
    let (mut greedy, mut modest) = (
        sharing_for(&pool, &"a", "eve"),
        sharing_for(&pool, &"a", "ann"),
    );
    assert!(greedy.poll().is_pending() && modest.poll().is_pending());
    first.release();
    assert!(modest.woken() && !greedy.woken());
    let _held = stream(modest.served());
    pool.audit();
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_waits_for_a_client_above_its_share_is_recalled() {
    let (pool, net, _) = shared(Limits {
        queue_wait: 8 * SECOND,
        ..Limits::capped(1, 1)
    });
    let dial = to_open(sharing_for(&pool, &"a", "eve").ready());
    let mut first = net.install(dial, 2);
    let mut second = stream(sharing_for(&pool, &"a", "eve").ready());
    let cx = Context::from_waker(Waker::noop());
    assert!(second.poll_recalled(&cx, Some(7)).is_pending());
    let mut other = sharing_for(&pool, &"a", "ann");
    assert!(other.poll().is_pending());
    advance(SECOND + Duration::from_millis(1)).await;
    assert!(other.poll().is_pending());
    assert!(first.poll_recalled(&cx, None).is_pending());
    assert!(second.poll_recalled(&cx, Some(7)).is_ready());
    drop(second);
    let of_ann = stream(other.served());
    // The place of a recalled stream is used again without the recall.
    drop(of_ann);
    let mut again = stream(at_once(&pool, "a"));
    assert!(again.poll_recalled(&cx, Some(0)).is_pending());
    drop(again);
    pool.audit();
}

#[tokio::test]
async fn an_exclusive_acquire_never_gets_a_stream() {
    let (pool, net, world) = shared(Limits::capped(2, 2));
    let _stream = session(&pool, &net, "a", 9);
    let exclusive = Sharing::new(pool.acquire(&"a")).ready();
    let lease = to_open(exclusive).install(world.line("a"));
    let mut exclusive = Sharing::new(pool.acquire(&"a"));
    assert!(exclusive.poll().is_pending());
    assert_eq!(
        stream(at_once(&pool, "a")).stream.session,
        1,
        "others go on"
    );
    assert!(!exclusive.woken());
    lease.release(KEEP);
    assert!(matches!(exclusive.served(), Ok(Acquired::Lease(_))));
    pool.audit();
}

#[tokio::test]
async fn a_session_that_is_never_idle_is_given_up_for_a_waiter_of_another_origin() {
    for exclusive in [false, true] {
        let (pool, net, _) = shared(Limits::capped(1, 1));
        let mut busy = session(&pool, &net, "a", 9);
        let key = if exclusive { "a" } else { "b" };
        let mut other = match exclusive {
            true => Sharing::new(pool.acquire(&key)),
            false => Sharing::new(pool.acquire_shared(&key)),
        };
        assert!(other.poll().is_pending());
        for _ in 0..crate::permits::PASS_OVER {
            let next = stream(at_once(&pool, "a"));
            busy.release();
            busy = next;
        }
        let late = waiting(&pool, &"a");
        assert!(net.ids(|peer| peer.to_close).is_empty());
        busy.release();
        assert_eq!(net.close(), [1]);
        drop(to_open(other.served()));
        drop(to_open(late.served()));
        pool.audit();
    }
}

#[tokio::test]
async fn each_shard_opens_a_session_of_its_own_and_uses_the_others_at_the_cap() {
    let (pool, net, _) = shared_shards(Limits::capped(2, 2), 3);
    let shards: Vec<_> = (0..3).map(|number| pool.shard(number)).collect();
    let _first = session(&shards[0], &net, "a", 2);
    let _second = session(&shards[1], &net, "a", 2);
    assert_eq!(stream(at_once(&shards[1], "a")).stream.session, 2);
    let third = stream(at_once(&shards[2], "a"));
    let fourth = stream(at_once(&shards[2], "a"));
    let across = waiting(&shards[2], &"a");
    drop(third);
    drop(stream(across.served()));
    drop(fourth);
    pool.audit();
}

#[tokio::test]
async fn while_its_own_session_is_dialled_a_shard_uses_that_of_another_one() {
    let (pool, net, _) = shared_shards(Limits::capped(4, 4), 2);
    let (here, there) = (pool.shard(0), pool.shard(1));
    let _first = session(&here, &net, "a", 9);
    let dial = to_open(at_once(&there, "a"));
    assert_eq!(stream(at_once(&there, "a")).stream.session, 1);
    let _second = net.install(dial, 9);
    assert_eq!(stream(at_once(&there, "a")).stream.session, 2);
    pool.audit();
}

#[tokio::test]
async fn waiters_in_every_shard_are_served_by_one_session_at_the_cap() {
    let (pool, net, _) = shared_shards(Limits::capped(1, 1), 3);
    let shards: Vec<_> = (0..3).map(|number| pool.shard(number)).collect();
    let dial = to_open(at_once(&shards[0], "a"));
    let others: Vec<_> = shards.iter().map(|shard| waiting(shard, &"a")).collect();
    let _first = net.install(dial, 9);
    drop(
        others
            .into_iter()
            .map(|one| stream(one.served()))
            .collect::<Vec<_>>(),
    );
    pool.audit();
}

#[tokio::test]
async fn in_a_full_queue_an_acquire_dials_rather_than_to_be_refused() {
    let (pool, _, _) = shared(Limits {
        queue_len: 1,
        ..Limits::capped(3, 3)
    });
    let _dial = to_open(at_once(&pool, "a"));
    let _waits = waiting(&pool, &"a");
    let _another = to_open(at_once(&pool, "a"));
    pool.audit();
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_a_stream_has_a_time_limit() {
    let (pool, _, _) = shared(Limits::capped(3, 3));
    let dial = to_open(at_once(&pool, "a"));
    let mut other = waiting(&pool, &"a");
    advance(6 * SECOND).await;
    let outcome = other.poll();
    assert!(matches!(
        outcome,
        Poll::Ready(Err(AcquireError::QueueTimeout { .. }))
    ));
    drop(dial);
    assert_eq!(pool.remains().0, 0);
}

#[tokio::test]
async fn a_pool_without_sessions_shares_nothing_and_its_types_do_not_grow() {
    let (net, world) = net(Limits::capped(3, 3));
    let mut acquiring = Acquiring {
        future: Box::pin(net.acquire_shared(&"a")),
        woken: Arc::default(),
    };
    let Poll::Ready(outcome) = acquiring.poll() else {
        panic!("has to wait");
    };
    let _busy = permit(outcome);
    let mut second = Acquiring {
        future: Box::pin(net.acquire_shared(&"a")),
        woken: Arc::default(),
    };
    let Poll::Ready(outcome) = second.poll() else {
        panic!("waits for a dial that can only yield an exclusive connection");
    };
    // No arm for a stream is needed.
    match outcome.unwrap() {
        Acquired::Lease(_) => panic!("nothing is idle"),
        Acquired::Open(permit) => drop(permit.install(world.line("a"))),
    }
    assert_eq!(size_of::<Lease<Key, Line>>(), size_of::<usize>());
    assert_eq!(size_of::<Acquired<Key, Line>>(), 2 * size_of::<usize>());
    assert_eq!(size_of::<NoSession>(), 0);
}
