use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;
use tokio::time::advance;

use super::*;

/// Answers from a script; counts queries; a gate can delay them.
struct Script {
    queries: AtomicUsize,
    answer: Mutex<Result<Vec<IpAddr>, ResolveError>>,
    gate: watch::Sender<bool>,
}

impl Script {
    fn new(answer: Result<Vec<IpAddr>, ResolveError>) -> Arc<Self> {
        Arc::new(Self {
            queries: AtomicUsize::new(0),
            answer: Mutex::new(answer),
            gate: watch::Sender::new(true),
        })
    }

    fn queries(&self) -> usize {
        self.queries.load(Ordering::SeqCst)
    }
}

impl Lookup for Script {
    fn lookup(
        &self,
        _name: HostName,
        permit: LookupPermit,
    ) -> BoxFuture<'static, Result<Resolved, ResolveError>> {
        self.queries.fetch_add(1, Ordering::SeqCst);
        let (answer, mut gate) = (self.answer.lock().clone(), self.gate.subscribe());
        Box::pin(async move {
            let _permit = permit;
            let _ = gate.wait_for(|open| *open).await;
            answer.map(Resolved::from)
        })
    }
}

fn resolver(script: &Arc<Script>) -> Resolver {
    Resolver::with_lookup(script.clone(), Handle::current())
}

fn name(text: &str) -> HostName {
    text.parse().unwrap()
}

fn ip(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_cached_for_thirty_seconds() {
    let script = Script::new(Ok(vec![ip(1)]));
    let resolver = resolver(&script);
    for (wait_secs, queries) in [(0, 1), (29, 1), (1, 2)] {
        advance(Duration::from_secs(wait_secs)).await;
        assert_eq!(
            *resolver.resolve(&name("a.example")).await.unwrap(),
            [ip(1)]
        );
        assert_eq!(script.queries(), queries, "after {wait_secs} s more");
    }
}

#[tokio::test(start_paused = true)]
async fn no_such_name_is_cached_for_five_seconds() {
    let script = Script::new(Err(ResolveError::NotFound));
    let resolver = resolver(&script);
    for (wait_secs, queries) in [(0, 1), (4, 1), (1, 2)] {
        advance(Duration::from_secs(wait_secs)).await;
        assert_eq!(
            resolver.resolve(&name("a.example")).await,
            Err(ResolveError::NotFound)
        );
        assert_eq!(script.queries(), queries, "after {wait_secs} s more");
    }
}

#[tokio::test]
async fn a_failure_of_the_resolver_is_not_cached() {
    let script = Script::new(Err(ResolveError::Failed("try again".into())));
    let resolver = resolver(&script);
    assert!(resolver.resolve(&name("a.example")).await.is_err());
    *script.answer.lock() = Ok(vec![ip(1)]);
    assert!(resolver.resolve(&name("a.example")).await.is_ok());
}

#[tokio::test]
async fn an_empty_answer_is_no_such_name_and_duplicates_count_once() {
    let script = Script::new(Ok(Vec::new()));
    assert_eq!(
        resolver(&script).resolve(&name("a.example")).await,
        Err(ResolveError::NotFound)
    );
    *script.answer.lock() = Ok(vec![ip(1), ip(2), ip(1)]);
    assert_eq!(
        *resolver(&script).resolve(&name("a.example")).await.unwrap(),
        [ip(1), ip(2)]
    );
}

#[tokio::test]
async fn the_number_of_addresses_is_bounded() {
    let script = Script::new(Ok((0..=255).map(ip).collect()));
    assert_eq!(
        resolver(&script)
            .resolve(&name("a.example"))
            .await
            .unwrap()
            .len(),
        ADDRESSES_MAX
    );
}

#[tokio::test(start_paused = true)]
async fn a_query_without_an_answer_ends_after_five_seconds() {
    let script = Script::new(Ok(vec![ip(1)]));
    script.gate.send_replace(false);
    let began = Instant::now();
    assert_eq!(
        resolver(&script).resolve(&name("a.example")).await,
        Err(ResolveError::Timeout)
    );
    assert_eq!(began.elapsed().as_secs(), 5);
}

#[tokio::test]
async fn concurrent_clients_of_one_name_share_one_query() {
    let script = Script::new(Ok(vec![ip(1)]));
    script.gate.send_replace(false);
    let resolver = resolver(&script);
    let (wanted, other) = (name("a.example"), name("b.example"));
    let open = async {
        tokio::task::yield_now().await;
        assert_eq!(script.queries(), 2);
        script.gate.send_replace(true);
    };
    let (a, b, c, ()) = tokio::join!(
        resolver.resolve(&wanted),
        resolver.resolve(&wanted),
        resolver.resolve(&other),
        open
    );
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    assert_eq!(script.queries(), 2);
}

#[tokio::test]
async fn a_shared_query_survives_the_cancellation_of_the_first_client() {
    let script = Script::new(Ok(vec![ip(1)]));
    script.gate.send_replace(false);
    let resolver = resolver(&script);
    let wanted = name("a.example");
    let mut first = Box::pin(resolver.resolve(&wanted));
    assert!(first.as_mut().now_or_never().is_none());
    let mut second = Box::pin(resolver.resolve(&wanted));
    assert!(second.as_mut().now_or_never().is_none());
    drop(first);
    script.gate.send_replace(true);
    assert_eq!(*second.await.unwrap(), [ip(1)]);
    assert_eq!(script.queries(), 1);
}

#[tokio::test]
async fn a_query_without_waiters_leaves_nothing_behind() {
    let script = Script::new(Ok(vec![ip(1)]));
    script.gate.send_replace(false);
    let resolver = resolver(&script);
    let wanted = name("a.example");
    let mut only = Box::pin(resolver.resolve(&wanted));
    assert!(only.as_mut().now_or_never().is_none());
    drop(only);
    assert!(resolver.0.state.lock().shared_lookups.is_empty());
    script.gate.send_replace(true);
    assert!(resolver.resolve(&wanted).await.is_ok());
    assert!(resolver.0.state.lock().shared_lookups.is_empty());
    assert_eq!(script.queries(), 2);
}

#[tokio::test]
async fn localhost_is_loopback_without_a_query() {
    let script = Script::new(Err(ResolveError::NotFound));
    for text in ["localhost", "LOCALHOST.", "db.localhost"] {
        let found = resolver(&script).resolve(&name(text)).await.unwrap();
        assert!(
            found.iter().all(IpAddr::is_loopback) && found.len() == 2,
            "{text}"
        );
    }
    assert_eq!(script.queries(), 0);
    assert!(
        resolver(&script)
            .resolve(&name("notlocalhost"))
            .await
            .is_err()
    );
}

/// Never answers a name that begins with `silent`, and any other at once.
struct HalfSilent;

impl Lookup for HalfSilent {
    fn lookup(
        &self,
        name: HostName,
        permit: LookupPermit,
    ) -> BoxFuture<'static, Result<Resolved, ResolveError>> {
        Box::pin(async move {
            let _permit = permit;
            if name.as_str().starts_with("silent") {
                std::future::pending::<()>().await;
            }
            Ok(vec![ip(1)].into())
        })
    }
}

#[tokio::test(start_paused = true)]
async fn sixty_four_unanswered_names_of_one_user_do_not_delay_the_names_of_another() {
    let resolver = Resolver::with_lookup(Arc::new(HalfSilent), Handle::current());
    let [attacker, other] = ["attacker", "other"].map(|user| ClientId::User(user.into()));
    let names: Vec<_> = (0..200)
        .map(|n| name(&format!("silent{n}.example")))
        .collect();
    let mut silent: Vec<_> = names
        .iter()
        .map(|name| Box::pin(resolver.resolve_for(name, &attacker)))
        .collect();
    assert!(
        silent
            .iter_mut()
            .all(|one| one.as_mut().now_or_never().is_none())
    );
    let began = Instant::now();
    for n in 0..100 {
        let found = resolver
            .resolve_for(&name(&format!("n{n}.example")), &other)
            .await;
        assert_eq!(*found.unwrap(), [ip(1)]);
        assert!(
            resolver
                .resolve(&name(&format!("own{n}.example")))
                .await
                .is_ok()
        );
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    // The attacker's own look-ups wait for permits, and each ends at its deadline.
    let ended = futures_util::future::join_all(silent).await;
    assert!(
        ended
            .iter()
            .all(|answer| matches!(answer, Err(ResolveError::Timeout | ResolveError::Busy)))
    );
    assert_eq!(began.elapsed().as_secs(), 5);
    // The queries have ended too, and released their permits.
    assert!(
        resolver
            .resolve_for(&name("another.example"), &attacker)
            .now_or_never()
            .unwrap()
            .is_ok()
    );
}

#[tokio::test(start_paused = true)]
async fn a_name_that_was_not_queried_in_time_is_not_reported_as_unanswered() {
    let resolver = Resolver::with_lookup(Arc::new(HalfSilent), Handle::current());
    for (client, not_asked) in [
        (ClientId::User("user".into()), ResolveError::Busy),
        (ClientId::peer(ip(1)), ResolveError::Busy),
        // The program has no share; it waits only behind names that are not answered.
        (ClientId::Own, ResolveError::Timeout),
    ] {
        let began = Instant::now();
        let places = if client == ClientId::Own { 64 } else { 8 };
        let names: Vec<_> = (0..=places)
            .map(|n| name(&format!("silent{n}.example")))
            .collect();
        let mut answers: Vec<_> = names
            .iter()
            .map(|name| Box::pin(resolver.resolve_for(name, &client)))
            .collect();
        assert!(
            answers
                .iter_mut()
                .all(|one| one.as_mut().now_or_never().is_none())
        );
        let mut answers = futures_util::future::join_all(answers).await;
        assert_eq!(answers.pop().unwrap(), Err(not_asked), "{client:?}");
        assert!(
            answers
                .iter()
                .all(|answer| *answer == Err(ResolveError::Timeout))
        );
        assert_eq!(began.elapsed().as_secs(), 5);
    }
}

#[tokio::test(start_paused = true)]
async fn no_user_waits_in_the_queue_of_another_user_of_the_same_name() {
    let resolver = Resolver::with_lookup(Arc::new(HalfSilent), Handle::current());
    let [attacker, other] = ["attacker", "other"].map(|user| ClientId::User(user.into()));
    let names: Vec<_> = (0..64)
        .map(|n| name(&format!("silent{n}.example")))
        .collect();
    let wanted = name("popular.example");
    let mut silent: Vec<_> = names
        .iter()
        .map(|name| Box::pin(resolver.resolve_for(name, &attacker)))
        .collect();
    assert!(
        silent
            .iter_mut()
            .all(|one| one.as_mut().now_or_never().is_none())
    );
    let mut queued = Box::pin(resolver.resolve_for(&wanted, &attacker));
    assert!(
        queued.as_mut().now_or_never().is_none(),
        "the attacker has no permit left"
    );
    assert!(
        resolver
            .resolve_for(&wanted, &other)
            .now_or_never()
            .unwrap()
            .is_ok()
    );
}

#[tokio::test(start_paused = true)]
async fn expired_addresses_are_used_while_no_server_answers() {
    let script = Script::new(Ok(vec![ip(1)]));
    let resolver = resolver(&script);
    let wanted = name("a.example");
    assert!(resolver.resolve(&wanted).await.is_ok());
    advance(Duration::from_secs(31)).await;
    // A server that fails, and servers that are silent.
    *script.answer.lock() = Err(ResolveError::Failed("SERVFAIL".into()));
    assert_eq!(*resolver.resolve(&wanted).await.unwrap(), [ip(1)]);
    advance(cache::RECHECK).await;
    script.gate.send_replace(false);
    let began = Instant::now();
    assert_eq!(*resolver.resolve(&wanted).await.unwrap(), [ip(1)]);
    assert_eq!(began.elapsed(), STALE_AFTER);
    assert_eq!(
        *resolver.resolve(&wanted).await.unwrap(),
        [ip(1)],
        "for a while without a query"
    );
    assert_eq!((began.elapsed(), script.queries()), (STALE_AFTER, 3));
    // An answer of a server that the name does not exist counts at once. The earlier query ends at
    // its deadline.
    tokio::time::sleep(DEADLINE + cache::RECHECK).await;
    script.gate.send_replace(true);
    *script.answer.lock() = Err(ResolveError::NotFound);
    assert_eq!(resolver.resolve(&wanted).await, Err(ResolveError::NotFound));
}

#[tokio::test(start_paused = true)]
async fn stale_addresses_are_not_used_indefinitely() {
    let script = Script::new(Ok(vec![ip(1)]));
    let resolver = resolver(&script);
    assert!(resolver.resolve(&name("a.example")).await.is_ok());
    *script.answer.lock() = Err(ResolveError::Failed("SERVFAIL".into()));
    advance(cache::POSITIVE_TTL + cache::STALE).await;
    assert!(resolver.resolve(&name("a.example")).await.is_err());
}

/// Settings that change.
struct Versioned(Arc<Script>, AtomicUsize);

impl Lookup for Versioned {
    fn lookup(
        &self,
        name: HostName,
        permit: LookupPermit,
    ) -> BoxFuture<'static, Result<Resolved, ResolveError>> {
        self.0.lookup(name, permit)
    }

    fn version(&self) -> u64 {
        self.1.load(Ordering::SeqCst) as u64
    }
}

#[tokio::test]
async fn answers_from_before_a_change_of_settings_are_forgotten() {
    let script = Script::new(Ok(vec![ip(1)]));
    let versioned = Arc::new(Versioned(Arc::clone(&script), AtomicUsize::new(0)));
    let resolver = Resolver::with_lookup(versioned.clone(), Handle::current());
    let wanted = name("a.example");
    assert_eq!(*resolver.resolve(&wanted).await.unwrap(), [ip(1)]);
    *script.answer.lock() = Ok(vec![ip(2)]);
    assert_eq!(*resolver.resolve(&wanted).await.unwrap(), [ip(1)]);
    versioned.1.store(1, Ordering::SeqCst);
    assert_eq!(*resolver.resolve(&wanted).await.unwrap(), [ip(2)]);
    // A query that was running during the change is not cached either.
    versioned.1.store(2, Ordering::SeqCst);
    script.gate.send_replace(false);
    let mut under_way = Box::pin(resolver.resolve(&wanted));
    assert!(under_way.as_mut().now_or_never().is_none());
    versioned.1.store(3, Ordering::SeqCst);
    assert!(
        resolver
            .resolve(&name("other.example"))
            .now_or_never()
            .is_none()
    );
    script.gate.send_replace(true);
    assert!(under_way.await.is_ok());
    let queries = script.queries();
    assert!(resolver.resolve(&wanted).await.is_ok());
    assert_eq!(script.queries(), queries + 1);
}

#[tokio::test(start_paused = true)]
async fn one_user_cannot_evict_the_names_of_others_from_the_cache() {
    let script = Script::new(Ok(vec![ip(1)]));
    let resolver = resolver(&script);
    let [alice, bob] = ["alice", "bob"].map(|user| ClientId::User(user.into()));
    resolver.resolve_for(&name("of.bob"), &bob).await.unwrap();
    resolver.resolve(&name("upstream.example")).await.unwrap();
    for n in 0..=cache::NAMES_MAX {
        resolver
            .resolve_for(&name(&format!("n{n}.example")), &alice)
            .await
            .unwrap();
    }
    let queries = script.queries();
    resolver.resolve_for(&name("of.bob"), &bob).await.unwrap();
    resolver.resolve(&name("upstream.example")).await.unwrap();
    assert_eq!(script.queries(), queries, "both are still in the cache");
}

#[tokio::test(start_paused = true)]
async fn a_new_name_does_not_wait_for_the_unanswered_names_of_seven_other_users() {
    let resolver = Resolver::with_lookup(Arc::new(HalfSilent), Handle::current());
    let mut silent = tokio::task::JoinSet::new();
    for user in 0..7 {
        for n in 0..16 {
            let (resolver, client) = (resolver.clone(), ClientId::User(format!("u{user}").into()));
            let name = name(&format!("silent{n}.u{user}.example"));
            silent.spawn(async move { resolver.resolve_for(&name, &client).await });
        }
    }
    tokio::task::yield_now().await;
    let began = Instant::now();
    let found = resolver
        .resolve_for(&name("new.example"), &ClientId::User("neighbour".into()))
        .await;
    assert_eq!(
        (found.as_deref(), began.elapsed()),
        (Ok(&[ip(1)][..]), Duration::ZERO)
    );
    // A cancelled look-up waits again, until its client's deadline.
    let ended = silent.join_all().await;
    assert!(
        ended
            .iter()
            .all(|answer| matches!(answer, Err(ResolveError::Timeout | ResolveError::Busy)))
    );
    assert_eq!(began.elapsed().as_secs(), 5);
    assert!(resolver.0.state.lock().shared_lookups.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_takes_three_seconds_renews_an_expired_name() {
    let script = Script::new(Ok(vec![ip(1)]));
    let resolver = resolver(&script);
    let wanted = name("a.example");
    assert!(resolver.resolve(&wanted).await.is_ok());
    advance(Duration::from_secs(31)).await;
    *script.answer.lock() = Ok(vec![ip(2)]);
    script.gate.send_replace(false);
    let [one, two] = [resolver.resolve(&wanted), resolver.resolve(&wanted)];
    let (one, two) = tokio::join!(one, two);
    assert_eq!(
        (&*one.unwrap(), &*two.unwrap()),
        (&[ip(1)][..], &[ip(1)][..])
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    script.gate.send_replace(true);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(*resolver.resolve(&wanted).await.unwrap(), [ip(2)]);
    assert_eq!(script.queries(), 2);
    assert!(resolver.0.state.lock().shared_lookups.is_empty());
}

/// Finds `db` only through the search list.
struct Searching;

impl Lookup for Searching {
    fn lookup(
        &self,
        _name: HostName,
        permit: LookupPermit,
    ) -> BoxFuture<'static, Result<Resolved, ResolveError>> {
        let is_own = *permit.client() == ClientId::Own;
        Box::pin(async move {
            if is_own {
                Ok(vec![ip(1)].into())
            } else {
                Err(ResolveError::NotFound)
            }
        })
    }

    fn searches(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn results_of_the_search_list_for_an_upstream_are_not_given_to_a_client() {
    let resolver = Resolver::with_lookup(Arc::new(Searching), Handle::current());
    let (wanted, client) = (name("db"), ClientId::peer(ip(9)));
    for _ in 0..2 {
        assert_eq!(*resolver.resolve(&wanted).await.unwrap(), [ip(1)]);
        assert_eq!(
            resolver.resolve_for(&wanted, &client).await,
            Err(ResolveError::NotFound)
        );
    }
}
