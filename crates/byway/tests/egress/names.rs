//! Names: how an exit resolves them, with a test DNS server at port 53 and an `/etc` of its own.
//!
//! The test runs itself again in new namespaces. It is skipped with a message if the machine does
//! not allow that.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

use byway_testkit::dns::Says;
use byway_testkit::{DnsServer, Fetched, Origin, Visitor, curl, eventually};

use super::*;

const SCRIPT: &str = "mount -t tmpfs tmpfs /etc && \
    printf 'nameserver 127.0.0.1\\nsearch .\\noptions timeout:30 attempts:1\\n' > /etc/resolv.conf && \
    printf '127.0.0.1 in-hosts.example\\n' > /etc/hosts && echo 'hosts: dns' > /etc/nsswitch.conf && \
    ip link set lo up && echo in the namespace && exec \"$0\" \"$@\"";

/// More look-ups than may run at once.
const UNANSWERED: usize = 300;

#[test]
fn an_exit_resolves_as_its_resolver_says_and_unanswered_names_of_one_user_delay_no_other() {
    let itself = std::env::current_exe().unwrap();
    let ran = Command::new("unshare")
        .args(["--net", "--mount", "sh", "-c", SCRIPT])
        .arg(&itself)
        .args(["--exact", "names::inside", "--ignored", "--nocapture"])
        .output();
    let Ok(ran) = ran else {
        return eprintln!("skipped: this machine has no unshare(1)");
    };
    let (out, err) = (
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr),
    );
    if !out.contains("in the namespace") {
        return eprintln!("skipped: this machine does not allow namespaces: {err}");
    }
    assert!(
        ran.status.success() && out.contains("1 passed"),
        "{out}{err}"
    );
}

/// A config with this `resolver` and two users.
fn config(resolver: &str) -> String {
    format!(
        "[dial]\nresolver = \"{resolver}\"\n[[proxy]]\nlisten = \"127.0.0.1:0\"\n\
         users = [{{ name = \"alice\", password = \"a\" }}, {{ name = \"bob\", password = \"b\" }}]\n\
         [[proxy.rule]]\naction = \"allow\"\ncidr = \"127.0.0.0/8\"\n"
    )
}

#[test]
#[ignore = "runs in namespaces of its own, started by an_exit_resolves_as_its_resolver_says_and_unanswered_names_of_one_user_delay_no_other"]
fn inside() {
    let here = || Says::Addresses(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)], 60);
    let names =
        ["one", "two", "three", "bob-dns", "bob-system"].map(|name| format!("{name}.example"));
    let table: Vec<_> = names.iter().map(|name| (name.as_str(), here())).collect();
    let server = DnsServer::at(
        SocketAddr::from(([127, 0, 0, 1], 53)),
        &table,
        Says::Code(3),
    );
    let origin = Origin::named("found by name");
    let exit = Program::configured(BYWAY, &config("dns"));
    let fetch = |name: &str| {
        let proxy = format!("http://bob:b@{}", exit.address());
        curl(&[
            "-x",
            &proxy,
            &format!("http://{name}:{}/", origin.address().port()),
        ])
    };

    assert_eq!(fetch("one.example").text(), "found by name");
    assert!(
        server
            .asked()
            .iter()
            .any(|asked| asked.name == "one.example")
    );
    assert_eq!(fetch("missing.example").status, 502);
    assert_eq!(
        fetch("in-hosts.example").text(),
        "found by name",
        "the resolver of ours reads /etc/hosts"
    );
    unanswered_names_delay_only_their_user(&exit, &server, "dns", &fetch);

    exit.reload(&config("system"));
    assert_eq!(fetch("two.example").text(), "found by name");
    assert_eq!(
        fetch("in-hosts.example").status,
        502,
        "/etc/nsswitch.conf leaves /etc/hosts out"
    );
    unanswered_names_delay_only_their_user(&exit, &server, "system", &fetch);

    exit.reload(&config("dns"));
    assert_eq!(fetch("in-hosts.example").text(), "found by name");
    assert_eq!(fetch("three.example").text(), "found by name");
}

/// Alice requests more names than may be looked up at once, and no DNS server answers. Meanwhile
/// Bob requests a name that exists.
fn unanswered_names_delay_only_their_user(
    exit: &Program,
    server: &DnsServer,
    resolver: &str,
    fetch: &dyn Fn(&str) -> Fetched,
) {
    let name = |n: usize| format!("silent-{resolver}-{n}.example");
    for n in 0..UNANSWERED {
        server.set(&name(n), Says::Silence);
    }
    let visitors: Vec<_> = (0..UNANSWERED)
        .map(|n| {
            let mut visitor = Visitor::connect(exit.address());
            let to = format!("{}:80", name(n));
            // alice:a
            let request =
                format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\nProxy-Authorization: Basic YWxpY2U6YQ==\r\n\r\n");
            visitor.send(request);
            visitor
        })
        .collect();
    let prefix = format!("silent-{resolver}-");
    let silent = || {
        server
            .asked()
            .iter()
            .filter(|asked| asked.name.starts_with(&prefix))
            .count()
    };
    eventually("the names of Alice are looked up", || silent() >= 8);
    assert_eq!(
        fetch(&format!("bob-{resolver}.example")).text(),
        "found by name",
        "{resolver}"
    );
    drop(visitors);
}
