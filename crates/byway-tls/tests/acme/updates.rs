use std::io::Write;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use byway_testkit::{Pebble, PebbleOptions, isolated};
use byway_tls::acme::{ChallengeKind, Dns, DnsUpdate, FailureKind, TsigKey};

use super::issuing::alone;
use super::node::{Node, connect, name, run};

const ADDRESS: &str = "127.0.0.1:5300";
const SECRET: &str = "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=";

/// A BIND that is primary for example.test and takes updates from the key "byway" alone.
struct Named {
    child: Child,
    _folder: tempfile::TempDir,
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_installed() -> bool {
    let is_there = Command::new("named").arg("-v").output().is_ok();
    if !is_there {
        let text = "SKIPPED: named is missing: `cargo xtask test tools` installs it";
        // Not with eprintln: the output of a passing test is captured.
        let _ = writeln!(std::io::stderr(), "{text}");
    }
    is_there
}

impl Named {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display();
        let zone = "$TTL 60\n@ SOA ns.example.test. x.example.test. 1 60 60 60 60\n@ NS ns\n\
                    ns A 127.0.0.1\n* A 127.0.0.1\n*.t A 127.0.0.1\n";
        std::fs::write(folder.path().join("zone"), zone).unwrap();
        let config = format!(
            "options {{ directory \"{path}\"; pid-file none; listen-on port 5300 {{ 127.0.0.1; }};\n\
             listen-on-v6 {{ none; }}; recursion no; session-keyfile none; }};\n\
             controls {{ }};\n\
             key byway {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n\
             key other {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n\
             zone example.test {{ type primary; file \"zone\"; update-policy {{\n\
             grant byway subdomain example.test TXT; }}; }};\n"
        );
        std::fs::write(folder.path().join("named.conf"), config).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = Command::new("named")
            .args(["-g", "-c", &format!("{path}/named.conf")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        let child = child.unwrap();
        byway_testkit::eventually("named listens", || {
            std::net::TcpStream::connect(ADDRESS).is_ok()
        });
        Self {
            child,
            _folder: folder,
        }
    }
}

fn update(key: &str, zone: Option<&str>) -> Dns {
    Dns::Update(DnsUpdate {
        server: ADDRESS.to_owned(),
        zone: zone.map(ToOwned::to_owned),
        key: TsigKey::read(key).unwrap(),
    })
}

#[test]
fn dns_01_by_signed_updates_obtains_a_wildcard_from_a_zone_that_bind_serves() {
    if !is_installed() {
        return;
    }
    alone!();
    let _named = Named::start();
    let options = PebbleOptions {
        dns: Some(ADDRESS.parse::<SocketAddr>().unwrap()),
        ..PebbleOptions::default()
    };
    let pebble = Pebble::start(&options);
    run(async {
        let state = tempfile::tempdir().unwrap();
        let node = Node::start(&pebble, state.path()).await;
        let names = ["*.t.example.test", "t.example.test"];
        let mut wanted = node.source(&pebble.directory(), &names, ChallengeKind::Dns01);
        wanted.dns = Some(update(&format!("byway:{SECRET}"), None));
        node.want(wanted);
        for host in names {
            node.issued(host).await;
        }
        connect(&pebble.root(), "x.t.example.test").await.unwrap();
        let records = Command::new("dig")
            .args([
                "@127.0.0.1",
                "-p",
                "5300",
                "+short",
                "TXT",
                "_acme-challenge.t.example.test",
            ])
            .output();
        if let Ok(records) = records {
            assert_eq!(
                String::from_utf8(records.stdout).unwrap(),
                "",
                "they were removed"
            );
        }
    });
}

#[test]
fn a_server_that_refuses_an_update_is_reported_with_its_reason() {
    if !is_installed() {
        return;
    }
    alone!();
    let _named = Named::start();
    let options = PebbleOptions {
        dns: Some(ADDRESS.parse::<SocketAddr>().unwrap()),
        ..PebbleOptions::default()
    };
    let pebble = Pebble::start(&options);
    run(async {
        let state = tempfile::tempdir().unwrap();
        let node = Node::start(&pebble, state.path()).await;
        let host = "t.example.test";
        let wrong_secret = "YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE=";
        for (key, zone, reason) in [
            (format!("unknown:{SECRET}"), None, "BADKEY"),
            (format!("byway:{wrong_secret}"), None, "BADSIG"),
            (format!("other:{SECRET}"), None, "REFUSED"),
            (format!("byway:{SECRET}"), Some("elsewhere.test"), "NOTAUTH"),
        ] {
            let mut wanted = node.source(&pebble.directory(), &[host], ChallengeKind::Dns01);
            wanted.dns = Some(update(&key, zone));
            let before = node.keeper.counts().failed(FailureKind::Dns);
            node.want(wanted);
            node.keeper.renew_now(&name(host));
            node.until(host, |_| {
                node.keeper.counts().failed(FailureKind::Dns) > before
            })
            .await;
            let failure = node.failed(host).await;
            assert_eq!(failure.kind, FailureKind::Dns);
            assert!(failure.text.contains(reason), "{reason}: {failure}");
        }
    });
}
