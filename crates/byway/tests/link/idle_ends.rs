//! Idle ends: how a stream ends that was kept for another request, and what such streams never carry.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

use byway_testkit::origin::ok;
use byway_testkit::{Ending, Origin, Program, Visitor};
use socket2::SockRef;

use super::*;

fn read_head(stream: &mut TcpStream) {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
}

/// A public end with room for one connection to each service.
#[track_caller]
fn narrow_server() -> Server {
    let config = format!(
        "[pool]\nmax_per_origin = 1\n[[serve]]\nlisten = \"{ANY}\"\nhttp = \"{ANY}\"\ndomain = \
         \"t.localhost\"\nadvertise = \"127.0.0.1\"\n"
    );
    let program = Program::configured(BYWAY, &config);
    let file = program.folder().join("state").join("join-serve");
    let join = std::fs::read_to_string(file).unwrap().trim().to_owned();
    Server { program, join }
}

/// Idle streams were reset, which overtook what was still on its way to the service.
#[test]
fn a_service_that_reads_late_lost_the_rest_of_a_request_when_its_idle_stream_ended() {
    const BODY: usize = 20_000;
    let server = narrow_server();
    for carrier in CARRIERS {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        SockRef::from(&listener).set_recv_buffer_size(2048).unwrap();
        let address = listener.local_addr().unwrap();
        let service = std::thread::spawn(move || {
            let mut late = listener.accept().unwrap().0;
            read_head(&mut late);
            late.write_all(ok("early").as_bytes()).unwrap();
            // The place of the first stream is needed: it has ended.
            let mut other = listener.accept().unwrap().0;
            read_head(&mut other);
            other.write_all(ok("other").as_bytes()).unwrap();
            let mut body = Vec::new();
            let end = late.read_to_end(&mut body);
            (body.len(), end.unwrap_err().kind())
        });
        let _agent = Agent::http(&server, carrier, address, &["--carrier", carrier]);
        let head = format!("Host: {carrier}.t.localhost\r\nContent-Length:");
        let mut visitor = Visitor::connect(server.program.addresses()[1]);
        let body = "x".repeat(BODY);
        let put = format!("PUT / HTTP/1.1\r\n{head} {BODY}\r\n\r\n{body}");
        assert_eq!(visitor.ask(&put).text(), "early", "{carrier}");
        let post = format!("POST / HTTP/1.1\r\n{head} 0\r\n\r\n");
        assert_eq!(visitor.ask(&post).text(), "other", "{carrier}");
        let seen = service.join().unwrap();
        assert_eq!(seen, (BODY, ErrorKind::ConnectionReset), "{carrier}");
    }
}

#[test]
fn a_websocket_behind_other_requests_can_end_one_direction_before_the_other() {
    let origin = Origin::scripted(|visitor| {
        while let Some(request) = visitor.request() {
            if request.field("Upgrade").is_none() {
                visitor.send(ok("page"));
                continue;
            }
            visitor.send(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            );
            let (bytes, ending) = visitor.to_end();
            assert_eq!(ending, Ending::Fin);
            visitor.send([&bytes[..], b" and the last word"].concat());
            return;
        }
    });
    let server = Server::start();
    for carrier in CARRIERS {
        let _agent = Agent::http(&server, carrier, origin.address(), &["--carrier", carrier]);
        let mut visitor = Visitor::connect(server.http());
        let host = format!("Host: {carrier}.t.localhost\r\n");
        for _ in 0..2 {
            let page = visitor.ask(&format!("GET / HTTP/1.1\r\n{host}\r\n"));
            assert_eq!(page.text(), "page", "{carrier}");
        }
        visitor.send(format!(
            "GET /chat HTTP/1.1\r\n{host}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        ));
        assert_eq!(visitor.head().unwrap().status(), 101, "{carrier}");
        visitor.send("hello");
        visitor.finish();
        let expected = b"hello and the last word".to_vec();
        assert_eq!(visitor.to_end(), (expected, Ending::Fin), "{carrier}");
    }
}
