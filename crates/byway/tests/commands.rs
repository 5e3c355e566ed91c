//! Commands: what a user types and reads, and what a script can rely on: exit codes, stdout,
//! stderr.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::{SocketAddr, TcpListener};

use byway_testkit::{Finished, Launch, Origin, Program, Visitor};
use rustix::process::Signal;

const BYWAY: &str = env!("CARGO_BIN_EXE_byway");

/// A join string as `byway serve` prints it, for a grant that does not exist.
const JOIN: &str = "by1.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAqcn-2@t.example.com:7000";

const SMALL: &str = "[[edge]]\nlisten = \"127.0.0.1:0\"\n[[edge.route]]\nto = \"127.0.0.1:9\"\n";

/// Runs a command until it exits.
#[track_caller]
fn run(args: &[&str]) -> Finished {
    Launch::new(BYWAY, args).run()
}

/// Runs `verb -c FILE` with this text as the config.
#[track_caller]
fn run_with(verb: &str, config: &str, more: &[&str]) -> Finished {
    let args = [&[verb, "-c", "byway.toml"], more].concat();
    let launch = Launch::new(BYWAY, &args);
    std::fs::write(launch.config(), config).unwrap();
    launch.run()
}

/// Asserts a usage error: exit code 2, nothing on stdout, no panic, and each of these texts.
#[track_caller]
fn refused(finished: &Finished, expected: &[&str]) {
    assert_eq!(finished.code, Some(2), "{}", finished.stderr);
    assert_eq!(finished.stdout, "");
    for text in expected {
        assert!(
            finished.stderr.contains(text),
            "{text:?} is not in:\n{}",
            finished.stderr
        );
    }
    assert!(
        !finished.stderr.contains("panicked") && !finished.stderr.contains("ready: "),
        "{}",
        finished.stderr
    );
}

#[test]
fn a_misspelt_key_is_shown_with_line_column_caret_and_the_right_one() {
    let config = "workers = 1\n[[edge]]\nlisten = \"127.0.0.1:0\"\n[[edge.route]]\n  too = \"127.0.0.1:9\"\n";
    for verb in ["check", "run"] {
        refused(
            &run_with(verb, config, &[]),
            &[
                "byway.toml:5:3",
                "too = ",
                "^^^",
                "did you mean `to`?",
                "1 error",
            ],
        );
    }
}

#[test]
fn several_errors_are_reported_at_once() {
    let config = "workers = 0\n[limits]\nhead_bytes = \"64M\"\nmax_body = \"big\"\n[[edge]]\nlisten = \"127.0.0.1\"\n\
                  [[edge.route]]\npath = '('\nto = \"127.0.0.1:99999\"\n";
    let texts = [
        "byway.toml:1:",
        "byway.toml:3:",
        "byway.toml:4:",
        "byway.toml:6:",
        "byway.toml:8:",
        "byway.toml:9:",
        "6 errors",
    ];
    refused(&run_with("check", config, &[]), &texts);
}

#[test]
fn a_missing_or_invalid_config_file_is_reported() {
    for verb in ["check", "run", "explain"] {
        let mut args = vec![verb, "-c", "nowhere.toml"];
        args.extend((verb == "explain").then_some("http://a/"));
        refused(&run(&args), &["nowhere.toml", "No such file"]);
    }
    refused(
        &run(&["check", "-c", "."]),
        &["cannot read", "it is a folder"],
    );
    refused(
        &run_with("check", "this is = = no TOML", &[]),
        &["byway.toml:1:"],
    );
    refused(&run_with("check", "", &[]), &["byway.toml"]);
    refused(&run_with("check", "a = \"\u{0}\"", &[]), &["byway.toml:1:"]);
}

#[test]
fn wrong_flags_are_reported_by_name() {
    for (args, expected) in [
        (
            &["edge", "--listen", "8080", "--to", "127.0.0.1:1"][..],
            &["--listen", "port alone"][..],
        ),
        (
            &["edge", "--listen", "127.0.0.1:0", "--to", "app:443"],
            &["--to", "https://app"],
        ),
        (&["edge", "--from", "127.0.0.1:0"], &["--to"]),
        (
            &[
                "edge",
                "--listen",
                "127.0.0.1:0",
                "--to",
                "127.0.0.1:1",
                "--email",
                "a@b.example",
            ],
            &["authority", "no effect"],
        ),
        (
            &[
                "edge",
                "--listen",
                "localhost",
                "--to",
                "127.0.0.1:1",
                "--email",
                "a@b.example",
            ],
            &["authority", "no effect"],
        ),
        (
            &[
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--domain",
                "t.localhost",
                "--https",
                "127.0.0.1:0",
                "--email",
                "a@b.example",
            ],
            &["authority", "no effect"],
        ),
        (
            &["edge", "--lisen", "127.0.0.1:0"],
            &["--lisen", "--listen"],
        ),
        (
            &["proxy", "--listen", "127.0.0.1:0", "--allow", "localhost"],
            &["--allow", "is not a network", "10.0.0.0/8"],
        ),
        (
            &["proxy", "--listen", "127.0.0.1:0", "--user", "alice"],
            &["--user", "password"],
        ),
        (
            &["proxy", "--listen", "127.0.0.1:0", "--allow", "10.0.0.0/99"],
            &["--allow", "10.0.0.0/99"],
        ),
        (
            &[
                "proxy",
                "--listen",
                "127.0.0.1:0",
                "--stream-limit",
                "25Mb/s",
            ],
            &["--stream-limit", "Mbit/s", "MB/s"],
        ),
        (
            &[
                "edge",
                "--from",
                "127.0.0.1:0",
                "--to",
                "127.0.0.1:1",
                "--log-level",
                "loud==",
            ],
            &["--log-level"],
        ),
        (&["prxy"], &["prxy", "proxy"]),
        (&["proxy"], &["--listen"]),
        (&["proxy", "join"], &["--listen"]),
        (
            &[
                "proxy",
                "--listen",
                "127.0.0.1:0",
                "serve",
                "--listen",
                "127.0.0.1:0",
            ],
            &["serve"],
        ),
        (&["serve"], &["--listen"]),
        (
            &["serve", "--listen", "0.0.0.0:0"],
            &["0.0.0.0:0", "--advertise HOST:PORT"],
        ),
        (
            &["proxy", "serve", "--listen", "[::]:0"],
            &["[::]:0", "--advertise HOST:PORT"],
        ),
        (
            &["serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"],
            &["--http", "--domain"],
        ),
        (
            &["serve", "--listen", "unix:/x"],
            &["--listen", "Unix socket"],
        ),
        (
            &["http", "3000", "--join", "by1.x@h:1"],
            &["--join", "cut short"],
        ),
        (
            &["http", "3000", "--host", "upstraem", "--join", JOIN],
            &["--host", "did you mean", "upstream"],
        ),
        (
            &["http", "3000", "--host", "a b", "--join", JOIN],
            &["--host", "Host field"],
        ),
        (
            &["http", "3000", "--name", "a_b", "--join", JOIN],
            &["--name", "a_b", "label"],
        ),
        (
            &["tcp", "22", "--port", "0", "--join", JOIN],
            &["--port", "0"],
        ),
        (&["tcp", "host", "--join", JOIN], &["TARGET", "has no port"]),
        (
            &["tcp", "22", "--carrier", "udp", "--join", JOIN],
            &["--carrier", "auto", "quic", "tls"],
        ),
        (
            &["tcp", "22", "--join", JOIN, "--join-file", "x"],
            &["twice", "--join-file"],
        ),
        (
            &["tcp", "22", "--join-file", "nowhere"],
            &["--join-file", "nowhere", "No such file"],
        ),
        (
            &["proxy", "join", JOIN, "--listen", ":0"],
            &["--user", "--open-to-the-world"],
        ),
        (&[], &["Usage"]),
    ] {
        refused(&run(args), expected);
    }
}

#[test]
fn an_unknown_log_level_is_refused_and_does_not_silence_the_log() {
    for level in ["verbos", "byway=verbos", "info,byway"] {
        let finished = run(&[
            "edge",
            "--from",
            "127.0.0.1:0",
            "--to",
            "127.0.0.1:1",
            "--log-level",
            level,
        ]);
        refused(
            &finished,
            &[
                "--log-level",
                level,
                "error, warn, info, debug or trace",
                "warn,byway=debug",
            ],
        );
    }
}

#[test]
fn a_password_is_never_shown() {
    let finished = run(&[
        "proxy",
        "--listen",
        "127.0.0.1:0",
        "--user",
        "alice:hunter2",
        "--allow",
        "nonsense/x",
    ]);
    refused(&finished, &["nonsense/x"]);
    assert!(!finished.stderr.contains("hunter2"), "{}", finished.stderr);
    let config = "[[proxy]]\nlisten = \"127.0.0.1:0\"\nusers = [{ name = \"alice\", password = \"hunter2\" }]\n";
    let finished = run_with("check", config, &[]);
    assert!(
        finished.code == Some(0) && finished.stdout.contains("***"),
        "{finished:?}"
    );
    assert!(!format!("{finished:?}").contains("hunter2"), "{finished:?}");
}

/// Runs a command that joins, with `input` on standard input and `variable` as BYWAY_JOIN.
#[track_caller]
fn joined_by(args: &[&str], input: &str, variable: &str) -> Finished {
    let mut command = std::process::Command::new(BYWAY);
    command.args(args).env_clear().env("BYWAY_JOIN", variable);
    let pipe = || std::process::Stdio::piped();
    let mut child = command
        .stdin(pipe())
        .stdout(pipe())
        .stderr(pipe())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Finished {
        code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

#[test]
fn a_join_string_comes_by_argument_variable_or_pipe_and_is_never_shown() {
    let (cut, secret) = (&JOIN[..70], &JOIN[5..40]);
    for (args, input, variable, from) in [
        (&["tcp", "22", "--join", cut][..], "", "", "`--join`: "),
        (
            &["tcp", "22", "--join", "-"],
            cut,
            JOIN,
            "`standard input`: ",
        ),
        (&["http", "3000", "--name", "a"], "", cut, "`BYWAY_JOIN`: "),
        (
            &["http", "3000", "--name", "a"],
            cut,
            "",
            "`standard input`: ",
        ),
        (
            &["proxy", "join", cut, "--listen", "127.0.0.1:0"],
            "",
            "",
            "`byway proxy join STRING`: ",
        ),
        (
            &["proxy", "join", "--listen", "127.0.0.1:0"],
            cut,
            "",
            "`standard input`: ",
        ),
        (
            &["proxy", "join", "-", "--listen", "127.0.0.1:0"],
            cut,
            JOIN,
            "`standard input`: ",
        ),
    ] {
        let finished = joined_by(args, input, variable);
        refused(
            &finished,
            &[from, "the join string was cut short", "copy it again"],
        );
        assert!(!finished.stderr.contains(secret), "{}", finished.stderr);
    }
    let nowhere = &[
        "by --join",
        "--join-file FILE",
        "BYWAY_JOIN",
        "standard input",
        "`byway serve`",
    ];
    refused(&joined_by(&["tcp", "22"], "", ""), nowhere);
    refused(
        &run(&["proxy", "join", "--listen", "127.0.0.1:0"]),
        &["byway proxy join STRING", "--join-file FILE"],
    );
}

#[test]
fn check_shows_a_join_file_and_hides_a_join_string() {
    let launch = Launch::new(BYWAY, &["check"]);
    let file = launch.folder().join("join");
    std::fs::write(&file, JOIN).unwrap();
    let expose = "[[expose]]\ntcp = \"127.0.0.1:22\"\njoin_file = \"join\"\n[[expose]]\ntcp = \"127.0.0.1:23\"\njoin_file = \"join\"\n";
    std::fs::write(launch.config(), expose).unwrap();
    let shown = launch.run();
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    assert_eq!(
        shown
            .stdout
            .matches("/join\"  # t.example.com:7000, grant 000000000000")
            .count(),
        2,
        "{}",
        shown.stdout
    );
    let inline = expose.replace("join_file = \"join\"", &format!("join = \"{JOIN}\""));
    let hidden = run_with("check", &inline, &[]);
    assert!(
        hidden.code == Some(0) && hidden.stdout.contains("join = \"***\""),
        "{hidden:?}"
    );
    assert!(!format!("{hidden:?}").contains(&JOIN[5..40]), "{hidden:?}");
    refused(
        &run_with("check", &hidden.stdout, &[]),
        &["`***` is a hidden join string", "2 errors"],
    );
}

#[test]
fn an_address_in_use_is_found_before_anything_is_served() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s").display().to_string();
    let two = format!(
        "[[edge]]\nlisten = [\"unix:{socket}\", \"{address}\"]\n[[edge.route]]\nto = \"127.0.0.1:9\"\n"
    );
    for finished in [
        run(&["edge", "--from", &address, "--to", "127.0.0.1:9"]),
        run(&["proxy", "--listen", &address]),
        run_with("run", &two, &[]),
    ] {
        assert_eq!(
            (finished.code, finished.stdout.as_str()),
            (Some(1), ""),
            "{}",
            finished.stderr
        );
        assert!(
            finished.stderr.contains(&address) && finished.stderr.contains("in use"),
            "{}",
            finished.stderr
        );
        assert!(
            finished.stderr.contains("stop") && !finished.stderr.contains("ready: "),
            "{}",
            finished.stderr
        );
    }
    assert!(
        !std::path::Path::new(&socket).exists(),
        "no half-started server leaves its socket behind"
    );
}

#[test]
fn two_programs_cannot_share_a_port_by_accident() {
    let origin = Origin::named("x");
    let to = origin.address().to_string();
    let first = Program::start(BYWAY, &["edge", "--from", "127.0.0.1:0", "--to", &to]);
    let second = run(&["edge", "--from", &first.address().to_string(), "--to", &to]);
    assert_eq!(second.code, Some(1), "{}", second.stderr);
    assert_eq!(Visitor::connect(first.address()).get("/").text(), "x");
}

#[test]
fn an_address_of_another_machine_and_a_missing_folder_are_reported() {
    for (from, expected) in [
        ("192.0.2.1:0", "does not have that address"),
        ("unix:/nowhere/at/all.sock", "does not exist"),
    ] {
        let finished = run(&["edge", "--from", from, "--to", "127.0.0.1:9"]);
        assert_eq!(finished.code, Some(1), "{}", finished.stderr);
        assert!(finished.stderr.contains(expected), "{}", finished.stderr);
    }
}

#[test]
fn check_prints_the_effective_plan_which_is_itself_a_valid_config() {
    let finished = run_with("check", SMALL, &[]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    for text in [
        "[[edge]]",
        "listen = [\"127.0.0.1:0\"]",
        "http://127.0.0.1:9",
        "keep_alive = \"",
        "max_per_origin = ",
    ] {
        assert!(
            finished.stdout.contains(text),
            "{text:?} is not in:\n{}",
            finished.stdout
        );
    }
    let again = run_with("check", &finished.stdout, &[]);
    let without_state = |text: &str| {
        text.lines()
            .filter(|line| !line.contains("/state"))
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert_eq!(
        without_state(&again.stdout),
        without_state(&finished.stdout)
    );
}

const TWO_ROLES: &str = "[[edge]]\nname = \"front\"\nlisten = \"127.0.0.1:0\"\n\
    [[edge.route]]\nname = \"api\"\nhosts = [\"app.example\"]\npath = '^/api/'\nto = [\"127.0.0.1:9001\", \"127.0.0.1:9002\"]\n\
    [[proxy]]\nname = \"out\"\nlisten = \"127.0.0.1:0\"\nusers = [{ name = \"alice\", password = \"a\" }, { name = \"bob\", password = \"b\" }]\n\
    [[proxy.rule]]\naction = \"deny\"\nsuffix = \"blocked.example\"\n\
    [[proxy.rule]]\naction = \"allow\"\ncidr = \"10.0.0.0/8\"\nuser = \"alice\"\n";

#[test]
fn explain_prints_route_rule_and_answer_for_allow_deny_route_and_no_route() {
    for (args, expected) in [
        (
            &["http://app.example/api/x"][..],
            &[
                "allowed by route api",
                "http://127.0.0.1:9001",
                "http://127.0.0.1:9002",
            ][..],
        ),
        (
            &["http://app.example/other"],
            &["no route matches", "reason: no-route", "HTTP 404"],
        ),
        (&["http://app.example/api/../admin"], &["HTTP 400"]),
        (
            &["http://www.blocked.example/", "--user", "alice"],
            &["rule 1", "reason: denied", "HTTP 403", "SOCKS5 reply 02"],
        ),
        (
            &["http://10.1.2.3/", "--user", "alice"],
            &["allowed by rule 2", "10.1.2.3:80"],
        ),
        (
            &["http://10.1.2.3/", "--user", "bob"],
            &["private address", "HTTP 403", "destination_ip_prohibited"],
        ),
        (
            &["169.254.169.254:80", "--user", "alice"],
            &["metadata", "SOCKS5 reply 02"],
        ),
        (
            &["app.example:80"],
            &["serves requests with a path: explain http://app.example:80/ instead"],
        ),
        (
            &["http://[fd00::1]/", "--user", "bob"],
            &["fd00::1 is a unique-local address"],
        ),
    ] {
        let finished = run_with("explain", TWO_ROLES, args);
        assert_eq!(finished.code, Some(0), "{args:?}: {}", finished.stderr);
        for text in expected {
            assert!(
                finished.stdout.contains(text),
                "{args:?}: {text:?} is not in:\n{}",
                finished.stdout
            );
        }
        assert!(
            finished.stdout.contains("edge") && finished.stdout.contains("proxy"),
            "one paragraph per listener"
        );
    }
}

#[test]
fn explain_prints_what_a_client_certificate_may_do() {
    let config = "[[tls.client]]\nhosts = [\"a.example\"]\nca = \"/c.pem\"\nmode = \"optional\"\n\
        [[certificate]]\ncert = \"/a.pem\"\n[[edge]]\nhttps = \"127.0.0.1:0\"\n\
        [[edge.route]]\nname = \"admin\"\nclients = [\"CN=alice\"]\nto = \"127.0.0.1:1\"\n";
    for (args, code, expected) in [
        (&["--client", "CN=alice"][..], 0, "allowed by route admin"),
        (&["--client", "CN=bob"], 0, "is not one of its `clients`"),
        (&[], 0, "it requires a client certificate"),
        (&["--client", "bob"], 2, "does not name client certificates"),
        (
            &["--client", "CN=a", "--client", "CN=b"],
            2,
            "one common name",
        ),
    ] {
        let args = [&["https://a.example/"], args].concat();
        let finished = run_with("explain", config, &args);
        let printed = finished.stdout + &finished.stderr;
        assert_eq!(finished.code, Some(code), "{args:?}: {printed}");
        assert!(printed.contains(expected), "{args:?}: {printed}");
    }
}

#[test]
fn explain_without_a_config_answers_for_a_plain_proxy_and_refuses_what_it_cannot_read() {
    let finished = run(&["explain", "https://10.0.0.5/"]);
    assert!(
        finished.code == Some(0) && finished.stdout.contains("HTTP 403"),
        "{finished:?}"
    );
    for (question, help) in [
        ("not a url", "has no port"),
        ("http://", "is no host"),
        ("example.com", "or a URL such as http://example.com/"),
    ] {
        refused(&run(&["explain", question]), &["error: ", help]);
    }
}

#[test]
fn explain_prints_what_live_traffic_gets() {
    let program = Program::start(BYWAY, &["proxy", "--listen", "127.0.0.1:0"]);
    for target in [
        "127.0.0.1:80",
        "10.0.0.1:443",
        "169.254.169.254:80",
        "[::1]:80",
        "localhost:80",
    ] {
        let mut visitor = Visitor::connect(program.address());
        visitor.send(format!(
            "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"
        ));
        let live = visitor.response_to("CONNECT");
        let explained = run(&["explain", target]).stdout;
        assert!(
            explained.contains(&format!("HTTP {}", live.status())),
            "{target}: {live:?}\n{explained}"
        );
        let status = live.field("Proxy-Status").unwrap();
        let error = status
            .split("error=")
            .nth(1)
            .and_then(|rest| rest.split(';').next())
            .unwrap();
        assert!(explained.contains(error), "{target}: {status}\n{explained}");
    }
}

/// `explain` once answered for an unknown user as if it had logged in.
#[test]
fn explain_refuses_a_user_that_an_egress_does_not_know_as_live_traffic_is_refused() {
    let program = Program::configured(BYWAY, TWO_ROLES);
    let proxy = program.address_of("out");
    for (user, header) in [
        (&[][..], ""),
        (
            &["--user", "eve"],
            "Proxy-Authorization: Basic ZXZlOng=\r\n",
        ),
    ] {
        let mut visitor = Visitor::connect(proxy);
        visitor.send(format!(
            "GET http://10.1.2.3/ HTTP/1.1\r\nHost: 10.1.2.3\r\n{header}\r\n"
        ));
        let live = visitor.response_to("GET");
        assert_eq!(live.status(), 407);
        let explained = run_with(
            "explain",
            TWO_ROLES,
            &[&["http://10.1.2.3/"], user].concat(),
        );
        let live = String::from_utf8_lossy(&live.body).into_owned();
        let proxy = explained.stdout.split("\nproxy on").nth(1).unwrap();
        for line in live.lines().filter(|line| !line.starts_with("request: ")) {
            let text = line.strip_prefix("407 ").map_or(line, |_| "HTTP 407");
            assert!(proxy.contains(text), "{text:?} is not in:\n{proxy}");
        }
        assert!(proxy.contains("SOCKS5 login refused"), "{proxy}");
    }
}

#[test]
fn every_serving_command_prints_one_ready_line_and_stops_cleanly() {
    let edge = &["edge", "--from", "127.0.0.1:0", "--to", "127.0.0.1:9"][..];
    let proxy = &["proxy", "--listen", "127.0.0.1:0"][..];
    for signal in [Signal::TERM, Signal::INT] {
        for launch in [
            Launch::new(BYWAY, edge),
            Launch::new(BYWAY, proxy),
            Launch::configured(BYWAY, TWO_ROLES),
        ] {
            let program = launch.start();
            for address in program.addresses() {
                drop(Visitor::connect(address));
            }
            program.signal(signal);
            let finished = program.wait();
            assert_eq!(
                (finished.code, finished.stdout.as_str()),
                (Some(0), ""),
                "{}",
                finished.stderr
            );
            assert_eq!(
                finished.stderr.matches("ready: ").count(),
                1,
                "{}",
                finished.stderr
            );
        }
    }
}

#[test]
fn run_names_its_listeners_when_it_is_ready() {
    let program = Program::configured(BYWAY, TWO_ROLES);
    let (front, out) = (program.address_of("front"), program.address_of("out"));
    assert_eq!(Visitor::connect(front).get("/").status(), 404);
    assert_eq!(Visitor::connect(out).get("/").status(), 407);
}

#[test]
fn logs_are_json_on_stderr_on_request_and_stdout_stays_empty() {
    let args = [
        "edge",
        "--log",
        "json",
        "--from",
        "127.0.0.1:0",
        "--to",
        "127.0.0.1:9",
    ];
    let program = Program::start(BYWAY, &args);
    let mut visitor = Visitor::connect(program.address());
    visitor.ask(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    let finished = program.stop();
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), ""));
    assert!(finished.stderr.lines().count() >= 2, "{}", finished.stderr);
    for line in finished.stderr.lines() {
        let complete = line.starts_with("{\"timestamp\":\"")
            && line.ends_with('}')
            && line.contains("\"level\":\"");
        assert!(complete, "no JSON object: {line}");
    }
}

#[test]
fn the_state_is_written_to_the_given_folder() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("elsewhere").display().to_string();
    let program = Program::start(
        BYWAY,
        &["proxy", "--listen", "127.0.0.1:0", "--state", &state],
    );
    assert!(
        folder.path().join("elsewhere").is_dir(),
        "{}",
        program.stderr()
    );
    assert!(!program.folder().join("state").exists());
}

#[test]
fn a_state_folder_that_cannot_be_written_is_reported_before_anything_is_served() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let state = file.path().display().to_string();
    let finished = run(&["proxy", "--listen", "127.0.0.1:0", "--state", &state]);
    assert_eq!(
        (finished.code, finished.stdout.as_str()),
        (Some(1), ""),
        "{}",
        finished.stderr
    );
    assert!(
        finished.stderr.contains(&state) && !finished.stderr.contains("ready: "),
        "{}",
        finished.stderr
    );
}

#[test]
fn help_and_version_are_written_to_stdout() {
    for (args, expected) in [
        (&["--help"][..], "Usage"),
        (&["--version"], "byway "),
        (&["edge", "--help"], "--listen"),
        (&["proxy", "--help"], "join"),
        (&["http", "--help"], "BYWAY_JOIN"),
    ] {
        let finished = run(args);
        assert_eq!(
            (finished.code, finished.stderr.as_str()),
            (Some(0), ""),
            "{args:?}"
        );
        assert!(
            finished.stdout.contains(expected),
            "{args:?}: {}",
            finished.stdout
        );
    }
}

#[test]
fn a_listener_on_every_address_is_reachable_by_ipv4_and_ipv6() {
    let origin = Origin::named("both");
    let program = Program::start(
        BYWAY,
        &[
            "edge",
            "--from",
            ":0",
            "--to",
            &origin.address().to_string(),
        ],
    );
    let port = program.address().port();
    assert_eq!(
        Visitor::connect(SocketAddr::from(([127, 0, 0, 1], port)))
            .get("/")
            .text(),
        "both"
    );
    if TcpListener::bind("[::1]:0").is_ok() {
        assert_eq!(
            Visitor::connect(format!("[::1]:{port}").parse().unwrap())
                .get("/")
                .text(),
            "both"
        );
    }
}

#[test]
fn every_verb_that_listens_takes_listen_and_the_old_spelling() {
    let origin = Origin::named("x");
    let port = origin.address().port().to_string();
    for flag in ["--listen", "--from"] {
        for to in [
            port.clone(),
            format!(":{port}"),
            format!("localhost:{port}"),
            format!("http://127.0.0.1:{port}"),
        ] {
            let program = Program::start(BYWAY, &["edge", flag, "127.0.0.1:0", "--to", &to]);
            assert_eq!(
                Visitor::connect(program.address()).get("/").text(),
                "x",
                "{flag} {to}"
            );
        }
        for verb in [&["proxy"][..], &["proxy", "serve"], &["serve"]] {
            drop(Program::start(
                BYWAY,
                &[verb, &[flag, "127.0.0.1:0"]].concat(),
            ));
        }
    }
    assert!(
        !run(&["edge", "--help"]).stdout.contains("--from"),
        "an alias is not shown"
    );
}

/// Runs a command with stdout, stderr or both closed by their reader. Returns the exit code and the
/// output of the one that is open.
fn run_unread(args: &[&str], closes_stdout: bool, closes_stderr: bool) -> (Option<i32>, String) {
    let state = tempfile::tempdir().unwrap();
    let closed = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        std::process::Stdio::from(writer)
    };
    let stdio = |is_closed: bool| {
        if is_closed {
            closed()
        } else {
            std::process::Stdio::piped()
        }
    };
    let mut command = std::process::Command::new(BYWAY);
    command
        .args(args)
        .env("BYWAY_STATE", state.path())
        .stdin(std::process::Stdio::null());
    command
        .stdout(stdio(closes_stdout))
        .stderr(stdio(closes_stderr));
    let output = command.output().unwrap();
    let both = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(both).unwrap())
}

#[test]
fn a_closed_stdout_or_stderr_causes_no_panic_and_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let (good, bad) = (
        folder.path().join("good.toml"),
        folder.path().join("bad.toml"),
    );
    std::fs::write(&good, SMALL).unwrap();
    std::fs::write(&bad, "workers = 0\n").unwrap();
    let (good, bad) = (good.to_str().unwrap(), bad.to_str().unwrap());
    for (args, code) in [
        (&["check", "-c", good][..], 0),
        (&["check", "-c", bad], 2),
        (&["run", "-c", bad], 2),
        (&["explain", "http://a/", "-c", good], 0),
        (&["explain", "not a url"], 2),
        (&["token", "list"], 0),
        (&["token", "add"], 2),
        (&["tcp", "22", "--join", "by1.x@h:1"], 2),
        (&["demo", "--check", "--log", "loud"], 2),
        (&["--help"], 0),
        (&["help", "proxy", "join"], 0),
        (&["edge", "--help"], 0),
        (&["version"], 0),
        (&["--version"], 0),
        (&["nonsense"], 2),
    ] {
        for (closes_stdout, closes_stderr) in [(true, false), (false, true), (true, true)] {
            let (ended, shown) = run_unread(args, closes_stdout, closes_stderr);
            assert_eq!(
                ended,
                Some(code),
                "{args:?}, closed {closes_stdout} {closes_stderr}: {shown}"
            );
            assert!(!shown.contains("panicked"), "{args:?}: {shown}");
        }
    }
}

#[test]
fn data_that_cannot_be_written_for_another_reason_is_a_failure() {
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = std::process::Command::new(BYWAY)
        .arg("version")
        .stdout(full)
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("cannot write to standard output"),
        "{stderr}"
    );
}

#[test]
fn help_and_version_are_commands_too_and_global_options_are_in_their_own_group() {
    let version = run(&["--version"]).stdout;
    assert_eq!(run(&["version"]).stdout, version);
    assert_eq!(
        run(&["help"]).stdout.lines().next(),
        run(&["--help"]).stdout.lines().next()
    );
    for args in [
        &["help", "edge"][..],
        &["edge", "--help"],
        &["help", "proxy", "serve"],
        &["token", "add", "--help"],
    ] {
        let shown = run(args).stdout;
        let (options, rest) = shown
            .split_once("Global options:")
            .expect("a group of their own");
        assert!(
            rest.contains("--state") && rest.contains("--log-level") && rest.contains("Examples:"),
            "{shown}"
        );
        assert!(!options.contains("--log-level"), "{shown}");
    }
}

#[test]
fn check_and_run_warn_of_a_route_that_is_never_reached() {
    let config =
        format!("{SMALL}[[edge.route]]\nname = \"api\"\npath = '^/api/'\nto = \"127.0.0.1:9\"\n");
    let finished = run_with("check", &config, &[]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("warning: ")
            && finished.stderr.contains("`api` (line 7) is never reached"),
        "{finished:?}"
    );
    let program = Program::configured(BYWAY, &config);
    program.wait_for_log("`api` (line 7) is never reached");
    assert!(!run_with("check", SMALL, &[]).stderr.contains("warning"));
}

#[test]
fn check_warns_of_a_pattern_that_a_double_slash_bypasses() {
    let config = "[[edge]]\nname = \"site\"\nlisten = \"127.0.0.1:0\"\n\
                  [[edge.route]]\nname = \"admin\"\npath = '^/admin'\nto = \"127.0.0.1:9\"\n\
                  [[edge.route]]\nname = \"rest\"\nto = \"127.0.0.1:10\"\n";
    let finished = run_with("check", config, &[]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let expected =
        "warning: edge site: `//admin` is not matched by the route `admin` but served by `rest`";
    assert!(finished.stderr.contains(expected), "{}", finished.stderr);
    let quiet = config.replacen("listen", "reject_empty_segments = true\nlisten", 1);
    assert!(!run_with("check", &quiet, &[]).stderr.contains("warning"));
}

#[test]
fn init_writes_a_config_that_is_valid_and_leaves_an_existing_one_as_it_is() {
    let wrote = run(&["init"]);
    assert_eq!(
        (wrote.code, &*wrote.stdout),
        (Some(0), ""),
        "{}",
        wrote.stderr
    );
    assert!(
        wrote.stderr.contains("wrote byway.toml"),
        "{}",
        wrote.stderr
    );
    let text = run(&["init", "-"]);
    assert_eq!(text.code, Some(0), "{}", text.stderr);
    let checked = run_with("check", &text.stdout, &[]);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    let launch = Launch::new(BYWAY, &["init"]);
    std::fs::write(launch.config(), SMALL).unwrap();
    refused(&launch.run(), &["byway.toml exists; name another file"]);
}

#[test]
fn schema_prints_json_or_a_page() {
    let json = run(&["schema"]);
    assert_eq!(json.code, Some(0), "{}", json.stderr);
    assert!(
        json.stdout
            .starts_with("{\n  \"$schema\": \"https://json-schema.org/draft/2020-12/schema\"")
    );
    let page = run(&["schema", "--markdown"]);
    assert!(
        page.stdout.starts_with("# Every key of a config file\n"),
        "{}",
        page.stderr
    );
}

#[test]
fn an_empty_list_of_grants_names_the_folder() {
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().display().to_string();
    let finished = run(&["token", "list", "--state", &folder]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert!(
        finished
            .stderr
            .contains(&format!("there are no grants in {folder}/grants")),
        "{}",
        finished.stderr
    );
    assert!(finished.stderr.contains("--state"), "{}", finished.stderr);
    assert_eq!(finished.stdout, "");
    run(&[
        "token",
        "add",
        "--state",
        &folder,
        "--advertise",
        "t.example.com:7000",
    ]);
    let listed = run(&["token", "list", "--state", &folder]);
    assert!(
        listed.stderr.is_empty() && listed.stdout.starts_with("ID "),
        "{} {}",
        listed.stdout,
        listed.stderr
    );
}

#[test]
fn a_node_prints_its_key_id() {
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().display().to_string();
    let first = run(&["key", "--state", &folder]);
    assert_eq!((first.code, first.stderr.as_str()), (Some(0), ""));
    let (id, fingerprint) = first.stdout.trim().split_once("  ").unwrap();
    assert!(
        id.len() == 12 && fingerprint.len() == 64 && fingerprint.starts_with(id),
        "{first:?}"
    );
    assert_eq!(
        run(&["key", "--state", &folder]).stdout,
        first.stdout,
        "the key is kept"
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    let failed = run(&["key", "--state", &file.path().display().to_string()]);
    assert!(
        failed.code == Some(1) && failed.stderr.contains("cannot use the key"),
        "{failed:?}"
    );
}

#[test]
fn the_demo_prints_what_to_try_and_no_log_lines_of_healthy_nodes() {
    let demo = Program::start(BYWAY, &["demo"]);
    demo.wait_for_stdout("byway demo: ");
    demo.signal(Signal::TERM);
    let finished = demo.wait();
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let ready = finished.stderr.trim_end();
    assert!(
        ready.starts_with("ready: ") && ready.ends_with(" links") && !ready.contains('\n'),
        "{ready}"
    );
}

#[test]
fn common_mistakes_are_refused_with_the_correct_form() {
    for (args, expected) in [
        (
            &["edge", "--listen", "127.0.0.1:0", "--to", "9001,9002"][..],
            "give --to once for each upstream",
        ),
        (
            &["edge", "--listen", "127.0.0.1:0", "--to", "/tmp/x.sock"],
            "write unix:/tmp/x.sock",
        ),
        (
            &["edge", "--listen", "/tmp/x.sock", "--to", "9001"],
            "write unix:/tmp/x.sock",
        ),
        (
            &["tcp", "/tmp/x.sock", "--join", JOIN],
            "write unix:/tmp/x.sock",
        ),
        (
            &["edge", "--listen", "127.0.0.1:0", "--to", "http://h/app"],
            "an upstream is a host and a port, without `/app`",
        ),
        (
            &["proxy", "--listen", "127.0.0.1:0", "--deny", "http://foo"],
            "`http://foo` is a URL",
        ),
        (
            &[
                "proxy",
                "--listen",
                "127.0.0.1:0",
                "--allow",
                "http://10.0.0.1:80/",
            ],
            "write its host alone, `10.0.0.1`",
        ),
        (
            &["http", "9001", "--port", "1"],
            "`--port` belongs to `byway tcp`",
        ),
        (
            &["tcp", "22", "--join", &JOIN.replace("7000", "7001")],
            "for another port use --advertise",
        ),
        (
            &[
                "proxy",
                "join",
                "--join",
                "by1.x",
                "--listen",
                "127.0.0.1:0",
            ],
            "`--join`",
        ),
    ] {
        refused(&run(args), &[expected]);
    }
    let both = run(&[
        "proxy",
        "join",
        JOIN,
        "--join",
        JOIN,
        "--listen",
        "127.0.0.1:0",
    ]);
    refused(&both, &["cannot be used with"]);
    let hosts = SMALL.replace("to =", "host = [\"app.example.com\"]\nto =");
    refused(&run_with("check", &hosts, &[]), &["did you mean `hosts`"]);
    let caddy = "example.com {\n\treverse_proxy localhost:9001\n}\n";
    refused(
        &run_with("check", caddy, &[]),
        &["the config of another program, such as Caddy"],
    );
}

#[test]
fn a_wrong_log_level_is_refused_with_the_name_of_its_source() {
    let output = std::process::Command::new(BYWAY)
        .arg("key")
        .env("BYWAY_LOG", "verbos")
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("BYWAY_LOG `verbos`") && output.status.code() == Some(2),
        "{stderr}"
    );
    refused(
        &run(&["key", "--log-level", "verbos"]),
        &["--log-level `verbos`"],
    );
}

#[test]
fn proxy_join_accepts_the_flag_join_like_http_and_tcp() {
    let desk = Program::start(
        BYWAY,
        &[
            "proxy",
            "join",
            "--join",
            JOIN,
            "--listen",
            "127.0.0.1:0",
            "--carrier",
            "tls",
        ],
    );
    assert_eq!(desk.stop().code, Some(0));
}

#[test]
fn explain_takes_its_file_as_check_does_and_help_of_help_is_help() {
    let launch = Launch::new(BYWAY, &["explain", "http://a.example/", "byway.toml"]);
    std::fs::write(launch.config(), SMALL).unwrap();
    let explained = launch.run();
    assert_eq!(explained.code, Some(0), "{}", explained.stderr);
    assert!(
        explained.stdout.contains("127.0.0.1:9"),
        "{}",
        explained.stdout
    );
    let help = run(&["help", "--help"]);
    assert!(
        help.code == Some(0) && help.stdout.contains("Usage: byway"),
        "{}",
        help.stderr
    );
}

#[test]
fn a_refused_token_add_leaves_no_folder_and_an_empty_list_prints_no_table() {
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().join("state");
    let path = folder.display().to_string();
    refused(
        &run(&["token", "add", "--state", &path]),
        &["--advertise HOST:PORT"],
    );
    assert!(!folder.exists());
    let listed = run(&["token", "list", "--state", &path]);
    assert_eq!((listed.code, listed.stdout.as_str()), (Some(0), ""));
}
