//! Namespace: a network namespace of the lab, created and removed by ip(8).
//!
//! In:    a name; work to do inside.
//! Out:   sockets, devices and programs that have no other network.
//! Never: changes the network of the machine, or remains after the end of the lab.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use anyhow::{Context, Result, bail, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// See the top of the file. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct Namespace {
    name: String,
    file: File,
}

/// Keeps a thread inside a namespace until this is dropped.
#[derive(Debug)]
pub(crate) struct Inside {
    before: File,
}

const PREFIX: &str = "byway-lab-";
/// The prefix of those of tests (`byway-testkit`: `netns.rs`).
const TEST_PREFIX: &str = "byway-";
const FOLDER: &str = "/run/netns";

impl Namespace {
    /// Creates one whose loopback device is up.
    pub(crate) fn make(name: &str) -> Result<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "{PREFIX}{}-{}-{name}",
            std::process::id(),
            MADE.fetch_add(1, Relaxed)
        );
        ip(&["netns", "add", &name])?;
        let file = File::open(Path::new(FOLDER).join(&name));
        let file = file.with_context(|| format!("opening the namespace {name}"))?;
        let made = Self { name, file };
        made.ip(&["link", "set", "lo", "up"])?;
        Ok(made)
    }

    /// Runs ip(8) inside.
    pub(crate) fn ip(&self, arguments: &[&str]) -> Result<()> {
        ip(&[&["-n", &self.name], arguments].concat())
    }

    /// Moves the calling thread inside. Sockets that it opens and programs that it starts belong to
    /// the namespace.
    pub(crate) fn enter(&self) -> Result<Inside> {
        let before =
            File::open("/proc/thread-self/ns/net").context("opening this thread's namespace")?;
        move_to(&self.file).with_context(|| format!("entering the namespace {}", self.name))?;
        Ok(Inside { before })
    }

    /// Runs `work` inside.
    pub(crate) fn within<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let inside = self.enter()?;
        let done = work();
        inside.leave()?;
        done
    }

    /// Sets a parameter below `/proc/sys/net` for this namespace only.
    pub(crate) fn set(&self, parameter: &str, value: &str) -> Result<()> {
        let file = Path::new("/proc/sys/net").join(parameter);
        self.within(|| {
            fs::write(&file, value)
                .with_context(|| format!("writing {value} to {}", file.display()))
        })
    }

    /// A parameter below `/proc/sys/net` of this namespace.
    pub(crate) fn get(&self, parameter: &str) -> Result<String> {
        let file = Path::new("/proc/sys/net").join(parameter);
        self.within(|| {
            fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))
        })
    }

    /// Packets that a device has dropped because its queue was full.
    pub(crate) fn device_drops(&self, device: &str) -> Result<u64> {
        let text = self.within(|| {
            fs::read_to_string("/proc/thread-self/net/dev").context("reading net/dev")
        })?;
        sending_drops(&text, device).with_context(|| format!("there is no {device} in net/dev"))
    }
}

/// The twelfth figure of the device's line in `/proc/net/dev`.
fn sending_drops(text: &str, device: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix(device)?.strip_prefix(':'))?;
    line.split_whitespace().nth(11)?.parse().ok()
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = ip(&["netns", "del", &self.name]) {
            eprintln!("lab: {error:#}");
        }
    }
}

impl Inside {
    /// Returns to the earlier namespace.
    pub(crate) fn leave(self) -> Result<()> {
        move_to(&self.before).context("leaving a namespace")
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        // `leave` reports a failure.
        let _ = move_to(&self.before);
    }
}

fn move_to(namespace: &File) -> rustix::io::Result<()> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
}

/// Removes the namespaces of labs and tests that were killed.
pub(crate) fn sweep() {
    let Ok(entries) = fs::read_dir(FOLDER) else {
        return;
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    for name in
        names.filter(|name| maker(name).is_some_and(|pid| !Path::new("/proc").join(pid).exists()))
    {
        if let Err(error) = ip(&["netns", "del", &name]) {
            eprintln!("lab: {error:#}");
        }
    }
}

/// The process id in a namespace's name.
fn maker(name: &str) -> Option<&str> {
    let pid = name
        .strip_prefix(PREFIX)
        .or_else(|| name.strip_prefix(TEST_PREFIX))?
        .split_once('-')?
        .0;
    (!pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit())).then_some(pid)
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .context("running ip(8)")?;
    if !output.status.success() {
        bail!(
            "ip {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

/// Whether this machine allows the lab to create a path; the error names what is missing.
pub(crate) fn may_be_made() -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "network namespaces need root"
    );
    ensure!(
        Path::new("/dev/net/tun").exists(),
        "there is no /dev/net/tun"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_maker_is_found_in_the_name_of_a_test_namespace() {
        assert_eq!(maker("byway-4711-0-n"), Some("4711"));
        for other in [
            "byway-4711",
            "byway-",
            "byway-x-0-n",
            "byway--0-n",
            "byways-4711-0-n",
        ] {
            assert_eq!(maker(other), None, "{other}");
        }
    }

    #[test]
    fn the_maker_is_found_in_the_name_of_a_lab_namespace() {
        assert_eq!(maker("byway-lab-4711-near"), Some("4711"));
        for other in [
            "byway-lab--near",
            "byway-lab-4711",
            "byway-lab-x/..-near",
            "office",
        ] {
            assert_eq!(maker(other), None, "{other}");
        }
    }

    #[test]
    fn drops_are_read_from_the_line_of_the_device() {
        let text = "Inter-|   Receive                                                |  Transmit\n \
                    face |bytes    packets errs drop fifo frame compressed multicast|bytes\n    \
                    lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n  lab0: 21 22 23 24 25 26 27 28 29 30 31 32 33\n";
        assert_eq!(
            (sending_drops(text, "lab0"), sending_drops(text, "lab")),
            (Some(32), None)
        );
    }
}
