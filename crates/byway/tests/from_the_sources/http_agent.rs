//! Source 003: limits, reuse, grouping and parents of Node's agent. The tests of the pool are in
//! `crates/byway-pool`.

use std::sync::mpsc;

use byway_testkit::Gate;
use byway_testkit::origin::ok;

use super::*;

/// The example, with the servers that it names: the main one, and the other cluster.
struct Agent {
    byway: Program,
    main: Origin,
    cluster: Origin,
}

impl Agent {
    fn before(main: Origin) -> Self {
        Self {
            byway: shipped("003-http-agent"),
            main: main.also_at("127.0.0.1:3000"),
            cluster: Origin::named("another cluster").also_at("127.0.0.1:3001"),
        }
    }

    fn get(&self, host: &str, path: &str) -> String {
        let mut visitor = Visitor::connect(self.byway.address_of("grouped"));
        visitor
            .ask(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
            .text()
    }
}

#[test]
fn an_idle_connection_is_reused_whatever_host_was_requested() {
    isolated!();
    let agent = Agent::before(Origin::named("localhost:3000"));
    for host in ["xxx.com", "yyy.com", "xxx.com"] {
        assert_eq!(agent.get(host, "/"), "localhost:3000");
    }
    assert_eq!(agent.main.connections(), 1);
    let hosts: Vec<_> = agent
        .main
        .requests()
        .iter()
        .map(|seen| seen.field("Host").unwrap().to_owned())
        .collect();
    assert_eq!(hosts, ["xxx.com", "yyy.com", "xxx.com"]);
}

#[test]
fn a_path_may_have_connections_of_its_own() {
    isolated!();
    let agent = Agent::before(Origin::named("localhost:3000"));
    assert_eq!(agent.get("xxx.com", "/"), "localhost:3000");
    assert_eq!(agent.get("xxx.com", "/cluster/a"), "another cluster");
    assert_eq!(
        (agent.main.connections(), agent.cluster.connections()),
        (1, 1)
    );
}

#[test]
fn at_the_limit_one_request_is_pending_a_further_one_is_refused_and_no_socket_is_added() {
    isolated!();
    let may_answer = Gate::new();
    let go = may_answer.clone();
    let main = Origin::scripted(move |stream| {
        while stream.request().is_some() {
            go.wait();
            stream.send(ok("done"));
        }
    });
    let agent = Agent::before(main);
    let (answered, answers) = mpsc::channel();
    let ask = || {
        let (address, answered) = (agent.byway.address_of("grouped"), answered.clone());
        std::thread::spawn(move || {
            answered
                .send(Visitor::connect(address).get("/").status())
                .unwrap()
        });
    };
    ask();
    agent.main.wait_for_requests(1);
    // Of two more, the first is pending (`requests`) and the second is refused.
    ask();
    ask();
    assert_eq!(answers.recv().unwrap(), 503);
    // The limit applies to one host: a request to another host is not delayed.
    assert_eq!(agent.get("xxx.com", "/cluster/"), "another cluster");
    may_answer.open();
    assert_eq!(
        (answers.recv().unwrap(), answers.recv().unwrap()),
        (200, 200)
    );
    assert_eq!(agent.main.connections(), 1);
}

#[test]
fn a_socket_that_the_server_does_not_keep_is_replaced_by_a_new_one() {
    isolated!();
    let main = Origin::scripted(|stream| {
        stream.request();
        stream.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nonce");
    });
    let agent = Agent::before(main);
    assert_eq!([agent.get("a", "/"), agent.get("a", "/")], ["once", "once"]);
    assert_eq!(agent.main.connections(), 2);
}

#[test]
fn requests_and_tunnels_go_through_a_socks_parent() {
    isolated!();
    let parent = "proxy --listen 127.0.0.1:1080 --allow 127.0.0.0/8";
    let printed = format!("byway {parent} ");
    assert!(written("003-http-agent").contains(&printed), "{printed}");
    let parent: Vec<_> = parent.split(' ').collect();
    let _parent = Program::start(BYWAY, &parent);
    let target = Origin::named("by way of a parent");
    let agent = shipped("003-http-agent");
    let url = format!("http://localhost:{}/", target.address().port());
    let desk = agent.address_of("by-way-of");
    // Only the parent has a rule that opens loopback, so every answer came through it.
    for (scheme, option) in [
        ("http", "--proxy"),
        ("http", "--proxytunnel"),
        ("socks5h", "--proxy"),
    ] {
        let proxy = format!("{scheme}://{desk}");
        let args = [
            "--proxy",
            &proxy,
            option,
            if option == "--proxy" {
                &proxy
            } else {
                "--silent"
            },
            &url,
        ];
        let fetched = curl(&args);
        assert_eq!(
            (fetched.exit, fetched.text().as_str()),
            (0, "by way of a parent"),
            "{scheme} {option}"
        );
    }
    let direct = curl(&[
        "--proxy",
        &format!("http://{desk}"),
        &format!("http://{}/", target.address()),
    ]);
    assert_eq!(direct.status, 403);
}
