//! Resolver: turns host names into addresses.
//!
//! In:    a host name, and the user that it is looked up for.
//! Out:   its addresses, or the reason why there are none.
//! Never: checks an address (that is `rules`), or runs two queries for one name at once.
//!
//! `dns` queries the servers of `resolv.conf` (`conf`, `files`, `message`, `question`, `server`) ·
//! `system` calls `getaddrinfo` · `lookup_queue` divides running look-ups between users · `cache`
//! keeps answers · `fuzzing` is the entry point of the fuzz target.

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
pub use self::lookup_queue::{ClientId, LookupPermit};
pub use self::nsswitch::system_only_modules;

/// How long one look-up may take, including its wait for a permit.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long the servers may take before expired addresses are used (RFC 8767 section 5).
const STALE_AFTER: Duration = Duration::from_millis(1800);
/// How many addresses of one name are used.
const ADDRESSES_MAX: usize = 64;

/// The addresses of a name, shared by all clients.
pub type Addresses = Arc<[IpAddr]>;

/// A source of addresses: DNS servers, the system, or a table in a test.
pub trait Lookup: Send + Sync {
    /// Looks `name` up. It needs neither a deadline nor a cache; the [`Resolver`] has both.
    /// Dropping the future cancels the look-up.
    ///
    /// `permit` counts this look-up as running: keep it until the work has ended.
    fn lookup(
        &self,
        name: HostName,
        permit: LookupPermit,
    ) -> BoxFuture<'static, Result<Resolved, ResolveError>>;

    /// The version of the settings. Earlier answers are discarded when it changes.
    fn version(&self) -> u64 {
        0
    }

    /// Whether names of [`ClientId::Own`] use the search list (`search` of `resolv.conf`) and those of
    /// others are absolute, so that one name may have two answers.
    fn searches(&self) -> bool {
        false
    }

    /// Whether a look-up releases its permit when its future is dropped.
    fn ends_when_dropped(&self) -> bool {
        true
    }

    /// How many look-ups may run at once.
    fn at_once(&self) -> usize {
        64
    }
}

/// The result of a look-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The addresses, in the order in which to try them.
    pub addresses: Vec<IpAddr>,
    /// How long they may be cached, if known. Default: 30 s.
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
    /// This machine has no descriptors or memory left for the look-up; the text is the system's.
    #[error("the name was not looked up: {0}")]
    Exhausted(String),
    /// The user has too many look-ups: too many wait, or this one waited for 5 s while others of
    /// the same user ran. The name was not looked up.
    #[error("this user has too many look-ups at once")]
    Busy,
    /// The servers or the system's resolver failed; the text is theirs.
    #[error("{0}")]
    Failed(String),
}

/// Resolves names, with a cache of 4,096 names, one query at a time for each name and a deadline of
/// 5 s. Cheap to clone; clones share everything.
///
/// Running look-ups are divided between users ([`ClientId`]): each has at most an eighth of them, and
/// the next permit goes to the user with the fewest, so that unanswered names delay only their own
/// user. When the cache is full, the user with the most names in it loses the oldest of them.
///
/// While no server answers, expired addresses are used for another hour.
#[derive(Clone)]
pub struct Resolver(Arc<Inner>);

impl Resolver {
    /// Queries the DNS servers in `/etc/resolv.conf`, after `/etc/hosts`; both are read again when
    /// they change. Sockets and timers belong to `runtime`, which must have them enabled. It starts
    /// no thread. It starts a task only for a look-up whose clients got expired addresses; the task
    /// ends with the look-up.
    ///
    /// At most 128 look-ups run at once, with up to four sockets for each address family. They end
    /// at their deadline.
    pub fn dns(runtime: Handle) -> Self {
        Self::dns_from(DnsFiles::default(), runtime)
    }

    /// As [`Resolver::dns`], with at most `sockets` sockets open at once, but at least two. One
    /// look-up takes at least two, so fewer than 128 look-ups run at once if `sockets` is less than
    /// 512.
    pub fn dns_within(sockets: usize, runtime: Handle) -> Self {
        Self::with_lookup(
            Arc::new(dns::DnsLookup::new(DnsFiles::default(), sockets)),
            runtime,
        )
    }

    /// As [`Resolver::dns`], with other files or another port.
    pub fn dns_from(files: DnsFiles, runtime: Handle) -> Self {
        Self::with_lookup(
            Arc::new(dns::DnsLookup::new(files, dns::SOCKETS_MAX)),
            runtime,
        )
    }

    /// Calls the operating system (`getaddrinfo`, so that every module of `/etc/nsswitch.conf`
    /// counts), on the blocking threads of `runtime`, at most 64 at a time. A thread that waits for
    /// a silent server cannot be cancelled: it keeps its user's permit until the system gives up.
    pub fn system(runtime: Handle) -> Self {
        Self::system_within(usize::MAX, runtime)
    }

    /// As [`Resolver::system`], with as many look-ups at once as fit in `sockets`, two for each.
    pub fn system_within(sockets: usize, runtime: Handle) -> Self {
        Self::with_lookup(
            Arc::new(system::SystemLookup {
                runtime: runtime.clone(),
                sockets,
            }),
            runtime,
        )
    }

    /// Resolves with `lookup`. `runtime` drives sockets and deadlines and must outlive every query.
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
        self.resolve_for(name, &ClientId::Own).await
    }

    /// The addresses of `name`, at least one. Answers are cached for their lifetime, at least 1 s
    /// and at most 1 h, or 30 s if it is unknown; "no such name" is cached for 5 s.
    ///
    /// `localhost` and its subdomains are loopback, whatever the system returns (RFC 6761 section
    /// 6.3).
    ///
    /// Cancel safe: other waiters for the same name still get the answer.
    ///
    /// # Errors
    /// [`ResolveError`]; every waiter for the same query gets it.
    pub async fn resolve_for(
        &self,
        name: &HostName,
        client: &ClientId,
    ) -> Result<Addresses, ResolveError> {
        if is_localhost(name) {
            return Ok(Arc::new([
                IpAddr::V6(Ipv6Addr::LOCALHOST),
                IpAddr::V4(Ipv4Addr::LOCALHOST),
            ]));
        }
        let key = self.0.key(name, client);
        match self.0.find(&key) {
            Found::Fresh(answer) => answer,
            Found::Nothing => self.0.ask(&key, client).await,
            Found::Stale(stale) => {
                let mut query = std::pin::pin!(self.0.ask(&key, client));
                match timeout(STALE_AFTER, query.as_mut()).await {
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
    /// The version of the settings that the cached answers belong to.
    version: u64,
    /// The running queries. They live as long as they have a waiter.
    shared_lookups: HashMap<Key, UnderWay>,
}

/// A running query.
struct UnderWay {
    shared_lookup: WeakShared<BoxFuture<'static, LookupResult>>,
    /// Whether a task runs it to its end, even without waiters.
    has_task: bool,
}

impl State {
    fn shared_lookup(&self, key: &Key) -> Option<SharedLookup> {
        self.shared_lookups
            .get(key)
            .and_then(|under_way| under_way.shared_lookup.upgrade())
    }
}

/// The key of a query: a name, and whether the search list of `resolv.conf` is left out.
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
    fn key(&self, name: &HostName, client: &ClientId) -> Key {
        Key {
            name: name.clone(),
            is_absolute: self.lookup.searches() && *client != ClientId::Own,
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

    /// Joins the running query for `name`, or starts one once this client has a permit. Only running
    /// queries are shared between clients: no client waits in the queue of another. Takes at most
    /// [`DEADLINE`].
    async fn ask(self: &Arc<Self>, key: &Key, client: &ClientId) -> LookupResult {
        // Whether a permit of this client was revoked; those of others do not count.
        let (mut has_permit, mut was_ended) = (false, false);
        let deadline = Instant::now() + DEADLINE;
        let mut without_permit = match client {
            // The program itself has no limit: it waits only behind names that are not answered.
            ClientId::Own => ResolveError::Timeout,
            ClientId::User(_) | ClientId::Peer(_) => ResolveError::Busy,
        };
        loop {
            let under_way = self.state.lock().shared_lookup(key);
            let shared_lookup = match under_way {
                Some(shared_lookup) => shared_lookup,
                None => {
                    let permit =
                        match timeout_at(deadline, self.queue.take(client, was_ended)).await {
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
            // The look-up was cancelled for another client: each waiter queues again for itself.
            was_ended = has_permit;
            // The name was queried, without an answer so far.
            without_permit = ResolveError::Timeout;
        }
    }

    /// Spawns a task that runs the query for `key` to its end, at the latest at its deadline, so
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

    /// The cached answer, if there is one by now; otherwise a query that keeps the permit.
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

    /// One query, with its deadline and bookkeeping. Its waiters poll it. [`ResolveError::Busy`]:
    /// it was cancelled for another client.
    fn query(
        self: Arc<Self>,
        key: Key,
        mut permit: LookupPermit,
        version: u64,
    ) -> BoxFuture<'static, LookupResult> {
        let runtime = self.runtime.clone();
        let client = permit.client().clone();
        let query = Box::pin(async move {
            let end = permit.end();
            let lookup = timeout(DEADLINE, self.lookup.lookup(key.name.clone(), permit));
            // Both end with the query; the first result counts.
            let found = tokio::select! {
                biased;
                found = lookup => found.unwrap_or(Err(ResolveError::Timeout)),
                () = end => Err(ResolveError::Busy),
            };
            self.settle(&key, &client, found, version)
        });
        Box::pin(Within { runtime, query })
    }

    fn settle(
        &self,
        key: &Key,
        client: &ClientId,
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
        state.cache.keep(key, client, &answer, ttl, Instant::now());
        match answer {
            Ok(_) | Err(ResolveError::NotFound) => answer,
            Err(error) => state.cache.use_stale(key, Instant::now()).ok_or(error),
        }
    }
}

/// Each address once, in the given order, at most [`ADDRESSES_MAX`].
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

/// A query whose sockets and timers belong to the resolver's runtime and not to that of the task
/// that polls it: the first client's runtime may end earlier.
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

/// A waiter for a query. The last one that leaves before the answer removes the query's entry.
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
