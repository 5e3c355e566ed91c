//! Access: one line per request and per tunnel, and its content.

use byway_testkit::{Launch, curl};

use super::*;

#[test]
fn requests_are_logged_as_nginx_would_log_them() {
    let (origin, (_folder, path)) = (Origin::useful(), log_file());
    let program = edge(&to(&origin), &["--access-log", path.to_str().unwrap()]);
    let mut visitor = Visitor::connect(program.address());
    visitor.ask("GET /bytes/1000 HTTP/1.1\r\nHost: a\r\nReferer: http://b/\r\nUser-Agent: me \"too\"\r\n\r\n");
    visitor.ask("GET /..;/ HTTP/1.1\r\nHost: a\r\n\r\n");
    let lines = wait_for_lines(&path, 2);
    assert!(lines[0].starts_with("127.0.0.1 - - ["), "{}", lines[0]);
    assert!(
        lines[0].ends_with(
            r#" +0000] "GET /bytes/1000 HTTP/1.1" 200 1000 "http://b/" "me \x22too\x22""#
        ),
        "{}",
        lines[0]
    );
    assert!(
        lines[1].contains(r#""GET /..;/ HTTP/1.1" 400 "#) && lines[1].ends_with(r#""-" "-""#),
        "{}",
        lines[1]
    );
}

#[test]
fn a_json_line_has_the_request_its_times_and_its_outcome() {
    let (origin, (_folder, path)) = (Origin::useful(), log_file());
    let program = edge(
        &to(&origin),
        &[
            "--access-log",
            path.to_str().unwrap(),
            "--access-log-format",
            "json",
        ],
    );
    let mut visitor = Visitor::connect(program.address());
    visitor.ask("POST /sum HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nabcde");
    visitor.get("/bytes/100000");
    let lines = wait_for_lines(&path, 2);
    for (line, method, target, bytes, reused) in [
        (&lines[0], "POST", "/sum", 5, "false"),
        (&lines[1], "GET", "/bytes/100000", 0, "true"),
    ] {
        let shown = [
            "kind",
            "method",
            "target",
            "version",
            "status",
            "reused",
            "end",
            "end_who",
            "connection",
        ];
        let shown: Vec<_> = shown.iter().map(|name| field(line, name)).collect();
        assert_eq!(
            shown,
            [
                "request", method, target, "HTTP/1.1", "200", reused, "done", "null", "1"
            ],
            "{line}"
        );
        assert_eq!(number(line, "in_bytes"), bytes, "{line}");
        assert_eq!(
            field(line, "upstream"),
            format!("http://{}", origin.address())
        );
        let sum: u64 = ["queue_us", "connect_us", "first_byte_us", "transfer_us"]
            .map(|name| number(line, name))
            .iter()
            .sum();
        assert_eq!(sum, number(line, "total_us"), "{line}");
        assert_eq!(number(line, "connect_us") == 0, reused == "true", "{line}");
    }
    assert_eq!(number(&lines[1], "out_bytes"), 100_000);
    assert_ne!(field(&lines[0], "request"), field(&lines[1], "request"));
}

#[test]
fn each_failure_has_its_reason_in_the_answer_the_log_and_the_metrics() {
    let (refusing, _socket) = Origin::refusing();
    let (_folder, path) = log_file();
    let program = edge(
        &refusing.to_string(),
        &[
            "--access-log",
            path.to_str().unwrap(),
            "--access-log-format",
            "json",
        ],
    );
    let mut visitor = Visitor::connect(program.address());
    let answer = visitor.get("/");
    assert_eq!(answer.status(), 502);
    assert!(answer.text().contains("reason: refused\n"), "{answer:?}");
    let mut malformed = Visitor::connect(program.address());
    let answer = malformed.ask("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    assert!(
        answer.text().contains("reason: host-repeated\n"),
        "{answer:?}"
    );
    let lines = wait_for_lines(&path, 2);
    let outcomes = lines
        .iter()
        .map(|line| ["end", "end_who", "status"].map(|name| field(line, name)));
    let mut outcomes: Vec<_> = outcomes.collect();
    // The lines of two workers may be in either order.
    outcomes.sort_unstable();
    assert_eq!(
        outcomes,
        [
            ["host-repeated", "downstream", "400"],
            ["refused", "upstream", "502"]
        ]
    );
    let metrics = scrape(&program);
    assert_eq!(
        metrics["byway_ends_total{outcome=\"upstream_error\",reason=\"refused\"}"],
        1.0
    );
    assert_eq!(
        metrics["byway_ends_total{outcome=\"client_error\",reason=\"host-repeated\"}"],
        1.0
    );
    assert_eq!(metrics["byway_ends_total{outcome=\"ok\"}"], 0.0);
}

#[test]
fn an_upstream_that_refuses_was_logged_as_if_the_request_had_ended_in_the_queue() {
    let (_folder, path) = log_file();
    // Nothing listens there any more.
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let config = format!(
        "[log]\naccess = \"{}\"\naccess_format = \"json\"\n\
         [[edge]]\nlisten = \"127.0.0.1:0\"\n[[edge.route]]\nto = \"{closed}\"\n",
        path.display(),
    );
    let program = Program::configured(BYWAY, &config);
    let answer = Visitor::connect(program.address()).get("/");
    assert_eq!(answer.status(), 502);
    let lines = wait_for_lines(&path, 1);
    assert_eq!(
        [field(&lines[0], "end"), field(&lines[0], "end_phase")],
        ["refused", "connect"]
    );
}

#[test]
fn a_slow_upstream_is_logged_with_its_deadline() {
    let origin = Origin::scripted(|visitor| {
        visitor.request_head();
        visitor.hold();
    });
    let (_folder, path) = log_file();
    let config = format!(
        "[limits]\nfirst_byte = \"100ms\"\n[log]\naccess = \"{}\"\naccess_format = \"json\"\n\
         [[edge]]\nlisten = \"127.0.0.1:0\"\n[[edge.route]]\nto = \"{}\"\n",
        path.display(),
        origin.address()
    );
    let program = Program::configured(BYWAY, &config);
    let answer = Visitor::connect(program.address()).get("/");
    assert!(
        answer.status() == 504 && answer.text().contains("reason: first-byte\n"),
        "{answer:?}"
    );
    let lines = wait_for_lines(&path, 1);
    assert_eq!(
        [field(&lines[0], "end"), field(&lines[0], "end_phase")],
        ["first-byte", "first_byte"]
    );
    assert!(
        number(&lines[0], "first_byte_us") >= 100_000,
        "{}",
        lines[0]
    );
}

#[test]
fn tunnels_have_a_line_at_their_end_with_the_bytes_of_both_ways() {
    let (origin, (_folder, path)) = (Origin::useful(), log_file());
    let flags = [
        "--access-log",
        path.to_str().unwrap(),
        "--access-log-format",
        "json",
        "--allow",
        "127.0.0.0/8",
    ];
    let args = [
        &["proxy", "--listen", "127.0.0.1:0", "--user", "alice:pw"],
        &flags[..],
    ]
    .concat();
    let program = Program::start(BYWAY, &args);
    let (url, http) = (
        format!("http://{}/bytes/1000", origin.address()),
        format!("http://alice:pw@{}", program.address()),
    );
    assert_eq!(curl(&["--proxy", &http, "--proxytunnel", &url]).bytes, 1000);
    let socks = format!("socks5://alice:pw@{}", program.address());
    assert_eq!(curl(&["--proxy", &socks, &url]).bytes, 1000);
    assert_eq!(
        curl(&["--proxy", &socks, "http://192.0.2.1:1/", "--max-time", "1"]).status,
        0
    );
    assert_eq!(curl(&["--proxy", &http, &url]).bytes, 1000);
    assert_eq!(
        curl(&["--proxy", &format!("http://{}", program.address()), &url]).status,
        407
    );
    let text = wait_for_lines(&path, 5).join("\n");
    let tunnels: Vec<_> = text
        .lines()
        .filter(|line| field(line, "kind") == "tunnel" && field(line, "end") == "done")
        .collect();
    assert_eq!(tunnels.len(), 2, "{text}");
    for line in tunnels {
        assert_eq!(
            [field(line, "user"), field(line, "target")],
            ["alice", &origin.address().to_string()],
            "{line}"
        );
        assert!(
            number(line, "out_bytes") > 1000 && number(line, "in_bytes") > 50,
            "{line}"
        );
    }
    let refused: Vec<_> = text
        .lines()
        .filter(|line| field(line, "end") == "denied")
        .collect();
    let shown: Vec<_> = refused
        .iter()
        .map(|line| ["kind", "user", "target"].map(|name| field(line, name)))
        .collect();
    assert_eq!(shown, [["tunnel", "alice", "192.0.2.1:1"]], "{text}");
    let requests = text.lines().filter(|line| field(line, "kind") == "request");
    let mut shown: Vec<_> = requests
        .map(|line| [field(line, "user"), field(line, "status")])
        .collect();
    // The lines of two workers may be in either order.
    shown.sort_unstable();
    assert_eq!(shown, [["alice", "200"], ["null", "407"]], "{text}");
}

#[test]
fn tunnels_have_a_line_in_the_combined_form_too() {
    let (origin, (_folder, path)) = (Origin::useful(), log_file());
    let log = path.to_str().unwrap();
    let args = [
        "proxy",
        "--listen",
        "127.0.0.1:0",
        "--user",
        "alice:pw",
        "--allow",
        "127.0.0.0/8",
        "--access-log",
        log,
    ];
    let program = Program::start(BYWAY, &args);
    let url = format!("http://{}/bytes/1000", origin.address());
    for (count, scheme) in ["http", "socks5", "socks5"].into_iter().enumerate() {
        let proxy = format!("{scheme}://alice:pw@{}", program.address());
        let url = if count < 2 {
            &url
        } else {
            "http://192.0.2.1:1/"
        };
        curl(&["--proxy", &proxy, "--proxytunnel", "--max-time", "20", url]);
        wait_for_lines(&path, count + 1);
    }
    let lines = wait_for_lines(&path, 3);
    for (line, part) in lines.iter().zip([
        format!("\"CONNECT {} HTTP/1.1\" 200 ", origin.address()),
        format!("\"CONNECT {} SOCKS5\" 200 ", origin.address()),
        "\"CONNECT 192.0.2.1:1 SOCKS5\" 403 0 ".to_owned(),
    ]) {
        assert!(
            line.starts_with("127.0.0.1 - alice [") && line.contains(&part),
            "{part} in {line}"
        );
    }
}

#[test]
fn a_forward_has_a_line_in_the_combined_form_too() {
    let (origin, (_folder, path)) = (Origin::useful(), log_file());
    let config = format!(
        "[log]\naccess = \"{}\"\n[[tcp]]\nlisten = \"127.0.0.1:0\"\nto = \"{}\"\n",
        path.display(),
        origin.address()
    );
    let program = Program::configured(BYWAY, &config);
    assert_eq!(Visitor::connect(program.address()).get("/").status(), 200);
    let lines = wait_for_lines(&path, 1);
    assert!(
        lines[0].contains(&format!("\"CONNECT {} TCP\" 200 ", origin.address())),
        "{}",
        lines[0]
    );
}

#[test]
fn an_upgrade_has_the_line_of_its_request_and_that_of_its_tunnel() {
    let origin = Origin::scripted(|visitor| {
        visitor.request();
        visitor.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello");
    });
    let (_folder, path) = log_file();
    let program = edge(
        &to(&origin),
        &[
            "--access-log",
            path.to_str().unwrap(),
            "--access-log-format",
            "json",
        ],
    );
    let mut visitor = Visitor::connect(program.address());
    let answer = visitor
        .ask("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(answer.status(), 101);
    drop(visitor);
    let lines = wait_for_lines(&path, 2);
    let shown = |line: &String| {
        ["kind", "status", "target", "connection"].map(|name| field(line, name).to_owned())
    };
    assert_eq!(shown(&lines[0]), ["request", "101", "/ws", "1"]);
    assert_eq!(shown(&lines[1]), ["tunnel", "null", "*", "1"]);
    assert_eq!(number(&lines[1], "out_bytes"), 5, "{}", lines[1]);
}

#[test]
fn a_forward_whose_target_cannot_be_reached_has_its_line_and_its_reason() {
    let (refusing, _socket) = Origin::refusing();
    let (_folder, path) = log_file();
    let config = format!(
        "[log]\naccess = \"{}\"\naccess_format = \"json\"\n[[tcp]]\nname = \"ssh\"\nlisten = \"127.0.0.1:0\"\nto = \"{refusing}\"\n",
        path.display()
    );
    let program = Program::configured(BYWAY, &config);
    Visitor::connect(program.address()).ended();
    let lines = wait_for_lines(&path, 1);
    let shown =
        ["kind", "listener", "end", "end_who", "end_phase"].map(|name| field(&lines[0], name));
    assert_eq!(
        shown,
        ["tunnel", "ssh", "refused", "upstream", "dial"],
        "{}",
        lines[0]
    );
}

#[test]
fn check_shows_log_and_metrics_as_flags_have_them() {
    let launch = Launch::configured(
        BYWAY,
        "[[tcp]]\nlisten = \"127.0.0.1:0\"\nto = \"127.0.0.1:1\"\n",
    );
    let config = launch.config();
    let args = [
        "check",
        config.to_str().unwrap(),
        "--access-log",
        "/var/log/a",
        "--metrics",
        "127.0.0.1:9100",
    ];
    let finished = Launch::new(BYWAY, &args).run();
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    for line in [
        "access = \"/var/log/a\"",
        "access_format = \"combined\"",
        "listen = [\"127.0.0.1:9100\"]",
    ] {
        assert!(
            finished
                .stdout
                .lines()
                .filter_map(|known| known.split("  # ").next())
                .any(|known| known == line),
            "{line} in {}",
            finished.stdout
        );
    }
}
