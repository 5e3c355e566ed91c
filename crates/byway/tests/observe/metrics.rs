//! Metrics: what is counted, and where it can be read.

use byway_testkit::curl;

use super::*;

#[test]
fn metrics_follow_the_format_and_count_what_happened() {
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
    eventually("the last is counted", || {
        scrape(&program).get(&ended) == Some(&3.0)
    });
    let metrics = scrape(&program);
    assert_eq!(
        metrics[&format!("byway_requests_total{{{listener},code=\"2xx\"}}")],
        6.0
    );
    assert_eq!(
        metrics[&format!("byway_requests_total{{{listener},code=\"5xx\"}}")],
        0.0
    );
    assert_eq!(
        metrics[&format!("byway_request_body_bytes_total{{{listener}}}")],
        15.0
    );
    assert!(metrics[&format!("byway_response_body_bytes_total{{{listener}}}")] > 3000.0);
    assert_eq!(metrics["byway_request_duration_seconds_count"], 9.0);
    assert_eq!(metrics["byway_request_first_byte_seconds_count"], 6.0);
    assert_eq!(metrics["byway_request_queue_seconds_count"], 6.0);
    assert_eq!(metrics["byway_ends_total{outcome=\"ok\"}"], 6.0);
    assert_eq!(
        metrics["byway_ends_total{outcome=\"client_error\",reason=\"no-route\"}"],
        3.0
    );
    let opened = metrics["byway_pool_opened_total"];
    assert_eq!(metrics["byway_request_connect_seconds_count"], opened);
    assert_eq!(opened + metrics["byway_pool_reused_total"], 6.0);
    assert_eq!(metrics["byway_workers"], 2.0);
    assert!(metrics["process_resident_memory_bytes"] > 1e6 && metrics["process_open_fds"] > 5.0);
    assert!(metrics["process_start_time_seconds"] > 1.7e9);
}

#[test]
fn connections_and_waiting_requests_are_counted_by_the_upstream_of_the_config() {
    let (busy, unused) = (Origin::scripted(|stream| stream.hold()), Origin::useful());
    let config = format!(
        "pool.max_per_origin = 1\n[metrics]\nlisten = \"127.0.0.1:0\"\n[[edge]]\nlisten = \"127.0.0.1:0\"\n\
         [[edge.route]]\nhosts = \"a\"\nto = \"{}\"\n[[edge.route]]\nto = \"{}\"\n",
        busy.address(),
        unused.address()
    );
    let program = Program::configured(BYWAY, &config);
    let visitors = [(); 2].map(|()| {
        let mut visitor = Visitor::connect(program.address());
        visitor.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        visitor
    });
    let upstream = |origin: &Origin| format!("upstream=\"http://{}\"", origin.address());
    let (busy, unused) = (upstream(&busy), upstream(&unused));
    let pending = format!("byway_upstream_pending{{{busy}}}");
    let active = format!("byway_upstream_connections{{{busy},state=\"active\"}}");
    eventually("one request has the only connection, one waits", || {
        let metrics = scrape(&program);
        metrics.get(&pending) == Some(&1.0) && metrics.get(&active) == Some(&1.0)
    });
    let metrics = scrape(&program);
    let count = |name: &str, state: &str| {
        metrics[&format!("byway_upstream_connections{{{name},state=\"{state}\"}}")]
    };
    assert_eq!(
        (count(&busy, "connecting"), count(&busy, "idle")),
        (0.0, 0.0)
    );
    assert_eq!(count(&unused, "active"), 0.0, "it has a series already");
    assert_eq!(count("upstream=\"egress targets\"", "active"), 0.0);
    drop(visitors);
}

#[test]
fn curl_reads_metrics_and_health_and_nothing_else_is_there() {
    let origin = Origin::useful();
    let program = edge(&to(&origin), &[]);
    let address = *program.addresses().last().unwrap();
    let url = |path: &str| format!("http://{address}{path}");
    let metrics = curl(&[&url("/metrics")]);
    assert!(
        metrics.status == 200 && metrics.text().contains("\nbyway_build_info{version="),
        "{}",
        metrics.text()
    );
    let health = curl(&[&url("/healthz"), &url("/healthz")]);
    assert_eq!((health.status, health.text().as_str()), (200, "ok\nok\n"));
    assert_eq!(curl(&["-I", &url("/healthz")]).status, 200);
    for path in ["/", "/metrics/", "/metricsx", "/..;/metrics"] {
        assert_eq!(curl(&["--path-as-is", &url(path)]).status, 404, "{path}");
    }
    assert_eq!(
        curl(&["-X", "POST", "-d", "x", &url("/metrics")]).status,
        405
    );
    let malformed = Visitor::connect(address).ask("GET /metrics HTTP/1.1\r\n\r\n");
    assert_eq!(malformed.status(), 400);
}

#[test]
fn a_reload_opens_the_metrics_and_closes_them() {
    let (origin, folder) = (Origin::useful(), tempfile::tempdir().unwrap());
    let socket = folder.path().join("metrics.sock");
    let config = |metrics: &str| {
        format!(
            "{metrics}\n[[edge]]\nlisten = \"127.0.0.1:0\"\n[[edge.route]]\nto = \"{}\"\n",
            origin.address()
        )
    };
    let program = Program::configured(BYWAY, &config(""));
    let ask = || {
        curl(&[
            "--unix-socket",
            socket.to_str().unwrap(),
            "http://m/healthz",
        ])
        .status
    };
    assert_eq!(ask(), 0);
    program.reload(&config(&format!(
        "[metrics]\nlisten = \"unix:{}\"",
        socket.display()
    )));
    program.wait_for_log("added    listener unix:");
    assert_eq!(ask(), 200);
    program.reload(&config(""));
    assert_eq!(ask(), 0);
    assert_eq!(Visitor::connect(program.address()).get("/").status(), 200);
}

#[test]
fn metrics_that_other_machines_can_read_cause_a_warning() {
    let origin = Origin::useful();
    let program = Program::start(
        BYWAY,
        &[
            "edge",
            "--from",
            "127.0.0.1:0",
            "--to",
            &to(&origin),
            "--metrics",
            "0.0.0.0:0",
        ],
    );
    let line = program.wait_for_log("metrics can be read from other machines");
    assert!(line.contains("WARN"), "{line}");
}
