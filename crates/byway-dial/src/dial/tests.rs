use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::BoxFuture;
use socket2::SockRef;
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Handle;

use super::*;
use crate::resolve::{Lookup, LookupPermit, Resolved};
use crate::rules::{AddressRule, Reason};
use crate::stream::Read;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Returns the answers in order, and then repeats the last one.
#[derive(Default)]
struct Table {
    answers: HashMap<&'static str, Vec<Result<Vec<IpAddr>, ResolveError>>>,
    queries: AtomicUsize,
}

impl Lookup for Table {
    fn lookup(
        &self,
        name: HostName,
        _permit: LookupPermit,
    ) -> BoxFuture<'static, Result<Resolved, ResolveError>> {
        let query = self.queries.fetch_add(1, Ordering::SeqCst);
        let answers = self.answers.get(name.as_str());
        let answer =
            answers.and_then(|answers| answers.get(query).or_else(|| answers.last()).cloned());
        Box::pin(async move {
            answer
                .unwrap_or(Err(ResolveError::NotFound))
                .map(Resolved::from)
        })
    }
}

fn dialler_with(table: Table, options: Options) -> (Dialler, Arc<Table>) {
    let table = Arc::new(table);
    (
        Dialler::new(
            Resolver::with_lookup(table.clone(), Handle::current()),
            options,
        ),
        table,
    )
}

fn dialler() -> Dialler {
    dialler_with(Table::default(), Options::default()).0
}

/// A dialler for which `a.example` has these addresses.
pub(crate) fn dialler_for(ips: &[&str]) -> Dialler {
    let answer = Ok(ips.iter().map(|ip| ip.parse().unwrap()).collect());
    let table = Table {
        answers: HashMap::from([("a.example", vec![answer])]),
        ..Table::default()
    };
    dialler_with(table, Options::default()).0
}

fn a_example(port: u16) -> Target {
    Target::Host {
        name: "a.example".parse().unwrap(),
        port,
    }
}

fn guarded(cidrs: &[(&str, bool)]) -> AddressRules {
    let rule = |(number, (cidr, allow)): (usize, &(&str, bool))| AddressRule {
        cidr: cidr.parse().unwrap(),
        ports: Vec::new(),
        allow: *allow,
        number: number + 1,
    };
    AddressRules {
        rules: cidrs.iter().enumerate().map(rule).collect(),
        ..AddressRules::guarded()
    }
}

async fn listener(ip: IpAddr) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(SocketAddr::new(ip, 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

/// A port that refuses: bound, so that no other socket gets it, but not listening.
fn closed(ip: &str) -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket
        .bind(SocketAddr::new(ip.parse().unwrap(), 0))
        .unwrap();
    let addr = socket.local_addr().unwrap();
    (socket, addr)
}

#[tokio::test]
async fn a_literal_address_is_opened() {
    let (listener, addr) = listener(LOOPBACK).await;
    let open = AddressRules::open();
    let target = Target::Addr(addr);
    let (dialler, accepted) = (dialler(), listener.accept());
    let (dialled, accepted) = tokio::join!(dialler.open(&target, &open), accepted);
    let dialled = dialled.unwrap();
    assert_eq!(
        (dialled.peer, dialled.local),
        (Some(addr), Some(accepted.unwrap().1))
    );
    let socket = SockRef::from(dialled.stream.as_tcp().unwrap());
    assert!(socket.keepalive().unwrap() && socket.tcp_nodelay().unwrap());
}

#[tokio::test]
async fn an_ipv6_address_is_opened_where_the_machine_has_ipv6() {
    let Ok(listener) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await else {
        return;
    };
    let addr = listener.local_addr().unwrap();
    let dialled = dialler()
        .open(&Target::Addr(addr), &AddressRules::open())
        .await
        .unwrap();
    assert_eq!(dialled.peer, Some(addr));
}

#[tokio::test]
async fn a_port_on_which_nothing_listens_refuses() {
    let (_bound, addr) = closed("127.0.0.1");
    let error = dialler()
        .open(&Target::Addr(addr), &AddressRules::open())
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{addr} refused the connection; nothing listens there")
    );
}

#[tokio::test]
async fn several_refusals_report_how_many_addresses_were_tried() {
    let (_bound, addr) = closed("0.0.0.0");
    let dialler = dialler_for(&["127.0.0.1", "127.0.0.2", "127.0.0.3"]);
    let error = dialler
        .open(&a_example(addr.port()), &AddressRules::open())
        .await
        .unwrap_err();
    assert!(
        matches!(error, DialError::Refused { tried: 3, .. }),
        "{error:?}"
    );
    assert!(
        error.to_string().ends_with("(3 addresses were tried)"),
        "{error}"
    );
}

#[tokio::test]
async fn a_peer_that_does_not_answer_is_a_connect_timeout() {
    // A listener whose queue is full drops further attempts.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let addr = listener.local_addr().unwrap();
    let _fills_the_queue = std::net::TcpStream::connect(addr).unwrap();
    let options = Options {
        connect_timeout: Duration::from_millis(50),
        ..Options::default()
    };
    let dialler = dialler_with(Table::default(), options).0;
    let error = dialler
        .open(&Target::Addr(addr), &AddressRules::open())
        .await
        .unwrap_err();
    assert!(
        matches!(error, DialError::ConnectTimeout { tried: 1, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_connection_comes_from_the_local_address() {
    let (listener, addr) = listener(LOOPBACK).await;
    let local: IpAddr = Ipv4Addr::new(127, 0, 0, 9).into();
    let options = Options {
        local_address: Some(local.into()),
        ..Options::default()
    };
    let dialler = dialler_with(Table::default(), options).0;
    let dialled = dialler
        .open(&Target::Addr(addr), &AddressRules::open())
        .await
        .unwrap();
    assert_eq!(dialled.local.map(|addr| addr.ip()), Some(local));
    assert_eq!(listener.accept().await.unwrap().1.ip(), local);
}

#[tokio::test]
async fn each_family_may_have_its_own_local_address() {
    let each = LocalAddress::Each {
        v4: "127.0.0.9".parse().unwrap(),
        v6: Ipv6Addr::LOCALHOST,
    };
    let options = Options {
        local_address: Some(each),
        ..Options::default()
    };
    let (dialler, _) = dialler_with(Table::default(), options);
    for (listens, from) in [("127.0.0.1:0", "127.0.0.9"), ("[::1]:0", "::1")] {
        let Ok(listener) = TcpListener::bind(listens).await else {
            assert_eq!(listens, "[::1]:0", "only IPv6 may be missing on a machine");
            continue;
        };
        let target = Target::Addr(listener.local_addr().unwrap());
        let dialled = dialler.open(&target, &AddressRules::open()).await.unwrap();
        assert_eq!(dialled.local.unwrap().ip().to_string(), from);
    }
}

#[tokio::test]
async fn an_idle_connection_is_probed_after_the_configured_delay_or_never() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = Target::Addr(listener.local_addr().unwrap());
    let seconds = Duration::from_secs;
    let table = [
        (Some(seconds(60)), Some(seconds(60))),
        (Some(seconds(7)), Some(seconds(7))),
        (Some(Duration::ZERO), Some(seconds(1))),
        (Some(seconds(1_000_000)), Some(seconds(32_767))),
        (None, None),
    ];
    for (keepalive, kept) in table {
        let (dialler, _) = dialler_with(
            Table::default(),
            Options {
                keepalive,
                ..Options::default()
            },
        );
        let dialled = dialler.open(&target, &AddressRules::open()).await.unwrap();
        let socket = SockRef::from(dialled.stream.as_tcp().unwrap());
        let found = socket
            .keepalive()
            .unwrap()
            .then(|| socket.tcp_keepalive_time().unwrap());
        assert_eq!(found, kept, "{keepalive:?}");
        if found.is_some() {
            let probes = (
                socket.tcp_keepalive_interval().unwrap(),
                socket.tcp_keepalive_retries().unwrap(),
            );
            assert_eq!(probes, (seconds(15), 4), "{keepalive:?}");
        }
    }
    assert_eq!(Options::default().keepalive, Some(seconds(60)));
}

#[cfg(unix)]
#[tokio::test]
async fn both_sides_send_no_segments_larger_than_configured() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = Target::Addr(listener.local_addr().unwrap());
    for bytes in [Some(1200), Some(536), None] {
        let dialler = dialler_with(Table::default(), Options::default())
            .0
            .with_segments_of(bytes);
        let dialled = dialler.open(&target, &AddressRules::open()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let sizes = [
            SockRef::from(dialled.stream.as_tcp().unwrap()),
            SockRef::from(&accepted),
        ];
        for size in sizes.map(|socket| socket.tcp_mss().unwrap()) {
            assert_eq!(size <= 1200, bytes.is_some(), "{bytes:?}: {size}");
            assert!(bytes.is_none_or(|bytes| size <= bytes), "{bytes:?}: {size}");
        }
    }
}

#[tokio::test]
async fn a_local_address_that_is_not_ours_is_reported_as_a_local_failure() {
    let (_listener, addr) = listener(LOOPBACK).await;
    let options = Options {
        local_address: Some(LocalAddress::Only("192.0.2.1".parse().unwrap())),
        ..Options::default()
    };
    let error = dialler_with(Table::default(), options)
        .0
        .open(&Target::Addr(addr), &AddressRules::open())
        .await;
    assert!(matches!(error, Err(DialError::Exhausted(_))), "{error:?}");
}

#[tokio::test]
async fn addresses_of_a_family_that_may_not_be_used_are_left_out() {
    let (_listener, addr) = listener(LOOPBACK).await;
    let only_v6 = Options {
        family: Family::V6,
        ..Options::default()
    };
    let from_v6 = Options {
        local_address: Some(LocalAddress::Only(Ipv6Addr::LOCALHOST.into())),
        ..Options::default()
    };
    for options in [only_v6, from_v6] {
        let error = dialler_with(Table::default(), options)
            .0
            .open(&Target::Addr(addr), &AddressRules::open())
            .await;
        assert!(
            matches!(
                error,
                Err(DialError::WrongFamily {
                    family: Family::V6,
                    ..
                })
            ),
            "{error:?}"
        );
    }
    let only_v4 = Options {
        family: Family::V4,
        ..Options::default()
    };
    let answer = Ok(vec!["::1".parse().unwrap(), LOOPBACK]);
    let table = Table {
        answers: HashMap::from([("a.example", vec![answer])]),
        ..Table::default()
    };
    let dialled = dialler_with(table, only_v4)
        .0
        .open(&a_example(addr.port()), &AddressRules::open())
        .await
        .unwrap();
    assert_eq!(dialled.peer, Some(addr));
}

#[tokio::test]
async fn a_literal_address_is_checked() {
    let (_listener, addr) = listener(LOOPBACK).await;
    let error = dialler()
        .open(&Target::Addr(addr), &AddressRules::guarded())
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            DialError::Denied(Denied {
                reason: Reason::Guard("a loopback address"),
                ..
            })
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_name_that_resolves_to_denied_addresses_only_is_denied() {
    let (_listener, addr) = listener(LOOPBACK).await;
    for ip in [
        "127.0.0.1",
        "::ffff:127.0.0.1",
        "::1",
        "169.254.169.254",
        "64:ff9b::7f00:1",
    ] {
        let error = dialler_for(&[ip])
            .open(&a_example(addr.port()), &AddressRules::guarded())
            .await
            .unwrap_err();
        let DialError::Denied(denied) = error else {
            panic!("{ip}: {error:?}")
        };
        assert_eq!(denied.addr.ip(), ip.parse::<IpAddr>().unwrap());
    }
}

#[tokio::test]
async fn of_a_mixed_answer_only_the_addresses_that_pass_are_tried() {
    // The denied address listens, so it would win a race that included it.
    let (_denied, addr) = listener("127.0.0.2".parse().unwrap()).await;
    let rules = guarded(&[("127.0.0.1/32", true)]);
    let dialler = dialler_for(&["127.0.0.2", "10.0.0.1", "::1", "127.0.0.1"]);
    let error = dialler
        .open(&a_example(addr.port()), &rules)
        .await
        .unwrap_err();
    let DialError::Refused {
        addr: refused,
        tried: 1,
    } = error
    else {
        panic!("{error:?}")
    };
    assert_eq!(
        refused,
        Target::Addr(SocketAddr::new(LOOPBACK, addr.port()))
    );
}

#[test]
fn public_addresses_pass_beside_private_ones() {
    let addrs = ["10.0.0.1:80", "8.8.8.8:80", "[::1]:80", "[2606:4700::1]:80"]
        .map(|text| text.parse().unwrap());
    let passed = check_all(&addrs, &AddressRules::guarded()).unwrap();
    assert_eq!(
        passed.iter().map(CheckedAddr::addr).collect::<Vec<_>>(),
        [addrs[1], addrs[3]]
    );
    assert_eq!(
        check_all(&addrs[..1], &AddressRules::guarded())
            .unwrap_err()
            .addr,
        addrs[0]
    );
}

#[tokio::test]
async fn a_name_that_changes_its_answer_cannot_bypass_the_check() {
    let (allowed, addr) = listener(LOOPBACK).await;
    let _denied = TcpListener::bind(("127.0.0.2", addr.port())).await;
    let answers = vec![Ok(vec![LOOPBACK]), Ok(vec!["127.0.0.2".parse().unwrap()])];
    let table = Table {
        answers: HashMap::from([("a.example", answers)]),
        ..Table::default()
    };
    let (dialler, table) = dialler_with(table, Options::default());
    let rules = guarded(&[("127.0.0.1/32", true)]);
    let dialled = dialler.open(&a_example(addr.port()), &rules).await.unwrap();
    assert_eq!(dialled.peer, Some(addr));
    assert_eq!(dialled.stream.as_tcp().unwrap().peer_addr().unwrap(), addr);
    assert_eq!(table.queries.load(Ordering::SeqCst), 1);
    drop(allowed);
}

#[tokio::test]
async fn failures_of_the_resolver_are_distinguished() {
    let fail = |error| {
        let table = Table {
            answers: HashMap::from([("a.example", vec![Err(error)])]),
            ..Table::default()
        };
        dialler_with(table, Options::default()).0
    };
    let open = AddressRules::open();
    let error = fail(ResolveError::NotFound)
        .open(&a_example(80), &open)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "`a.example` has no address: no such name is known here"
    );
    let error = fail(ResolveError::Timeout)
        .open(&a_example(80), &open)
        .await;
    assert!(
        matches!(error, Err(DialError::ResolveTimeout { .. })),
        "{error:?}"
    );
    let error = fail(ResolveError::Exhausted("too many open files".into()))
        .open(&a_example(80), &open)
        .await;
    assert!(matches!(error, Err(DialError::Exhausted(_))), "{error:?}");
    let error = unresolved("a.example".parse().unwrap(), ResolveError::Busy);
    assert!(
        matches!(error, DialError::TooManyLookups { .. }),
        "{error:?}"
    );
    let error = fail(ResolveError::Failed("try again".into()))
        .open(&a_example(80), &open)
        .await;
    assert!(
        matches!(error, Err(DialError::ResolveFailed { .. })),
        "{error:?}"
    );
}

/// A path for a socket of one test; removed at the end.
struct SocketPath(PathBuf);

impl SocketPath {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("byway-dial-{}-{name}", std::process::id())))
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test]
async fn a_unix_socket_is_opened_regardless_of_the_address_rules() {
    let path = SocketPath::new("open");
    let listener = UnixListener::bind(&path.0).unwrap();
    let rules = AddressRules {
        otherwise_allow: false,
        ..AddressRules::guarded()
    };
    let mut dialled = dialler()
        .open(&Target::Unix(path.0.clone()), &rules)
        .await
        .unwrap();
    assert_eq!((dialled.peer, dialled.local), (None, None));
    let (mut accepted, _) = listener.accept().await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut accepted, b"hi")
        .await
        .unwrap();
    let mut buf = [0; 8];
    assert_eq!(dialled.stream.read(&mut buf).await.unwrap(), Read::Data(2));
}

#[tokio::test]
async fn a_unix_socket_that_is_missing_or_not_listening_is_reported() {
    let path = SocketPath::new("gone");
    let target = Target::Unix(path.0.clone());
    let error = dialler()
        .open(&target, &AddressRules::open())
        .await
        .unwrap_err();
    assert!(matches!(error, DialError::Unreachable { .. }), "{error:?}");
    drop(UnixListener::bind(&path.0).unwrap());
    let error = dialler()
        .open(&target, &AddressRules::open())
        .await
        .unwrap_err();
    assert!(matches!(error, DialError::Refused { .. }), "{error:?}");
}

fn error_of(failures: &[(&str, io::Error)], unanswered: usize) -> DialError {
    let copy = |(addr, error): &(&str, io::Error)| {
        let error = error
            .raw_os_error()
            .map_or_else(|| error.kind().into(), io::Error::from_raw_os_error);
        (addr.parse().unwrap(), error)
    };
    most_informative(
        Lost {
            failures: failures.iter().map(copy).collect(),
            unanswered,
        },
        Duration::from_secs(10),
    )
}

#[test]
fn the_most_informative_failure_is_reported() {
    let (a, b) = ("192.0.2.1:80", "[2001:db8::1]:80");
    let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
    let unreachable = || io::Error::from(io::ErrorKind::HostUnreachable);
    let no_route = || io::Error::from(io::ErrorKind::NetworkUnreachable);
    let no_files = || io::Error::from_raw_os_error(24);
    let no_port = || io::Error::from(io::ErrorKind::AddrNotAvailable);

    assert!(matches!(
        error_of(&[(b, unreachable()), (a, refused())], 1),
        DialError::Refused { tried: 3, .. }
    ));
    assert!(matches!(
        error_of(&[(b, unreachable())], 1),
        DialError::Unreachable { tried: 2, .. }
    ));
    assert!(matches!(
        error_of(&[(b, refused()), (a, no_files())], 0),
        DialError::Exhausted(_)
    ));
    // Without IPv6, every IPv6 address fails with no route; the other address is more informative.
    assert!(matches!(
        error_of(&[(b, no_route())], 1),
        DialError::ConnectTimeout { tried: 2, .. }
    ));
    assert!(matches!(
        error_of(&[(b, no_port()), (a, refused())], 0),
        DialError::Refused { tried: 2, .. }
    ));
    assert!(matches!(
        error_of(&[(b, no_route())], 0),
        DialError::Unreachable { tried: 1, .. }
    ));
    assert!(matches!(
        error_of(&[(b, no_port())], 0),
        DialError::Exhausted(_)
    ));
    assert!(matches!(
        error_of(&[], 2),
        DialError::ConnectTimeout { tried: 2, .. }
    ));
}
