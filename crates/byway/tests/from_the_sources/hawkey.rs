//! Source 004: routes by path, keep-alive connections for each authority, close.

use byway_testkit::origin::ok;
use byway_testkit::wire::Ending;

use super::*;

const AUTHORITIES: [&str; 3] = ["127.0.0.1:9001", "127.0.0.1:9002", "127.0.0.1:9003"];

/// The example with these authorities for `api`, and with `socket` and `assets` behind the other
/// routes.
fn config(api: [SocketAddr; 3], socket: &Origin, assets: &Origin) -> String {
    let mut given: Vec<_> = AUTHORITIES
        .into_iter()
        .zip(api.map(|authority| authority.to_string()))
        .collect();
    given.extend([
        ("127.0.0.1:9004", at(socket)),
        ("127.0.0.1:9005", at(assets)),
    ]);
    // One worker, like the single process of the source: each worker has its own connections.
    format!("workers = 1\n{}", example("004-hawkey", &given))
}

struct Hawkey {
    byway: Program,
    socket: Origin,
    assets: Origin,
}

impl Hawkey {
    fn before(api: [SocketAddr; 3]) -> Self {
        let (socket, assets) = (Origin::named("socket"), Origin::named("assets"));
        Self {
            byway: Program::configured(BYWAY, &config(api, &socket, &assets)),
            socket,
            assets,
        }
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
    // The third pattern also matches this path.
    assert_eq!(hawkey.get("/api/app.js").1, "two");
    assert_eq!(api[0].requests()[0].target(), "/api/users");
}

#[test]
fn a_path_that_no_pattern_matches_is_404_and_uses_no_upstream() {
    let api = three();
    let hawkey = Hawkey::before([api[0].address(), api[1].address(), api[2].address()]);
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
    let api = three();
    let hawkey = Hawkey::before([api[0].address(), api[1].address(), api[2].address()]);
    let answers: Vec<_> = (0..6).map(|_| hawkey.get("/api/").1).collect();
    assert_eq!(answers, ["one", "two", "three", "one", "two", "three"]);
    assert_eq!(api.each_ref().map(Origin::connections), [1, 1, 1]);
    // headers['host'] = this.settings.host, here with its port.
    assert_eq!(
        api[0].requests()[0].field("Host"),
        Some(at(&api[0]).as_str())
    );
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
fn authorities_that_all_refuse_are_a_502_with_the_reason() {
    let (refusing, _socket) = Origin::refusing();
    let hawkey = Hawkey::before([refusing; 3]);
    let answer = Visitor::connect(hawkey.byway.address()).get("/api/");
    assert_eq!(
        (answer.status(), answer.text().contains("reason: refused")),
        (502, true)
    );
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
    assert_eq!(
        (
            answer.status(),
            answer.text().contains("reason: first-byte")
        ),
        (504, true)
    );
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
        // Announces keep-alive and closes anyway.
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
        stream.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
        );
        let (received, _) = stream.to_end();
        stream.send(received);
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
fn a_reload_that_removes_a_route_closes_its_connections_and_no_others() {
    let api = three();
    let api = [api[0].address(), api[1].address(), api[2].address()];
    let hawkey = Hawkey::before(api);
    let mut browser = Visitor::connect(hawkey.byway.address());
    assert_eq!(
        (browser.get("/a.js").text(), browser.get("/socket").text()),
        ("assets".into(), "socket".into())
    );
    let config = config(api, &hawkey.socket, &hawkey.assets);
    let (without_assets, _) = config
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
