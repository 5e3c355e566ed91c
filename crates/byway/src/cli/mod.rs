//! Cli: one file a verb. Every verb makes a Plan or reads one; `serve` is what the serving verbs share.
//!
//! Data goes to stdout, everything else to stderr. Exit codes: 0 clean, 1 run time, 2 config or auth.

mod check;
pub mod demo;
mod desk;
mod edge;
mod exit;
mod explain;
mod expose;
mod http;
mod join;
mod links;
mod observe;
mod proxy;
mod run;
mod serve;
mod tcp;
mod token;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::ConfigErrors;
use crate::observe::log::{self, LogFormat};

/// Moves bytes and HTTP requests by way of somewhere else: an edge, an egress, exposed services, one binary.
#[derive(Debug, Parser)]
#[command(name = "byway", version, disable_help_subcommand = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Verb,
}

/// What every verb takes.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// Folder for what outlives the process (key, grants, names, spilled bytes). Default:
    /// $XDG_STATE_HOME/byway or ~/.local/state/byway
    #[arg(long, value_name = "DIR", env = "BYWAY_STATE", global = true)]
    state: Option<PathBuf>,
    /// How log lines on stderr look
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t, global = true)]
    log: LogFormat,
    /// error, warn, info, debug, trace, or a filter such as byway=debug
    #[arg(long, value_name = "LEVEL", default_value = "info", env = "BYWAY_LOG", global = true)]
    log_level: String,
}

impl Common {
    /// The state folder that is meant (XDG Base Directory Specification).
    fn state(&self) -> PathBuf {
        let from = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        self.state
            .clone()
            .or_else(|| from("XDG_STATE_HOME").map(|base| base.join("byway")))
            .or_else(|| from("HOME").map(|home| home.join(".local/state/byway")))
            .unwrap_or_else(|| "/var/lib/byway".into())
    }
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Everything on loopback in one go: an origin, an edge, an egress, and nodes that are linked; prints what to try
    Demo(demo::DemoArgs),
    /// Serve what a config file says
    Run(run::RunArgs),
    /// Validate a config file and print what it means
    Check(run::RunArgs),
    /// Reverse proxy in one line
    Edge(edge::EdgeArgs),
    /// SOCKS and HTTP egress in one line: of one node, or of two, an exit and a desk
    Proxy(proxy::ProxyArgs),
    /// The public end of services that other nodes expose
    Serve(links::ServeArgs),
    /// Expose an HTTP service of this machine through another node
    Http(http::HttpArgs),
    /// Expose a TCP service of this machine through another node
    Tcp(tcp::TcpArgs),
    /// The grants by which other nodes join this one: list, add, revoke
    Token(token::TokenArgs),
    /// Which route, which rule, which answer a request would get, and why
    Explain(explain::ExplainArgs),
}

impl Cli {
    /// Runs the verb to its end.
    pub fn run(self) -> ExitCode {
        let Self { common, verb } = self;
        if let Err(error) = log::install(common.log, &common.log_level) {
            eprintln!("error: {error}");
            return ExitCode::from(EXIT_CONFIG);
        }
        match verb {
            Verb::Demo(args) => demo::run(&args, &common),
            Verb::Run(args) => run::run(&args, &common),
            Verb::Check(args) => check::run(&args, &common),
            Verb::Edge(args) => edge::run(&args, &common),
            Verb::Proxy(args) => proxy::run(&args, &common),
            Verb::Serve(args) => links::run(&args, &common),
            Verb::Http(args) => http::run(&args, &common),
            Verb::Tcp(args) => tcp::run(&args, &common),
            Verb::Token(args) => token::run(&args, &common),
            Verb::Explain(args) => explain::run(&args, &common),
        }
    }
}

/// The exit code for wrong configs and refused credentials.
const EXIT_CONFIG: u8 = 2;

/// Prints everything that is wrong with a config; the exit code that belongs to it.
fn refuse(errors: &ConfigErrors) -> ExitCode {
    eprintln!("{errors}");
    ExitCode::from(EXIT_CONFIG)
}
