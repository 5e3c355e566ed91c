//! Observe: what the built program tells about itself: access log, metrics, health.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use byway_testkit::{Launch, Origin, Program, Visitor, curl, eventually};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;

const BYWAY: &str = env!("CARGO_BIN_EXE_byway");

/// `byway edge` in front of `to` with `flags`.
#[track_caller]
fn edge(to: &str, flags: &[&str]) -> Program {
    let args = [&["edge", "--from", "127.0.0.1:0", "--to", to, "--metrics", "127.0.0.1:0"], flags].concat();
    Program::start(BYWAY, &args)
}

fn to(origin: &Origin) -> String {
    origin.address().to_string()
}

/// Waits until `path` has `count` lines.
#[track_caller]
fn wait_for_lines(path: &Path, count: usize) -> Vec<String> {
    let lines = || fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect::<Vec<_>>();
    eventually("the lines are there", || lines().len() >= count);
    let lines = lines();
    assert_eq!(lines.len(), count, "{lines:#?}");
    lines
}

/// The value of `"name":` in a line of ours, without quotes.
fn field<'l>(line: &'l str, name: &str) -> &'l str {
    let rest = line.split_once(&format!("\"{name}\":")).unwrap_or_else(|| panic!("no {name} in {line}")).1;
    match rest.strip_prefix('"') {
        Some(text) => text.split('"').next().unwrap(),
        None => rest.split([',', '}']).next().unwrap(),
    }
}

fn number(line: &str, name: &str) -> u64 {
    field(line, name).parse().unwrap_or_else(|_| panic!("{name} in {line}"))
}

/// An access log in a folder of its own.
fn log_file() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    (folder, path)
}

#[test]
fn requests_stand_in_the_access_log_as_nginx_would_write_them() {
    let (origin, (_folder, path)) = (Origin::useful(), log_file());
    let program = edge(&to(&origin), &["--access-log", path.to_str().unwrap()]);
    let mut visitor = Visitor::connect(program.address());
    visitor.ask("GET /bytes/1000 HTTP/1.1\r\nHost: a\r\nReferer: http://b/\r\nUser-Agent: me \"too\"\r\n\r\n");
    visitor.ask("GET /..;/ HTTP/1.1\r\nHost: a\r\n\r\n");
    let lines = wait_for_lines(&path, 2);
    assert!(lines[0].starts_with("127.0.0.1 - - ["), "{}", lines[0]);
    assert!(
        lines[0].ends_with(r#" +0000] "GET /bytes/1000 HTTP/1.1" 200 1000 "http://b/" "me \x22too\x22""#),
        "{}",
        lines[0]
    );
    assert!(lines[1].contains(r#""GET /..;/ HTTP/1.1" 400 "#) && lines[1].ends_with(r#""-" "-""#), "{}", lines[1]);
}

#[test]
fn a_line_in_json_says_what_was_asked_how_long_it_took_and_how_it_ended() {
    let (origin, (_folder, path)) = (Origin::useful(), log_file());
    let program = edge(&to(&origin), &["--access-log", path.to_str().unwrap(), "--access-log-format", "json"]);
    let mut visitor = Visitor::connect(program.address());
    visitor.ask("POST /sum HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nabcde");
    visitor.get("/bytes/100000");
    let lines = wait_for_lines(&path, 2);
    for (line, method, target, bytes, reused) in
        [(&lines[0], "POST", "/sum", 5, "false"), (&lines[1], "GET", "/bytes/100000", 0, "true")]
    {
        let shown = ["kind", "method", "target", "version", "status", "reused", "end", "end_who", "connection"];
        let shown: Vec<_> = shown.iter().map(|name| field(line, name)).collect();
        assert_eq!(shown, ["request", method, target, "HTTP/1.1", "200", reused, "done", "null", "1"], "{line}");
        assert_eq!(number(line, "in_bytes"), bytes, "{line}");
        assert_eq!(field(line, "upstream"), format!("http://{}", origin.address()));
        let sum: u64 =
            ["queue_us", "connect_us", "first_byte_us", "transfer_us"].map(|name| number(line, name)).iter().sum();
        assert_eq!(sum, number(line, "total_us"), "{line}");
        assert_eq!(number(line, "connect_us") == 0, reused == "true", "{line}");
    }
    assert_eq!(number(&lines[1], "out_bytes"), 100_000);
    assert_ne!(field(&lines[0], "request"), field(&lines[1], "request"));
}

#[test]
fn each_way_to_fail_has_its_word_in_the_answer_the_log_and_the_metrics() {
    let (refusing, _socket) = Origin::refusing();
    let (_folder, path) = log_file();
    let program = edge(&refusing.to_string(), &["--access-log", path.to_str().unwrap(), "--access-log-format", "json"]);
    let mut visitor = Visitor::connect(program.address());
    let answer = visitor.get("/");
    assert_eq!(answer.status(), 502);
    assert!(answer.text().contains("reason: refused\n"), "{answer:?}");
    let mut malformed = Visitor::connect(program.address());
    let answer = malformed.ask("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    assert!(answer.text().contains("reason: host-repeated\n"), "{answer:?}");
    let lines = wait_for_lines(&path, 2);
    let ends = lines.iter().map(|line| ["end", "end_who", "status"].map(|name| field(line, name)));
    let mut ends: Vec<_> = ends.collect();
    // Those of two workers may have changed places.
    ends.sort_unstable();
    assert_eq!(ends, [["host-repeated", "downstream", "400"], ["refused", "upstream", "502"]]);
    let metrics = scrape(&program);
    assert_eq!(metrics["byway_ends_total{who=\"upstream\",kind=\"refused\"}"], 1.0);
    assert_eq!(metrics["byway_ends_total{who=\"downstream\",kind=\"host-repeated\"}"], 1.0);
    assert_eq!(metrics["byway_ends_total{who=\"nobody\",kind=\"done\"}"], 0.0);
}

#[test]
fn an_upstream_that_is_slow_is_told_by_its_deadline() {
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
    assert!(answer.status() == 504 && answer.text().contains("reason: first-byte\n"), "{answer:?}");
    let lines = wait_for_lines(&path, 1);
    assert_eq!([field(&lines[0], "end"), field(&lines[0], "end_phase")], ["first-byte", "first_byte"]);
    assert!(number(&lines[0], "first_byte_us") >= 100_000, "{}", lines[0]);
}

#[test]
fn tunnels_have_a_line_at_their_end_with_the_bytes_of_both_ways() {
    let (origin, (_folder, path)) = (Origin::useful(), log_file());
    let flags = ["--access-log", path.to_str().unwrap(), "--access-log-format", "json", "--allow", "127.0.0.0/8"];
    let args = [&["proxy", "--listen", "127.0.0.1:0", "--user", "alice:pw"], &flags[..]].concat();
    let program = Program::start(BYWAY, &args);
    let (url, http) =
        (format!("http://{}/bytes/1000", origin.address()), format!("http://alice:pw@{}", program.address()));
    assert_eq!(curl(&["--proxy", &http, "--proxytunnel", &url]).bytes, 1000);
    let socks = format!("socks5://alice:pw@{}", program.address());
    assert_eq!(curl(&["--proxy", &socks, &url]).bytes, 1000);
    assert_eq!(curl(&["--proxy", &socks, "http://192.0.2.1:1/", "--max-time", "1"]).status, 0);
    assert_eq!(curl(&["--proxy", &http, &url]).bytes, 1000);
    assert_eq!(curl(&["--proxy", &format!("http://{}", program.address()), &url]).status, 407);
    eventually("the lines are there", || fs::read_to_string(&path).unwrap_or_default().lines().count() >= 5);
    let text = fs::read_to_string(&path).unwrap();
    let tunnels: Vec<_> =
        text.lines().filter(|line| field(line, "kind") == "tunnel" && field(line, "end") == "done").collect();
    assert_eq!(tunnels.len(), 2, "{text}");
    for line in tunnels {
        assert_eq!([field(line, "user"), field(line, "target")], ["alice", &origin.address().to_string()], "{line}");
        assert!(number(line, "out_bytes") > 1000 && number(line, "in_bytes") > 50, "{line}");
    }
    let refused: Vec<_> = text.lines().filter(|line| field(line, "end") == "denied").collect();
    let shown: Vec<_> = refused.iter().map(|line| ["kind", "user", "target"].map(|name| field(line, name))).collect();
    assert_eq!(shown, [["tunnel", "alice", "192.0.2.1:1"]], "{text}");
    let requests = text.lines().filter(|line| field(line, "kind") == "request");
    let mut shown: Vec<_> = requests.map(|line| [field(line, "user"), field(line, "status")]).collect();
    // Those of two workers may have changed places.
    shown.sort_unstable();
    assert_eq!(shown, [["alice", "200"], ["null", "407"]], "{text}");
}

#[test]
fn a_log_on_standard_output_is_whole_when_the_program_has_ended() {
    let origin = Origin::useful();
    let program = edge(&to(&origin), &["--access-log", "stdout"]);
    let mut visitor = Visitor::connect(program.address());
    for _ in 0..100 {
        visitor.get("/bytes/0");
    }
    drop(visitor);
    let ended = program.stop();
    assert_eq!((ended.code, ended.stdout.lines().count()), (Some(0), 100), "{}", ended.stderr);
    assert!(ended.stdout.lines().all(|line| line.contains("\"GET /bytes/0 HTTP/1.1\" 200 0 ")), "{}", ended.stdout);
}

#[test]
fn after_a_rename_and_sigusr1_lines_go_on_in_a_new_file() {
    let (origin, (folder, path)) = (Origin::useful(), log_file());
    let program = edge(&to(&origin), &["--access-log", path.to_str().unwrap()]);
    let mut visitor = Visitor::connect(program.address());
    visitor.get("/first");
    assert!(wait_for_lines(&path, 1)[0].contains("GET /first "));
    let rotated = folder.path().join("access.log.1");
    fs::rename(&path, &rotated).unwrap();
    program.signal(Signal::USR1);
    program.wait_for_log("the access log was opened again");
    visitor.get("/second");
    assert!(wait_for_lines(&path, 1)[0].contains("GET /second "));
    assert!(wait_for_lines(&rotated, 1)[0].contains("GET /first "));
}

#[test]
fn sigusr1_ends_no_program_that_has_no_access_log() {
    let origin = Origin::useful();
    let program = edge(&to(&origin), &[]);
    program.signal(Signal::USR1);
    assert_eq!(Visitor::connect(program.address()).get("/").status(), 200);
    assert_eq!(program.stop().code, Some(0));
}

#[test]
fn a_fifo_that_nobody_reads_drops_lines_and_serves_on() {
    let (origin, (_folder, path)) = (Origin::useful(), log_file());
    mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let config = format!(
        "workers = 1\n[log]\naccess = \"{}\"\naccess_format = \"json\"\n[metrics]\nlisten = \"127.0.0.1:0\"\n\
         [[edge]]\nlisten = \"127.0.0.1:0\"\n[[edge.route]]\nto = \"{}\"\n",
        path.display(),
        origin.address()
    );
    let program = Program::configured(BYWAY, &config);
    // A long target makes long lines.
    let long = format!("/{}", "x".repeat(4000));
    let mut visitor = Visitor::connect(program.address());
    let dropped = |program: &Program| scrape(program)["byway_access_log_dropped_total{why=\"full\"}"];
    for _ in 0..800 {
        assert_eq!(visitor.get(&long).status(), 200);
    }
    assert!(dropped(&program) > 0.0);
    program.wait_for_log("the access log does not keep up");
    // A reader that comes late gets what there was room for.
    let mut reader = fs::File::open(&path).unwrap();
    let mut begin = vec![0; 4000];
    reader.read_exact(&mut begin).unwrap();
    assert!(begin.starts_with(b"{\"time\":\""));
    assert_eq!(visitor.get("/").status(), 200);
    drop(visitor);
    assert_eq!(program.stop().code, Some(0));
}

#[test]
fn a_full_disk_drops_lines_and_serves_on() {
    let origin = Origin::useful();
    let program = edge(&to(&origin), &["--access-log", "/dev/full"]);
    let mut visitor = Visitor::connect(program.address());
    for _ in 0..10 {
        assert_eq!(visitor.get("/").status(), 200);
    }
    eventually("all ten are counted", || scrape(&program)["byway_access_log_dropped_total{why=\"sink\"}"] == 10.0);
    let line = program.wait_for_log("the access log does not keep up");
    assert!(line.contains("No space left on device"), "{line}");
}

#[test]
fn a_log_that_cannot_be_opened_is_an_error_at_the_start() {
    let finished =
        Launch::new(BYWAY, &["edge", "--from", "127.0.0.1:0", "--to", "127.0.0.1:1", "--access-log", "/no/such/a"])
            .run();
    assert_eq!(finished.code, Some(1));
    assert!(
        finished.stderr.contains("cannot write the access log /no/such/a: No such file or directory"),
        "{}",
        finished.stderr
    );
}

#[test]
fn a_reload_turns_the_log_over_and_refuses_a_file_that_cannot_be_written() {
    let (origin, (_folder, path)) = (Origin::useful(), log_file());
    let config = |log: &str| {
        format!("{log}\n[[edge]]\nlisten = \"127.0.0.1:0\"\n[[edge.route]]\nto = \"{}\"\n", origin.address())
    };
    let program = Program::configured(BYWAY, &config(""));
    let mut visitor = Visitor::connect(program.address());
    visitor.get("/unwritten");
    let said = program.reload(&config(&format!("[log]\naccess = \"{}\"", path.display())));
    assert!(said.contains("reloaded"), "{said}");
    visitor.get("/written");
    assert!(wait_for_lines(&path, 1)[0].contains("GET /written "));
    let said = program.reload(&config("[log]\naccess = \"/no/such/a\""));
    assert!(said.contains("refused"), "{said}");
    visitor.get("/still");
    assert!(wait_for_lines(&path, 2)[1].contains("GET /still "));
}

/// Every sample of `GET /metrics`, by name and labels; whatever is not by the rules of the format is a failed test.
#[track_caller]
fn scrape(program: &Program) -> BTreeMap<String, f64> {
    let address = *program.addresses().last().unwrap();
    let answer = Visitor::connect(address).ask("GET /metrics HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n");
    assert_eq!(answer.field("Content-Type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    parsed(&answer.text())
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || matches!(b, b'_' | b':'))
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':'))
}

/// A strict reader of exposition format 0.0.4.
fn parsed(text: &str) -> BTreeMap<String, f64> {
    assert!(text.ends_with('\n'));
    let (mut samples, mut families) = (BTreeMap::new(), BTreeMap::new());
    let mut current: Option<(String, String)> = None;
    let mut help = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, sentence) = rest.split_once(' ').unwrap();
            assert!(is_name(name) && sentence.ends_with('.'), "{line}");
            help = Some(name.to_owned());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(help.take().as_deref(), Some(name), "HELP stands before TYPE");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(families.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} is there twice");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            current = Some((name.to_owned(), kind.to_owned()));
        } else {
            let (family, kind) = current.as_ref().expect("a family before its samples");
            let (key, value) = line.rsplit_once(' ').unwrap();
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
            assert!(value >= 0.0, "{line}");
            let name = key.split('{').next().unwrap();
            let wanted = match kind.as_str() {
                "histogram" => ["_bucket", "_sum", "_count"].iter().any(|end| name == format!("{family}{end}")),
                _ => name == family,
            };
            assert!(wanted, "{line} in {family}");
            check_labels(key.strip_prefix(name).unwrap());
            assert!(samples.insert(key.to_owned(), value).is_none(), "{key} is there twice");
        }
    }
    for (family, _) in families.iter().filter(|(_, kind)| *kind == "histogram") {
        let prefix = format!("{family}_bucket{{le=\"");
        let bound =
            |key: &str| key.strip_prefix(&prefix)?.strip_suffix("\"}")?.replace("+Inf", "inf").parse::<f64>().ok();
        let mut buckets: Vec<_> = samples.iter().filter_map(|(key, value)| Some((bound(key)?, *value))).collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert!(buckets.is_sorted_by(|a, b| a.1 <= b.1), "{family} is not cumulative");
        let (last, count) = buckets.last().unwrap();
        assert!(last.is_infinite() && *count == samples[&format!("{family}_count")], "{family}");
    }
    samples
}

/// `{name="value",…}` or nothing.
fn check_labels(text: &str) {
    let Some(inside) = text.strip_prefix('{') else { return assert_eq!(text, "") };
    let inside = inside.strip_suffix('}').unwrap();
    for label in inside.split("\",") {
        let (name, value) = label.split_once("=\"").unwrap_or_else(|| panic!("{text}"));
        assert!(is_name(name) && !value.trim_end_matches('"').contains('"'), "{text}");
    }
}

#[test]
fn metrics_are_by_the_rules_of_the_format_and_count_what_happened() {
    let origin = Origin::useful();
    let config = format!(
        "workers = 2\n[metrics]\nlisten = \"127.0.0.1:0\"\n[[edge]]\nname = 'a\\site'\nlisten = \"127.0.0.1:0\"\n\
         [[edge.route]]\nhosts = \"a\"\nto = \"{}\"\n",
        origin.address()
    );
    let program = Program::configured(BYWAY, &config);
    for _ in 0..3 {
        let mut visitor = Visitor::connect(program.address());
        visitor.ask("POST /sum HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde");
        visitor.ask("GET /bytes/1000 HTTP/1.1\r\nHost: a\r\n\r\n");
        visitor.ask("GET / HTTP/1.1\r\nHost: unknown\r\n\r\n");
    }
    let listener = r#"listener="a\\site""#;
    let ended = format!("byway_requests_total{{{listener},code=\"4xx\"}}");
    eventually("the last is counted", || scrape(&program).get(&ended) == Some(&3.0));
    let metrics = scrape(&program);
    assert_eq!(metrics[&format!("byway_requests_total{{{listener},code=\"2xx\"}}")], 6.0);
    assert_eq!(metrics[&format!("byway_requests_total{{{listener},code=\"5xx\"}}")], 0.0);
    assert_eq!(metrics[&format!("byway_request_body_bytes_total{{{listener}}}")], 15.0);
    assert!(metrics[&format!("byway_response_body_bytes_total{{{listener}}}")] > 3000.0);
    assert_eq!(metrics["byway_request_duration_seconds_count"], 9.0);
    assert_eq!(metrics["byway_request_first_byte_seconds_count"], 6.0);
    assert_eq!(metrics["byway_request_queue_seconds_count"], 6.0);
    assert_eq!(metrics["byway_ends_total{who=\"nobody\",kind=\"done\"}"], 6.0);
    assert_eq!(metrics["byway_ends_total{who=\"downstream\",kind=\"no-route\"}"], 3.0);
    let opened = metrics["byway_pool_opened_total"];
    assert_eq!(metrics["byway_request_connect_seconds_count"], opened);
    assert_eq!(opened + metrics["byway_pool_reused_total"], 6.0);
    assert_eq!(metrics["byway_workers"], 2.0);
    assert!(metrics["process_resident_memory_bytes"] > 1e6 && metrics["process_open_fds"] > 5.0);
    assert!(metrics["process_start_time_seconds"] > 1.7e9);
}

#[test]
fn curl_reads_metrics_and_health_and_nothing_else_is_there() {
    let origin = Origin::useful();
    let program = edge(&to(&origin), &[]);
    let address = *program.addresses().last().unwrap();
    let url = |path: &str| format!("http://{address}{path}");
    let metrics = curl(&[&url("/metrics")]);
    assert!(metrics.status == 200 && metrics.text().contains("\nbyway_build_info{version="), "{}", metrics.text());
    let health = curl(&[&url("/healthz"), &url("/healthz")]);
    assert_eq!((health.status, health.text().as_str()), (200, "ok\nok\n"));
    assert_eq!(curl(&["-I", &url("/healthz")]).status, 200);
    for path in ["/", "/metrics/", "/metricsx", "/..;/metrics"] {
        assert_eq!(curl(&["--path-as-is", &url(path)]).status, 404, "{path}");
    }
    assert_eq!(curl(&["-X", "POST", "-d", "x", &url("/metrics")]).status, 405);
    let malformed = Visitor::connect(address).ask("GET /metrics HTTP/1.1\r\n\r\n");
    assert_eq!(malformed.status(), 400);
}

#[test]
fn metrics_that_others_can_read_are_warned_about() {
    let origin = Origin::useful();
    let program =
        Program::start(BYWAY, &["edge", "--from", "127.0.0.1:0", "--to", &to(&origin), "--metrics", "0.0.0.0:0"]);
    let line = program.wait_for_log("metrics can be read from other machines");
    assert!(line.contains("WARN"), "{line}");
}
