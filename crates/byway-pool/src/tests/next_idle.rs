//! Next idle: holders of a permit that take a connection of another acquire instead of dialling.

use super::*;
use crate::{Client, NextIdle};
use proptest::prelude::*;
use std::collections::VecDeque;
use std::time::Duration;

/// A wait in progress, with its permit.
struct Waiting {
    next: NextIdle<Key, Line>,
    permit: OpenPermit<Key, Line>,
    woken: Arc<Flag>,
}

impl Waiting {
    fn of(permit: OpenPermit<Key, Line>) -> Self {
        Self {
            next: permit.next_idle(),
            permit,
            woken: Arc::default(),
        }
    }

    fn poll(&mut self) -> Poll<Lease<Key, Line>> {
        self.woken.0.store(false, Ordering::SeqCst);
        let waker = Waker::from(self.woken.clone());
        Pin::new(&mut self.next).poll(&mut Context::from_waker(&waker))
    }

    /// One that has to wait.
    fn pending(permit: OpenPermit<Key, Line>) -> Self {
        let mut waiting = Self::of(permit);
        assert!(waiting.poll().is_pending());
        waiting
    }

    fn is_woken(&self) -> bool {
        self.woken.0.load(Ordering::SeqCst)
    }

    /// Ends the wait of one that was woken; its permit is returned to the pool.
    fn served(mut self) -> Lease<Key, Line> {
        assert!(self.is_woken(), "served but not woken");
        match self.poll() {
            Poll::Ready(lease) => lease,
            Poll::Pending => panic!("woken but not served"),
        }
    }
}

fn dialling(net: &Net, key: Key) -> OpenPermit<Key, Line> {
    permit(now(net, key, false))
}

#[tokio::test]
async fn a_request_whose_dial_was_refused_gets_the_next_connection_that_becomes_idle() {
    let (net, world) = net(Limits::capped(8, 8));
    let busy = dial(&net, &world, "a");
    let waiting = Waiting::pending(dialling(&net, "a"));
    let id = busy.id;
    busy.release(KEEP);
    assert_eq!(net.stats().idle, 0, "it was kept idle");
    let lease = waiting.served();
    assert_eq!((lease.id, lease.reused()), (id, true));
    let stats = net.stats();
    assert_eq!(
        (stats.connecting, stats.active),
        (0, 1),
        "the permit is free"
    );
    lease.release(KEEP);
    net.audit();
}

#[tokio::test]
async fn a_connection_that_is_idle_already_is_taken_at_once() {
    let (net, world) = net(Limits::capped(8, 8));
    let busy = dial(&net, &world, "a");
    let refused = dialling(&net, "a");
    busy.release(KEEP);
    let mut waiting = Waiting::of(refused);
    assert!(waiting.poll().is_ready());
    net.audit();
}

#[tokio::test]
async fn connections_go_to_waiting_holders_in_order_and_before_new_acquires() {
    let (net, world) = net(Limits::capped(8, 8));
    let mut busy = dial(&net, &world, "a");
    let mut waiting: VecDeque<_> = (0..4)
        .map(|_| Waiting::pending(dialling(&net, "a")))
        .collect();
    while let Some(first) = waiting.pop_front() {
        busy.release(KEEP);
        assert!(!waiting.iter().any(Waiting::is_woken), "out of order");
        // A newcomer finds none, and may dial.
        drop(dialling(&net, "a"));
        busy = first.served();
    }
    busy.release(KEEP);
    net.audit();
}

#[tokio::test]
async fn a_hand_over_frees_a_permit_for_whoever_waits_for_one() {
    let (net, world) = net(Limits::capped(2, 2));
    let busy = dial(&net, &world, "a");
    let waiting = Waiting::pending(dialling(&net, "a"));
    let own = queued(&net, &"a");
    busy.release(KEEP);
    assert!(!own.woken(), "it overtook the holder of a permit");
    let lease = waiting.served();
    drop(permit(own.served()));

    let waiting = Waiting::pending(dialling(&net, "a"));
    let other = queued(&net, &"b");
    lease.release(KEEP);
    let _lease = waiting.served();
    drop(permit(other.served()));
    net.audit();
}

#[tokio::test]
async fn other_origins_and_their_connections_are_left_alone() {
    let (net, world) = net(Limits::capped(8, 8));
    let (a, b) = (dial(&net, &world, "a"), dial(&net, &world, "b"));
    let waiting = Waiting::pending(dialling(&net, "a"));
    b.release(KEEP);
    assert!(!waiting.is_woken());
    assert_eq!(net.stats().idle, 1);
    a.release(KEEP);
    drop(waiting.served());
    net.audit();
}

#[tokio::test]
async fn one_that_leaves_passes_on_what_it_was_given() {
    let (net, world) = net(Limits::capped(8, 8));
    let busy = dial(&net, &world, "a");
    let mut waiting: Vec<_> = (0..3)
        .map(|_| Waiting::pending(dialling(&net, "a")))
        .collect();
    busy.release(KEEP);
    drop(waiting.remove(0));
    assert!(waiting[0].is_woken());
    // One that was given nothing leaves no trace.
    drop(waiting.remove(1));
    drop(waiting.remove(0));
    assert_eq!((net.stats().idle, net.stats().connecting), (1, 0));
    net.audit();
}

#[tokio::test]
async fn an_unfit_connection_is_closed_and_the_first_stays_first() {
    let (net, world) = net(Limits::capped(8, 8));
    let (first, second) = (dial(&net, &world, "a"), dial(&net, &world, "a"));
    let mut waiting = Waiting::pending(dialling(&net, "a"));
    let later = Waiting::pending(dialling(&net, "a"));
    let stale = first.id;
    first.release(KEEP);
    world.mark_dirty(stale);
    assert!(waiting.poll().is_pending());
    assert!(!world.open().contains(&stale), "it was kept open");
    second.release(KEEP);
    assert!(!later.is_woken());
    drop(waiting.served());
    net.audit();
}

#[tokio::test]
async fn an_eviction_and_a_close_give_nothing_to_those_that_wait() {
    let (net, world) = net(Limits::capped(8, 8));
    let (first, second) = (dial(&net, &world, "a"), dial(&net, &world, "a"));
    let waiting = Waiting::pending(dialling(&net, "a"));
    net.evict_key(&"a");
    first.release(KEEP);
    assert!(!waiting.is_woken(), "an evicted connection was given away");
    net.drain();
    second.release(KEEP);
    assert!(!waiting.is_woken());
    drop(waiting);
    assert_eq!(world.open(), []);
    net.audit();
}

#[tokio::test]
async fn an_eviction_closes_one_that_was_given_and_not_taken() {
    let (net, world) = net(Limits::capped(8, 8));
    let busy = dial(&net, &world, "a");
    let mut waiting = Waiting::pending(dialling(&net, "a"));
    busy.release(KEEP);
    net.evict_key(&"a");
    assert!(waiting.poll().is_pending());
    assert_eq!(world.open(), []);
    drop(waiting);
    net.audit();
}

#[tokio::test]
async fn the_queue_of_one_client_took_the_connections_that_were_opened_for_others() {
    let (net, world) = net(Limits::capped(8, 8));
    let of_client = |number| net.acquire_for(&"a", Client::numbered(number));
    let (one, two) = (
        permit(of_client(1).await).install(world.line("a")),
        permit(of_client(2).await).install(world.line("a")),
    );
    let waiting = Waiting::pending(permit(of_client(1).await));
    two.release(KEEP);
    assert!(!waiting.is_woken(), "it was opened for another client");
    assert_eq!(net.stats().idle, 1);
    one.release(KEEP);
    let returned = waiting.served();
    assert_eq!(net.stats().idle, 1);

    // Used by another client meanwhile, it still counts for the one that it was opened for.
    returned.release(KEEP);
    let (first, second) = (lease(of_client(3).await), lease(of_client(3).await));
    let waiting = Waiting::pending(permit(of_client(2).await));
    let others = Waiting::pending(permit(of_client(3).await));
    first.release(KEEP);
    second.release(KEEP);
    assert!(!others.is_woken());
    drop(waiting.served());
    net.audit();
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Acquire(bool, u64),
    Wait(usize),
    Poll(usize),
    Leave(usize),
    Release(usize, bool),
    Install(usize),
    Dirty(usize),
    Evict(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let at = || 0_usize..8;
    prop_oneof![
        3 => (any::<bool>(), 1_u64..4).prop_map(|(key, client)| Step::Acquire(key, client)),
        2 => at().prop_map(Step::Wait),
        2 => at().prop_map(Step::Poll),
        1 => at().prop_map(Step::Leave),
        3 => (at(), any::<bool>()).prop_map(|(at, keep)| Step::Release(at, keep)),
        2 => at().prop_map(Step::Install),
        1 => at().prop_map(Step::Dirty),
        1 => any::<bool>().prop_map(Step::Evict),
    ]
}

/// An acquire of this client, polled once and cancelled.
fn polled(net: &Net, key: &Key, client: u64) -> Poll<Outcome> {
    let mut acquire = std::pin::pin!(net.acquire_for(key, Client::numbered(client)));
    acquire
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
}

fn take<T>(from: &mut Vec<T>, at: usize) -> Option<T> {
    (!from.is_empty()).then(|| from.remove(at % from.len()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(byway_testkit::cases(512)))]

    #[test]
    fn no_connection_is_lost_and_none_is_idle_while_one_waits_for_it(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let _guard = runtime.enter();
        let (net, world) = net(Limits {
            queue_wait: Duration::from_secs(60),
            ..Limits::capped(5, 4)
        });
        let (mut leases, mut permits, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
        let key = |first| if first { "a" } else { "b" };
        for step in steps {
            match step {
                Step::Acquire(first, client) => match polled(&net, &key(first), client) {
                    Poll::Ready(Ok(Acquired::Lease(lease))) => leases.push(lease),
                    Poll::Ready(Ok(Acquired::Open(permit))) => permits.push(permit),
                    Poll::Ready(other) => panic!("{other:?}"),
                    Poll::Pending => {}
                },
                Step::Wait(at) => waiting.extend(take(&mut permits, at).map(Waiting::of)),
                Step::Poll(at) => {
                    if let Some(mut one) = take(&mut waiting, at) {
                        match one.poll() {
                            Poll::Ready(lease) => leases.push(lease),
                            Poll::Pending => waiting.push(one),
                        }
                    }
                }
                // It goes on to dial.
                Step::Leave(at) => permits.extend(take(&mut waiting, at).map(|one| one.permit)),
                Step::Release(at, keep) => {
                    let release = if keep { KEEP } else { Release::Close };
                    if let Some(lease) = take(&mut leases, at) {
                        lease.release(release);
                    }
                }
                Step::Install(at) => {
                    if let Some(permit) = take(&mut permits, at) {
                        let key = *permit.key();
                        leases.push(permit.install(world.line(key)));
                    }
                }
                Step::Dirty(at) => {
                    let open = world.open();
                    if let Some(id) = open.get(at) {
                        world.mark_dirty(*id);
                    }
                }
                Step::Evict(first) => drop(net.evict_key(&key(first))),
            }
            net.audit();
            let given = waiting.iter().filter(|one: &&Waiting| one.is_woken()).count();
            let stats = net.stats();
            let held = leases.len() + permits.len() + waiting.len() + given + stats.idle;
            assert_eq!(stats.connecting + stats.active + stats.idle, held);
            assert!(held <= 5);
        }
        drop((leases, permits, waiting));
        net.audit();
        net.close();
        assert_eq!(world.open(), []);
    }
}
