//! Slow: peers that send single bytes or read nothing are ended by a deadline and cost nothing
//! else.

use byway_testkit::{Origin, Visitor};

use super::edge;

#[test]
fn slowloris_a_head_that_never_ends() {
    let origin = Origin::useful();
    let program = edge("[limits]\nhead_timeout = \"300ms\"", &origin);
    let mut slow: Vec<_> = (0..20)
        .map(|_| Visitor::connect(program.address()))
        .collect();
    for visitor in &mut slow {
        visitor.send("GET / HTTP/1.1\r\nHost: a\r\nX-");
    }
    assert_eq!(
        Visitor::connect(program.address()).get("/").status(),
        200,
        "others are served meanwhile"
    );
    for visitor in &mut slow {
        assert_eq!(visitor.response().status(), 408);
        visitor.ended();
    }
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn a_client_that_reads_nothing_is_closed_and_so_is_its_origin() {
    let origin = Origin::scripted(|visitor| {
        visitor.request();
        visitor.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        let block = vec![1; 1024 * 1024];
        while visitor.try_send(&block) {}
    });
    let program = edge("[limits]\nbody_progress = \"300ms\"", &origin);
    let mut visitor = Visitor::connect(program.address());
    visitor.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    origin.wait_for_ended(1);
    drop(visitor);
}

#[test]
fn an_upload_that_stalls_is_ended_on_both_sides() {
    let origin = Origin::scripted(|visitor| {
        visitor.request_head();
        visitor.remember_to_end();
    });
    let program = edge("[limits]\nbody_progress = \"300ms\"", &origin);
    let mut visitor = Visitor::connect(program.address());
    visitor.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel");
    assert_eq!(visitor.response().status(), 408);
    assert!(!origin.wait_for_requests(2)[1].text().contains("0\r\n\r\n"));
}
