//! Many: agents with as many services as a grant allows.

use byway_testkit::{Origin, Program};

use super::outages::{another_grant, state};
use super::*;

/// The most services of one grant.
const MOST: usize = 256;

/// A config that exposes `count` HTTP services, named `PREFIX-NUMBER`.
fn exposing(prefix: &str, count: usize, to: &Origin, join: &str, carrier: &str) -> String {
    let one = |n| {
        let to = to.address();
        format!(
            "[[expose]]\nname = \"{prefix}-{n}\"\nhttp = \"{to}\"\njoin = \"{join}\"\ncarrier = \"{carrier}\"\n"
        )
    };
    (0..count).map(one).collect()
}

/// Waits until all of them are public, which takes one session.
#[track_caller]
fn all_are_public(server: &Server, agent: &Program, prefix: &str, count: usize) {
    for n in 0..count {
        agent.wait_for_log(&format!("`{prefix}-{n}` is public at "));
    }
    for n in [0, count / 2, count - 1] {
        assert_eq!(server.ask(&format!("{prefix}-{n}"), "GET /").text(), "here");
    }
}

#[test]
fn the_most_services_that_a_grant_allows_come_up_in_one_session() {
    let origin = Origin::named("here");
    for carrier in CARRIERS {
        let server = Server::start();
        let agent = Program::configured(
            BYWAY,
            &exposing("app", MOST, &origin, &server.join, carrier),
        );
        all_are_public(&server, &agent, "app", MOST);
        assert_eq!(
            server.program.stderr().matches("link is up").count(),
            1,
            "{}",
            server.program.stderr()
        );
    }
}

#[test]
fn a_thousand_services_of_four_agents_come_up_in_one_session_each() {
    const EACH: usize = 250;
    let origin = Origin::named("here");
    let (_folder, at_server) = state();
    let server = Server::with(ANY, ANY, &["--state", &at_server]);
    let agents: Vec<_> = ["a", "b", "c", "d"]
        .into_iter()
        .enumerate()
        .map(|(n, prefix)| {
            let join = another_grant(&at_server, server.link(), &[]);
            let config = exposing(prefix, EACH, &origin, &join, CARRIERS[n % CARRIERS.len()]);
            (prefix, Program::configured(BYWAY, &config))
        })
        .collect();
    for (prefix, agent) in &agents {
        all_are_public(&server, agent, prefix, EACH);
    }
    assert_eq!(
        server.program.stderr().matches("link is up").count(),
        agents.len()
    );
}

#[test]
fn a_link_stays_up_when_all_its_services_are_refused() {
    let origin = Origin::named("unseen");
    for carrier in CARRIERS {
        // Without a domain the server only accepts TCP services.
        let args = ["serve", "--listen", ANY, "--advertise", "127.0.0.1"];
        let server = Program::start(BYWAY, &args);
        let join = join_string(&server);
        let agent = Program::configured(BYWAY, &exposing("app", MOST, &origin, &join, carrier));
        for n in 0..MOST {
            agent.wait_for_log(&format!("`app-{n}` is not public: "));
        }
        assert_eq!(
            server.stderr().matches("link is up").count(),
            1,
            "{}",
            server.stderr()
        );
    }
}
