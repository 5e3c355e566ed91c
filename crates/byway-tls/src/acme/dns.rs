//! DNS: sets and removes the TXT records of DNS-01 challenges (RFC 8555 section 8.4).
//!
//! In:    a name and the value that its record must have.
//! Out:   the record, or why it could not be set.
//! Never: waits longer than its deadline; runs a shell.

use std::process::Stdio;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use super::dns_update::DnsUpdate;
use super::failure::{Failure, FailureKind};

/// The first label of a record for a challenge.
const LABEL: &str = "_acme-challenge";

/// How records are set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dns {
    /// By a command of the operator.
    Command(DnsCommand),
    /// By dynamic updates (RFC 2136), signed (RFC 8945).
    Update(DnsUpdate),
}

/// A command that sets a record: `PROGRAM ARGUMENTS… present _acme-challenge.NAME. VALUE`, and the
/// same with `cleanup` to remove it. Exit code 0 is success; the record should be visible then.
/// These are the arguments of lego's `exec` provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsCommand {
    /// The program and the arguments before ours.
    pub command: Vec<String>,
    /// How long it may run.
    pub deadline: Duration,
}

/// What happens to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Add,
    Remove,
}

impl Dns {
    /// Adds or removes the record for `base`, a name without `*.`.
    pub(crate) async fn change(
        &self,
        change: Change,
        base: &str,
        value: &str,
        now: SystemTime,
    ) -> Result<(), Failure> {
        let record = format!("{LABEL}.{base}");
        match self {
            Self::Command(command) => command.run(change, &record, value).await,
            Self::Update(update) => {
                update
                    .change(change, &record, value, now)
                    .await
                    .map_err(|error| {
                        let text = format!("cannot set {record} at {}: {error}", update.server);
                        Failure::new(FailureKind::Dns, text)
                    })
            }
        }
    }
}

/// The most bytes of a command's error output that are kept.
const MOST_OUTPUT: usize = 300;

impl DnsCommand {
    async fn run(&self, change: Change, record: &str, value: &str) -> Result<(), Failure> {
        let failed = |text: String| Failure::new(FailureKind::Dns, text);
        let [program, arguments @ ..] = &self.command[..] else {
            return Err(failed("the command for DNS records is empty".to_owned()));
        };
        let verb = match change {
            Change::Add => "present",
            Change::Remove => "cleanup",
        };
        let mut child = Command::new(program)
            .args(arguments)
            .args([verb, &format!("{record}."), value])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(format!("cannot start {program}: {error}")))?;
        let stderr = child.stderr.take();
        let ended = async {
            let said = match stderr {
                Some(stderr) => first_bytes(stderr).await,
                None => String::new(),
            };
            (child.wait().await, said)
        };
        match tokio::time::timeout(self.deadline, ended).await {
            Ok((Ok(status), _)) if status.success() => Ok(()),
            Ok((Ok(status), said)) => Err(failed(format!(
                "{program} {verb}: {status}: {}",
                said.trim()
            ))),
            Ok((Err(error), _)) => Err(failed(format!("{program} {verb}: {error}"))),
            // Dropping the child kills it.
            Err(_) => Err(failed(format!(
                "{program} {verb} did not end within {} s",
                self.deadline.as_secs()
            ))),
        }
    }
}

/// Reads everything, so that the child is never blocked, and keeps the beginning.
async fn first_bytes(mut output: impl AsyncRead + Unpin) -> String {
    let mut kept = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(read @ 1..) = output.read(&mut buffer).await {
        let room = MOST_OUTPUT - kept.len();
        kept.extend_from_slice(&buffer[..read.min(room)]);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, deadline: Duration) -> Dns {
        Dns::Command(DnsCommand {
            command: ["sh", "-c", script, "sh"].map(str::to_owned).to_vec(),
            deadline,
        })
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn the_command_gets_verb_name_and_value() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let dns = shell(&format!("echo \"$@\" >> {}", out.display()), LONG);
        let now = SystemTime::UNIX_EPOCH;
        dns.change(Change::Add, "example.com", "va-lue_", now)
            .await
            .unwrap();
        dns.change(Change::Remove, "example.com", "va-lue_", now)
            .await
            .unwrap();
        assert_eq!(
            std::fs::read_to_string(out).unwrap(),
            "present _acme-challenge.example.com. va-lue_\n\
             cleanup _acme-challenge.example.com. va-lue_\n"
        );
    }

    #[tokio::test]
    async fn a_command_that_fails_is_reported_with_what_it_printed() {
        let dns = shell("echo no such zone >&2; exit 3", LONG);
        let failure = dns
            .change(Change::Add, "a.b", "v", SystemTime::UNIX_EPOCH)
            .await;
        let failure = failure.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Dns);
        assert_eq!(failure.text, "sh present: exit status: 3: no such zone");
        let many = shell("yes no | head -c 1000000 >&2; exit 1", LONG);
        let failure = many
            .change(Change::Add, "a.b", "v", SystemTime::UNIX_EPOCH)
            .await;
        assert!(failure.unwrap_err().text.len() < 400);
        let missing = Dns::Command(DnsCommand {
            command: vec!["/nonexistent/program".to_owned()],
            deadline: LONG,
        });
        let failure = missing
            .change(Change::Add, "a.b", "v", SystemTime::UNIX_EPOCH)
            .await;
        assert!(
            failure
                .unwrap_err()
                .text
                .starts_with("cannot start /nonexistent/program")
        );
    }

    #[tokio::test]
    async fn a_command_that_does_not_end_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let script = format!("echo $$ > {}; exec sleep 1000", pid.display());
        let dns = shell(&script, Duration::from_secs(1));
        let failure = dns
            .change(Change::Add, "a.b", "v", SystemTime::UNIX_EPOCH)
            .await;
        assert_eq!(
            failure.unwrap_err().text,
            "sh present did not end within 1 s"
        );
        let pid = std::fs::read_to_string(pid).unwrap();
        let stat = format!("/proc/{}/stat", pid.trim());
        // Gone, or a zombie until the runtime collects it.
        let is_gone = || std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
        while !is_gone() {
            tokio::task::yield_now().await;
        }
    }
}
