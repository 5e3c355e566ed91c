//! Netns: two hosts with a router between them, in network namespaces, so that a test can block a
//! path and unblock it.
//!
//! In:    what to run on which host; which packets the router does not forward, and how it reports
//!        that.
//! Out:   the result; or the reason why this machine cannot have namespaces, printed to stderr.
//! Never: changes the network that the test itself runs in.

use std::fs::{self, File};
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Two hosts with a router between them, in network namespaces. Both hosts reach each other, and
/// themselves by loopback. Dropping it deletes the namespaces.
pub struct Network {
    near: Namespace,
    router: Namespace,
    far: Namespace,
}

/// What the router does with a packet that it does not forward.
#[derive(Clone, Copy, Debug)]
pub enum Block {
    /// Drops it silently.
    Drop,
    /// Sends ICMP: administratively prohibited.
    Prohibit,
    /// Sends ICMP: unreachable.
    Unreachable,
}

impl Block {
    const fn word(self) -> &'static str {
        match self {
            Self::Drop => "blackhole",
            Self::Prohibit => "prohibit",
            Self::Unreachable => "unreachable",
        }
    }
}

/// The priority of the router's blocking rule.
const PREFERENCE: &str = "100";

impl Network {
    /// The address of the far host.
    pub const FAR: Ipv4Addr = Ipv4Addr::new(10, 77, 2, 2);

    /// A new network; `None`, with the reason on stderr, if this machine cannot have one.
    #[track_caller]
    pub fn new() -> Option<Self> {
        let missing = why_not();
        if let Some(why) = missing {
            // Not with eprintln: the output of a passing test is captured.
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: {}: {why}",
                thread::current().name().unwrap_or_default()
            );
            return None;
        }
        let [near, router, far] = ["n", "r", "f"].map(Namespace::new);
        for (place, side) in [(&near, "1"), (&far, "2")] {
            let (peer, net) = (format!("to{side}"), format!("10.77.{side}"));
            ip(&[
                "link", "add", "way", "netns", &place.0, "type", "veth", "peer", "name", &peer,
                "netns", &router.0,
            ]);
            for (space, link, host) in [(place, "way", 2), (&router, peer.as_str(), 1)] {
                ip(&[
                    "-n",
                    &space.0,
                    "address",
                    "add",
                    &format!("{net}.{host}/24"),
                    "dev",
                    link,
                ]);
                ip(&["-n", &space.0, "link", "set", link, "up"]);
            }
            ip(&["-n", &place.0, "link", "set", "lo", "up"]);
            ip(&[
                "-n",
                &place.0,
                "route",
                "add",
                "default",
                "via",
                &format!("{net}.1"),
            ]);
        }
        router
            .inside(|| fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("a router forwards"));
        Some(Self { near, router, far })
    }

    /// Runs `what` on the near host; the programs, sockets and threads that it starts stay there.
    #[track_caller]
    pub fn near<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        self.near.inside(what)
    }

    /// Runs `what` on the far host.
    #[track_caller]
    pub fn far<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        self.far.inside(what)
    }

    /// Makes the router forward no packet of this protocol (`udp`, `tcp`).
    #[track_caller]
    pub fn block(&self, protocol: &str, how: Block) {
        self.rule(&["add", "pref", PREFERENCE, "ipproto", protocol, how.word()]);
    }

    /// Makes the router drop everything silently.
    #[track_caller]
    pub fn black_hole(&self) {
        self.rule(&["add", "pref", PREFERENCE, Block::Drop.word()]);
    }

    /// Makes the router drop IP packets of more than about `bytes` bytes between the two hosts
    /// without an ICMP message: an MTU hole.
    #[track_caller]
    pub fn drop_larger_than(&self, bytes: u32) {
        self.rule(&[
            "add",
            "pref",
            PREFERENCE,
            "ipproto",
            "icmp",
            Block::Drop.word(),
        ]);
        // A veth drops packets larger than the MTU of its other end, but not buffers that are
        // segmented later.
        ip(&[
            "-n",
            &self.near.0,
            "link",
            "set",
            "way",
            "gso_max_segs",
            "1",
        ]);
        ip(&[
            "-n",
            &self.router.0,
            "link",
            "set",
            "to1",
            "mtu",
            &bytes.to_string(),
        ]);
    }

    /// Replaces the address of the near host by another one of the same network.
    #[track_caller]
    pub fn move_near(&self) {
        let near = |words: &[&str]| ip(&[&["-n", &self.near.0], words].concat());
        near(&["address", "add", "10.77.1.3/24", "dev", "way"]);
        near(&["address", "delete", "10.77.1.2/24", "dev", "way"]);
        near(&["address", "replace", "10.77.1.3/24", "dev", "way"]);
        near(&["route", "replace", "default", "via", "10.77.1.1"]);
    }

    /// Removes the last block.
    #[track_caller]
    pub fn heal(&self) {
        self.rule(&["delete", "pref", PREFERENCE]);
    }

    #[track_caller]
    fn rule(&self, words: &[&str]) {
        ip(&[&["-n", &self.router.0, "rule"], words].concat());
    }
}

/// A named network namespace; once the name is removed, it ends with its last process.
struct Namespace(String);

impl Namespace {
    #[track_caller]
    fn new(place: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        // The lab removes namespaces whose process has ended.
        let name = format!(
            "byway-{}-{}-{place}",
            std::process::id(),
            NUMBER.fetch_add(1, Relaxed)
        );
        ip(&["netns", "add", &name]);
        Self(name)
    }

    /// Runs `what` on a new thread: a thread has one namespace, and what it starts inherits it.
    #[track_caller]
    fn inside<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        let file = File::open(format!("/run/netns/{}", self.0)).expect("the namespace is there");
        let inside = || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("root may enter the namespace");
            what()
        };
        thread::scope(|scope| scope.spawn(inside).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip")
            .args(["netns", "delete", &self.0])
            .status();
    }
}

/// Why this machine cannot have namespaces.
fn why_not() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("only root can create network namespaces".to_owned());
    }
    match Command::new("ip").args(["netns", "list"]).output() {
        Err(error) => Some(format!("`ip` cannot be run ({error}): install iproute2")),
        Ok(output) if !output.status.success() => {
            Some(String::from_utf8_lossy(&output.stderr).into_owned())
        }
        Ok(_) => None,
    }
}

#[track_caller]
pub(crate) fn ip(args: &[&str]) {
    let output = Command::new("ip")
        .args(args)
        .output()
        .expect("`ip` is there");
    assert!(
        output.status.success(),
        "ip {}: {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
}
