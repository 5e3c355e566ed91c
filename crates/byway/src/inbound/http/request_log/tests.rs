//! Access log entries of requests that were retried, abandoned or cut.

use byway_testkit::Origin;

use crate::config::{AccessFormat, AccessPlace, LogPlan};
use crate::testing::{Bench, settle};

const GET: &str = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";

/// An access log in JSON for `bench`, in a file of its own.
struct Log {
    folder: tempfile::TempDir,
}

impl Log {
    fn of(bench: &Bench) -> Self {
        let log = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let telemetry = &bench.context.engine().telemetry;
        let access = AccessPlace::File(log.folder.path().join("log"));
        let ready = telemetry
            .access
            .prepare(&LogPlan {
                access,
                access_format: AccessFormat::Json,
            })
            .unwrap();
        let all = telemetry.all_stats();
        telemetry.access.begin(ready, all).unwrap();
        log
    }

    /// Closes the log and returns its lines.
    fn lines(self, bench: &Bench) -> Vec<String> {
        bench.context.engine().telemetry.access.close();
        let text = std::fs::read_to_string(self.folder.path().join("log")).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

#[track_caller]
fn assert_has(line: &str, parts: &[&str]) {
    for part in parts {
        assert!(line.contains(part), "{part} in {line}");
    }
}

#[tokio::test]
async fn a_retry_and_the_connection_that_finally_served_are_logged() {
    let origin = Origin::scripted(|served| {
        served.request();
        served.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    });
    let bench = Bench::edge_to(&origin.address().to_string(), "");
    let log = Log::of(&bench);
    let mut stale = bench.upstream().await;
    let mut client = bench.connect_client();
    client.send(GET).await;
    stale.recv_head().await;
    stale.finish().await;
    client.recv_head().await;
    client.recv("hi").await;
    settle().await;
    let [line] = log.lines(&bench).try_into().unwrap();
    assert_has(
        &line,
        &[
            r#""status":200"#,
            r#""retried":true"#,
            r#""reused":false"#,
            r#""not_retried":null"#,
            r#""end":"done""#,
        ],
    );
}

#[tokio::test]
async fn a_client_that_leaves_before_its_response_has_no_status() {
    let bench = Bench::edge("limits.first_byte = \"1h\"");
    let log = Log::of(&bench);
    let mut upstream = bench.upstream().await;
    let mut client = bench.connect_client();
    client
        .send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n1234")
        .await;
    upstream.recv_head().await;
    upstream.recv("1234").await;
    drop(client);
    settle().await;
    let [line] = log.lines(&bench).try_into().unwrap();
    let parts = [
        r#""status":null"#,
        r#""end":"closed-early","end_who":"downstream","end_phase":"first_byte""#,
        r#""reused":true"#,
    ];
    assert_has(&line, &parts);
}

#[tokio::test]
async fn a_cut_response_keeps_its_status_and_names_the_side_that_cut_it() {
    let bench = Bench::edge("");
    let log = Log::of(&bench);
    let mut upstream = bench.upstream().await;
    let mut client = bench.connect_client();
    client.send(GET).await;
    upstream.recv_head().await;
    upstream
        .send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1234")
        .await;
    client.recv_head().await;
    client.recv("1234").await;
    upstream.finish().await;
    assert!(client.recv_end().await.is_err());
    settle().await;
    let [line] = log.lines(&bench).try_into().unwrap();
    let parts = [
        r#""status":200"#,
        r#""out_bytes":4"#,
        r#""end":"closed-early","end_who":"upstream","end_phase":"transfer""#,
    ];
    assert_has(&line, &parts);
}
