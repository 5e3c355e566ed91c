//! Compares `Resolver::dns` with the `getaddrinfo` of this machine, with the same names and the
//! same server.
//!
//! This needs its own `/etc` and port 53: the test restarts itself in new namespaces, and is
//! skipped with a message if the machine does not permit that.

use std::process::Command;

use super::*;

/// The names to look up, with each `resolv.conf`.
const NAMES: [&str; 20] = [
    "both.example",
    "four.example",
    "six.example",
    "alias.example",
    "empty.example",
    "missing.example",
    "half.example",
    "gone-for-six.example",
    "broken.example",
    "large.example",
    "in-hosts.example",
    "in-hosts-too",
    "db",
    "only-b",
    "top",
    "x.y",
    "searched.too",
    "flaky",
    "nowhere",
    "localhost",
];

const CONFS: [&str; 5] = [
    "nameserver 127.0.0.1\nsearch .\n",
    "nameserver 127.0.0.1\nsearch a.example b.example\n",
    "nameserver 127.0.0.1\nsearch a.example b.example\noptions ndots:2\n",
    "nameserver 127.0.0.1\ndomain b.example\noptions timeout:1 attempts:1 rotate\n",
    "# no server: this machine is asked\nsearch b.example\n",
];

const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost\n192.0.2.20 in-hosts.example in-hosts-too\n\
                     2001:db8::20 in-hosts.example\n";

fn table() -> Vec<(&'static str, Says)> {
    vec![
        ("both.example", has("192.0.2.1 2001:db8::1 192.0.2.2")),
        ("four.example", has("192.0.2.4")),
        ("six.example", has("2001:db8::6")),
        ("alias.example", Says::Alias("four.example")),
        ("empty.example", Says::Addresses(Vec::new(), 60)),
        ("half.example", Says::OneFamily(ip("192.0.2.5"), 2)),
        ("gone-for-six.example", Says::OneFamily(ip("192.0.2.7"), 3)),
        ("broken.example", Says::Code(2)),
        (
            "large.example",
            Says::OnlyOverTcp(vec![ip("192.0.2.8"), ip("2001:db8::8")]),
        ),
        ("in-hosts.example", has("203.0.113.1")),
        ("db.a.example", has("192.0.2.31")),
        ("db.b.example", has("192.0.2.32")),
        ("only-b.b.example", has("192.0.2.33")),
        ("top", has("192.0.2.34")),
        ("x.y", has("192.0.2.35")),
        ("x.y.a.example", has("192.0.2.36")),
        ("searched.too.b.example", has("192.0.2.37")),
        ("flaky.a.example", Says::Code(2)),
        ("flaky.b.example", has("192.0.2.38")),
    ]
}

#[test]
fn names_resolve_as_getaddrinfo_resolves_them() {
    let script = "mount -t tmpfs tmpfs /etc && printf '%s' \"$CONF\" > /etc/resolv.conf && \
                  printf '%s' \"$HOSTS\" > /etc/hosts && echo 'hosts: files dns' > /etc/nsswitch.conf && echo 'multi on' > /etc/host.conf && \
                  ip link set lo up && echo in the namespace && exec \"$0\" \"$@\"";
    let itself = std::env::current_exe().unwrap();
    for conf in CONFS {
        let ran = Command::new("unshare")
            .args(["--net", "--mount", "sh", "-c", script])
            .arg(&itself)
            .args(["--exact", "beside::inside", "--ignored", "--nocapture"])
            .env("CONF", conf)
            .env("HOSTS", HOSTS)
            .output();
        let Ok(ran) = ran else {
            return eprintln!("skipped: unshare(1), which creates namespaces, is missing");
        };
        let (out, err) = (
            String::from_utf8_lossy(&ran.stdout),
            String::from_utf8_lossy(&ran.stderr),
        );
        if !out.contains("in the namespace") {
            return eprintln!("skipped: this machine does not permit namespaces: {err}");
        }
        assert!(
            ran.status.success() && out.contains("1 passed"),
            "with {conf:?}:\n{out}{err}"
        );
    }
}

#[test]
#[ignore = "runs in namespaces of its own, started by names_resolve_as_getaddrinfo_resolves_them"]
fn inside() {
    let _server = DnsServer::at(
        SocketAddr::from(([127, 0, 0, 1], 53)),
        &table(),
        Says::Code(3),
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let _context = runtime.enter();
    let (ours, system) = (
        Resolver::dns(runtime.handle().clone()),
        Resolver::system(runtime.handle().clone()),
    );
    let sorted = |found: String| {
        let mut words: Vec<_> = found.split(' ').map(str::to_owned).collect();
        words.sort();
        words.join(" ")
    };
    for name in NAMES {
        let [ours, system] =
            [&ours, &system].map(|resolver| sorted(runtime.block_on(found(resolver, name))));
        assert_eq!(ours, system, "{name}: ours, then getaddrinfo's");
    }
}
