//! Guided: a release build of byway with profile-guided optimisation (PGO).
//!
//! In:    this workspace, the toolchain that runs this, the user's RUSTFLAGS.
//! Out:   `guided/byway` in the target folder; only its path is printed to stdout.
//! Never: merges with another toolchain's llvm-profdata, uses an old profile, or leaves a report in
//!        `lab/results`.

use std::env::{self, VarError};
use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use crate::step;

/// The training workload of byway: one lab case for each kind of use, all of about equal length, so
/// that none of them dominates. The same cases measure the result afterwards, but their figures are
/// not used: a profile counts how often a branch was taken, and not the time.
const TRAINING: [&str; 10] = [
    "edge-small",     // keep-alive, the access log
    "edge-medium",    // bodies at the size where splice begins to pay
    "edge-large",     // bodies that are spliced
    "edge-post",      // bodies to the origin
    "edge-alone",     // accept and close
    "edge-websocket", // an upgrade and the relay behind it, small pieces
    "relay",          // TCP forward, both ways
    "download",       // SOCKS5 and CONNECT
    "upload",         // the same, up
    "tunnels",        // a link on each carrier: its mux, TLS and QUIC
];

/// Builds, trains, and builds again.
pub(crate) fn run() -> anyhow::Result<()> {
    let toolchain = Toolchain::found()?;
    let place = place()?;
    let (raw, merged) = (place.join("profiles"), place.join("byway.profdata"));
    emptied(&raw)?;
    let generate = format!("-Cprofile-generate={}", raw.display());
    let instrumented = toolchain.build(&place.join("instrumented"), &generate)?;
    train(&instrumented, &place)?;
    ensure!(
        fs::read_dir(&raw).is_ok_and(|mut files| files.next().is_some()),
        "the training has left no profile in {}: byway writes it at an orderly exit",
        raw.display()
    );
    step::run(
        Command::new(&toolchain.profdata)
            .arg("merge")
            .arg("-o")
            .arg(&merged)
            .arg(&raw),
    )?;
    // Cargo considers the name of the profile and not its contents: it would reuse the build of an
    // earlier profile.
    let folder = place.join("optimised");
    emptied(&folder)?;
    let built = toolchain.build(&folder, &format!("-Cprofile-use={}", merged.display()))?;
    let guided = place.join("byway");
    // In two steps, as the old one may be running.
    let beside = place.join("byway.new");
    fs::copy(&built, &beside).with_context(|| format!("copying {}", built.display()))?;
    fs::rename(&beside, &guided).with_context(|| format!("replacing {}", guided.display()))?;
    writeln!(io::stdout(), "{}", guided.display())?;
    Ok(())
}

/// The folder of all outputs: next to `debug`, where this program is.
fn place() -> anyhow::Result<PathBuf> {
    let this = env::current_exe().context("looking up the path of xtask")?;
    let target = this
        .ancestors()
        .nth(2)
        .context("xtask is not in a target folder: run it as `cargo xtask guided`")?;
    Ok(target.join("guided"))
}

/// Removes a folder of an earlier run.
fn emptied(folder: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Runs the training cases in the lab. The report stays next to the profiles.
fn train(instrumented: &Path, place: &Path) -> anyhow::Result<()> {
    let mut lab = step::cargo_command();
    lab.args([
        "run",
        "--release",
        "--locked",
        "--package",
        "lab",
        "--",
        "--quick",
        "--beside",
        "nobody",
    ]);
    lab.args([
        "--only",
        &TRAINING.join(","),
        "--name",
        "training",
        "--into",
    ])
    .arg(place);
    lab.arg("--byway").arg(instrumented);
    // It would redirect the profiles.
    lab.env_remove("LLVM_PROFILE_FILE");
    step::run(lab.stdout(Stdio::null()))
}

/// The compiler of cargo, and its tools.
struct Toolchain {
    /// Its own platform. The build names it, because otherwise build scripts would be instrumented,
    /// too.
    host: String,
    /// Its llvm-profdata.
    profdata: PathBuf,
}

impl Toolchain {
    /// Queries the compiler.
    fn found() -> anyhow::Result<Self> {
        let rustc = || Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        let version =
            step::output(rustc().arg("-vV")).context("querying rustc for its platform")?;
        let host = host(&version)
            .context("`rustc -vV` has no host")?
            .to_owned();
        let sysroot = step::output(rustc().args(["--print", "sysroot"]))
            .context("querying rustc for its folder")?;
        let profdata = profdata(Path::new(sysroot.trim_end()), &host)?;
        Ok(Self { host, profdata })
    }

    /// Builds byway with one more flag into its own target folder, and returns the path.
    fn build(&self, target_dir: &Path, flag: &str) -> anyhow::Result<PathBuf> {
        let of_the_user = [variable("CARGO_ENCODED_RUSTFLAGS")?, variable("RUSTFLAGS")?];
        let (name, value) = rustflags(of_the_user.each_ref().map(Option::as_deref), flag);
        let mut build = step::cargo_command();
        build.args([
            "build",
            "--release",
            "--locked",
            "--package",
            "byway",
            "--target",
            &self.host,
            "--target-dir",
        ]);
        step::run(build.arg(target_dir).env(name, value))?;
        Ok(target_dir.join(&self.host).join("release").join("byway"))
    }
}

/// The platform in the output of `rustc -vV`.
fn host(version: &str) -> Option<&str> {
    version.lines().find_map(|line| line.strip_prefix("host: "))
}

/// The llvm-profdata of this toolchain: the format of a profile changes with LLVM, so no other is
/// searched for.
fn profdata(sysroot: &Path, host: &str) -> anyhow::Result<PathBuf> {
    let tool = sysroot
        .join("lib/rustlib")
        .join(host)
        .join("bin/llvm-profdata");
    let of_rustup = sysroot
        .parent()
        .is_some_and(|folder| folder.ends_with("toolchains"));
    let toolchain = sysroot
        .file_name()
        .filter(|_| of_rustup)
        .map(|name| name.to_string_lossy());
    let which = toolchain.map_or_else(String::new, |name| format!(" --toolchain {name}"));
    ensure!(
        tool.is_file(),
        "no llvm-profdata at {}: it is in a component of the toolchain, and another version does not work; \
         install it with: rustup component add llvm-tools{which}",
        tool.display()
    );
    Ok(tool)
}

/// A variable of the environment, if it is set and not empty.
fn variable(name: &str) -> anyhow::Result<Option<String>> {
    match env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(anyhow::anyhow!("{name} is not UTF-8")),
    }
}

/// The variable with the user's flags and one more flag after them; the arguments are the user's
/// CARGO_ENCODED_RUSTFLAGS and RUSTFLAGS. If both are set, cargo reads only the first. It can
/// contain spaces, and is used for a flag that does.
fn rustflags(of_the_user: [Option<&str>; 2], flag: &str) -> (&'static str, OsString) {
    const BETWEEN: &str = "\u{1f}";
    let (name, flags, between) = match of_the_user {
        [Some(encoded), _] => ("CARGO_ENCODED_RUSTFLAGS", vec![encoded], BETWEEN),
        [None, plain] if flag.contains(char::is_whitespace) => (
            "CARGO_ENCODED_RUSTFLAGS",
            plain.unwrap_or_default().split_whitespace().collect(),
            BETWEEN,
        ),
        [None, plain] => ("RUSTFLAGS", plain.into_iter().collect(), " "),
    };
    (
        name,
        flags
            .into_iter()
            .chain([flag])
            .collect::<Vec<_>>()
            .join(between)
            .into(),
    )
}

#[cfg(test)]
mod tests;
