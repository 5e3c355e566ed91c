//! Netns: two places with a router between them, in network namespaces, so that a test can block a
//! way and heal it.
//!
//! In:    what to run in which place; which packets the router shall not forward, and how it says
//!        so.
//! Out:   what was run; or the reason why this machine cannot have namespaces, said loudly.
//! Never: changes anything of the network that the test itself runs in.

use std::fs::{self, File};
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// See the head of the file. Both places reach each other, and themselves by loopback.
pub struct Network {
    near: Namespace,
    router: Namespace,
    far: Namespace,
}

/// What becomes of a packet that is not forwarded.
#[derive(Clone, Copy, Debug)]
pub enum Block {
    /// Nobody hears of it.
    Drop,
    /// ICMP says that it was filtered.
    Prohibit,
    /// ICMP says that there is no way.
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

/// Where the router's rule stands that blocks.
const PREFERENCE: &str = "100";

impl Network {
    /// The address of the far place.
    pub const FAR: Ipv4Addr = Ipv4Addr::new(10, 77, 2, 2);

    /// A new network; none, and the reason on stderr, where there cannot be one.
    #[track_caller]
    pub fn new() -> Option<Self> {
        let missing = why_not();
        if let Some(why) = missing {
            // Not by eprintln: a test that passes shows nothing of that.
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

    /// Runs `what` in the near place; the programs, sockets and threads that it makes stay there.
    #[track_caller]
    pub fn near<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        self.near.inside(what)
    }

    /// Runs `what` in the far place.
    #[track_caller]
    pub fn far<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        self.far.inside(what)
    }

    /// From now on the router forwards no packet of this protocol (`udp`, `tcp`).
    #[track_caller]
    pub fn block(&self, protocol: &str, how: Block) {
        self.rule(&["add", "pref", PREFERENCE, "ipproto", protocol, how.word()]);
    }

    /// From now on the router forwards nothing, and says nothing of it.
    #[track_caller]
    pub fn black_hole(&self) {
        self.rule(&["add", "pref", PREFERENCE, Block::Drop.word()]);
    }

    /// From now on the router drops IP packets of more than about `bytes` bytes between the two
    /// places without an ICMP message: an MTU hole.
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
        // A veth drops what is larger than the MTU of its other end, but not what is still to be
        // cut into packets.
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

    /// Takes an address from the near place and gives it another one of the same network.
    #[track_caller]
    pub fn move_near(&self) {
        let near = |words: &[&str]| ip(&[&["-n", &self.near.0], words].concat());
        near(&["address", "add", "10.77.1.3/24", "dev", "way"]);
        near(&["address", "delete", "10.77.1.2/24", "dev", "way"]);
        near(&["address", "replace", "10.77.1.3/24", "dev", "way"]);
        near(&["route", "replace", "default", "via", "10.77.1.1"]);
    }

    /// Takes the last block back.
    #[track_caller]
    pub fn heal(&self) {
        self.rule(&["delete", "pref", PREFERENCE]);
    }

    #[track_caller]
    fn rule(&self, words: &[&str]) {
        ip(&[&["-n", &self.router.0, "rule"], words].concat());
    }
}

/// A network namespace with a name; it goes with its last process once the name is gone.
struct Namespace(String);

impl Namespace {
    #[track_caller]
    fn new(place: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        // The lab removes those whose process is gone.
        let name = format!(
            "byway-{}-{}-{place}",
            std::process::id(),
            NUMBER.fetch_add(1, Relaxed)
        );
        ip(&["netns", "add", &name]);
        Self(name)
    }

    /// On a thread of its own: a thread has one namespace, and hands it on to what it starts.
    #[track_caller]
    fn inside<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        let file = File::open(format!("/run/netns/{}", self.0)).expect("the namespace is there");
        let inside = || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("root may go there");
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
        return Some("only root makes network namespaces".to_owned());
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
fn ip(args: &[&str]) {
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
