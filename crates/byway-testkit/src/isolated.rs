//! Isolated: a test with a network that has only loopback, a `/tmp` and process ids of its own, so
//! that it can use fixed ports and paths.
//!
//! In:    the name of the test, and the folders below `/tmp` that it needs anyway.
//! Out:   whether the test runs isolated now. If not, it has been run so, in a process of its own;
//!        or a reason why this machine does not allow that was printed to stderr.
//! Never: changes the network or the files of the machine.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use crate::netns::ip;

/// Set for the process that runs one test.
const INSIDE: &str = "BYWAY_TEST_ISOLATED";

/// Printed once everything is set up.
const SET_UP: &str = "the test is isolated";

/// The arguments: the new `/tmp`, folders to keep, `--`, a command.
const SCRIPT: &str = r#"set -e
ip link set lo up
new=$1; shift
while [ "$1" != -- ]; do
    case $1 in /tmp/*) mkdir -p "$new${1#/tmp}"; mount --rbind "$1" "$new${1#/tmp}";; esac
    shift
done
shift
mount --rbind "$new" /tmp
echo the test is isolated
exec "$@"
"#;

/// Returns from a test that is not isolated, after it has been run isolated. The first statement of
/// a test; its argument lists the folders that stay reachable if they are below `/tmp`.
#[macro_export]
macro_rules! isolated {
    ($needed:expr) => {
        fn here() {}
        if !$crate::is_isolated(::std::any::type_name_of_val(&here), $needed) {
            return;
        }
    };
}

/// See [`isolated!`](macro@crate::isolated). `here` is the path of a function in the test.
#[track_caller]
pub fn is_isolated(here: &str, needed: &[&Path]) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let test = here.split_once("::").expect("the crate").1;
    let test = test.rsplit_once("::").expect("a function in a test").0;
    let new_tmp = tempfile::Builder::new()
        .prefix("byway-test-tmp-")
        .tempdir()
        .unwrap();
    let itself = std::env::current_exe().unwrap();
    let needed = needed.iter().copied().chain(itself.parent());
    let needed: Vec<_> = needed
        .map(|folder| folder.canonicalize().unwrap())
        .collect();
    // Others than root need a user namespace to create the rest.
    let user: &[&str] = match rustix::process::geteuid().is_root() {
        true => &[],
        false => &["--user", "--map-root-user"],
    };
    let ran = Command::new("unshare")
        .args(user)
        .args(["--net", "--mount", "--pid", "--fork", "--mount-proc"])
        .args(["--kill-child", "sh", "-c", SCRIPT, "sh"])
        .arg(new_tmp.path())
        .args(&needed)
        .arg("--")
        .arg(&itself)
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .output();
    let (out, err) = match &ran {
        Ok(ran) => (
            String::from_utf8_lossy(&ran.stdout),
            String::from_utf8_lossy(&ran.stderr),
        ),
        Err(error) => ("".into(), error.to_string().into()),
    };
    if out.contains(SET_UP) {
        let passed = ran.as_ref().is_ok_and(|ran| ran.status.success());
        assert!(passed && out.contains("1 passed"), "{out}{err}");
    } else {
        // Not with eprintln: the output of a passing test is captured.
        let why = err.lines().next().unwrap_or("unshare(1) failed");
        let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {why}");
    }
    false
}

/// The network of an isolated test sends no UDP while this exists: a send is an error, as behind a
/// firewall that rejects it.
pub struct NoUdp(());

impl NoUdp {
    /// Blocks UDP.
    #[track_caller]
    pub fn new() -> Self {
        assert!(
            std::env::var_os(INSIDE).is_some(),
            "only for an isolated test"
        );
        // The rule for local addresses is the first one, so it is moved behind this one.
        ip(&["rule", "add", "pref", "2", "table", "local"]);
        ip(&["rule", "add", "pref", "1", "ipproto", "udp", "unreachable"]);
        ip(&["rule", "delete", "pref", "0"]);
        Self(())
    }
}

impl Default for NoUdp {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for NoUdp {
    fn drop(&mut self) {
        for rule in ["add pref 0 table local", "delete pref 2", "delete pref 1"] {
            let _ = Command::new("ip")
                .arg("rule")
                .args(rule.split(' '))
                .status();
        }
    }
}
