use tokio::net::TcpListener;

use super::*;
use crate::dial::tests::dialler_for;
use crate::parent::ParentError;

fn parent(url: &str) -> Arc<Parent> {
    Arc::new(url.parse().unwrap())
}

fn target(text: &str) -> Target {
    text.parse().unwrap()
}

#[test]
fn plain_http_goes_to_an_http_proxy_in_absolute_form_and_everything_else_through_a_tunnel() {
    let way = |url: &str, purpose| Route::through(&parent(url), purpose, &target("a.example:80"));
    for url in ["http://p", "https://p"] {
        assert_eq!(way(url, Purpose::Http), Route::Absolute(parent(url)));
        assert_eq!(way(url, Purpose::Https), Route::Tunnel(parent(url)));
        assert_eq!(way(url, Purpose::Other), Route::Tunnel(parent(url)));
        assert_eq!(
            way(url, Purpose::Http).tunnelled(),
            Route::Tunnel(parent(url))
        );
    }
    for url in ["socks4://p", "socks4a://p", "socks5://p", "socks5h://p"] {
        assert_eq!(way(url, Purpose::Http), Route::Tunnel(parent(url)));
    }
    assert_eq!(
        Route::through(&parent("http://p"), Purpose::Http, &target("unix:/run/a")),
        Route::Direct
    );
    assert_eq!(Route::Direct.tunnelled(), Route::Direct);
}

#[test]
fn routes_differ_by_their_parents_credentials_and_never_show_them() {
    let route = |url: &str| Route::Tunnel(parent(url));
    assert_eq!(route("http://u:secret@p"), route("http://u:secret@P:80"));
    assert_ne!(route("http://u:secret@p"), route("http://u:other@p"));
    assert_ne!(route("http://p"), Route::Absolute(parent("http://p")));
    let shown = format!("{0} {0:?} {1}", route("http://u:secret@p"), Route::Direct);
    assert_eq!(
        shown,
        "http://u:***@p:80 Tunnel(Parent(http://u:***@p:80)) direct"
    );
}

#[tokio::test]
async fn the_routing_may_be_a_function_or_the_environment() {
    let p = parent("http://p");
    let by_port = |purpose: Purpose, target: &Target| match target.port() {
        Some(80) => Ok(vec![Route::through(&p, purpose, target), Route::Direct]),
        _ => Err(NoRoute("the script failed".into())),
    };
    let environment = Environment::of([("http_proxy", "p"), ("no_proxy", "b.example")]).unwrap();
    let routings: [&dyn Routing; 2] = [&by_port, &environment];
    let ask = |turn: usize, text: &str| {
        let target = target(text);
        async move { routings[turn].routes(Purpose::Http, &target).await }
    };
    assert_eq!(
        ask(0, "a.example:80").await.unwrap(),
        [Route::Absolute(parent("http://p")), Route::Direct]
    );
    assert_eq!(
        ask(0, "a.example:81").await.unwrap_err().to_string(),
        "the script failed"
    );
    assert_eq!(
        ask(1, "a.example:80").await.unwrap(),
        [Route::Absolute(parent("http://p"))]
    );
    assert_eq!(ask(1, "b.example:80").await.unwrap(), [Route::Direct]);
}

/// A target that listens, and a parent that does not.
async fn listening() -> (TcpListener, Target, Route) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = Target::Addr(listener.local_addr().unwrap());
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    (
        listener,
        at,
        Route::Tunnel(parent(&format!("socks5h://{closed}"))),
    )
}

#[tokio::test]
async fn the_next_route_is_taken_when_a_parent_is_down() {
    let (_listener, at, down) = listening().await;
    let routes = [down, Route::Direct];
    let (taken, dialled) = dialler_for(&[])
        .open_by(&routes, &at, &AddressRules::open())
        .await
        .unwrap();
    assert_eq!(
        (taken, dialled.peer.map(Target::Addr)),
        (&Route::Direct, Some(at))
    );
}

#[tokio::test]
async fn a_target_that_the_rules_deny_is_not_tried_by_another_route() {
    let (listener, at, _) = listening().await;
    let detour = Route::Tunnel(parent(&format!(
        "socks5h://{}",
        listener.local_addr().unwrap()
    )));
    let routes = [Route::Direct, detour];
    let opened = dialler_for(&[])
        .open_by(&routes, &at, &AddressRules::guarded())
        .await;
    assert!(matches!(opened, Err(DialError::Denied(_))));
}

#[tokio::test]
async fn when_no_route_works_the_last_failure_is_reported_and_no_route_is_a_failure() {
    let (_listener, at, down) = listening().await;
    let dialler = dialler_for(&[]);
    let opened = dialler
        .open_by(std::slice::from_ref(&down), &at, &AddressRules::open())
        .await;
    assert!(matches!(
        opened,
        Err(DialError::Parent {
            source: ParentError::Dial(_),
            ..
        })
    ));
    let error = dialler
        .open_by(&[], &at, &AddressRules::open())
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with(&format!("no route leads to {at}")),
        "{error}"
    );
}
