//! Source 001: the notes on Node.

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
}

/// Where Byway listens, and where a server of the notes does.
const SOCKETS: [&str; 2] = ["/tmp/byway-echo.sock", "/tmp/echo.sock"];

impl Notes {
    fn with(app: Origin, chat: Origin) -> Self {
        Self::behind(shipped("001-node"), app, chat)
    }

    fn behind(byway: Program, app: Origin, chat: Origin) -> Self {
        Self {
            byway,
            app: app.also_at("127.0.0.1:9010"),
            _others: [
                tcp_server().also_at("127.0.0.1:9124"),
                chat.also_at("127.0.0.1:9011"),
                Origin::named("controllers/user").also_at("127.0.0.1:9012"),
            ],
        }
    }

    fn with_app(app: Origin) -> Self {
        Self::with(app, Origin::named("no chat"))
    }

    fn browser(&self) -> Visitor {
        Visitor::connect(self.byway.address_of("web"))
    }
}

/// "创建 TCP 服务器端": greets, and answers every message.
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
fn telnet_gets_the_greeting_answers_and_the_end() {
    isolated!();
    let notes = Notes::with_app(Origin::named("app"));
    let mut telnet = Visitor::connect(notes.byway.address_of("telnet"));
    telnet.expect("欢迎光临《深入浅出NodeJS》");
    telnet.send("world").expect("你好").finish();
    assert_eq!(telnet.ended(), Ending::Fin);
}

/// With shorter times than the example has.
#[test]
fn an_idle_connection_of_each_kind_is_closed_after_a_shorter_timeout() {
    isolated!();
    let shorter = [
        ("idle = \"10m\"", "idle = \"200ms\""),
        ("keep_alive = \"60s\"", "keep_alive = \"200ms\""),
    ];
    let byway = Program::configured(BYWAY, &with("001-node", &shorter));
    let notes = Notes::behind(byway, Origin::named("app"), chat_server());
    let mut telnet = Visitor::connect(notes.byway.address_of("telnet"));
    telnet.expect("欢迎光临《深入浅出NodeJS》");
    assert_eq!(telnet.ended(), Ending::Reset);
    let mut browser = notes.browser();
    assert_eq!(browser.get("/").text(), "app");
    assert_eq!(browser.ended(), Ending::Fin);
    let mut chat = notes.browser();
    assert_eq!(chat.ask(HANDSHAKE).status(), 101);
    assert_eq!(chat.ended(), Ending::Reset);
}

#[test]
fn a_domain_socket_leads_to_a_tcp_server() {
    isolated!();
    let _notes = Notes::with_app(Origin::named("app"));
    let mut nc = UnixStream::connect(SOCKETS[0]).unwrap();
    nc.set_read_timeout(Some(PATIENCE)).unwrap();
    nc.shutdown(std::net::Shutdown::Write).unwrap();
    let mut received = String::new();
    nc.read_to_string(&mut received).unwrap();
    assert_eq!(received, "欢迎光临《深入浅出NodeJS》");
}

#[test]
fn a_tcp_port_leads_to_a_server_on_a_domain_socket() {
    isolated!();
    let notes = Notes::with_app(Origin::named("app"));
    let server = UnixListener::bind(SOCKETS[1]).unwrap();
    let echo = std::thread::spawn(move || {
        let (mut socket, _) = server.accept().unwrap();
        let mut received = Vec::new();
        socket.read_to_end(&mut received).unwrap();
        socket.write_all(&received).unwrap();
    });
    let mut client = Visitor::connect(notes.byway.address_of("to-domain-socket"));
    client.send("client connected").finish();
    assert_eq!(client.to_end(), (b"client connected".to_vec(), Ending::Fin));
    echo.join().unwrap();
}

#[test]
fn method_path_query_cookie_and_credentials_reach_the_application_as_they_were_sent() {
    isolated!();
    let notes = Notes::with_app(Origin::named("app"));
    let cookie =
        "csrftoken=HpZuyoYbH_hOQWHUv-0bbb9H; Hm_lvt_f1621cb3fb0792bb294fce1b938d5eef=1632186900";
    let request = format!(
        "DELETE /p/a/t/h?query=string&foo=1&foo=2 HTTP/1.1\r\nHost: host.com:8080\r\nCookie: {cookie}\r\n\
         Authorization: Basic dXNlcjpwYXNz\r\nIf-None-Match: \"v1\"\r\nAccept: application/json\r\n\r\n"
    );
    assert_eq!(notes.browser().ask(&request).status(), 200);
    let seen = &notes.app.wait_for_requests(1)[0];
    assert_eq!(
        seen.line(),
        "DELETE /p/a/t/h?query=string&foo=1&foo=2 HTTP/1.1"
    );
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
    isolated!();
    let redirect = "HTTP/1.1 302 Found\r\nLocation: /user/login?next=%2F\r\nSet-Cookie: a=1; Path=/; HttpOnly\r\n\
        Set-Cookie: b=2; Expires=Wed, 21 Oct 2026 07:28:00 GMT; Secure\r\nETag: \"v1\"\r\n\
        Content-Disposition: attachment; filename=\"filename.ext\"\r\nContent-Length: 0\r\n\r\n";
    let answer = Notes::with_app(Origin::answering(redirect))
        .browser()
        .get("/");
    assert_eq!(
        (answer.status(), answer.field("Location")),
        (302, Some("/user/login?next=%2F"))
    );
    let cookies: Vec<_> = answer.fields("Set-Cookie").collect();
    assert_eq!(
        cookies,
        [
            "a=1; Path=/; HttpOnly",
            "b=2; Expires=Wed, 21 Oct 2026 07:28:00 GMT; Secure"
        ]
    );
    assert_eq!(
        answer.field("Content-Disposition"),
        Some("attachment; filename=\"filename.ext\"")
    );
    assert_eq!(answer.field("ETag"), Some("\"v1\""));
}

#[test]
fn several_requests_share_a_connection_and_each_gets_its_own_answer() {
    isolated!();
    let notes = Notes::with_app(Origin::useful());
    let mut browser = notes.browser();
    assert_eq!(browser.get("/").text(), "hello");
    assert_eq!(
        browser.get("/user/setting/12/1987").text(),
        "controllers/user"
    );
    assert_eq!(browser.get("/bytes/5").body.len(), 5);
    assert_eq!(notes.app.connections(), 1);
}

const EXPECTING: &str = "Host: a\r\nExpect: 100-continue\r\n";

#[test]
fn an_upload_within_the_limit_gets_its_100_from_the_application() {
    isolated!();
    let notes = Notes::with_app(Origin::useful());
    let mut browser = notes.browser();
    browser.send(format!(
        "POST /sum HTTP/1.1\r\n{EXPECTING}Content-Length: 11\r\n\r\n"
    ));
    assert_eq!(browser.head().unwrap().status(), 100);
    browser.send("foo=bar&b=1");
    let answer = browser.response();
    assert!(answer.text().starts_with("11 "), "{answer:?}");
}

#[test]
fn an_upload_over_the_limit_is_refused_without_a_100_and_without_the_application() {
    isolated!();
    let notes = Notes::with_app(Origin::useful());
    let mut browser = notes.browser();
    browser.send(format!(
        "POST /upload HTTP/1.1\r\n{EXPECTING}Content-Length: 1048577\r\n\r\n"
    ));
    assert_eq!(browser.head().unwrap().status(), 413);
    assert_eq!(notes.app.connections(), 0);
}

#[test]
fn an_upload_that_grows_over_the_limit_is_cut_off() {
    isolated!();
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
    isolated!();
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
    assert_eq!(
        seen.field("Content-Type"),
        Some("multipart/form-data; boundary=AaB03x")
    );
    assert_eq!(seen.text(), form);
}

#[test]
fn a_page_in_parts_arrives_part_by_part() {
    isolated!();
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
    isolated!();
    let notes = Notes::with_app(Origin::named("app"));
    let mut browser = notes.browser();
    browser.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    assert_eq!(browser.response().status(), 400);
    assert_eq!(browser.ended(), Ending::Fin);
    assert_eq!(notes.app.connections(), 0);
}

#[test]
fn a_web_server_refuses_connect() {
    isolated!();
    let notes = Notes::with_app(Origin::named("app"));
    assert_eq!(
        notes
            .browser()
            .ask("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n")
            .status(),
        405
    );
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

/// Switches protocols, echoes texts, answers pings, and closes on a close frame.
fn chat_server() -> Origin {
    Origin::scripted(|stream| {
        let Some(request) = stream.request() else {
            return;
        };
        assert_eq!(
            request.field("Sec-WebSocket-Key"),
            Some("dGhlIHNhbXBsZSBub25jZQ==")
        );
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
    frame.extend(
        payload
            .iter()
            .zip(key.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
    frame
}

fn read_frame(wire: &mut Wire) -> (u8, Vec<u8>) {
    let head = wire.exactly(2);
    let length = match head[1] & 0x7f {
        126 => u16::from_be_bytes(wire.exactly(2).try_into().unwrap()).into(),
        length => usize::from(length),
    };
    let key = if head[1] & 0x80 == 0 {
        vec![0; 4]
    } else {
        wire.exactly(4)
    };
    let payload = wire.exactly(length);
    (
        head[0] & 0x0f,
        payload
            .iter()
            .zip(key.iter().cycle())
            .map(|(byte, key)| byte ^ key)
            .collect(),
    )
}

#[test]
fn a_websocket_opens_carries_frames_of_any_size_answers_pings_and_closes() {
    isolated!();
    let notes = Notes::with(Origin::named("app"), chat_server());
    let mut browser = notes.browser();
    let switched = browser.ask(HANDSHAKE);
    assert_eq!(switched.status(), 101);
    assert_eq!(
        switched.field("Sec-WebSocket-Accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    assert_eq!(switched.field("Sec-WebSocket-Protocol"), Some("chat"));
    // The notes lost six bytes of a text of 27,378 bytes that arrived in two packets.
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
    isolated!();
    let notes = Notes::with(Origin::named("app"), Origin::answering(ok("no")));
    let mut browser = notes.browser();
    assert_eq!(browser.ask(HANDSHAKE).status(), 200);
    assert_eq!(browser.get("/").text(), "app");
}
