//! Browser: a real page in Chromium, through every way to its origin.
//!
//! In:    `cargo test -p byway --test browser -- --ignored`; needs root, unshare(1), `ip`, and
//!        Chromium.
//! Out:   what the page observed: itself, a WebSocket, server-sent events, an upload.
//! Never: reaches a network: it runs in a namespace that has only loopback.
//!
//! `site` the origin and its page
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod site;

use std::process::{Child, Command, Stdio};

use byway_testkit::{Origin, Program};

const BYWAY: &str = env!("CARGO_BIN_EXE_byway");

/// Set for the process in the namespace.
const INSIDE: &str = "BYWAY_BROWSER_INSIDE";

const ANY: &str = "127.0.0.1:0";

#[test]
#[ignore = "needs Chromium: cargo xtask test browser"]
fn a_page_in_chromium_works_through_every_way_in() {
    if std::env::var_os(INSIDE).is_some() {
        return every_way();
    }
    let script = "ip link set lo up && exec \"$0\" \"$@\"";
    let ran = Command::new("unshare")
        .args([
            "--net",
            "--pid",
            "--fork",
            "--mount-proc",
            "--kill-child",
            "sh",
            "-c",
            script,
        ])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "a_page_in_chromium_works_through_every_way_in",
            "--ignored",
            "--nocapture",
        ])
        .env(INSIDE, "1")
        .output()
        .expect("unshare(1) is needed for this test");
    let (out, err) = (
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr),
    );
    assert!(
        ran.status.success() && out.contains("1 passed"),
        "{out}{err}"
    );
    eprintln!("{err}");
}

fn every_way() {
    let origin = site::origin();
    let to = origin.address().to_string();

    let edge = Program::start(BYWAY, &["edge", "--from", ANY, "--to", &to]);
    visit(
        "the edge",
        &origin,
        &format!("http://{}/", edge.address()),
        &[],
    );

    let server = [
        "serve",
        "--listen",
        ANY,
        "--http",
        ANY,
        "--domain",
        "t.localhost",
        "--advertise",
        "127.0.0.1",
    ];
    let server = Program::start(BYWAY, &server);
    let join = server.wait_for_stdout("join by1.").split_off("join ".len());
    for carrier in ["quic", "tls"] {
        let agent = Program::start(
            BYWAY,
            &[
                "http",
                &to,
                "--name",
                carrier,
                "--join",
                &join,
                "--carrier",
                carrier,
            ],
        );
        let url = agent.wait_for_stdout("http://");
        visit(&format!("a service over {carrier}"), &origin, &url, &[]);
    }

    // Without the second option Chromium does not use a proxy for loopback.
    let proxied = |proxy: &str| {
        [
            format!("--proxy-server={proxy}"),
            "--proxy-bypass-list=<-loopback>".to_owned(),
        ]
    };
    let url = format!("http://{to}/");
    let open = ["--allow", "127.0.0.0/8"];
    let egress = Program::start(BYWAY, &[&["proxy", "--listen", ANY][..], &open].concat());
    for scheme in ["http", "socks5"] {
        let proxy = format!("{scheme}://{}", egress.address());
        visit(
            &format!("the egress as {scheme}"),
            &origin,
            &url,
            &proxied(&proxy),
        );
    }
    let exit = Program::start(
        BYWAY,
        &[&["proxy", "serve", "--listen", ANY][..], &open].concat(),
    );
    let join = exit.wait_for_stdout("join by1.").split_off("join ".len());
    let desk = Program::start(BYWAY, &["proxy", "join", &join, "--listen", ANY]);
    visit(
        "a desk and an exit",
        &origin,
        &url,
        &proxied(&format!("socks5://{}", desk.address())),
    );
}

/// Opens the page and checks what it reports to its origin.
#[track_caller]
fn visit(way: &str, origin: &Origin, url: &str, more: &[String]) {
    let reported = || {
        origin
            .requests()
            .into_iter()
            .filter(|request| request.target() == site::RESULT)
            .collect::<Vec<_>>()
    };
    let before = reported().len();
    let profile = tempfile::tempdir().unwrap();
    let mut chromium = Chromium::start(profile.path(), url, more);
    let mut report = None;
    byway_testkit::eventually(&format!("the page reports, through {way}"), || {
        assert!(
            chromium.is_running(),
            "Chromium has ended before its page has reported, through {way}"
        );
        report = reported().get(before).map(|request| request.text());
        report.is_some()
    });
    assert_eq!(report.unwrap(), site::expected(), "through {way}");
    eprintln!("through {way}: the page, a WebSocket, server-sent events and an upload work");
}

/// A headless Chromium, killed on drop.
struct Chromium(Child);

impl Chromium {
    fn start(profile: &std::path::Path, url: &str, more: &[String]) -> Self {
        let child = Command::new("chromium")
            // Chromium as root has no sandbox. There is no GPU, and /dev/shm may be small.
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
            ])
            .args([
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
            ])
            .args([
                "--disable-sync",
                "--disable-default-apps",
                "--disable-extensions",
            ])
            .arg(format!("--user-data-dir={}", profile.display()))
            .args(more)
            .arg(url)
            .env("HOME", profile)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromium is needed for this test (apt-get install chromium)");
        Self(child)
    }

    fn is_running(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
