//! Shards: connections stay where they were opened, permits move where they are needed, and limits
//! apply to all shards together.

use super::*;
use crate::permits::PASS_OVER;
use crate::{InvalidLimits, QueueOrder};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::advance;

/// One handle for each shard.
fn shards<const N: usize>(limits: Limits) -> ([Net; N], World) {
    let net = Pool::sharded(limits, N).unwrap();
    (
        std::array::from_fn(|number| net.shard(number)),
        World::default(),
    )
}

#[test]
fn a_pool_has_at_least_one_shard_and_numbers_wrap_around() {
    let none = Net::sharded(Limits::default(), 0).unwrap_err();
    assert_eq!(none, InvalidLimits::Zero { option: "shards" });
    let net = Net::sharded(Limits::default(), 3).unwrap();
    assert_eq!((net.shards(), net.shard(5).shard.number), (3, 2));
}

#[tokio::test]
async fn an_idle_connection_is_reused_only_in_its_own_shard() {
    let ([here, there], world) = shards(Limits::default());
    dial(&here, &world, "a").release(KEEP);
    dial(&there, &world, "a").release(KEEP);
    assert_eq!((reuse(&here, "a").id, reuse(&there, "a").id), (1, 2));
}

#[tokio::test]
async fn a_connection_that_another_thread_releases_returns_to_its_shard() {
    let ([here, there], world) = shards(Limits::default());
    let lease = dial(&here, &world, "a");
    std::thread::spawn(move || lease.release(KEEP))
        .join()
        .unwrap();
    drop(permit(now(&there, "a", false)));
    assert_eq!(reuse(&here, "a").id, 1);
}

#[tokio::test]
async fn at_the_origins_cap_its_idle_connection_in_another_shard_is_closed_and_the_permit_moves() {
    let ([here, there], world) = shards(Limits::capped(9, 1));
    dial(&there, &world, "a").release(KEEP);
    dial(&there, &world, "b").release(KEEP);
    let permit = permit(now(&here, "a", false));
    assert_eq!(world.open(), [2], "only its own was closed");
    drop(permit.install(world.line("a")));
    here.audit();
}

#[tokio::test(start_paused = true)]
async fn at_the_total_the_least_recently_used_connection_in_any_shard_is_closed() {
    let ([one, two, three], world) = shards(Limits::capped(3, 3));
    let leases = [
        dial(&one, &world, "a"),
        dial(&two, &world, "b"),
        dial(&three, &world, "c"),
    ];
    for lease in leases {
        advance(Duration::from_millis(1)).await;
        lease.release(KEEP);
    }
    advance(Duration::from_millis(1)).await;
    reuse(&one, "a").release(KEEP);
    let _d = dial(&one, &world, "d");
    assert_eq!(
        (world.open_to("a"), world.open_to("b"), world.open_to("c")),
        (1, 0, 1)
    );
    one.audit();
}

#[tokio::test]
async fn a_connection_goes_to_its_own_shard_first_but_not_indefinitely() {
    let ([here, there], world) = shards(Limits::capped(1, 1));
    let mut busy = dial(&here, &world, "a");
    let starving = queued(&there, &"a");
    let mut next = VecDeque::from([queued(&here, &"a"), queued(&here, &"a")]);
    for _ in 0..PASS_OVER {
        busy.release(KEEP);
        assert!(!starving.woken());
        busy = lease(next.pop_front().unwrap().served());
        next.push_back(queued(&here, &"a"));
    }
    busy.release(KEEP);
    assert!(world.open().is_empty(), "closed before its permit moves");
    drop(permit(starving.served()));
    drop(permit(next.pop_front().unwrap().served()));
    here.audit();
}

#[tokio::test]
async fn four_shards_that_always_wait_at_the_cap_get_equal_shares() {
    let (nets, world) = shards::<4>(Limits {
        queue_len: 64,
        ..Limits::capped(4, 4)
    });
    let mut leases: VecDeque<(usize, Lease<Key, Line>)> = VecDeque::new();
    let mut waiting: Vec<(usize, Acquiring<'_>)> = Vec::new();
    (0..4).for_each(|_| leases.push_back((0, dial(&nets[0], &world, "a")))); // as unfair as possible at the start
    (0..32).for_each(|n| waiting.push((n % 4, queued(&nets[n % 4], &"a"))));
    let mut grants = [0_u32; 4];
    for _ in 0..10_000 {
        let (_, lease) = leases.pop_front().unwrap();
        lease.release(KEEP);
        let woken = waiting
            .iter()
            .position(|(_, acquiring)| acquiring.woken())
            .expect("no waiter was woken: a lost wake-up");
        let (shard, acquiring) = waiting.remove(woken);
        grants[shard] += 1;
        let lease = match acquiring.served().unwrap() {
            Acquired::Lease(lease) => lease,
            Acquired::Open(permit) => permit.install(world.line("a")),
        };
        leases.push_back((shard, lease));
        waiting.push((shard, queued(&nets[shard], &"a")));
        let (least, most) = (grants.iter().min().unwrap(), grants.iter().max().unwrap());
        // A round: each of the four connections is handed over in its shard until it must move.
        assert!(most - least <= 4 * (PASS_OVER + 1), "{grants:?}");
        assert!(world.open().len() <= 4);
    }
    let reused = nets[0].stats().reused_total;
    assert!(
        reused > 8_000,
        "a queue turns reuse into dialling: {reused}"
    );
    drop((leases, waiting));
    nets[0].close_idle();
    assert_eq!(nets[0].remains().0, 0);
}

#[tokio::test(start_paused = true)]
async fn above_the_total_idle_limit_the_least_recently_used_connection_is_closed() {
    let (net, world) = net(Limits {
        max_idle_total: Some(2),
        max_idle_per_origin: 2,
        ..Limits::capped(9, 9)
    });
    let leases = [
        dial(&net, &world, "a"),
        dial(&net, &world, "b"),
        dial(&net, &world, "c"),
    ];
    leases.into_iter().for_each(|lease| lease.release(KEEP));
    assert_eq!((world.open(), net.stats().idle), (vec![2, 3], 2));
    reuse(&net, "b").release(KEEP);
    dial(&net, &world, "d").release(KEEP);
    assert_eq!(world.open(), [2, 4]);
    net.audit();
}

#[tokio::test]
async fn idle_limits_below_the_caps_are_split_over_the_shards_and_rounded_up() {
    let limits = Limits {
        max_idle_total: Some(4),
        max_idle_per_origin: 2,
        ..Limits::capped(64, 64)
    };
    let (nets, world) = shards::<3>(limits);
    for key in ["a", "b", "c"] {
        for net in &nets {
            let leases: Vec<_> = (0..4).map(|_| dial(net, &world, key)).collect();
            leases.into_iter().for_each(|lease| lease.release(KEEP));
        }
    }
    assert_eq!(
        nets[0].stats().idle,
        6,
        "at most one more than the limit for each shard but one"
    );
    nets[0].audit();
}

#[tokio::test]
async fn in_arrival_order_the_longest_wait_is_served_first_for_any_origin() {
    let (net, world) = net(Limits {
        queue_order: QueueOrder::Fifo,
        ..Limits::capped(3, 3)
    });
    let mut holders: VecDeque<_> = (0..3).map(|_| dial(&net, &world, "x")).collect();
    let keys = ["a", "a", "b", "a", "b", "c"];
    let mut waiting: VecDeque<_> = keys.iter().map(|key| queued(&net, key)).collect();
    let cancelled = waiting.remove(4).unwrap();
    drop(cancelled);
    for key in ["a", "a", "b", "a", "c"] {
        drop(holders.pop_front());
        assert_eq!(
            waiting.iter().filter(|acquiring| acquiring.woken()).count(),
            1
        );
        let permit = permit(waiting.pop_front().unwrap().served());
        assert_eq!(*permit.key(), key);
        holders.push_back(permit.install(world.line(key)));
    }
    net.audit();
}

#[tokio::test]
async fn in_arrival_order_an_origin_at_its_own_cap_is_skipped() {
    let (net, world) = net(Limits {
        queue_order: QueueOrder::Fifo,
        ..Limits::capped(2, 1)
    });
    let (_a, b) = (dial(&net, &world, "a"), dial(&net, &world, "b"));
    let (stuck, next) = (queued(&net, &"a"), queued(&net, &"c"));
    drop(b);
    assert!(!stuck.woken());
    drop(permit(next.served()));
}

#[tokio::test]
async fn a_hundred_thousand_origins_in_four_shards_leave_nothing_behind() {
    let pool: Pool<u32, Line> = Pool::sharded(Limits::capped(256, 8), 4).unwrap();
    let shards: Vec<_> = (0..4).map(|number| pool.shard(number)).collect();
    let world = World::default();
    for key in 0..100_000_usize {
        match shards[key % 4]
            .acquire(&u32::try_from(key).unwrap())
            .await
            .unwrap()
        {
            Acquired::Open(permit) => permit.install(world.line("any")).release(KEEP),
            Acquired::Lease(_) => panic!("the origin is new"),
        }
    }
    assert_eq!(pool.stats().idle, 256);
    pool.audit();
    pool.close_idle();
    let (left, places) = pool.remains();
    assert_eq!((left, world.open().len()), (0, 0));
    assert!(
        places <= 257,
        "memory grows with the origins, not the connections: {places} entries"
    );
}
