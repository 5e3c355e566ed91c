//! Source 002: the reverse tunnel, and its two open questions: closing the other side quickly, and
//! retrying well.

use std::path::Path;

use byway_testkit::wire::Ending;
use rustix::process::Signal;
use tempfile::TempDir;

use super::*;

/// State folders in which both ends keep keys and names across restarts.
struct Tunnel {
    states: TempDir,
    carrier: &'static str,
    service: SocketAddr,
}

impl Tunnel {
    fn to(service: SocketAddr, carrier: &'static str) -> Self {
        Self {
            states: tempfile::tempdir().unwrap(),
            carrier,
            service,
        }
    }

    /// The public server; for a restart at its earlier address `listen`.
    fn server(&self, listen: Option<SocketAddr>) -> Program {
        let text = example("002-natrp-server", &[]);
        let text = match listen {
            Some(address) => text.replace("127.0.0.1:0", &address.to_string()),
            None => text,
        };
        started(&text, &self.states.path().join("server"))
    }

    /// The client behind NAT, and the public address.
    fn agent(&self) -> (Program, SocketAddr) {
        let join = self
            .states
            .path()
            .join("server/join-serve")
            .display()
            .to_string();
        let given = [
            ("127.0.0.1:8000", self.service.to_string()),
            ("/tmp/byway-natrp/server/join-serve", join),
            ("auto", self.carrier.to_owned()),
        ];
        let agent = started(
            &example("002-natrp-agent", &given),
            &self.states.path().join("agent"),
        );
        let line = agent.wait_for_log("is public at ");
        let public = line.rsplit(' ').next().unwrap().parse().unwrap();
        (agent, public)
    }
}

/// `byway run -c … --state …`, as the example says.
fn started(config: &str, state: &Path) -> Program {
    let config_file = state.with_extension("toml");
    std::fs::write(&config_file, config).unwrap();
    let (config_file, state) = (
        config_file.display().to_string(),
        state.display().to_string(),
    );
    Program::start(BYWAY, &["run", "-c", &config_file, "--state", &state])
}

/// Both ends, over each carrier.
fn through_each(service: SocketAddr, check: impl Fn(SocketAddr)) {
    for carrier in CARRIERS {
        let tunnel = Tunnel::to(service, carrier);
        let _server = tunnel.server(None);
        let (_agent, public) = tunnel.agent();
        check(public);
    }
}

fn killed(program: Program) {
    program.signal(Signal::KILL);
    program.wait();
}

#[test]
fn a_visitor_that_has_finished_still_gets_its_answer() {
    let service = Origin::scripted(|stream| {
        let (received, ending) = stream.to_end();
        assert_eq!(
            (received.as_slice(), ending),
            (b"question".as_slice(), Ending::Fin)
        );
        stream.send("answer");
    });
    through_each(service.address(), |public| {
        let mut visitor = Visitor::connect(public);
        visitor.send("question").finish();
        assert_eq!(visitor.to_end(), (b"answer".to_vec(), Ending::Fin));
    });
}

#[test]
fn a_visitor_that_resets_is_a_reset_for_the_service_at_once() {
    let (ended, endings) = std::sync::mpsc::channel();
    let service = Origin::scripted(move |stream| {
        stream.send("hello");
        ended.send(stream.to_end()).unwrap();
    });
    through_each(service.address(), |public| {
        let mut visitor = Visitor::connect(public);
        visitor.expect("hello");
        visitor.reset();
        assert_eq!(endings.recv().unwrap(), (Vec::new(), Ending::Reset));
    });
}

#[test]
fn a_service_that_resets_is_a_reset_for_the_visitor_and_one_that_closes_is_a_close_after_its_last_byte()
 {
    let resets = Origin::scripted(|stream| {
        stream.fill();
        stream.reset_now();
    });
    through_each(resets.address(), |public| {
        let mut visitor = Visitor::connect(public);
        visitor.send("x");
        assert_eq!(visitor.to_end().1, Ending::Reset);
    });
    let closes = Origin::scripted(|stream| {
        stream.send("last words");
    });
    through_each(closes.address(), |public| {
        let mut visitor = Visitor::connect(public);
        visitor.finish();
        assert_eq!(visitor.to_end(), (b"last words".to_vec(), Ending::Fin));
    });
}

#[test]
fn many_visitors_are_served_at_once_where_the_source_serves_one() {
    for carrier in CARRIERS {
        let service = Origin::echo();
        let tunnel = Tunnel::to(service.address(), carrier);
        let _server = tunnel.server(None);
        let (_agent, public) = tunnel.agent();
        let mut visitors: Vec<_> = (0..20).map(|_| Visitor::connect(public)).collect();
        for (number, visitor) in visitors.iter_mut().enumerate() {
            visitor.send(format!("visitor {number:02}"));
        }
        service.wait_for_connections(20);
        for (number, visitor) in visitors.iter_mut().enumerate().rev() {
            visitor.expect(format!("visitor {number:02}"));
        }
    }
}

#[test]
fn a_visitor_of_a_service_that_is_down_is_refused_and_the_port_stays() {
    let (refusing, _socket) = Origin::refusing();
    through_each(refusing, |public| {
        for _ in 0..2 {
            let mut visitor = Visitor::connect(public);
            assert_eq!(visitor.ended(), Ending::Reset);
        }
    });
}

#[test]
fn a_restarted_client_gets_its_port_back_and_serves_the_parked_visitor() {
    for carrier in CARRIERS {
        let service = Origin::named("at home");
        let tunnel = Tunnel::to(service.address(), carrier);
        let _server = tunnel.server(None);
        let (agent, public) = tunnel.agent();
        killed(agent);
        // At this point the source has closed its listener.
        let mut early = Visitor::connect(public);
        early.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let (_agent, again) = tunnel.agent();
        assert_eq!(again, public, "{carrier}");
        assert_eq!(early.response().text(), "at home", "{carrier}");
    }
}

#[test]
fn a_client_reconnects_after_its_server_was_killed_and_restarted() {
    for carrier in CARRIERS {
        let service = Origin::named("at home");
        let tunnel = Tunnel::to(service.address(), carrier);
        let server = tunnel.server(None);
        let (agent, public) = tunnel.agent();
        let listen = server.address();
        killed(server);
        // Only until the agent has noticed: another program could take the port while no server has
        // it.
        agent.wait_for_log(if carrier == "quic" {
            "quic does not answer"
        } else {
            "trying again in "
        });
        let server = tunnel.server(Some(listen));
        // The server opened the port again from its stored names.
        server.wait_for_log("is public at ");
        assert_eq!(
            Visitor::connect(public).get("/").text(),
            "at home",
            "{carrier}"
        );
    }
}
