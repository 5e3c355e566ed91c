//! Source 000: the proxy server that spills to files and limits each stream, two hops away from its
//! readers.

use std::time::{Duration, Instant};

use byway_testkit::pattern::{MIB, Pattern, Sum};
use byway_testkit::wire::Ending;

use super::*;

/// The server of the source, and the client that the browser connects to.
struct Hops {
    desk: Program,
    _server: Program,
}

impl Hops {
    /// Both ends. The link uses `carrier`.
    fn over(carrier: &str) -> Self {
        let server = shipped("000-udpack-exit");
        let desk = shipped("000-udpack-desk");
        desk.wait_for_log(&format!("is up, by {carrier}"));
        Self {
            desk,
            _server: server,
        }
    }
}

/// Over UDP, as in the source.
fn hops() -> Hops {
    Hops::over("quic")
}

/// The state folder of the server, and the one of the desk.
const STATES: [&str; 2] = ["/tmp/byway-udpack/exit", "/tmp/byway-udpack/desk"];

/// Sends `bytes` bytes after the first bytes of a client, and closes.
fn authority_with(bytes: u64) -> Origin {
    Origin::scripted(move |stream| {
        stream.fill();
        stream.taken();
        let mut pattern = Pattern::new(bytes);
        while let Some(block) = pattern.next_block() {
            stream.send(block);
        }
    })
}

/// The packet `connect` of the source, as SOCKS5. Returns the reply.
fn open(hops: &Hops, authority: SocketAddr) -> (Visitor, Vec<u8>) {
    let mut browser = Visitor::connect(hops.desk.address());
    browser.send([5, 1, 0]).expect([5, 0]);
    let SocketAddr::V4(authority) = authority else {
        panic!("an IPv4 address")
    };
    let mut request = vec![5, 1, 0, 1];
    request.extend(authority.ip().octets());
    request.extend(authority.port().to_be_bytes());
    browser.send(request);
    let answer = browser.exactly(10);
    (browser, answer)
}

fn read_all(browser: &mut Visitor, bytes: u64) {
    let mut sum = Sum::new();
    browser.exactly_each(bytes, |data| sum.add(data));
    assert_eq!(sum.hex(), Pattern::sha256(bytes));
    assert_eq!(browser.ended(), Ending::Fin);
}

#[test]
fn a_paused_reader_lets_the_authority_finish_and_still_gets_every_byte() {
    isolated!();
    over_each_carrier(|carrier| {
        let (hops, authority) = (Hops::over(carrier), authority_with(32 * MIB));
        let (mut browser, _) = open(&hops, authority.address());
        browser.send("go");
        // The authority has sent everything and closed before one byte was read.
        authority.wait_for_ended(1);
        let [server, desk] = STATES.map(|state| Path::new(state).join("spill"));
        assert_eq!(
            std::fs::read_dir(server).unwrap().count(),
            0,
            "a spill file has a name"
        );
        assert!(!desk.exists(), "only the server spills");
        // Here the source sends `terminate` and loses what is still in the file. The end must queue
        // behind it.
        read_all(&mut browser, 32 * MIB);
    });
}

#[test]
fn a_stream_gets_25_mib_a_second_and_no_more() {
    isolated!();
    over_each_carrier(|carrier| {
        let (hops, authority) = (Hops::over(carrier), authority_with(16 * MIB));
        let (mut browser, _) = open(&hops, authority.address());
        let began = Instant::now();
        browser.send("go");
        read_all(&mut browser, 16 * MIB);
        // The data of 1/20 s may be sent at once. A slow machine only takes longer.
        let least = Duration::from_secs(1).mul_f64((16.0 - 25.0 / 20.0) / 25.0);
        assert!(began.elapsed() >= least, "16 MiB in {:?}", began.elapsed());
    });
}

#[test]
fn success_is_answered_with_our_own_address_and_bytes_go_both_ways() {
    isolated!();
    let (hops, authority) = (hops(), Origin::echo());
    let (mut browser, answer) = open(&hops, authority.address());
    // ConnectRes { succeeded, localAddress, localPort }
    assert_eq!(answer[..8], [5, 0, 0, 1, 127, 0, 0, 1]);
    assert_ne!(answer[8..], [0, 0]);
    browser.send("GET / HTTP/1.1").expect("GET / HTTP/1.1");
}

#[test]
fn a_refusal_and_an_unknown_name_are_answered_instead_of_left_open() {
    isolated!();
    let (hops, (refusing, _socket)) = (hops(), Origin::refusing());
    let (mut browser, answer) = open(&hops, refusing);
    assert_eq!(answer[..2], [5, 5]);
    assert_eq!(browser.ended(), Ending::Fin);
    let mut browser = Visitor::connect(hops.desk.address());
    browser.send([5, 1, 0]).expect([5, 0]);
    // `.invalid` never exists (RFC 6761). A machine without a resolver may report it as
    // unreachable.
    browser.send(b"\x05\x01\x00\x03\x0cname.invalid\x00\x50");
    let answer = browser.exactly(10);
    assert!([3, 4].contains(&answer[1]), "{answer:?}");
}

#[test]
fn a_browser_that_disconnects_closes_its_connection_to_the_authority() {
    isolated!();
    let (hops, authority) = (hops(), Origin::scripted(|stream| stream.hold()));
    let (browser, _) = open(&hops, authority.address());
    authority.wait_for_connections(1);
    browser.reset();
    authority.wait_for_ended(1);
}

#[test]
fn a_name_is_looked_up_at_the_server() {
    isolated!();
    let (hops, authority) = (hops(), Origin::named("www.google.com, as it were"));
    let proxy = format!("socks5h://{}", hops.desk.address());
    let fetched = curl(&[
        "--proxy",
        &proxy,
        &format!("http://localhost:{}/", authority.address().port()),
    ]);
    assert_eq!(
        (fetched.exit, fetched.text().as_str()),
        (0, "www.google.com, as it were")
    );
}
