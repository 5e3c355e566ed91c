//! Source 002: the reverse tunnel, and its two open questions: closing the other side quickly, and
//! retrying well.

use byway_testkit::wire::Ending;
use rustix::process::Signal;

use super::*;

/// Where the client looks for its local service.
const LOCAL: &str = "127.0.0.1:8000";

/// The public server.
fn server() -> Program {
    shipped("002-natrp-server")
}

/// The client behind NAT, and the public address of its service.
fn agent() -> (Program, SocketAddr) {
    let agent = shipped("002-natrp-agent");
    let line = agent.wait_for_log("is public at ");
    let public: SocketAddr = line.rsplit(' ').next().unwrap().parse().unwrap();
    // The port that getListenAddrByToken returns.
    assert_eq!(public, SocketAddr::from(([127, 0, 0, 1], 10033)));
    (agent, public)
}

/// Both ends, over each carrier.
fn through_each(check: impl Fn(SocketAddr)) {
    over_each_carrier(|carrier| {
        let _server = server();
        let (agent, public) = agent();
        agent.wait_for_log(&format!("is up, by {carrier}"));
        check(public);
    });
}

fn killed(program: Program) {
    program.signal(Signal::KILL);
    program.wait();
}

#[test]
fn a_visitor_that_has_finished_still_gets_its_answer() {
    isolated!();
    let service = Origin::scripted(|stream| {
        let (received, ending) = stream.to_end();
        assert_eq!(
            (received.as_slice(), ending),
            (b"question".as_slice(), Ending::Fin)
        );
        stream.send("answer");
    });
    let _service = service.also_at(LOCAL);
    through_each(|public| {
        let mut visitor = Visitor::connect(public);
        visitor.send("question").finish();
        assert_eq!(visitor.to_end(), (b"answer".to_vec(), Ending::Fin));
    });
}

#[test]
fn a_visitor_that_resets_is_a_reset_for_the_service_at_once() {
    isolated!();
    let (ended, endings) = std::sync::mpsc::channel();
    let service = Origin::scripted(move |stream| {
        stream.send("hello");
        ended.send(stream.to_end()).unwrap();
    });
    let _service = service.also_at(LOCAL);
    through_each(|public| {
        let mut visitor = Visitor::connect(public);
        visitor.expect("hello");
        visitor.reset();
        assert_eq!(endings.recv().unwrap(), (Vec::new(), Ending::Reset));
    });
}

#[test]
fn a_service_that_resets_is_a_reset_for_the_visitor_and_one_that_closes_is_a_close_after_its_last_byte()
 {
    isolated!();
    let service = Origin::scripted(|stream| match stream.fill() {
        true => stream.reset_now(),
        false => {
            stream.send("last words");
        }
    });
    let _service = service.also_at(LOCAL);
    through_each(|public| {
        let mut visitor = Visitor::connect(public);
        visitor.send("x");
        assert_eq!(visitor.to_end().1, Ending::Reset);
    });
    through_each(|public| {
        let mut visitor = Visitor::connect(public);
        visitor.finish();
        assert_eq!(visitor.to_end(), (b"last words".to_vec(), Ending::Fin));
    });
}

#[test]
fn many_visitors_are_served_at_once_where_the_source_serves_one() {
    isolated!();
    let service = Origin::echo().also_at(LOCAL);
    over_each_carrier(|carrier| {
        let before = service.connections();
        let _server = server();
        let (agent, public) = agent();
        agent.wait_for_log(&format!("is up, by {carrier}"));
        let mut visitors: Vec<_> = (0..20).map(|_| Visitor::connect(public)).collect();
        for (number, visitor) in visitors.iter_mut().enumerate() {
            visitor.send(format!("visitor {number:02}"));
        }
        service.wait_for_connections(before + 20);
        for (number, visitor) in visitors.iter_mut().enumerate().rev() {
            visitor.expect(format!("visitor {number:02}"));
        }
    });
}

#[test]
fn a_visitor_of_a_service_that_is_down_is_refused_and_the_port_stays() {
    isolated!();
    // Nothing listens at the address of the local service.
    through_each(|public| {
        for _ in 0..2 {
            let mut visitor = Visitor::connect(public);
            assert_eq!(visitor.ended(), Ending::Reset);
        }
    });
}

#[test]
fn a_restarted_client_gets_its_port_back_and_serves_the_parked_visitor() {
    isolated!();
    let _service = Origin::named("at home").also_at(LOCAL);
    over_each_carrier(|carrier| {
        let _server = server();
        let (first, public) = agent();
        first.wait_for_log(&format!("is up, by {carrier}"));
        killed(first);
        // At this point the source has closed its listener.
        let mut early = Visitor::connect(public);
        early.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let (_agent, again) = agent();
        assert_eq!(again, public, "{carrier}");
        assert_eq!(early.response().text(), "at home", "{carrier}");
    });
}

#[test]
fn a_client_reconnects_after_its_server_was_killed_and_restarted() {
    isolated!();
    let _service = Origin::named("at home").also_at(LOCAL);
    over_each_carrier(|carrier| {
        let first = server();
        let (agent, public) = agent();
        agent.wait_for_log(&format!("is up, by {carrier}"));
        killed(first);
        agent.wait_for_log(match carrier {
            "quic" => "quic does not answer",
            _ => "trying again in ",
        });
        let second = server();
        // The server opened the port again from its stored names.
        second.wait_for_log("is public at ");
        assert_eq!(
            Visitor::connect(public).get("/").text(),
            "at home",
            "{carrier}"
        );
    });
}
