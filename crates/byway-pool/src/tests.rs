//! Tests: connections in memory, and acquires that are polled by hand, so that every race is
//! deterministic.
//!
//! Never: sleeps or spawns.

mod clients;
mod endings;
mod holes;
mod life;
mod multiplexed;
mod next_idle;
mod queue;
mod session_ends;
mod session_slots;
mod session_traces;
mod shards;
mod shares;
mod traces;

use crate::{AcquireError, Acquired, Conn, Lease, Limits, OpenPermit, Pool, Probe, Release};
use parking_lot::Mutex;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

type Key = &'static str;
type Net = Pool<Key, Line>;
type Outcome = Result<Acquired<Key, Line>, AcquireError>;

const KEEP: Release = Release::Keep { idle: None };

/// A connection in memory that records whether it is open, and its origin.
struct Line {
    id: u32,
    dirty: bool,
    world: World,
}

/// All open connections by id, with their origin.
#[derive(Clone, Default)]
struct World(Arc<Mutex<Lines>>);

#[derive(Default)]
struct Lines {
    next: u32,
    open: BTreeMap<u32, Key>,
    dirty: Vec<u32>,
    on_close: BTreeMap<u32, Box<dyn FnOnce() + Send>>,
}

impl World {
    fn line(&self, key: Key) -> Line {
        let mut lines = self.0.lock();
        lines.next += 1;
        let id = lines.next;
        lines.open.insert(id, key);
        Line {
            id,
            dirty: false,
            world: self.clone(),
        }
    }

    fn open(&self) -> Vec<u32> {
        self.0.lock().open.keys().copied().collect()
    }

    fn open_to(&self, key: Key) -> usize {
        self.0.lock().open.values().filter(|to| **to == key).count()
    }

    /// Sets a hook that runs while a connection is being closed.
    fn on_close(&self, id: u32, what: impl FnOnce() + Send + 'static) {
        self.0.lock().on_close.insert(id, Box::new(what));
    }

    /// The origin sends bytes or closes, on an idle connection.
    fn mark_dirty(&self, id: u32) {
        self.0.lock().dirty.push(id);
    }
}

thread_local! {
    /// The reactor tick of this thread.
    static TICK: Cell<u64> = const { Cell::new(0) };
}

impl Conn for Line {
    fn probe(&mut self) -> Probe {
        let dirty = self.dirty || self.world.0.lock().dirty.contains(&self.id);
        if dirty { Probe::Dirty } else { Probe::Clean }
    }

    fn reactor_tick() -> u64 {
        TICK.get()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let hook = self.world.0.lock().on_close.remove(&self.id);
        if let Some(hook) = hook {
            hook();
        }
        self.world.0.lock().open.remove(&self.id);
    }
}

/// An acquire in progress. Dropping it cancels it.
struct Acquiring<'a> {
    future: Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>,
    woken: Arc<Flag>,
}

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Acquiring<'_> {
    fn poll(&mut self) -> Poll<Outcome> {
        self.woken.0.store(false, Ordering::SeqCst);
        let waker = Waker::from(self.woken.clone());
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    fn woken(&self) -> bool {
        self.woken.0.load(Ordering::SeqCst)
    }

    /// The result of a woken acquire. It must have been woken: otherwise it would sleep
    /// indefinitely.
    fn served(mut self) -> Outcome {
        assert!(self.woken(), "served but not woken");
        match self.poll() {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => panic!("woken but not served"),
        }
    }
}

fn net(limits: Limits) -> (Net, World) {
    (Pool::new(limits).unwrap(), World::default())
}

fn acquiring<'a>(net: &'a Net, key: &'a Key, fresh: bool) -> Acquiring<'a> {
    let woken = Arc::new(Flag::default());
    match fresh {
        false => Acquiring {
            future: Box::pin(net.acquire(key)),
            woken,
        },
        true => Acquiring {
            future: Box::pin(net.acquire_fresh(key)),
            woken,
        },
    }
}

fn now(net: &Net, key: Key, fresh: bool) -> Outcome {
    match acquiring(net, &key, fresh).poll() {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => panic!("has to wait"),
    }
}

/// An acquire that has to wait.
fn queued<'a>(net: &'a Net, key: &'a Key) -> Acquiring<'a> {
    let mut acquiring = acquiring(net, key, false);
    assert!(acquiring.poll().is_pending());
    acquiring
}

fn permit(outcome: Outcome) -> OpenPermit<Key, Line> {
    match outcome {
        Ok(Acquired::Open(permit)) => permit,
        other => panic!("not a permit: {other:?}"),
    }
}

fn lease(outcome: Outcome) -> Lease<Key, Line> {
    match outcome {
        Ok(Acquired::Lease(lease)) => lease,
        other => panic!("not a lease: {other:?}"),
    }
}

/// A new connection, without waiting.
fn dial(net: &Net, world: &World, key: Key) -> Lease<Key, Line> {
    permit(now(net, key, false)).install(world.line(key))
}

/// An idle connection, without waiting.
fn reuse(net: &Net, key: Key) -> Lease<Key, Line> {
    lease(now(net, key, false))
}
