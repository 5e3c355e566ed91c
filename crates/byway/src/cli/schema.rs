//! Schema: `byway schema`: the keys of a config file, for editors or as a page.

use std::process::ExitCode;

use clap::Args;

use super::terminal;
use crate::config;

/// What is printed.
#[derive(Args, Clone, Debug)]
pub(super) struct SchemaArgs {
    /// A page of Markdown instead of the JSON Schema
    #[arg(long)]
    markdown: bool,
}

/// Prints it.
pub(super) fn run(args: &SchemaArgs) -> ExitCode {
    match args.markdown {
        true => terminal::data(config::reference()),
        false => terminal::data(format_args!("{:#}\n", config::schema())),
    }
}
