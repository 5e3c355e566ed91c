//! Reload: what a new config changes for links, and what it does not touch.
//!
//! In:    SIGHUP to an agent.
//! Out:   the effects on its services and their visitors.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use byway_testkit::{Origin, Program, Visitor, eventually};
use rustix::process::Signal;

use super::outages::state;
use super::*;

fn expose(name: &str, what: &str, to: &Origin, join: &str) -> String {
    format!(
        "[[expose]]\nname = \"{name}\"\n{what} = \"{}\"\njoin = \"{join}\"\n",
        to.address()
    )
}

#[test]
fn a_reload_keeps_open_connections_of_unchanged_services_and_withdraws_the_others() {
    let (echo, web, other) = (Origin::echo(), Origin::named("web"), Origin::named("other"));
    let server = Server::start();
    let raw = expose("raw", "tcp", &echo, &server.join);
    let old = format!("{raw}{}", expose("web", "http", &web, &server.join));
    let agent = Program::configured(BYWAY, &old);
    let public = agent.wait_for_log("`raw` is public at ");
    agent.wait_for_log("`web` is public at ");
    let mut visitor = Visitor::connect(public.rsplit(' ').next().unwrap().parse().unwrap());
    visitor.send("before");
    assert_eq!(visitor.exactly(6), b"before");
    assert_eq!(server.ask("web", "GET /").text(), "web");

    agent.reload(&format!(
        "{raw}{}",
        expose("other", "http", &other, &server.join)
    ));
    agent.wait_for_log("`other` is public at ");
    assert_eq!(server.ask("other", "GET /").text(), "other");
    let gone = server.ask("web", "GET /");
    assert_eq!(gone.status(), 404, "{gone:?}");
    visitor.send("behind");
    assert_eq!(visitor.exactly(6), b"behind");
    assert_eq!(
        links_of(&server, ["`raw`", "`web`", "`other`"]),
        1,
        "{}",
        server.program.stderr()
    );

    // A config without any of them closes the link and all its streams.
    agent.reload("[[tcp]]\nlisten = \"127.0.0.1:0\"\nto = \"127.0.0.1:1\"\n");
    server.program.wait_for_log("link is down");
}

/// Whether a program listens on this UDP address, according to the system.
fn has_udp(address: SocketAddr) -> bool {
    std::net::UdpSocket::bind(address)
        .is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse)
}

#[test]
fn a_reload_opens_and_closes_the_udp_socket_of_an_address_for_links() {
    let origin = Origin::named("through");
    let listen = format!("127.0.0.1:{}", free_port());
    let address: SocketAddr = listen.parse().unwrap();
    let forward = format!(
        "[[tcp]]\nlisten = \"{listen}\"\nto = \"{}\"\n",
        origin.address()
    );
    let serve = format!("[[serve]]\nlisten = \"{listen}\"\nadvertise = \"127.0.0.1\"\n");
    let node = Program::configured(BYWAY, &forward);
    assert_eq!(greeting(address), "through");
    assert!(!has_udp(address));

    assert!(
        node.reload(&serve).contains("reloaded"),
        "{}",
        node.stderr()
    );
    let join = std::fs::read_to_string(node.folder().join("state").join("join-serve")).unwrap();
    let agents = CARRIERS.map(|carrier| {
        let to = origin.address().to_string();
        let agent = Agent::start(&[
            "tcp",
            &to,
            "--name",
            carrier,
            "--join",
            join.trim(),
            "--carrier",
            carrier,
        ]);
        assert_eq!(greeting(agent.address()), "through", "{carrier}");
        agent
    });

    assert!(
        node.reload(&forward).contains("reloaded"),
        "{}",
        node.stderr()
    );
    for agent in &agents {
        agent.program.wait_for_log("the other side is leaving");
    }
    assert_eq!(greeting(address), "through");
    eventually("the UDP socket is closed", || !has_udp(address));
    assert!(
        !node.stderr().contains("in use over UDP"),
        "{}",
        node.stderr()
    );
}

#[test]
fn a_serve_address_that_becomes_an_exit_ends_its_old_sessions_and_serves_as_an_exit() {
    let origin = Origin::named("through");
    let listen = format!("127.0.0.1:{}", free_port());
    let serve = format!("[[serve]]\nlisten = \"{listen}\"\nadvertise = \"127.0.0.1\"\n");
    let exit = format!(
        "[[exit]]\nlisten = \"{listen}\"\nadvertise = \"127.0.0.1\"\n[[exit.rule]]\n\
         action = \"allow\"\ncidr = [\"127.0.0.0/8\"]\n"
    );
    let node = Program::configured(BYWAY, &serve);
    let join = std::fs::read_to_string(node.folder().join("state").join("join-serve")).unwrap();
    let agent = Agent::start(&["tcp", &origin.address().to_string(), "--join", join.trim()]);
    assert_eq!(greeting(agent.address()), "through");

    assert!(node.reload(&exit).contains("reloaded"), "{}", node.stderr());
    agent.program.wait_for_log("the other side is leaving");
    let join = std::fs::read_to_string(node.folder().join("state").join("join-exit")).unwrap();
    let desk = Program::start(BYWAY, &["proxy", "join", join.trim(), "--listen", ANY]);
    let to = origin.address();
    let answer = Visitor::connect(desk.address())
        .ask(&format!("GET http://{to}/ HTTP/1.1\r\nHost: {to}\r\n\r\n"));
    assert_eq!(answer.text(), "through");
}

fn by(carrier: &str, exposed: String) -> String {
    format!("{exposed}carrier = \"{carrier}\"\n")
}

/// Runs `what` while visitors request the HTTP services `names` continuously. None of them may get
/// an error.
fn visited<T>(server: &Server, names: &[&str], what: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let visitors: Vec<_> = names
            .iter()
            .map(|name| {
                let over = &over;
                scope.spawn(move || {
                    let mut visits = 0;
                    while !over.load(SeqCst) || visits == 0 {
                        let answer = server.ask(name, "GET /");
                        assert_eq!(
                            (answer.status(), answer.text().as_str()),
                            (200, *name),
                            "visit {visits}"
                        );
                        visits += 1;
                    }
                })
            })
            .collect();
        // Also if `what` panics: otherwise the visitors would never stop.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(what));
        over.store(true, SeqCst);
        let result = result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        visitors
            .into_iter()
            .for_each(|visitor| visitor.join().expect("a visitor"));
        result
    })
}

/// A public end that was killed and started again, so that the sessions of its agents are not their
/// first.
fn restarted(start: impl Fn(&Server) -> Program) -> (tempfile::TempDir, Server, Program) {
    let (folder, state) = state();
    let server = Server::with(ANY, ANY, &["--state", &state]);
    let agent = start(&server);
    let (link, http) = (server.link().to_string(), server.http().to_string());
    server.program.signal(Signal::KILL);
    server.program.wait();
    let server = Server::with(&link, &http, &["--state", &state]);
    (folder, server, agent)
}

#[test]
fn a_reload_that_changes_the_carrier_of_a_link_keeps_its_services_and_open_streams() {
    let (echo, web) = (Origin::echo(), Origin::named("web"));
    for (old, new) in [("quic", "tls"), ("tls", "quic")] {
        let config = |server: &Server, carrier| {
            let raw = by(carrier, expose("raw", "tcp", &echo, &server.join));
            format!(
                "{raw}{}",
                by(carrier, expose("web", "http", &web, &server.join))
            )
        };
        let (_folder, server, agent) = restarted(|server| {
            let agent = Program::configured(BYWAY, &config(server, old));
            agent.wait_for_log("`raw` is public at ");
            agent.wait_for_log("`web` is public at ");
            agent
        });
        server.program.wait_for_log("`raw` is public at ");
        server.program.wait_for_log("`web` is public at ");
        let public = agent.wait_for_log("`raw` is public at ");
        let mut open = Visitor::connect(public.rsplit(' ').next().unwrap().parse().unwrap());
        open.send("before");
        open.expect("before");
        visited(&server, &["web"], || {
            agent.reload(&config(&server, new));
            server
                .program
                .wait_for_log(&format!("link is up, by {new}"));
            server.program.wait_for_log("the other side leaves: ");
        });
        open.send("behind");
        open.expect("behind");
        assert!(
            !agent.stderr().contains("is not public"),
            "{}",
            agent.stderr()
        );
        assert!(
            !server.program.stderr().contains("link is down"),
            "{}",
            server.program.stderr()
        );
        drop(open);
        server.program.wait_for_log("link is down");
        assert_eq!(server.ask("web", "GET /").text(), "web");
    }
}

#[test]
fn services_that_are_swapped_between_two_links_stay_public() {
    let [one, other] = ["one", "other"].map(Origin::named);
    let config = |server: &Server, carriers: [&str; 2]| {
        let one = by(carriers[0], expose("one", "http", &one, &server.join));
        format!(
            "{one}{}",
            by(carriers[1], expose("other", "http", &other, &server.join))
        )
    };
    let (_folder, server, agent) = restarted(|server| {
        let agent = Program::configured(BYWAY, &config(server, CARRIERS));
        agent.wait_for_log("`one` is public at ");
        agent.wait_for_log("`other` is public at ");
        agent
    });
    let mut carriers = CARRIERS;
    for round in 1..=4 {
        carriers.reverse();
        visited(&server, &["one", "other"], || {
            let registered = |name: &str| {
                server
                    .program
                    .stderr()
                    .matches(&format!("`{name}` is public at"))
                    .count()
            };
            let before = ["one", "other"].map(registered);
            agent.reload(&config(&server, carriers));
            eventually("both have moved", || {
                let now = ["one", "other"].map(registered);
                now.iter().zip(before).all(|(now, before)| *now > before)
            });
        });
        assert!(
            !agent.stderr().contains("is not public"),
            "round {round}: {}",
            agent.stderr()
        );
    }
    assert_eq!(server.ask("one", "GET /").text(), "one");
}

#[test]
fn a_service_with_a_new_target_stays_available_and_kept_connections_to_the_old_one_are_not_used() {
    let [old, new] = ["app", "app"].map(Origin::named);
    let server = Server::start();
    let agent = Program::configured(BYWAY, &expose("app", "http", &old, &server.join));
    agent.wait_for_log("`app` is public at ");
    visited(&server, &["app"], || {
        agent.reload(&expose("app", "http", &new, &server.join));
        new.wait_for_requests(1);
    });
    let (served_old, served_new) = (old.requests().len(), new.requests().len());
    for _ in 0..8 {
        assert_eq!(server.ask("app", "GET /").text(), "app");
    }
    assert_eq!(
        (old.requests().len(), new.requests().len()),
        (served_old, served_new + 8)
    );
}
