//! Program: the built binary, started and stopped as by a user.
//!
//! In:    arguments or a config, and signals.
//! Out:   the addresses in its readiness line, its log, how it ends, and its resource use.
//! Never: returns from a start before the line `ready: …`, and never leaves a process behind.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::PATIENCE;

/// How the program is started.
pub struct Launch {
    executable: PathBuf,
    args: Vec<String>,
    descriptors: Option<u32>,
    folder: TempDir,
}

/// A program that has reported that it is ready.
pub struct Program {
    child: Child,
    listening: Vec<(String, String)>,
    output: Output,
    launch: Arc<Launch>,
}

/// How a program ended.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// All of its stdout.
    pub stdout: String,
    /// All of its stderr.
    pub stderr: String,
}

impl Launch {
    /// `executable` with `args`. Every launch has its own folder, which also holds the state.
    pub fn new(executable: &str, args: &[&str]) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("byway-test-")
            .tempdir()
            .unwrap();
        let args = args.iter().map(ToString::to_string).collect();
        Self {
            executable: executable.into(),
            args,
            descriptors: None,
            folder,
        }
    }

    /// `executable run` with a config of this text.
    pub fn configured(executable: &str, config: &str) -> Self {
        let mut launch = Self::new(executable, &["run", "-c"]);
        std::fs::write(launch.config(), config).unwrap();
        launch.args.push(launch.config().display().to_string());
        launch
    }

    /// Limits the open files, soft and hard.
    #[must_use]
    pub fn with_descriptors(mut self, most: u32) -> Self {
        self.descriptors = Some(most);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn with_args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(ToString::to_string));
        self
    }

    /// The folder of this launch.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The path of the config.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("byway.toml")
    }

    /// Starts, and waits for the readiness line.
    #[track_caller]
    pub fn start(self) -> Program {
        Arc::new(self).started()
    }

    #[track_caller]
    fn started(self: Arc<Self>) -> Program {
        let mut child = self.command().spawn().expect("the program starts");
        let output = Output::of(&mut child);
        let ready = output.wait_for_stderr(|line| line.contains("ready: "));
        let Some(ready) = ready else {
            let _ = child.kill();
            panic!(
                "the program did not become ready:\n{}",
                output.finished(&mut child).stderr
            );
        };
        Program {
            child,
            listening: addresses(&ready),
            output,
            launch: self,
        }
    }

    /// Runs to the end.
    #[track_caller]
    pub fn run(self) -> Finished {
        let mut child = self.command().spawn().expect("the program starts");
        let output = Output::of(&mut child);
        output.finished(&mut child)
    }

    fn command(&self) -> Command {
        let mut command = match self.descriptors {
            None => Command::new(&self.executable),
            Some(most) => {
                let mut shell = Command::new("sh");
                shell
                    .arg("-c")
                    .arg(format!("ulimit -n {most}; exec \"$0\" \"$@\""))
                    .arg(&self.executable);
                shell
            }
        };
        command.args(&self.args).current_dir(self.folder.path());
        // The environment of the user who runs the tests must not leak in.
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
            .env("HOME", self.folder.path())
            .env("BYWAY_STATE", self.folder.path().join("state"));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

impl Program {
    /// Starts `executable` with `args` and waits until it is ready.
    #[track_caller]
    pub fn start(executable: &str, args: &[&str]) -> Self {
        Launch::new(executable, args).start()
    }

    /// Starts `executable run` with a config of this text.
    #[track_caller]
    pub fn configured(executable: &str, config: &str) -> Self {
        Launch::configured(executable, config).start()
    }

    /// The address of the first listener.
    #[track_caller]
    pub fn address(&self) -> SocketAddr {
        *self
            .addresses()
            .first()
            .expect("the program has no listener")
    }

    /// The TCP addresses of all listeners, in their order.
    #[track_caller]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listening
            .iter()
            .filter_map(|(_, address)| address.parse().ok())
            .collect()
    }

    /// The address of the listener whose label ends with `name`.
    #[track_caller]
    pub fn address_of(&self, name: &str) -> SocketAddr {
        let found = self
            .listening
            .iter()
            .find(|(label, _)| label.split(' ').next_back() == Some(name));
        found
            .unwrap_or_else(|| panic!("no {name} among {:?}", self.listening))
            .1
            .parse()
            .expect("an address")
    }

    /// The folder of this program.
    pub fn folder(&self) -> &Path {
        self.launch.folder()
    }

    /// Kills it with SIGKILL, and starts it again in its folder, with this config.
    #[track_caller]
    pub fn kill_and_start_again(&mut self, config: &str) {
        self.child.kill().expect("the program can be killed");
        self.child.wait().expect("a killed program ends");
        std::fs::write(self.launch.config(), config).unwrap();
        *self = Arc::clone(&self.launch).started();
    }

    /// Writes another config, sends SIGHUP and waits until the log reports that the reload was done
    /// or refused.
    #[track_caller]
    pub fn reload(&self, config: &str) -> String {
        std::fs::write(self.launch.config(), config).unwrap();
        let before = self.output.stderr_lines();
        self.signal(Signal::HUP);
        let line = self
            .output
            .wait_for_stderr_from(before, |line| line.contains("reload"));
        line.expect("the program logged nothing about its reload")
    }

    /// Sends a signal to this process only.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the program can be signalled");
    }

    /// Waits until a line on stderr contains `text`, and returns it.
    #[track_caller]
    pub fn wait_for_log(&self, text: &str) -> String {
        let line = self.output.wait_for_stderr(|line| line.contains(text));
        line.unwrap_or_else(|| panic!("stderr never contained {text:?}:\n{}", self.stderr()))
    }

    /// Waits until a whole line on stdout begins with `start`, and returns it.
    #[track_caller]
    pub fn wait_for_stdout(&self, start: &str) -> String {
        let line = self.output.wait_for_stdout(start);
        line.unwrap_or_else(|| {
            panic!(
                "no line on stdout began with {start:?}; stderr:\n{}",
                self.stderr()
            )
        })
    }

    /// The stderr so far.
    pub fn stderr(&self) -> String {
        self.output.0.lines.lock().stderr.join("\n")
    }

    /// Sends SIGTERM, and waits for the end.
    #[track_caller]
    pub fn stop(self) -> Finished {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Waits for the end.
    #[track_caller]
    pub fn wait(mut self) -> Finished {
        self.output.finished(&mut self.child)
    }

    /// Resident memory in KiB.
    pub fn rss_kib(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The number of its threads.
    pub fn threads(&self) -> u64 {
        self.status("Threads:")
    }

    /// A number in /proc/PID/status.
    fn status(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(field))
            .expect("the field in /proc");
        line.trim()
            .trim_end_matches(" kB")
            .parse()
            .expect("a number")
    }

    /// Processor time so far, user and system, in steps of 10 ms.
    pub fn cpu_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // The name in brackets may contain spaces; utime and stime are fields 14 and 15.
        let fields: Vec<_> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
    }

    /// The number of its open sockets.
    pub fn sockets(&self) -> usize {
        self.open_files()
            .iter()
            .filter(|target| target.to_string_lossy().starts_with("socket:"))
            .count()
    }

    /// The targets of its descriptors, as in /proc.
    pub fn open_files(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.child.id()))
            .expect("its descriptors in /proc");
        files
            .filter_map(|file| std::fs::read_link(file.ok()?.path()).ok())
            .collect()
    }

    /// The id of the process.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- stderr of the program ---\n{}\n---", self.stderr());
        }
    }
}

/// `ready: edge on 127.0.0.1:8080, proxy out on 127.0.0.1:1080` → labels and addresses. A node that
/// only dials has none.
fn addresses(ready: &str) -> Vec<(String, String)> {
    // In JSON the line ends with the message's quote.
    let line = ready
        .split_once("ready: ")
        .and_then(|(_, line)| line.split('"').next())
        .unwrap_or_default();
    let listening = line.split(", ").filter_map(|one| one.split_once(" on "));
    listening
        .map(|(label, address)| (label.to_owned(), address.to_owned()))
        .collect()
}

/// The output of a program, read by two threads so that it never blocks on a full pipe.
struct Output(Arc<Streams>);

#[derive(Default)]
struct Streams {
    lines: Mutex<Lines>,
    more: Condvar,
}

#[derive(Default)]
struct Lines {
    stdout: String,
    stderr: Vec<String>,
    ended: u8,
}

impl Output {
    fn of(child: &mut Child) -> Self {
        let streams = Arc::new(Streams::default());
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (mut stdout, stderr) = (BufReader::new(stdout), BufReader::new(stderr));
        let shared = Arc::clone(&streams);
        std::thread::spawn(move || {
            let mut line = Vec::new();
            while stdout.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                shared.change(|lines| lines.stdout += &String::from_utf8_lossy(&line));
                line.clear();
            }
            shared.change(|lines| lines.ended += 1);
        });
        let shared = Arc::clone(&streams);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                shared.change(|lines| lines.stderr.push(line));
            }
            shared.change(|lines| lines.ended += 1);
        });
        Self(streams)
    }

    fn stderr_lines(&self) -> usize {
        self.0.lines.lock().stderr.len()
    }

    fn wait_for_stderr(&self, wanted: impl Fn(&str) -> bool) -> Option<String> {
        self.wait_for_stderr_from(0, wanted)
    }

    /// The first line from `from` on for which `wanted` holds; `None` if stderr ended or the time
    /// is over.
    fn wait_for_stderr_from(&self, from: usize, wanted: impl Fn(&str) -> bool) -> Option<String> {
        let find = |lines: &Lines| {
            lines
                .stderr
                .iter()
                .skip(from)
                .find(|line| wanted(line))
                .cloned()
        };
        let lines = self
            .0
            .wait(|lines| find(lines).is_some() || lines.ended == 2);
        find(&lines)
    }

    fn wait_for_stdout(&self, start: &str) -> Option<String> {
        let find = |lines: &Lines| {
            let mut whole = lines
                .stdout
                .split_inclusive('\n')
                .filter_map(|line| line.strip_suffix('\n'));
            whole
                .find(|line| line.starts_with(start))
                .map(ToOwned::to_owned)
        };
        let lines = self
            .0
            .wait(|lines| find(lines).is_some() || lines.ended == 2);
        find(&lines)
    }

    #[track_caller]
    fn finished(&self, child: &mut Child) -> Finished {
        let ended = self.0.wait(|lines| lines.ended == 2).ended == 2;
        if !ended {
            let _ = child.kill();
            panic!(
                "the program did not end within {PATIENCE:?}:\n{}",
                self.0.lines.lock().stderr.join("\n")
            );
        }
        let status: ExitStatus = child.wait().unwrap();
        let lines = self.0.lines.lock();
        Finished {
            code: status.code(),
            stdout: lines.stdout.clone(),
            stderr: lines.stderr.join("\n"),
        }
    }
}

impl Streams {
    fn change(&self, change: impl FnOnce(&mut Lines)) {
        change(&mut self.lines.lock());
        self.more.notify_all();
    }

    /// Waits until `done`, at most for [`PATIENCE`].
    fn wait(&self, done: impl Fn(&Lines) -> bool) -> parking_lot::MutexGuard<'_, Lines> {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.lines.lock();
        while !done(&lines) && !self.more.wait_until(&mut lines, deadline).timed_out() {}
        lines
    }
}
