//! Load: many visitors of one service, and stalled streams beside an active one.

use byway_testkit::asking::{through_connect, through_socks5};
use byway_testkit::pattern::{MIB, Pattern, Sum};
use byway_testkit::{Gate, Launch, Origin, Program, Visitor};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::egress::TwoHop;
use super::*;

const CROWD: usize = 500;

const IDLE: usize = 2000;

/// The tests run one at a time: each of them uses the whole machine.
static ALONE: parking_lot::Mutex<()> = parking_lot::Mutex::new(());

/// The tests hold both ends of every connection.
fn raise_descriptors() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    )
    .unwrap();
    let enough = 2 * IDLE as u64 + 1500;
    assert!(
        maximum.is_none_or(|most| most >= enough),
        "this test needs {enough} descriptors (ulimit -Hn)"
    );
}

/// Every visitor sends, then every visitor receives.
#[track_caller]
fn all_echo(visitors: &mut [Visitor], round: &str) {
    for (number, visitor) in visitors.iter_mut().enumerate() {
        visitor.send(format!("{round} of {number:05}"));
    }
    for (number, visitor) in visitors.iter_mut().enumerate() {
        visitor.expect(format!("{round} of {number:05}"));
    }
}

#[test]
fn five_hundred_visitors_are_on_one_tcp_service_at_once() {
    let _alone = ALONE.lock();
    raise_descriptors();
    for carrier in CARRIERS {
        let origin = Origin::echo();
        let server = Server::start();
        let agent = Agent::tcp(&server, origin.address(), &["--carrier", carrier]);
        let mut visitors: Vec<_> = (0..CROWD)
            .map(|_| Visitor::connect(agent.address()))
            .collect();
        for round in ["first", "second"] {
            all_echo(&mut visitors, round);
        }
        assert_eq!(origin.connections(), CROWD, "{carrier}");
        drop(visitors);
        origin.wait_for_ended(CROWD);
    }
}

#[test]
fn a_public_end_with_few_descriptors_reserves_none_for_upstreams_that_need_none() {
    const AT_ONCE: usize = 120;
    let _alone = ALONE.lock();
    raise_descriptors();
    let origin = Origin::echo();
    let args = ["serve", "--listen", ANY, "--advertise", "127.0.0.1"];
    let program = Launch::new(BYWAY, &args).with_descriptors(1024).start();
    let join = join_string(&program);
    let server = Server { program, join };
    let agent = Agent::tcp(&server, origin.address(), &[]);
    let connect = || {
        (0..AT_ONCE)
            .map(|_| Visitor::connect(agent.address()))
            .collect::<Vec<_>>()
    };
    let mut first = connect();
    all_echo(&mut first, "at once");
    // Some of these wait in the kernel's queue until others have closed.
    let mut second = connect();
    second.extend(connect());
    assert!(
        server.program.sockets() < 512,
        "{} sockets",
        server.program.sockets()
    );
    drop(first);
    second.truncate(AT_ONCE);
    all_echo(&mut second, "behind them");
    assert_eq!(server.program.stderr().matches("cannot accept").count(), 0);
}

#[test]
fn five_hundred_visitors_are_on_one_http_service_at_once() {
    let _alone = ALONE.lock();
    raise_descriptors();
    for carrier in CARRIERS {
        let origin = Origin::useful();
        let server = Server::start();
        let _agent = Agent::http(&server, "app", origin.address(), &["--carrier", carrier]);
        let mut visitors: Vec<_> = (0..CROWD)
            .map(|_| Visitor::connect(server.http()))
            .collect();
        for _ in 0..2 {
            for visitor in &mut visitors {
                visitor.send("GET /bytes/20000 HTTP/1.1\r\nHost: app.t.localhost\r\n\r\n");
            }
            for visitor in &mut visitors {
                let answer = visitor.response();
                assert_eq!(
                    (answer.status(), answer.body.len()),
                    (200, 20_000),
                    "{carrier}"
                );
            }
        }
    }
}

/// A tunnel, alternately by SOCKS5 and by CONNECT.
#[track_caller]
fn tunnel(number: usize, desk: SocketAddr, to: SocketAddr) -> Visitor {
    if number.is_multiple_of(2) {
        through_socks5(desk, to)
    } else {
        through_connect(desk, to)
    }
}

#[test]
fn many_connections_through_a_desk_work_at_once_and_cost_little_while_they_are_idle() {
    let _alone = ALONE.lock();
    raise_descriptors();
    for carrier in CARRIERS {
        let origin = Origin::echo();
        let nodes = TwoHop::start(carrier, &["--allow", "127.0.0.0/8"]);
        let rss = || {
            [("desk", &nodes.desk), ("exit", &nodes.exit)]
                .map(|(name, node)| (name, node.rss_kib()))
        };
        let before = rss();
        let mut visitors: Vec<_> = (0..CROWD)
            .map(|n| tunnel(n, nodes.address(), origin.address()))
            .collect();
        all_echo(&mut visitors, "five hundred");
        visitors.extend((CROWD..IDLE).map(|n| tunnel(n, nodes.address(), origin.address())));
        origin.wait_for_connections(IDLE);
        report(
            &format!("{IDLE} idle streams over {carrier}"),
            before,
            rss(),
        );
        all_echo(&mut visitors, "all visitors");
        report(
            &format!("{IDLE} streams over {carrier} that have moved bytes"),
            before,
            rss(),
        );
        drop(visitors);
        origin.wait_for_ended(IDLE);
    }
}

#[track_caller]
fn report(what: &str, before: [(&str, u64); 2], now: [(&str, u64); 2]) {
    for ((name, before), (_, now)) in before.into_iter().zip(now) {
        let each = now.saturating_sub(before) / IDLE as u64;
        eprintln!("{what}: {name} {now} KiB resident, {before} KiB before, {each} KiB each");
        // This is a debug build. The lab measures release builds.
        assert!(each < 64, "{what}: {name} needs {each} KiB for each");
    }
}

/// A visitor that requests `bytes` bytes, reads the head of the answer, and pauses.
#[track_caller]
fn request_and_pause(address: SocketAddr, bytes: u64) -> Visitor {
    let mut visitor = Visitor::connect(address);
    visitor.send(format!("GET /bytes/{bytes} HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_eq!(visitor.head().expect("an answer").status(), 200);
    visitor
}

#[test]
fn thirty_paused_visitors_of_a_service_do_not_delay_another() {
    const PAUSED: usize = 30;
    const ACTIVE: u64 = 64 * MIB;
    let _alone = ALONE.lock();
    let expected = Pattern::sha256(ACTIVE);
    for carrier in CARRIERS {
        let origin = Origin::useful();
        let server = Server::start();
        let agent = Agent::tcp(&server, origin.address(), &["--carrier", carrier]);
        let nodes = [("server", &server.program), ("agent", &agent.program)];
        let before = nodes.map(|(_, node)| node.rss_kib());
        let mut paused: Vec<_> = (0..PAUSED)
            .map(|_| request_and_pause(agent.address(), ACTIVE))
            .collect();
        let mut active = request_and_pause(agent.address(), ACTIVE);
        let mut sum = Sum::new();
        active.exactly_each(ACTIVE, |bytes| sum.add(bytes));
        assert_eq!(sum.hex(), expected, "{carrier}");
        for ((name, node), before) in nodes.into_iter().zip(before) {
            let what = format!("{PAUSED} paused visitors and 1 active over {carrier}: {name}");
            memory_is_bounded(&what, node, before, PAUSED as u64 * ACTIVE);
        }
        // A paused one gets every byte once it reads again.
        let mut sum = Sum::new();
        paused[PAUSED / 2].exactly_each(ACTIVE, |bytes| sum.add(bytes));
        assert_eq!(sum.hex(), expected, "{carrier}: a paused one");
    }
}

#[test]
fn an_unread_upload_does_not_delay_another_visitor() {
    let _alone = ALONE.lock();
    for carrier in CARRIERS {
        let over = Gate::new();
        let until = over.clone();
        let stuck = Origin::scripted(move |_| until.wait());
        let useful = Origin::useful();
        let server = Server::start();
        let config = [("stuck", &stuck), ("useful", &useful)].map(|(name, origin)| {
            format!(
                "[[expose]]\nname = \"{name}\"\ntcp = \"{}\"\njoin = \"{}\"\ncarrier = \"{carrier}\"\n",
                origin.address(),
                server.join
            )
        });
        let agent = Program::configured(BYWAY, &config.concat());
        let public = |name: &str| -> SocketAddr {
            let line = agent.wait_for_log(&format!("`{name}` is public at "));
            line.rsplit(' ').next().unwrap().parse().unwrap()
        };
        let block = vec![3; 32 * MIB as usize];
        let mut pushing: Vec<_> = (0..5).map(|_| Visitor::connect(public("stuck"))).collect();
        for visitor in &mut pushing {
            let taken = visitor.send_until_full(&block, std::time::Duration::from_millis(200));
            assert!(
                taken < block.len(),
                "{carrier}: {taken} bytes were taken and not read"
            );
        }
        let mut sum = Sum::new();
        request_and_pause(public("useful"), 16 * MIB)
            .exactly_each(16 * MIB, |bytes| sum.add(bytes));
        assert_eq!(sum.hex(), Pattern::sha256(16 * MIB), "{carrier}");
        over.open();
    }
}
