//! Process: one measured program, on its core, observed through `/proc`.
//!
//! In:    a command, a core and a folder for its log.
//! Out:   CPU time, memory and log; it is stopped by its own process id.
//! Never: signals a process that the lab has not started, or leaves one running.

use std::collections::HashSet;
use std::fs::{self, File};
use std::ops::Sub;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use crate::machine::{Cores, pin, ticks, unpinned};

/// A running program. Dropping it kills it.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

/// Processor time of all threads of a program, ended ones included.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CpuTime {
    /// In the program itself.
    pub(crate) user: Duration,
    /// In the kernel for the program.
    pub(crate) system: Duration,
}

impl CpuTime {
    /// Both together.
    pub(crate) fn total(&self) -> Duration {
        self.user + self.system
    }
}

impl Sub for CpuTime {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
        }
    }
}

/// Memory of a program, in KiB.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// All resident pages, including those of the program file and of libraries (VmRSS).
    pub(crate) rss_kib: u64,
    /// Of these, the program's own data (RssAnon).
    pub(crate) anonymous_kib: u64,
    /// The number of its threads.
    pub(crate) threads: u64,
}

impl Process {
    /// Starts `command` on any core: for programs at both ends of a simulated path, where the path
    /// is the limit.
    pub(crate) fn spawn_unpinned(mut command: Command, name: &str, dir: &Path) -> Result<Self> {
        let log = log_of(&mut command, name, dir)?;
        command.stdout(Stdio::null());
        let child = unpinned(|| command.spawn());
        Ok(Self {
            child: child.with_context(|| format!("starting {name}"))?,
            log,
        })
    }

    /// Starts `command` on the subject's core. Standard error goes to `NAME.log` in `dir`. The
    /// calling thread is on the load generator's core afterwards.
    pub(crate) fn spawn(
        mut command: Command,
        name: &str,
        cores: Cores,
        dir: &Path,
    ) -> Result<Self> {
        command.stdout(Stdio::null());
        Self::spawn_as_it_is(command, name, cores, dir)
    }

    /// The same for a program whose standard output is used: it goes where `command` sends it.
    pub(crate) fn spawn_as_it_is(
        mut command: Command,
        name: &str,
        cores: Cores,
        dir: &Path,
    ) -> Result<Self> {
        let log = log_of(&mut command, name, dir)?;
        // A child inherits the affinity of the thread that starts it, and so do all threads of the
        // child.
        pin(cores.subject)?;
        let child = command.spawn();
        pin(cores.load)?;
        Ok(Self {
            child: child.with_context(|| format!("starting {name}"))?,
            log,
        })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// What it has written to standard error so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Polls `ready` until it returns a value; fails if the program ends or takes longer than ten
    /// seconds.
    pub(crate) async fn until<T>(&mut self, ready: impl AsyncFn(&Self) -> Option<T>) -> Result<T> {
        const PATIENCE: Duration = Duration::from_secs(10);
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(value) = ready(self).await {
                return Ok(value);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "it ended before it was ready ({status}): {}",
                    last_line(&self.log())
                );
            }
            if Instant::now() > deadline {
                bail!(
                    "it was not ready within {PATIENCE:?}: {}",
                    last_line(&self.log())
                );
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// The reason why it has ended, if it has.
    pub(crate) fn ended(&mut self) -> Result<Option<String>> {
        let status = self.child.try_wait()?;
        Ok(status.map(|status| format!("it ended ({status}): {}", last_line(&self.log()))))
    }

    /// Kills it, and waits for its end.
    pub(crate) fn kill(&mut self) {
        // Both fail only for a program that has already ended and been reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends SIGTERM, and kills it after three seconds.
    pub(crate) async fn stop(mut self) -> Result<()> {
        if kill_process(self.pid(), Signal::TERM).is_ok() {
            let deadline = Instant::now() + Duration::from_secs(3);
            while self.child.try_wait()?.is_none() && Instant::now() < deadline {
                sleep(Duration::from_millis(5)).await;
            }
        }
        Ok(())
    }
}

/// Gives the command no input, and sends its standard error to this file.
fn log_of(command: &mut Command, name: &str, dir: &Path) -> Result<PathBuf> {
    let log = dir.join(format!("{name}.log"));
    let stderr = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
    command.stdin(Stdio::null()).stderr(stderr);
    Ok(log)
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// CPU time of a process so far.
pub(crate) fn cpu_time(pid: Pid) -> Result<CpuTime> {
    times_in(&format!("/proc/{}/stat", pid.as_raw_nonzero()))
}

/// CPU time of a thread of the lab itself so far.
pub(crate) fn thread_cpu_time(thread: i32) -> Result<CpuTime> {
    times_in(&format!("/proc/self/task/{thread}/stat"))
}

fn times_in(path: &str) -> Result<CpuTime> {
    let stat = fs::read_to_string(path)
        .with_context(|| format!("reading {path}: has the program ended?"))?;
    let (user, system) =
        parse_times(&stat, UTIME).with_context(|| format!("reading {path}: unknown form"))?;
    Ok(CpuTime {
        user: ticks(user),
        system: ticks(system),
    })
}

/// CPU time of all children that this process has reaped.
pub(crate) fn children_cpu_time() -> Result<CpuTime> {
    let stat = fs::read_to_string("/proc/self/stat").context("reading /proc/self/stat")?;
    let (user, system) =
        parse_times(&stat, CUTIME).context("reading /proc/self/stat: unknown form")?;
    Ok(CpuTime {
        user: ticks(user),
        system: ticks(system),
    })
}

/// Positions after the name in `/proc/PID/stat` (proc(5): fields 14 and 16; the first after the
/// name is 3).
const UTIME: usize = 11;
const CUTIME: usize = 13;

/// The name in parentheses may contain anything, so fields are counted from the last parenthesis.
fn parse_times(stat: &str, at: usize) -> Option<(u64, u64)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(at);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// Current memory of a process.
pub(crate) fn memory(pid: Pid) -> Result<Memory> {
    let path = format!("/proc/{}/status", pid.as_raw_nonzero());
    let status = fs::read_to_string(&path)
        .with_context(|| format!("reading {path}: has the program ended?"))?;
    let number = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_whitespace().find_map(|word| word.parse().ok())
    };
    let field = |key| number(key).with_context(|| format!("{path} has no {key}"));
    Ok(Memory {
        rss_kib: field("VmRSS:")?,
        anonymous_kib: field("RssAnon:")?,
        threads: field("Threads:")?,
    })
}

/// The number of network sockets that a process has open, connecting ones included. Unix sockets,
/// which runtimes use to wake themselves, are not counted.
pub(crate) fn network_sockets(pid: Pid) -> Result<usize> {
    let path = format!("/proc/{}/fd", pid.as_raw_nonzero());
    let entries =
        fs::read_dir(&path).with_context(|| format!("reading {path}: has the program ended?"))?;
    // A descriptor closed since the folder was read has no target any more.
    let targets = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let all: Vec<u64> = targets
        .filter_map(|target| socket_inode(target.to_str()?))
        .collect();
    let unix = fs::read_to_string("/proc/net/unix").context("reading /proc/net/unix")?;
    let unix: HashSet<u64> = unix.lines().filter_map(unix_inode).collect();
    Ok(all.iter().filter(|inode| !unix.contains(inode)).count())
}

/// The N of `socket:[N]`.
fn socket_inode(target: &str) -> Option<u64> {
    target
        .strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

/// The seventh column of a line of `/proc/net/unix`; in the header line that is a word.
fn unix_inode(line: &str) -> Option<u64> {
    line.split_whitespace().nth(6)?.parse().ok()
}

fn last_line(log: &str) -> &str {
    log.lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty())
        .unwrap_or("its log is empty")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_sockets_are_distinguished_from_files_and_unix_sockets() {
        assert_eq!(socket_inode("socket:[4711]"), Some(4711));
        assert_eq!(socket_inode("/dev/null"), None);
        let head = "Num       RefCount Protocol Flags    Type St Inode Path";
        let line = "0000000000000000: 00000003 00000000 00000000 0001 03 18253 /run/systemd/journal/stdout";
        assert_eq!((unix_inode(head), unix_inode(line)), (None, Some(18253)));
        let _network = [0; 3].map(|_| std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
        // Other tests of this process may have sockets too.
        assert!(network_sockets(rustix::process::getpid()).unwrap() >= 3);
    }

    #[test]
    fn a_name_with_parentheses_and_spaces_shifts_no_field() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194304 100 0 0 0 250 31 4 5 20 0 1 0 100";
        assert_eq!(parse_times(stat, UTIME), Some((250, 31)));
        assert_eq!(parse_times(stat, CUTIME), Some((4, 5)));
        assert_eq!(parse_times("7 (short) S 1", UTIME), None);
    }
}
