//! Routing: which origin a request goes to.

use byway_testkit::{Origin, Program, Visitor};

use super::{BYWAY, config, edge_with, to};

#[test]
fn the_first_route_whose_host_and_path_match_wins_and_none_is_404() {
    let [api, shop, rest] = ["api", "shop", "rest"].map(Origin::named);
    let program = Program::configured(
        BYWAY,
        &config(
            "",
            &[
                &format!(
                    "hosts = [\"app.example\"]\npath = '^/v[0-9]+/'\n{}",
                    to(&api)
                ),
                &format!(
                    "hosts = [\"*.example\"]\npath = '^/(shop|cart)(/|$)'\n{}",
                    to(&shop)
                ),
                &format!("path = '^/v1/'\n{}", to(&rest)),
            ],
        ),
    );
    let mut visitor = Visitor::connect(program.address());
    for (host, path, expected) in [
        ("app.example", "/v1/users", "api"),
        ("APP.example:8080", "/v22/users?x=/shop", "api"),
        ("app.example", "/shop", "shop"),
        ("www.app.example", "/cart/1", "shop"),
        ("other.test", "/v1/users", "rest"),
        ("app.example", "/shopping", "404"),
        ("example", "/shop", "404"),
        ("other.test", "/v2/users", "404"),
        ("other.test", "/", "404"),
    ] {
        let answer = visitor.ask(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        match expected {
            "404" => assert_eq!(answer.status(), 404, "{host}{path}"),
            name => assert_eq!(answer.text(), name, "{host}{path}"),
        }
    }
}

#[test]
fn an_encoded_letter_does_not_bypass_the_route_of_a_path() {
    let [guarded, rest] = ["guarded", "rest"].map(Origin::named);
    let program = Program::configured(
        BYWAY,
        &config(
            "",
            &[&format!("path = '^/admin'\n{}", to(&guarded)), &to(&rest)],
        ),
    );
    let mut visitor = Visitor::connect(program.address());
    for path in ["/admin", "/%61dmin", "/adm%69n/x", "/%61%64%6D%69%6e"] {
        assert_eq!(visitor.get(path).text(), "guarded", "{path}");
    }
    // Decoded once, and only unreserved characters.
    for path in ["/%2561dmin", "/a%2Fadmin", "//admin"] {
        assert_eq!(visitor.get(path).text(), "rest", "{path}");
    }
    for path in ["/%2e%2e/admin", "/x/%2E./admin", "/%2%65/admin"] {
        assert_eq!(visitor.get(path).status(), 400, "{path}");
    }
}

#[test]
fn an_edge_that_rejects_empty_segments_refuses_them_with_their_own_reason() {
    let origin = Origin::named("origin");
    let text = config("", &[&to(&origin)])
        .replace("[[edge]]\n", "[[edge]]\nreject_empty_segments = true\n");
    let program = Program::configured(BYWAY, &text);
    let mut visitor = Visitor::connect(program.address());
    for path in ["//admin", "/a//b", "/a//", "/%2Fadmin", "//"] {
        let answer = visitor.get(path);
        assert_eq!(answer.status(), 400, "{path}");
        assert!(
            answer.text().contains("reason: empty-segment\n"),
            "{path}: {answer:?}"
        );
    }
    for path in ["/", "/a/", "/a?b=//", "/proxy/https%3A%2F%2Fexample.com"] {
        assert_eq!(visitor.get(path).text(), "origin", "{path}");
    }
}

#[test]
fn several_upstreams_are_used_in_turn() {
    let [one, two] = ["one", "two"].map(Origin::named);
    let (a, b) = (one.address().to_string(), two.address().to_string());
    let program = Program::start(
        BYWAY,
        &["edge", "--from", "127.0.0.1:0", "--to", &a, "--to", &b],
    );
    let mut visitor = Visitor::connect(program.address());
    let answers: Vec<_> = (0..6).map(|_| visitor.get("/").text()).collect();
    assert!(
        answers.windows(2).all(|pair| pair[0] != pair[1]),
        "{answers:?}"
    );
}

#[test]
fn an_upstream_that_refuses_is_skipped() {
    let (refusing, _socket) = Origin::refusing();
    let alive = Origin::named("alive");
    let (a, b) = (refusing.to_string(), alive.address().to_string());
    let program = Program::start(
        BYWAY,
        &["edge", "--from", "127.0.0.1:0", "--to", &a, "--to", &b],
    );
    let mut visitor = Visitor::connect(program.address());
    for _ in 0..4 {
        assert_eq!(visitor.get("/").text(), "alive");
    }
    let upload = visitor.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
    assert_eq!(upload.text(), "alive");
}

#[test]
fn upstreams_that_all_refuse_are_a_502_with_proxy_status_and_the_connection_stays_open() {
    let (refusing, _socket) = Origin::refusing();
    let program = Program::start(
        BYWAY,
        &[
            "edge",
            "--from",
            "127.0.0.1:0",
            "--to",
            &refusing.to_string(),
        ],
    );
    let mut visitor = Visitor::connect(program.address());
    for _ in 0..2 {
        let answer = visitor.get("/");
        assert_eq!(answer.status(), 502);
        assert!(
            answer
                .field("Proxy-Status")
                .unwrap()
                .contains("error=connection_refused"),
            "{answer:?}"
        );
        assert!(
            !format!("{answer:?}").contains(&refusing.port().to_string()),
            "a visitor learns no address: {answer:?}"
        );
    }
    program.wait_for_log("refused");
}

#[test]
fn an_upstream_that_cannot_be_resolved_is_a_502_for_its_route_and_no_reason_not_to_start() {
    let fine = Origin::named("fine");
    let lost = "path = '^/lost'\nto = \"http://nowhere.invalid:80\"";
    let program = Program::configured(BYWAY, &config("", &[lost, &to(&fine)]));
    let mut visitor = Visitor::connect(program.address());
    assert_eq!(visitor.get("/lost").status(), 502);
    assert_eq!(visitor.get("/").text(), "fine");
}

#[test]
fn the_host_of_the_request_is_kept_or_replaced_by_the_upstreams_as_the_route_says() {
    let origin = Origin::useful();
    let replaced = format!("path = '^/replaced'\nhost = \"upstream\"\n{}", to(&origin));
    let program = Program::configured(BYWAY, &config("", &[&replaced, &to(&origin)]));
    let mut visitor = Visitor::connect(program.address());
    visitor.ask("GET /kept HTTP/1.1\r\nHost: app.example:8443\r\n\r\n");
    visitor.ask("GET /replaced HTTP/1.1\r\nHost: app.example:8443\r\n\r\n");
    let requests = origin.requests();
    assert_eq!(requests[0].field("Host"), Some("app.example:8443"));
    assert_eq!(
        requests[1].field("Host"),
        Some(&*origin.address().to_string())
    );
    assert_eq!(
        requests[1].field("X-Forwarded-Host"),
        Some("app.example:8443")
    );
}

#[test]
fn an_absolute_target_decides_over_the_host_field_for_the_route_and_for_the_origin() {
    let [right, wrong] = ["right", "wrong"].map(Origin::named);
    let right_route = format!("hosts = [\"a.example\"]\n{}", to(&right));
    let program = Program::configured(BYWAY, &config("", &[&right_route, &to(&wrong)]));
    let mut visitor = Visitor::connect(program.address());
    let answer = visitor.ask("GET http://a.example/x?y HTTP/1.1\r\nHost: b.example\r\n\r\n");
    assert_eq!(answer.text(), "right");
    let request = &right.requests()[0];
    assert_eq!(
        (request.line(), request.field("Host")),
        ("GET /x?y HTTP/1.1", Some("a.example"))
    );
    assert_eq!(wrong.connections(), 0);
}

#[test]
fn an_origin_may_listen_on_a_unix_socket_and_so_may_the_edge() {
    let origin = Origin::useful();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("edge.sock");
    let config = format!(
        "[[edge]]\nlisten = \"unix:{socket}\"\n[[edge.route]]\n{}\n[[edge]]\nlisten = \"127.0.0.1:0\"\n\
         [[edge.route]]\nto = \"unix:{socket}\"\n",
        to(&origin),
        socket = socket.display()
    );
    let program = Program::configured(BYWAY, &config);
    assert_eq!(Visitor::connect(program.address()).get("/").text(), "hello");
    let fetched = byway_testkit::curl(&[
        "--unix-socket",
        &socket.display().to_string(),
        "http://a.example/head",
    ]);
    assert_eq!(fetched.status, 200);
    assert!(
        program.stop().code == Some(0) && !socket.exists(),
        "the socket file goes with the program"
    );
}

#[test]
fn a_request_that_passed_through_us_too_often_is_a_loop() {
    let origin = Origin::useful();
    let program = edge_with("", &origin);
    let via = "Via: 1.1 byway\r\n".repeat(16);
    let answer =
        Visitor::connect(program.address()).ask(&format!("GET / HTTP/1.1\r\nHost: a\r\n{via}\r\n"));
    assert_eq!((answer.status(), origin.connections()), (508, 0));
}
