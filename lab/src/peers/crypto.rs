//! Crypto: which library each program uses for TLS, and in which version.
//!
//! In:    what programs print about themselves, and lock files.
//! Out:   one line for each program.
//! Never: guesses: a program that does not say is left out.

use std::path::Path;
use std::process::Command;

use super::Program;
use super::built::{Package, locked};
use crate::environment::{RunEnvironment, workspace};

/// One line for each program that is there.
pub(crate) fn libraries(env: &RunEnvironment) -> Vec<String> {
    let mut all = Vec::new();
    let lock = std::fs::read_to_string(workspace().join("Cargo.lock")).unwrap_or_default();
    let versions = |lock: &str| {
        let version = |name| locked(lock, name).map(|version| format!("{name} {version}"));
        Some(format!("{}, {}", version("rustls")?, version("aws-lc-rs")?))
    };
    // Another byway may be built with other versions.
    let ours = versions(&lock).filter(|_| env.built_here);
    all.extend(ours.map(|versions| format!("byway {versions}")));
    let program = |program: Program, arguments: &[&str], parse: fn(&str) -> Option<String>| {
        let text = printed(&program.path()?, arguments);
        Some(format!("{} {}", program.name(), parse(&text)?))
    };
    all.extend(program(Program::Nginx, &["-V"], nginx));
    all.extend(program(Program::Haproxy, &["-vv"], haproxy));
    all.extend(program(Program::Caddy, &["build-info"], caddy));
    let hyper = Package::Hyper.lock().as_deref().and_then(versions);
    all.extend(hyper.map(|versions| format!("hyper {versions}")));
    all
}

/// What the nginx of `--nginx` says about itself: version, library and build options.
pub(crate) fn given_nginx(env: &RunEnvironment) -> Option<String> {
    let text = printed(env.nginx.as_deref()?, &["-V"]);
    let lines = text.lines().map(str::trim);
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    Some(lines.join("; "))
}

/// Both streams of a program that ends by itself.
fn printed(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let bytes = output.map(|output| [output.stdout, output.stderr].concat());
    String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
}

/// `built with OpenSSL 3.0.22 25 Aug 2026 (running with OpenSSL 3.0.19 27 Jan 2026)`: the second if
/// they differ.
fn nginx(text: &str) -> Option<String> {
    let built = text
        .lines()
        .find_map(|line| line.strip_prefix("built with "))?;
    let running = built.split_once("(running with ");
    let library = running.map_or(built, |(_, running)| running.trim_end_matches(')'));
    Some(library.to_owned())
}

/// `Running on OpenSSL version : OpenSSL 3.0.19 27 Jan 2026`.
fn haproxy(text: &str) -> Option<String> {
    let mut lines = text.lines();
    let library = lines.find_map(|line| {
        let (name, version) = line
            .strip_prefix("Running on ")?
            .split_once(" version : ")?;
        version.starts_with(name).then_some(version)
    });
    library.map(|version| version.trim().to_owned())
}

/// `go` and `go1.19.8`, with a tab between them.
fn caddy(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with("go"))?;
    let version = line.split_whitespace().nth(1)?;
    Some(format!("crypto/tls of {version}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_that_runs_is_stated_rather_than_that_of_the_build() {
        let text = "nginx version: nginx/1.22.1\nbuilt with OpenSSL 3.0.22 25 Aug 2026 (running with OpenSSL 3.0.19 27 Jan 2026)\n";
        assert_eq!(nginx(text).unwrap(), "OpenSSL 3.0.19 27 Jan 2026");
        let same = "built with OpenSSL 3.5.1 1 Jul 2026\nTLS SNI support enabled\n";
        assert_eq!(nginx(same).unwrap(), "OpenSSL 3.5.1 1 Jul 2026");
        let text = "Running on: Linux 6\nBuilt with OpenSSL version : OpenSSL 3.0.22\nRunning on OpenSSL version : OpenSSL 3.0.19 27 Jan 2026\n";
        assert_eq!(haproxy(text).unwrap(), "OpenSSL 3.0.19 27 Jan 2026");
        assert_eq!(
            caddy("go\tgo1.19.8\npath\tgithub.com/caddyserver/caddy\n").unwrap(),
            "crypto/tls of go1.19.8"
        );
        assert_eq!((nginx(""), haproxy(""), caddy("")), (None, None, None));
    }
}
