//! Handshakes: those that fail, stall or come in masses.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use byway_testkit::{Origin, Program, eventually};

use super::BYWAY;
use super::site::{Site, ask, metric, rest};

fn program(site: &Site, origin: &Origin, settings: &str) -> Program {
    site.issue("a", &["a.example"]);
    let config = site.config(origin, &["a.pem"], "");
    Program::configured(
        BYWAY,
        &format!("{settings}\nmetrics.listen = \"127.0.0.1:0\"\n{config}"),
    )
}

fn failed(program: &Program, reason: &str) -> u64 {
    metric(
        program,
        &format!("byway_tls_handshakes_failed_total{{reason=\"{reason}\"}}"),
    )
}

#[test]
fn plain_http_gets_a_400_that_says_what_to_do() {
    let (site, origin) = (Site::new(), Origin::useful());
    let program = program(&site, &origin, "");
    let mut socket = TcpStream::connect(program.address()).unwrap();
    ask(&mut socket, "a.example", "/", "").unwrap();
    let answer = rest(&mut socket).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 400 Bad Request\r\n"),
        "{answer}"
    );
    assert!(answer.contains("use https://"), "{answer}");
    assert_eq!(failed(&program, "plain_http"), 1);
}

#[test]
fn a_client_that_stalls_in_the_handshake_is_closed_at_its_deadline() {
    let (site, origin) = (Site::new(), Origin::useful());
    let program = program(&site, &origin, "limits.handshake_timeout = \"1s\"");
    for start in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
        let mut socket = TcpStream::connect(program.address()).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        socket.write_all(start).unwrap();
        // A close or a reset, and not the time-out of this side.
        let end = socket.read(&mut [0; 8]);
        let timed_out = end
            .as_ref()
            .is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!timed_out, "{end:?}");
    }
    eventually("both are counted", || failed(&program, "timeout") == 2);
}

#[test]
fn a_flood_of_bad_handshakes_leaves_nothing_open_and_others_are_served() {
    let (site, origin) = (Site::new(), Origin::useful());
    let program = program(&site, &origin, "limits.connections = 64");
    let hello = b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00";
    for round in 0..200 {
        let mut socket = TcpStream::connect(program.address()).unwrap();
        let bytes = if round % 2 == 0 {
            &hello[..]
        } else {
            b"\x80\x2e\x01\x03"
        };
        socket.write_all(bytes).unwrap();
        if round % 4 > 1 {
            let _ = socket.read(&mut [0; 64]);
        }
    }
    let answer = site
        .client()
        .get(program.address(), "a.example", "/")
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    eventually("every connection has ended", || {
        metric(&program, "byway_connections") <= 1
    });
    let reasons = ["not_tls", "other", "closed", "reset"];
    let sum: u64 = reasons.iter().map(|reason| failed(&program, reason)).sum();
    assert_eq!(sum, 200);
}

#[test]
fn an_unfinished_handshake_takes_a_permit_of_its_listener() {
    let (site, origin) = (Site::new(), Origin::useful());
    let settings = "limits.connections = 8\nlimits.handshake_timeout = \"2s\"";
    let program = program(&site, &origin, settings);
    let held: Vec<_> = (0..32)
        .map(|_| TcpStream::connect(program.address()).unwrap())
        .collect();
    eventually("the first ones are accepted", || {
        metric(&program, "byway_connections") >= 8
    });
    // Those of the listener for metrics count, too.
    assert!(metric(&program, "byway_connections") < 16);
    drop(held);
    let answer = site
        .client()
        .get(program.address(), "a.example", "/")
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn an_older_version_than_the_oldest_is_refused_by_its_reason() {
    let (site, origin) = (Site::new(), Origin::useful());
    let program = program(&site, &origin, "tls.min_version = \"1.3\"");
    let url = format!("https://a.example:{}/", program.address().port());
    let resolve = format!("a.example:{}:127.0.0.1", program.address().port());
    let (_, code) = site.curl(&["--resolve", &resolve, "--tls-max", "1.2", &url]);
    assert_eq!(code, 35, "CURLE_SSL_CONNECT_ERROR");
    eventually("it is counted", || failed(&program, "version") == 1);
    let (_, code) = site.curl(&["--resolve", &resolve, "-o", "/dev/null", &url]);
    assert_eq!(code, 0);
}
