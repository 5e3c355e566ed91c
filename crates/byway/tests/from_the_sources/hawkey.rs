//! Source 004: routes by path, keep-alive connections for each authority, close.

use byway_testkit::http2::{Http2Visitor, request};
use byway_testkit::origin::ok;
use byway_testkit::wire::Ending;

use super::*;

/// The authorities of `/api/` in the example.
const AUTHORITIES: [&str; 3] = ["127.0.0.1:9001", "127.0.0.1:9002", "127.0.0.1:9003"];

/// The example, with servers behind its other routes.
struct Hawkey {
    byway: Program,
    socket: Origin,
    assets: Origin,
}

impl Hawkey {
    fn start() -> Self {
        Self::with_socket(Origin::named("socket"))
    }

    fn with_socket(socket: Origin) -> Self {
        Self::run(shipped("004-hawkey"), socket)
    }

    fn run(byway: Program, socket: Origin) -> Self {
        Self {
            byway,
            socket: socket.also_at("127.0.0.1:9004"),
            assets: Origin::named("assets").also_at("127.0.0.1:9005"),
        }
    }

    fn get(&self, path: &str) -> (u16, String) {
        let answer = Visitor::connect(self.byway.address()).get(path);
        (answer.status(), answer.text())
    }
}

/// One server at each authority.
fn three() -> [Origin; 3] {
    let names = ["one", "two", "three"];
    std::array::from_fn(|n| Origin::named(names[n]).also_at(AUTHORITIES[n]))
}

/// One server at all authorities.
fn at_all(server: Origin) -> Origin {
    AUTHORITIES.into_iter().fold(server, Origin::also_at)
}

#[test]
fn the_first_pattern_that_matches_the_path_decides() {
    isolated!();
    let api = three();
    let hawkey = Hawkey::start();
    assert_eq!(hawkey.get("/api/users").1, "one");
    assert_eq!(hawkey.get("/socket/x").1, "socket");
    assert_eq!(hawkey.get("/lib/app.js").1, "assets");
    // The third pattern also matches this path.
    assert_eq!(hawkey.get("/api/app.js").1, "two");
    assert_eq!(api[0].requests()[0].target(), "/api/users");
}

#[test]
fn requests_of_one_http_2_connection_reach_their_authorities_by_http_1_1() {
    isolated!();
    let api = three();
    let hawkey = Hawkey::start();
    let mut visitor = Http2Visitor::connect(hawkey.byway.address());
    // All are under way before the first response is read.
    let paths = ["/api/users", "/lib/app.js", "/api/users"];
    let streams = paths.map(|path| visitor.head(&request("GET", path), true));
    let answers = streams.map(|stream| visitor.response(stream).text());
    assert_eq!(answers[1], "assets");
    let both = [&answers[0], &answers[2]];
    assert!(
        both.contains(&&"one".to_owned()) && both.contains(&&"two".to_owned()),
        "{answers:?}"
    );
    assert_eq!(api[0].requests()[0].line(), "GET /api/users HTTP/1.1");
}

#[test]
fn a_path_that_no_pattern_matches_is_404_and_uses_no_upstream() {
    isolated!();
    let api = three();
    let hawkey = Hawkey::start();
    let answer = Visitor::connect(hawkey.byway.address()).get("/none");
    assert_eq!(
        (answer.status(), answer.text().contains("reason: no-route")),
        (404, true)
    );
    let connections = api
        .iter()
        .chain([&hawkey.socket, &hawkey.assets])
        .map(Origin::connections)
        .sum::<usize>();
    assert_eq!(connections, 0);
}

#[test]
fn authorities_take_turns_and_each_keeps_its_connection() {
    isolated!();
    let api = three();
    let hawkey = Hawkey::start();
    let answers: Vec<_> = (0..6).map(|_| hawkey.get("/api/").1).collect();
    assert_eq!(answers, ["one", "two", "three", "one", "two", "three"]);
    assert_eq!(api.each_ref().map(Origin::connections), [1, 1, 1]);
    // headers['host'] = this.settings.host, here with its port.
    assert_eq!(api[0].requests()[0].field("Host"), Some(AUTHORITIES[0]));
}

#[test]
fn an_authority_that_refuses_is_skipped() {
    isolated!();
    // Nothing listens at the second one.
    let _one = Origin::named("one").also_at(AUTHORITIES[0]);
    let _three = Origin::named("three").also_at(AUTHORITIES[2]);
    let hawkey = Hawkey::start();
    let answers: Vec<_> = (0..6).map(|_| hawkey.get("/api/").1).collect();
    assert_eq!(answers, ["one", "three", "three", "one", "three", "three"]);
}

#[test]
fn authorities_that_all_refuse_are_a_502_with_the_reason() {
    isolated!();
    let hawkey = Hawkey::start();
    let answer = Visitor::connect(hawkey.byway.address()).get("/api/");
    assert_eq!(
        (answer.status(), answer.text().contains("reason: refused")),
        (502, true)
    );
}

#[test]
fn an_authority_that_does_not_answer_is_a_504_after_a_shorter_first_byte() {
    isolated!();
    let _silent = at_all(Origin::scripted(|stream| stream.hold()));
    let shorter = ("first_byte = \"60s\"", "first_byte = \"100ms\"");
    let config = with("004-hawkey", &[shorter]);
    let byway = Program::configured(BYWAY, &config);
    let answer = Visitor::connect(byway.address()).get("/api/");
    assert_eq!(
        (
            answer.status(),
            answer.text().contains("reason: first-byte")
        ),
        (504, true)
    );
}

/// With another authority than the example has: only root may listen on port 80.
#[test]
fn an_authority_without_a_port_has_port_80() {
    isolated!();
    let without_port = ("to = \"127.0.0.1:9005\"", "to = \"127.0.0.5\"");
    let config = with("004-hawkey", &[without_port]);
    let byway = Program::configured(BYWAY, &config);
    let authority = Origin::named("port 80").also_at("127.0.0.5:80");
    let answer = Visitor::connect(byway.address()).get("/lib/app.js");
    assert_eq!(answer.text(), "port 80");
    assert_eq!(authority.connections(), 1);
}

#[test]
fn a_server_that_refuses_a_second_request_on_a_connection_is_served_by_a_new_one() {
    isolated!();
    let once = Origin::scripted(|stream| {
        stream.request();
        stream.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    });
    let once = at_all(once);
    let hawkey = Hawkey::start();
    let answers: Vec<_> = (0..3).map(|_| hawkey.get("/api/").0).collect();
    assert_eq!((answers, once.connections()), (vec![200, 200, 200], 3));
}

#[test]
fn an_idle_connection_that_the_server_closed_is_not_used() {
    isolated!();
    let closes = Origin::scripted(|stream| {
        stream.request();
        // Announces keep-alive and closes anyway.
        stream.send(ok("ok"));
    });
    let closes = at_all(closes);
    let hawkey = Hawkey::start();
    for served in 1..=3 {
        assert_eq!(hawkey.get("/api/").0, 200);
        closes.wait_for_ended(served);
    }
}

#[test]
fn an_upgrade_reaches_its_authority() {
    isolated!();
    let socket = Origin::scripted(|stream| {
        stream.request();
        stream.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
        );
        let (received, _) = stream.to_end();
        stream.send(received);
    });
    let hawkey = Hawkey::with_socket(socket);
    let mut browser = Visitor::connect(hawkey.byway.address());
    let request = "GET /socket HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    assert_eq!(browser.ask(request).status(), 101);
    browser.send("onupgrade").finish();
    assert_eq!(browser.to_end(), (b"onupgrade".to_vec(), Ending::Fin));
}

#[test]
fn a_reload_that_removes_a_route_closes_its_connections_and_no_others() {
    isolated!();
    // A copy of the example, which the reload changes.
    let example = written("004-hawkey");
    let hawkey = Hawkey::run(
        Program::configured(BYWAY, &example),
        Origin::named("socket"),
    );
    let mut browser = Visitor::connect(hawkey.byway.address());
    assert_eq!(
        (browser.get("/a.js").text(), browser.get("/socket").text()),
        ("assets".into(), "socket".into())
    );
    let (without_assets, _) = example
        .split_once("[[edge.route]]\nname = \"scripts and styles\"")
        .unwrap();
    let log = hawkey.byway.reload(without_assets);
    assert!(log.contains("reloaded"), "{log}");
    hawkey.assets.wait_for_ended(1);
    // The browser's connection stays open under the new routes.
    assert_eq!(
        (browser.get("/a.js").status(), browser.get("/socket").text()),
        (404, "socket".into())
    );
    assert_eq!(hawkey.socket.connections(), 1);
}

#[test]
fn explain_prints_the_route_of_a_path() {
    isolated!();
    let file = format!("{EXAMPLES}/from-the-sources/004-hawkey.toml");
    let explain = |url: &str| {
        Launch::new(BYWAY, &["explain", url, "-c", &file])
            .run()
            .stdout
    };
    let (api, none) = (
        explain("http://127.0.0.1:8080/api/users"),
        explain("http://127.0.0.1:8080/none"),
    );
    assert!(
        api.contains("allowed by route api") && api.contains("http://127.0.0.1:9003"),
        "{api}"
    );
    assert!(none.contains("HTTP 404"), "{none}");
}
