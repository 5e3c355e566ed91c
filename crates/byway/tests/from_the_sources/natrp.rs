//! Source 002: the reverse tunnel, with a forward in the place of the tunnel.

use byway_testkit::wire::Ending;

use super::*;

fn public(service: SocketAddr) -> Program {
    Program::configured(BYWAY, &example("002-natrp", &[("127.0.0.1:8000", service.to_string())]))
}

#[test]
fn a_visitor_that_has_finished_still_gets_its_answer() {
    let service = Origin::scripted(|stream| {
        let (asked, ending) = stream.to_end();
        assert_eq!((asked.as_slice(), ending), (b"question".as_slice(), Ending::Fin));
        stream.send("answer");
    });
    let public = public(service.address());
    let mut visitor = Visitor::connect(public.address());
    visitor.send("question").finish();
    assert_eq!(visitor.to_end(), (b"answer".to_vec(), Ending::Fin));
}

#[test]
fn a_visitor_that_resets_is_a_reset_for_the_service_at_once() {
    let (heard, hears) = std::sync::mpsc::channel();
    let service = Origin::scripted(move |stream| {
        stream.send("hello");
        heard.send(stream.to_end()).unwrap();
    });
    let public = public(service.address());
    let mut visitor = Visitor::connect(public.address());
    visitor.expect("hello");
    visitor.reset();
    assert_eq!(hears.recv().unwrap(), (Vec::new(), Ending::Reset));
}

#[test]
fn a_service_that_resets_is_a_reset_for_the_visitor_and_one_that_closes_is_a_close_behind_its_last_byte() {
    let resets = Origin::scripted(|stream| {
        stream.fill();
        stream.reset_now();
    });
    let closes = Origin::scripted(|stream| {
        stream.send("last words");
    });
    let (before_resets, before_closes) = (public(resets.address()), public(closes.address()));
    let mut visitor = Visitor::connect(before_resets.address());
    visitor.send("x");
    assert_eq!(visitor.to_end().1, Ending::Reset);
    let mut visitor = Visitor::connect(before_closes.address());
    visitor.finish();
    assert_eq!(visitor.to_end(), (b"last words".to_vec(), Ending::Fin));
}

#[test]
fn many_visitors_are_served_at_once_where_the_source_serves_one() {
    let service = Origin::echo();
    let public = public(service.address());
    let mut visitors: Vec<_> = (0..20).map(|_| Visitor::connect(public.address())).collect();
    for (number, visitor) in visitors.iter_mut().enumerate() {
        visitor.send(format!("visitor {number:02}"));
    }
    service.wait_for_connections(20);
    for (number, visitor) in visitors.iter_mut().enumerate().rev() {
        visitor.expect(format!("visitor {number:02}"));
    }
}

#[test]
fn a_visitor_of_a_service_that_is_not_there_is_turned_away_and_the_port_stays() {
    let (refusing, _socket) = Origin::refusing();
    let public = public(refusing);
    for _ in 0..2 {
        let mut visitor = Visitor::connect(public.address());
        assert_eq!(visitor.ended(), Ending::Reset);
    }
}
