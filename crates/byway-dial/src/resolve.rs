//! Resolver: turns host names into addresses, for whoever dials.
//!
//! In:    a host name, and the user that it is looked up for.
//! Out:   its addresses, or why there are none.
//! Never: judges an address (that is `rules`), and never asks twice at once for the same name.
//!
//! `dns` asks the servers of `resolv.conf` (`conf`, `files`, `message`, `question`, `server`) ·
//! `system` asks `getaddrinfo` · `lookup_queue` shares running look-ups out between users · `cache`
//! keeps answers · `fuzzing` is what the fuzz target runs.

mod cache;
mod conf;
mod dns;
mod files;
pub(crate) mod fuzzing;
mod lookup_queue;
mod message;
mod nsswitch;
mod question;
mod server;
mod system;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout, timeout_at};

use self::cache::{Cache, Found};
use self::lookup_queue::LookupQueue;
use crate::target::HostName;

pub use self::files::DnsFiles;
pub use self::lookup_queue::{Asker, LookupPermit};
pub use self::nsswitch::system_only_modules;

/// How long one look-up may take, its wait for a turn included.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long the servers may take before addresses beyond their lifetime are used (RFC 8767 section
/// 5).
const STALE_AFTER: Duration = Duration::from_millis(1800);
/// How many addresses of one name are used.
const ADDRESSES_MAX: usize = 64;

/// The addresses of a name, shared between all who asked.
pub type Addresses = Arc<[IpAddr]>;

/// A source of addresses: DNS servers, the system, or a table in a test.
pub trait Lookup: Send + Sync {
    /// Looks `name` up. It need not keep a deadline or a cache; the [`Resolver`] does. Dropping the
    /// future gives up.
    ///
    /// `permit` is the place of this look-up among those that run: keep it until the work has
    /// ended.
    fn lookup(
        &self,
        name: HostName,
        permit: LookupPermit,
    ) -> BoxFuture<'static, Result<Resolved, ResolveError>>;

    /// A number that moves when earlier answers no longer count, because settings have changed.
    fn version(&self) -> u64 {
        0
    }

    /// Whether names of [`Asker::Own`] are searched for (`search` of `resolv.conf`) and those of
    /// others are absolute, so that one name may have two answers.
    fn searches(&self) -> bool {
        false
    }

    /// Whether a look-up gives its turn back when its future is dropped.
    fn ends_when_dropped(&self) -> bool {
        true
    }

    /// How many look-ups may run at once.
    fn at_once(&self) -> usize {
        64
    }
}

/// What a look-up has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The addresses, in the order in which to try them.
    pub addresses: Vec<IpAddr>,
    /// How long they may be kept, if that is known. Default: 30 s.
    pub ttl: Option<Duration>,
}

impl From<Vec<IpAddr>> for Resolved {
    fn from(addresses: Vec<IpAddr>) -> Self {
        Self {
            addresses,
            ttl: None,
        }
    }
}

/// Why a name has no addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The name does not exist, or has no address.
    #[error("no such name")]
    NotFound,
    /// No answer came in time.
    #[error("the name was not resolved within {} seconds", DEADLINE.as_secs())]
    Timeout,
    /// This machine has run out of descriptors or memory for the look-up; the text is the system's
    /// own.
    #[error("the name was not looked up: {0}")]
    Exhausted(String),
    /// The user has too many look-ups: as many wait as may, or this one waited for 5 s while others
    /// of the same user ran. The name was not looked up.
    #[error("too many look-ups of one user at once")]
    Busy,
    /// The servers or the system's resolver failed; the text is their own.
    #[error("{0}")]
    Failed(String),
}

/// Resolves names, with a cache of 4,096 names, one query at a time for each name and a deadline of
/// 5 s. Cheap to clone; clones share everything.
///
/// Running look-ups are shared out between users ([`Asker`]): each has an eighth of them at most,
/// and the next place goes to the user with the fewest, so that unanswered names delay only the
/// user that asked for them. When the cache is full, the user with the most names in it loses the
/// oldest of them.
///
/// While no server answers, addresses whose lifetime is over are used for another hour.
#[derive(Clone)]
pub struct Resolver(Arc<Inner>);

impl Resolver {
    /// Asks DNS servers as `/etc/resolv.conf` says, after `/etc/hosts`; both are read again when
    /// they change. Its sockets and timers belong to `runtime`, which must have them enabled; it
    /// starts no thread, and a task only for a look-up whose askers were given addresses beyond
    /// their lifetime; it ends with the look-up.
    ///
    /// At most 128 look-ups run at once, with up to four sockets for each address family. They end
    /// at their deadline.
    pub fn dns(runtime: Handle) -> Self {
        Self::dns_from(DnsFiles::default(), runtime)
    }

    /// The same with at most `sockets` open at once, but at least two. One look-up takes two at
    /// least, so that fewer than 128 look-ups run at once where `sockets` is less than 512.
    pub fn dns_within(sockets: usize, runtime: Handle) -> Self {
        Self::with_lookup(
            Arc::new(dns::DnsLookup::new(DnsFiles::default(), sockets)),
            runtime,
        )
    }

    /// The same with other files, or another port.
    pub fn dns_from(files: DnsFiles, runtime: Handle) -> Self {
        Self::with_lookup(
            Arc::new(dns::DnsLookup::new(files, dns::SOCKETS_MAX)),
            runtime,
        )
    }

    /// Asks the operating system (`getaddrinfo`, so that every module of `/etc/nsswitch.conf`
    /// counts), on the blocking threads of `runtime`, at most 64 at a time. A thread that waits for
    /// a silent server cannot be ended: it keeps the place of its user until the system gives up.
    pub fn system(runtime: Handle) -> Self {
        Self::system_within(usize::MAX, runtime)
    }

    /// The same with as many look-ups at once as have room in `sockets`, two for each.
    pub fn system_within(sockets: usize, runtime: Handle) -> Self {
        Self::with_lookup(
            Arc::new(system::SystemLookup {
                runtime: runtime.clone(),
                sockets,
            }),
            runtime,
        )
    }

    /// Asks `lookup`. `runtime` drives sockets and deadlines and must outlive every query.
    pub fn with_lookup(lookup: Arc<dyn Lookup>, runtime: Handle) -> Self {
        let queue = LookupQueue::new(lookup.at_once(), lookup.ends_when_dropped());
        Self(Arc::new(Inner {
            lookup,
            runtime,
            queue,
            state: Mutex::default(),
        }))
    }

    /// The addresses of `name`, at least one, looked up for the program itself. See
    /// [`Resolver::resolve_for`].
    ///
    /// # Errors
    /// [`ResolveError`].
    pub async fn resolve(&self, name: &HostName) -> Result<Addresses, ResolveError> {
        self.resolve_for(name, &Asker::Own).await
    }

    /// The addresses of `name`, at least one. Answers are kept as long as their records say, at
    /// least 1 s and at most 1 h, or 30 s where the lifetime is unknown; "no such name" is kept for
    /// 5 s.
    ///
    /// `localhost` and the names under it are loopback, whatever the system says (RFC 6761 section
    /// 6.3).
    ///
    /// Cancel safe: others who wait for the same name still get the answer.
    ///
    /// # Errors
    /// [`ResolveError`], which everybody gets who waits for the same query.
    pub async fn resolve_for(
        &self,
        name: &HostName,
        asker: &Asker,
    ) -> Result<Addresses, ResolveError> {
        if is_localhost(name) {
            return Ok(Arc::new([
                IpAddr::V6(Ipv6Addr::LOCALHOST),
                IpAddr::V4(Ipv4Addr::LOCALHOST),
            ]));
        }
        let key = self.0.key(name, asker);
        match self.0.find(&key) {
            Found::Fresh(answer) => answer,
            Found::Nothing => self.0.ask(&key, asker).await,
            Found::Stale(stale) => {
                let mut asked = std::pin::pin!(self.0.ask(&key, asker));
                match timeout(STALE_AFTER, asked.as_mut()).await {
                    Ok(answer @ (Ok(_) | Err(ResolveError::NotFound))) => answer,
                    Ok(Err(_)) => Ok(stale),
                    Err(_) => {
                        self.0.let_finish(&key);
                        let _ = self.0.state.lock().cache.use_stale(&key, Instant::now());
                        Ok(stale)
                    }
                }
            }
        }
    }
}

fn is_localhost(name: &HostName) -> bool {
    let name = name.as_str();
    name == "localhost" || name.ends_with(".localhost")
}

type LookupResult = Result<Addresses, ResolveError>;
type SharedLookup = Shared<BoxFuture<'static, LookupResult>>;

struct Inner {
    lookup: Arc<dyn Lookup>,
    runtime: Handle,
    queue: Arc<LookupQueue>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    cache: Cache,
    /// The version of the settings that the cache was filled under.
    version: u64,
    /// The queries under way. They live as long as somebody waits for them.
    shared_lookups: HashMap<Key, UnderWay>,
}

/// A query under way.
struct UnderWay {
    shared_lookup: WeakShared<BoxFuture<'static, LookupResult>>,
    /// Whether a task runs it to its end, though all askers may have left.
    has_task: bool,
}

impl State {
    fn shared_lookup(&self, key: &Key) -> Option<SharedLookup> {
        self.shared_lookups
            .get(key)
            .and_then(|under_way| under_way.shared_lookup.upgrade())
    }
}

/// What is asked for: a name, and whether the search list of `resolv.conf` is left out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    name: HostName,
    is_absolute: bool,
}

enum Known {
    Answer(LookupResult),
    SharedLookup(SharedLookup),
}

impl Inner {
    fn key(&self, name: &HostName, asker: &Asker) -> Key {
        Key {
            name: name.clone(),
            is_absolute: self.lookup.searches() && *asker != Asker::Own,
        }
    }

    fn find(&self, key: &Key) -> Found {
        let version = self.lookup.version();
        let mut state = self.state.lock();
        if state.version != version {
            state.version = version;
            state.cache.clear();
        }
        state.cache.find(key, Instant::now())
    }

    /// Joins the query for `name` that is under way, or begins one when it is this asker's turn.
    /// Only what runs is shared between askers: no asker waits in the queue of another. Takes
    /// [`DEADLINE`] at most.
    async fn ask(self: &Arc<Self>, key: &Key, asker: &Asker) -> LookupResult {
        // Whether a turn of this asker was ended; those of others say nothing of it.
        let (mut has_permit, mut was_ended) = (false, false);
        let deadline = Instant::now() + DEADLINE;
        let mut without_permit = match asker {
            // There is no limit for the program itself: what it waits for are names that are not
            // answered.
            Asker::Own => ResolveError::Timeout,
            Asker::User(_) | Asker::Peer(_) => ResolveError::Busy,
        };
        loop {
            let under_way = self.state.lock().shared_lookup(key);
            let shared_lookup = match under_way {
                Some(shared_lookup) => shared_lookup,
                None => {
                    let permit = match timeout_at(deadline, self.queue.take(asker, was_ended)).await
                    {
                        Ok(Ok(permit)) if Instant::now() < deadline => permit,
                        Ok(Err(_)) => return Err(ResolveError::Busy),
                        Ok(Ok(_)) | Err(_) => return Err(without_permit),
                    };
                    has_permit = true;
                    match self.known_or_shared(key, permit) {
                        Known::Answer(answer) => return answer,
                        Known::SharedLookup(shared_lookup) => shared_lookup,
                    }
                }
            };
            let waiter = LookupWaiter {
                inner: self,
                key,
                shared_lookup: Some(shared_lookup.clone()),
            };
            let answer = timeout_at(deadline, shared_lookup)
                .await
                .unwrap_or(Err(ResolveError::Timeout));
            drop(waiter);
            if answer != Err(ResolveError::Busy) {
                return answer;
            }
            // It was ended for the sake of another asker: each who waits for it queues again, in
            // its own turn.
            was_ended = has_permit;
            // The name was asked for, and not answered up to now.
            without_permit = ResolveError::Timeout;
        }
    }

    /// Has a task run the query for `key` to its end, which is at its deadline at the latest, so
    /// that a slow server still renews an answer. There are never more such tasks than look-ups at
    /// once.
    fn let_finish(&self, key: &Key) {
        let mut state = self.state.lock();
        let Some(shared_lookup) = state.shared_lookup(key) else {
            return;
        };
        if let Some(under_way) = state
            .shared_lookups
            .get_mut(key)
            .filter(|under_way| !under_way.has_task)
        {
            under_way.has_task = true;
            drop(self.runtime.spawn(shared_lookup));
        }
    }

    /// The answer, if there is one by now, or else a query that keeps the turn.
    fn known_or_shared(self: &Arc<Self>, key: &Key, permit: LookupPermit) -> Known {
        let mut state = self.state.lock();
        if let Found::Fresh(answer) = state.cache.find(key, Instant::now()) {
            return Known::Answer(answer);
        }
        if let Some(shared_lookup) = state.shared_lookup(key) {
            return Known::SharedLookup(shared_lookup);
        }
        let shared_lookup = Arc::clone(self)
            .query(key.clone(), permit, state.version)
            .shared();
        if let Some(weak) = shared_lookup.downgrade() {
            state.shared_lookups.insert(
                key.clone(),
                UnderWay {
                    shared_lookup: weak,
                    has_task: false,
                },
            );
        }
        Known::SharedLookup(shared_lookup)
    }

    /// One query, deadline and bookkeeping included. Its waiters poll it. [`ResolveError::Busy`]:
    /// it was ended for the sake of another asker.
    fn query(
        self: Arc<Self>,
        key: Key,
        mut permit: LookupPermit,
        version: u64,
    ) -> BoxFuture<'static, LookupResult> {
        let runtime = self.runtime.clone();
        let asker = permit.asker().clone();
        let query = Box::pin(async move {
            let end = permit.end();
            let lookup = timeout(DEADLINE, self.lookup.lookup(key.name.clone(), permit));
            // Both end with the query, whichever is first.
            let found = tokio::select! {
                biased;
                found = lookup => found.unwrap_or(Err(ResolveError::Timeout)),
                () = end => Err(ResolveError::Busy),
            };
            self.settle(&key, &asker, found, version)
        });
        Box::pin(Within { runtime, query })
    }

    fn settle(
        &self,
        key: &Key,
        asker: &Asker,
        found: Result<Resolved, ResolveError>,
        version: u64,
    ) -> LookupResult {
        let ttl = found.as_ref().ok().and_then(|found| found.ttl);
        let answer = found.and_then(usable);
        let mut state = self.state.lock();
        state.shared_lookups.remove(key);
        if state.version != version {
            return answer;
        }
        state.cache.keep(key, asker, &answer, ttl, Instant::now());
        match answer {
            Ok(_) | Err(ResolveError::NotFound) => answer,
            Err(error) => state.cache.use_stale(key, Instant::now()).ok_or(error),
        }
    }
}

/// Each address once, in the order given, and not more than anybody would try.
fn usable(found: Resolved) -> LookupResult {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for ip in found.addresses {
        if addresses.len() < ADDRESSES_MAX && !addresses.contains(&ip) {
            addresses.push(ip);
        }
    }
    if addresses.is_empty() {
        Err(ResolveError::NotFound)
    } else {
        Ok(addresses.into())
    }
}

/// A query whose sockets and timers belong to the resolver's runtime and not to the task that polls
/// it: the first asker's own runtime may end earlier.
struct Within {
    runtime: Handle,
    query: BoxFuture<'static, LookupResult>,
}

impl Future for Within {
    type Output = LookupResult;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<LookupResult> {
        let this = self.get_mut();
        let _context = this.runtime.enter();
        this.query.as_mut().poll(cx)
    }
}

/// One asker's place at a query. The last who leaves before the answer takes the query's entry
/// along.
struct LookupWaiter<'a> {
    inner: &'a Inner,
    key: &'a Key,
    shared_lookup: Option<SharedLookup>,
}

impl Drop for LookupWaiter<'_> {
    fn drop(&mut self) {
        self.shared_lookup = None;
        let mut state = self.inner.state.lock();
        if state.shared_lookups.contains_key(self.key) && state.shared_lookup(self.key).is_none() {
            state.shared_lookups.remove(self.key);
        }
    }
}

#[cfg(test)]
mod tests;
