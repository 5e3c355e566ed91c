//! DNS: looks names up as `getaddrinfo` does with `hosts: files dns`, but every look-up can be
//! cancelled at any time.
//!
//! In:    a host name, and the current contents of `resolv.conf` and `hosts`.
//! Out:   its IPv6 and IPv4 addresses with their lifetime.
//! Never: starts a task or a thread: sockets and timers belong to the look-up and end with it.
//!
//! Intended differences from the C library: a silent server costs a second, not its whole
//! `timeout`, before the next one is queried in parallel; a name with enough dots whose own look-up
//! failed is not searched for, because a temporary server failure must not lead to another host;
//! and addresses of one family do not wait long for the other one.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{BoxFuture, Either, select};
use futures_util::stream::FuturesUnordered;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::cache::NEGATIVE_TTL;
use super::conf::Conf;
use super::files::{DnsFiles, Files, Settings};
use super::message::RecordType;
use super::question::{Failure, Question, Records};
use super::{ClientId, Lookup, LookupPermit, ResolveError, Resolved, server};
use crate::target::HostName;

/// How many look-ups may run at once.
const LOOKUPS_MAX: usize = 128;
/// How many sockets all look-ups together may have open: two for each, one for each family, and the
/// same number again for repeated questions.
pub(super) const SOCKETS_MAX: usize = 4 * LOOKUPS_MAX;
/// How long a server may be silent before the next one, or the same one again, is queried in
/// parallel.
const SILENCE: Duration = Duration::from_secs(1);
/// How often one question is sent at most, to all servers together.
const SENDS_MAX: usize = 4;
/// How long the addresses of one family wait for those of the other.
const OTHER_FAMILY: Duration = Duration::from_secs(1);

/// Queries the servers of `resolv.conf`.
pub(super) struct DnsLookup {
    files: Files,
    shared: Arc<Shared>,
    at_once: usize,
}

/// The state shared by all look-ups.
struct Shared {
    next_server: AtomicUsize,
    /// A permit for each socket of a question beyond the first.
    spare: Semaphore,
}

impl DnsLookup {
    /// At most `sockets` are open at once. A quarter of them is the number of look-ups, which have
    /// two each.
    pub(super) fn new(files: DnsFiles, sockets: usize) -> Self {
        let at_once = (sockets / 4).clamp(1, LOOKUPS_MAX);
        let spare = Semaphore::new(sockets.saturating_sub(2 * at_once).min(SOCKETS_MAX));
        let shared = Arc::new(Shared {
            next_server: AtomicUsize::new(0),
            spare,
        });
        Self {
            files: Files::new(files),
            shared,
            at_once,
        }
    }
}

impl Lookup for DnsLookup {
    fn lookup(
        &self,
        name: HostName,
        next_server: LookupPermit,
    ) -> BoxFuture<'static, Result<Resolved, ResolveError>> {
        let ((_, settings), shared) = (self.files.now(), Arc::clone(&self.shared));
        let is_absolute = *next_server.client() != ClientId::Own;
        Box::pin(async move {
            let _permit = next_server;
            look_up(&settings, &shared, &name, is_absolute).await
        })
    }

    fn version(&self) -> u64 {
        self.files.now().0
    }

    fn searches(&self) -> bool {
        true
    }

    fn at_once(&self) -> usize {
        self.at_once
    }
}

async fn look_up(
    settings: &Settings,
    shared: &Shared,
    name: &HostName,
    is_absolute: bool,
) -> Result<Resolved, ResolveError> {
    if let Some(addresses) = settings.hosts(name) {
        return Ok(Resolved::from(addresses.to_vec()));
    }
    let conf = &settings.conf;
    let first = if conf.rotate {
        shared.next_server.fetch_add(1, Ordering::Relaxed)
    } else {
        0
    };
    let asking = Asking {
        conf,
        first,
        spare: &shared.spare,
    };
    let mut failed = None;
    for step in steps(conf, name.as_str(), is_absolute) {
        match both_families(&asking, &step.name).await {
            Ok(found) => return Ok(found),
            Err(Failure::NotFound) => {}
            // As in the C library: the search continues only after a failure reported by the
            // server.
            Err(failure @ Failure::Server(_)) if !step.as_it_is => {
                failed = failed.or(Some(failure))
            }
            Err(failure) => return Err(failure.into()),
        }
    }
    Err(failed.map_or(ResolveError::NotFound, Into::into))
}

/// One name to query during a search.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    name: String,
    /// Whether it is the name itself, without an appended domain.
    as_it_is: bool,
}

/// The order in which the forms of a name are tried: unchanged, first if it has enough dots and
/// otherwise last, and with each domain. An absolute name is only tried unchanged.
fn steps(conf: &Conf, name: &str, is_absolute: bool) -> Vec<Step> {
    let as_it_is = || Step {
        name: name.to_owned(),
        as_it_is: true,
    };
    if is_absolute {
        return vec![as_it_is()];
    }
    let searched = conf.search.iter().map(|domain| Step {
        name: format!("{name}.{domain}"),
        as_it_is: false,
    });
    let mut steps: Vec<_> = searched.filter(|step| step.name.len() <= 253).collect();
    match name.matches('.').count() >= conf.ndots {
        true => steps.insert(0, as_it_is()),
        false => steps.push(as_it_is()),
    }
    steps
}

/// The servers for the questions of one look-up.
struct Asking<'a> {
    conf: &'a Conf,
    /// The index of the server to query first.
    first: usize,
    spare: &'a Semaphore,
}

/// Queries IPv6 and IPv4 at once. Addresses of one family are an answer, even if the other query
/// fails.
async fn both_families(asking: &Asking<'_>, name: &str) -> Result<Resolved, Failure> {
    let v4 = Box::pin(ask(asking, name, RecordType::V4));
    if asking.conf.no_aaaa {
        return combine(Ok(Records::default()), v4.await);
    }
    let v6 = Box::pin(ask(asking, name, RecordType::V6));
    match select(v6, v4).await {
        Either::Left((v6, v4)) => {
            let v4 = wait_for_other(&v6, v4).await;
            combine(v6, v4)
        }
        Either::Right((v4, v6)) => {
            let v6 = wait_for_other(&v4, v6).await;
            combine(v6, v4)
        }
    }
}

async fn wait_for_other(
    one: &Result<Records, Failure>,
    other: impl Future<Output = Result<Records, Failure>>,
) -> Result<Records, Failure> {
    match one {
        Ok(records) if !records.addresses.is_empty() => timeout(OTHER_FAMILY, other)
            .await
            .unwrap_or(Err(Failure::Timeout)),
        _ => other.await,
    }
}

fn combine(
    v6: Result<Records, Failure>,
    v4: Result<Records, Failure>,
) -> Result<Resolved, Failure> {
    let (mut addresses, mut ttl, mut failed) = (Vec::<IpAddr>::new(), Duration::MAX, None);
    for family in [v6, v4] {
        match family {
            Ok(records) if records.addresses.is_empty() => {}
            Ok(records) => {
                ttl = ttl.min(records.ttl);
                addresses.extend(records.addresses);
            }
            Err(Failure::NotFound) => {}
            Err(failure) => failed = failed.or(Some(failure)),
        }
    }
    match failed {
        Some(failure) if addresses.is_empty() => return Err(failure),
        // An answer with one family only is cached for a short time.
        Some(_) => ttl = ttl.min(NEGATIVE_TTL),
        None if addresses.is_empty() => return Err(Failure::NotFound),
        None => {}
    }
    Ok(Resolved {
        addresses,
        ttl: Some(ttl),
    })
}

/// Sends one question: to the next server when one has failed, or in parallel when one is silent.
/// The first answer counts. Each socket beyond the first takes a permit; if none is free, those of
/// earlier servers are closed.
async fn ask(asking: &Asking<'_>, name: &str, kind: RecordType) -> Result<Records, Failure> {
    let Asking { conf, first, spare } = *asking;
    let servers = conf.servers.len().max(1);
    let sends = (0..servers * conf.attempts).take(SENDS_MAX.max(servers));
    let mut servers = sends.filter_map(|n| conf.servers.get((first + n) % servers).copied());
    let silence = conf.timeout.min(SILENCE);
    let mut under_way = FuturesUnordered::new();
    let mut permits = Vec::new();
    let mut failed = None;
    let mut next = servers.next();
    loop {
        if let Some(server) = next.take() {
            permits.truncate(under_way.len().saturating_sub(1));
            if !under_way.is_empty() {
                match spare.try_acquire() {
                    Ok(permit) => permits.push(permit),
                    Err(_) => {
                        under_way.clear();
                        permits.clear();
                    }
                }
            }
            under_way.push(ask_server(conf, server, name, kind));
            next = servers.next();
        }
        // Both arms may be dropped: pending questions stay in their set.
        tokio::select! {
            biased;
            answered = under_way.next() => match answered {
                Some(Ok(records)) => return Ok(records),
                Some(Err(Failure::NotFound)) => return Err(Failure::NotFound),
                Some(Err(failure)) => failed = Some(Failure::more_informative(failed, failure)),
                None if next.is_none() => return Err(failed.unwrap_or(Failure::Timeout)),
                None => {}
            },
            () = sleep(silence), if next.is_some() => {}
        }
    }
}

async fn ask_server(
    conf: &Conf,
    server: SocketAddr,
    name: &str,
    kind: RecordType,
) -> Result<Records, Failure> {
    let question = Question::new(name, kind)?;
    timeout(conf.timeout, server::ask(server, &question, conf.use_vc))
        .await
        .unwrap_or(Err(Failure::Timeout))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(text: &str) -> Conf {
        Conf::parse(text, "", 53)
    }

    fn tried(conf: &Conf, name: &str) -> Vec<String> {
        steps(conf, name, false)
            .into_iter()
            .map(|step| step.name)
            .collect()
    }

    #[test]
    fn a_name_with_enough_dots_is_tried_unchanged_before_the_search_and_any_other_after_it() {
        let one = conf("search a.example b.example\n");
        assert_eq!(tried(&one, "www.example.com")[0], "www.example.com");
        assert_eq!(tried(&one, "db"), ["db.a.example", "db.b.example", "db"]);
        let two = conf("search a.example\noptions ndots:2\n");
        assert_eq!(tried(&two, "db.prod"), ["db.prod.a.example", "db.prod"]);
        assert_eq!(
            tried(&two, "x.db.prod"),
            ["x.db.prod", "x.db.prod.a.example"]
        );
        let none = conf("search a.example\noptions ndots:0\n");
        assert_eq!(tried(&none, "db"), ["db", "db.a.example"]);
    }

    #[test]
    fn a_name_of_a_client_is_not_searched_for_so_that_rules_apply_to_the_name_that_is_looked_up() {
        let conf = conf("search corp.test\n");
        let tried: Vec<_> = steps(&conf, "db", true)
            .into_iter()
            .map(|step| step.name)
            .collect();
        assert_eq!(tried, ["db"]);
    }

    #[test]
    fn a_name_that_is_too_long_with_a_domain_is_not_tried_with_it() {
        let conf = conf("search a.example\n");
        let long = [
            "a".repeat(63),
            "b".repeat(63),
            "c".repeat(63),
            "d".repeat(60),
        ]
        .join(".");
        assert_eq!(tried(&conf, &long), std::slice::from_ref(&long));
    }

    #[test]
    fn one_family_is_an_answer_and_is_cached_shortly_if_the_other_failed() {
        let some = |ip: &str| Records {
            addresses: vec![ip.parse().unwrap()],
            ttl: Duration::from_secs(60),
        };
        let none = Records::default;
        let ttl = |found: Result<Resolved, Failure>| found.unwrap().ttl.unwrap().as_secs();
        assert_eq!(
            ttl(combine(Ok(some("2001:db8::1")), Ok(some("192.0.2.1")))),
            60
        );
        assert_eq!(ttl(combine(Ok(none()), Ok(some("192.0.2.1")))), 60);
        assert_eq!(
            ttl(combine(Err(Failure::Timeout), Ok(some("192.0.2.1")))),
            NEGATIVE_TTL.as_secs()
        );
        assert_eq!(
            combine(Ok(none()), Ok(none())).unwrap_err(),
            Failure::NotFound
        );
        assert_eq!(
            combine(Err(Failure::NotFound), Ok(none())).unwrap_err(),
            Failure::NotFound
        );
        assert_eq!(
            combine(Err(Failure::Timeout), Ok(none())).unwrap_err(),
            Failure::Timeout
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_repeated_question_takes_no_socket_beyond_the_spare_ones() {
        // Silent servers: sockets that are never read.
        let silent = [(); 2].map(|()| std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
        let servers: Vec<_> = silent
            .iter()
            .map(|socket| socket.local_addr().unwrap())
            .collect();
        let conf = Conf {
            servers,
            ..conf("")
        };
        for (sockets, held) in [(0, 0), (9, 6)] {
            let spare = Semaphore::new(sockets);
            let asking = Asking {
                conf: &conf,
                first: 0,
                spare: &spare,
            };
            let question = ask(&asking, "silent.example", RecordType::V4);
            let other = ask(&asking, "silent.example", RecordType::V6);
            let free = async {
                sleep(Duration::from_millis(3500)).await;
                spare.available_permits()
            };
            let (one, two, free) = tokio::join!(question, other, free);
            assert_eq!(
                (one, two),
                (Err(Failure::Timeout), Err(Failure::Timeout)),
                "{sockets}"
            );
            assert_eq!(free, sockets - held, "{sockets}");
            assert_eq!(spare.available_permits(), sockets);
        }
        assert_eq!(DnsLookup::new(DnsFiles::default(), 24).at_once, 6);
        assert_eq!(
            DnsLookup::new(DnsFiles::default(), SOCKETS_MAX).at_once,
            LOOKUPS_MAX
        );
        assert_eq!(DnsLookup::new(DnsFiles::default(), 2).at_once, 1);
    }
}
