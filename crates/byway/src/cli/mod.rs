//! Cli: one file a verb. Every verb makes a Plan or reads one; the serving verbs share `run_node`.
//!
//! Data goes to stdout, everything else to stderr. Exit codes: 0 clean, 1 run time, 2 config or
//! auth.

mod authority;
mod ca;
mod certificates;
mod check;
pub mod demo;
mod desk;
mod edge;
mod examples;
mod exit;
mod explain;
mod expose;
mod http;
mod init;
mod join;
mod key;
mod observe;
mod proxy;
mod run;
mod run_node;
mod schema;
mod serve;
mod tcp;
mod terminal;
mod token;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::ConfigErrors;
use crate::observe::log::{self, LogFormat};

/// Reverse proxy, egress proxy and reverse tunnel in one binary.
#[derive(Debug, Parser)]
#[command(name = "byway", version, arg_required_else_help = true, after_help = examples::BYWAY)]
pub struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Verb,
}

/// The flags of every verb.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Global options")]
pub struct Common {
    /// Folder for what outlives the process (key, grants, names, spilled bytes). Default:
    /// $XDG_STATE_HOME/byway or ~/.local/state/byway
    #[arg(long, value_name = "DIR", env = "BYWAY_STATE", global = true)]
    state: Option<PathBuf>,
    /// The format of log lines on stderr
    #[arg(
        long,
        value_name = "FORMAT",
        value_enum,
        default_value_t,
        global = true
    )]
    log: LogFormat,
    /// error, warn, info, debug, trace, or a filter such as byway=debug. Default: info; of demo,
    /// warn
    #[arg(long, value_name = "LEVEL", env = "BYWAY_LOG", global = true)]
    log_level: Option<String>,
}

impl Common {
    /// The state folder (XDG Base Directory Specification).
    fn state(&self) -> PathBuf {
        let from = |name: &str| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        self.state
            .clone()
            .or_else(|| from("XDG_STATE_HOME").map(|base| base.join("byway")))
            .or_else(|| from("HOME").map(|home| home.join(".local/state/byway")))
            .unwrap_or_else(|| "/var/lib/byway".into())
    }
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// A demo on loopback: an origin, an edge, an egress, and nodes that are linked; prints what to
    /// try
    #[command(after_help = examples::DEMO)]
    Demo(demo::DemoArgs),
    /// Serve a config file
    #[command(after_help = examples::RUN)]
    Run(run::RunArgs),
    /// Validate a config file and print what it means
    #[command(after_help = examples::CHECK)]
    Check(run::RunArgs),
    /// Write a config file with every key as a comment
    #[command(after_help = examples::INIT)]
    Init(init::InitArgs),
    /// Print the keys of a config file as a JSON Schema, for editors
    #[command(after_help = examples::SCHEMA)]
    Schema(schema::SchemaArgs),
    /// Reverse proxy in one line
    #[command(after_help = examples::EDGE)]
    Edge(edge::EdgeArgs),
    /// SOCKS and HTTP egress in one line: one node, or two: an exit and a desk
    #[command(after_help = examples::PROXY)]
    Proxy(Box<proxy::ProxyArgs>),
    /// The public end of services that other nodes expose
    #[command(after_help = examples::SERVE)]
    Serve(serve::ServeArgs),
    /// Expose an HTTP service of this machine through another node
    #[command(after_help = examples::HTTP)]
    Http(http::HttpArgs),
    /// Expose a TCP service of this machine through another node
    #[command(after_help = examples::TCP)]
    Tcp(tcp::TcpArgs),
    /// The grants by which other nodes join this one: list, add, revoke
    #[command(after_help = examples::TOKEN)]
    Token(token::TokenArgs),
    /// Print which route, rule and response a request would get, and why
    #[command(after_help = examples::EXPLAIN)]
    Explain(explain::ExplainArgs),
    /// The local authority, which issues certificates for localhost
    #[command(after_help = examples::CA)]
    Ca(ca::CaArgs),
    /// Print the key id of this node, which is its name in messages of other nodes
    #[command(after_help = examples::KEY)]
    Key,
    /// Print the version
    #[command(after_help = examples::VERSION)]
    Version,
}

impl Cli {
    /// Reads the arguments of the process and runs their verb to its end.
    pub fn main() -> ExitCode {
        match Self::try_parse_from(without_help_of_help(std::env::args_os().collect())) {
            Ok(cli) => cli.run(),
            Err(error) => {
                // Help and version go to stdout, which the reader may have closed
                // (`byway --help | head -1`).
                let _ = error.print();
                u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
            }
        }
    }

    fn run(self) -> ExitCode {
        let Self { common, verb } = self;
        // The log of the demo's three nodes would hide the lines to try. As JSON the ready line is
        // an event at level info.
        let given = common
            .log_level
            .as_deref()
            .filter(|level| !level.trim().is_empty());
        let level = given.unwrap_or(match verb {
            Verb::Demo(_) if common.log == LogFormat::Human => "warn",
            _ => "info",
        });
        if let Err(error) = log::install(common.log, level, level_source()) {
            terminal::error(error);
            return ExitCode::from(EXIT_CONFIG);
        }
        match verb {
            Verb::Demo(args) => demo::run(&args, &common),
            Verb::Run(args) => run::run(&args, &common),
            Verb::Check(args) => check::run(&args, &common),
            Verb::Init(args) => init::run(&args),
            Verb::Schema(args) => schema::run(&args),
            Verb::Edge(args) => edge::run(&args, &common),
            Verb::Proxy(args) => proxy::run(&args, &common),
            Verb::Serve(args) => serve::run(&args, &common),
            Verb::Http(args) => http::run(&args, &common),
            Verb::Tcp(args) => tcp::run(&args, &common),
            Verb::Token(args) => token::run(&args, &common),
            Verb::Explain(args) => explain::run(&args, &common),
            Verb::Ca(args) => ca::run(&args, &common),
            Verb::Key => key::run(&common),
            Verb::Version => terminal::data(format_args!("byway {}\n", env!("CARGO_PKG_VERSION"))),
        }
    }
}

/// The flag or the variable that set the log level, for the error about it.
fn level_source() -> &'static str {
    let is_flag = |arg: OsString| arg.as_encoded_bytes().starts_with(b"--log-level");
    match std::env::args_os().any(is_flag) || std::env::var_os("BYWAY_LOG").is_none() {
        true => "--log-level",
        false => "BYWAY_LOG",
    }
}

/// Reads `byway help --help` as `byway help`; clap would take `--help` for a command's name.
fn without_help_of_help(mut args: Vec<OsString>) -> Vec<OsString> {
    if args.get(1).is_some_and(|verb| verb == "help") {
        args.retain(|arg| arg != "--help" && arg != "-h");
    }
    args
}

/// The exit code for wrong configs and refused credentials.
const EXIT_CONFIG: u8 = 2;

/// Prints everything that is wrong with a config. Returns the exit code for it.
fn refuse(errors: &ConfigErrors) -> ExitCode {
    terminal::note(errors);
    ExitCode::from(EXIT_CONFIG)
}
