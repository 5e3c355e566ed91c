//! Explain: `byway explain URL [-c byway.toml]`: what each listener would do with a request, and
//! why.

use std::path::PathBuf;
use std::process::ExitCode;

use byway_dial::BadTarget;
use byway_tls::ClientPattern;
use clap::Args;

use super::{Common, EXIT_CONFIG, refuse, terminal};
use crate::config::{self, File, Plan, ProxyFlags};
use crate::explain::{Question, explain};

/// The request, and the config to check it against.
#[derive(Args, Debug)]
pub(super) struct ExplainArgs {
    /// The target of the request.
    #[arg(
        help = "The target of the request: https://10.0.0.5/, http://app.example.com/api, example.com:443"
    )]
    url: String,
    /// The config file. Default: byway.toml if there is one, else what `byway proxy` does without
    /// options
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The same, without -c
    #[arg(value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
    /// The user of the request, whose password is taken to be correct
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// What the certificate of the client has: CN=alice, DNS:…, email:…, URI:…, IP:…, SHA256:…, or *
    /// for any certificate. May be given several times
    #[arg(long, value_name = "NAME")]
    client: Vec<ClientPattern>,
}

/// Prints one paragraph a listener on stdout. Exit code 0 for any result; 2 if the target or the
/// config is wrong.
pub(super) fn run(args: &ExplainArgs, common: &Common) -> ExitCode {
    let question = match Question::parse(&args.url, args.user.as_deref()) {
        Ok(question) => question,
        Err(error) => {
            match error {
                BadTarget::NoPort(_) => {
                    terminal::error(format_args!(
                        "{error}, or a URL such as http://{}/",
                        args.url
                    ));
                }
                error => terminal::error(error),
            }
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    let question = match ClientPattern::example(&args.client) {
        _ if args.client.is_empty() => question,
        Some(client) => question.of_client(client),
        None => {
            terminal::error(
                "--client: a certificate has one common name and one fingerprint: give each once",
            );
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    match plan(args, common) {
        Ok(plan) => terminal::data(explain(plan, &question)),
        Err(errors) => refuse(&errors),
    }
}

fn plan(args: &ExplainArgs, common: &Common) -> Result<Plan, config::ConfigErrors> {
    let beside = PathBuf::from("byway.toml");
    match args.config.as_ref().or(args.file.as_ref()) {
        Some(path) => config::load(path, &common.state()),
        None if beside.exists() => config::load(&beside, &common.state()),
        None => {
            let listen = vec!["127.0.0.1:1080".into()];
            config::from_flags(
                &File::for_proxy(ProxyFlags {
                    listen,
                    ..ProxyFlags::default()
                }),
                &common.state(),
            )
        }
    }
}
