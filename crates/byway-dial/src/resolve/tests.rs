use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;
use tokio::time::advance;

use super::*;

/// Answers from a script; counts; may be held back by a gate.
struct Script {
    asked: AtomicUsize,
    answer: Mutex<Result<Vec<IpAddr>, ResolveError>>,
    gate: watch::Sender<bool>,
}

impl Script {
    fn new(answer: Result<Vec<IpAddr>, ResolveError>) -> Arc<Self> {
        Arc::new(Self { asked: AtomicUsize::new(0), answer: Mutex::new(answer), gate: watch::Sender::new(true) })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Lookup for Script {
    fn lookup(&self, _name: HostName) -> BoxFuture<'static, Result<Vec<IpAddr>, ResolveError>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let (answer, mut gate) = (self.answer.lock().clone(), self.gate.subscribe());
        Box::pin(async move {
            let _ = gate.wait_for(|open| *open).await;
            answer
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
async fn an_answer_is_kept_for_thirty_seconds() {
    let script = Script::new(Ok(vec![ip(1)]));
    let resolver = resolver(&script);
    for (wait_secs, asked) in [(0, 1), (29, 1), (1, 2)] {
        advance(Duration::from_secs(wait_secs)).await;
        assert_eq!(*resolver.resolve(&name("a.example")).await.unwrap(), [ip(1)]);
        assert_eq!(script.asked(), asked, "after {wait_secs} s more");
    }
}

#[tokio::test(start_paused = true)]
async fn no_such_name_is_believed_for_five_seconds() {
    let script = Script::new(Err(ResolveError::NotFound));
    let resolver = resolver(&script);
    for (wait_secs, asked) in [(0, 1), (4, 1), (1, 2)] {
        advance(Duration::from_secs(wait_secs)).await;
        assert_eq!(resolver.resolve(&name("a.example")).await, Err(ResolveError::NotFound));
        assert_eq!(script.asked(), asked, "after {wait_secs} s more");
    }
}

#[tokio::test]
async fn a_failure_of_the_resolver_is_not_kept() {
    let script = Script::new(Err(ResolveError::Failed("try again".into())));
    let resolver = resolver(&script);
    assert!(resolver.resolve(&name("a.example")).await.is_err());
    *script.answer.lock() = Ok(vec![ip(1)]);
    assert!(resolver.resolve(&name("a.example")).await.is_ok());
}

#[tokio::test]
async fn an_empty_answer_is_no_such_name_and_doubles_count_once() {
    let script = Script::new(Ok(Vec::new()));
    assert_eq!(resolver(&script).resolve(&name("a.example")).await, Err(ResolveError::NotFound));
    *script.answer.lock() = Ok(vec![ip(1), ip(2), ip(1)]);
    assert_eq!(*resolver(&script).resolve(&name("a.example")).await.unwrap(), [ip(1), ip(2)]);
}

#[tokio::test]
async fn the_number_of_addresses_is_bounded() {
    let script = Script::new(Ok((0..=255).map(ip).collect()));
    assert_eq!(resolver(&script).resolve(&name("a.example")).await.unwrap().len(), ADDRESSES_MAX);
}

#[tokio::test(start_paused = true)]
async fn a_query_without_an_answer_ends_after_five_seconds() {
    let script = Script::new(Ok(vec![ip(1)]));
    script.gate.send_replace(false);
    let began = Instant::now();
    assert_eq!(resolver(&script).resolve(&name("a.example")).await, Err(ResolveError::Timeout));
    assert_eq!(began.elapsed().as_secs(), 5);
}

#[tokio::test]
async fn all_who_ask_for_one_name_at_once_share_one_query() {
    let script = Script::new(Ok(vec![ip(1)]));
    script.gate.send_replace(false);
    let resolver = resolver(&script);
    let (wanted, other) = (name("a.example"), name("b.example"));
    let open = async {
        tokio::task::yield_now().await;
        assert_eq!(script.asked(), 2);
        script.gate.send_replace(true);
    };
    let (a, b, c, ()) =
        tokio::join!(resolver.resolve(&wanted), resolver.resolve(&wanted), resolver.resolve(&other), open);
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    assert_eq!(script.asked(), 2);
}

#[tokio::test]
async fn a_shared_query_survives_the_cancellation_of_the_first_asker() {
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
    assert_eq!(script.asked(), 1);
}

#[tokio::test]
async fn a_query_that_everybody_left_leaves_nothing_behind() {
    let script = Script::new(Ok(vec![ip(1)]));
    script.gate.send_replace(false);
    let resolver = resolver(&script);
    let wanted = name("a.example");
    let mut only = Box::pin(resolver.resolve(&wanted));
    assert!(only.as_mut().now_or_never().is_none());
    drop(only);
    assert!(resolver.0.state.lock().flights.is_empty());
    script.gate.send_replace(true);
    assert!(resolver.resolve(&wanted).await.is_ok());
    assert!(resolver.0.state.lock().flights.is_empty());
    assert_eq!(script.asked(), 2);
}

#[tokio::test]
async fn the_oldest_name_makes_room() {
    let now = Instant::now();
    let mut cache = Cache::default();
    let answer: Answer = Ok(Arc::new([ip(1)]));
    for n in 0..=NAMES_MAX {
        cache.keep(&name(&format!("n{n}.example")), &answer, now);
    }
    assert_eq!(cache.entries.len(), NAMES_MAX);
    assert!(cache.find(&name("n0.example"), now).is_none());
    assert!(cache.find(&name("n1.example"), now).is_some());
}

#[tokio::test]
async fn a_name_that_is_renewed_again_and_again_takes_no_room() {
    let now = Instant::now();
    let mut cache = Cache::default();
    let answer: Answer = Ok(Arc::new([ip(1)]));
    for _ in 0..10 * NAMES_MAX {
        cache.keep(&name("a.example"), &answer, now);
    }
    assert_eq!((cache.entries.len(), cache.order.len() <= 2 * NAMES_MAX), (1, true));
}

#[tokio::test]
async fn localhost_is_loopback_without_asking() {
    let script = Script::new(Err(ResolveError::NotFound));
    for text in ["localhost", "LOCALHOST.", "db.localhost"] {
        let found = resolver(&script).resolve(&name(text)).await.unwrap();
        assert!(found.iter().all(IpAddr::is_loopback) && found.len() == 2, "{text}");
    }
    assert_eq!(script.asked(), 0);
    assert!(resolver(&script).resolve(&name("notlocalhost")).await.is_err());
}

#[test]
fn the_words_of_every_system_for_no_such_name_are_known() {
    let error = |text: &str| system_error(&io::Error::other(format!("failed to lookup address information: {text}")));
    assert_eq!(error("Name or service not known"), ResolveError::NotFound);
    assert_eq!(error("Name does not resolve"), ResolveError::NotFound);
    assert_eq!(error("nodename nor servname provided, or not known"), ResolveError::NotFound);
    assert!(matches!(error("Temporary failure in name resolution"), ResolveError::Failed(_)));
}
