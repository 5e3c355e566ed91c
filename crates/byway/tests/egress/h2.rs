//! H2: an egress over HTTP/2: many tunnels on one connection, and requests with a target.

use byway_testkit::Origin;
use byway_testkit::http2::{Http2Visitor, request};

use super::{OPEN, egress, egress_with};

const CONNECT_ERROR: u32 = 10;

/// A CONNECT for a target, on a new stream.
#[track_caller]
fn connect(visitor: &mut Http2Visitor, to: impl std::fmt::Display) -> u32 {
    let to = to.to_string();
    visitor.head(&[(":method", "CONNECT"), (":authority", &to)], false)
}

#[test]
fn tunnels_share_a_connection_and_end_apart() {
    let (echo, resetting) = (Origin::echo(), Origin::resetting_after(5));
    let program = egress(&OPEN);
    let mut visitor = Http2Visitor::connect(program.address());
    let one = connect(&mut visitor, echo.address());
    let other = connect(&mut visitor, echo.address());
    let cut = connect(&mut visitor, resetting.address());
    for stream in [one, other, cut] {
        let answer = visitor.until(stream, "a head", |response| response.status() != 0);
        assert_eq!((answer.status(), answer.has_ended), (200, false));
    }
    visitor
        .data(one, b"first", false)
        .data(other, b"second", false);
    visitor.until(one, "an echo", |response| response.body == b"first");
    visitor.until(other, "an echo", |response| response.body == b"second");
    // A reset of the target, and a FIN: neither concerns the other tunnels.
    visitor.data(cut, b"begin", false);
    let ended = visitor.response(cut);
    assert_eq!((ended.has_ended, ended.reset), (false, Some(CONNECT_ERROR)));
    visitor.data(one, b" and last", true);
    let ended = visitor.response(one);
    assert_eq!((ended.text(), ended.reset), ("first and last".into(), None));
    visitor.data(other, b" again", false);
    visitor.until(other, "an echo", |response| {
        response.body == b"second again"
    });
    visitor.reset_stream(other, 8);
    echo.wait_for_ended(2);
    let again = connect(&mut visitor, echo.address());
    visitor.data(again, b"x", true);
    assert_eq!(visitor.response(again).text(), "x");
}

#[test]
fn what_policy_refuses_is_an_ordinary_response_on_its_stream() {
    let echo = Origin::echo();
    let program = egress(&[]);
    let mut visitor = Http2Visitor::connect(program.address());
    let stream = connect(&mut visitor, echo.address());
    assert_eq!(visitor.response(stream).status(), 403);
    let mut fields = request("GET", "/");
    fields[3].1 = "192.0.2.1:1";
    fields[1].1 = "https";
    let stream = visitor.head(&fields, true);
    assert_eq!(visitor.response(stream).status(), 400);
    assert_eq!(echo.connections(), 0);
}

#[test]
fn a_request_with_a_target_is_forwarded_to_its_authority_and_shows_nothing_of_the_user() {
    let origin = Origin::useful();
    let program = egress(&OPEN);
    let mut visitor = Http2Visitor::connect(program.address());
    let target = origin.address().to_string();
    let mut fields = request("GET", "/head");
    fields[3].1 = &target;
    let stream = visitor.head(&fields, true);
    let response = visitor.response(stream);
    assert_eq!(response.status(), 200, "{response:?}");
    let head = &origin.requests()[0];
    assert_eq!(head.line(), "GET /head HTTP/1.1");
    assert_eq!(head.field("Host"), Some(&*target));
    assert_eq!(head.field("X-Forwarded-For"), None);
}

#[test]
fn responses_over_http_2_pass_the_spill_and_the_rate_limit_whole() {
    let origin = Origin::useful();
    for settings in ["spill.mode = \"auto\"", "spill.mode = \"off\""] {
        let program = egress_with(settings);
        let mut visitor = Http2Visitor::connect(program.address());
        let target = origin.address().to_string();
        for path in ["/bytes/3000000", "/chunked/3000000", "/bytes/0"] {
            let mut fields = request("GET", path);
            fields[3].1 = &target;
            let stream = visitor.head(&fields, true);
            let response = visitor.response(stream);
            let bytes: usize = path.rsplit('/').next().unwrap().parse().unwrap();
            assert_eq!(
                (response.body.len(), response.reset),
                (bytes, None),
                "{path}"
            );
        }
    }
}
