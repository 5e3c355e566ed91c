//! Parents: third-party proxies behind an exit, and every kind of parent that a rule may name.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use byway_dial::{AddressRules, Dialler, Options, Parent, Read, Resolver, Target};
use byway_testkit::{Origin, Visitor, curl};

use super::*;

/// A third-party proxy on a loopback port, killed on drop.
struct Other {
    child: Child,
    address: SocketAddr,
}

impl Other {
    /// Starts `program` with the arguments that `args` returns for a free address. Waits until it
    /// listens.
    #[track_caller]
    fn start(program: &str, args: impl Fn(SocketAddr) -> Vec<String>) -> Self {
        loop {
            // The port is not reserved. A program that finds it taken exits, and is started again
            // with another one.
            let address = TcpListener::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap();
            let mut command = Command::new(program);
            command
                .args(args(address))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            let mut child = command.spawn().unwrap_or_else(|error| {
                panic!("{program}: {error}; `cargo xtask test` installs what the tests need");
            });
            while child.try_wait().unwrap().is_none() {
                if TcpStream::connect(address).is_ok() {
                    return Self { child, address };
                }
                std::thread::yield_now();
            }
        }
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An exit that sends all requests for `localhost` to the parent `via`.
#[track_caller]
fn exit_via(via: &str) -> Program {
    let rule = format!("[[proxy.rule]]\naction = \"via\"\nvia = \"{via}\"\nhost = \"localhost\"\n");
    Program::configured(
        BYWAY,
        &format!("[[proxy]]\nlisten = \"127.0.0.1:0\"\n{rule}"),
    )
}

/// The origin's answer, requested by name through `exit`.
#[track_caller]
fn fetched(exit: &Program, origin: &Origin) -> String {
    let proxy = format!("socks5h://{}", exit.address());
    let fetched = curl(&[
        "-x",
        &proxy,
        &format!("http://localhost:{}/", origin.address().port()),
    ]);
    assert_eq!(fetched.exit, 0, "{}", fetched.said);
    fetched.text()
}

#[test]
fn microsocks_as_a_parent_receives_user_and_password() {
    let origin = Origin::named("behind microsocks");
    let args = |at: SocketAddr| {
        let port = at.port().to_string();
        ["-i", "127.0.0.1", "-p", &port, "-u", "desk", "-P", "p@ss"]
            .map(str::to_owned)
            .to_vec()
    };
    let microsocks = Other::start("microsocks", args);
    let exit = exit_via(&format!("socks5://desk:p%40ss@{}", microsocks.address));
    assert_eq!(fetched(&exit, &origin), "behind microsocks");
    let wrong = exit_via(&format!("socks5://desk:other@{}", microsocks.address));
    assert_ne!(
        socks5_reply(
            wrong.address(),
            &socks5_name("localhost", origin.address().port())
        ),
        0
    );
    wrong.wait_for_log("it does not accept our credentials");
}

#[test]
fn tinyproxy_as_a_parent_opens_a_tunnel() {
    let origin = Origin::named("behind tinyproxy");
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("tinyproxy.conf");
    let args = |at: SocketAddr| {
        let text = format!(
            "Port {}\nListen 127.0.0.1\nAllow 127.0.0.1\nBasicAuth desk secret\n",
            at.port()
        );
        std::fs::write(&config, text).unwrap();
        vec![
            "-d".to_owned(),
            "-c".to_owned(),
            config.display().to_string(),
        ]
    };
    let tinyproxy = Other::start("tinyproxy", args);
    let exit = exit_via(&format!("http://desk:secret@{}", tinyproxy.address));
    assert_eq!(fetched(&exit, &origin), "behind tinyproxy");
}

#[test]
fn every_kind_of_parent_that_resolves_names_may_be_named_by_a_rule() {
    let origin = Origin::named("behind two exits");
    let parent = egress(&OPEN);
    for scheme in ["socks4a", "socks5", "socks5h", "http"] {
        let exit = exit_via(&format!("{scheme}://{}", parent.address()));
        assert_eq!(fetched(&exit, &origin), "behind two exits", "{scheme}");
    }
}

/// The library still speaks what a rule may not name: SOCKS 4, and SOCKS 5 with names resolved by
/// the client.
#[test]
fn our_exits_accept_every_proxy_protocol_of_our_dialler() {
    let echo = Origin::echo();
    let parent = egress(&OPEN);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let target: Target = format!("localhost:{}", echo.address().port())
        .parse()
        .unwrap();
    for scheme in ["socks4", "socks4a", "socks5", "socks5h", "http"] {
        let parent: Parent = format!("{scheme}://{}", parent.address()).parse().unwrap();
        let received = runtime.block_on(async {
            let dialler = Dialler::new(
                Resolver::system(runtime.handle().clone()),
                Options::default(),
            );
            let mut stream = dialler
                .open_via(&parent, &target, &AddressRules::open())
                .await
                .unwrap()
                .stream;
            stream.write_all(b"hello").await.unwrap();
            let (mut received, mut room) = (Vec::new(), [0; 5]);
            while received.len() < 5 {
                let Read::Data(n) = stream.read(&mut room).await.unwrap() else {
                    panic!("{scheme}: an early end")
                };
                received.extend_from_slice(&room[..n]);
            }
            received
        });
        assert_eq!(received, b"hello", "{scheme}");
    }
}

#[test]
fn a_parent_that_does_not_speak_tls_is_not_used_by_https() {
    let origin = Origin::named("never reached");
    let parent = egress(&OPEN);
    let exit = exit_via(&format!("https://{}", parent.address()));
    assert_ne!(
        socks5_reply(
            exit.address(),
            &socks5_name("localhost", origin.address().port())
        ),
        0
    );
    assert_eq!(origin.connections(), 0);
}

/// The address of a parent is for the operator only: no answer to a user of the egress contains it,
/// whatever fails.
#[test]
fn a_parent_that_fails_is_named_in_the_log_and_not_to_the_client() {
    let (refusing, _bound) = Origin::refusing();
    let closing = Origin::scripted(|_| ());
    for parent in [refusing, closing.address()] {
        for scheme in ["http", "socks5"] {
            let exit = exit_via(&format!("{scheme}://{parent}"));
            let mut answers = vec![connect("localhost:9")];
            if scheme == "http" {
                answers.push(
                    b"GET http://localhost:9/ HTTP/1.1\r\nHost: localhost:9\r\n\r\n".to_vec(),
                );
            }
            for request in answers {
                let request = String::from_utf8(request).unwrap();
                let answer = Visitor::connect(exit.address()).ask(&request);
                assert_eq!(answer.status(), 502, "{scheme}");
                let shown = format!("{answer:?}{}", answer.text());
                let port = format!(":{}", parent.port());
                assert!(
                    !shown.contains(&port) && !shown.contains("127.0.0.1"),
                    "{scheme}: {shown}"
                );
                assert!(shown.contains("parent proxy"), "{scheme}: {shown}");
            }
            let line = exit.wait_for_log("through the parent proxy");
            assert!(line.contains(&parent.to_string()), "{scheme}: {line}");
        }
    }
}

#[test]
fn a_dial_ends_when_its_client_has_reset() {
    let silent = Origin::scripted(|served| {
        served.fill();
        served.taken();
        served.remember_to_end();
    });
    let exit = Program::configured(
        BYWAY,
        &format!(
            "[dial]\nconnect_timeout = \"300s\"\n[[proxy]]\nlisten = \"127.0.0.1:0\"\n[[proxy.rule]]\naction = \"via\"\n\
         via = \"http://{}\"\nhost = \"localhost\"\n",
            silent.address()
        ),
    );
    let connect = b"CONNECT localhost:9 HTTP/1.1\r\nHost: localhost:9\r\n\r\n".to_vec();
    let socks = b"\x05\x01\x00\x05\x01\x00\x03\x09localhost\x00\x09".to_vec();
    let request = b"GET http://localhost:9/ HTTP/1.1\r\nHost: localhost:9\r\n\r\n".to_vec();
    for (n, bytes) in [connect, socks, request].into_iter().enumerate() {
        let mut visitor = Visitor::connect(exit.address());
        visitor.send(bytes);
        silent.wait_for_connections(n + 1);
        visitor.reset();
        silent.wait_for_ended(n + 1);
    }
}
