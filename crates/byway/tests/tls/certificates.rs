//! Certificates: which one a client gets, and how it is replaced.

use std::fs;

use byway_testkit::{Launch, Origin, Program, eventually};
use rcgen::{CertificateParams, date_time_ymd};

use super::BYWAY;
use super::site::{Client, Site, ask, launch, until};

/// The names in the certificate that a client gets for `name`, or the error.
fn presented(client: &Client, program: &Program, name: &str) -> Result<String, String> {
    let stream = client
        .connect(program.address(), name)
        .map_err(|error| error.to_string())?;
    let chain = stream.conn.peer_certificates().unwrap();
    Ok(String::from_utf8_lossy(&chain[0]).into_owned())
}

#[test]
fn each_name_gets_its_certificate_and_an_unknown_one_the_default() {
    let (site, origin) = (Site::new(), Origin::useful());
    site.issue("first", &["first.example"]);
    site.issue("wild", &["*.wild.example"]);
    site.issue("exact", &["exact.wild.example"]);
    let config = site.config(&origin, &["first.pem", "wild.pem", "exact.pem"], "");
    let program = Program::configured(BYWAY, &config);
    let client = site.client();
    for (name, marker) in [
        ("first.example", "first.example"),
        ("a.wild.example", "*.wild.example"),
        ("exact.wild.example", "exact.wild.example"),
    ] {
        let der = presented(&client, &program, name).unwrap();
        assert!(der.contains(marker), "{name}");
    }
    let error = presented(&client, &program, "unknown.example").unwrap_err();
    assert!(error.contains("first.example"), "{error}");
}

#[test]
fn a_changed_file_serves_new_connections_and_open_ones_go_on() {
    let (site, origin) = (
        Site::new(),
        Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    );
    site.issue("a", &["a.example", "old.example"]);
    let config = site.config(&origin, &["a.pem"], "");
    let program = Program::configured(BYWAY, &format!("tls.reload_interval = \"1s\"\n{config}"));
    let client = site.client();
    let mut open = client.connect(program.address(), "a.example").unwrap();
    ask(&mut open, "a.example", "/", "").unwrap();
    until(&mut open, "\r\n\r\nok");

    site.issue("a", &["a.example", "new.example"]);
    eventually("the new certificate is presented", || {
        presented(&site.client(), &program, "a.example")
            .unwrap()
            .contains("new.example")
    });
    ask(&mut open, "a.example", "/", "").unwrap();
    until(&mut open, "\r\n\r\nok");

    // Half of a file leaves the certificate that works.
    fs::write(site.path("a.pem"), "-----BEGIN CERTIFICATE-----\nhalf").unwrap();
    program.wait_for_log("is no valid PEM");
    assert!(
        presented(&site.client(), &program, "a.example")
            .unwrap()
            .contains("new.example")
    );
}

#[test]
fn a_reload_adds_and_removes_certificates_and_refuses_bad_ones_as_a_whole() {
    let (site, origin) = (Site::new(), Origin::useful());
    site.issue("a", &["a.example"]);
    site.issue("b", &["b.example"]);
    let program = Program::configured(BYWAY, &site.config(&origin, &["a.pem"], ""));
    let client = site.client();
    assert!(presented(&client, &program, "b.example").is_err());
    program.reload(&site.config(&origin, &["a.pem", "b.pem"], ""));
    assert!(presented(&client, &program, "b.example").is_ok());

    let line = program.reload(&site.config(&origin, &["none.pem", "b.pem"], ""));
    assert!(
        line.contains("none.pem") || program.stderr().contains("none.pem"),
        "{line}"
    );
    assert!(
        presented(&client, &program, "a.example").is_ok(),
        "the old config is in force"
    );

    program.reload(&site.config(&origin, &["b.pem"], ""));
    assert!(presented(&client, &program, "a.example").is_err());
}

#[test]
fn a_start_with_a_certificate_that_cannot_be_used_fails_with_every_reason() {
    let (site, origin) = (Site::new(), Origin::useful());
    site.issue("a", &["a.example"]);
    fs::write(site.path("empty.pem"), "").unwrap();
    let config = site.config(&origin, &["a.pem", "none.pem", "empty.pem"], "");
    let finished = launch(&config).run();
    assert_ne!(finished.code, Some(0));
    for text in ["none.pem cannot be read", "empty.pem has no certificate"] {
        assert!(finished.stderr.contains(text), "{}", finished.stderr);
    }
}

#[test]
fn check_warns_of_certificates_that_expire_miss_their_chain_or_do_not_match() {
    let (site, origin) = (Site::new(), Origin::useful());
    let mut old = CertificateParams::new(vec!["old.example".to_owned()]).unwrap();
    (old.not_before, old.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    site.issue_with("old", old);
    site.issue("a", &["a.example"]);
    let text = fs::read_to_string(site.path("a.pem")).unwrap();
    let (leaf, rest) = text
        .split_once("-----BEGIN CERTIFICATE-----")
        .map_or(("", ""), |(_, rest)| {
            rest.split_once("-----END CERTIFICATE-----").unwrap()
        });
    let key = rest.split_once("-----BEGIN PRIVATE KEY-----").unwrap().1;
    let alone = format!(
        "-----BEGIN CERTIFICATE-----{leaf}-----END CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----{key}"
    );
    fs::write(site.path("alone.pem"), alone).unwrap();
    let config = site
        .config(&origin, &["old.pem", "alone.pem"], "")
        .replace("alone.pem\"", "alone.pem\"\nnames = [\"other.example\"]");
    let path = site.path("byway.toml").display().to_string();
    fs::write(&path, config).unwrap();
    let finished = Launch::new(BYWAY, &["check", "-c", &path]).run();
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    for text in [
        "old.pem: it has expired",
        "alone.pem: its chain is missing",
        "alone.pem: it is not for `other.example`",
    ] {
        assert!(
            finished.stderr.contains(text),
            "{text}: {}",
            finished.stderr
        );
    }
}

#[test]
fn one_line_serves_https_with_a_certificate_in_files() {
    let (site, origin) = (Site::new(), Origin::useful());
    let cert = site.issue("a", &["a.example"]);
    let (cert, to) = (cert.display().to_string(), origin.address().to_string());
    let args = [
        "edge",
        "--listen",
        "127.0.0.1:0",
        "--cert",
        &cert,
        "--to",
        &to,
    ];
    let program = Program::start(BYWAY, &args);
    let answer = site
        .client()
        .get(program.address(), "a.example", "/")
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn https_without_a_certificate_is_an_error_that_shows_one() {
    let (site, origin) = (Site::new(), Origin::useful());
    let finished = launch(&site.config(&origin, &[], "")).run();
    assert_eq!(finished.code, Some(2));
    assert!(
        finished.stderr.contains("add [[certificate]]"),
        "{}",
        finished.stderr
    );
}
