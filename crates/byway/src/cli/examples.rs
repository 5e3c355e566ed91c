//! Examples: the end of each `--help`. Every line can be pasted; a test parses each of them.

pub(super) const BYWAY: &str = "\
Examples:
  byway demo                                           everything on loopback, with lines to try
  byway edge --listen :8080 --to 3000                  a reverse proxy in front of port 3000
  byway proxy --listen 127.0.0.1:1080                  a SOCKS and HTTP proxy
  byway run -c byway.toml                              serve a config file
  byway help http                                      more about one command";

pub(super) const DEMO: &str = "\
Examples:
  byway demo                     serve until Ctrl-C, and print what to try
  byway demo --check             run every journey once, and exit";

pub(super) const RUN: &str = "\
Examples:
  byway run                      serve byway.toml in this folder
  byway run -c /etc/byway.toml --access-log stdout
SIGHUP reads the file again; SIGTERM and Ctrl-C drain and stop.";

pub(super) const CHECK: &str = "\
Examples:
  byway check                    validate byway.toml in this folder
  byway check -c /etc/byway.toml > effective.toml
Exit code 0: valid (warnings go to stderr), 2: not.";

pub(super) const INIT: &str = "\
Examples:
  byway init                     write byway.toml in this folder
  byway init - > /etc/byway.toml
An existing file is left as it is.";

pub(super) const SCHEMA: &str = "\
Examples:
  byway schema > byway.schema.json
  byway schema --markdown > config.md
In a config file, `#:schema ./byway.schema.json` as the first line tells editors such as Even Better TOML where it is.";

pub(super) const EDGE: &str = "\
Examples:
  byway edge --listen :8080 --to 3000
  byway edge --listen 127.0.0.1:8080 --to 127.0.0.1:9001 --to 127.0.0.1:9002
  byway edge --listen :8080 --to https://app.example.com --access-log stdout
  byway edge --listen example.com --listen www.example.com --to 3000
  byway edge --listen localhost --to 3000";

pub(super) const CA: &str = "\
Examples:
  byway ca install
  byway ca show --pem > byway.pem
  byway ca new --name dev.test";

pub(super) const CA_SHOW: &str = "\
Examples:
  byway ca show
  byway ca show --pem > byway.pem";

pub(super) const CA_INSTALL: &str = "\
Examples:
  byway ca install";

pub(super) const CA_NEW: &str = "\
Examples:
  byway ca new --name dev.test";

pub(super) const PROXY: &str = "\
Examples:
  byway proxy --listen 127.0.0.1:1080
  byway proxy --listen :1080 --user alice:secret
  byway proxy --listen 127.0.0.1:1080 --allow 10.0.0.0/8 --deny .ads.example
  curl -x socks5h://127.0.0.1:1080 https://example.com/";

pub(super) const EXIT: &str = "\
Examples:
  byway proxy serve --listen 0.0.0.0:7443 --advertise exit.example.com:7443
  byway proxy serve --listen 127.0.0.1:7443 --allow 127.0.0.0/8
It prints the join string for `byway proxy join`.";

pub(super) const DESK: &str = "\
Examples:
  byway proxy join --join-file join.txt --listen 127.0.0.1:1081
  byway proxy join --listen 127.0.0.1:1081 < join.txt
  BYWAY_JOIN=by1.… byway proxy join --listen 127.0.0.1:1081";

pub(super) const SERVE: &str = "\
Examples:
  byway serve --listen 0.0.0.0:7000 --advertise t.example.com:7000
  byway serve --listen 0.0.0.0:7000 --http 0.0.0.0:80 --domain t.example.com
It prints the join string for `byway http` and `byway tcp`.";

pub(super) const HTTP: &str = "\
Examples:
  byway http 3000 --join-file join.txt
  byway http 127.0.0.1:3000 --name app --carrier tls --join-file join.txt
  byway http 5173 --host upstream --join-file join.txt       a dev server that checks the Host
  BYWAY_JOIN=by1.… byway http 3000 --name app";

pub(super) const TCP: &str = "\
Examples:
  byway tcp 22 --join-file join.txt
  byway tcp 22 --port 20022 --name ssh --join-file join.txt";

pub(super) const TOKEN: &str = "\
Examples:
  byway token list
  byway token add --ports 20000-20999
  byway token revoke 3f9a41c07be2
  byway token forget 3f9a41c07be2";

pub(super) const TOKEN_LIST: &str = "\
Examples:
  byway token list
  byway token list --state /var/lib/byway";

pub(super) const TOKEN_ADD: &str = "\
Examples:
  byway token add
  byway token add --purpose exit --advertise exit.example.com:7443";

pub(super) const TOKEN_REVOKE: &str = "\
Examples:
  byway token revoke 3f9a41c07be2";

pub(super) const TOKEN_FORGET: &str = "\
Examples:
  byway token forget 3f9a41c07be2
  byway token forget --force 3f9a41c07be2";

pub(super) const EXPLAIN: &str = "\
Examples:
  byway explain http://app.example.com/api -c byway.toml
  byway explain 10.0.0.5:443 --user alice";

pub(super) const KEY: &str = "\
Examples:
  byway key
  byway key --state /var/lib/byway
It prints the id and the whole fingerprint of the key (SHA-256), and makes the key if there is none yet.";

pub(super) const VERSION: &str = "\
Examples:
  byway version";

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::super::Cli;

    /// Every command with its help.
    fn commands(command: &clap::Command, path: &str, found: &mut Vec<(String, clap::Command)>) {
        found.push((path.to_owned(), command.clone()));
        for below in command
            .get_subcommands()
            .filter(|below| below.get_name() != "help")
        {
            commands(below, &format!("{path} {}", below.get_name()), found);
        }
    }

    #[test]
    fn every_help_has_examples_that_can_be_typed() {
        let mut found = Vec::new();
        commands(&Cli::command(), "byway", &mut found);
        for (path, command) in found {
            let shown = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            let lines: Vec<&str> = shown
                .lines()
                .filter_map(|line| line.split_once("byway "))
                .map(|(_, args)| args)
                .collect();
            assert!(
                shown.starts_with("Examples:\n") && !lines.is_empty(),
                "{path}: {shown}"
            );
            for line in lines.iter().filter(|line| !line.contains('`')) {
                let args = line.split("   ").next().unwrap_or_default();
                let args = args.split(['<', '>']).next().unwrap_or_default();
                let parsed =
                    Cli::try_parse_from(std::iter::once("byway").chain(args.split_whitespace()));
                let is_help = |error: &clap::Error| error.exit_code() == 0;
                assert!(
                    parsed.as_ref().err().is_none_or(is_help),
                    "{path}: {line}: {:?}",
                    parsed.err()
                );
            }
        }
    }
}
