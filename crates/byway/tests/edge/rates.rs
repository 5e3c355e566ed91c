//! Rates: deliberately slow clients, over real sockets. (The arithmetic is tested with a paused
//! clock.)

use byway_testkit::{Ending, Origin, Visitor};

use super::{edge, edge_with};

/// A rate that no client reaches, checked every second.
const STRICT: &str = "[limits]\nbody_progress = \"1s\"\nmin_rate = \"1GiB/s\"";

#[test]
fn an_upload_and_a_download_below_the_minimum_rate_are_ended() {
    let origin = Origin::scripted(|served| {
        let Some(request) = served.request_head() else {
            return;
        };
        if request.target() == "/up" {
            return served.hold();
        }
        served.send("HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n");
        let block = vec![b'x'; 1 << 20];
        while served.try_send(&block) {}
    });
    let program = edge_with(STRICT, &origin);
    let mut uploader = Visitor::connect(program.address());
    uploader.send("PUT /up HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
    // A client that sends single bytes makes progress, so only the minimum rate ends it, with its
    // reason.
    while !program.stderr().contains("request-rate")
        && uploader.is_silent()
        && uploader.try_send("x")
    {
        std::thread::yield_now();
    }
    let answer = uploader.response_to("PUT");
    assert_eq!(answer.status(), 408);
    assert!(answer.text().contains("reason: request-rate"), "{answer:?}");
    let mut reader = Visitor::connect(program.address());
    reader.send("GET /down HTTP/1.1\r\nHost: a\r\n\r\n");
    reader.until(b"\r\n\r\n");
    origin.wait_for_ended(2);
    assert_eq!(reader.to_end().1, Ending::Reset);
}

#[test]
fn a_client_above_the_minimum_rate_is_served_whatever_the_size() {
    let origin = Origin::useful();
    let program = edge(&origin);
    let mut visitor = Visitor::connect(program.address());
    let body = "x".repeat(3_000_000);
    let put = format!(
        "POST /sum HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    assert!(visitor.ask(&put).text().starts_with("3000000 "));
    assert_eq!(visitor.get("/bytes/3000000").body.len(), 3_000_000);
}
