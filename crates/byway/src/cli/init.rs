//! Init: `byway init`: writes a config file with every key as a comment.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::{EXIT_CONFIG, terminal};
use crate::config;

/// Where the file is written.
#[derive(Args, Clone, Debug)]
pub(super) struct InitArgs {
    /// The new file, or - for standard output
    #[arg(value_name = "FILE", default_value = "byway.toml")]
    file: PathBuf,
}

/// Writes the file. An existing one is left as it is.
pub(super) fn run(args: &InitArgs) -> ExitCode {
    let text = config::commented();
    if args.file == Path::new("-") {
        return terminal::data(text);
    }
    let shown = args.file.display();
    match write_new(&args.file, &text) {
        Ok(()) => {
            terminal::note(format_args!(
                "wrote {shown}; edit it, then run `byway check {shown}` and `byway run {shown}`"
            ));
            ExitCode::SUCCESS
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            terminal::error(format_args!(
                "{shown} exists; name another file, or - for standard output"
            ));
            ExitCode::from(EXIT_CONFIG)
        }
        Err(error) => {
            terminal::error(format_args!("cannot write {shown}: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
