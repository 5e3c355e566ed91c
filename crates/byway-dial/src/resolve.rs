//! Resolver: turns host names into addresses, for whoever dials.
//!
//! In:    a host name.
//! Out:   its addresses in the order the system prefers, or why there are none.
//! Never: judges an address (that is `rules`), and never asks twice at once for the same name.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use crate::target::HostName;

/// How long an answer is used. `getaddrinfo` gives no TTL, so this is short.
const POSITIVE_TTL: Duration = Duration::from_secs(30);
/// How long "there is no such name" is believed. Other failures are never kept.
const NEGATIVE_TTL: Duration = Duration::from_secs(5);
/// How long one look-up may take, its turn in the queue included.
const DEADLINE: Duration = Duration::from_secs(5);
/// How many names are remembered.
const NAMES_MAX: usize = 4096;
/// How many addresses of one name are used.
const ADDRESSES_MAX: usize = 64;
/// How many threads may sit in the system's resolver at once.
const SYSTEM_LOOKUPS_MAX: usize = 64;

/// The addresses of a name, shared between all who asked.
pub type Addresses = Arc<[IpAddr]>;

/// Asks somebody for the addresses of a name: the system, or in a test a table.
pub trait Lookup: Send + Sync {
    /// Looks `name` up. It need not keep a deadline or a cache; the [`Resolver`] does. Dropping the future gives up.
    fn lookup(&self, name: HostName) -> BoxFuture<'static, Result<Vec<IpAddr>, ResolveError>>;
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
    /// The system's resolver failed; the text is its own.
    #[error("{0}")]
    Failed(String),
}

/// Resolves names, with a cache of 4,096 names, one query at a time for each name and a deadline of 5 s. Cheap to clone;
/// clones share everything.
#[derive(Clone)]
pub struct Resolver(Arc<Inner>);

impl Resolver {
    /// Asks the operating system (`getaddrinfo`, so `/etc/hosts`, search domains and the like count), on the blocking
    /// threads of `runtime`, at most 64 at a time.
    pub fn system(runtime: Handle) -> Self {
        let lookup = SystemLookup { runtime: runtime.clone(), permits: Arc::new(Semaphore::new(SYSTEM_LOOKUPS_MAX)) };
        Self::with_lookup(Arc::new(lookup), runtime)
    }

    /// Asks `lookup`. `runtime` drives the deadlines and must outlive every query.
    pub fn with_lookup(lookup: Arc<dyn Lookup>, runtime: Handle) -> Self {
        Self(Arc::new(Inner { lookup, runtime, state: Mutex::default() }))
    }

    /// The addresses of `name`, at least one. Answers are kept for 30 s, "no such name" for 5 s.
    ///
    /// `localhost` and the names under it are loopback, whatever the system says (RFC 6761 section 6.3).
    ///
    /// Cancel safe: others who wait for the same name still get the answer.
    ///
    /// # Errors
    /// [`ResolveError`], which everybody gets who waits for the same query.
    pub async fn resolve(&self, name: &HostName) -> Result<Addresses, ResolveError> {
        if is_localhost(name) {
            return Ok(Arc::new([IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::LOCALHOST)]));
        }
        let flight = match self.0.known_or_flight(name) {
            Known::Answer(answer) => return answer,
            Known::Flight(flight) => flight,
        };
        let seat = Seat { inner: &self.0, name, flight: Some(flight.clone()) };
        let answer = flight.await;
        drop(seat);
        answer
    }
}

fn is_localhost(name: &HostName) -> bool {
    let name = name.as_str();
    name == "localhost" || name.ends_with(".localhost")
}

type Answer = Result<Addresses, ResolveError>;
type Flight = Shared<BoxFuture<'static, Answer>>;

struct Inner {
    lookup: Arc<dyn Lookup>,
    runtime: Handle,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    cache: Cache,
    /// The queries under way. They live as long as somebody waits for them.
    flights: HashMap<HostName, WeakShared<BoxFuture<'static, Answer>>>,
}

enum Known {
    Answer(Answer),
    Flight(Flight),
}

impl Inner {
    fn known_or_flight(self: &Arc<Self>, name: &HostName) -> Known {
        let mut state = self.state.lock();
        if let Some(answer) = state.cache.find(name, Instant::now()) {
            return Known::Answer(answer);
        }
        if let Some(flight) = state.flights.get(name).and_then(WeakShared::upgrade) {
            return Known::Flight(flight);
        }
        let flight = Arc::clone(self).query(name.clone()).shared();
        if let Some(weak) = flight.downgrade() {
            state.flights.insert(name.clone(), weak);
        }
        Known::Flight(flight)
    }

    /// One query, deadline and bookkeeping included. Whoever waits polls it; no task owns it.
    fn query(self: Arc<Self>, name: HostName) -> BoxFuture<'static, Answer> {
        // The deadline belongs to the runtime given at construction, because the first asker's own may end earlier.
        let _context = self.runtime.enter();
        let lookup = timeout(DEADLINE, self.lookup.lookup(name.clone()));
        let inner = Arc::clone(&self);
        Box::pin(async move {
            let answer = lookup.await.unwrap_or(Err(ResolveError::Timeout)).and_then(usable);
            inner.settle(&name, &answer);
            answer
        })
    }

    fn settle(&self, name: &HostName, answer: &Answer) {
        let mut state = self.state.lock();
        state.flights.remove(name);
        state.cache.keep(name, answer, Instant::now());
    }
}

/// Each address once, in the order given, and not more than anybody would try.
fn usable(found: Vec<IpAddr>) -> Answer {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for ip in found {
        if addresses.len() < ADDRESSES_MAX && !addresses.contains(&ip) {
            addresses.push(ip);
        }
    }
    if addresses.is_empty() { Err(ResolveError::NotFound) } else { Ok(addresses.into()) }
}

/// One asker's place at a query. The last who leaves before the answer takes the query's entry along.
struct Seat<'a> {
    inner: &'a Inner,
    name: &'a HostName,
    flight: Option<Flight>,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.flight = None;
        let mut state = self.inner.state.lock();
        if state.flights.get(self.name).is_some_and(|flight| flight.upgrade().is_none()) {
            state.flights.remove(self.name);
        }
    }
}

/// Answers by name, oldest first out.
#[derive(Default)]
struct Cache {
    entries: HashMap<HostName, Entry>,
    /// Every insertion in its order; an entry is the newest insertion of its name.
    order: VecDeque<(HostName, u64)>,
    insertions: u64,
}

struct Entry {
    answer: Answer,
    until: Instant,
    insertion: u64,
}

impl Cache {
    fn find(&self, name: &HostName, now: Instant) -> Option<Answer> {
        self.entries.get(name).filter(|entry| now < entry.until).map(|entry| entry.answer.clone())
    }

    fn keep(&mut self, name: &HostName, answer: &Answer, now: Instant) {
        let ttl = match answer {
            Ok(_) => POSITIVE_TTL,
            Err(ResolveError::NotFound) => NEGATIVE_TTL,
            Err(ResolveError::Timeout | ResolveError::Failed(_)) => return,
        };
        self.insertions += 1;
        let entry = Entry { answer: answer.clone(), until: now + ttl, insertion: self.insertions };
        self.entries.insert(name.clone(), entry);
        self.order.push_back((name.clone(), self.insertions));
        self.shed();
    }

    /// Lets the oldest go until both the names and the record of their order are within bounds.
    fn shed(&mut self) {
        while self.entries.len() > NAMES_MAX || self.order.len() > 2 * NAMES_MAX {
            let Some((name, insertion)) = self.order.pop_front() else { return };
            if self.entries.get(&name).is_some_and(|entry| entry.insertion == insertion) {
                self.entries.remove(&name);
            }
        }
    }
}

/// The system's resolver. A permit stays with its thread, not with whoever waits, because the thread cannot be stopped.
struct SystemLookup {
    runtime: Handle,
    permits: Arc<Semaphore>,
}

impl Lookup for SystemLookup {
    fn lookup(&self, name: HostName) -> BoxFuture<'static, Result<Vec<IpAddr>, ResolveError>> {
        let (runtime, permits) = (self.runtime.clone(), Arc::clone(&self.permits));
        Box::pin(async move {
            let permit = permits.acquire_owned().await.map_err(|error| ResolveError::Failed(error.to_string()))?;
            let thread = runtime.spawn_blocking(move || {
                let _permit = permit;
                ask_system(&name)
            });
            thread.await.map_err(|error| ResolveError::Failed(error.to_string()))?
        })
    }
}

fn ask_system(name: &HostName) -> Result<Vec<IpAddr>, ResolveError> {
    match (name.as_str(), 0).to_socket_addrs() {
        Ok(found) => Ok(found.map(|addr| addr.ip()).collect()),
        Err(error) => Err(system_error(&error)),
    }
}

/// The standard library keeps only the text of `getaddrinfo`'s error: those of glibc, musl and macOS for "no such name"
/// and "no address under it".
fn system_error(error: &io::Error) -> ResolveError {
    const NO_SUCH_NAME: [&str; 5] = [
        "Name or service not known",
        "No address associated with hostname",
        "Name does not resolve",
        "Name has no usable address",
        "nodename nor servname provided",
    ];
    let text = error.to_string();
    match NO_SUCH_NAME.iter().any(|known| text.contains(known)) {
        true => ResolveError::NotFound,
        false => ResolveError::Failed(text),
    }
}

#[cfg(test)]
mod tests;
