//! Files: `resolv.conf` and `hosts`, read again when they change.
//!
//! In:    the paths of both.
//! Out:   their current contents, and a version number.
//! Never: checks a file more often than once a second.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

use super::conf::Conf;
use crate::target::{HostName, without_trailing_dot};

/// The shortest time between two checks of the files.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How much of a file is read. Block lists of advertisers have a few MiB.
const BYTES_MAX: u64 = 16 << 20;

/// The files and the port of a resolver that queries DNS servers directly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsFiles {
    /// Servers, search list and options. Default `/etc/resolv.conf`.
    pub resolv_conf: PathBuf,
    /// Names that are resolved without a query. Default `/etc/hosts`.
    pub hosts: PathBuf,
    /// The port of all servers. Default 53.
    pub port: u16,
}

impl Default for DnsFiles {
    fn default() -> Self {
        Self {
            resolv_conf: "/etc/resolv.conf".into(),
            hosts: "/etc/hosts".into(),
            port: 53,
        }
    }
}

/// The contents of both files.
pub(super) struct Settings {
    pub(super) conf: Conf,
    hosts: HashMap<String, Vec<IpAddr>>,
}

impl Settings {
    /// The addresses of `name` in `hosts`.
    pub(super) fn hosts(&self, name: &HostName) -> Option<&[IpAddr]> {
        self.hosts.get(name.as_str()).map(Vec::as_slice)
    }
}

/// Both files and the time of the last check.
pub(super) struct Files {
    paths: DnsFiles,
    look_every: Duration,
    state: Mutex<State>,
}

struct State {
    looked: Instant,
    stamps: [Option<Stamp>; 2],
    settings: Arc<Settings>,
    version: u64,
}

/// What changes with a file, whether it is changed in place or replaced by a rename.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
    identity: (u64, u64, i64, i64),
}

impl Files {
    pub(super) fn new(paths: DnsFiles) -> Self {
        Self::looking_every(paths, LOOK_EVERY)
    }

    fn looking_every(paths: DnsFiles, look_every: Duration) -> Self {
        let stamps = stamps(&paths);
        let settings = Arc::new(read(&paths));
        let state = State {
            looked: Instant::now(),
            stamps,
            settings,
            version: 0,
        };
        Self {
            paths,
            look_every,
            state: Mutex::new(state),
        }
    }

    /// The contents of the files, and their version. Blocks to read them if they have changed: they
    /// are small local files.
    pub(super) fn now(&self) -> (u64, Arc<Settings>) {
        let mut state = self.state.lock();
        if state.looked.elapsed() >= self.look_every {
            state.looked = Instant::now();
            let stamps = stamps(&self.paths);
            if stamps != state.stamps {
                state.stamps = stamps;
                state.settings = Arc::new(read(&self.paths));
                state.version += 1;
            }
        }
        (state.version, Arc::clone(&state.settings))
    }
}

fn stamps(paths: &DnsFiles) -> [Option<Stamp>; 2] {
    [&paths.resolv_conf, &paths.hosts].map(|path| {
        let metadata = std::fs::metadata(path).ok()?;
        #[cfg(unix)]
        let identity = {
            use std::os::unix::fs::MetadataExt;
            (
                metadata.dev(),
                metadata.ino(),
                metadata.ctime(),
                metadata.ctime_nsec(),
            )
        };
        #[cfg(not(unix))]
        let identity = (0, 0, 0, 0);
        Some(Stamp {
            modified: metadata.modified().ok(),
            bytes: metadata.len(),
            identity,
        })
    })
}

fn read(paths: &DnsFiles) -> Settings {
    let conf = Conf::parse(&text(&paths.resolv_conf), &machine(), paths.port);
    Settings {
        conf,
        hosts: parse_hosts(&text(&paths.hosts)),
    }
}

/// A file that cannot be read counts as empty, as in the C library.
fn text(path: &PathBuf) -> String {
    use std::io::Read;
    let mut bytes = Vec::new();
    if let Ok(file) = std::fs::File::open(path) {
        let _ = file.take(BYTES_MAX).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The host name of this machine, where the system has it in a file; otherwise empty, and there is
/// no default search list.
fn machine() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// hosts(5): each line has an address and its names. All lines with a name count, as for
/// `getaddrinfo` with the `multi on` of `host.conf` that distributions ship.
fn parse_hosts(text: &str) -> HashMap<String, Vec<IpAddr>> {
    let mut hosts: HashMap<String, Vec<IpAddr>> = HashMap::new();
    for line in text.lines() {
        let mut words = line
            .split('#')
            .next()
            .unwrap_or_default()
            .split_ascii_whitespace();
        let Some(Ok(ip)) = words.next().map(str::parse::<IpAddr>) else {
            continue;
        };
        for name in words {
            let name = without_trailing_dot(name).to_ascii_lowercase();
            let addresses = hosts.entry(name).or_default();
            if !addresses.contains(&ip) && addresses.len() < super::ADDRESSES_MAX {
                addresses.push(ip);
            }
        }
    }
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> HostName {
        text.parse().unwrap()
    }

    #[test]
    fn names_of_a_hosts_file_are_found_whatever_their_case_and_on_every_line() {
        let hosts = parse_hosts(
            "192.0.2.1 One.example one # comment three\n# 192.0.2.9 one\n2001:db8::1\tone.EXAMPLE.\n\
             192.0.2.1 one.example\nnonsense one.example\n127.1 short\n192.0.2.2\n",
        );
        let one: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        assert_eq!(hosts["one.example"], one);
        assert_eq!(hosts["one"], one[..1]);
        assert_eq!(hosts.len(), 2);
    }

    #[test]
    fn a_file_that_has_changed_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let paths = DnsFiles {
            resolv_conf: folder.path().join("r"),
            hosts: folder.path().join("h"),
            port: 53,
        };
        let files = Files::looking_every(paths.clone(), Duration::ZERO);
        let (first, settings) = files.now();
        assert!(settings.hosts(&name("a.example")).is_none());
        std::fs::write(&paths.hosts, "192.0.2.1 a.example\n").unwrap();
        let (second, settings) = files.now();
        assert!(second > first && settings.hosts(&name("a.example")).is_some());
        // The usual way to write such a file: write a new file and rename it.
        std::fs::write(folder.path().join("new"), "nameserver 192.0.2.7\n").unwrap();
        std::fs::rename(folder.path().join("new"), &paths.resolv_conf).unwrap();
        let (third, settings) = files.now();
        assert_eq!(settings.conf.servers, ["192.0.2.7:53".parse().unwrap()]);
        assert!(third > second);
        assert_eq!(files.now().0, third);
    }

    #[test]
    fn the_files_are_checked_at_most_once_a_second() {
        let folder = tempfile::tempdir().unwrap();
        let paths = DnsFiles {
            resolv_conf: folder.path().join("r"),
            hosts: folder.path().join("h"),
            port: 53,
        };
        let files = Files::looking_every(paths.clone(), Duration::from_secs(3600));
        std::fs::write(&paths.hosts, "192.0.2.1 a.example\n").unwrap();
        assert!(files.now().1.hosts(&name("a.example")).is_none());
    }
}
