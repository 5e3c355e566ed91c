//! Metrics: whether links are up, and how many visitors wait for one.

use std::collections::BTreeMap;

use byway_testkit::{Origin, Program, Visitor, eventually};

use super::*;

/// A section that enables the metrics.
pub(super) const METRICS: &str = "[metrics]\nlisten = \"127.0.0.1:0\"\n";

/// The metrics, by name and labels.
pub(super) fn scrape(program: &Program) -> BTreeMap<String, f64> {
    let answer = Visitor::connect(program.address_of("metrics"))
        .ask("GET /metrics HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n");
    let text = answer.text();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(name, value)| (name.into(), value.parse().unwrap()))
        .collect()
}

fn link_up(metrics: &BTreeMap<String, f64>) -> f64 {
    let mut links = metrics
        .iter()
        .filter(|(name, _)| name.starts_with("byway_link_up{link="));
    let (name, up) = links.next().unwrap();
    assert!(!name.contains("by1."), "{name}: a secret");
    assert!(links.next().is_none());
    *up
}

#[test]
fn the_metrics_of_an_agent_show_whether_its_link_is_up_and_its_services_are_public() {
    let origin = Origin::named("app");
    let server = Server::start();
    let expose = |name: &str, more: &str| {
        format!(
            "[[expose]]\nname = \"{name}\"\n{more} = \"{}\"\njoin = \"{}\"\n",
            origin.address(),
            server.join
        )
    };
    let agent = Program::configured(
        BYWAY,
        &format!(
            "{METRICS}{}{}",
            expose("app", "http"),
            expose("low", "port = 80\ntcp")
        ),
    );
    agent.wait_for_log("`app` is public at ");
    let state = |metrics: &BTreeMap<String, f64>| {
        ["public", "refused", "waiting"]
            .map(|state| metrics[&format!("byway_services{{state=\"{state}\"}}")])
    };
    eventually("the services have their answers", || {
        state(&scrape(&agent)) == [1.0, 1.0, 0.0]
    });
    let metrics = scrape(&agent);
    assert_eq!(link_up(&metrics), 1.0);
    assert_eq!(metrics["byway_link_dials_total{outcome=\"up\"}"], 1.0);
    let carriers = |name: &str| {
        let family = format!("byway_link_carrier_{name}{{link=");
        let metrics = scrape(&agent)
            .into_iter()
            .filter(|(name, _)| name.starts_with(&family));
        metrics.map(|(_, value)| value).collect::<Vec<_>>()
    };
    assert_eq!(carriers("preferred"), [1.0]);
    eventually("the round trip was measured", || {
        carriers("rtt_seconds")
            .first()
            .is_some_and(|rtt| *rtt > 0.0)
    });
    assert_eq!(carriers("goodput_bytes").len(), 1);
    server.program.signal(rustix::process::Signal::KILL);
    server.program.wait();
    eventually("the link is down", || {
        let metrics = scrape(&agent);
        link_up(&metrics) == 0.0 && metrics["byway_link_dials_total{outcome=\"failed\"}"] >= 1.0
    });
    assert_eq!(state(&scrape(&agent)), [0.0, 0.0, 2.0]);
}

#[test]
fn the_metrics_of_a_public_end_and_an_exit_show_the_carriers_of_their_links() {
    let origin = Origin::named("app");
    let serve = format!("{METRICS}[[serve]]\nlisten = \"{ANY}\"\nadvertise = \"127.0.0.1\"\n");
    let program = Program::configured(BYWAY, &serve);
    let join = std::fs::read_to_string(program.folder().join("state/join-serve"))
        .unwrap()
        .trim()
        .to_owned();
    let server = Server { program, join };
    let other = ports::another_grant(&server, &[]);
    let target = origin.address().to_string();
    // Two agents of one grant, and one of another.
    let agents = [
        (&server.join, "quic"),
        (&server.join, "quic"),
        (&other, "tls"),
    ];
    let _agents = agents.map(|(join, carrier)| {
        Agent::start(&["tcp", &target, "--join", join, "--carrier", carrier])
    });
    let carriers = |program: &Program, name: &str, join: &str, carrier: &str| {
        let grant = join.parse::<byway_link::JoinString>().unwrap().id;
        let series =
            format!("byway_link_carrier_{name}{{link=\"grant {grant}\",carrier=\"{carrier}\"}}");
        scrape(program).get(&series).copied()
    };
    let of = |name: &str| {
        [(&server.join, "quic"), (&other, "tls")]
            .map(|(join, by)| carriers(&server.program, name, join, by))
    };
    assert_eq!(of("preferred"), [Some(2.0), Some(1.0)]);
    eventually("the round trips were measured", || {
        of("rtt_seconds")
            .iter()
            .flatten()
            .filter(|rtt| **rtt > 0.0)
            .count()
            == 2
    });
    assert!(of("goodput_bytes").iter().all(Option::is_some));
    assert!(of("congestion_window_bytes")[0].is_some_and(|bytes| bytes > 0.0));

    let exit = Program::configured(BYWAY, &serve.replace("[[serve]]", "[[exit]]"));
    let join = std::fs::read_to_string(exit.folder().join("state/join-exit"))
        .unwrap()
        .trim()
        .to_owned();
    let desk = Program::start(
        BYWAY,
        &["proxy", "join", &join, "--listen", ANY, "--carrier", "quic"],
    );
    desk.wait_for_log("is up, by quic");
    assert_eq!(carriers(&exit, "preferred", &join, "quic"), Some(1.0));
    eventually("the round trip was measured", || {
        carriers(&exit, "rtt_seconds", &join, "quic").is_some_and(|rtt| rtt > 0.0)
    });
}

#[test]
fn a_link_whose_peer_is_silent_is_not_shown_as_up() {
    let origin = Origin::named("app");
    let server = Server::start();
    let expose = format!(
        "[[expose]]\nname = \"app\"\nhttp = \"{}\"\njoin = \"{}\"\n",
        origin.address(),
        server.join
    );
    let agent = Program::configured(BYWAY, &format!("{METRICS}{expose}"));
    agent.wait_for_log("`app` is public at ");
    server.program.signal(rustix::process::Signal::STOP);
    eventually("the session exists and is silent", || {
        let metrics = scrape(&agent);
        link_up(&metrics) == 0.0 && metrics["byway_services{state=\"public\"}"] == 1.0
    });
    server.program.signal(rustix::process::Signal::CONT);
    eventually("the link answers again", || link_up(&scrape(&agent)) == 1.0);
}

#[test]
fn the_metrics_of_a_public_end_count_the_parked_visitors() {
    let origin = Origin::named("app");
    let config = format!(
        "{METRICS}[[serve]]\nlisten = \"{ANY}\"\nhttp = \"{ANY}\"\ndomain = \"t.localhost\"\nadvertise = \
         \"127.0.0.1\"\n"
    );
    let program = Program::configured(BYWAY, &config);
    let join = std::fs::read_to_string(program.folder().join("state/join-serve"))
        .unwrap()
        .trim()
        .to_owned();
    let server = Server { program, join };
    let agent = Agent::http(&server, "app", origin.address(), &[]);
    let before = scrape(&server.program);
    assert_eq!(
        (before["byway_parked"], before["byway_state_unwritten"]),
        (0.0, 0.0)
    );
    agent.kill();
    server.program.wait_for_log("link is down");
    let mut visitors: Vec<Visitor> = (0..2).map(|_| Visitor::connect(server.http())).collect();
    for visitor in &mut visitors {
        visitor.send("GET / HTTP/1.1\r\nHost: app.t.localhost\r\n\r\n");
    }
    eventually("both wait", || {
        scrape(&server.program)["byway_parked"] == 2.0
    });
    drop(visitors);
    eventually("both have left", || {
        scrape(&server.program)["byway_parked"] == 0.0
    });
}

#[test]
fn names_that_could_not_be_written_are_written_later() {
    let origin = Origin::named("app");
    let config = format!("{METRICS}[[serve]]\nlisten = \"{ANY}\"\nadvertise = \"127.0.0.1\"\n");
    let program = Program::configured(BYWAY, &config);
    let join = std::fs::read_to_string(program.folder().join("state/join-serve"))
        .unwrap()
        .trim()
        .to_owned();
    let server = Server { program, join };
    let state = server.program.folder().join("state");
    let names = state.join("names");
    // A folder in place of the file, which cannot be replaced.
    std::fs::create_dir_all(&names).unwrap();
    let _agent = Agent::tcp(&server, origin.address(), &[]);
    eventually("a write has failed", || {
        scrape(&server.program)["byway_state_unwritten"] == 1.0
    });
    std::fs::remove_dir(&names).unwrap();
    eventually("it was written", || {
        scrape(&server.program)["byway_state_unwritten"] == 0.0
    });
    server.program.wait_for_log("was written after a failure");
    assert!(names.is_file());
}
