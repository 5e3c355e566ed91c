//! H3: requests of HTTP/3, in front of origins of HTTP/1.

use std::io::{Read, Write};
use std::net::{SocketAddr, UdpSocket};

use byway_testkit::http3::{Http3Visitor, frame, headers, kind};
use byway_testkit::{Gate, Origin, Program, eventually};
use rustix::process::Signal;

use super::BYWAY;
use super::site::{Client, Site, metric};

/// RFC 9114 section 8.1.
const INTERNAL_ERROR: u64 = 0x102;
const REQUEST_CANCELLED: u64 = 0x10c;
const MESSAGE_ERROR: u64 = 0x10e;

const HOST: &str = "a.example";
const METRICS: &str = "[metrics]\nlisten = \"127.0.0.1:0\"\n";

impl Client {
    /// A connection of HTTP/3 for `name`.
    #[track_caller]
    pub(crate) fn http3(&self, to: SocketAddr, name: &str) -> Http3Visitor {
        Http3Visitor::connect(to, name, (*self.config).clone()).expect("a handshake")
    }
}

/// The program, once it serves HTTP/3, and a client of it.
#[track_caller]
fn visited(site: &Site, program: &Program) -> Http3Visitor {
    until_offered(site, program);
    site.client().http3(program.address(), HOST)
}

/// Waits until responses say that HTTP/3 is served.
#[track_caller]
pub(crate) fn until_offered(site: &Site, program: &Program) {
    until_offered_at(site, program.address());
}

#[test]
fn a_request_reaches_its_origin_as_http_1_and_the_response_comes_back() {
    let (site, origin) = (Site::new(), Origin::useful());
    let program = site.edge(&origin, "hsts = \"365d\"");
    let visitor = visited(&site, &program);
    let before = origin.requests().len();
    let more = [("x-mine", "1"), ("cookie", "a=1"), ("cookie", "b=2")];
    let response = visitor.response(visitor.request("GET", HOST, "/head?q=1", &more, true));
    assert_eq!((response.status(), response.has_ended), (200, true));
    let requests = origin.wait_for_requests(before + 1);
    let head = &requests[before];
    assert_eq!(head.line(), "GET /head?q=1 HTTP/1.1");
    for (name, value) in [
        ("Host", Some(HOST)),
        ("X-Mine", Some("1")),
        ("Cookie", Some("a=1; b=2")),
        ("Via", Some("3.0 byway")),
        ("X-Forwarded-For", Some("127.0.0.1")),
        ("X-Forwarded-Proto", Some("https")),
        ("Transfer-Encoding", None),
    ] {
        assert_eq!(head.field(name), value, "{name}");
    }
    let hsts = response.field("strict-transport-security");
    assert_eq!(hsts, Some("max-age=31536000"));
    assert_eq!(
        visitor.get(HOST, "/").text(),
        "hello",
        "the connection goes on"
    );
}

#[test]
fn bodies_of_any_size_pass_both_ways() {
    let (site, origin) = (Site::new(), Origin::useful());
    let program = site.edge(&origin, "");
    let visitor = visited(&site, &program);
    for size in [0, 1, 16_384, 65_536, 300_000, 3_000_000] {
        for path in ["/bytes", "/chunked"] {
            let response = visitor.get(HOST, &format!("{path}/{size}"));
            assert_eq!(
                (response.body.len(), response.has_ended),
                (size, true),
                "{path}"
            );
        }
        let length = size.to_string();
        for more in [&[("content-length", &*length)][..], &[]] {
            let mut exchange = visitor.request("POST", HOST, "/sum", more, false);
            visitor.wait(async {
                for part in vec![b'x'; size].chunks(20_000) {
                    exchange
                        .send
                        .write_all(&frame(kind::DATA, part))
                        .await
                        .unwrap();
                }
                exchange.send.finish().unwrap();
            });
            let response = visitor.response(exchange);
            assert_eq!(
                (response.status(), response.has_ended),
                (200, true),
                "{size}"
            );
        }
    }
}

#[test]
fn trailers_and_interim_responses_pass_and_a_head_request_has_no_body() {
    let site = Site::new();
    let origin = Origin::scripted(|visitor| {
        while let Some(request) = visitor.request() {
            visitor.send(match request.line().starts_with("HEAD") {
                true => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
                false => "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
                    HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
            });
        }
    });
    let program = site.edge(&origin, "");
    let visitor = visited(&site, &program);
    let response = visitor.get(HOST, "/");
    assert_eq!(response.statuses, [103, 200]);
    assert_eq!(response.text(), "hello");
    assert_eq!(response.trailers, [("x-sum".to_owned(), "1".to_owned())]);
    let response = visitor.response(visitor.request("HEAD", HOST, "/", &[], true));
    assert_eq!((response.status(), response.body.len()), (200, 0));
    assert_eq!(response.field("content-length"), Some("5"));
    assert!(response.has_ended);
}

#[test]
fn streams_are_answered_as_their_origins_answer_and_not_in_order() {
    let site = Site::new();
    let gate = Gate::new();
    let late = gate.clone();
    let origin = Origin::scripted(move |visitor| {
        while let Some(request) = visitor.request() {
            if request.target() == "/late" {
                late.wait();
            }
            visitor.send(byway_testkit::origin::ok(request.target()));
        }
    });
    let program = site.edge(&origin, "");
    let visitor = visited(&site, &program);
    let late = visitor.request("GET", HOST, "/late", &[], true);
    for n in 0..50 {
        let path = format!("/{n}");
        assert_eq!(visitor.get(HOST, &path).text(), path);
    }
    gate.open();
    assert_eq!(visitor.response(late).text(), "/late");
}

#[test]
fn a_response_that_its_origin_cuts_is_reset_and_does_not_look_complete() {
    let site = Site::new();
    let origin = Origin::scripted(|visitor| {
        while let Some(request) = visitor.request() {
            if request.target() == "/" {
                visitor.send(byway_testkit::origin::ok("hello"));
                continue;
            }
            visitor.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart");
            return;
        }
    });
    let program = site.edge(&origin, "");
    let visitor = visited(&site, &program);
    let response = visitor.get(HOST, "/cut");
    assert_eq!(
        (response.reset, response.has_ended),
        (Some(INTERNAL_ERROR), false)
    );
    assert_eq!(
        visitor.get(HOST, "/").text(),
        "hello",
        "the connection goes on"
    );
}

#[test]
fn a_request_that_its_client_cancels_ends_the_one_at_the_origin() {
    let (site, origin) = (Site::new(), Origin::sending_until_reset());
    let program = site.edge(&origin, "");
    // Its responses have no end, so the offer cannot be waited for by one.
    let visitor = eventually_connected(&site, &program);
    let mut exchange = visitor.request("GET", HOST, "/", &[], true);
    visitor.until(&mut exchange, |response| response.body.len() > 100_000);
    exchange.cancel();
    origin.wait_for_ended(1);
}

/// Connects without waiting for the offer.
fn eventually_connected(site: &Site, program: &Program) -> Http3Visitor {
    site.client().http3(program.address(), HOST)
}

#[test]
fn malformed_requests_are_reset_and_heads_over_the_limit_get_431() {
    let (site, origin) = (Site::new(), Origin::useful());
    let program = site.edge(&origin, "");
    let visitor = visited(&site, &program);
    let before = origin.requests().len();
    let usual = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", HOST),
        (":path", "/"),
    ];
    for more in [
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        ("Upper", "case"),
        ("x", "a\r\nb: c"),
        (":path", "/2"),
        ("host", "b.example"),
    ] {
        let fields = [&usual[..], &[more]].concat();
        let response = visitor.response(visitor.open("GET", &headers(&fields), true));
        assert_eq!(response.reset, Some(MESSAGE_ERROR), "{more:?}");
    }
    let long = "a".repeat(100_000);
    let exchange = visitor.request("GET", HOST, "/", &[("x-long", &long)], true);
    assert_eq!(visitor.response(exchange).status(), 431);
    assert_eq!(origin.requests().len(), before, "nothing was passed on");
    assert_eq!(
        visitor.get(HOST, "/").text(),
        "hello",
        "the connection goes on"
    );
}

#[test]
fn a_web_socket_is_a_tunnel_beside_other_streams() {
    let site = Site::new();
    let origin = Origin::websockets();
    let program = site.edge(&origin, "");
    let visitor = visited(&site, &program);
    let more = [(":protocol", "websocket"), ("sec-websocket-version", "13")];
    let mut fields = vec![
        (":method", "CONNECT"),
        (":scheme", "https"),
        (":authority", HOST),
        (":path", "/chat"),
    ];
    fields.extend_from_slice(&more);
    let mut exchange = visitor.open("CONNECT", &headers(&fields), false);
    visitor.until(&mut exchange, |response| response.status() != 0);
    assert_eq!(exchange.response.status(), 200);
    for text in ["one", "another"] {
        let sent = frame(kind::DATA, text.as_bytes());
        visitor.wait(exchange.send.write_all(&sent)).unwrap();
        visitor.until(&mut exchange, |response| response.text().ends_with(text));
        assert_eq!(visitor.get(HOST, "/").text(), "hello");
    }
    exchange.send.finish().unwrap();
    let response = visitor.response(exchange);
    assert_eq!(
        (response.text().as_str(), response.has_ended),
        ("oneanother", true)
    );
}

#[test]
fn connect_is_refused_at_an_edge() {
    let (site, origin) = (Site::new(), Origin::useful());
    let program = site.edge(&origin, "");
    let visitor = visited(&site, &program);
    let fields = [(":method", "CONNECT"), (":authority", "b.example:443")];
    let response = visitor.response(visitor.open("CONNECT", &headers(&fields), false));
    assert!((400..500).contains(&response.status()), "{response:?}");
}

#[test]
fn a_client_may_change_its_address() {
    let (site, origin) = (Site::new(), Origin::useful());
    let program = site.edge(&origin, "");
    let visitor = visited(&site, &program);
    for _ in 0..3 {
        assert_eq!(visitor.get(HOST, "/").text(), "hello");
        visitor.move_away();
        assert_eq!(visitor.get(HOST, "/bytes/100000").body.len(), 100_000);
    }
}

#[test]
fn a_host_outside_the_certificate_is_misdirected() {
    let (site, origin) = (Site::new(), Origin::useful());
    let program = site.edge(&origin, "");
    let visitor = visited(&site, &program);
    for (host, status) in [("b.example", 200), ("c.example", 421)] {
        assert_eq!(visitor.get(host, "/").status(), status, "{host}");
    }
}

#[test]
fn the_client_certificate_of_a_host_goes_to_the_origin() {
    let (site, origin) = (Site::new(), Origin::useful());
    let clients = format!(
        "\n[[tls.client]]\nhosts = [\"{HOST}\"]\nca = \"{}\"\n",
        site.path("root.pem").display()
    );
    site.issue("a", &[HOST, "b.example", "127.0.0.1"]);
    let config = clients + &site.config(&origin, &["a.pem"], "");
    let program = Program::configured(BYWAY, &config);
    let known = site.client_called("bob");
    eventually("HTTP/3 is offered", || {
        let answer = known.get(program.address(), HOST, "/").unwrap();
        answer.contains("Alt-Svc: h3=")
    });
    let before = origin.requests().len();
    assert_eq!(
        known.http3(program.address(), HOST).get(HOST, "/").status(),
        200
    );
    let requests = origin.wait_for_requests(before + 1);
    assert!(requests[before].field("Client-Cert").is_some());
    let unknown = site.client().http3(program.address(), HOST);
    let ended = unknown.wait(unknown.quic.closed());
    assert!(
        matches!(ended, quinn::ConnectionError::ConnectionClosed(_)),
        "{ended}"
    );
    // It may not ask for that host on a connection for another one.
    let other = site.client().http3(program.address(), "b.example");
    assert_eq!(other.get(HOST, "/").status(), 421);
}

#[test]
fn a_client_that_offers_another_protocol_is_refused() {
    let (site, origin) = (Site::new(), Origin::useful());
    let program = site.edge(&origin, "");
    until_offered(&site, &program);
    for alpn in [&b"byway/1"[..], b"hq-interop"] {
        let mut config = (*site.client().config).clone();
        config.alpn_protocols = vec![alpn.to_vec()];
        let refused = Http3Visitor::connect_as(program.address(), HOST, config);
        let error = refused.err().expect("an alert").to_string();
        assert!(
            error.contains("120")
                || error.contains("NoApplicationProtocol")
                || error.contains("no_application"),
            "{error}"
        );
    }
}

#[test]
fn a_drain_announces_itself_and_the_response_under_way_arrives_whole() {
    let site = Site::new();
    let gate = Gate::new();
    let late = gate.clone();
    let origin = Origin::scripted(move |visitor| {
        while let Some(request) = visitor.request() {
            if request.target() == "/late" {
                late.wait();
            }
            visitor.send(byway_testkit::origin::ok("hello"));
        }
    });
    let program = site.edge(&origin, "");
    let visitor = visited(&site, &program);
    let before = origin.requests().len();
    let late = visitor.request("GET", HOST, "/late", &[], true);
    origin.wait_for_requests(before + 1);
    program.signal(Signal::TERM);
    assert_eq!(visitor.go_aways(2), [(1 << 62) - 4, 4]);
    gate.open();
    let response = visitor.response(late);
    assert_eq!(
        (response.text().as_str(), response.has_ended),
        ("hello", true)
    );
    assert_eq!(visitor.closed(), 0x100);
    assert_eq!(program.wait().code, Some(0));
}

#[test]
fn responses_over_tls_name_the_port_unless_their_origin_says_something_else() {
    let site = Site::new();
    let origin = Origin::scripted(|visitor| {
        while let Some(request) = visitor.request() {
            visitor.send(match request.target() {
                "/own" => "HTTP/1.1 200 OK\r\nAlt-Svc: clear\r\nContent-Length: 0\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            });
        }
    });
    let program = site.edge(
        &origin,
        "listen = \"127.0.0.1:0\"\nredirect_to_https = false",
    );
    let [plain, encrypted] = program.addresses()[..] else {
        panic!("{:?}", program.addresses());
    };
    let client = site.client();
    let offer = format!("Alt-Svc: h3=\":{}\"; ma=86400\r\n", encrypted.port());
    eventually("HTTP/3 is offered", || {
        client.get(encrypted, HOST, "/").unwrap().contains(&offer)
    });
    let own = client.get(encrypted, HOST, "/own").unwrap();
    assert!(
        own.contains("Alt-Svc: clear\r\n") && !own.contains("h3="),
        "{own}"
    );
    let mut socket = std::net::TcpStream::connect(plain).unwrap();
    socket
        .write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    assert!(
        text.starts_with("HTTP/1.1 200") && !text.contains("Alt-Svc"),
        "{text}"
    );
    let response = client.http3(encrypted, HOST).get(HOST, "/");
    assert_eq!(response.status(), 200);
}

#[test]
fn http3_is_switched_off_and_on_by_a_reload_and_the_port_is_free_meanwhile() {
    let (site, origin) = (Site::new(), Origin::useful());
    site.issue("a", &[HOST, "127.0.0.1"]);
    let with =
        |http3: bool| format!("[tls]\nhttp3 = {http3}\n") + &site.config(&origin, &["a.pem"], "");
    let program = Program::configured(BYWAY, &with(false));
    let (client, address) = (site.client(), program.address());
    let answer = client.get(address, HOST, "/").unwrap();
    assert!(!answer.contains("Alt-Svc"), "{answer}");
    drop(UdpSocket::bind(address).expect("nobody has the UDP port"));
    program.reload(&with(true));
    until_offered(&site, &program);
    assert_eq!(client.http3(address, HOST).get(HOST, "/").text(), "hello");
    program.reload(&with(false));
    eventually("the UDP port is free", || UdpSocket::bind(address).is_ok());
    let answer = client.get(address, HOST, "/").unwrap();
    assert!(!answer.contains("Alt-Svc"), "{answer}");
}

#[test]
fn a_udp_port_in_use_is_taken_once_it_is_free_and_is_not_offered_before() {
    let (site, origin) = (Site::new(), Origin::useful());
    site.issue("a", &[HOST, "127.0.0.1"]);
    // A port that is free over TCP and taken over UDP. At an address of its own: the sockets of
    // other tests could take the port at 127.0.0.1 once it is free.
    let taken = UdpSocket::bind("127.7.7.7:0").unwrap();
    let at = taken.local_addr().unwrap().to_string();
    let config = site
        .config(&origin, &["a.pem"], "")
        .replace("127.0.0.1:0", &at);
    let program = Program::configured(BYWAY, &config);
    let answer = site.client().get(program.address(), HOST, "/").unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && !answer.contains("Alt-Svc"),
        "{answer}"
    );
    eventually("a warning says so", || {
        program.stderr().contains("cannot be used over UDP")
    });
    drop(taken);
    assert_eq!(visited(&site, &program).get(HOST, "/").text(), "hello");
}

#[test]
fn the_access_log_and_the_metrics_know_the_version() {
    let (site, origin) = (Site::new(), Origin::useful());
    site.issue("a", &[HOST, "127.0.0.1"]);
    let log = site.path("access.log");
    let settings = format!(
        "{METRICS}[log]\naccess = \"{}\"\naccess_format = \"json\"\n",
        log.display()
    );
    let config = settings + &site.config(&origin, &["a.pem"], "");
    let program = Program::configured(BYWAY, &config);
    until_offered_at(&site, program.addresses()[0]);
    let visitor = site.client().http3(program.addresses()[0], HOST);
    assert_eq!(visitor.get(HOST, "/logged").status(), 200);
    eventually("the line is written", || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let line = text.lines().find(|line| line.contains("/logged"));
        line.is_some_and(|line| {
            line.contains("\"HTTP/3\"") && line.contains("TLSv1.3") && line.contains(HOST)
        })
    });
    assert_eq!(metric(&program, "byway_http3_connections_total"), 1);
    assert_eq!(
        metric(
            &program,
            "byway_requests_by_version_total{version=\"HTTP/3\"}"
        ),
        1
    );
}

#[track_caller]
pub(crate) fn until_offered_at(site: &Site, address: SocketAddr) {
    eventually("HTTP/3 is offered", || {
        let answer = site.client().get(address, HOST, "/").unwrap();
        answer.contains("Alt-Svc: h3=")
    });
}

#[test]
fn a_cancelled_upload_is_not_taken_for_a_whole_one() {
    let (site, origin) = (Site::new(), Origin::useful());
    let program = site.edge(&origin, "");
    let visitor = visited(&site, &program);
    let mut exchange = visitor.request("POST", HOST, "/sum", &[], false);
    let part = frame(kind::DATA, &[b'x'; 1000]);
    visitor.wait(exchange.send.write_all(&part)).unwrap();
    exchange
        .send
        .reset(quinn::VarInt::from_u32(REQUEST_CANCELLED as u32))
        .unwrap();
    let response = visitor.response(exchange);
    assert_ne!(response.status(), 200, "{response:?}");
    assert_eq!(
        visitor.get(HOST, "/").text(),
        "hello",
        "the connection goes on"
    );
}

#[test]
fn a_body_that_is_shorter_than_its_length_is_not_taken_for_a_whole_one() {
    let (site, origin) = (Site::new(), Origin::useful());
    let program = site.edge(&origin, "");
    let visitor = visited(&site, &program);
    let short = [("content-length", "5")];
    let response = visitor.response(visitor.request("POST", HOST, "/sum", &short, true));
    assert_ne!(response.status(), 200, "{response:?}");
    assert_eq!(
        visitor.get(HOST, "/").text(),
        "hello",
        "the connection goes on"
    );
}
