use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Method, Request as HttpRequest, Response};

use super::*;
use crate::acme::transport::ResponseFuture;

/// What an authority in memory answers to each POST.
#[derive(Clone)]
enum Answer {
    Problem(u16, &'static str, Option<u64>),
    Page(u16),
    Silence,
}

struct Scripted {
    answer: Answer,
    waiting: AtomicUsize,
}

struct Client(Arc<Scripted>);

impl HttpClient for Client {
    fn send(&self, request: HttpRequest<Bytes>, _: usize) -> ResponseFuture {
        let authority = self.0.clone();
        Box::pin(async move {
            let directory = r#"{"newNonce":"https://a/nonce","newAccount":"https://a/account",
                "newOrder":"https://a/order"}"#;
            let answer = match (request.method(), &authority.answer) {
                (&Method::GET, _) => Response::new(Bytes::from_static(directory.as_bytes())),
                (&Method::HEAD, _) => {
                    let answer = Response::builder().header("replay-nonce", "n");
                    answer.body(Bytes::new())?
                }
                (_, Answer::Problem(status, kind, retry_after)) => {
                    let mut answer = Response::builder().status(*status);
                    if let Some(seconds) = retry_after {
                        answer = answer.header("retry-after", *seconds);
                    }
                    let kind = format!("urn:ietf:params:acme:error:{kind}");
                    answer.body(format!(r#"{{"type":"{kind}","detail":"no"}}"#).into())?
                }
                (_, Answer::Page(status)) => Response::builder()
                    .status(*status)
                    .body(Bytes::from_static(b"<html>"))?,
                (_, Answer::Silence) => {
                    authority.waiting.fetch_add(1, Ordering::SeqCst);
                    std::future::pending::<()>().await;
                    unreachable!()
                }
            };
            Ok(answer)
        })
    }
}

fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn keeper(answer: Answer, state: &std::path::Path) -> (Keeper, Arc<Scripted>) {
    let authority = Arc::new(Scripted {
        answer,
        waiting: AtomicUsize::new(0),
    });
    let keeper = Keeper::new(Options {
        state: state.to_owned(),
        certificates: Arc::default(),
        challenges: Arc::default(),
        clock: Arc::new(start),
    });
    (keeper, authority)
}

fn source(authority: &Arc<Scripted>, names: &[&str]) -> Source {
    Source {
        authority: Authority {
            directory: "https://a/dir".to_owned(),
            email: None,
            binding: None,
            profile: None,
        },
        names: names.iter().map(|name| Name::new(name).unwrap()).collect(),
        challenge: ChallengeKind::Auto,
        dns: None,
        dns_delay: Duration::ZERO,
        on_demand: None,
        client: Arc::new(Client(authority.clone())),
    }
}

/// The first failure against this authority, and the delay until the next try.
async fn failure(answer: Answer) -> (Failure, Duration) {
    let folder = tempfile::tempdir().unwrap();
    let (keeper, authority) = keeper(answer, folder.path());
    keeper
        .apply(vec![source(&authority, &["a.example"])])
        .unwrap();
    tokio::select! {
        () = keeper.run() => unreachable!(),
        is_there = keeper.settled("a.example", 0) => assert!(!is_there),
    }
    let status = keeper.status().remove(0);
    let (at, failure) = status.last_failure.unwrap();
    assert_eq!(at, start());
    let delay = status.next_try.unwrap().duration_since(at).unwrap();
    (failure, delay)
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_is_waited_for_as_long_as_the_authority_says() {
    let limited = Answer::Problem(429, "rateLimited", Some(7200));
    let (failure, delay) = failure(limited).await;
    assert_eq!(failure.kind, FailureKind::RateLimit);
    assert_eq!(delay, Duration::from_secs(7200));
}

#[tokio::test(start_paused = true)]
async fn a_page_of_a_broken_authority_is_reported_with_its_status() {
    let (failure, delay) = failure(Answer::Page(502)).await;
    assert_eq!(failure.kind, FailureKind::Authority);
    assert_eq!(
        failure.text,
        "the authority answered 502 to https://a/account"
    );
    assert!(delay >= super::super::schedule::FIRST_DELAY);
}

#[tokio::test(start_paused = true)]
async fn an_authority_that_does_not_answer_is_unreachable_after_a_deadline() {
    let (failure, _) = failure(Answer::Silence).await;
    assert_eq!(failure.kind, FailureKind::Unreachable);
    assert_eq!(failure.text, "no answer from the authority within 30 s");
}

#[tokio::test(start_paused = true)]
async fn many_names_are_a_few_orders_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let refused = Answer::Problem(400, "rejectedIdentifier", None);
    let (keeper, authority) = keeper(refused, folder.path());
    let names: Vec<String> = (0..40).map(|number| format!("n{number}.example")).collect();
    let names: Vec<&str> = names.iter().map(|name| &**name).collect();
    keeper.apply(vec![source(&authority, &names)]).unwrap();
    let all_have_failed = async {
        while keeper
            .status()
            .iter()
            .any(|status| status.last_failure.is_none())
        {
            let busy = keeper
                .status()
                .iter()
                .filter(|status| status.is_busy)
                .count();
            assert!(busy <= ORDERS_AT_ONCE, "{busy}");
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = keeper.run() => unreachable!(),
        () = all_have_failed => {}
    }
    assert_eq!(authority.waiting.load(Ordering::SeqCst), 0);
    assert_eq!(keeper.counts().failed(FailureKind::Account), 40);
}

#[test]
fn a_state_folder_that_cannot_be_written_is_an_error_with_its_path() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("acme"), "a file").unwrap();
    let (keeper, authority) = keeper(Answer::Silence, folder.path());
    let (path, _) = keeper
        .apply(vec![source(&authority, &["a.example"])])
        .unwrap_err();
    assert!(path.starts_with(folder.path().join("acme")), "{path:?}");
}

#[test]
fn the_first_source_that_names_a_host_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let (keeper, authority) = keeper(Answer::Silence, folder.path());
    let mut second = source(&authority, &["a.example", "b.example"]);
    second.authority.directory = "https://b/dir".to_owned();
    keeper
        .apply(vec![source(&authority, &["a.example"]), second])
        .unwrap();
    let directories: Vec<_> = keeper
        .status()
        .into_iter()
        .map(|one| one.directory)
        .collect();
    assert_eq!(directories, ["https://a/dir", "https://b/dir"]);
}
