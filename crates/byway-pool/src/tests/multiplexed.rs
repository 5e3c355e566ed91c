//! Multiplexed: sessions in memory, for the tests of shared sessions.

use super::*;
use crate::{Session, SessionGuard, StreamLease};
use std::num::NonZeroU32;

pub(super) type Shared = Pool<Key, Line, Mux>;
pub(super) type SharedOutcome = Result<Acquired<Key, Line, Mux>, AcquireError>;

/// A session in memory, whose peer checks its limit.
pub(super) struct Mux {
    pub(super) id: u32,
    net: MuxNet,
}

/// A stream in memory; dropping it ends its work.
pub(super) struct MuxStream {
    pub(super) session: u32,
    net: MuxNet,
}

/// All sessions by id, and the guards that their sockets' owners hold.
#[derive(Clone, Default)]
pub(super) struct MuxNet(Arc<Mutex<Peers>>);

#[derive(Default)]
struct Peers {
    by_id: BTreeMap<u32, Peer>,
    closes_at_once: bool,
}

#[derive(Default)]
pub(super) struct Peer {
    pub(super) guard: Option<SessionGuard<Key, Line, Mux>>,
    pub(super) max: usize,
    announced: usize,
    pub(super) streams: usize,
    pub(super) resets: usize,
    /// Whether the pool has asked to close it.
    pub(super) to_close: bool,
    /// Whether it takes no more streams and the guard has not reported it.
    pub(super) is_silent: bool,
    pub(super) is_dropped: bool,
}

impl MuxNet {
    pub(super) fn peer<R>(&self, id: u32, then: impl FnOnce(&mut Peer) -> R) -> R {
        then(self.0.lock().by_id.get_mut(&id).unwrap())
    }

    /// From now on the owners of the sockets close them as soon as the pool asks for it.
    pub(super) fn closes_at_once(self) -> Self {
        self.0.lock().closes_at_once = true;
        self
    }

    /// Installs a session and keeps its guard.
    pub(super) fn install(
        &self,
        permit: OpenPermit<Key, Line, Mux>,
        max: u32,
    ) -> StreamLease<Key, Line, Mux> {
        let id = {
            let mut peers = self.0.lock();
            let id = u32::try_from(peers.by_id.len()).unwrap() + 1;
            peers.by_id.insert(
                id,
                Peer {
                    max: max as usize,
                    announced: max as usize,
                    ..Peer::default()
                },
            );
            id
        };
        let net = self.clone();
        let max = NonZeroU32::new(max).unwrap();
        let (lease, guard) = permit.install_session(Mux { id, net }, max);
        self.peer(id, |peer| peer.guard = Some(guard));
        lease
    }

    /// The peer announces another limit. Streams that were granted before still use the old one.
    pub(super) fn set_max(&self, id: u32, max: u32) {
        self.peer(id, |peer| peer.max = peer.max.max(max as usize));
        let in_use = self.with_guard(id, |guard| {
            guard.set_max_streams(max);
            guard.in_use()
        });
        self.peer(id, |peer| {
            peer.max = in_use.max(max as usize);
            peer.announced = max as usize;
        });
    }

    pub(super) fn go_away(&self, id: u32) {
        self.with_guard(id, SessionGuard::go_away);
    }

    /// Runs without the lock, as the guard calls the pool and the pool the session.
    pub(super) fn with_guard<R>(
        &self,
        id: u32,
        then: impl FnOnce(&SessionGuard<Key, Line, Mux>) -> R,
    ) -> R {
        let guard = self.peer(id, |peer| peer.guard.take()).unwrap();
        let result = then(&guard);
        self.peer(id, |peer| peer.guard = Some(guard));
        result
    }

    /// The socket breaks, or has been closed.
    pub(super) fn end(&self, id: u32) {
        drop(self.peer(id, |peer| peer.guard.take()));
    }

    /// The owners of the sockets close what the pool has asked them to close; returns the ids.
    pub(super) fn close(&self) -> Vec<u32> {
        let ids = self.ids(|peer| peer.to_close && peer.guard.is_some());
        ids.iter().for_each(|id| self.end(*id));
        ids
    }

    pub(super) fn ids(&self, which: impl Fn(&Peer) -> bool) -> Vec<u32> {
        let peers = self.0.lock();
        let found = peers.by_id.iter().filter(|(_, peer)| which(peer));
        found.map(|(id, _)| *id).collect()
    }
}

impl Session for Mux {
    type Stream = MuxStream;

    fn is_open(&self) -> bool {
        self.net.peer(self.id, |peer| !peer.is_silent)
    }

    fn open(&self) -> MuxStream {
        self.net.peer(self.id, |peer| {
            peer.streams += 1;
            assert!(peer.streams <= peer.max, "more streams than the peer takes");
            assert!(!peer.to_close, "a stream of a session that is to be closed");
        });
        MuxStream {
            session: self.id,
            net: self.net.clone(),
        }
    }

    fn reset(&self, stream: &mut MuxStream) {
        assert_eq!(stream.session, self.id);
        self.net.peer(self.id, |peer| peer.resets += 1);
    }

    fn close(&self) {
        if std::thread::panicking() {
            return;
        }
        self.net.peer(self.id, |peer| {
            assert_eq!(peer.streams, 0, "closed with a stream on it");
            assert!(!peer.to_close, "closed twice");
            peer.to_close = true;
        });
        let closes_at_once = self.net.0.lock().closes_at_once;
        if closes_at_once {
            self.net.end(self.id);
        }
    }
}

impl Drop for MuxStream {
    fn drop(&mut self) {
        self.net.peer(self.session, |peer| {
            peer.streams -= 1;
            peer.max = peer.announced.max(peer.max - 1);
        });
    }
}

impl Drop for Mux {
    fn drop(&mut self) {
        self.net.peer(self.id, |peer| {
            assert!(
                std::thread::panicking() || peer.guard.is_none(),
                "dropped while its connection is open"
            );
            peer.is_dropped = true;
        });
    }
}

/// An acquire in progress. Dropping it cancels it.
pub(super) struct Sharing<'a> {
    future: Pin<Box<dyn Future<Output = SharedOutcome> + Send + 'a>>,
    woken: Arc<Flag>,
}

impl<'a> Sharing<'a> {
    pub(super) fn new(future: impl Future<Output = SharedOutcome> + Send + 'a) -> Self {
        Self {
            future: Box::pin(future),
            woken: Arc::default(),
        }
    }

    pub(super) fn poll(&mut self) -> Poll<SharedOutcome> {
        self.woken.0.store(false, Ordering::SeqCst);
        let waker = Waker::from(self.woken.clone());
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    /// The result of an acquire that does not wait.
    pub(super) fn ready(mut self) -> SharedOutcome {
        match self.poll() {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => panic!("has to wait"),
        }
    }

    pub(super) fn woken(&self) -> bool {
        self.woken.0.load(Ordering::SeqCst)
    }

    /// The result of a woken acquire.
    pub(super) fn served(mut self) -> SharedOutcome {
        assert!(self.woken(), "served but not woken");
        match self.poll() {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => panic!("woken but not served"),
        }
    }
}

pub(super) fn shared(limits: Limits) -> (Shared, MuxNet, World) {
    shared_shards(limits, 1)
}

pub(super) fn shared_shards(limits: Limits, shards: usize) -> (Shared, MuxNet, World) {
    (
        Pool::with_sessions(limits, shards, None).unwrap(),
        MuxNet::default(),
        World::default(),
    )
}

/// An acquire that does not wait.
pub(super) fn at_once(pool: &Shared, key: Key) -> SharedOutcome {
    Sharing::new(pool.acquire_shared(&key)).ready()
}

/// An acquire that has to wait.
pub(super) fn waiting<'a>(pool: &'a Shared, key: &'a Key) -> Sharing<'a> {
    let mut sharing = Sharing::new(pool.acquire_shared(key));
    assert!(sharing.poll().is_pending(), "does not wait");
    sharing
}

pub(super) fn to_open(outcome: SharedOutcome) -> OpenPermit<Key, Line, Mux> {
    match outcome {
        Ok(Acquired::Open(permit)) => permit,
        other => panic!("not a permit: {other:?}"),
    }
}

pub(super) fn stream(outcome: SharedOutcome) -> StreamLease<Key, Line, Mux> {
    match outcome {
        Ok(Acquired::Stream(lease)) => lease,
        other => panic!("not a stream: {other:?}"),
    }
}

/// A new session, and its first stream.
pub(super) fn session(
    pool: &Shared,
    net: &MuxNet,
    key: Key,
    max: u32,
) -> StreamLease<Key, Line, Mux> {
    net.install(to_open(at_once(pool, key)), max)
}
