//! Syscalls: how many system calls a measured program makes under load.
//!
//! In:    a process under steady load.
//! Out:   system calls per piece of work, over about one second, counted by `perf stat` or else
//!        `strace`.
//! Never: leaves the counting program attached, or counts while times are measured.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

/// How long system calls are counted.
const WINDOW: Duration = Duration::from_secs(1);
/// The time that a counting program may take to attach and to report, beyond the window.
const PATIENCE: Duration = Duration::from_secs(8);

/// The program that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counter {
    /// The kernel's own tracepoint, which hardly slows the program.
    Perf,
    /// Stops the program twice per call: it works at a fraction of its speed, and its batches may
    /// have another size.
    Strace,
}

impl Counter {
    /// The better one that works here, tried on `true`. `None`: the machine has neither.
    pub(crate) fn choose() -> Option<Self> {
        let works = |program: &str, arguments: &[&str]| {
            let mut command = Command::new(program);
            command
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        if works(
            "perf",
            &["stat", "-e", "raw_syscalls:sys_enter", "--", "true"],
        ) {
            return Some(Self::Perf);
        }
        works("strace", &["-c", "-f", "true"]).then_some(Self::Strace)
    }

    /// Its name in a note.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Perf => "`perf stat -e raw_syscalls:sys_enter`",
            Self::Strace => "`strace -c`, which slows the programs down",
        }
    }

    /// System calls per unit of work. `work` returns the amount of work done so far.
    pub(crate) async fn a_piece(self, pid: Pid, dir: &Path, work: impl Fn() -> f64) -> Result<f64> {
        match self {
            Self::Perf => perf(pid, dir, work).await,
            Self::Strace => strace(pid, dir, work).await,
        }
    }
}

/// Perf reports how long it counted; the work is assumed to be steady during the window.
async fn perf(pid: Pid, dir: &Path, work: impl Fn() -> f64) -> Result<f64> {
    let report = dir.join("perf.txt");
    let mut command = Command::new("perf");
    command.args([
        "stat",
        "-e",
        "raw_syscalls:sys_enter",
        "-p",
        &pid.as_raw_nonzero().to_string(),
        "-o",
    ]);
    command
        .arg(&report)
        .args(["--", "sleep", &WINDOW.as_secs_f64().to_string()])
        .env("LC_ALL", "C");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let (started, before) = (Instant::now(), work());
    let mut child = Attached(command.spawn().context("starting perf")?);
    child.ended().await?;
    let rate = (work() - before) / started.elapsed().as_secs_f64();
    let text = std::fs::read_to_string(&report).context("reading what perf has counted")?;
    let (syscalls, seconds) =
        parse_perf(&text).with_context(|| format!("perf counted nothing: {text:?}"))?;
    ensure!(
        rate > 0.0,
        "nothing was done while system calls were counted"
    );
    Ok(syscalls / seconds / rate)
}

/// Strace counts from when it is attached until SIGINT.
async fn strace(pid: Pid, dir: &Path, work: impl Fn() -> f64) -> Result<f64> {
    let (report, stderr) = (dir.join("strace.txt"), dir.join("strace.log"));
    let mut command = Command::new("strace");
    command
        .args(["-c", "-f", "-p", &pid.as_raw_nonzero().to_string(), "-o"])
        .arg(&report);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(&stderr)?);
    let mut child = Attached(command.spawn().context("starting strace")?);
    let deadline = Instant::now() + PATIENCE;
    while !std::fs::read_to_string(&stderr)?.contains("attached") {
        ensure!(
            Instant::now() < deadline,
            "strace did not attach within {PATIENCE:?}"
        );
        sleep(Duration::from_millis(5)).await;
    }
    let before = work();
    sleep(WINDOW).await;
    let done = work() - before;
    kill_process(Pid::from_child(&child.0), Signal::INT).context("stopping strace")?;
    child.ended().await?;
    let text = std::fs::read_to_string(&report).context("reading what strace has counted")?;
    let syscalls =
        parse_strace(&text).with_context(|| format!("strace counted nothing: {text:?}"))?;
    ensure!(
        done > 0.0,
        "nothing was done while system calls were counted"
    );
    Ok(syscalls / done)
}

/// A counting program. Dropping it kills it, which detaches it.
struct Attached(Child);

impl Attached {
    async fn ended(&mut self) -> Result<()> {
        let deadline = Instant::now() + WINDOW + PATIENCE;
        while self.0.try_wait()?.is_none() {
            if Instant::now() > deadline {
                bail!("it did not end within {PATIENCE:?}");
            }
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // Both fail only for a program that has already ended and been reaped.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The count and the seconds of `perf stat`: `  109,200  raw_syscalls:sys_enter` and
/// `  1.00123 seconds time elapsed`.
fn parse_perf(text: &str) -> Option<(f64, f64)> {
    let number = |line: &str| {
        line.split_whitespace()
            .next()?
            .replace(',', "")
            .parse::<f64>()
            .ok()
    };
    let of = |words: &str| number(text.lines().find(|line| line.contains(words))?);
    let (syscalls, seconds) = (of("raw_syscalls:sys_enter")?, of("seconds time elapsed")?);
    (seconds > 0.0).then_some((syscalls, seconds))
}

/// The fourth column of the last line of `strace -c`: `100.00  0.061  1  43210  17 total`.
fn parse_strace(text: &str) -> Option<f64> {
    let line = text.lines().rfind(|line| line.ends_with(" total"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_and_the_time_of_perf_are_read() {
        let text = "# started on Wed Nov 25\n\n Performance counter stats for process id '7':\n\n         109,200      \
                    raw_syscalls:sys_enter\n\n       1.250000000 seconds time elapsed\n";
        assert_eq!(parse_perf(text), Some((109_200.0, 1.25)));
        let refused = text.replace("109,200", "<not counted>");
        assert_eq!(parse_perf(&refused), None);
    }

    #[test]
    fn the_sum_of_strace_is_read() {
        let text = "% time     seconds  usecs/call     calls    errors syscall\n 60.00    0.036           1     30000      \
                    12 recvfrom\n------\n100.00    0.061           1     43210        17 total\n";
        assert_eq!(parse_strace(text), Some(43_210.0));
        assert_eq!(parse_strace("nothing\n"), None);
    }
}
