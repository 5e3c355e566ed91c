//! The scenarios of the source documents, run against the built program with the configs in `examples/from-the-sources/`.
//!
//! In:    the example configs as they stand, with free ports in the place of theirs.
//! Out:   what a person would see who tried the examples by hand; `docs/from-the-sources.md` says which passage is meant.
//! Never: a config of its own. What is tested is what is printed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::SocketAddr;

use byway_testkit::{Launch, Origin, Program, Visitor, Wire, curl};

const BYWAY: &str = env!("CARGO_BIN_EXE_byway");
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples");

/// The example with port 0 for every listener, and `given` in the place of the addresses that stand in it. Each listener
/// gets a loopback address of its own, as they have ports of their own in the example.
#[track_caller]
fn example(name: &str, given: &[(&str, String)]) -> String {
    let text = std::fs::read_to_string(format!("{EXAMPLES}/from-the-sources/{name}.toml")).unwrap();
    let mut listeners = 0;
    let mut any_port = |line: &str| {
        if !line.starts_with("listen = \"127.0.0.1:") {
            return line.to_owned();
        }
        listeners += 1;
        format!("listen = \"127.0.0.{listeners}:0\"")
    };
    let text: Vec<_> = text.lines().map(&mut any_port).collect();
    given.iter().fold(text.join("\n"), |text, (written, actual)| {
        let written = format!("\"{written}\"");
        assert!(text.contains(&written), "{name} has no {written}");
        text.replace(&written, &format!("\"{actual}\""))
    })
}

fn at(origin: &Origin) -> String {
    origin.address().to_string()
}

#[test]
fn every_example_is_a_valid_config() {
    let folders = [EXAMPLES.to_owned(), format!("{EXAMPLES}/from-the-sources")];
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap()).map(|file| file.unwrap().path());
    let mut checked = 0;
    for file in files.filter(|file| file.extension().is_some_and(|extension| extension == "toml")) {
        let check = Launch::new(BYWAY, &["check", "-c", &file.display().to_string()]).run();
        assert_eq!(check.code, Some(0), "{}: {}", file.display(), check.stderr);
        checked += 1;
    }
    assert!(checked >= 6, "only {checked} examples found");
}

/// Source 000: the proxy server that spills to files and caps each stream.
mod udpack {
    use std::time::{Duration, Instant};

    use byway_testkit::pattern::{MIB, Pattern, Sum};
    use byway_testkit::wire::Ending;

    use super::*;

    fn server() -> Program {
        Program::configured(BYWAY, &example("000-udpack", &[]))
    }

    /// Sends `bytes` bytes to whoever connects and speaks first, and closes.
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

    /// The packet `connect` of the source, as SOCKS5 says it; the answer is read.
    fn open(server: &Program, authority: SocketAddr) -> (Visitor, Vec<u8>) {
        let mut browser = Visitor::connect(server.address());
        browser.send([5, 1, 0]).expect([5, 0]);
        let SocketAddr::V4(authority) = authority else { panic!("IPv4 is asked for") };
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
    fn a_reader_who_pauses_lets_the_authority_finish_and_still_gets_every_byte() {
        let (server, authority) = (server(), authority_with(32 * MIB));
        let (mut browser, _) = open(&server, authority.address());
        browser.send("go");
        // Not one byte has been read when the authority has sent everything and is gone.
        authority.wait_for_ended(1);
        let spill = server.folder().join("state/spill");
        assert_eq!(std::fs::read_dir(spill).unwrap().count(), 0, "a spill file has a name");
        // The source sends `terminate` here and loses what is still in the file; the end has to queue behind it.
        read_all(&mut browser, 32 * MIB);
    }

    #[test]
    fn a_stream_gets_25_mib_a_second_and_no_more() {
        let (server, authority) = (server(), authority_with(16 * MIB));
        let (mut browser, _) = open(&server, authority.address());
        let began = Instant::now();
        browser.send("go");
        read_all(&mut browser, 16 * MIB);
        // A twentieth of a second's worth may leave at once. A slow machine only takes longer.
        let least = Duration::from_secs(1).mul_f64((16.0 - 25.0 / 20.0) / 25.0);
        assert!(began.elapsed() >= least, "16 MiB in {:?}", began.elapsed());
    }

    #[test]
    fn success_is_answered_with_our_own_address_and_bytes_go_both_ways() {
        let (server, authority) = (server(), Origin::echo());
        let (mut browser, answer) = open(&server, authority.address());
        // ConnectRes { succeeded, localAddress, localPort }
        assert_eq!(answer[..8], [5, 0, 0, 1, 127, 0, 0, 1]);
        assert_ne!(answer[8..], [0, 0]);
        browser.send("GET / HTTP/1.1").expect("GET / HTTP/1.1");
    }

    #[test]
    fn a_refusal_and_an_unknown_name_are_answered_instead_of_left_open() {
        let (server, (refusing, _socket)) = (server(), Origin::refusing());
        let (mut browser, answer) = open(&server, refusing);
        assert_eq!(answer[..2], [5, 5]);
        assert_eq!(browser.ended(), Ending::Fin);
        let mut browser = Visitor::connect(server.address());
        browser.send([5, 1, 0]).expect([5, 0]);
        // `.invalid` never exists (RFC 6761); a machine without any resolver may say that it is unreachable.
        browser.send(b"\x05\x01\x00\x03\x0cname.invalid\x00\x50");
        let answer = browser.exactly(10);
        assert!([3, 4].contains(&answer[1]), "{answer:?}");
    }

    #[test]
    fn a_browser_that_goes_takes_its_connection_to_the_authority_along() {
        let (server, authority) = (server(), Origin::scripted(|stream| stream.hold()));
        let (browser, _) = open(&server, authority.address());
        authority.wait_for_connections(1);
        browser.reset();
        authority.wait_for_ended(1);
    }

    #[test]
    fn a_name_is_looked_up_at_the_server() {
        let (server, authority) = (server(), Origin::named("www.google.com, as it were"));
        let proxy = format!("socks5h://{}", server.address());
        let fetched = curl(&["--proxy", &proxy, &format!("http://localhost:{}/", authority.address().port())]);
        assert_eq!((fetched.exit, fetched.text().as_str()), (0, "www.google.com, as it were"));
    }
}

/// Source 001: the notes on Node.
mod node {
    use std::io::{Read, Write};
    use std::os::unix::net::{UnixListener, UnixStream};

    use byway_testkit::origin::ok;
    use byway_testkit::wire::Ending;
    use byway_testkit::{Gate, PATIENCE};

    use super::*;

    /// The servers of the notes, and Byway in front of them.
    struct Notes {
        byway: Program,
        app: Origin,
        _others: [Origin; 3],
        folder: tempfile::TempDir,
    }

    impl Notes {
        fn with(app: Origin, chat: Origin) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let (tcp, user) = (tcp_server(), Origin::named("controllers/user"));
            let socket = |name: &str| format!("unix:{}", folder.path().join(name).display());
            let config = example(
                "001-node",
                &[
                    ("127.0.0.1:9124", at(&tcp)),
                    ("127.0.0.1:9010", at(&app)),
                    ("127.0.0.1:9011", at(&chat)),
                    ("127.0.0.1:9012", at(&user)),
                    ("unix:/tmp/byway-echo.sock", socket("byway-echo.sock")),
                    ("unix:/tmp/echo.sock", socket("echo.sock")),
                ],
            );
            Self { byway: Program::configured(BYWAY, &config), app, _others: [tcp, chat, user], folder }
        }

        fn with_app(app: Origin) -> Self {
            Self::with(app, Origin::named("no chat"))
        }

        fn browser(&self) -> Visitor {
            Visitor::connect(self.byway.address_of("web"))
        }

        fn socket(&self, name: &str) -> std::path::PathBuf {
            self.folder.path().join(name)
        }
    }

    /// "创建 TCP 服务器端": greets, and answers whatever comes.
    fn tcp_server() -> Origin {
        Origin::scripted(|socket| {
            socket.send("欢迎光临《深入浅出NodeJS》");
            while socket.fill() {
                socket.taken();
                socket.send("你好");
            }
        })
    }

    #[test]
    fn telnet_is_greeted_answered_and_told_the_end() {
        let notes = Notes::with_app(Origin::named("app"));
        let mut telnet = Visitor::connect(notes.byway.address_of("telnet"));
        telnet.expect("欢迎光临《深入浅出NodeJS》");
        telnet.send("world").expect("你好").finish();
        assert_eq!(telnet.ended(), Ending::Fin);
    }

    #[test]
    fn a_domain_socket_leads_to_a_tcp_server() {
        let notes = Notes::with_app(Origin::named("app"));
        let mut nc = UnixStream::connect(notes.socket("byway-echo.sock")).unwrap();
        nc.set_read_timeout(Some(PATIENCE)).unwrap();
        nc.shutdown(std::net::Shutdown::Write).unwrap();
        let mut heard = String::new();
        nc.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "欢迎光临《深入浅出NodeJS》");
    }

    #[test]
    fn a_tcp_port_leads_to_a_server_on_a_domain_socket() {
        let notes = Notes::with_app(Origin::named("app"));
        let server = UnixListener::bind(notes.socket("echo.sock")).unwrap();
        let echo = std::thread::spawn(move || {
            let (mut socket, _) = server.accept().unwrap();
            let mut heard = Vec::new();
            socket.read_to_end(&mut heard).unwrap();
            socket.write_all(&heard).unwrap();
        });
        let mut client = Visitor::connect(notes.byway.address_of("to-domain-socket"));
        client.send("client connected").finish();
        assert_eq!(client.to_end(), (b"client connected".to_vec(), Ending::Fin));
        echo.join().unwrap();
    }

    #[test]
    fn method_path_query_cookie_and_credentials_reach_the_application_as_they_were_sent() {
        let notes = Notes::with_app(Origin::named("app"));
        let cookie = "csrftoken=HpZuyoYbH_hOQWHUv-0bbb9H; Hm_lvt_f1621cb3fb0792bb294fce1b938d5eef=1632186900";
        let request = format!(
            "DELETE /p/a/t/h?query=string&foo=1&foo=2 HTTP/1.1\r\nHost: host.com:8080\r\nCookie: {cookie}\r\n\
             Authorization: Basic dXNlcjpwYXNz\r\nIf-None-Match: \"v1\"\r\nAccept: application/json\r\n\r\n"
        );
        assert_eq!(notes.browser().ask(&request).status(), 200);
        let seen = &notes.app.wait_for_requests(1)[0];
        assert_eq!(seen.line(), "DELETE /p/a/t/h?query=string&foo=1&foo=2 HTTP/1.1");
        for (name, value) in [
            ("Host", "host.com:8080"),
            ("Cookie", cookie),
            ("Authorization", "Basic dXNlcjpwYXNz"),
            ("If-None-Match", "\"v1\""),
            ("Accept", "application/json"),
            ("X-Forwarded-For", "127.0.0.1"),
        ] {
            assert_eq!(seen.field(name), Some(value), "{name}");
        }
    }

    #[test]
    fn cookies_attachments_redirects_and_validators_of_the_application_reach_the_browser() {
        let redirect = "HTTP/1.1 302 Found\r\nLocation: /user/login?next=%2F\r\nSet-Cookie: a=1; Path=/; HttpOnly\r\n\
            Set-Cookie: b=2; Expires=Wed, 21 Oct 2026 07:28:00 GMT; Secure\r\nETag: \"v1\"\r\n\
            Content-Disposition: attachment; filename=\"filename.ext\"\r\nContent-Length: 0\r\n\r\n";
        let answer = Notes::with_app(Origin::answering(redirect)).browser().get("/");
        assert_eq!((answer.status(), answer.field("Location")), (302, Some("/user/login?next=%2F")));
        let cookies: Vec<_> = answer.fields("Set-Cookie").collect();
        assert_eq!(cookies, ["a=1; Path=/; HttpOnly", "b=2; Expires=Wed, 21 Oct 2026 07:28:00 GMT; Secure"]);
        assert_eq!(answer.field("Content-Disposition"), Some("attachment; filename=\"filename.ext\""));
        assert_eq!(answer.field("ETag"), Some("\"v1\""));
    }

    #[test]
    fn several_requests_share_a_connection_and_each_gets_its_own_answer() {
        let notes = Notes::with_app(Origin::useful());
        let mut browser = notes.browser();
        assert_eq!(browser.get("/").text(), "hello");
        assert_eq!(browser.get("/user/setting/12/1987").text(), "controllers/user");
        assert_eq!(browser.get("/bytes/5").body.len(), 5);
        assert_eq!(notes.app.connections(), 1);
    }

    const EXPECTING: &str = "Host: a\r\nExpect: 100-continue\r\n";

    #[test]
    fn an_upload_that_fits_is_told_to_continue_by_the_application() {
        let notes = Notes::with_app(Origin::useful());
        let mut browser = notes.browser();
        browser.send(format!("POST /sum HTTP/1.1\r\n{EXPECTING}Content-Length: 11\r\n\r\n"));
        assert_eq!(browser.head().unwrap().status(), 100);
        browser.send("foo=bar&b=1");
        let answer = browser.response();
        assert!(answer.text().starts_with("11 "), "{answer:?}");
    }

    #[test]
    fn an_upload_over_the_limit_is_refused_without_a_100_and_without_the_application() {
        let notes = Notes::with_app(Origin::useful());
        let mut browser = notes.browser();
        browser.send(format!("POST /upload HTTP/1.1\r\n{EXPECTING}Content-Length: 1048577\r\n\r\n"));
        assert_eq!(browser.head().unwrap().status(), 413);
        assert_eq!(notes.app.connections(), 0);
    }

    #[test]
    fn an_upload_that_grows_over_the_limit_is_cut_off() {
        let notes = Notes::with_app(Origin::scripted(|stream| stream.hold()));
        let mut browser = notes.browser();
        browser.send("POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        let chunk = [b"10000\r\n", vec![b'x'; 0x10000].as_slice(), b"\r\n"].concat();
        for _ in 0..17 {
            browser.try_send(&chunk);
        }
        assert_eq!(browser.response().status(), 413);
        notes.app.wait_for_ended(1);
    }

    #[test]
    fn an_attachment_passes_as_it_was_posted() {
        let notes = Notes::with_app(Origin::named("stored"));
        let form = "--AaB03x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"diveintonode.pdf\"\r\n\
            Content-Type: application/pdf\r\n\r\n%PDF\r\n--AaB03x--\r\n";
        let request = format!(
            "POST /upload HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=AaB03x\r\n\
             Content-Length: {}\r\n\r\n{form}",
            form.len()
        );
        assert_eq!(notes.browser().ask(&request).text(), "stored");
        let seen = &notes.app.wait_for_requests(1)[0];
        assert_eq!(seen.field("Content-Type"), Some("multipart/form-data; boundary=AaB03x"));
        assert_eq!(seen.text(), form);
    }

    #[test]
    fn a_page_in_parts_arrives_part_by_part() {
        let frame_was_seen = Gate::new();
        let seen = frame_was_seen.clone();
        let notes = Notes::with_app(Origin::scripted(move |stream| {
            stream.request();
            stream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n<frame>\r\n");
            seen.wait();
            stream.send("6\r\n<data>\r\n0\r\n\r\n");
        }));
        let mut browser = notes.browser();
        browser.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(browser.head().unwrap().status(), 200);
        browser.until(b"<frame>");
        frame_was_seen.open();
        browser.until(b"<data>");
    }

    #[test]
    fn a_malformed_request_is_answered_and_never_reaches_the_application() {
        let notes = Notes::with_app(Origin::named("app"));
        let mut browser = notes.browser();
        browser.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
        assert_eq!(browser.response().status(), 400);
        assert_eq!(browser.ended(), Ending::Fin);
        assert_eq!(notes.app.connections(), 0);
    }

    #[test]
    fn connect_is_no_request_for_a_web_server() {
        let notes = Notes::with_app(Origin::named("app"));
        assert_eq!(notes.browser().ask("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n").status(), 405);
    }

    const HANDSHAKE: &str = "GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Version: 13\r\n\r\n";
    const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n";
    const TEXT: u8 = 1;
    const CLOSE: u8 = 8;
    const PING: u8 = 9;
    const PONG: u8 = 10;

    /// Switches, sends texts back, answers pings, and closes when it is told to.
    fn chat_server() -> Origin {
        Origin::scripted(|stream| {
            let Some(request) = stream.request() else { return };
            assert_eq!(request.field("Sec-WebSocket-Key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
            stream.send(SWITCH);
            loop {
                let (opcode, payload) = read_frame(stream);
                let answer = if opcode == PING { PONG } else { opcode };
                stream.send(frame(answer, &payload, None));
                if opcode == CLOSE {
                    return;
                }
            }
        })
    }

    fn frame(opcode: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
        let masked = u8::from(mask.is_some()) << 7;
        let mut frame = vec![0x80 | opcode];
        match payload.len() {
            length @ 0..=125 => frame.push(masked | length as u8),
            length => {
                frame.push(masked | 126);
                frame.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
        }
        frame.extend(mask.iter().flatten());
        let key = mask.unwrap_or_default();
        frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
        frame
    }

    fn read_frame(wire: &mut Wire) -> (u8, Vec<u8>) {
        let head = wire.exactly(2);
        let length = match head[1] & 0x7f {
            126 => u16::from_be_bytes(wire.exactly(2).try_into().unwrap()).into(),
            length => usize::from(length),
        };
        let key = if head[1] & 0x80 == 0 { vec![0; 4] } else { wire.exactly(4) };
        let payload = wire.exactly(length);
        (head[0] & 0x0f, payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect())
    }

    #[test]
    fn a_websocket_shakes_hands_carries_frames_of_any_size_beats_and_closes() {
        let notes = Notes::with(Origin::named("app"), chat_server());
        let mut browser = notes.browser();
        let switched = browser.ask(HANDSHAKE);
        assert_eq!(switched.status(), 101);
        assert_eq!(switched.field("Sec-WebSocket-Accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert_eq!(switched.field("Sec-WebSocket-Protocol"), Some("chat"));
        // The notes lost six bytes of a text of 27,378 bytes that came in two packets.
        for length in [0, 5, 27_378] {
            let text = vec![b'x'; length];
            browser.send(frame(TEXT, &text, Some([1, 2, 3, 4])));
            assert_eq!(read_frame(&mut browser), (TEXT, text));
        }
        browser.send(frame(PING, b"beat", Some([5, 6, 7, 8])));
        assert_eq!(read_frame(&mut browser), (PONG, b"beat".to_vec()));
        browser.send(frame(CLOSE, &[3, 232], Some([9, 9, 9, 9])));
        assert_eq!(read_frame(&mut browser), (CLOSE, vec![3, 232]));
        assert_eq!(browser.ended(), Ending::Fin);
    }

    #[test]
    fn an_upgrade_that_the_application_does_not_want_is_an_ordinary_answer() {
        let notes = Notes::with(Origin::named("app"), Origin::answering(ok("no")));
        let mut browser = notes.browser();
        assert_eq!(browser.ask(HANDSHAKE).status(), 200);
        assert_eq!(browser.get("/").text(), "app");
    }
}

/// Source 002: the reverse tunnel, with a forward in the place of the tunnel.
mod natrp {
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
}

/// Source 003: limits, reuse, grouping and parents of Node's agent. The pool's own tests are in `crates/byway-agent`.
mod http_agent {
    use std::sync::mpsc;

    use byway_testkit::Gate;
    use byway_testkit::origin::ok;

    use super::*;

    /// The example with these servers behind it, and a parent if one is needed.
    fn agent(main: &Origin, cluster: &Origin, parent: Option<&Program>) -> Program {
        let parent = parent.map_or_else(|| "127.0.0.1:9".to_owned(), |parent| parent.address().to_string());
        let config = example(
            "003-http-agent",
            &[
                ("127.0.0.1:3000", at(main)),
                ("127.0.0.1:3001", at(cluster)),
                ("socks5://127.0.0.1:1080", format!("socks5://{parent}")),
            ],
        );
        Program::configured(BYWAY, &config)
    }

    fn get(agent: &Program, host: &str, path: &str) -> String {
        let mut visitor = Visitor::connect(agent.address_of("grouped"));
        visitor.ask(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).text()
    }

    #[test]
    fn a_connection_that_came_free_is_used_again_whatever_host_was_asked_for() {
        let (main, cluster) = (Origin::named("localhost:3000"), Origin::named("another cluster"));
        let agent = agent(&main, &cluster, None);
        for host in ["xxx.com", "yyy.com", "xxx.com"] {
            assert_eq!(get(&agent, host, "/"), "localhost:3000");
        }
        assert_eq!(main.connections(), 1);
        let hosts: Vec<_> = main.requests().iter().map(|seen| seen.field("Host").unwrap().to_owned()).collect();
        assert_eq!(hosts, ["xxx.com", "yyy.com", "xxx.com"]);
    }

    #[test]
    fn a_path_may_have_connections_of_its_own() {
        let (main, cluster) = (Origin::named("localhost:3000"), Origin::named("another cluster"));
        let agent = agent(&main, &cluster, None);
        assert_eq!(get(&agent, "xxx.com", "/"), "localhost:3000");
        assert_eq!(get(&agent, "xxx.com", "/cluster/a"), "another cluster");
        assert_eq!((main.connections(), cluster.connections()), (1, 1));
    }

    #[test]
    fn at_the_limit_one_request_is_pending_a_further_one_is_refused_and_no_socket_is_added() {
        let may_answer = Gate::new();
        let go = may_answer.clone();
        let main = Origin::scripted(move |stream| {
            while stream.request().is_some() {
                go.wait();
                stream.send(ok("done"));
            }
        });
        let cluster = Origin::named("another cluster");
        let agent = agent(&main, &cluster, None);
        let (answered, answers) = mpsc::channel();
        let ask = || {
            let (address, answered) = (agent.address_of("grouped"), answered.clone());
            std::thread::spawn(move || answered.send(Visitor::connect(address).get("/").status()).unwrap());
        };
        ask();
        main.wait_for_requests(1);
        // Of two more, one is pending (`requests`) and the other one, whichever came later, is told that it cannot be.
        ask();
        ask();
        assert_eq!(answers.recv().unwrap(), 503);
        // The limit is one host's: another host is not held up.
        assert_eq!(get(&agent, "xxx.com", "/cluster/"), "another cluster");
        may_answer.open();
        assert_eq!((answers.recv().unwrap(), answers.recv().unwrap()), (200, 200));
        assert_eq!(main.connections(), 1);
    }

    #[test]
    fn a_socket_that_the_server_does_not_keep_is_replaced_by_a_new_one() {
        let main = Origin::scripted(|stream| {
            stream.request();
            stream.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nonce");
        });
        let agent = agent(&main, &Origin::named("another cluster"), None);
        assert_eq!([get(&agent, "a", "/"), get(&agent, "a", "/")], ["once", "once"]);
        assert_eq!(main.connections(), 2);
    }

    #[test]
    fn requests_and_tunnels_go_through_a_socks_parent() {
        let parent = Program::start(BYWAY, &["proxy", "--listen", "127.0.0.1:0", "--allow", "127.0.0.0/8"]);
        let target = Origin::named("by way of a parent");
        let agent = agent(&target, &target, Some(&parent));
        let url = format!("http://localhost:{}/", target.address().port());
        let desk = agent.address_of("by-way-of");
        // Only the parent has a rule that opens loopback, so whatever arrives has gone through it.
        for (scheme, option) in [("http", "--proxy"), ("http", "--proxytunnel"), ("socks5h", "--proxy")] {
            let proxy = format!("{scheme}://{desk}");
            let args = ["--proxy", &proxy, option, if option == "--proxy" { &proxy } else { "--silent" }, &url];
            let fetched = curl(&args);
            assert_eq!((fetched.exit, fetched.text().as_str()), (0, "by way of a parent"), "{scheme} {option}");
        }
        let direct = curl(&["--proxy", &format!("http://{desk}"), &format!("http://{}/", target.address())]);
        assert_eq!(direct.status, 403);
    }
}

/// Source 004: routes by path, keep-alive connections for each authority, close.
mod hawkey {
    use byway_testkit::origin::ok;
    use byway_testkit::wire::Ending;

    use super::*;

    const AUTHORITIES: [&str; 3] = ["127.0.0.1:9001", "127.0.0.1:9002", "127.0.0.1:9003"];

    /// The example's text with these authorities for `api`, and with `socket` and `assets` behind the other routes.
    fn config(api: [SocketAddr; 3], socket: &Origin, assets: &Origin) -> String {
        let mut given: Vec<_> = AUTHORITIES.into_iter().zip(api.map(|authority| authority.to_string())).collect();
        given.extend([("127.0.0.1:9004", at(socket)), ("127.0.0.1:9005", at(assets))]);
        example("004-hawkey", &given)
    }

    struct Hawkey {
        byway: Program,
        socket: Origin,
        assets: Origin,
    }

    impl Hawkey {
        fn before(api: [SocketAddr; 3]) -> Self {
            let (socket, assets) = (Origin::named("socket"), Origin::named("assets"));
            Self { byway: Program::configured(BYWAY, &config(api, &socket, &assets)), socket, assets }
        }

        fn get(&self, path: &str) -> (u16, String) {
            let answer = Visitor::connect(self.byway.address()).get(path);
            (answer.status(), answer.text())
        }
    }

    fn three() -> [Origin; 3] {
        ["one", "two", "three"].map(Origin::named)
    }

    #[test]
    fn the_first_pattern_that_matches_the_path_decides() {
        let api = three();
        let hawkey = Hawkey::before([api[0].address(), api[1].address(), api[2].address()]);
        assert_eq!(hawkey.get("/api/users").1, "one");
        assert_eq!(hawkey.get("/socket/x").1, "socket");
        assert_eq!(hawkey.get("/lib/app.js").1, "assets");
        // The third pattern matches this one, too.
        assert_eq!(hawkey.get("/api/app.js").1, "two");
        assert_eq!(api[0].requests()[0].target(), "/api/users");
    }

    #[test]
    fn a_path_that_no_pattern_matches_is_404_and_nobody_is_asked() {
        let api = three();
        let hawkey = Hawkey::before([api[0].address(), api[1].address(), api[2].address()]);
        let answer = Visitor::connect(hawkey.byway.address()).get("/none");
        assert_eq!((answer.status(), answer.text().contains("reason: no-route")), (404, true));
        let asked = api.iter().chain([&hawkey.socket, &hawkey.assets]).map(Origin::connections).sum::<usize>();
        assert_eq!(asked, 0);
    }

    #[test]
    fn authorities_take_turns_and_each_keeps_its_connection() {
        let api = three();
        let hawkey = Hawkey::before([api[0].address(), api[1].address(), api[2].address()]);
        let answers: Vec<_> = (0..6).map(|_| hawkey.get("/api/").1).collect();
        assert_eq!(answers, ["one", "two", "three", "one", "two", "three"]);
        assert_eq!(api.each_ref().map(Origin::connections), [1, 1, 1]);
        // headers['host'] = this.settings.host, here with the port that belongs to it.
        assert_eq!(api[0].requests()[0].field("Host"), Some(at(&api[0]).as_str()));
    }

    #[test]
    fn an_authority_that_refuses_is_skipped() {
        let (one, three) = (Origin::named("one"), Origin::named("three"));
        let (refusing, _socket) = Origin::refusing();
        let hawkey = Hawkey::before([one.address(), refusing, three.address()]);
        let answers: Vec<_> = (0..6).map(|_| hawkey.get("/api/").1).collect();
        assert_eq!(answers, ["one", "three", "three", "one", "three", "three"]);
    }

    #[test]
    fn authorities_that_all_refuse_are_a_502_that_says_why() {
        let (refusing, _socket) = Origin::refusing();
        let hawkey = Hawkey::before([refusing; 3]);
        let answer = Visitor::connect(hawkey.byway.address()).get("/api/");
        assert_eq!((answer.status(), answer.text().contains("reason: refused")), (502, true));
    }

    #[test]
    fn an_authority_that_does_not_answer_is_a_504() {
        let silent = Origin::scripted(|stream| stream.hold());
        let (socket, assets) = (Origin::named("socket"), Origin::named("assets"));
        let config = config([silent.address(); 3], &socket, &assets);
        assert!(config.contains("first_byte = \"60s\""));
        let config = config.replace("first_byte = \"60s\"", "first_byte = \"100ms\"");
        let byway = Program::configured(BYWAY, &config);
        let answer = Visitor::connect(byway.address()).get("/api/");
        assert_eq!((answer.status(), answer.text().contains("reason: first-byte")), (504, true));
    }

    #[test]
    fn a_server_that_refuses_a_second_request_on_a_connection_is_served_by_a_new_one() {
        let once = Origin::scripted(|stream| {
            stream.request();
            stream.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        });
        let hawkey = Hawkey::before([once.address(); 3]);
        let answers: Vec<_> = (0..3).map(|_| hawkey.get("/api/").0).collect();
        assert_eq!((answers, once.connections()), (vec![200, 200, 200], 3));
    }

    #[test]
    fn an_idle_connection_that_the_server_closed_is_not_used() {
        let closes = Origin::scripted(|stream| {
            stream.request();
            // Says that it keeps the connection, and closes it nevertheless.
            stream.send(ok("ok"));
        });
        let hawkey = Hawkey::before([closes.address(); 3]);
        for served in 1..=3 {
            assert_eq!(hawkey.get("/api/").0, 200);
            closes.wait_for_ended(served);
        }
    }

    #[test]
    fn an_upgrade_reaches_its_authority() {
        let api = three();
        let socket = Origin::scripted(|stream| {
            stream.request();
            stream.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
            let (heard, _) = stream.to_end();
            stream.send(heard);
        });
        let assets = Origin::named("assets");
        let api = [api[0].address(), api[1].address(), api[2].address()];
        let byway = Program::configured(BYWAY, &config(api, &socket, &assets));
        let mut browser = Visitor::connect(byway.address());
        let request = "GET /socket HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
        assert_eq!(browser.ask(request).status(), 101);
        browser.send("onupgrade").finish();
        assert_eq!(browser.to_end(), (b"onupgrade".to_vec(), Ending::Fin));
    }

    #[test]
    fn close_gives_up_the_connections_of_a_route_that_a_reload_takes_away_and_no_others() {
        let api = three();
        let api = [api[0].address(), api[1].address(), api[2].address()];
        let hawkey = Hawkey::before(api);
        let mut browser = Visitor::connect(hawkey.byway.address());
        assert_eq!((browser.get("/a.js").text(), browser.get("/socket").text()), ("assets".into(), "socket".into()));
        let config = config(api, &hawkey.socket, &hawkey.assets);
        let (without_assets, _) = config.split_once("[[edge.route]]\nname = \"scripts and styles\"").unwrap();
        let said = hawkey.byway.reload(without_assets);
        assert!(said.contains("reloaded"), "{said}");
        hawkey.assets.wait_for_ended(1);
        // The browser's connection lives on under the new routes.
        assert_eq!((browser.get("/a.js").status(), browser.get("/socket").text()), (404, "socket".into()));
        assert_eq!(hawkey.socket.connections(), 1);
    }

    #[test]
    fn explain_says_which_route_a_path_takes() {
        let file = format!("{EXAMPLES}/from-the-sources/004-hawkey.toml");
        let explain = |url: &str| Launch::new(BYWAY, &["explain", url, "-c", &file]).run().stdout;
        let (api, none) = (explain("http://127.0.0.1:8080/api/users"), explain("http://127.0.0.1:8080/none"));
        assert!(api.contains("allowed by route api") && api.contains("http://127.0.0.1:9003"), "{api}");
        assert!(none.contains("HTTP 404"), "{none}");
    }
}
